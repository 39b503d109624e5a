//! From one configuration to the next (Lamport, Malkhi and Zhou 2008, *Stoppable Paxos*; Omni-Paxos §6).
//!
//! A configuration ends with its *stop-sign*, the last value that it chooses; the next one begins at the slot behind it. Whoever
//! knows that the stop-sign is chosen is in the next configuration, and takes part in no ballot of the old one any more.
//!
//! Who leads there first? Whoever led the ballot in which the stop-sign was chosen knows it before anybody else, and holds all
//! that was chosen; so it asks for promises in the next configuration at once, one round trip, without asking how the others fare:
//! nobody else can lead there yet. If it has no vote there, or does not wish to lead, it calls somebody who has. It tells its old
//! followers before, so that they are there when they are asked. None of that is needed for safety: in the next configuration the
//! new ballot is one among others, and whoever hears nobody asks around as ever.
//!
//! Why is it safe? Each configuration is a Paxos of its own, over slots that no other one chooses.
//! - Nothing behind a stop-sign is chosen by its own configuration. Its proposer proposes nothing behind it. Somebody who leads
//!   later ballots of that configuration proposes it anew and stops there, or knows that it was not chosen (`respect_stops`).
//! - A message that asks for something names its configuration, and is answered within that alone. A ballot is led in one
//!   configuration only: whoever enters the next begins with a fresh one. So promises and acceptances of two are never mixed.
//! - A promise outlives the configuration in which it was given: it only refuses more. What was accepted behind the stop-sign is
//!   void, since nothing of it was chosen; that was the only thing which it could have told the next configuration.
//! - What shows that a stop-sign was not chosen is a vote behind it in a higher ballot of the same configuration. So nothing else
//!   may stand in the log behind it: no vote of another configuration, and nothing that was learnt while the stop-sign is not known
//!   to be chosen, now or after a crash (`catch_up`).
//! - Whoever takes part in a configuration has the whole log before it: that is how it got there. A quorum which has chosen
//!   something there holds everything without help from those who have gone.
//! - Reads: as long as a leader does not know that its stop-sign is chosen, nobody does but those who heard it from a leader of a
//!   higher ballot of the same configuration; and whoever confirms our probes has promised none. So while it may read, the next
//!   configuration has not begun.

use crate::acceptor::Open;
use crate::configuration::{Configuration, stop_sign};
use crate::leader::Leader;
use crate::log::Log;
use crate::message::Message;
use crate::mutant::Mutant;
use crate::progress::send_last_heartbeat;
use crate::state::{Core, MultiPaxos, Role};
use crate::step::Out;
use crate::value::Value;
use alloc::vec::Vec;
use consensus_core::{NodeId, Note, Slot, Time};

impl MultiPaxos {
    /// [P38] At the end of every step and flush: whoever has entered another configuration begins there.
    #[inline]
    pub(crate) fn begin_if_entered(&mut self, now: Time, out: &mut Out) {
        if core::mem::take(&mut self.core.has_entered) {
            self.begin(now, out);
        }
    }

    /// [P39] Every role is played within one configuration.
    #[cold]
    fn begin(&mut self, now: Time, out: &mut Out) {
        match &self.role {
            Role::Leader(leader) => {
                let heir = leader.heir(&self.core);
                leader.say_sealed(heir, &self.core, out);
                self.become_follower(now, None, out);
                self.begin_after_leading(now, heir, out);
            }
            Role::Candidate(candidate) => {
                let called_by = candidate.called_by();
                self.become_follower(now, None, out);
                if called_by.is_some() && self.core.is_voter() {
                    return self.become_candidate(now, called_by, out);
                }
                self.core.heard = None;
                self.core.hasten_election(now, out);
            }
            Role::Follower(follower) => {
                let leader = follower.leader;
                self.become_follower(now, None, out);
                // Whoever led is about to lead again, or has called somebody who is.
                if leader.is_some_and(|leader| !self.core.configuration.members.is_voter(leader)) {
                    self.core.heard = None;
                    self.core.arm_retry(now, out);
                }
            }
        }
    }

    fn begin_after_leading(&mut self, now: Time, heir: Option<NodeId>, out: &mut Out) {
        if !self.core.is_voter() {
            // [P41] We have to learn that the others have begun.
            return self.core.hasten_election(now, out);
        }
        match heir {
            None => self.become_candidate(now, None, out),
            Some(_) => self.core.hear(now),
        }
    }

