//! The state of a node: what every role needs ([`Core`]), the role, and the transitions between roles.
//!
//! Every node is an acceptor and a learner; at times one is a proposer. The durable part (what is promised, what is accepted, what
//! is known to be chosen, the snapshot) is what the records say when they are read in order; everything else is rebuilt after a
//! crash by talking to the others.

use crate::acceptor::{Follower, Open};
use crate::ballot::Ballot;
use crate::catch_up::CatchUp;
use crate::config::Config;
use crate::configuration::Configuration;
use crate::leader::Leader;
use crate::learner::Learner;
use crate::lease::Bound;
use crate::log::Log;
use crate::proposer::Candidate;
use crate::replay::{Replayed, replay};
use crate::snapshot::Snapshot;
use crate::step::{FAR_BALLOT, Out, Timer};
use crate::synod::Promised;
use alloc::vec::Vec;
use consensus_core::{
    Boot, NodeId, Note, Priority, Refusal, RestoreError, Role as Part, Slot, Status, Time, WriteSeq,
};
use core::time::Duration;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// One node of a Multi-Paxos group.
#[derive(Debug)]
pub struct MultiPaxos {
    pub(crate) core: Core,
    pub(crate) role: Role,
}

/// What every role needs.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    /// The configuration that chooses the next slot, as far as we know.
    pub(crate) configuration: Configuration,
    /// Those before it that the log or our snapshot still tells of.
    pub(crate) past: Vec<Configuration>,
    /// The configuration is another one since the last look. [P38]
    pub(crate) has_entered: bool,
    pub(crate) promised: Promised,
    /// The write that made the last promise durable.
    pub(crate) promise_written: WriteSeq,
    pub(crate) log: Log,
    /// What was accepted and is not known to be chosen.
    pub(crate) open: Open,
    pub(crate) learner: Learner,
    pub(crate) catch_up: CatchUp,
    pub(crate) snapshot: Option<Snapshot>,
    /// The snapshot before it, as long as somebody asks for it.
    pub(crate) served: Option<Snapshot>,
    /// Everything up to here is on our disk.
    pub(crate) durable: WriteSeq,
    /// The highest ballot that we know of: ours goes above it.
    pub(crate) seen: Ballot,
    /// When somebody was last heard who leads the ballot that we promised, or is about to.
    pub(crate) heard: Option<Time>,
    /// Whom a leader's lease binds us to.
    pub(crate) bound: Option<Bound>,
    /// When this boot began, if an earlier one may have been bound.
    pub(crate) restarted: Option<Time>,
    /// When to ask the others how they fare, if nobody is heard until then. Hearing somebody moves this, not the timer: the
    /// timer looks here when it fires.
    pub(crate) election_due: Time,
    /// The timeout that was drawn last.
    election_span: Duration,
    /// Peers that the failure detector suspects.
    pub(crate) suspects: Vec<NodeId>,
    /// How much we wish to lead.
    pub(crate) priority: Priority,
    /// Names this boot in forwarded reads.
    pub(crate) boot: u64,
    /// Rounds of reads that were forwarded since this boot.
    pub(crate) read_round: u64,
    /// Rounds of questions how the others fare.
    pub(crate) ask_round: u64,
    rng: ChaCha8Rng,
}

/// The part that a node plays beside that of acceptor and learner.
#[derive(Debug)]
pub(crate) enum Role {
    /// It follows a leader, or looks for one.
    Follower(Follower),
    /// It wants to lead a ballot: phase 1.
    Candidate(Candidate),
    /// It leads one: phase 2.
    Leader(Leader),
}

impl MultiPaxos {
    /// The highest ballot that this node has promised.
    #[must_use]
    pub const fn promised(&self) -> Ballot {
        self.core.promised.ballot()
    }

    /// In which ballot the value at `slot` was accepted; none if it was not, or is forgotten.
    #[must_use]
    pub fn accepted_in(&self, slot: Slot) -> Option<Ballot> {
        self.core.log.get(slot).map(|(ballot, _)| ballot)
    }

