//! What a protocol wants to happen, as data.
//!
//! The short names are the safe ones: [`Effects::send`] and [`Effects::decide`] wait until everything persisted before
//! them is durable. The `_early` variants do not wait, and each use of them must say why that is sound.

use crate::algorithm::{Offence, Refusal};
use crate::id::{NodeId, ProposalId, ReadId, Slot, WriteSeq};
use crate::machine::Verdict;
use crate::members::Members;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

/// Something for our disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Write<R> {
    /// Append `record`.
    Append {
        /// Its number.
        seq: WriteSeq,
        /// The record.
        record: R,
    },
    /// Replace every earlier write by this snapshot and these records.
    Checkpoint {
        /// Its number.
        seq: WriteSeq,
        /// The last slot that the snapshot contains.
        through: Slot,
        /// The snapshot; empty where no state is kept (a witness), and then none is installed at the next boot.
        snapshot: Bytes,
        /// The records that are still needed.
        tail: Vec<R>,
    },
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing<M> {
    /// The receiver, never ourselves.
    pub to: NodeId,
    /// The message.
    pub message: M,
    /// It must not leave before this write is durable; zero if it depends on none.
    pub after: WriteSeq,
}

/// Something else that should happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect<R, T> {
    /// Wake us at `at`; replaces an earlier setting of the same timer.
    SetTimer {
        /// The reason.
        timer: T,
        /// When.
        at: Time,
    },
    /// Do not wake us for this reason.
    CancelTimer(T),
    /// A decision, to be applied in the order of emission, but not before write `after` is durable.
    Decide {
        /// Its place. For [`crate::Problem::Log`]: each slot once per boot, without gaps.
        slot: Slot,
        /// Who proposed it, if anybody.
        id: Option<ProposalId>,
        /// What was decided.
        verdict: Verdict,
        /// What was proposed.
        payload: Bytes,
        /// The write it depends on; zero if none.
        after: WriteSeq,
    },
    /// Every decision of a record ([`crate::ConsensusAlgorithm::decisions`]), as if each were emitted as
    /// [`Effect::Decide`]: a batch goes to the state machine as it was written, and no payload is touched on the way.
    DecideRecord {
        /// The record. It need not be one that was persisted.
        record: R,
        /// The write it depends on; zero if none.
        after: WriteSeq,
    },
    /// A read may be served once everything up to `at` is applied.
    ReadReady {
        /// The read.
        id: ReadId,
        /// The slot to wait for.
        at: Slot,
    },
    /// Ask the state machine for its vote; the answer comes as [`crate::Input::Judged`].
    Judge {
        /// The proposal.
        id: ProposalId,
        /// What is proposed.
        payload: Bytes,
    },
    /// Turn a proposal (or change of members) down.
    Refuse {
        /// The proposal.
        id: ProposalId,
        /// Why.
        reason: Refusal,
    },
    /// Turn a read down.
    RefuseRead {
        /// The read.
        id: ReadId,
        /// Why.
        reason: Refusal,
    },
    /// A peer sent us a snapshot: the state machine takes it, in its place among the decisions. Persist it first
    /// ([`Effects::checkpoint`]).
    Install {
        /// The last slot that it contains.
        through: Slot,
        /// The snapshot; empty where no state is kept (a witness): the state machine stays as it is.
        snapshot: Bytes,
        /// The write it depends on; zero if none.
        after: WriteSeq,
    },
    /// The members, from now on.
    /// (Boxed: every effect is as large as the largest.)
    Members(Box<Members>),
    /// A peer broke the protocol.
    Accuse {
        /// The peer.
        peer: NodeId,
        /// What it did.
        offence: Offence,
    },
}

/// The buffer that a protocol writes its effects into. It numbers the writes.
///
/// It has three lanes: writes, messages, and everything else. Each keeps its order; between them there is no order but that of
/// the write numbers that a message or a decision names.
#[derive(Clone, Debug)]
pub struct Effects<M, R, T> {
    writes: VecDeque<Write<R>>,
    sends: Vec<(NodeId, M)>,
    /// The write that each of `sends` depends on.
    afters: Vec<WriteSeq>,
    /// The last write that one of `sends` depends on.
    last_after: WriteSeq,
    others: VecDeque<Effect<R, T>>,
    written: WriteSeq,
}

impl<M, R, T> Default for Effects<M, R, T> {
    fn default() -> Self {
        Self {
            writes: VecDeque::new(),
            sends: Vec::new(),
            afters: Vec::new(),
            last_after: WriteSeq::ZERO,
            others: VecDeque::new(),
            written: WriteSeq::ZERO,
        }
    }
}

impl<M, R, T> Effects<M, R, T> {
    /// An empty buffer for a new boot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the last write.
    #[must_use]
    pub const fn written(&self) -> WriteSeq {
        self.written
    }

    /// Appends `record` to our disk and returns its number.
    #[inline]
    pub fn persist(&mut self, record: R) -> WriteSeq {
        let seq = self.number();
        self.writes.push_back(Write::Append { seq, record });
        seq
    }

    /// Replaces everything written so far by a snapshot and the records that are still needed.
    pub fn checkpoint(&mut self, through: Slot, snapshot: Bytes, tail: Vec<R>) -> WriteSeq {
        let seq = self.number();
        self.writes.push_back(Write::Checkpoint { seq, through, snapshot, tail });
        seq
    }

    /// Sends once everything persisted so far is durable.
    #[inline]
    pub fn send(&mut self, to: NodeId, message: M) {
        self.send_after(to, message, self.written);
    }

