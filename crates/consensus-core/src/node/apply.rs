//! From decisions to the state machine: sessions, replies, reads, snapshots.

use super::{NodeError, Outcome, PendingSnapshot, Reply};
use crate::algorithm::Refusal;
use crate::guarantees::{Faults, Guarantees, Problem, Reads};
use crate::id::{ProposalId, ReadId, Slot};
use crate::machine::{Decision, StateMachine, Verdict};
use crate::session::{Admission, Sessions};
use crate::{snapshot, wire};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

/// What one decision costs beyond its payload, when it is judged whether a snapshot is due.
const DECISION_BYTES: u64 = 32;
/// The most reads that wait for the state machine; more are refused as [`Refusal::Busy`].
const MAX_PARKED_READS: usize = 1 << 16;
/// The most reads that go through the log at once; one more ends the oldest as [`Refusal::Interrupted`].
const MAX_BARRIERS: usize = 1 << 10;

/// The state machine, and everything that belongs to it: what was applied, the sessions, who waits.
pub(super) struct Executor<M> {
    pub(super) machine: M,
    sessions: Sessions,
    /// The last slot that the state machine has seen.
    pub(super) applied: Slot,
    parked_reads: Vec<(Slot, ReadId)>,
    /// Reads that go through the log, oldest first.
    barriers: VecDeque<(ProposalId, ReadId)>,
    pub(super) replies: Vec<Reply>,
    compaction: Compaction,
    /// A snapshot that nobody has taken away yet to write it out.
    pub(super) pending: Option<PendingSnapshot>,
    /// The one that is being written out.
    awaited: Option<Slot>,
    /// Whether snapshots may be written out beside the node.
    defers: bool,
    rules: Rules,
}

/// A snapshot that was asked for.
pub(super) enum Taken {
    Now(Slot, Bytes),
    Later,
}

/// What an algorithm's guarantees mean for its decisions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// They come in the one order of a log, without gaps.
    pub(super) is_ordered: bool,
    /// One proposal may be decided at two places: a liar may order again what was ordered before.
    pub(super) repeats: bool,
    /// One without a payload is a read that goes through the log.
    pub(super) has_barriers: bool,
}

