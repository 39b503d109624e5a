//! An algorithm of one's own, as small as can be: node 1 leads for ever, and what a majority has on disk is decided.
//!
//! Every node may crash and come back, but none may be lost for good. An input comes in, and effects are written down; nothing
//! is done here. Each [`Flaw`] is a mistake that is easily made, for the suite to find.

use bytes::Bytes;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members, Membership, NodeId,
    Out, Problem, ProposalId, Reads, Refusal, Resilience, RestoreError, Role, Slot, Status, Termination,
    Time, Timing, Verdict, WriteSeq, quorum,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const RETRANSMIT: Duration = Duration::from_millis(20);
const LEADER: NodeId = NodeId(1);
const MAX_BATCH: usize = 64;

/// A planted mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flaw {
    /// It is as it should be.
    #[default]
    None,
    /// A follower acknowledges before its disk has the entry.
    AckEarly,
    /// The same, and it takes entries that do not follow on its last.
    AckEarlyAndAcceptGaps,
    /// Each node decides its own name in place of what was proposed.
    DecideOwn,
    /// Followers never answer.
    Mute,
    /// The leader sends an entry of each batch twice.
    Repeat,
    /// A follower calls itself leader.
    TwoLeaders,
    /// A node believes that more is durable than there is.
    BrokenInvariant,
}

/// What a user may choose.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The mistake, if any.
    pub flaw: Flaw,
}

/// A place of the log, in messages and on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    id: ProposalId,
    payload: Bytes,
}

/// What nodes tell each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Message {
    /// Entries behind the first `after`, and how many are decided.
    Append { after: u64, entries: Vec<Entry>, decided: u64 },
    /// This many entries are on my disk.
    Have { length: u64 },
}

type Append = (u64, Vec<Entry>, u64);

/// Why a node wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// To send again what may have been lost.
    Retransmit,
}

/// One node's state.
#[derive(Debug)]
pub struct FixedLeader {
    id: NodeId,
    members: Members,
    flaw: Flaw,
    log: Vec<Entry>,
    /// Where the log stood at each write that is not durable yet.
    writing: BTreeMap<WriteSeq, u64>,
    durable: u64,
    decided: u64,
    have: BTreeMap<NodeId, u64>,
    dirty: bool,
}

