//! Consistent broadcast as a log (in the manner of Bracha's echoes): node 1 orders commands by slot, every node echoes at most
//! one command per slot, and what ⌈(n+f+1)/2⌉ nodes echo alike is decided. Two such sets share a correct node, so that correct
//! nodes never disagree while n > 3f.
//!
//! - A node echoes what the sender orders only if a client asked it for the same, or if f + 1 nodes vouch for it by their own
//!   echoes: what nobody proposed is never decided, and what one correct node decides all others can follow, as long as the
//!   sender is correct.
//! - A Byzantine sender may stop the group for good, for it never gets a successor. So the algorithm claims to block
//!   ([`Blocking`]); where the tests keep the sender correct, it claims to live ([`Living`]).
//! - An echo is a promise: it is durable before it is sent.

use bytes::Bytes;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members, Membership, NodeId,
    Offence, Out, Problem, ProposalId, Reads, Refusal, Resilience, RestoreError, Role, Slot, Status,
    Termination, Time, Timing, Verdict, quorum,
};
use consensus_sim::{Mutate, Stream};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const RETRANSMIT: Duration = Duration::from_millis(50);
pub(crate) const SENDER: NodeId = NodeId(1);
/// How far a node looks beyond what it has decided.
const WINDOW: u64 = 128;
/// How many slots one answer tells of.
const MAX_ANSWER: usize = 32;
const MAX_REQUESTS: usize = 1_024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// A simple majority of echoes decides.
    Majority,
    /// A node echoes again when the sender changes its mind.
    EchoTwice,
    /// A node echoes what no client asked for.
    EchoUnasked,
    /// It counts messages in place of those who say them.
    CountMessages,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: ProposalId,
    pub(crate) payload: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// This is the word of the one who says it on `slot`: the sender orders by it, the others echo.
    Word { slot: u64, entry: Entry },
    /// I have decided all slots below this one; tell me your words from there on.
    Need { slot: u64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Said {
    slot: u64,
    entry: Entry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Retransmit,
}

/// The algorithm; `LIVES`: its claim to progress.
pub(crate) struct Echo<const LIVES: bool> {
    id: NodeId,
    members: Members,
    flaw: Flaw,
    /// What clients asked this node for, and nobody has decided yet.
    requests: BTreeMap<ProposalId, Bytes>,
    /// Our own word on each slot, for good.
    said: BTreeMap<u64, Entry>,
    /// Everybody's word on the slots of the window.
    words: BTreeMap<u64, BTreeMap<NodeId, Vec<Entry>>>,
    decided: BTreeMap<u64, Entry>,
    decided_at: BTreeMap<ProposalId, u64>,
}

pub(crate) type Blocking = Echo<false>;
pub(crate) type Living = Echo<true>;

impl<const LIVES: bool> ConsensusAlgorithm for Echo<LIVES> {
    const NAME: &'static str = if LIVES { "echo, correct sender" } else { "echo" };
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::Byzantine,
        resilience: Resilience::Third,
        timing: Timing::PartialSynchrony,
        termination: if LIVES { Termination::AfterStabilisation } else { Termination::Blocking },
        reads: Reads::ThroughLog,
        membership: Membership::Static,
    };
    type Config = Config;
    type Message = Message;
    type Record = Said;
    type Timer = Timer;

    fn validate(_config: &Config, members: &Members) -> Result<(), ConfigError> {
        if members.is_voter(SENDER) {
            return Ok(());
        }
        Err(ConfigError::new("members", "node 1 must be among them, since it orders"))
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        out.set_timer(Timer::Retransmit, boot.now + RETRANSMIT);
        let mut echo = Self {
            id: boot.id,
            members: boot.members,
            flaw: boot.config.flaw,
            requests: BTreeMap::new(),
            said: BTreeMap::new(),
            words: BTreeMap::new(),
            decided: BTreeMap::new(),
            decided_at: BTreeMap::new(),
        };
        for Said { slot, entry } in boot.records {
            echo.said.insert(slot, entry);
        }
        for slot in 1..=WINDOW {
            echo.count_own(slot);
        }
        echo.decide(out);
        Ok(echo)
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message: Message::Word { slot, entry } } => {
                self.on_word(from, slot, entry, out);
            }
            Input::Message { from, message: Message::Need { slot } } => self.on_need(from, slot, out),
            Input::Timer(Timer::Retransmit) => {
                out.set_timer(Timer::Retransmit, now + RETRANSMIT);
                let slot = self.next();
                for node in self.members.others(self.id) {
                    out.send(node, Message::Need { slot });
                }
            }
            Input::Propose { id, payload } => self.on_propose(id, payload, out),
            Input::Reconfigure { id, .. } => out.refuse(id, Refusal::Unsupported),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            // It keeps its whole log, has one sender for ever, and nothing to judge.
            Input::Durable(_)
            | Input::Compact { .. }
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. } => {}
        }
    }

    fn status(&self) -> Status {
        Status {
            role: if self.id == SENDER { Role::Leader } else { Role::Follower },
            leader: Some(SENDER),
            epoch: Epoch(1),
            decided: Slot(self.decided.len() as u64),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    fn assert_invariants(&self) {
        let last = self.decided.last_key_value().map_or(0, |(&slot, _)| slot);
        assert_eq!(last, self.decided.len() as u64, "decisions have no gap");
    }
}

impl<const LIVES: bool> Echo<LIVES> {
    fn n(&self) -> usize {
        self.members.voters().len()
    }

    fn f(&self) -> usize {
        Self::GUARANTEES.tolerated(self.n())
    }

    fn quorum(&self) -> usize {
        match self.flaw {
            Flaw::Majority => quorum::majority(self.n()),
            Flaw::None | Flaw::EchoTwice | Flaw::EchoUnasked | Flaw::CountMessages => {
                (self.n() + self.f() + 1).div_ceil(2)
            }
        }
    }

    fn next(&self) -> u64 {
        self.decided.len() as u64 + 1
    }

    fn in_window(&self, slot: u64) -> bool {
        (self.next()..self.next() + WINDOW).contains(&slot)
    }

    fn on_propose(&mut self, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        if self.requests.len() >= MAX_REQUESTS {
            out.refuse(id, Refusal::Busy);
            return;
        }
        self.requests.insert(id, payload.clone());
        if self.id == SENDER {
            let slot = self.said.last_key_value().map_or(1, |(&slot, _)| slot + 1).max(self.next());
            let under_way = self.said.range(self.next()..).any(|(_, entry)| entry.id == id);
            if under_way {
                return;
            }
            if !self.in_window(slot) {
                out.refuse(id, Refusal::Busy);
                return;
            }
            self.say(slot, Entry { id, payload }, out);
        }
        for slot in self.next()..self.next() + WINDOW {
            self.consider(slot, out);
        }
        self.decide(out);
    }

    fn on_word(&mut self, from: NodeId, slot: u64, entry: Entry, out: &mut Out<Self>) {
        if !self.in_window(slot) || !self.members.is_voter(from) {
            return;
        }
        let counts_messages = self.flaw == Flaw::CountMessages;
        let words = self.words.entry(slot).or_default().entry(from).or_default();
        if words.is_empty() || counts_messages {
            words.push(entry);
        } else if !words.contains(&entry) {
            out.accuse(from, Offence::Equivocation("two words on one slot"));
            if self.flaw == Flaw::EchoTwice {
                self.said.remove(&slot);
                self.say(slot, entry, out);
            }
        }
        self.consider(slot, out);
        self.decide(out);
    }

    /// Echoes what deserves it.
    fn consider(&mut self, slot: u64, out: &mut Out<Self>) {
        if self.said.contains_key(&slot) {
            return;
        }
        let Some(words) = self.words.get(&slot) else { return };
        let vouched = words.values().flatten().find(|&entry| self.alike(slot, entry) > self.f()).cloned();
        let ordered = words.get(&SENDER).and_then(|words| words.first()).cloned();
        let ordered = ordered.filter(|entry| self.is_known(entry));
        if let Some(entry) = vouched.or(ordered) {
            self.say(slot, entry, out);
        }
    }

    /// Whether a client asked for this: this node, or those who decided it before.
    fn is_known(&self, entry: &Entry) -> bool {
        let asked = self.requests.get(&entry.id) == Some(&entry.payload);
        let earlier = self.decided_at.get(&entry.id).and_then(|slot| self.decided.get(slot));
        asked || earlier == Some(entry) || self.flaw == Flaw::EchoUnasked
    }

    /// Our word on a slot, once and for all.
    fn say(&mut self, slot: u64, entry: Entry, out: &mut Out<Self>) {
        out.persist(Said { slot, entry: entry.clone() });
        self.said.insert(slot, entry.clone());
        self.count_own(slot);
        for node in self.members.others(self.id) {
            out.send(node, Message::Word { slot, entry: entry.clone() });
        }
    }

    fn count_own(&mut self, slot: u64) {
        if let Some(entry) = self.said.get(&slot) {
            self.words.entry(slot).or_default().insert(self.id, vec![entry.clone()]);
        }
    }

    fn alike(&self, slot: u64, entry: &Entry) -> usize {
        self.words
            .get(&slot)
            .map_or(0, |words| words.values().flatten().filter(|&said| said == entry).count())
    }

    fn decide(&mut self, out: &mut Out<Self>) {
        loop {
            let slot = self.next();
            let Some(words) = self.words.get(&slot) else { return };
            let decided = words.values().flatten().find(|&entry| self.alike(slot, entry) >= self.quorum());
            let Some(entry) = decided.cloned() else { return };
            self.words.remove(&slot);
            self.requests.remove(&entry.id);
            self.decided_at.entry(entry.id).or_insert(slot);
            self.decided.insert(slot, entry.clone());
            out.decide(Slot(slot), Some(entry.id), Verdict::Commit, entry.payload);
            // The window has moved on.
            self.count_own(slot + WINDOW);
        }
    }

    fn on_need(&mut self, from: NodeId, slot: u64, out: &mut Out<Self>) {
        for (&slot, entry) in self.said.range(slot..).take(MAX_ANSWER) {
            out.send(from, Message::Word { slot, entry: entry.clone() });
        }
    }
}

/// Mutations that the messages' own structure suggests.
pub(crate) enum EchoMutation {}

impl Mutate for EchoMutation {
    type Message = Message;

    fn mutate(message: &Message, choices: &mut Stream) -> Option<Message> {
        let near = |slot: u64, choices: &mut Stream| {
            if choices.below(2) == 0 { slot.saturating_add(1) } else { slot.saturating_sub(1) }
        };
        Some(match message.clone() {
            Message::Need { slot } => Message::Need { slot: near(slot, choices) },
            Message::Word { slot, mut entry } => {
                let mut slot = slot;
                match choices.below(3) {
                    0 => slot = near(slot, choices),
                    1 => entry.id = ProposalId::new(entry.id.client, entry.id.sequence ^ 1),
                    _ => entry.payload = Bytes::from(choices.number().to_le_bytes().to_vec()),
                }
                Message::Word { slot, entry }
            }
        })
    }
}
