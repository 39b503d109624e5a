//! Elections: how a term gets its leader, and at most one (paper §5.2, §5.4.1; dissertation §9.6).
//!
//! A node first asks whether it *would* be elected, without changing anything anywhere; only with a quorum of such answers does
//! it raise its term and ask for votes. Votes are counted by distinct sender, the own one when it is durable.

use crate::entry::Position;
use crate::leader::Leader;
use crate::message::{Ballot, BallotReply, MAX_TERM, Message};
use crate::mutant::Mutant;
use crate::state::{Core, Raft, Role};
use crate::step::{Out, Timer};
use crate::votes;
use consensus_core::quorum::Tally;
use consensus_core::{NodeId, Note, Slot, Time};

/// Somebody who seeks election.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidate {
    granted: Tally,
    /// Whether the leader called it to succeed it.
    is_called: bool,
}

impl Raft {
    /// [R5] A follower seeks election, a candidate tries again, a leader checks its quorum.
    pub(crate) fn on_election_timeout(&mut self, now: Time, out: &mut Out) {
        if let Role::Leader(_) = &self.role {
            return self.check_quorum(now, out);
        }
        if now < self.core.election_due {
            // A leader was heard since the timer was set.
            return out.set_timer(Timer::Election, self.core.election_due);
        }
        if !self.core.may_campaign() {
            // Nobody leads it any more, as far as it knows. [R21]
            let (term, vote) = (self.core.term, self.core.vote);
            self.become_follower(now, term, vote, None, out);
            return self.core.arm_election(now, out);
        }
        if self.core.config.stable_leadership {
            self.become_pre_candidate(now, out);
        } else {
            self.become_candidate(now, false, out);
        }
    }

    /// [R31] A leader that is suspected does not count as heard, and is waited for a tenth of the time only. The suspicion may
    /// be wrong: the pre-vote finds out whether others still hear that leader, and its next append settles the matter.
    pub(crate) fn on_suspicion(&mut self, now: Time, peer: NodeId, suspected: bool, out: &mut Out) {
        self.core.note_suspicion(peer, suspected);
        // Once it is no longer suspected it shows by itself that it is back.
        if !suspected || self.rests() {
            return;
        }
        if let Role::Follower(follower) = &self.role
            && follower.leader == Some(peer)
        {
            self.core.heard = None;
            if self.core.config.plants(Mutant::SuspicionBreaksPromise) {
                self.core.promised = None;
            }
            self.core.hasten_election(now, out);
        }
    }

    fn become_pre_candidate(&mut self, now: Time, out: &mut Out) {
        self.note_election(false, out);
        let (term, vote) = (self.core.term, self.core.vote);
        // Gives up what a follower had promised to answer.
        self.become_follower(now, term, vote, None, out);
        let mut candidate = Candidate::default();
        candidate.granted.add(self.core.id);
        self.role = Role::PreCandidate(candidate);
        self.core.arm_retry(now, out);
        self.ask_for_votes(now, out);
        // [R29] A single node is its own quorum.
        self.count_pre_votes(now, out);
    }

    /// [R32] Without a pre-vote: the others still hear the leader that called us.
    pub(crate) fn become_called_candidate(&mut self, now: Time, out: &mut Out) {
        self.become_candidate(now, true, out);
    }

    fn become_candidate(&mut self, now: Time, is_called: bool, out: &mut Out) {
        self.note_election(is_called, out);
        let (term, own) = (self.core.term.next(), self.core.id);
        self.become_follower(now, term, Some(own), None, out); // [R1]
        self.role = Role::Candidate(Candidate { is_called, ..Candidate::default() });
        self.core.arm_retry(now, out);
        self.ask_for_votes(now, out);
        self.count_own_vote(now, out);
    }

    fn become_leader(&mut self, now: Time, out: &mut Out) {
        self.role = Role::Leader(Leader::new(&self.core));
        out.note(Note::ElectionWon { epoch: self.core.term });
        out.set_timer(Timer::Election, now + self.core.config.election_timeout());
        out.set_timer(Timer::Heartbeat, now + self.core.config.heartbeat_interval());
    }

    /// Tells that a follower seeks election; not each time that it tries again.
    fn note_election(&self, is_called: bool, out: &mut Out) {
        if matches!(self.role, Role::Follower(_)) {
            let why = match self.core.heard {
                _ if is_called => "the leader has handed over",
                Some(_) => "the leader was not heard for an election timeout",
                None => "no leader is known to be alive",
            };
            out.note(Note::ElectionStarted { epoch: self.core.term, why });
        }
    }

    /// Asks those who have not answered yet; repeated with every heartbeat interval.
    pub(crate) fn ask_for_votes(&mut self, now: Time, out: &mut Out) {
        let (core, last) = (&self.core, self.core.log.last());
        match &self.role {
            Role::PreCandidate(candidate) => {
                let ballot = Ballot { term: core.term.next(), last };
                candidate.ask(core, Message::PreVote(ballot), out);
            }
            Role::Candidate(candidate) => {
                let ballot = Ballot { term: core.term, last };
                let vote =
                    if candidate.is_called { Message::CalledVote(ballot) } else { Message::Vote(ballot) };
                candidate.ask(core, vote, out);
            }
            Role::Follower(_) | Role::Leader(_) => return,
        }
        out.set_timer(Timer::Heartbeat, now + core.config.heartbeat_interval());
    }

    /// [R6] Would we vote for him? Answering changes neither term nor vote, nor any timer.
    pub(crate) fn on_pre_vote(&mut self, now: Time, from: NodeId, ballot: Ballot, out: &mut Out) {
        let granted = ballot.term > self.core.term
            && self.core.is_up_to_date(ballot.last)
            && !self.follows_or_leads(now);
        let term = if granted { ballot.term } else { self.core.term };
        let reply = Message::PreVoteReply(BallotReply { term, granted });
        out.send_after(from, reply, self.core.vote_written);
    }

