//! Two-phase commit with presumed abort (Mohan, Lindsay and Obermarck 1986) in its plainest form.
//!
//! Whoever takes a proposal coordinates it; all members take part. Slots are local counts. Nothing is ever forgotten. What is
//! said of an abort is written down first, so that a transaction that is proposed anew after a restart of its coordinator, or
//! a PREPARE that comes late, finds it. A [`Flaw`] is a planted mistake, for those who test the testers.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of it")]

use consensus_core::{
    Boot, Bytes, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members, Membership,
    NodeId, Out, Problem, ProposalId, Reads, Refusal, Resilience, RestoreError, Role, Slot, Status,
    Termination, Time, Timing, Verdict, WriteSeq, quorum::Tally,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flaw {
    #[default]
    None,
    /// A YES leaves before it is durable.
    YesBeforeDurable,
    /// A COMMIT leaves before it is durable.
    CommitBeforeDurable,
    /// A participant that hears nothing after its YES aborts alone.
    AbortAfterYes,
    /// Who has not voted in time has voted YES.
    MissingVoteIsYes,
    /// Votes are counted by message, not by sender.
    CountMessages,
    /// A coordinator forgets a commit at once, and presumes an abort when it is asked.
    ForgetCommit,
    /// A NO is not written down: a PREPARE that comes again finds a participant that knows nothing.
    ForgetNo,
    /// A restarted participant does not reserve again what it has promised.
    ForgetReservation,
    /// A participant acknowledges a commit, and does not carry it out.
    DropCommit,
    /// A repeated COMMIT is carried out again.
    CommitTwice,
    /// A coordinator aborts everything.
    AlwaysAbort,
    /// A participant does not say that it is blocked.
    Silent,
    /// A participant says that it waits for the wrong node.
    BlameOther,
    /// A prepared participant never asks what became of it.
    NeverAsk,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub flaw: Flaw,
    /// How long a coordinator waits for votes.
    pub voting: Duration,
    /// How long until a question is repeated.
    pub retry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { flaw: Flaw::None, voting: Duration::from_millis(50), retry: Duration::from_millis(10) }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    Prepare {
        id: ProposalId,
        payload: Bytes,
    },
    Vote {
        id: ProposalId,
        yes: bool,
    },
    Outcome {
        id: ProposalId,
        commit: bool,
    },
    Acknowledge {
        id: ProposalId,
    },
    /// A prepared participant has heard nothing: what became of it?
    Inquire {
        id: ProposalId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Our YES, with all that a commit will need.
    Prepared { id: ProposalId, coordinator: NodeId, payload: Bytes },
    /// The coordinator's COMMIT.
    Committed { id: ProposalId, payload: Bytes },
    /// A prepared participant has learned the outcome.
    Settled { id: ProposalId, commit: bool },
    /// The coordinator has every acknowledgement.
    Ended { id: ProposalId },
    /// Our NO, or the coordinator's abort; without a payload if it was asked about what it does not know.
    Aborted { id: ProposalId, payload: Option<Bytes> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    Voting(ProposalId),
    Repeat(ProposalId),
    Inquire(ProposalId),
}

#[derive(Debug)]
pub enum Coordinated {
    Voting { payload: Bytes, yes: Tally },
    Committed { acknowledged: Tally },
}

#[derive(Debug)]
struct Prepared {
    coordinator: NodeId,
    payload: Bytes,
}

#[derive(Debug)]
pub struct TwoPhase {
    id: NodeId,
    members: Members,
    config: Config,
    /// How many messages with a YES came, and what was carried out: both for mistakes only.
    messages: BTreeMap<ProposalId, usize>,
    done: BTreeMap<ProposalId, Bytes>,
    pub coordinated: BTreeMap<ProposalId, Coordinated>,
    /// Between PREPARE and the state machine's answer.
    judging: BTreeMap<ProposalId, Prepared>,
    prepared: BTreeMap<ProposalId, Prepared>,
    settled: BTreeMap<ProposalId, Verdict>,
    /// Verdicts whose write is not durable yet: nobody may be told.
    writing: BTreeMap<ProposalId, WriteSeq>,
}

const fn verdict(commit: bool) -> Verdict {
    if commit { Verdict::Commit } else { Verdict::Abort }
}

impl TwoPhase {
    fn settle(&mut self, id: ProposalId, commit: bool) -> Slot {
        let before = self.settled.insert(id, verdict(commit));
        assert_eq!(before, None, "{id:?} was settled before");
        Slot(self.settled.len() as u64)
    }

    fn on_propose(&mut self, now: Time, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        if self.writing.contains_key(&id) {
            return; // A retry: the decision answers it, once it is durable.
        }
        if let Some(&verdict) = self.settled.get(&id) {
            return out.refuse(id, Refusal::Settled { verdict });
        }
        if self.coordinated.contains_key(&id) || self.prepared.contains_key(&id) {
            return; // A retry: the first attempt will be answered.
        }
        for peer in self.members.others(self.id) {
            // EARLY: a coordinator that forgets this is asked for the outcome, and knows no commit: abort.
            out.send_early(peer, Message::Prepare { id, payload: payload.clone() });
        }
        let voting = Coordinated::Voting { payload: payload.clone(), yes: Tally::new() };
        self.coordinated.insert(id, voting);
        out.set_timer(Timer::Voting(id), now + self.config.voting);
        out.judge(id, payload);
    }

    fn on_judged(&mut self, now: Time, id: ProposalId, accept: bool, out: &mut Out<Self>) {
        let Some(candidate) = self.judging.remove(&id) else {
            // Our own vote as coordinator; or, after a restart, a reservation made anew for what we voted for long ago.
            return self.on_vote(now, self.id, id, accept, out);
        };
        let Prepared { coordinator, payload } = candidate;
        if accept {
            if self.config.flaw == Flaw::YesBeforeDurable {
                out.send_early(coordinator, Message::Vote { id, yes: true });
            }
            out.persist(Record::Prepared { id, coordinator, payload: payload.clone() });
            out.send(coordinator, Message::Vote { id, yes: true });
            out.set_timer(Timer::Inquire(id), now + self.config.retry);
            self.prepared.insert(id, Prepared { coordinator, payload });
        } else {
            self.write_abort(id, Some(payload.clone()), out);
            out.send(coordinator, Message::Vote { id, yes: false });
            let slot = self.settle(id, false);
            out.decide(slot, Some(id), Verdict::Abort, payload);
        }
    }

    fn on_prepare(&mut self, from: NodeId, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        if self.prepared.contains_key(&id) {
            return out.send(from, Message::Vote { id, yes: true });
        }
        if self.settled.contains_key(&id) {
            // The safe `send`: what settled it may still be on its way to the disk.
            return out.send(from, Message::Vote { id, yes: false });
        }
        self.judging.insert(id, Prepared { coordinator: from, payload: payload.clone() });
        out.judge(id, payload);
    }

    fn on_vote(&mut self, now: Time, from: NodeId, id: ProposalId, yes: bool, out: &mut Out<Self>) {
        let Some(Coordinated::Voting { payload, yes: tally }) = self.coordinated.get_mut(&id) else { return };
        if !yes {
            return self.become_aborted(id, out);
        }
        tally.add(from);
        let messages = self.messages.entry(id).or_default();
        *messages += 1;
        let is_counted = self.config.flaw == Flaw::CountMessages && *messages >= self.members.voter_count();
        if is_counted || tally.count_among(self.members.voters()) == self.members.voter_count() {
            if self.config.flaw == Flaw::AlwaysAbort {
                return self.become_aborted(id, out);
            }
            let payload = payload.clone();
            self.become_committed(now, id, payload, out);
        }
    }

    fn become_committed(&mut self, now: Time, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        if self.config.flaw == Flaw::CommitBeforeDurable {
            for peer in self.members.others(self.id) {
                out.send_early(peer, Message::Outcome { id, commit: true });
            }
        }
        let seq = out.persist(Record::Committed { id, payload: payload.clone() });
        self.writing.insert(id, seq);
        out.cancel_timer(Timer::Voting(id));
        let mut acknowledged = Tally::new();
        acknowledged.add(self.id);
        self.coordinated.insert(id, Coordinated::Committed { acknowledged });
        let slot = self.settle(id, true);
        out.decide(slot, Some(id), Verdict::Commit, payload);
        self.on_repeat(now, id, out);
        if self.config.flaw == Flaw::ForgetCommit {
            self.coordinated.remove(&id);
            self.settled.insert(id, Verdict::Abort);
        }
    }

    fn become_aborted(&mut self, id: ProposalId, out: &mut Out<Self>) {
        let Some(Coordinated::Voting { payload, .. }) = self.coordinated.remove(&id) else { return };
        out.cancel_timer(Timer::Voting(id));
        self.write_abort(id, Some(payload.clone()), out);
        for peer in self.members.others(self.id) {
            out.send(peer, Message::Outcome { id, commit: false });
        }
        let slot = self.settle(id, false);
        out.decide(slot, Some(id), Verdict::Abort, payload);
    }

    fn write_abort(&mut self, id: ProposalId, payload: Option<Bytes>, out: &mut Out<Self>) {
        if self.config.flaw != Flaw::ForgetNo {
            let seq = out.persist(Record::Aborted { id, payload });
            self.writing.insert(id, seq);
        }
    }

    fn on_voting_timer(&mut self, now: Time, id: ProposalId, out: &mut Out<Self>) {
        match self.coordinated.get(&id) {
            Some(Coordinated::Voting { payload, .. }) if self.config.flaw == Flaw::MissingVoteIsYes => {
                let payload = payload.clone();
                self.become_committed(now, id, payload, out);
            }
            Some(_) | None => self.become_aborted(id, out),
        }
    }

    fn on_repeat(&mut self, now: Time, id: ProposalId, out: &mut Out<Self>) {
        let Some(Coordinated::Committed { acknowledged }) = self.coordinated.get(&id) else { return };
        for peer in self.members.others(self.id).filter(|&peer| !acknowledged.contains(peer)) {
            out.send(peer, Message::Outcome { id, commit: true });
        }
        out.set_timer(Timer::Repeat(id), now + self.config.retry);
    }

    fn on_outcome(&mut self, from: NodeId, id: ProposalId, commit: bool, out: &mut Out<Self>) {
        if commit && self.config.flaw == Flaw::DropCommit && self.id == NodeId(2) {
            self.prepared.remove(&id);
            self.settled.insert(id, Verdict::Commit);
        }
        if commit && self.config.flaw == Flaw::CommitTwice {
            self.carry_out_again(id, out);
        }
        if let Some(Prepared { payload, .. }) = self.prepared.remove(&id) {
            let seq = out.persist(Record::Settled { id, commit });
            self.writing.insert(id, seq);
            out.cancel_timer(Timer::Inquire(id));
            self.done.insert(id, payload.clone());
            let slot = self.settle(id, commit);
            out.decide(slot, Some(id), verdict(commit), payload);
        }
        if commit {
            // The safe `send`: a repeated COMMIT may find the record of the first one still on its way to the disk.
            out.send(from, Message::Acknowledge { id });
        }
    }

    fn carry_out_again(&mut self, id: ProposalId, out: &mut Out<Self>) {
        if let Some(payload) = self.done.get(&id) {
            let slot = Slot(self.settled.len() as u64);
            out.decide(slot, Some(id), Verdict::Commit, payload.clone());
        }
    }

    fn on_acknowledge(&mut self, from: NodeId, id: ProposalId, out: &mut Out<Self>) {
        let Some(Coordinated::Committed { acknowledged }) = self.coordinated.get_mut(&id) else { return };
        acknowledged.add(from);
        if acknowledged.count_among(self.members.voters()) == self.members.voter_count() {
            self.coordinated.remove(&id);
            out.cancel_timer(Timer::Repeat(id));
            out.persist(Record::Ended { id });
        }
    }

    fn on_inquire(&mut self, from: NodeId, id: ProposalId, out: &mut Out<Self>) {
        match self.coordinated.get(&id) {
            Some(Coordinated::Voting { .. }) => {}
            Some(Coordinated::Committed { .. }) => out.send(from, Message::Outcome { id, commit: true }),
            None => {
                let verdict = self.settled.get(&id).copied().unwrap_or_else(|| {
                    // Presumed abort; it must not be proposed anew and committed after this.
                    self.write_abort(id, None, out);
                    self.settle(id, false);
                    Verdict::Abort
                });
                out.send(from, Message::Outcome { id, commit: verdict == Verdict::Commit });
            }
        }
    }

    fn on_inquire_timer(&mut self, now: Time, id: ProposalId, out: &mut Out<Self>) {
        if self.config.flaw == Flaw::NeverAsk {
            return;
        }
        if self.config.flaw == Flaw::AbortAfterYes {
            return self.on_outcome(self.id, id, false, out);
        }
        if let Some(prepared) = self.prepared.get(&id) {
            out.send(prepared.coordinator, Message::Inquire { id });
            out.set_timer(Timer::Inquire(id), now + self.config.retry);
        }
    }

    fn blames(&self, prepared: &Prepared) -> NodeId {
        let other = self.members.others(self.id).find(|&peer| peer != prepared.coordinator);
        other.filter(|_| self.config.flaw == Flaw::BlameOther).unwrap_or(prepared.coordinator)
    }

    fn replay(&mut self, record: Record, out: &mut Out<Self>) {
        match record {
            Record::Prepared { id, coordinator, payload } => {
                self.prepared.insert(id, Prepared { coordinator, payload });
            }
            Record::Committed { id, payload } => {
                let mut acknowledged = Tally::new();
                acknowledged.add(self.id);
                self.coordinated.insert(id, Coordinated::Committed { acknowledged });
                let slot = self.settle(id, true);
                out.decide_early(slot, Some(id), Verdict::Commit, payload);
            }
            Record::Settled { id, commit } => {
                let prepared = self.prepared.remove(&id).expect("settled only after prepared");
                let slot = self.settle(id, commit);
                out.decide_early(slot, Some(id), verdict(commit), prepared.payload);
            }
            Record::Ended { id } => {
                self.coordinated.remove(&id);
            }
            Record::Aborted { id, payload } => {
                let slot = self.settle(id, false);
                if let Some(payload) = payload {
                    out.decide_early(slot, Some(id), Verdict::Abort, payload);
                }
            }
        }
    }
}

impl ConsensusAlgorithm for TwoPhase {
    const NAME: &'static str = "two-phase skeleton";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::AtomicCommit,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Zero,
        timing: Timing::Asynchronous,
        termination: Termination::Blocking,
        reads: Reads::Local,
        membership: Membership::Static,
    };
    type Config = Config;
    type Message = Message;
    type Record = Record;
    type Timer = Timer;

    fn validate(_config: &Config, members: &Members) -> Result<(), ConfigError> {
        if members.voter_count() < 2 {
            Err(ConfigError::new("members", "nobody to agree with"))
        } else {
            Ok(())
        }
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed: _, now, snapshot: _, records } = boot;
        let mut this = Self {
            id,
            members,
            config,
            messages: BTreeMap::new(),
            done: BTreeMap::new(),
            coordinated: BTreeMap::new(),
            judging: BTreeMap::new(),
            prepared: BTreeMap::new(),
            settled: BTreeMap::new(),
            writing: BTreeMap::new(),
        };
        for record in records {
            this.replay(record, out);
        }
        for (&id, prepared) in &this.prepared {
            // The machine is new: it must reserve again what it had promised.
            if this.config.flaw != Flaw::ForgetReservation {
                out.judge(id, prepared.payload.clone());
            }
            out.set_timer(Timer::Inquire(id), now + this.config.retry);
        }
        for &id in this.coordinated.keys() {
            out.set_timer(Timer::Repeat(id), now + this.config.retry);
        }
        Ok(this)
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message } => match message {
                Message::Prepare { id, payload } => self.on_prepare(from, id, payload, out),
                Message::Vote { id, yes } => self.on_vote(now, from, id, yes, out),
                Message::Outcome { id, commit } => self.on_outcome(from, id, commit, out),
                Message::Acknowledge { id } => self.on_acknowledge(from, id, out),
                Message::Inquire { id } => self.on_inquire(from, id, out),
            },
            Input::Timer(Timer::Voting(id)) => self.on_voting_timer(now, id, out),
            Input::Timer(Timer::Repeat(id)) => self.on_repeat(now, id, out),
            Input::Timer(Timer::Inquire(id)) => self.on_inquire_timer(now, id, out),
            Input::Propose { id, payload } => self.on_propose(now, id, payload, out),
            Input::Judged { id, accept } => self.on_judged(now, id, accept, out),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Reconfigure { id, change: _ } => out.refuse(id, Refusal::Unsupported),
            Input::Durable(seq) => self.writing.retain(|_, written| *written > seq),
            Input::Transfer { .. } | Input::Priority(_) | Input::Suspect { .. } | Input::Compact { .. } => {}
        }
    }

    fn status(&self) -> Status {
        let blocked = self.prepared.iter().map(|(&id, prepared)| (id, vec![self.blames(prepared)]));
        let blocked = blocked.filter(|_| self.config.flaw != Flaw::Silent);
        Status {
            role: Role::Peer,
            leader: None,
            epoch: Epoch::ZERO,
            decided: Slot(self.settled.len() as u64),
            members: self.members.clone(),
            blocked: blocked.collect(),
        }
    }

    fn assert_invariants(&self) {
        assert!(self.prepared.keys().all(|id| !self.settled.contains_key(id)), "prepared and settled");
    }
}