impl ConsensusAlgorithm for FixedLeader {
    const NAME: &'static str = "fixed-leader";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Zero,
        timing: Timing::PartialSynchrony,
        termination: Termination::Blocking,
        reads: Reads::ThroughLog,
        membership: Membership::Static,
    };
    type Config = Config;
    type Message = Message;
    type Record = Entry;
    type Timer = Timer;

    fn validate(_config: &Config, members: &Members) -> Result<(), ConfigError> {
        if members.is_voter(LEADER) {
            return Ok(());
        }
        Err(ConfigError::new("members", "node 1 must be among them, since it leads"))
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        out.set_timer(Timer::Retransmit, boot.now + RETRANSMIT);
        let durable = boot.records.len() as u64 + u64::from(boot.config.flaw == Flaw::BrokenInvariant);
        Ok(Self {
            id: boot.id,
            members: boot.members,
            flaw: boot.config.flaw,
            log: boot.records,
            writing: BTreeMap::new(),
            durable,
            decided: 0,
            have: BTreeMap::new(),
            dirty: true,
        })
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message: Message::Append { after, entries, decided } } => {
                self.on_append(from, (after, entries, decided), out);
            }
            Input::Message { from, message: Message::Have { length } } => {
                let known = self.have.entry(from).or_default();
                self.dirty |= length > *known;
                *known = length.max(*known);
            }
            Input::Timer(Timer::Retransmit) => {
                out.set_timer(Timer::Retransmit, now + RETRANSMIT);
                self.retransmit(out);
            }
            Input::Durable(seq) => {
                while let Some(entry) = self.writing.first_entry().filter(|entry| *entry.key() <= seq) {
                    self.durable = entry.remove();
                }
                self.dirty = true;
            }
            Input::Propose { id, payload } if self.id == LEADER => self.append(Entry { id, payload }, out),
            Input::Propose { id, .. } => out.refuse(id, Refusal::NotLeader { hint: Some(LEADER) }),
            Input::Reconfigure { id, .. } => out.refuse(id, Refusal::Unsupported),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            // It keeps its whole log, has one leader for ever, and nothing to judge.
            Input::Compact { .. }
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. } => {}
        }
    }

    fn flush(&mut self, _now: Time, out: &mut Out<Self>) {
        if !std::mem::take(&mut self.dirty) || self.id != LEADER {
            return;
        }
        let mut lengths: Vec<u64> =
            self.members.others(self.id).map(|node| self.have.get(&node).copied().unwrap_or(0)).collect();
        lengths.push(self.durable);
        let needed = quorum::majority(lengths.len());
        let reached = quorum::reached_by(&mut lengths, needed).unwrap_or(0);
        self.decide_through(reached, out);
        self.retransmit(out);
    }

    fn status(&self) -> Status {
        let leads = self.id == LEADER || (self.flaw == Flaw::TwoLeaders && self.decided > 5);
        Status {
            role: if leads { Role::Leader } else { Role::Follower },
            leader: Some(LEADER),
            epoch: Epoch(1),
            decided: Slot(self.decided),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    fn assert_invariants(&self) {
        assert!(self.durable <= self.log.len() as u64, "more is durable than there is");
    }
}

impl FixedLeader {
    fn append(&mut self, entry: Entry, out: &mut Out<Self>) {
        let seq = out.persist(entry.clone());
        self.log.push(entry);
        self.writing.insert(seq, self.log.len() as u64);
    }

    fn on_append(&mut self, from: NodeId, (after, entries, decided): Append, out: &mut Out<Self>) {
        let gap = after > self.log.len() as u64;
        if !gap || self.flaw == Flaw::AckEarlyAndAcceptGaps {
            let known = (self.log.len() as u64).saturating_sub(after);
            for entry in entries.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)) {
                self.append(entry, out);
            }
        }
        if self.flaw == Flaw::Mute {
            return;
        }
        let length = self.log.len() as u64;
        self.decide_through(decided.min(length), out);
        if matches!(self.flaw, Flaw::AckEarly | Flaw::AckEarlyAndAcceptGaps) {
            out.send_early(from, Message::Have { length });
        } else {
            out.send(from, Message::Have { length });
        }
    }

    fn decide_through(&mut self, through: u64, out: &mut Out<Self>) {
        while self.decided < through {
            let Some(entry) = usize::try_from(self.decided).ok().and_then(|index| self.log.get(index)) else {
                return;
            };
            self.decided += 1;
            let mut payload = entry.payload.clone();
            if self.flaw == Flaw::DecideOwn && self.decided == 7 {
                payload = Bytes::from(vec![u8::try_from(self.id.0).unwrap_or(0)]);
            }
            out.decide(Slot(self.decided), Some(entry.id), Verdict::Commit, payload);
        }
    }

    fn retransmit(&mut self, out: &mut Out<Self>) {
        if self.id != LEADER {
            return;
        }
        for node in self.members.others(self.id) {
            let after = self.have.get(&node).copied().unwrap_or(0);
            let from = usize::try_from(after).unwrap_or(usize::MAX);
            let to = usize::try_from(self.durable).unwrap_or(usize::MAX).min(from.saturating_add(MAX_BATCH));
            let mut entries = self.log.get(from..to).unwrap_or_default().to_vec();
            if self.flaw == Flaw::Repeat && entries.len() > 1 {
                entries.extend(entries.first().cloned());
            }
            // A follower decides what the leader has decided, which no crash of the leader can take back.
            out.send(node, Message::Append { after, entries, decided: self.decided });
        }
    }
}