    pub(crate) fn on_pre_vote_reply(&mut self, now: Time, from: NodeId, reply: BallotReply, out: &mut Out) {
        if !reply.granted {
            // Others are further: their term is what we must exceed. [R3]
            self.settle_term(now, from, reply.term, out);
            return;
        }
        // An answer to an earlier question speaks of an earlier term. [R6]
        if let Role::PreCandidate(candidate) = &mut self.role
            && reply.term == self.core.term.next()
        {
            candidate.granted.add(from);
            self.count_pre_votes(now, out);
        }
    }

    /// [R1] [R2] One vote per term, for a log that is at least as up-to-date, durable before the answer leaves.
    pub(crate) fn on_vote(
        &mut self,
        now: Time,
        from: NodeId,
        ballot: Ballot,
        is_called: bool,
        out: &mut Out,
    ) {
        // [R6] Not even the term is taken over while a leader is heard: a node that returns does not disturb.
        if ballot.term > self.core.term && !is_called && self.follows_or_leads(now) {
            return;
        }
        if ballot.term > self.core.term && is_called {
            // [R32] The leader that we hear has called its successor: it no longer stands in the way of anybody. [R46]
            (self.core.heard, self.core.promised) = (None, None);
        }
        let is_free = match self.core.vote {
            _ if ballot.term > self.core.term => true,
            Some(vote) => vote == from || self.core.votes_again(vote),
            // [R44] Somebody told us of the term while we were bound to the leader of an earlier one.
            None => {
                is_called || !self.core.is_bound(now) || self.core.config.plants(Mutant::PromiseEndsWithTerm)
            }
        };
        let is_trusted = is_called && self.core.config.plants(Mutant::CalledVoteUnchecked);
        let granted =
            ballot.term >= self.core.term && is_free && (self.core.is_up_to_date(ballot.last) || is_trusted);
        let is_news = ballot.term > self.core.term || (granted && self.core.vote.is_none());
        if is_news {
            self.become_follower(now, ballot.term, granted.then_some(from), None, out);
        }
        let reply = Message::VoteReply(BallotReply { term: self.core.term, granted });
        if self.core.config.plants(Mutant::VoteBeforeDurable) {
            // EARLY: it is a bug, and planted.
            return out.send_early(from, reply);
        }
        out.send(from, reply);
    }

    pub(crate) fn on_vote_reply(&mut self, now: Time, from: NodeId, reply: BallotReply, out: &mut Out) {
        let is_current = self.settle_term(now, from, reply.term, out);
        let config = &self.core.config;
        if !(is_current || config.plants(Mutant::StaleVoteCounted))
            || !(reply.granted || config.plants(Mutant::RefusalCountsAsVote))
        {
            return;
        }
        if let Role::Candidate(candidate) = &mut self.role {
            candidate.granted.add(self.core.voter(&candidate.granted, from));
            self.count_votes(now, out);
        }
    }

    /// [R1] Our own vote counts when it is on our disk.
    pub(crate) fn count_own_vote(&mut self, now: Time, out: &mut Out) {
        if let Role::Candidate(candidate) = &mut self.role
            && self.core.vote_written <= self.core.durable
        {
            candidate.granted.add(self.core.id);
            self.count_votes(now, out);
        }
    }

    fn count_pre_votes(&mut self, now: Time, out: &mut Out) {
        if let Role::PreCandidate(candidate) = &self.role
            && votes::has_quorum(&self.core.members, &candidate.granted)
        {
            self.become_candidate(now, false, out);
        }
    }

    fn count_votes(&mut self, now: Time, out: &mut Out) {
        if let Role::Candidate(candidate) = &self.role
            && votes::has_quorum(&self.core.members, &candidate.granted)
        {
            self.become_leader(now, out);
        }
    }

    /// Whether an election would disturb a leadership that works.
    fn follows_or_leads(&self, now: Time) -> bool {
        let leads = matches!(self.role, Role::Leader(_)) && self.core.config.stable_leadership;
        leads || self.core.leader_is_fresh(now)
    }
}

impl Core {
    /// [R40] Whether we may seek election: a voter may; and so may who just lost its vote, since until that is committed
    /// nobody else's log may be up-to-date enough.
    pub(crate) fn may_campaign(&self) -> bool {
        let newest = self.configurations.newest().slot;
        let had_vote = || self.configurations.at(Slot(newest.0 - 1)).members.is_voter(self.id);
        let may_win = self.members.is_voter(self.id) || (newest > self.commit && had_vote());
        // [R54] Nobody would believe us in a term beyond the last.
        let may_win = may_win && self.term < MAX_TERM;
        may_win && (self.is_full() || self.config.plants(Mutant::WitnessLeads)) // [R42]
    }

    /// [R2] Whether a log that ends at `last` holds everything that may be committed, as far as our own log tells.
    fn is_up_to_date(&self, last: Position) -> bool {
        let own = self.log.last();
        if self.config.plants(Mutant::VoteComparesLength) {
            return last.slot >= own.slot;
        }
        last >= own || self.config.plants(Mutant::VoteWithoutLogCheck)
    }
}

impl Candidate {
    fn ask(&self, core: &Core, message: Message, out: &mut Out) {
        let voters = core.members.others(core.id).filter(|&node| core.members.is_voter(node));
        for voter in voters.filter(|&node| !self.granted.contains(node)) {
            out.send_after(voter, message.clone(), core.vote_written); // [R1]
        }
    }
}
