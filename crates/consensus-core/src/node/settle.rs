//! The end of a burst: effects are carried out, and the algorithm hears what is durable, until nothing moves any more.
//!
//! A disk that is durable at once is asked before the algorithm closes the burst, so that a follower persists, learns that
//! its write is durable and acknowledges it in one round.

use super::Node;
use super::apply::Taken;
use super::event::Reply;
use super::gate::{Decided, Handover};
use super::{NodeError, Stopped};
use crate::algorithm::{ConsensusAlgorithm, Input, Offence, Refusal};
use crate::effects::{Effect, Write, oldest_first};
use crate::hand_off::{Network, Storage};
use crate::id::{NodeId, Slot, WriteSeq};
use crate::machine::StateMachine;
use crate::time::Time;

/// The most accusations that wait for the driver; more are dropped, since a liar must not fill our memory.
const MAX_ACCUSATIONS: usize = 1024;
/// The most notes that wait for the driver; more are dropped, since not every driver asks.
const MAX_NOTES: usize = 64;

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
        loop {
            self.carry_out(now)?;
            self.note_durable(now)?;
            if core::mem::take(&mut self.stepped) {
                self.algorithm.flush(now, &mut self.out);
            } else if core::mem::take(&mut self.wrote) {
                // One burst, one flush of the storage, whether inputs or the end of the burst brought the writes.
                self.storage.flush();
            } else if let Some(Taken::Now(through, snapshot)) = self.executor.snapshot_if_due() {
                self.step(now, Input::Compact { through, snapshot });
            } else {
                break;
            }
        }
        self.network.flush();
        self.executor.serve_parked_reads();
        Ok(())
    }

    /// Asks the storage if it may have news; on news, lets out what waited for it and tells the algorithm.
    #[inline]
    fn note_durable(&mut self, now: Time) -> Result<(), Stopped> {
        if self.gate.durable() == self.out.written() && !self.asks {
            return Ok(());
        }
        self.asks = false;
        let durable = self.storage.durable().map_err(|error| self.stop(error))?;
        if !self.gate.advance(durable) {
            return Ok(());
        }
        self.out.note_durable(durable);
        if self.gate.holds() {
            self.release(now)?;
        }
        self.step(now, Input::Durable(durable));
        Ok(())
    }

    fn release(&mut self, now: Time) -> Result<(), Stopped> {
        self.gate.release(&mut self.network);
        while let Some(handover) = self.gate.next_handover() {
            self.take_over(now, handover)?;
        }
        Ok(())
    }

    /// Writes go first: what leaves next may already be durable.
    #[inline]
    fn carry_out(&mut self, now: Time) -> Result<(), Stopped> {
        let out = &mut self.out;
        if out.has_writes() {
            self.wrote = true;
            for write in out.take_writes() {
                match write {
                    Write::Append { seq, record } => self.storage.append(seq, record),
                    Write::Checkpoint { seq, through, snapshot, tail } => {
                        self.storage.checkpoint(seq, through, snapshot, tail);
                    }
                }
            }
        }
        let sends = out.free_sends();
        if !sends.is_empty() {
            debug_assert!(sends.iter().all(|(to, _)| *to != self.id), "a node does not send to itself");
            self.network.send_all(sends);
        }
        if out.has_held() {
            out.take_held().for_each(|outgoing| self.gate.send(&mut self.network, outgoing));
        }
        if out.has_others() { self.carry_out_others(now) } else { Ok(()) }
    }

    fn carry_out_others(&mut self, now: Time) -> Result<(), Stopped> {
        // What is judged on the way brings new ones, which are carried out with the next turn.
        let mut others = core::mem::take(&mut self.others);
        self.out.swap_others(&mut others);
        for effect in oldest_first(&mut others) {
            self.carry_out_other(now, effect)?;
        }
        self.others = others;
        Ok(())
    }

    #[inline]
    fn carry_out_other(&mut self, now: Time, effect: Effect<A::Timer>) -> Result<(), Stopped> {
        match effect {
            Effect::DecideThrough { through, after } => return self.decide_through(through, after),
            Effect::Decide { slot, id, verdict, payload, after } => {
                self.decided = self.decided.max(slot);
                let decided = Decided { slot, id, verdict, payload };
                return self.hand_over(now, Handover::Decide(decided), after);
            }
            Effect::Install { through, snapshot, after } => {
                self.decided = self.decided.max(through);
                return self.hand_over(now, Handover::Install { through, snapshot }, after);
            }
            Effect::Snapshot { after } => return self.hand_over(now, Handover::Snapshot, after),
            Effect::SetTimer { timer, at } => self.timers.set(timer, at),
            Effect::CancelTimer(timer) => self.timers.cancel(timer),
            Effect::ReadReady { id, at } => self.executor.park_read(id, at),
            Effect::Judge { id, payload } => {
                let accept = self.executor.machine.judge(id, &payload);
                self.step(now, Input::Judged { id, accept });
            }
            // It tells of a verdict: a client must not hear what a crash could still make us forget.
            Effect::Refuse { id, reason: reason @ Refusal::Settled { .. } } => {
                let after = self.out.written();
                return self.hand_over(now, Handover::Refuse { id, reason }, after);
            }
            Effect::Refuse { id, reason } => self.executor.refuse(id, reason),
            Effect::RefuseRead { id, reason } => {
                self.executor.replies.push(Reply::ReadRefused { id, reason })
            }
            Effect::Members(members) => self.members = Some(*members),
            Effect::Accuse { peer, offence } => self.accuse(peer, offence),
            Effect::Note(note) if self.notes.len() < MAX_NOTES => self.notes.push(note),
            Effect::Note(_) => {}
        }
        Ok(())
    }

    /// What may be applied now is applied where it stands; what has to wait is copied, since it may be gone by then.
    #[inline]
    fn decide_through(&mut self, through: Slot, after: WriteSeq) -> Result<(), Stopped> {
        let is_open = self.gate.is_open(after);
        let (executor, gate, shown) = (&mut self.executor, &mut self.gate, &mut self.decided);
        let mut decisions = self.algorithm.decided(shown.next(), through);
        let done = decisions.try_for_each(|decision| {
            *shown = decision.slot;
            if is_open {
                return executor.apply(decision);
            }
            gate.hold(Handover::Decide(decision.into()), after);
            Ok(())
        });
        drop(decisions);
        match done {
            Ok(()) if *shown < through => {
                let shown = *shown;
                Err(self.stop(NodeError::NotShown { through, shown }))
            }
            Ok(()) => Ok(()),
            Err(error) => Err(self.stop(error)),
        }
    }

    #[inline]
    fn hand_over(&mut self, now: Time, handover: Handover, after: WriteSeq) -> Result<(), Stopped> {
        if self.gate.is_open(after) {
            return self.take_over(now, handover);
        }
        self.gate.hold(handover, after);
        Ok(())
    }

    fn take_over(&mut self, now: Time, handover: Handover) -> Result<(), Stopped> {
        let done = match handover {
            Handover::Decide(decided) => self.executor.apply(decided.as_decision()),
            Handover::Install { through, snapshot } => self.executor.install(through, &snapshot),
            Handover::Snapshot => {
                if let Taken::Now(through, snapshot) = self.executor.take_snapshot() {
                    self.step(now, Input::Compact { through, snapshot });
                }
                Ok(())
            }
            Handover::Refuse { id, reason } => {
                self.executor.replies.push(Reply::Refused { id, reason });
                Ok(())
            }
        };
        done.map_err(|error| self.stop(error))
    }
}