    /// [P41] Our configuration is sealed, as somebody has told us who is in a later one: nothing more is to be had in it. What we
    /// lack we have asked for.
    pub(crate) fn leave_sealed(&mut self, now: Time, out: &mut Out) {
        match self.role {
            Role::Follower(_) => {}
            Role::Candidate(_) | Role::Leader(_) => self.become_follower(now, None, out),
        }
    }

    /// Whether `from`, which knows that everything up to `chosen` is chosen, is in the configuration that we are in. Whoever is
    /// behind is told so; whoever is ahead is asked for what we lack.
    pub(crate) fn is_of_our_configuration(
        &mut self,
        now: Time,
        from: NodeId,
        number: u64,
        chosen: Slot,
        out: &mut Out,
    ) -> bool {
        let core = &mut self.core;
        if number < core.configuration.number {
            core.preempt(from, out);
        }
        if number > core.configuration.number {
            core.hear(now);
            core.catch_up.want(from, chosen);
            self.leave_sealed(now, out);
        }
        number == self.core.configuration.number
    }
}

impl Leader {
    /// [P39] Everybody who followed is told that the stop-sign is chosen, and `heir` is called. The next configuration is ours.
    fn say_sealed(&self, heir: Option<NodeId>, core: &Core, out: &mut Out) {
        let sealed = core.configuration.number - 1;
        for peer in &self.peers {
            send_last_heartbeat(peer, self.start, sealed, core, out);
        }
        if let Some(heir) = heir {
            // EARLY: it says nothing but our ballot, which is durable since before we led it.
            out.send_early(heir, Message::Call { ballot: core.promised.ballot() });
        }
        out.note(Note::ChangeDone { slot: core.learner.chosen });
    }
}

impl Core {
    /// The stop-sign of our configuration among these slots.
    pub(crate) fn stop_within(&self, from: Slot, to: Slot) -> Option<Slot> {
        stop_sign(&self.log, self.configuration.number, from, to).map(|(slot, _)| slot)
    }

    /// Our configuration is sealed at `stop`, and the next one follows.
    pub(crate) fn enter_next_configuration(&mut self, stop: Slot, out: &mut Out) {
        let next = stop_sign(&self.log, self.configuration.number, stop, stop).map(|(_, next)| next.clone());
        if let Some(next) = next {
            self.adopt_configuration(next, out);
        }
    }

    /// This configuration chooses from now on. What was accepted behind the one before is void: nothing of that was chosen.
    pub(crate) fn adopt_configuration(&mut self, next: Configuration, out: &mut Out) {
        if next.number == self.configuration.number {
            return;
        }
        self.has_entered = true;
        let next = self.config.or_old_quorums(next, &self.configuration);
        if !self.config.plants(Mutant::SealedVotesStay) {
            self.log.forget_votes_after(self.learner.chosen);
            self.open = Open::of(&self.log, self.learner.chosen);
        }
        if next.members != self.configuration.members {
            out.members(next.members.clone());
        }
        self.past.push(core::mem::replace(&mut self.configuration, next));
    }

    /// No snapshot that ends before configuration `number` is taken or told of any more.
    pub(crate) fn forget_configurations_before(&mut self, number: u64) {
        self.past.retain(|configuration| configuration.number >= number);
    }

    /// The configuration that chooses the slot behind `slot`, which is known to be chosen.
    pub(crate) fn configuration_behind(&self, slot: Slot) -> Option<&Configuration> {
        let all = self.past.iter().chain([&self.configuration]);
        all.rev().find(|configuration| configuration.since <= slot.next())
    }

    /// A stop-sign ends what is proposed anew, unless a later slot was accepted in a higher ballot: then it cannot have been chosen,
    /// and stands for nothing. `told` is what promises told, `values` what is to be proposed from `first` on. (Lamport, Malkhi and
    /// Zhou 2008)
    pub(crate) fn respect_stops(&self, first: Slot, told: &Log, values: &mut Vec<Value>) {
        let ballot_at = |index: usize| told.get(Slot(first.0 + index as u64)).map(|(ballot, _)| ballot);
        let mut index = 0;
        while let Some(value) = values.get_mut(index) {
            if let Value::Stop(_) = value {
                let stop = ballot_at(index);
                let is_overruled = (index + 1
                    ..=usize::try_from(told.last().0.saturating_sub(first.0)).unwrap_or(0))
                    .any(|later| ballot_at(later) > stop);
                if !is_overruled {
                    values.truncate(index + 1);
                    return;
                }
                *value = Value::Noop;
            }
            index += 1;
        }
    }
}
