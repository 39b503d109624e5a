//! Causal broadcast with anti-entropy, as small as can be: each replica takes any write at once, and delivers the writes of
//! others when it has all that they depend on. What comes too early is dropped: the exchange of clocks brings it again.
//!
//! A replica forgets a write once every other has it and its state machine has offered a snapshot with it. Each [`Flaw`] is a
//! planted mistake.

use bytes::Bytes;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members, Membership, NodeId,
    Out, Problem, ProposalId, Reads, Refusal, Resilience, RestoreError, Role, Slot, Status, Termination,
    Time, Timing, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const GOSSIP: Duration = Duration::from_millis(15);
/// The most writes that one exchange brings.
const MAX_BATCH: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// A write is delivered before what it depends on.
    IgnorePast,
    /// Of several writes that come together, the second is taken for delivered, and is not.
    DropOnMerge,
    /// A write of another is delivered and not written down.
    ForgetOthers,
    /// A write of one's own is delivered and not written down.
    ForgetOwn,
    /// A write that comes again is delivered again.
    DeliverAgain,
    /// A write changes on its way.
    Alter,
    /// A replica serves nobody while it hears of no other.
    RefuseAlone,
    /// Replicas do not exchange what they miss.
    NoGossip,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) flaw: Flaw,
}

/// How many writes of each replica: the first so many.
type Clock = BTreeMap<NodeId, u64>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Write {
    origin: NodeId,
    number: u64,
    past: Clock,
    id: ProposalId,
    payload: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Message {
    Writes(Vec<Write>),
    /// What the sender has; it asks for the rest.
    Have(Clock),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    Write(Write),
    /// What the snapshot before it contains.
    Base(Clock),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Gossip,
}

pub(crate) struct Causal {
    id: NodeId,
    members: Members,
    flaw: Flaw,
    /// What is delivered, and what the snapshot contains.
    clock: Clock,
    base: Clock,
    base_slot: u64,
    log: Vec<Write>,
    /// What the others have, as far as known.
    others: BTreeMap<NodeId, Clock>,
    heard: Option<Time>,
}

fn count(clock: &Clock, node: NodeId) -> u64 {
    clock.get(&node).copied().unwrap_or(0)
}

fn covers(clock: &Clock, other: &Clock) -> bool {
    other.iter().all(|(&node, &number)| count(clock, node) >= number)
}

impl Causal {
    fn deliver(&mut self, write: Write, out: &mut Out<Self>) {
        let is_own = write.origin == self.id;
        self.clock.insert(write.origin, write.number);
        let slot = Slot(self.base_slot + self.log.len() as u64 + 1);
        let (id, mut payload) = (Some(write.id), write.payload.clone());
        if self.flaw == Flaw::Alter && !is_own && write.number % 8 == 7 {
            payload = Bytes::from([payload.as_ref(), b"!"].concat());
        }
        let forgets = if is_own { Flaw::ForgetOwn } else { Flaw::ForgetOthers };
        if self.flaw == forgets {
            out.decide_early(slot, id, Verdict::Commit, payload);
        } else {
            out.persist(Record::Write(write.clone()));
            out.decide(slot, id, Verdict::Commit, payload);
        }
        self.log.push(write);
    }

    fn on_propose(&mut self, now: Time, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        let is_alone = self.heard.is_none_or(|heard| now.since(heard) > GOSSIP * 20);
        if self.flaw == Flaw::RefuseAlone && is_alone && self.members.voter_count() > 1 {
            return out.refuse(id, Refusal::Busy);
        }
        let number = count(&self.clock, self.id) + 1;
        let write = Write { origin: self.id, number, past: self.clock.clone(), id, payload };
        self.deliver(write.clone(), out);
        for peer in self.members.others(self.id) {
            // A number that was shown is never given again: the write is durable first, and all that it depends on.
            out.send(peer, Message::Writes(vec![write.clone()]));
        }
    }

    fn on_writes(&mut self, writes: Vec<Write>, out: &mut Out<Self>) {
        for (place, write) in writes.into_iter().enumerate() {
            let is_known = count(&self.clock, write.origin) >= write.number;
            let is_next = count(&self.clock, write.origin) + 1 == write.number;
            let is_ready = covers(&self.clock, &write.past) || self.flaw == Flaw::IgnorePast;
            if is_next && self.flaw == Flaw::DropOnMerge && place == 1 {
                self.clock.insert(write.origin, write.number);
            } else if (is_next && is_ready) || (is_known && self.flaw == Flaw::DeliverAgain) {
                self.deliver(write, out);
            }
        }
    }

    fn on_have(&mut self, from: NodeId, theirs: Clock, out: &mut Out<Self>) {
        let missing = self.log.iter().filter(|write| count(&theirs, write.origin) < write.number);
        let batch: Vec<Write> = missing.take(MAX_BATCH).cloned().collect();
        if !batch.is_empty() {
            out.send(from, Message::Writes(batch));
        }
        self.others.insert(from, theirs);
    }

    /// Forgets what the snapshot contains, if nobody will ask for it any more.
    fn on_compact(&mut self, through: Slot, snapshot: Bytes, out: &mut Out<Self>) {
        let Some(covered) =
            through.0.checked_sub(self.base_slot).and_then(|count| usize::try_from(count).ok())
        else {
            return;
        };
        let mut base = self.base.clone();
        for write in self.log.iter().take(covered) {
            base.insert(write.origin, write.number);
        }
        let known = |peer: &NodeId| self.others.get(peer).is_some_and(|clock| covers(clock, &base));
        if covered == 0 || covered > self.log.len() || !self.members.others(self.id).all(|peer| known(&peer))
        {
            return;
        }
        self.log.drain(..covered);
        (self.base, self.base_slot) = (base.clone(), through.0);
        let tail = self.log.iter().cloned().map(Record::Write);
        out.checkpoint(through, snapshot, core::iter::once(Record::Base(base)).chain(tail).collect());
    }
}

impl ConsensusAlgorithm for Causal {
    const NAME: &'static str = "causal toy";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Convergence,
        faults: Faults::CrashRecovery,
        resilience: Resilience::AllButOne,
        timing: Timing::Asynchronous,
        termination: Termination::Always,
        reads: Reads::Local,
        membership: Membership::Static,
    };
    type Config = Config;
    type Message = Message;
    type Record = Record;
    type Timer = Timer;

    fn validate(_config: &Config, members: &Members) -> Result<(), ConfigError> {
        if members.voter_count() == 0 { Err(ConfigError::new("members", "there are none")) } else { Ok(()) }
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        let base_slot = boot.snapshot.map_or(0, |(through, _)| through.0);
        let mut this = Self {
            id: boot.id,
            members: boot.members,
            flaw: boot.config.flaw,
            clock: Clock::new(),
            base: Clock::new(),
            base_slot,
            log: Vec::new(),
            others: BTreeMap::new(),
            heard: None,
        };
        for record in boot.records {
            match record {
                Record::Base(clock) => (this.clock, this.base) = (clock.clone(), clock),
                Record::Write(write) => {
                    this.clock.insert(write.origin, write.number);
                    let slot = Slot(this.base_slot + this.log.len() as u64 + 1);
                    out.decide_early(slot, Some(write.id), Verdict::Commit, write.payload.clone());
                    this.log.push(write);
                }
            }
        }
        out.set_timer(Timer::Gossip, boot.now + GOSSIP);
        Ok(this)
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message } => {
                self.heard = Some(now);
                match message {
                    Message::Writes(writes) => self.on_writes(writes, out),
                    Message::Have(clock) => self.on_have(from, clock, out),
                }
            }
            Input::Timer(Timer::Gossip) => {
                out.set_timer(Timer::Gossip, now + GOSSIP);
                for peer in self.members.others(self.id).filter(|_| self.flaw != Flaw::NoGossip) {
                    // The safe `send`: what we say we have, nobody need keep for us.
                    out.send(peer, Message::Have(self.clock.clone()));
                }
            }
            Input::Propose { id, payload } => self.on_propose(now, id, payload, out),
            Input::Compact { through, snapshot } => self.on_compact(through, snapshot, out),
            Input::Reconfigure { id, .. } => out.refuse(id, Refusal::Unsupported),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Durable(_)
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. } => {}
        }
    }

    fn status(&self) -> Status {
        Status {
            role: Role::Peer,
            leader: None,
            epoch: Epoch::ZERO,
            decided: Slot(self.base_slot + self.log.len() as u64),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }
}
