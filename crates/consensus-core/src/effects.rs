//! What a protocol wants to happen, as data.
//!
//! The short names are the safe ones: [`Effects::send`] and [`Effects::decide`] wait until everything persisted before
//! them is durable. The `_early` variants do not wait, and each use of them must say why that is sound.

use crate::algorithm::{Offence, Refusal};
use crate::id::{NodeId, ProposalId, ReadId, Slot, WriteSeq};
use crate::inspect::Note;
use crate::machine::Verdict;
use crate::members::Members;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::vec::{Drain, Vec};
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
pub enum Effect<T> {
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
    /// Every decision up to `through` that was not handed over yet, read where the algorithm keeps it
    /// ([`crate::ConsensusAlgorithm::decided`]), as if each were emitted as [`Effect::Decide`]: nothing is copied on the way.
    DecideThrough {
        /// The last slot.
        through: Slot,
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
    /// Take a snapshot right here, after every decision emitted before and none emitted later. It comes as
    /// [`crate::Input::Compact`]: where replicas compare their states, all must take it at the same place.
    Snapshot {
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
    /// Something has happened that a person may want to know.
    Note(Note),
}

/// The buffer that a protocol writes its effects into. It numbers the writes.
///
/// It has lanes: writes, messages that may leave, messages that wait for the disk, and everything else. Each keeps its order;
/// between them there is no order but that of the write numbers that a message or a decision names.
#[derive(Clone, Debug)]
pub struct Effects<M, R, T> {
    writes: Vec<Write<R>>,
    /// Messages that depend on nothing, or on what is durable.
    sends: Vec<(NodeId, M)>,
    /// Messages that depend on a write that was not known to be durable.
    held: Vec<Outgoing<M>>,
    others: Vec<Effect<T>>,
    written: WriteSeq,
    durable: WriteSeq,
}

impl<M, R, T> Default for Effects<M, R, T> {
    fn default() -> Self {
        Self {
            writes: Vec::new(),
            sends: Vec::new(),
            held: Vec::new(),
            others: Vec::new(),
            written: WriteSeq::ZERO,
            durable: WriteSeq::ZERO,
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
        self.writes.push(Write::Append { seq, record });
        seq
    }

    /// Replaces everything written so far by a snapshot and the records that are still needed.
    pub fn checkpoint(&mut self, through: Slot, snapshot: Bytes, tail: Vec<R>) -> WriteSeq {
        let seq = self.number();
        self.writes.push(Write::Checkpoint { seq, through, snapshot, tail });
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
        if after <= self.durable {
            self.sends.push((to, message));
        } else {
            self.held.push(Outgoing { to, message, after });
        }
    }

    /// Sends at once. Sound only if, having forgotten it in a crash, we can never contradict it: a Raft append, a prepare
    /// of two-phase commit, a heartbeat; never a vote, a ballot, a PBFT pre-prepare.
    #[inline]
    pub fn send_early(&mut self, to: NodeId, message: M) {
        self.sends.push((to, message));
    }

    /// Wakes us at `at` for `timer`.
    pub fn set_timer(&mut self, timer: T, at: Time) {
        self.others.push(Effect::SetTimer { timer, at });
    }

    /// Does not wake us for `timer`.
    pub fn cancel_timer(&mut self, timer: T) {
        self.others.push(Effect::CancelTimer(timer));
    }

    /// Hands a decision to the state machine once everything persisted so far is durable.
    pub fn decide(&mut self, slot: Slot, id: Option<ProposalId>, verdict: Verdict, payload: Bytes) {
        let after = self.written;
        self.others.push(Effect::Decide { slot, id, verdict, payload, after });
    }

    /// Hands a decision to the state machine at once. Sound only if the decision stands without our own disk: a quorum
    /// elsewhere holds it durably.
    pub fn decide_early(&mut self, slot: Slot, id: Option<ProposalId>, verdict: Verdict, payload: Bytes) {
        self.others.push(Effect::Decide { slot, id, verdict, payload, after: WriteSeq::ZERO });
    }

    /// Hands every decision up to `through` that was not handed over yet to the state machine once everything persisted so far
    /// is durable. For [`crate::ConsensusAlgorithm::flush`]: the decisions are read before the next input.
    #[inline]
    pub fn decide_through(&mut self, through: Slot) {
        let after = self.written;
        self.others.push(Effect::DecideThrough { through, after });
    }

    /// [`Effects::decide_through`] at once. Sound under the condition of [`Effects::decide_early`].
    #[inline]
    pub fn decide_through_early(&mut self, through: Slot) {
        self.others.push(Effect::DecideThrough { through, after: WriteSeq::ZERO });
    }

    /// Serves the read once everything up to `at` is applied.
    pub fn read_ready(&mut self, id: ReadId, at: Slot) {
        self.others.push(Effect::ReadReady { id, at });
    }

    /// Asks the state machine for its vote.
    pub fn judge(&mut self, id: ProposalId, payload: Bytes) {
        self.others.push(Effect::Judge { id, payload });
    }

    /// Turns a proposal down: at once, but [`Refusal::Settled`] waits until everything persisted so far is durable, since it
    /// tells of a decision.
    pub fn refuse(&mut self, id: ProposalId, reason: Refusal) {
        self.others.push(Effect::Refuse { id, reason });
    }

    /// Turns a read down.
    pub fn refuse_read(&mut self, id: ReadId, reason: Refusal) {
        self.others.push(Effect::RefuseRead { id, reason });
    }

    /// Hands a peer's snapshot to the state machine once everything persisted so far is durable, and after every decision
    /// emitted before.
    pub fn install(&mut self, through: Slot, snapshot: Bytes) {
        let after = self.written;
        self.others.push(Effect::Install { through, snapshot, after });
    }

    /// Asks for a snapshot that contains every decision emitted before, and none emitted later, once everything persisted so far
    /// is durable. The answer is [`crate::Input::Compact`].
    pub fn snapshot(&mut self) {
        let after = self.written;
        self.others.push(Effect::Snapshot { after });
    }

    /// Announces the members.
    pub fn members(&mut self, members: Members) {
        self.others.push(Effect::Members(Box::new(members)));
    }

    /// Accuses a peer.
    pub fn accuse(&mut self, peer: NodeId, offence: Offence) {
        self.others.push(Effect::Accuse { peer, offence });
    }

    /// Tells of something that a person may want to know.
    pub fn note(&mut self, note: Note) {
        self.others.push(Effect::Note(note));
    }

    /// The effects beside writes and messages, oldest first.
    pub fn others(&self) -> impl ExactSizeIterator<Item = &Effect<T>> {
        self.others.iter()
    }

    /// Whether nothing is written down.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.sends.is_empty() && self.held.is_empty() && self.others.is_empty()
    }

    /// Takes all writes, oldest first.
    #[inline]
    pub fn take_writes(&mut self) -> impl Iterator<Item = Write<R>> {
        oldest_first(&mut self.writes)
    }

    /// The messages that may leave now, with their receivers, oldest first, to be taken by somebody who empties the list.
    #[inline]
    pub const fn free_sends(&mut self) -> &mut Vec<(NodeId, M)> {
        &mut self.sends
    }

    /// Takes all messages that depend on a write that was not known to be durable, oldest first.
    pub fn take_held(&mut self) -> Drain<'_, Outgoing<M>> {
        self.held.drain(..)
    }

    /// Takes note that every write up to `durable` is durable: what depends on no later one is free.
    #[inline]
    pub fn note_durable(&mut self, durable: WriteSeq) {
        self.durable = self.durable.max(durable);
    }

    /// Takes all other effects, oldest first.
    #[inline]
    pub fn take_others(&mut self) -> impl Iterator<Item = Effect<T>> {
        oldest_first(&mut self.others)
    }

    /// Exchanges the other effects for those in `others`: what is carried out may bring new ones.
    #[inline]
    pub(crate) fn swap_others(&mut self, others: &mut Vec<Effect<T>>) {
        core::mem::swap(&mut self.others, others);
    }

    /// Whether there is anything to write.
    pub(crate) const fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether a message waits for the disk.
    pub(crate) const fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether there is anything beside writes and messages.
    pub(crate) const fn has_others(&self) -> bool {
        !self.others.is_empty()
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

/// Empties `list` from the front, as `drain` does. Mostly there is one item, and then this is a move and no more.
#[inline]
pub(crate) fn oldest_first<I>(list: &mut Vec<I>) -> impl Iterator<Item = I> {
    if list.len() > 1 {
        list.reverse();
    }
    core::iter::from_fn(|| list.pop())
}