    /// Sends once write `after` is durable, whatever was persisted since.
    #[inline]
    pub fn send_after(&mut self, to: NodeId, message: M, after: WriteSeq) {
        self.sends.push((to, message));
        self.afters.push(after);
        self.last_after = self.last_after.max(after);
    }

    /// Sends at once. Sound only if, having forgotten it in a crash, we can never contradict it: a Raft append, a prepare
    /// of two-phase commit, a heartbeat; never a vote, a ballot, a PBFT pre-prepare.
    #[inline]
    pub fn send_early(&mut self, to: NodeId, message: M) {
        self.send_after(to, message, WriteSeq::ZERO);
    }

    /// Wakes us at `at` for `timer`.
    pub fn set_timer(&mut self, timer: T, at: Time) {
        self.others.push_back(Effect::SetTimer { timer, at });
    }

    /// Does not wake us for `timer`.
    pub fn cancel_timer(&mut self, timer: T) {
        self.others.push_back(Effect::CancelTimer(timer));
    }

    /// Hands a decision to the state machine once everything persisted so far is durable.
    pub fn decide(&mut self, slot: Slot, id: Option<ProposalId>, verdict: Verdict, payload: Bytes) {
        let after = self.written;
        self.others.push_back(Effect::Decide { slot, id, verdict, payload, after });
    }

    /// Hands a decision to the state machine at once. Sound only if the decision stands without our own disk: a quorum
    /// elsewhere holds it durably.
    pub fn decide_early(&mut self, slot: Slot, id: Option<ProposalId>, verdict: Verdict, payload: Bytes) {
        self.others.push_back(Effect::Decide { slot, id, verdict, payload, after: WriteSeq::ZERO });
    }

    /// Hands every decision of a record to the state machine once everything persisted so far is durable.
    #[inline]
    pub fn decide_record(&mut self, record: R) {
        let after = self.written;
        self.others.push_back(Effect::DecideRecord { record, after });
    }

    /// Hands every decision of a record to the state machine at once. Sound under the condition of
    /// [`Effects::decide_early`].
    #[inline]
    pub fn decide_record_early(&mut self, record: R) {
        self.others.push_back(Effect::DecideRecord { record, after: WriteSeq::ZERO });
    }

    /// Serves the read once everything up to `at` is applied.
    pub fn read_ready(&mut self, id: ReadId, at: Slot) {
        self.others.push_back(Effect::ReadReady { id, at });
    }

    /// Asks the state machine for its vote.
    pub fn judge(&mut self, id: ProposalId, payload: Bytes) {
        self.others.push_back(Effect::Judge { id, payload });
    }

    /// Turns a proposal down: at once, but [`Refusal::Settled`] waits until everything persisted so far is durable, since it
    /// tells of a decision.
    pub fn refuse(&mut self, id: ProposalId, reason: Refusal) {
        self.others.push_back(Effect::Refuse { id, reason });
    }

    /// Turns a read down.
    pub fn refuse_read(&mut self, id: ReadId, reason: Refusal) {
        self.others.push_back(Effect::RefuseRead { id, reason });
    }

    /// Hands a peer's snapshot to the state machine once everything persisted so far is durable, and after every decision
    /// emitted before.
    pub fn install(&mut self, through: Slot, snapshot: Bytes) {
        let after = self.written;
        self.others.push_back(Effect::Install { through, snapshot, after });
    }

    /// Announces the members.
    pub fn members(&mut self, members: Members) {
        self.others.push_back(Effect::Members(Box::new(members)));
    }

    /// Accuses a peer.
    pub fn accuse(&mut self, peer: NodeId, offence: Offence) {
        self.others.push_back(Effect::Accuse { peer, offence });
    }

    /// The effects beside writes and messages, oldest first.
    pub fn others(&self) -> impl ExactSizeIterator<Item = &Effect<R, T>> {
        self.others.iter()
    }

    /// Whether nothing is written down.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.sends.is_empty() && self.others.is_empty()
    }

    /// Takes the oldest write.
    #[inline]
    pub fn next_write(&mut self) -> Option<Write<R>> {
        self.writes.pop_front()
    }

    /// Takes all messages, oldest first.
    pub fn take_sends(&mut self) -> impl Iterator<Item = Outgoing<M>> {
        self.last_after = WriteSeq::ZERO;
        let sends = self.sends.drain(..).zip(self.afters.drain(..));
        sends.map(|((to, message), after)| Outgoing { to, message, after })
    }

    /// The messages with their receivers, to be taken by somebody who empties the list, if none depends on a write that is not
    /// yet durable.
    #[inline]
    pub(crate) fn free_sends(&mut self, durable: WriteSeq) -> Option<&mut Vec<(NodeId, M)>> {
        if self.last_after > durable {
            return None;
        }
        self.afters.clear();
        self.last_after = WriteSeq::ZERO;
        Some(&mut self.sends)
    }

    /// Takes the oldest of the other effects.
    #[inline]
    pub fn next_other(&mut self) -> Option<Effect<R, T>> {
        self.others.pop_front()
    }

    /// Takes the settings (`Some`) and cancellations (`None`) of timers out of what was written down, in order.
    pub(crate) fn take_timers(&mut self, mut each: impl FnMut(T, Option<Time>))
    where
        T: Copy,
    {
        self.others.retain(|effect| {
            if let Effect::SetTimer { timer, at } = effect {
                each(*timer, Some(*at));
                return false;
            }
            if let Effect::CancelTimer(timer) = effect {
                each(*timer, None);
                return false;
            }
            true
        });
    }

    fn number(&mut self) -> WriteSeq {
        self.written = self.written.next();
        self.written
    }
}
