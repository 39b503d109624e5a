//! An algorithm under observation: it behaves as the inner one, and each decision that it emits is noted for the oracles
//! (a state machine never sees no-ops, and would not show them).

use bytes::Bytes;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Decision, Effect, Guarantees, In, Inspection, Members, NodeId,
    Offence, Out, ProposalId, RestoreError, Slot, Status, Time, Verdict,
};
use core::fmt::Debug;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// A decision as it was emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Its place.
    pub slot: Slot,
    /// Who proposed it, if anybody.
    pub id: Option<ProposalId>,
    /// What was decided.
    pub verdict: Verdict,
    /// What was proposed.
    pub payload: Bytes,
}

impl From<Decision<'_>> for Decided {
    fn from(decision: Decision<'_>) -> Self {
        let Decision { slot, id, verdict, payload } = decision;
        Self { slot, id, verdict, payload: payload.clone() }
    }
}

/// Decisions in the order of their emission: the order in which they are applied.
pub type Tap = Rc<RefCell<VecDeque<Decided>>>;

/// The inner configuration, and where to note decisions.
#[derive(Clone, Debug, Default)]
pub struct WatchedConfig<C> {
    /// The inner algorithm's configuration.
    pub inner: C,
    /// Where decisions are noted.
    pub tap: Tap,
}

/// `A` under observation.
#[derive(Debug)]
pub struct Watched<A> {
    inner: A,
    tap: Tap,
    /// The last slot whose decision was noted, or that a snapshot holds.
    noted: Slot,
}

impl<A> Watched<A> {
    /// The algorithm itself.
    pub const fn inner(&self) -> &A {
        &self.inner
    }
}

impl<A: ConsensusAlgorithm> Watched<A> {
    fn note(&mut self, out: &Out<A>, from: usize) {
        for effect in out.others().skip(from) {
            if let Effect::Decide { slot, id, verdict, payload, after: _ } = effect {
                let decided = Decided { slot: *slot, id: *id, verdict: *verdict, payload: payload.clone() };
                self.tap.borrow_mut().push_back(decided);
                self.noted = self.noted.max(*slot);
            }
            if let Effect::DecideThrough { through, after: _ } = effect {
                let decided = self.inner.decided(self.noted.next(), *through);
                self.tap.borrow_mut().extend(decided.map(Decided::from));
                self.noted = *through;
            }
            if let Effect::Install { through, .. } = effect {
                self.noted = self.noted.max(*through);
            }
        }
    }
}

impl<A: ConsensusAlgorithm> ConsensusAlgorithm for Watched<A> {
    const NAME: &'static str = A::NAME;
    const GUARANTEES: Guarantees = A::GUARANTEES;
    const ASKS_FOR_SNAPSHOTS: bool = A::ASKS_FOR_SNAPSHOTS;
    type Config = WatchedConfig<A::Config>;
    type Message = A::Message;
    type Record = A::Record;
    type Timer = A::Timer;

    fn validate(config: &Self::Config, members: &Members) -> Result<(), ConfigError> {
        A::validate(&config.inner, members)
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot, records } = boot;
        let from = out.others().len();
        let noted = snapshot.as_ref().map_or(Slot::ZERO, |(through, _)| *through);
        let inner = Boot { id, members, config: config.inner, seed, now, snapshot, records };
        let mut watched = Self { inner: A::restore(inner, out)?, tap: config.tap, noted };
        watched.note(out, from);
        Ok(watched)
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        let from = out.others().len();
        self.inner.step(now, input, out);
        self.note(out, from);
    }

    fn flush(&mut self, now: Time, out: &mut Out<Self>) {
        let from = out.others().len();
        self.inner.flush(now, out);
        self.note(out, from);
    }

    fn decided(&self, from: Slot, through: Slot) -> impl Iterator<Item = Decision<'_>> {
        self.inner.decided(from, through)
    }

    fn status(&self) -> Status {
        self.inner.status()
    }

    fn inspect(&self) -> Inspection {
        self.inner.inspect()
    }

    fn screen(config: &Self::Config, from: NodeId, message: &Self::Message) -> Result<(), Offence> {
        A::screen(&config.inner, from, message)
    }

    fn assert_invariants(&self) {
        self.inner.assert_invariants();
    }
}
