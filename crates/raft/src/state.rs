//! The state of a node: what every role needs ([`Core`]), the role, and the transitions between roles.
//!
//! The durable part (term, vote, log, snapshot) is exactly what the records say when they are read in order; everything else
//! is rebuilt after a crash by talking to the others.

use crate::candidate::Candidate;
use crate::config::Config;
use crate::configuration::Configurations;
use crate::entry::{Entries, Position, are_hollow};
use crate::follower::Follower;
use crate::incoming::Incoming;
use crate::leader::Leader;
use crate::log::Log;
use crate::message::last_credible;
use crate::mutant::Mutant;
use crate::record::Record;
use crate::replay::{Replayed, replay};
use crate::snapshot::Snapshot;
use crate::step::{FAR_TERM, Out, Timer};
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::{
    Boot, Decision, Epoch, Members, NodeId, Note, Priority, Refusal, RestoreError, Role as Part, Slot,
    Status, Time, WriteSeq,
};
use core::time::Duration;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// One node of a Raft group.
#[derive(Debug)]
pub struct Raft {
    pub(crate) core: Core,
    pub(crate) role: Role,
}

/// What every role needs.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    /// The members that hold now: those that the newest configuration names.
    pub(crate) members: Members,
    pub(crate) configurations: Configurations,
    pub(crate) term: Epoch,
    pub(crate) vote: Option<NodeId>,
    /// The write that made `term` and `vote` durable.
    pub(crate) vote_written: WriteSeq,
    pub(crate) log: Log,
    pub(crate) commit: Slot,
    /// Decided up to here, as far as the state machine was told in this boot.
    pub(crate) handed_over: Slot,
    pub(crate) snapshot: Option<Snapshot>,
    /// A snapshot that is arriving, behind what is committed here. It outlasts the leader who sends it.
    pub(crate) incoming: Option<Box<Incoming>>,
    /// Whether some of our log or snapshot is a witness's: places without payload.
    pub(crate) is_hollow: bool,
    /// Everything up to here is on our disk.
    pub(crate) durable: WriteSeq,
    /// When a leader was last heard, unless it is suspected since.
    pub(crate) heard: Option<Time>,
    /// When we last promised a leader not to help elect another.
    pub(crate) promised: Option<Time>,
    /// Those whom our failure detector suspects.
    pub(crate) suspected: Vec<NodeId>,
    /// When to seek election if no leader is heard until then. Hearing one moves this, not the timer: the timer looks here
    /// when it fires.
    pub(crate) election_due: Time,
    /// The timeout that was drawn last.
    election_span: Duration,
    /// How much we wish to lead.
    pub(crate) priority: Priority,
    /// Names this boot in forwarded reads.
    pub(crate) boot: u64,
    /// Rounds of reads that were forwarded since this boot.
    pub(crate) read_round: u64,
    rng: ChaCha8Rng,
}

/// The part that a node plays.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower(Follower),
    /// Asks whether it would be elected.
    PreCandidate(Candidate),
    Candidate(Candidate),
    Leader(Leader),
}

impl Raft {
    /// The end of the log.
    #[must_use]
    pub const fn last(&self) -> Position {
        self.core.log.last()
    }

    /// The term of the entry at `slot`; none if it is not (any more) in the log.
    #[must_use]
    pub fn term_at(&self, slot: Slot) -> Option<Epoch> {
        self.core.log.term(slot)
    }

