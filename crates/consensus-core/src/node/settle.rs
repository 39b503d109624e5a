//! The end of a burst: effects are carried out, and the algorithm hears what is durable, until nothing moves any more.
//!
//! A disk that is durable at once is asked before the algorithm closes the burst, so that a follower persists, learns that
//! its write is durable and acknowledges it in one round.

use super::Node;
use super::Stopped;
use super::event::Reply;
use super::gate::{Decided, Handover};
use crate::algorithm::{ConsensusAlgorithm, Input, Offence, Refusal};
use crate::effects::{Effect, Write};
use crate::guarantees::Problem;
use crate::hand_off::{Network, Storage};
use crate::id::{NodeId, WriteSeq};
use crate::machine::StateMachine;
use crate::time::Time;

/// The most accusations that wait for the driver; more are dropped, since a liar must not fill our memory.
const MAX_ACCUSATIONS: usize = 1024;

impl<A, N, S, M> Node<A, N, S, M>
where
    A: ConsensusAlgorithm,
    N: Network<A::Message>,
    S: Storage<A::Record>,
    M: StateMachine,
{
    #[inline]
    pub(super) fn step(&mut self, now: Time, input: Input<A::Message, A::Timer>) {
        self.algorithm.step(now, input, &mut self.out);
        self.stepped = true;
        if self.check_invariants {
            self.algorithm.assert_invariants();
        }
    }

    pub(super) fn fire_timers(&mut self, now: Time) {
        // What was cancelled or set anew earlier in this burst must not fire, though nothing else is carried out before its
        // end: a heartbeat and the tick that it came too late for may sit in one burst.
        self.settle_timers();
        let mut due = core::mem::take(&mut self.due);
        self.timers.due(now, &mut due);
        // Each timer that is due fires once; what it sets anew for the past waits for the next tick.
        for (at, timer) in due.drain(..) {
            if self.timers.expire(timer, at) {
                self.step(now, Input::Timer(timer));
                self.settle_timers();
            }
        }
        self.due = due;
    }

    fn settle_timers(&mut self) {
        let timers = &mut self.timers;
        self.out.take_timers(|timer, at| match at {
            Some(at) => timers.set(timer, at),
            None => timers.cancel(timer),
        });
    }

    pub(super) fn accuse(&mut self, peer: NodeId, offence: Offence) {
        if self.accusations.len() < MAX_ACCUSATIONS {
            self.accusations.push((peer, offence));
        }
    }

    #[inline]
    pub(super) fn settle(&mut self, now: Time) -> Result<(), Stopped> {
        self.carry_out(now)?;
        self.note_durable(now)?;
        loop {
            self.settle_steps(now)?;
            // One burst, one flush of the storage, whether inputs or the end of the burst brought the writes.
            if core::mem::take(&mut self.wrote) {
                self.storage.flush();
                self.note_written(now)?;
            } else if let Some((through, snapshot)) = self.snapshot_if_due() {
                self.step(now, Input::Compact { through, snapshot });
            } else {
                break;
            }
        }
        self.network.flush();
        self.serve_parked_reads();
        Ok(())
    }

    /// Lets the algorithm close the burst and carries out what it wishes, as long as there is news for it.
    #[inline]
    fn settle_steps(&mut self, now: Time) -> Result<(), Stopped> {
        while core::mem::take(&mut self.stepped) {
            self.algorithm.flush(now, &mut self.out);
            if self.out.is_empty() {
                continue;
            }
            self.carry_out_all(now)?;
            self.note_written(now)?;
        }
        Ok(())
    }

    /// Asks the storage again if it may have news.
    #[inline]
    fn note_written(&mut self, now: Time) -> Result<(), Stopped> {
        if self.gate.durable() < self.out.written() { self.note_durable(now) } else { Ok(()) }
    }

    /// Asks the storage; on news, lets out what waited for it and tells the algorithm.
    #[inline]
    fn note_durable(&mut self, now: Time) -> Result<(), Stopped> {
        let durable = self.storage.durable().map_err(|error| self.stop(error))?;
        if !self.gate.advance(durable) {
            return Ok(());
        }
        if self.gate.holds() {
            self.release()?;
        }
        self.step(now, Input::Durable(durable));
        Ok(())
    }

    fn release(&mut self) -> Result<(), Stopped> {
        self.gate.release(&mut self.network);
        while let Some(handover) = self.gate.next_handover() {
            self.take_over(handover)?;
        }
        Ok(())
    }

    #[inline]
    fn carry_out(&mut self, now: Time) -> Result<(), Stopped> {
        if self.out.is_empty() { Ok(()) } else { self.carry_out_all(now) }
    }

    /// Writes go first: what leaves next may already be durable.
    fn carry_out_all(&mut self, now: Time) -> Result<(), Stopped> {
        loop {
            while let Some(write) = self.out.next_write() {
                self.write(write);
            }
            match self.out.free_sends(self.gate.durable()) {
                Some(messages) if messages.is_empty() => {}
                Some(messages) => {
                    debug_assert!(
                        messages.iter().all(|(to, _)| *to != self.id),
                        "a node does not send to itself"
                    );
                    self.network.send_all(messages);
                }
                None => {
                    self.out.take_sends().for_each(|outgoing| self.gate.send(&mut self.network, outgoing))
                }
            }
            let Some(effect) = self.out.next_other() else { return Ok(()) };
            self.carry_out_other(now, effect)?;
        }
    }

    #[inline]
    fn write(&mut self, write: Write<A::Record>) {
        self.wrote = true;
        match write {
            Write::Append { seq, record } => self.storage.append(seq, record),
            Write::Checkpoint { seq, through, snapshot, tail } => {
                self.storage.checkpoint(seq, through, snapshot, tail);
            }
        }
    }

    #[inline]
    fn carry_out_other(&mut self, now: Time, effect: Effect<A::Record, A::Timer>) -> Result<(), Stopped> {
        match effect {
            Effect::Decide { slot, id, verdict, payload, after } => {
                let decided = Decided { slot, id, verdict, payload };
                return self.hand_over(Handover::Decide(decided), after);
            }
            Effect::DecideRecord { record, after } if self.gate.is_open(after) => {
                return self.apply_all(&record);
            }
            Effect::DecideRecord { record, after } => {
                return self.hand_over(Handover::DecideRecord(record), after);
            }
            Effect::Install { through, snapshot, after } => {
                return self.hand_over(Handover::Install { through, snapshot }, after);
            }
            Effect::SetTimer { timer, at } => self.timers.set(timer, at),
            Effect::CancelTimer(timer) => self.timers.cancel(timer),
            Effect::ReadReady { id, at } => self.park_read(id, at),
            Effect::Judge { id, payload } => {
                let accept = self.machine.judge(id, &payload);
                self.step(now, Input::Judged { id, accept });
            }
            // It tells of a verdict: a client must not hear what a crash could still make us forget.
            Effect::Refuse { id, reason: reason @ Refusal::Settled { .. } } => {
                let after = self.out.written();
                return self.hand_over(Handover::Refuse { id, reason }, after);
            }
            Effect::Refuse { id, reason } => self.replies.push(Reply::Refused { id, reason }),
            Effect::RefuseRead { id, reason } => self.replies.push(Reply::ReadRefused { id, reason }),
            Effect::Members(members) => self.members = Some(*members),
            Effect::Accuse { peer, offence } => self.accuse(peer, offence),
        }
        Ok(())
    }

    #[inline]
    fn hand_over(&mut self, handover: Handover<A::Record>, after: WriteSeq) -> Result<(), Stopped> {
        if self.gate.is_open(after) {
            return self.take_over(handover);
        }
        self.gate.hold(handover, after);
        Ok(())
    }

    pub(super) const fn ordered() -> bool {
        matches!(A::GUARANTEES.problem, Problem::Log)
    }
}
