//! Who leads: the one rule that makes progress whenever a single node reaches a quorum (Ng, Haridi and Carbone 2023, §5).
//!
//! Before it leads a ballot a node asks everybody how they fare. It goes on only if enough answer for both phases, and all of those
//! who answer are unhappy as it is itself: they hear nobody who leads, or is about to. So a node that hears little deposes nobody:
//! either it reaches no quorum, or somebody tells it of a leader that it cannot hear. And whoever reaches a quorum of the unhappy
//! leads, whatever its log lacks: it learns that in phase 1.
//!
//! A leader is happy as long as it hears a quorum. When it does not it resigns, and says so to those who still hear it; so it does
//! not stand in the way of a node that hears it and could do better.
//!
//! None of this is needed for safety: a ballot may be led at any time.

use crate::ballot::Ballot;
use crate::message::{Ask, Message, Tell};
use crate::mutant::Mutant;
use crate::state::{Core, MultiPaxos, Role};
use crate::step::{Out, Timer};
use alloc::vec::Vec;
use consensus_core::{NodeId, Time};

/// A question how the others fare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poll {
    /// Who has answered.
    answered: Vec<NodeId>,
    /// One of them was happy.
    is_vetoed: bool,
}

impl MultiPaxos {
    /// [P17] Nobody was heard for long, a question was not answered by all, or phase 1 came to nothing.
    pub(crate) fn on_election_timeout(&mut self, now: Time, out: &mut Out) {
        match &mut self.role {
            // It looks after itself with every heartbeat.
            Role::Leader(_) => {}
            Role::Follower(follower) if follower.poll.is_some() => self.end_poll(now, out),
            Role::Follower(_) if now < self.core.election_due => {
                out.set_timer(Timer::Election, self.core.election_due);
            }
            Role::Follower(_) | Role::Candidate(_) => self.seek_election(now, out),
        }
    }

    /// Asks everybody how they fare. [P18]
    pub(crate) fn seek_election(&mut self, now: Time, out: &mut Out) {
        // Nobody leads us any more, as far as we know. [P28]
        self.become_follower(now, None, out);
        self.core.heard = None;
        if !self.core.is_voter() {
            return self.core.ask_without_vote(now, out); // [P29]
        }
        // [P21] Nobody would believe us in a ballot beyond the last.
        if !self.core.known().has_next() {
            return;
        }
        if !self.core.config.ask_first {
            return self.become_candidate(now, None, out);
        }
        self.core.ask_everybody(out);
        if let Role::Follower(follower) = &mut self.role {
            follower.poll = Some(Poll::default());
        }
        out.set_timer(Timer::Election, now + self.core.config.heartbeat_interval());
        self.end_poll_if_complete(now, out);
    }

    /// [P19] Answering changes nothing.
    pub(crate) fn on_ask(&self, now: Time, from: NodeId, ask: Ask, out: &mut Out) {
        self.tell(now, from, ask.round, out);
    }

    pub(crate) fn tell(&self, now: Time, to: NodeId, round: u64, out: &mut Out) {
        let core = &self.core;
        let tell = Tell {
            round,
            configuration: core.configuration.number,
            ballot: core.promised.ballot(),
            leader: self.leader(),
            happy: self.is_happy(now),
            chosen: core.learner.chosen,
        };
        out.send_after(to, Message::Tell(tell), core.promise_written);
    }

    /// [P19]
    fn is_happy(&self, now: Time) -> bool {
        match &self.role {
            Role::Follower(_) => self.core.hears(now),
            Role::Candidate(_) | Role::Leader(_) => true,
        }
    }

    /// How somebody fares. Only an answer to what was asked last counts. [P18]
    pub(crate) fn on_tell(&mut self, now: Time, from: NodeId, tell: Tell, out: &mut Out) {
        let core = &mut self.core;
        if core.configuration.members.contains(from) {
            core.note_seen(from, tell.ballot, out);
        }
        let Role::Follower(follower) = &mut self.role else { return };
        // [P14] Who hears no leader learns from anybody.
        if follower.leader.is_none() && tell.chosen > core.learner.chosen {
            core.catch_up.want(from, tell.chosen);
        }
        let is_answer = tell.round == core.ask_round && core.configuration.members.is_voter(from);
        let Some(poll) = follower.poll.as_mut().filter(|_| is_answer) else { return };
        if !poll.answered.contains(&from) {
            poll.answered.push(from);
        }
        let vetoes = tell.happy && !core.config.plants(Mutant::VetoIgnored);
        poll.is_vetoed |= vetoes || tell.configuration > core.configuration.number;
        self.end_poll_if_complete(now, out);
    }

