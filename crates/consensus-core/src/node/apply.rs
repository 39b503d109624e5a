//! From decisions to the state machine: sessions, replies, reads, snapshots.

use super::gate::{Decided, Handover};
use super::{Node, NodeError, Outcome, Reply, Stopped};
use crate::algorithm::{ConsensusAlgorithm, Refusal};
use crate::hand_off::{Network, Storage};
use crate::id::{ProposalId, ReadId, Slot};
use crate::machine::{Decision, StateMachine, Verdict};
use crate::session::Admission;
use crate::{snapshot, wire};
use bytes::Bytes;

/// What one decision costs beyond its payload, when it is judged whether a snapshot is due.
const DECISION_BYTES: u64 = 32;
/// The most reads that wait for the state machine; more are refused as [`Refusal::Busy`].
const MAX_PARKED_READS: usize = 1 << 16;

impl<A, N, S, M> Node<A, N, S, M>
where
    A: ConsensusAlgorithm,
    N: Network<A::Message>,
    S: Storage<A::Record>,
    M: StateMachine,
{
    pub(super) fn take_over(&mut self, handover: Handover<A::Record>) -> Result<(), Stopped> {
        match handover {
            Handover::Decide(Decided { slot, id, verdict, payload }) => {
                self.apply(Decision { slot, id, verdict, payload: &payload })
            }
            Handover::DecideRecord(record) => self.apply_all(&record),
            Handover::Install { through, snapshot } => self.install(through, &snapshot),
            Handover::Refuse { id, reason } => {
                self.replies.push(Reply::Refused { id, reason });
                Ok(())
            }
        }
    }

    pub(super) fn apply_all(&mut self, record: &A::Record) -> Result<(), Stopped> {
        let mut decisions = A::decisions(record).peekable();
        if decisions.peek().is_none() {
            return Err(self.stop(NodeError::NothingDecided));
        }
        decisions.try_for_each(|decision| self.apply(decision))
    }

    #[inline(always)]
    fn apply(&mut self, decision: Decision<'_>) -> Result<(), Stopped> {
        let Decision { slot, id, verdict, payload } = decision;
        if Self::ordered() && slot != self.applied.next() {
            return Err(self.stop(NodeError::OutOfOrder { slot, applied: self.applied }));
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
            // Without one order for all, replicas would keep different tables: the algorithm itself decides a proposal once.
            (Verdict::Commit, Some(id)) if Self::ordered() && id.concerns_sessions() => {
                self.apply_in_session(id, decision)
            }
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

    fn install(&mut self, through: Slot, bytes: &Bytes) -> Result<(), Stopped> {
        if Self::ordered() && through < self.applied {
            return Err(self.stop(NodeError::OutOfOrder { slot: through, applied: self.applied }));
        }
        if !bytes.is_empty() {
            let (sessions, state) = snapshot::open(bytes).map_err(|error| self.stop(error))?;
            self.machine.install(through, state).map_err(|error| self.stop(error))?;
            self.sessions = sessions;
        }
        self.applied = self.applied.max(through);
        self.compaction.since_last = 0;
        self.compaction.last_size = bytes.len() as u64;
        Ok(())
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
        if self.parked_reads.is_empty() {
            return;
        }
        let (applied, replies) = (self.applied, &mut self.replies);
        self.parked_reads.retain(|&(at, id)| {
            if at <= applied {
                replies.push(Reply::ReadReady { id, at });
            }
            at > applied
        });
    }

    #[inline]
    pub(super) fn snapshot_if_due(&mut self) -> Option<(Slot, Bytes)> {
        let compaction = &mut self.compaction;
        if compaction.since_last <= compaction.threshold.max(compaction.last_size) {
            return None;
        }
        let snapshot = snapshot::seal(&self.sessions, &self.machine.snapshot());
        compaction.since_last = 0;
        compaction.last_size = snapshot.len() as u64;
        Some((self.applied, snapshot))
    }
}