    /// Rebuilds the state from what the disk holds; an empty disk is a first boot. [R25]
    pub(crate) fn recover(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot, records } = boot;
        let birth = members.clone();
        let replayed = replay(members, snapshot, records).map_err(RestoreError)?;
        let Replayed { term, vote, log, snapshot, configurations, is_hollow } = replayed;
        // Nodes that are given the same seed must not time out together.
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let boot = rng.next_u64();
        let commit = snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through.slot);
        let mut core = Core {
            id,
            config,
            members: birth,
            configurations,
            term,
            vote,
            vote_written: WriteSeq::ZERO,
            log,
            commit,
            handed_over: commit,
            snapshot,
            incoming: None,
            is_hollow,
            durable: WriteSeq::ZERO,
            heard: None,
            promised: None,
            suspected: Vec::new(),
            election_due: Time::ZERO,
            election_span: Duration::ZERO,
            priority: Priority::Normal,
            boot,
            read_round: 0,
            rng,
        };
        core.adopt_members(out);
        if core.may_be_bound() {
            core.promised = Some(now); // [R45]
            core.arm_election(now, out);
        } else {
            core.arm_first_election(now, out);
        }
        let follower = Follower::new(None, core.commit);
        Ok(Self { core, role: Role::Follower(follower) })
    }

    /// Follows, in this or a later term. Whatever the old role had promised to answer is answered. [R3] [R18] [R21]
    pub(crate) fn become_follower(
        &mut self,
        now: Time,
        term: Epoch,
        vote: Option<NodeId>,
        leader: Option<NodeId>,
        out: &mut Out,
    ) {
        let (own, is_later) = (self.core.id, term > self.core.term);
        self.core.set_vote(term, vote, out);
        let follower = Follower::new(leader, self.core.commit);
        let led = match core::mem::replace(&mut self.role, Role::Follower(follower)) {
            Role::Follower(mut old) => {
                old.refuse_reads(&Refusal::NotLeader { hint: leader }, out);
                false
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {
                if leader.is_some() {
                    out.note(Note::ElectionLost { epoch: term, why: "another node leads" });
                } else if is_later && vote != Some(own) {
                    out.note(Note::ElectionLost { epoch: term, why: "a later term has begun" });
                }
                false
            }
            Role::Leader(old) => {
                old.abdicate(&self.core, leader, out);
                if is_later {
                    out.note(Note::SteppedDown { epoch: term, why: "a later term has begun" });
                }
                true
            }
        };
        out.cancel_timer(Timer::Heartbeat);
        // A higher term alone does not postpone our election: a candidate that nobody can elect must not silence the others.
        if led || leader.is_some() || vote.is_some() {
            self.core.arm_election(now, out);
        }
    }

    /// Takes note of a term that a member answers with; true if it is ours (now or already). [R3] Nobody believes one that is far in
    /// the future, but takes a step towards it: who was told too much, and said it here, is met again after some steps. [R54]
    pub(crate) fn settle_term(&mut self, now: Time, from: NodeId, term: Epoch, out: &mut Out) -> bool {
        if term > self.core.term {
            let credible = last_credible(self.core.term);
            if term > credible {
                out.accuse(from, FAR_TERM);
            }
            self.become_follower(now, term.min(credible), None, None, out);
        }
        term == self.core.term
    }

    /// The leader, as far as known.
    pub(crate) const fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.core.id),
        }
    }

    pub(crate) fn observe(&self) -> Status {
        let role = match &self.role {
            Role::Follower(_) if self.core.is_witness(self.core.id) => Part::Witness,
            Role::Follower(_) if !self.core.members.is_voter(self.core.id) => Part::Learner,
            Role::Follower(_) => Part::Follower,
            Role::PreCandidate(_) | Role::Candidate(_) => Part::Candidate,
            Role::Leader(_) => Part::Leader,
        };
        Status {
            role,
            leader: self.leader(),
            epoch: self.core.term,
            decided: self.core.commit,
            members: self.core.members.clone(),
            blocked: Vec::new(),
        }
    }

    /// Every invariant of the state.
    pub(crate) fn check_invariants(&self) {
        let core = &self.core;
        core.log.assert_invariants();
        core.configurations.assert_invariants(core.commit, core.log.last().slot);
        assert!(core.commit <= core.log.last().slot, "more is committed than there is");
        assert!(
            core.handed_over <= core.commit || core.config.plants(Mutant::CommitRegresses),
            "more was handed over than is committed"
        );
        assert!(core.log.base().slot <= core.commit, "the log forgot what is not committed");
        assert!(core.log.last().term <= core.term, "the log is of a later term than ours");
        if let Some(snapshot) = &core.snapshot {
            let (base, through) = (core.log.base(), snapshot.through);
            assert!(base.slot <= through.slot, "there is a hole between the snapshot and the log");
            assert!(through.slot <= core.commit, "the snapshot holds what is not committed");
            assert_eq!(core.log.position(through.slot), Some(through), "snapshot and log disagree");
            let is_planted = core.config.plants(Mutant::SnapshotWithoutMembers);
            assert!(snapshot.members.voter_count() > 0 || is_planted, "the snapshot knows no members");
        } else {
            assert_eq!(core.log.base(), Position::ZERO, "the log forgot what no snapshot holds");
        }
        if let Some(incoming) = &core.incoming {
            incoming.assert_invariants(core);
        }
        match &self.role {
            Role::Follower(follower) => follower.assert_invariants(core),
            Role::PreCandidate(_) => {}
            // The planted bug is found by its consequences, not by this.
            Role::Candidate(_) => assert_eq!(core.vote, Some(core.id), "a candidate votes for itself"),
            Role::Leader(leader) => {
                assert!(core.is_full() || core.config.plants(Mutant::WitnessLeads), "a witness leads");
                leader.assert_invariants(core);
            }
        }
    }
}

impl Core {
    /// Writes term and vote down, in one record, if they change. [R1]
    pub(crate) fn set_vote(&mut self, term: Epoch, vote: Option<NodeId>, out: &mut Out) {
        debug_assert!(term >= self.term, "terms never fall");
        // In one term a vote is given once and never taken back. [R4]
        let vote = if term == self.term { vote.or(self.vote) } else { vote };
        if (term, vote) == (self.term, self.vote) {
            return;
        }
        (self.term, self.vote) = (term, vote);
        if vote.is_none() && self.config.plants(Mutant::TermNotPersisted) {
            return;
        }
        let forgets = self.config.plants(Mutant::VoteNotPersisted);
        self.vote_written = out.persist(Record::Vote { term, vote: vote.filter(|_| !forgets) });
    }

