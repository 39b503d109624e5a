//! One node of single-decree Paxos: a proposer, an acceptor and a learner in one process.

use super::acceptor::{Acceptor, Answer, Vote};
use super::learner::Learner;
use super::message::{Message, Record, Value};
use super::proposer::Proposer;
use super::{Config, Out, Timer};
use crate::ballot::Ballot;
use crate::mutant::Mutant;
use alloc::vec::Vec;
use consensus_core::{
    Boot, Bytes, Epoch, Members, NodeId, Offence, ProposalId, Refusal, RestoreError, Role, Slot, Status,
    Time, Verdict, WriteSeq,
};
use core::time::Duration;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// The one decision.
const THE_SLOT: Slot = Slot(1);
/// The random wait before another ballot doubles at most so many times.
const MAX_DOUBLINGS: u32 = 5;

/// One node that agrees with the others on one value.
#[derive(Debug)]
pub struct Synod {
    id: NodeId,
    pub(super) config: Config,
    members: Members,
    /// How many promises, and how many acceptances, are a quorum.
    quorums: (usize, usize),
    pub(super) acceptor: Acceptor<Value>,
    proposer: Option<Proposer<Value>>,
    learner: Learner<Value>,
    /// The highest ballot that we know of: ours goes above it.
    seen: Ballot,
    /// What we want.
    own: Option<Value>,
    chosen: Option<Value>,
    /// The writes that made the last promise, and the last vote, durable.
    promise_written: WriteSeq,
    vote_written: WriteSeq,
    /// Ballots of ours that came to nothing.
    failures: u32,
    /// Whether we ask again when the timer runs out.
    is_curious: bool,
    rng: ChaCha8Rng,
}

impl Synod {
    /// The highest ballot that this node has promised.
    #[must_use]
    pub const fn promised(&self) -> Ballot {
        self.acceptor.promised()
    }

    /// What this node accepted last.
    #[must_use]
    pub const fn vote(&self) -> Option<&Vote<Value>> {
        self.acceptor.vote()
    }

    /// Rebuilds the state from what the disk holds. [S9]
    pub(super) fn recover(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot: _, records } = boot;
        let mut node = Self {
            id,
            quorums: config.quorums_for(members.voter_count()),
            config,
            members,
            acceptor: Acceptor::default(),
            proposer: None,
            learner: Learner::default(),
            seen: Ballot::ZERO,
            own: None,
            chosen: None,
            promise_written: WriteSeq::ZERO,
            vote_written: WriteSeq::ZERO,
            failures: 0,
            is_curious: false,
            // Nodes that are given the same seed must not wait alike.
            rng: ChaCha8Rng::seed_from_u64(seed ^ id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        let is_first_boot = records.is_empty();
        for record in records {
            node.replay(record).map_err(RestoreError)?;
        }
        match node.chosen.clone() {
            Some(value) => {
                // EARLY: it was read back from the disk.
                out.decide_early(THE_SLOT, Some(value.id), Verdict::Commit, value.payload);
            }
            None if is_first_boot => {}
            None => node.arm_retry(now, out),
        }
        Ok(node)
    }

    fn replay(&mut self, record: Record) -> Result<(), &'static str> {
        match record {
            Record::Proposed(value) => self.own = Some(value),
            Record::Promised(ballot) => {
                if self.acceptor.prepare(ballot) != Answer::Fresh {
                    return Err("the records hold promises that fall");
                }
            }
            Record::Accepted(vote) => {
                if matches!(self.take(&vote), Answer::Refused(_)) {
                    return Err("the records hold a vote against a promise");
                }
            }
            Record::Chosen(value) => {
                if self.chosen.replace(value).is_some() {
                    return Err("the records hold two choices");
                }
            }
        }
        Ok(())
    }