    /// The last slot in which anything was accepted.
    #[must_use]
    pub fn last(&self) -> Slot {
        self.core.log.last()
    }

    /// The configuration that chooses the next slot, as far as this node knows.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.core.configuration
    }

    /// Rebuilds the state from what the disk holds; an empty disk is a first boot. [P30]
    pub(crate) fn recover(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot, records } = boot;
        let birth = Configuration::birth(members.clone(), &config);
        let is_first_boot = records.is_empty() && snapshot.is_none();
        let replayed = replay(&config, birth, snapshot, records).map_err(RestoreError)?;
        let Replayed { promised, log, chosen, snapshot, configuration, past, .. } = replayed;
        // Nodes that are given the same seed must not time out together.
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let boot = rng.next_u64();
        let handed_over = snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through);
        let mut core = Core {
            id,
            open: Open::of(&log, chosen),
            config,
            configuration,
            past,
            has_entered: false,
            promised,
            promise_written: WriteSeq::ZERO,
            log,
            learner: Learner::new(chosen, handed_over),
            catch_up: CatchUp::default(),
            snapshot,
            served: None,
            durable: WriteSeq::ZERO,
            seen: Ballot::ZERO,
            heard: None,
            bound: None,
            restarted: None,
            election_due: Time::ZERO,
            election_span: Duration::ZERO,
            suspects: Vec::new(),
            priority: Priority::Normal,
            boot,
            read_round: 0,
            ask_round: 0,
            rng,
        };
        if is_first_boot {
            core.persist_birth(out);
        }
        if core.configuration.members != members {
            out.members(core.configuration.members.clone());
        }
        core.bind_to_the_past(now);
        if core.restarted.is_some() {
            core.arm_election(now, out);
        } else {
            core.arm_first_election(now, out);
        }
        Ok(Self { core, role: Role::Follower(Follower::default()) })
    }

    /// Follows whoever leads the ballot that is promised. Whatever the old role had promised to answer is answered. [P11] [P28]
    pub(crate) fn become_follower(&mut self, now: Time, leader: Option<NodeId>, out: &mut Out) {
        let follower = Follower::of(leader);
        match core::mem::replace(&mut self.role, Role::Follower(follower)) {
            Role::Follower(mut old) => old.refuse_reads(&Refusal::NotLeader { hint: leader }, out),
            Role::Candidate(_) => {
                let epoch = self.promised().epoch();
                out.note(Note::ElectionLost { epoch, why: "another ballot goes on, or too few promised" });
            }
            Role::Leader(old) => {
                let epoch = self.promised().epoch();
                out.note(Note::SteppedDown { epoch, why: "another leads, or too few are heard" });
                old.abdicate(&self.core, leader, out);
            }
        }
        out.cancel_timer(Timer::Heartbeat);
        self.core.arm_election(now, out);
    }

    /// The leader, as far as known.
    pub(crate) const fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.core.id),
        }
    }

    pub(crate) fn observe(&self) -> Status {
        let role = match &self.role {
            Role::Follower(_) if !self.core.is_voter() => Part::Learner,
            Role::Follower(follower) if follower.poll.is_some() => Part::Candidate,
            Role::Follower(_) => Part::Follower,
            Role::Candidate(_) => Part::Candidate,
            Role::Leader(_) => Part::Leader,
        };
        Status {
            role,
            leader: self.leader(),
            epoch: self.promised().epoch(),
            decided: self.core.learner.chosen,
            members: self.core.configuration.members.clone(),
            blocked: Vec::new(),
        }
    }

    /// Every invariant of the state.
    pub(crate) fn check_invariants(&self) {
        let core = &self.core;
        core.log.assert_invariants();
        core.learner.assert_invariants();
        core.open.assert_invariants();
        assert!(core.log.base() <= core.learner.chosen, "the log forgot what is not chosen");
        assert!(core.configuration.since <= core.learner.chosen.next(), "the configuration comes too soon");
        match &core.snapshot {
            Some(snapshot) => {
                assert!(
                    core.log.base() <= snapshot.through,
                    "there is a hole between the snapshot and the log"
                );
                assert!(snapshot.through <= core.learner.chosen, "the snapshot holds what is not chosen");
            }
            None => assert_eq!(core.log.base(), Slot::ZERO, "the log forgot what no snapshot holds"),
        }
        match &self.role {
            Role::Follower(_) => {}
            Role::Candidate(candidate) => candidate.assert_invariants(core),
            Role::Leader(leader) => leader.assert_invariants(core),
        }
    }
}

