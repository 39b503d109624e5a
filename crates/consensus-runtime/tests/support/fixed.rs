//! The smallest algorithm that uses every path of the runtime: node 1 leads for ever, decides alone once its disk has the
//! proposal, and tells the others. It tolerates no fault; it is here to make the runtime's behaviour predictable.

use bytes::Bytes;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members, Membership, NodeId,
    Out, Problem, ProposalId, ReadId, Reads, Refusal, Resilience, Role, Slot, Status, Termination, Timing,
    Verdict,
};
use serde::{Deserialize, Serialize};

pub const LEADER: NodeId = NodeId(1);

#[derive(Clone, Copy, Debug, Default)]
pub struct FixedConfig {
    /// The leader takes proposals and never decides them.
    pub mute: bool,
    /// The leader ignores the first read request of others, as if it had been lost.
    pub lose_first_read: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub id: ProposalId,
    pub payload: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FixedMessage {
    /// The log from this place on.
    Want(Slot),
    Decided(Slot, Entry),
    ReadIndex(ReadId),
    ReadAt(ReadId, Slot),
}

pub struct Fixed {
    id: NodeId,
    members: Members,
    config: FixedConfig,
    log: Vec<Entry>,
    reads_seen: usize,
}

impl Fixed {
    fn decide(&mut self, entry: Entry, out: &mut Out<Self>) {
        self.log.push(entry.clone());
        let slot = Slot(self.log.len() as u64);
        out.persist(entry.clone());
        out.decide(slot, Some(entry.id), Verdict::Commit, entry.payload.clone());
        if self.id == LEADER {
            for peer in self.members.others(self.id) {
                out.send(peer, FixedMessage::Decided(slot, entry.clone()));
            }
        }
    }

    fn on_message(&mut self, from: NodeId, message: FixedMessage, out: &mut Out<Self>) {
        match message {
            FixedMessage::Want(slot) => {
                let first = usize::try_from(slot.0).unwrap() - 1;
                for (index, entry) in self.log.iter().enumerate().skip(first) {
                    out.send(from, FixedMessage::Decided(Slot(index as u64 + 1), entry.clone()));
                }
            }
            FixedMessage::Decided(slot, entry) => {
                let next = Slot(self.log.len() as u64).next();
                if slot == next {
                    self.decide(entry, out);
                } else if slot > next {
                    out.send(from, FixedMessage::Want(next));
                }
            }
            FixedMessage::ReadIndex(id) => {
                self.reads_seen += 1;
                if self.reads_seen > 1 || !self.config.lose_first_read {
                    out.send(from, FixedMessage::ReadAt(id, Slot(self.log.len() as u64)));
                }
            }
            FixedMessage::ReadAt(id, slot) => {
                out.read_ready(id, slot);
                if slot.0 > self.log.len() as u64 {
                    out.send(from, FixedMessage::Want(Slot(self.log.len() as u64).next()));
                }
            }
        }
    }
}

impl ConsensusAlgorithm for Fixed {
    const NAME: &'static str = "fixed";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Zero,
        timing: Timing::Asynchronous,
        termination: Termination::Blocking,
        reads: Reads::Barrier,
        membership: Membership::Static,
    };
    type Config = FixedConfig;
    type Message = FixedMessage;
    type Record = Entry;
    type Timer = ();

    fn validate(_config: &FixedConfig, _members: &Members) -> Result<(), ConfigError> {
        Ok(())
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Self {
        for (slot, entry) in (1..).map(Slot).zip(&boot.records) {
            out.decide(slot, Some(entry.id), Verdict::Commit, entry.payload.clone());
        }
        let Boot { id, members, config, records: log, .. } = boot;
        Self { id, members, config, log, reads_seen: 0 }
    }

    fn step(&mut self, _now: consensus_core::Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message } => self.on_message(from, message, out),
            Input::Propose { id, .. } if self.id != LEADER => {
                out.refuse(id, Refusal::NotLeader { hint: Some(LEADER) });
            }
            Input::Propose { id, payload } => {
                if !self.config.mute {
                    self.decide(Entry { id, payload }, out);
                }
            }
            Input::Read(id) if self.id == LEADER => out.read_ready(id, Slot(self.log.len() as u64)),
            Input::Read(id) => out.send(LEADER, FixedMessage::ReadIndex(id)),
            Input::Reconfigure { id, .. } => out.refuse(id, Refusal::Unsupported),
            Input::Timer(())
            | Input::Durable(_)
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. }
            | Input::Compact { .. } => {}
        }
    }

    fn status(&self) -> Status {
        Status {
            role: if self.id == LEADER { Role::Leader } else { Role::Follower },
            leader: Some(LEADER),
            epoch: Epoch(1),
            decided: Slot(self.log.len() as u64),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }
}
