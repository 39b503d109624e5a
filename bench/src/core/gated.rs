//! The bare append loop once more, as an algorithm behind `consensus_core::Node`: the difference to the bare loop is what the
//! gate costs, the difference to a real protocol is what the protocol costs.
//!
//! It has one fixed leader and no recovery: a yardstick, never a protocol.

use bytes::Bytes;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Decision, Epoch, Faults, Guarantees, In, Input, Members,
    Membership, NodeId, Out, Problem, ProposalId, Reads, Resilience, RestoreError, Role, Slot, Status,
    Termination, Time, Timing, Verdict, WriteSeq,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

const LEADER: NodeId = NodeId(1);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    id: ProposalId,
    payload: Bytes,
}

/// Entries from `first` on, shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Batch {
    first: Slot,
    entries: Arc<[Entry]>,
}

impl Batch {
    fn last(&self) -> Slot {
        Slot(self.first.0 + self.entries.len() as u64 - 1)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    Append(Batch),
    /// So many batches are durable at the sender.
    Appended(u64),
    /// So many batches are committed.
    Commit(u64),
}

pub(super) struct Gated {
    id: NodeId,
    members: Members,
    proposed: Vec<Entry>,
    /// Appended, not yet decided and handed over.
    log: VecDeque<Batch>,
    /// Batches that were in front of it.
    forgotten: u64,
    appended: u64,
    decided: u64,
    decided_slot: Slot,
    handed_over: Slot,
    /// The leader's: the last slot that it has given out.
    last_slot: Slot,
    /// The leader's: what each node holds durably, in the order of the members.
    durable: Vec<u64>,
    /// The leader's own writes on their way: write and batch count.
    writes: VecDeque<(WriteSeq, u64)>,
    /// A follower owes an acknowledgement.
    owes: bool,
}

impl Gated {
    fn decide_through(&mut self, batches: u64) {
        while self.decided < batches
            && let Some(batch) = self.log.get(usize::try_from(self.decided - self.forgotten).unwrap_or(0))
        {
            self.decided += 1;
            self.decided_slot = batch.last();
        }
    }

    fn on_durable(&mut self, node: NodeId, batches: u64, out: &mut Out<Self>) {
        let place = self.members.iter().position(|member| member == node);
        if let Some(durable) = place.and_then(|place| self.durable.get_mut(place)) {
            *durable = batches.max(*durable);
        }
        let mut durable = self.durable.clone();
        let majority = consensus_core::quorum::majority(durable.len());
        let committed = consensus_core::quorum::reached_by(&mut durable, majority).unwrap_or(0);
        if committed > self.decided {
            self.decide_through(committed);
            for node in self.members.others(self.id) {
                out.send_early(node, Message::Commit(committed));
            }
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message, out: &mut Out<Self>) {
        match message {
            Message::Append(batch) => {
                out.persist(batch.clone());
                self.log.push_back(batch);
                self.appended += 1;
                self.owes = true;
            }
            Message::Appended(batches) => self.on_durable(from, batches, out),
            Message::Commit(batches) => self.decide_through(batches),
        }
    }
}

impl ConsensusAlgorithm for Gated {
    const NAME: &'static str = "append behind the gate";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::Crash,
        resilience: Resilience::Zero,
        timing: Timing::Asynchronous,
        termination: Termination::Blocking,
        reads: Reads::Local,
        membership: Membership::Static,
    };
    type Config = ();
    type Message = Message;
    type Record = Batch;
    type Timer = ();

    fn validate((): &(), _members: &Members) -> Result<(), ConfigError> {
        Ok(())
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        // The driver waits for a first decision, as a real leader's no-op would be.
        let last_slot = Slot(1);
        out.decide(last_slot, None, Verdict::Noop, Bytes::new());
        Ok(Self {
            id: boot.id,
            durable: boot.members.iter().map(|_| 0).collect(),
            members: boot.members,
            proposed: Vec::new(),
            log: VecDeque::new(),
            forgotten: 0,
            handed_over: last_slot,
            appended: 0,
            decided: 0,
            decided_slot: last_slot,
            last_slot,
            writes: VecDeque::new(),
            owes: false,
        })
    }

    fn step(&mut self, _now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message } => self.on_message(from, message, out),
            Input::Propose { id, payload } => self.proposed.push(Entry { id, payload }),
            Input::Durable(seq) => {
                while let Some((_, batches)) = self.writes.pop_front_if(|(write, _)| *write <= seq) {
                    self.on_durable(self.id, batches, out);
                }
            }
            Input::Compact { through, snapshot } => {
                let tail = self.log.iter().cloned().collect();
                out.checkpoint(through, snapshot, tail);
            }
            // Nothing of this happens in a measurement.
            Input::Timer(())
            | Input::Read(_)
            | Input::Reconfigure { .. }
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. } => {}
        }
    }

    fn flush(&mut self, _now: Time, out: &mut Out<Self>) {
        // What was handed over with the last flush is applied by now.
        while self.log.front().is_some_and(|batch| batch.last() <= self.handed_over) {
            self.log.pop_front();
            self.forgotten += 1;
        }
        if self.decided_slot > self.handed_over {
            self.handed_over = self.decided_slot;
            // EARLY: nothing is ever recovered here.
            out.decide_through_early(self.handed_over);
        }
        if std::mem::take(&mut self.owes) {
            out.send(LEADER, Message::Appended(self.appended));
        }
        if self.proposed.is_empty() {
            return;
        }
        let batch = Batch { first: self.last_slot.next(), entries: self.proposed.drain(..).collect() };
        self.last_slot = batch.last();
        self.appended += 1;
        self.log.push_back(batch.clone());
        for node in self.members.others(self.id) {
            // EARLY: nothing is ever recovered here; a real protocol's append may leave early for its own reasons.
            out.send_early(node, Message::Append(batch.clone()));
        }
        self.writes.push_back((out.persist(batch), self.appended));
    }

    fn decided(&self, from: Slot, through: Slot) -> impl Iterator<Item = Decision<'_>> {
        let entries = self.log.iter().flat_map(|batch| (batch.first.0..).map(Slot).zip(batch.entries.iter()));
        let wanted =
            entries.skip_while(move |(slot, _)| *slot < from).take_while(move |(slot, _)| *slot <= through);
        wanted.map(|(slot, entry)| Decision {
            slot,
            id: Some(entry.id),
            verdict: Verdict::Commit,
            payload: &entry.payload,
        })
    }

    fn status(&self) -> Status {
        Status {
            role: if self.id == LEADER { Role::Leader } else { Role::Follower },
            leader: Some(LEADER),
            epoch: Epoch::ZERO,
            decided: self.decided_slot,
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }
}