    /// Whoever is suspected is not waited for. [P22]
    fn end_poll_if_complete(&mut self, now: Time, out: &mut Out) {
        let core = &self.core;
        let Role::Follower(follower) = &self.role else { return };
        let Some(poll) = &follower.poll else { return };
        let has_told = |voter: &NodeId| {
            poll.answered.contains(voter) || (core.suspects.contains(voter) && poll.suffices(core))
        };
        if core.configuration.other_voters(core.id).all(|voter| has_told(&voter)) {
            self.end_poll(now, out);
        }
    }

    /// [P18] All who answer are unhappy, and they are enough: then it is on us.
    fn end_poll(&mut self, now: Time, out: &mut Out) {
        let core = &mut self.core;
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(poll) = follower.poll.take() else { return };
        if !poll.is_vetoed && poll.suffices(core) {
            return self.become_candidate(now, None, out);
        }
        core.arm_retry(now, out);
    }

    /// [P20] A leader that hears no quorum leaves the field to whoever does.
    pub(crate) fn resign(&mut self, now: Time, out: &mut Out) {
        let ballot = self.promised();
        for node in self.core.configuration.members.others(self.core.id) {
            // EARLY: it claims nothing that a restart could undo: we never lead this ballot again.
            out.send_early(node, Message::Resigned { ballot });
        }
        self.become_follower(now, None, out);
        self.core.heard = None;
        self.core.arm_retry(now, out);
    }

    pub(crate) fn on_resigned(&mut self, now: Time, from: NodeId, ballot: Ballot, out: &mut Out) {
        if ballot == self.promised() {
            // [P35] It has no lease any more.
            self.core.bound.take_if(|bound| bound.ballot == ballot);
            self.lose_leader(now, from, out);
        }
    }

    /// [P22] Whoever is suspected is not waited for; a leader that is suspected does not count as heard. The suspicion may be
    /// wrong: then the others still hear it, and veto.
    pub(crate) fn on_suspicion(&mut self, now: Time, peer: NodeId, suspected: bool, out: &mut Out) {
        self.core.suspects.retain(|&suspect| suspect != peer);
        if suspected && self.core.configuration.members.contains(peer) {
            self.core.suspects.push(peer);
            self.lose_leader(now, peer, out);
        }
    }

    fn lose_leader(&mut self, now: Time, leader: NodeId, out: &mut Out) {
        if let Role::Follower(follower) = &self.role
            && follower.leader == Some(leader)
        {
            self.core.heard = None;
            self.core.hasten_election(now, out);
        }
    }
}

impl Core {
    fn ask_everybody(&mut self, out: &mut Out) {
        self.ask_round += 1;
        for voter in self.configuration.other_voters(self.id) {
            // EARLY: a question claims nothing.
            out.send_early(voter, Message::Ask(Ask { round: self.ask_round }));
        }
    }

    /// [P41] Whoever has no vote, and hears nobody, asks what it has missed: that it is no member any more, perhaps. Whoever is not
    /// asks until it knows that the others have begun without it, and is quiet then.
    fn ask_without_vote(&mut self, now: Time, out: &mut Out) {
        let is_member = self.configuration.members.contains(self.id);
        let is_in_doubt = self.learner.chosen < self.configuration.opening();
        if is_member || is_in_doubt {
            self.ask_everybody(out);
        }
        if is_in_doubt {
            self.arm_retry(now, out);
        }
    }
}

impl Poll {
    /// Whether those who answered are, with us, enough for either phase.
    fn suffices(&self, core: &Core) -> bool {
        let others = self.answered.iter().filter(|&&node| core.configuration.members.is_voter(node)).count();
        others + 1 >= core.configuration.either_quorum()
    }
}
