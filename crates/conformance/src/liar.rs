//! The liar: an algorithm that claims more than it keeps. The suite must find it out, or its silence about others is worth
//! nothing.

use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Decision, Faults, Guarantees, In, Input, Inspection, Members,
    NodeId, Offence, Out, Resilience, RestoreError, Slot, Status, Time, Timing,
};
use core::marker::PhantomData;

/// What is claimed on top of what `A` keeps.
pub trait Lie<A: ConsensusAlgorithm> {
    /// The name in tables.
    const NAME: &'static str;
    /// The claims.
    const CLAIMS: Guarantees;
    /// Whether reads are answered at once from what the node has applied.
    const READS_AT_ONCE: bool = false;
}

/// `A`, with the claims of `L`.
#[derive(Debug)]
pub struct Liar<A, L> {
    inner: A,
    lie: PhantomData<L>,
}

/// It claims to live with one node of `n`.
#[derive(Clone, Copy, Debug)]
pub enum TooResilient {}

impl<A: ConsensusAlgorithm> Lie<A> for TooResilient {
    const NAME: &'static str = "claims to live with n - 1 nodes down";
    const CLAIMS: Guarantees = Guarantees { resilience: Resilience::AllButOne, ..A::GUARANTEES };
}

/// It claims that its nodes may lie.
#[derive(Clone, Copy, Debug)]
pub enum ByzantineProof {}

impl<A: ConsensusAlgorithm> Lie<A> for ByzantineProof {
    const NAME: &'static str = "claims to live with Byzantine nodes";
    const CLAIMS: Guarantees = Guarantees { faults: Faults::Byzantine, ..A::GUARANTEES };
}

/// It claims to need no bound on time.
#[derive(Clone, Copy, Debug)]
pub enum Timeless {}

impl<A: ConsensusAlgorithm> Lie<A> for Timeless {
    const NAME: &'static str = "claims to need no bound on time";
    const CLAIMS: Guarantees = Guarantees { timing: Timing::Asynchronous, ..A::GUARANTEES };
}

/// It claims that its reads are linearizable, and answers them from its own state.
#[derive(Clone, Copy, Debug)]
pub enum ReadsAtOnce {}

impl<A: ConsensusAlgorithm> Lie<A> for ReadsAtOnce {
    const NAME: &'static str = "claims linearizable reads, and asks nobody";
    const CLAIMS: Guarantees = A::GUARANTEES;
    const READS_AT_ONCE: bool = true;
}

impl<A: ConsensusAlgorithm, L: Lie<A>> ConsensusAlgorithm for Liar<A, L> {
    const NAME: &'static str = L::NAME;
    const GUARANTEES: Guarantees = L::CLAIMS;
    const ASKS_FOR_SNAPSHOTS: bool = A::ASKS_FOR_SNAPSHOTS;
    type Config = A::Config;
    type Message = A::Message;
    type Record = A::Record;
    type Timer = A::Timer;

    fn validate(config: &Self::Config, members: &Members) -> Result<(), ConfigError> {
        A::validate(config, members)
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot, records } = boot;
        let inner = A::restore(Boot { id, members, config, seed, now, snapshot, records }, out)?;
        Ok(Self { inner, lie: PhantomData })
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        if let Input::Read(id) = input
            && L::READS_AT_ONCE
        {
            out.read_ready(id, self.inner.status().decided);
            return;
        }
        self.inner.step(now, input, out);
    }

    fn flush(&mut self, now: Time, out: &mut Out<Self>) {
        self.inner.flush(now, out);
    }

    fn status(&self) -> Status {
        self.inner.status()
    }

    fn inspect(&self) -> Inspection {
        self.inner.inspect()
    }

    fn decided(&self, from: Slot, through: Slot) -> impl Iterator<Item = Decision<'_>> {
        self.inner.decided(from, through)
    }

    fn screen(config: &Self::Config, from: NodeId, message: &Self::Message) -> Result<(), Offence> {
        A::screen(config, from, message)
    }

    fn assert_invariants(&self) {
        self.inner.assert_invariants();
    }
}