    /// Appends to the log and to the disk.
    pub(crate) fn append(&mut self, entries: Entries, out: &mut Out) {
        if entries.is_empty() {
            return;
        }
        let first = self.log.last().slot.next();
        let seq = out.persist(Record::Entries { first, entries: entries.clone() });
        self.is_hollow |= are_hollow(&entries);
        self.learn_members(first, &entries, out);
        self.log.append(entries, seq);
    }

    /// Everything up to here may be claimed to be on our disk. [R12]
    pub(crate) fn durable_slot(&self) -> Slot {
        self.or_whole_log(Mutant::AckBeforeDurable, self.log.durable())
    }

    /// Everything up to `slot` is committed.
    #[inline]
    pub(crate) fn commit_through(&mut self, slot: Slot, out: &mut Out) {
        if slot <= self.commit {
            return self.regress_commit(slot);
        }
        self.commit = slot;
        if self.incoming.is_some() {
            self.drop_what_is_known();
        }
        if self.config.plants(Mutant::MembersWhenCommitted) {
            self.adopt_members(out);
        }
    }

    /// Hands over what was committed since this was last called. [R17]
    #[inline]
    pub(crate) fn hand_over(&mut self, out: &mut Out) {
        if self.commit > self.handed_over {
            self.handed_over = self.commit;
            // EARLY: what is committed is durable at a quorum, and stands without our own disk.
            out.decide_through_early(self.commit);
        }
    }

    /// Hands over what was committed, one by one, since the log is about to go.
    pub(crate) fn hand_over_copies(&mut self, out: &mut Out) {
        for (slot, entry) in self.log.iter(self.handed_over.next(), self.commit) {
            let Decision { slot, id, verdict, payload } = entry.decision(slot);
            // EARLY: what is committed is durable at a quorum, and stands without our own disk.
            out.decide_early(slot, id, verdict, payload.clone());
        }
        self.handed_over = self.commit;
    }

    /// A leader was heard: the next election is a timeout away. [R5]
    pub(crate) fn hear_leader(&mut self, now: Time) {
        (self.heard, self.promised) = (Some(now), Some(now)); // [R44]
        self.postpone_election(now);
    }

    /// Whether a leader was heard so recently that nobody should be elected. [R6]
    pub(crate) fn leader_is_fresh(&self, now: Time) -> bool {
        let is_heard = self.heard.is_some_and(|heard| now < heard + self.config.election_timeout());
        self.config.stable_leadership && (is_heard || self.is_bound(now))
    }

    /// [T, 1.5 T) from now. The draw is one per election, not one per heartbeat: the span is kept.
    pub(crate) fn arm_election(&mut self, now: Time, out: &mut Out) {
        let timeout = self.config.election_timeout();
        self.election_span = self.draw_wait(timeout, timeout + timeout / 2);
        self.postpone_election(now);
        out.set_timer(Timer::Election, self.election_due);
    }

    /// Nobody led us before, so nobody is disturbed: the first election comes soon. [R5]
    fn arm_first_election(&mut self, now: Time, out: &mut Out) {
        self.arm_election(now, out);
        let soon = self.draw_wait(self.config.heartbeat_interval(), self.config.election_timeout() / 2);
        self.election_due = now + soon;
        out.set_timer(Timer::Election, self.election_due);
    }

    /// [T/4, T/2) from now: an election that failed is repeated while service can still resume within 2 T. [R5]
    pub(crate) fn arm_retry(&mut self, now: Time, out: &mut Out) {
        let timeout = self.config.election_timeout();
        self.election_due = now + self.draw_wait(timeout / 4, timeout / 2);
        out.set_timer(Timer::Election, self.election_due);
    }

    /// [0, T/10) from now, or from when our promise ends. [R31] [R44]
    pub(crate) fn hasten_election(&mut self, now: Time, out: &mut Out) {
        let soon = self.draw_wait(Duration::ZERO, self.config.election_timeout() / 10);
        let free = self.bound_until().map_or(now, |until| until.max(now));
        self.election_due = self.election_due.min(free + soon);
        out.set_timer(Timer::Election, self.election_due);
    }

    pub(crate) fn postpone_election(&mut self, now: Time) {
        self.election_due = now + self.election_span;
    }

    /// How long to wait before an election: from `from..to`, but for our priority. [R5] [R33]
    fn draw_wait(&mut self, from: Duration, to: Duration) -> Duration {
        let (from, to) = self.stretched(from, to);
        if self.config.plants(Mutant::FixedTimeouts) {
            return from;
        }
        let width = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
        from + Duration::from_nanos(self.rng.next_u64() % width.max(1))
    }
}