impl Rules {
    pub(super) const fn of(guarantees: &Guarantees) -> Self {
        let is_ordered = matches!(guarantees.problem, Problem::Log);
        Self {
            is_ordered,
            repeats: is_ordered && matches!(guarantees.faults, Faults::Byzantine),
            has_barriers: is_ordered && matches!(guarantees.reads, Reads::ThroughLog),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Compaction {
    after_bytes: u64,
    after_slots: u64,
    since_last: u64,
    last_size: u64,
    last_slot: Slot,
}

/// How often a snapshot is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompactAfter {
    pub(super) bytes: u64,
    pub(super) slots: u64,
}

impl<M: StateMachine> Executor<M> {
    /// The machine as `snapshot` has it, which is not applied to anything yet.
    pub(super) fn open(
        mut machine: M,
        snapshot: Option<&(Slot, Bytes)>,
        compact_after: CompactAfter,
        defers: bool,
        rules: Rules,
    ) -> Result<Self, NodeError> {
        let (mut sessions, mut applied, mut last_size) = (Sessions::new(), Slot::ZERO, 0);
        if let Some((through, bytes)) = snapshot {
            if !bytes.is_empty() {
                let (table, state) = snapshot::open(bytes)?;
                machine.install(*through, state)?;
                sessions = table;
            }
            (applied, last_size) = (*through, bytes.len() as u64);
        }
        Ok(Self {
            machine,
            sessions,
            applied,
            parked_reads: Vec::new(),
            barriers: VecDeque::new(),
            replies: Vec::new(),
            compaction: Compaction {
                after_bytes: compact_after.bytes,
                after_slots: compact_after.slots,
                since_last: 0,
                last_size,
                last_slot: applied,
            },
            pending: None,
            awaited: None,
            defers,
            rules,
        })
    }

    // One for each decision of a batch: as a function of its own it costs twice.
    #[inline(always)]
    pub(super) fn apply(&mut self, decision: Decision<'_>) -> Result<(), NodeError> {
        let Decision { slot, id, verdict, payload } = decision;
        if self.rules.is_ordered && slot != self.applied.next() {
            return Err(NodeError::OutOfOrder { slot, applied: self.applied });
        }
        self.applied = self.applied.max(slot);
        self.compaction.since_last += payload.len() as u64 + DECISION_BYTES;
        let outcome = match (verdict, id) {
            (Verdict::Noop, _) => {
                if !payload.is_empty() {
                    self.follow_members(slot, payload);
                }
                Outcome::Noop
            }
            (Verdict::Commit, Some(id))
                if self.rules.has_barriers && payload.is_empty() && !id.opens_session() =>
            {
                if let Some(read) = self.take_barrier(id) {
                    self.replies.push(Reply::ReadReady { id: read, at: slot });
                    return Ok(());
                }
                Outcome::Noop
            }
            // Without one order for all, replicas would keep different tables: the algorithm itself decides a proposal once.
            (Verdict::Commit, Some(id)) if self.rules.is_ordered && id.concerns_sessions() => {
                self.apply_in_session(id, decision)
            }
            (Verdict::Commit, Some(id)) if self.rules.repeats => self.apply_once(id, decision),
            (Verdict::Commit, _) => Outcome::Applied(self.machine.apply(decision)),
            (Verdict::Abort, _) => Outcome::Aborted(self.machine.apply(decision)),
        };
        if let Some(id) = id {
            self.replies.push(Reply::Done { id, slot, outcome });
        }
        Ok(())
    }

    /// What is no list of members is a no-op with something else in it, for all replicas alike.
    #[cold]
    fn follow_members(&mut self, slot: Slot, payload: &Bytes) {
        if let Ok(members) = wire::decode(payload, payload.len()) {
            self.machine.follow_members(slot, &members);
        }
    }

    fn apply_in_session(&mut self, id: ProposalId, decision: Decision<'_>) -> Outcome {
        if id.opens_session() {
            return Outcome::Opened(self.sessions.open(decision.slot));
        }
        match self.sessions.admit(decision.slot, id) {
            Admission::Fresh => {
                let reply = self.machine.apply(decision);
                self.sessions.record(id, &reply);
                Outcome::Applied(reply)
            }
            Admission::Repeated(reply) => Outcome::Applied(reply),
            Admission::Stale => Outcome::Stale,
            Admission::Expired => Outcome::Expired,
        }
    }

    /// A liar may order again what was ordered before, and who begins a view may not know of it.
    fn apply_once(&mut self, id: ProposalId, decision: Decision<'_>) -> Outcome {
        match self.sessions.admit_once(id) {
            Admission::Fresh => {
                let reply = self.machine.apply(decision);
                self.sessions.record_once(id, decision.slot, &reply);
                Outcome::Applied(reply)
            }
            Admission::Repeated(reply) => Outcome::Applied(reply),
            Admission::Stale | Admission::Expired => Outcome::Stale,
        }
    }

    /// Answers at once what was carried out lately.
    pub(super) fn answers(&mut self, id: ProposalId) -> bool {
        if !self.rules.repeats {
            return false;
        }
        let Some((slot, reply)) = self.sessions.recall(id) else { return false };
        self.replies.push(Reply::Done { id, slot, outcome: Outcome::Applied(reply) });
        true
    }

    pub(super) fn install(&mut self, through: Slot, bytes: &Bytes) -> Result<(), NodeError> {
        if self.rules.is_ordered && through < self.applied {
            return Err(NodeError::OutOfOrder { slot: through, applied: self.applied });
        }
        if !bytes.is_empty() {
            let (sessions, state) = snapshot::open(bytes)?;
            self.machine.install(through, state)?;
            self.sessions = sessions;
        }
        self.applied = self.applied.max(through);
        (self.pending, self.awaited) = (None, None);
        self.compaction.since_last = 0;
        self.compaction.last_size = bytes.len() as u64;
        self.compaction.last_slot = self.applied;
        Ok(())
    }

    pub(super) const fn has_barriers(&self) -> bool {
        self.rules.has_barriers
    }

    /// A read goes through the log under this name.
    pub(super) fn await_barrier(&mut self, id: ProposalId, read: ReadId) {
        if self.barriers.len() >= MAX_BARRIERS
            && let Some((_, read)) = self.barriers.pop_front()
        {
            self.replies.push(Reply::ReadRefused { id: read, reason: Refusal::Interrupted });
        }
        self.barriers.push_back((id, read));
    }

    fn take_barrier(&mut self, id: ProposalId) -> Option<ReadId> {
        let place = self.barriers.iter().position(|&(name, _)| name == id)?;
        self.barriers.remove(place).map(|(_, read)| read)
    }

    /// A proposal was turned down, which may have been a read.
    pub(super) fn refuse(&mut self, id: ProposalId, reason: Refusal) {
        let reply = match self.take_barrier(id) {
            Some(id) => Reply::ReadRefused { id, reason },
            None => Reply::Refused { id, reason },
        };
        self.replies.push(reply);
    }

    pub(super) fn park_read(&mut self, id: ReadId, at: Slot) {
        if at <= self.applied {
            self.replies.push(Reply::ReadReady { id, at });
        } else if self.parked_reads.len() < MAX_PARKED_READS {
            self.parked_reads.push((at, id));
        } else {
            self.replies.push(Reply::ReadRefused { id, reason: Refusal::Busy });
        }
    }

    #[inline]
    pub(super) fn serve_parked_reads(&mut self) {
        if !self.parked_reads.is_empty() {
            self.serve_those_applied();
        }
    }

    fn serve_those_applied(&mut self) {
        let (applied, replies) = (self.applied, &mut self.replies);
        self.parked_reads.retain(|&(at, id)| {
            if at <= applied {
                replies.push(Reply::ReadReady { id, at });
            }
            at > applied
        });
    }

    #[inline]
    pub(super) fn snapshot_if_due(&mut self) -> Option<Taken> {
        let compaction = &self.compaction;
        let is_large = compaction.since_last > compaction.after_bytes.max(compaction.last_size);
        let is_long = self.applied.0 - compaction.last_slot.0 > compaction.after_slots;
        ((is_large || is_long) && self.awaited.is_none()).then(|| self.take_snapshot())
    }

    pub(super) fn take_snapshot(&mut self) -> Taken {
        let through = self.applied;
        self.compaction.since_last = 0;
        self.compaction.last_slot = through;
        let may_defer = self.defers && self.awaited.is_none();
        if let Some(frozen) = may_defer.then(|| self.machine.freeze()).flatten() {
            let head = snapshot::head(&self.sessions, 0);
            self.pending = Some(PendingSnapshot { through, head, frozen });
            self.awaited = Some(through);
            return Taken::Later;
        }
        let snapshot = snapshot::seal(&self.sessions, &self.machine.snapshot());
        self.compaction.last_size = snapshot.len() as u64;
        Taken::Now(through, snapshot)
    }

    /// What was written out, if that is still of use.
    pub(super) fn end_pending(&mut self, through: Slot, snapshot: Option<Bytes>) -> Option<Bytes> {
        self.awaited.take_if(|awaited| *awaited == through)?;
        let snapshot = snapshot?;
        self.compaction.last_size = snapshot.len() as u64;
        Some(snapshot)
    }
}
