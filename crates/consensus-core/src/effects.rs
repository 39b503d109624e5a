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
use alloc::vec::{self, Vec};
use bytes::Bytes;

/// One thing that should happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect<M, R, T> {
    /// Append `record` to our disk.
    Persist {
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
    /// Send `message`, but not before write `after` is durable.
    Send {
        /// The receiver, never ourselves.
        to: NodeId,
        /// The message.
        message: M,
        /// The write it depends on; zero if none.
        after: WriteSeq,
    },
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
#[derive(Clone, Debug)]
pub struct Effects<M, R, T> {
    queue: Vec<Effect<M, R, T>>,
    written: WriteSeq,
}

impl<M, R, T> Default for Effects<M, R, T> {
    fn default() -> Self {
        Self { queue: Vec::new(), written: WriteSeq::ZERO }
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
    pub fn persist(&mut self, record: R) -> WriteSeq {
        let seq = self.next_write();
        self.queue.push(Effect::Persist { seq, record });
        seq
    }

    /// Replaces everything written so far by a snapshot and the records that are still needed.
    pub fn checkpoint(&mut self, through: Slot, snapshot: Bytes, tail: Vec<R>) -> WriteSeq {
        let seq = self.next_write();
        self.queue.push(Effect::Checkpoint { seq, through, snapshot, tail });
        seq
    }

    /// Sends once everything persisted so far is durable.
    pub fn send(&mut self, to: NodeId, message: M) {
        let after = self.written;
        self.queue.push(Effect::Send { to, message, after });
    }

    /// Sends once write `after` is durable, whatever was persisted since.
    pub fn send_after(&mut self, to: NodeId, message: M, after: WriteSeq) {
        self.queue.push(Effect::Send { to, message, after });
    }

    /// Sends at once. Sound only if, having forgotten it in a crash, we can never contradict it: a Raft append, a prepare
    /// of two-phase commit, a heartbeat; never a vote, a ballot, a PBFT pre-prepare.
    pub fn send_early(&mut self, to: NodeId, message: M) {
        self.queue.push(Effect::Send { to, message, after: WriteSeq::ZERO });
    }

    /// Wakes us at `at` for `timer`.
    pub fn set_timer(&mut self, timer: T, at: Time) {
        self.queue.push(Effect::SetTimer { timer, at });
    }

    /// Does not wake us for `timer`.
    pub fn cancel_timer(&mut self, timer: T) {
        self.queue.push(Effect::CancelTimer(timer));
    }

    /// Hands a decision to the state machine once everything persisted so far is durable.
    pub fn decide(&mut self, slot: Slot, id: Option<ProposalId>, verdict: Verdict, payload: Bytes) {
        let after = self.written;
        self.queue.push(Effect::Decide { slot, id, verdict, payload, after });
    }

    /// Hands a decision to the state machine at once. Sound only if the decision stands without our own disk: a quorum
    /// elsewhere holds it durably.
    pub fn decide_early(&mut self, slot: Slot, id: Option<ProposalId>, verdict: Verdict, payload: Bytes) {
        self.queue.push(Effect::Decide { slot, id, verdict, payload, after: WriteSeq::ZERO });
    }

    /// Serves the read once everything up to `at` is applied.
    pub fn read_ready(&mut self, id: ReadId, at: Slot) {
        self.queue.push(Effect::ReadReady { id, at });
    }

    /// Asks the state machine for its vote.
    pub fn judge(&mut self, id: ProposalId, payload: Bytes) {
        self.queue.push(Effect::Judge { id, payload });
    }

    /// Turns a proposal down.
    pub fn refuse(&mut self, id: ProposalId, reason: Refusal) {
        self.queue.push(Effect::Refuse { id, reason });
    }

    /// Turns a read down.
    pub fn refuse_read(&mut self, id: ReadId, reason: Refusal) {
        self.queue.push(Effect::RefuseRead { id, reason });
    }

    /// Hands a peer's snapshot to the state machine once everything persisted so far is durable, and after every decision
    /// emitted before.
    pub fn install(&mut self, through: Slot, snapshot: Bytes) {
        let after = self.written;
        self.queue.push(Effect::Install { through, snapshot, after });
    }

    /// Announces the members.
    pub fn members(&mut self, members: Members) {
        self.queue.push(Effect::Members(Box::new(members)));
    }

    /// Accuses a peer.
    pub fn accuse(&mut self, peer: NodeId, offence: Offence) {
        self.queue.push(Effect::Accuse { peer, offence });
    }

    /// What was written down so far, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Effect<M, R, T>] {
        &self.queue
    }

    /// Whether nothing was written down.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes everything written down so far, in order; the numbering goes on.
    pub fn drain(&mut self) -> vec::Drain<'_, Effect<M, R, T>> {
        self.queue.drain(..)
    }

    /// Exchanges what was written down for `emptied`, without moving an effect; the numbering goes on.
    pub(crate) const fn swap(&mut self, emptied: &mut Vec<Effect<M, R, T>>) {
        core::mem::swap(&mut self.queue, emptied);
    }

    /// Takes the settings (`Some`) and cancellations (`None`) of timers out of what was written down, in order.
    pub(crate) fn take_timers(&mut self, mut each: impl FnMut(T, Option<Time>))
    where
        T: Copy,
    {
        self.queue.retain(|effect| {
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

    fn next_write(&mut self) -> WriteSeq {
        self.written = self.written.next();
        self.written
    }
}
