//! An algorithm that only a synchronous network can bear: every node beats, and who has not been heard for longer than a beat
//! can take *is* dead. So nobody needs a quorum: the lowest live node leads, and decides what all live nodes have. All but one
//! node may crash. Under any other timing a slow node is taken for a dead one, and two nodes decide apart.

use consensus_core::Bytes;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members, Membership, NodeId,
    Out, Problem, ProposalId, Reads, Refusal, Resilience, RestoreError, Role, Slot, Status, Termination,
    Time, Timing, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) const BEAT: Duration = Duration::from_millis(5);
const MAX_UNDECIDED: u64 = 64;

/// How long a live node may be unheard at most; what the bound Δ is needed for.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) suspect_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { suspect_after: Duration::from_secs(1) }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    id: ProposalId,
    payload: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Message {
    Beat,
    /// The leader's entries behind the first `after`, and how many are decided.
    Append {
        after: u64,
        entries: Vec<Entry>,
        decided: u64,
    },
    /// My log agrees with yours up to here.
    Have {
        length: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Beat,
}

/// With `HONEST`, it claims what it needs; otherwise it claims to need no bound.
pub(crate) struct Lockstep<const HONEST: bool> {
    id: NodeId,
    members: Members,
    suspect_after: Duration,
    log: Vec<Entry>,
    decided: u64,
    have: BTreeMap<NodeId, u64>,
    heard: BTreeMap<NodeId, Time>,
    dead: BTreeSet<NodeId>,
    dirty: bool,
}

impl<const HONEST: bool> ConsensusAlgorithm for Lockstep<HONEST> {
    const NAME: &'static str = "lockstep";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::Crash,
        resilience: Resilience::AllButOne,
        timing: if HONEST { Timing::Synchronous } else { Timing::PartialSynchrony },
        termination: Termination::AfterStabilisation,
        reads: Reads::ThroughLog,
        membership: Membership::Static,
    };
    type Config = Config;
    type Message = Message;
    type Record = ();
    type Timer = Timer;

    fn validate(_config: &Config, _members: &Members) -> Result<(), ConfigError> {
        Ok(())
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        out.set_timer(Timer::Beat, boot.now);
        Ok(Self {
            id: boot.id,
            heard: boot.members.others(boot.id).map(|node| (node, boot.now)).collect(),
            members: boot.members,
            suspect_after: boot.config.suspect_after,
            log: Vec::new(),
            decided: 0,
            have: BTreeMap::new(),
            dead: BTreeSet::new(),
            dirty: false,
        })
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message } => {
                self.heard.insert(from, now);
                self.on_message(from, message, out);
            }
            Input::Timer(Timer::Beat) => self.on_beat(now, out),
            Input::Propose { id, payload } => self.on_propose(id, payload, out),
            Input::Reconfigure { id, .. } => out.refuse(id, Refusal::Unsupported),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            // It writes nothing down, keeps its whole log, and believes its own ears alone.
            Input::Durable(_)
            | Input::Compact { .. }
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. } => {}
        }
    }

    fn flush(&mut self, _now: Time, out: &mut Out<Self>) {
        if !std::mem::take(&mut self.dirty) || self.leader() != self.id {
            return;
        }
        let lengths = self.live().map(|node| self.have.get(&node).copied().unwrap_or(0));
        let everywhere = lengths.min().unwrap_or(u64::MAX).min(self.log.len() as u64);
        self.decide_through(everywhere, out);
        self.append(out);
    }

    fn status(&self) -> Status {
        let leader = self.leader();
        Status {
            role: if leader == self.id { Role::Leader } else { Role::Follower },
            leader: Some(leader),
            epoch: Epoch(leader.0),
            decided: Slot(self.decided),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }
}

impl<const HONEST: bool> Lockstep<HONEST> {
    fn live(&self) -> impl Iterator<Item = NodeId> {
        self.members.others(self.id).filter(|node| !self.dead.contains(node))
    }

    fn leader(&self) -> NodeId {
        self.live().chain([self.id]).min().unwrap_or(self.id)
    }

    fn on_beat(&mut self, now: Time, out: &mut Out<Self>) {
        out.set_timer(Timer::Beat, now + BEAT);
        for (&node, &heard) in &self.heard {
            if now.since(heard) > self.suspect_after {
                self.dead.insert(node);
            }
        }
        self.dirty = true;
        for node in self.live() {
            out.send(node, Message::Beat);
        }
    }

    fn on_propose(&mut self, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        let leader = self.leader();
        if leader != self.id {
            out.refuse(id, Refusal::NotLeader { hint: Some(leader) });
        } else if self.log.len() as u64 - self.decided >= MAX_UNDECIDED {
            out.refuse(id, Refusal::Busy);
        } else {
            self.log.push(Entry { id, payload });
            self.dirty = true;
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message, out: &mut Out<Self>) {
        match message {
            Message::Beat => {}
            Message::Have { length } => {
                let known = self.have.entry(from).or_default();
                self.dirty |= length > *known;
                *known = length.max(*known);
            }
            Message::Append { after, entries, decided } if !self.dead.contains(&from) => {
                let verified = self.take(after, entries);
                self.decide_through(decided.min(verified), out);
                out.send(from, Message::Have { length: verified });
            }
            Message::Append { .. } => {}
        }
    }

    /// Makes the log equal to the leader's; up to where it is.
    fn take(&mut self, after: u64, entries: Vec<Entry>) -> u64 {
        let mut place = usize::try_from(after).unwrap_or(usize::MAX);
        if place > self.log.len() {
            return self.decided;
        }
        for entry in entries {
            if self.log.get(place) != Some(&entry) {
                self.log.truncate(place);
                self.log.push(entry);
            }
            place += 1;
        }
        place as u64
    }

    fn append(&self, out: &mut Out<Self>) {
        let from = usize::try_from(self.decided).unwrap_or(usize::MAX);
        for node in self.live() {
            // Who took over may have to show the others entries that they have applied already.
            let after = from.min(usize::try_from(self.have.get(&node).copied().unwrap_or(0)).unwrap_or(0));
            let entries = self.log.get(after..).unwrap_or_default().to_vec();
            out.send(node, Message::Append { after: after as u64, entries, decided: self.decided });
        }
    }

    fn decide_through(&mut self, through: u64, out: &mut Out<Self>) {
        while self.decided < through {
            let Some(entry) = usize::try_from(self.decided).ok().and_then(|index| self.log.get(index)) else {
                return;
            };
            self.decided += 1;
            out.decide(Slot(self.decided), Some(entry.id), Verdict::Commit, entry.payload.clone());
        }
    }
}