    pub(super) fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if from == self.id || !self.members.contains(from) {
            return out.accuse(from, Offence::Stranger); // [S11]
        }
        if let Some(value) = &self.chosen {
            return match message {
                Message::Prepare(_) | Message::Accept(_) | Message::Learn => {
                    out.send(from, Message::Chosen(value.clone())); // [S8]
                }
                Message::Promise { .. }
                | Message::Accepted(_)
                | Message::Preempted(_)
                | Message::Chosen(_) => {}
            };
        }
        match message {
            Message::Prepare(ballot) => self.on_prepare(from, ballot, out),
            Message::Promise { ballot, vote } => self.on_promise(from, ballot, vote, out),
            Message::Accept(vote) => self.on_accept(from, vote, out),
            Message::Accepted(vote) => self.count_acceptance(from, vote, out),
            Message::Preempted(ballot) => self.on_preempted(now, from, ballot, out),
            Message::Learn => {}
            Message::Chosen(value) => self.choose(value, out),
        }
        self.become_curious(now, out);
    }

    pub(super) fn on_propose(&mut self, now: Time, id: ProposalId, payload: Bytes, out: &mut Out) {
        if self.own.is_some() || self.chosen.is_some() {
            return out.refuse(id, Refusal::Busy);
        }
        let value = Value { id, payload };
        out.persist(Record::Proposed(value.clone()));
        self.own = Some(value);
        self.start_ballot(now, out);
    }

    /// [S7] [S8] Nothing was chosen in time.
    pub(super) fn on_retry(&mut self, now: Time, out: &mut Out) {
        if self.chosen.is_some() {
            return;
        }
        self.failures += 1;
        self.start_ballot(now, out);
    }

    /// Leads a ballot above all that it has promised; whoever has no wish and no vote asks what is chosen.
    fn start_ballot(&mut self, now: Time, out: &mut Out) {
        self.arm_retry(now, out);
        let may_lead =
            self.members.is_voter(self.id) && (self.own.is_some() || self.acceptor.vote().is_some());
        if !may_lead {
            return self.tell_voters(&Message::Learn, out);
        }
        let ballot = self.promised().max(self.seen).next(self.id);
        self.acceptor.prepare(ballot);
        if !self.config.plants(Mutant::BallotReused) {
            self.promise_written = out.persist(Record::Promised(ballot)); // [S1]
        }
        self.proposer = Some(Proposer::new(ballot));
        self.tell_voters(&Message::Prepare(ballot), out);
    }

    /// [S2]
    fn on_prepare(&mut self, from: NodeId, ballot: Ballot, out: &mut Out) {
        let before = self.promised();
        match self.acceptor.prepare(self.config.as_ballot(before, ballot)) {
            Answer::Refused(higher) => return out.send(from, Message::Preempted(higher)),
            Answer::Fresh if self.config.plants(Mutant::PromiseNotWritten) => {}
            Answer::Fresh => self.promise_written = out.persist(Record::Promised(ballot)),
            Answer::Again => {}
        }
        let mut vote = self.acceptor.vote().filter(|vote| vote.ballot < ballot).cloned();
        if self.config.plants(Mutant::PromiseTellsPromised)
            && let Some(vote) = &mut vote
        {
            vote.ballot = before.min(vote.ballot.max(before));
        }
        let promise = Message::Promise { ballot, vote };
        if self.config.plants(Mutant::PromiseBeforeDurable) {
            // EARLY: it is a bug, and planted.
            return out.send_early(from, promise);
        }
        out.send(from, promise);
    }

    fn on_promise(&mut self, from: NodeId, ballot: Ballot, vote: Option<Vote<Value>>, out: &mut Out) {
        let Some(proposer) = &mut self.proposer else { return };
        let config = &self.config;
        let from = config.as_counted(&proposer.promises, from, self.members.voters());
        let vote = config.as_told(proposer.highest.as_ref(), vote);
        let ballot = if config.plants(Mutant::StalePromiseCounted) { proposer.ballot() } else { ballot };
        proposer.on_promise(from, ballot, vote); // [S4]
        if config.plants(Mutant::TwoValuesInOneBallot) {
            proposer.proposed = None;
        }
        self.propose_if_free(out);
    }

    /// [S5] With a quorum of promises: phase 2.
    fn propose_if_free(&mut self, out: &mut Out) {
        let Some(proposer) = &mut self.proposer else { return };
        let Some(value) = proposer.propose(self.members.voters(), self.quorums.0, self.own.as_ref()) else {
            return;
        };
        let vote = Vote { ballot: proposer.ballot(), value };
        if let Answer::Refused(_) = self.take(&vote) {
            return;
        }
        for voter in voters_but(&self.members, self.id) {
            // EARLY: only we propose in our ballot, and never again after a crash: it is durable that we led it.
            out.send_early(voter, Message::Accept(vote.clone()));
        }
        self.accepted(vote, out);
    }

    /// [S3]
    fn on_accept(&mut self, from: NodeId, vote: Vote<Value>, out: &mut Out) {
        let known = self.acceptor.vote().filter(|known| known.ballot == vote.ballot);
        if let Some(known) = known {
            if known.value != vote.value {
                return out.accuse(from, Offence::Equivocation("two values in one ballot")); // [S11]
            }
            // Somebody may not have heard of it.
            return self.tell_learners(&vote, out);
        }
        match self.take(&vote) {
            Answer::Refused(higher) => out.send(from, Message::Preempted(higher)), // [S7]
            Answer::Fresh | Answer::Again => self.accepted(vote, out),
        }
    }

    fn take(&mut self, vote: &Vote<Value>) -> Answer {
        let before = self.promised();
        let answer = self.acceptor.accept(self.config.as_ballot(before, vote.ballot), vote.value.clone());
        self.config.or_bent(answer, before, vote, &mut self.acceptor)
    }

    /// A vote of ours, on its way to the disk.
    fn accepted(&mut self, vote: Vote<Value>, out: &mut Out) {
        if !self.config.plants(Mutant::AcceptanceNotWritten) {
            self.vote_written = out.persist(Record::Accepted(vote.clone()));
        }
        self.tell_learners(&vote, out);
    }

    /// [S6] Everybody learns. We ourselves do when it is durable.
    fn tell_learners(&self, vote: &Vote<Value>, out: &mut Out) {
        for learner in self.members.others(self.id) {
            let accepted = Message::Accepted(vote.clone());
            if self.config.plants(Mutant::AcceptanceBeforeDurable) {
                // EARLY: it is a bug, and planted.
                out.send_early(learner, accepted);
            } else {
                out.send(learner, accepted);
            }
        }
    }

    fn count_acceptance(&mut self, from: NodeId, vote: Vote<Value>, out: &mut Out) {
        if !self.members.is_voter(from) {
            return; // [S11]
        }
        let (vote, quorum) = (self.config.as_learnt(vote), self.quorums.1);
        let value = vote.value.clone();
        let chosen = self.learner.on_accepted(from, vote, quorum);
        if let Some(value) = self.config.or_whatever(chosen, value, self.learner.heard() >= quorum) {
            self.choose(value, out);
        }
    }

    /// [S3] [S4] What we promised and accepted ourselves counts when it is on our disk.
    pub(super) fn on_durable(&mut self, durable: WriteSeq, out: &mut Out) {
        if self.chosen.is_some() {
            return;
        }
        if self.promise_written <= durable
            && let Some(proposer) = &self.proposer
            && proposer.ballot() == self.promised()
            && !proposer.promises.contains(self.id)
        {
            let vote = self.acceptor.vote().cloned();
            self.on_promise(self.id, self.promised(), vote, out);
        }
        if self.vote_written <= durable
            && let Some(vote) = self.acceptor.vote().cloned()
        {
            self.count_acceptance(self.id, vote, out);
        }
    }

    /// [S7] Another's ballot is higher: the next one of ours goes above it, and not at once.
    fn on_preempted(&mut self, now: Time, from: NodeId, ballot: Ballot, out: &mut Out) {
        if self.config.plants(Mutant::RefusalCountsAsPromise)
            && let Some(proposer) = &self.proposer
        {
            return self.on_promise(from, proposer.ballot(), None, out);
        }
        self.seen = self.seen.max(ballot);
        if self.proposer.take_if(|proposer| proposer.ballot() < ballot).is_some() {
            self.failures += 1;
            self.arm_retry(now, out);
        }
    }

    fn choose(&mut self, value: Value, out: &mut Out) {
        out.persist(Record::Chosen(value.clone()));
        for peer in self.members.others(self.id) {
            out.send(peer, Message::Chosen(value.clone())); // [S8]
        }
        out.cancel_timer(Timer::Retry);
        out.decide(THE_SLOT, Some(value.id), Verdict::Commit, value.payload.clone());
        (self.chosen, self.proposer) = (Some(value), None);
    }

    /// [S8] Whoever has heard of anything wants to know the end of it.
    fn become_curious(&mut self, now: Time, out: &mut Out) {
        if !self.is_curious && self.chosen.is_none() {
            self.arm_retry(now, out);
        }
    }

    /// [S7] From now on at least the configured wait, at most twice that, doubled with each failure.
    fn arm_retry(&mut self, now: Time, out: &mut Out) {
        self.is_curious = true;
        let wait = Duration::from_millis(self.config.retry_ms);
        let width = wait.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
        let nanos = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX);
        out.set_timer(Timer::Retry, now + wait + Duration::from_nanos(self.rng.next_u64() % nanos.max(1)));
    }

    fn tell_voters(&self, message: &Message, out: &mut Out) {
        for voter in voters_but(&self.members, self.id) {
            out.send(voter, message.clone());
        }
    }

    pub(super) fn observe(&self) -> Status {
        Status {
            role: if self.members.is_voter(self.id) { Role::Peer } else { Role::Learner },
            leader: None,
            epoch: Epoch(self.promised().round),
            decided: Slot(u64::from(self.chosen.is_some())),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    pub(super) fn check_invariants(&self) {
        if !self.config.plants(Mutant::AcceptanceKeepsPromise) {
            self.acceptor.assert_invariants();
        }
        if let Some(proposer) = &self.proposer {
            assert!(proposer.ballot() <= self.promised(), "it leads a ballot that it never promised");
        }
    }
}

fn voters_but(members: &Members, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    members.voters().iter().copied().filter(move |&voter| voter != id)
}