impl Core {
    pub(crate) fn is_voter(&self) -> bool {
        self.configuration.members.is_voter(self.id)
    }

    /// The highest ballot that we know of.
    pub(crate) fn known(&self) -> Ballot {
        self.promised.ballot().max(self.seen)
    }

    /// Takes note of a ballot that a member tells of: ours goes above it. Nobody believes one that is far in the future, but takes a
    /// step towards it: who was told too much, and said it here, is met again after some steps. [P21]
    pub(crate) fn note_seen(&mut self, from: NodeId, ballot: Ballot, out: &mut Out) {
        let credible = ballot.as_credible(self.known());
        if credible != ballot {
            out.accuse(from, FAR_BALLOT);
        }
        self.seen = self.seen.max(credible);
    }

    /// Somebody was heard who leads, or is about to: the next question is a timeout away. [P17]
    #[inline]
    pub(crate) fn hear(&mut self, now: Time) {
        self.heard = Some(now);
        self.election_due = now + self.election_span;
    }

    /// Whether somebody was heard lately who leads, or is about to. [P19]
    pub(crate) fn hears(&self, now: Time) -> bool {
        self.heard.is_some_and(|heard| now < heard + self.config.election_timeout())
    }

    /// [T, 1.5 T) from now. The draw is one per leader, not one per heartbeat: the span is kept. [P17]
    pub(crate) fn arm_election(&mut self, now: Time, out: &mut Out) {
        let timeout = self.config.election_timeout();
        self.election_span = self.draw_wait(timeout, timeout + timeout / 2);
        self.election_due = now + self.election_span;
        out.set_timer(Timer::Election, self.election_due);
    }

    /// Nobody led us before, so nobody is disturbed: the first question comes soon. [P17]
    pub(crate) fn arm_first_election(&mut self, now: Time, out: &mut Out) {
        self.arm_election(now, out);
        let soon = self.draw_wait(self.config.heartbeat_interval(), self.config.election_timeout() / 2);
        self.election_due = now + soon;
        out.set_timer(Timer::Election, self.election_due);
    }

    /// [T/4, T/2) from now: what came to nothing is repeated while service can still resume within 2 T. [P17]
    pub(crate) fn arm_retry(&mut self, now: Time, out: &mut Out) {
        let timeout = self.config.election_timeout();
        self.election_due = now + self.draw_wait(timeout / 4, timeout / 2);
        out.set_timer(Timer::Election, self.election_due);
    }

    /// [0, T/10) from now, or from when we are bound no more. [P20] [P22] [P33]
    pub(crate) fn hasten_election(&mut self, now: Time, out: &mut Out) {
        let soon = self.draw_wait(Duration::ZERO, self.config.election_timeout() / 10);
        let free = self.bound_until().map_or(now, |until| until.max(now));
        self.election_due = self.election_due.min(free + soon);
        out.set_timer(Timer::Election, self.election_due);
    }

    /// How long to wait: from `from..to`, but for our priority. [P17] [P24]
    fn draw_wait(&mut self, from: Duration, to: Duration) -> Duration {
        let (from, to) = self.stretched(from, to);
        if self.config.plants(crate::mutant::Mutant::FixedTimeouts) {
            return from;
        }
        let width = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
        from + Duration::from_nanos(self.rng.next_u64() % width.max(1))
    }
}
