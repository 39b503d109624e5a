//! Handing leadership over.
//!
//! The leader stops taking proposals, brings its successor up to date and calls it. Whoever is called leads a ballot at once,
//! without asking how the others fare. A hand-over that takes longer than an election timeout is given up.

use crate::ballot::Ballot;
use crate::leader::Leader;
use crate::message::Message;
use crate::mutant::Mutant;
use crate::progress::Progress;
use crate::state::{Core, MultiPaxos, Role};
use crate::step::Out;
use consensus_core::{NodeId, Priority, Time};
use core::cmp::Reverse;

/// A hand-over under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    to: NodeId,
    /// When it is given up.
    until: Time,
    /// Whether the successor was called since the last heartbeat.
    is_called: bool,
}

impl MultiPaxos {
    /// [P23] An operator wishes that `to` led, or whoever is best.
    pub(crate) fn on_transfer(&mut self, now: Time, to: Option<NodeId>, out: &mut Out) {
        let core = &self.core;
        let Role::Leader(leader) = &mut self.role else { return };
        if to == Some(core.id) {
            // It shall lead on.
            leader.hand_over = None;
            return;
        }
        if let Some(to) = to.or_else(|| leader.best_successor(core)) {
            leader.start_hand_over(now, to, core, out);
        }
    }

    /// [P23] The leader calls us to succeed it. Only the leader that we follow can, or have followed into the present
    /// configuration. [P39]
    pub(crate) fn on_call(&mut self, now: Time, from: NodeId, ballot: Ballot, out: &mut Out) {
        let follows = |leader: Option<NodeId>| leader.is_none_or(|leader| leader == from);
        let follows = matches!(&self.role, Role::Follower(follower) if follows(follower.leader));
        if !follows || ballot != self.promised() {
            return;
        }
        let may_lead = self.core.is_voter() && self.core.known().has_next();
        if self.core.priority == Priority::Never || !may_lead {
            return out.send_after(from, Message::Declined { ballot }, self.core.promise_written);
        }
        self.become_candidate(now, Some(ballot), out);
    }

    /// [P23] The successor does not want to lead.
    pub(crate) fn on_declined(&mut self, now: Time, from: NodeId, ballot: Ballot, out: &mut Out) {
        let core = &self.core;
        let Role::Leader(leader) = &mut self.role else { return };
        if ballot != core.promised.ballot() {
            return;
        }
        if let Some(peer) = leader.peer(from) {
            peer.has_declined = true;
        }
        if leader.hand_over.take_if(|hand_over| hand_over.to == from).is_some() {
            leader.give_way(now, core, out);
        }
    }
}

impl Leader {
    fn start_hand_over(&mut self, now: Time, to: NodeId, core: &Core, out: &mut Out) {
        let is_under_way = self.hand_over.is_some_and(|hand_over| hand_over.to == to);
        if is_under_way || to == core.id || !core.configuration.members.is_voter(to) {
            return;
        }
        let until = now + core.config.election_timeout();
        self.hand_over = Some(HandOver { to, until, is_called: false });
        self.call_successor(core, out);
    }

    /// [P24] Who does not wish to lead hands over to the best of those who answered it, if there is any.
    pub(crate) fn give_way(&mut self, now: Time, core: &Core, out: &mut Out) {
        if core.priority != Priority::Never || self.hand_over.is_some() {
            return;
        }
        if let Some(to) = self.best_successor(core) {
            self.start_hand_over(now, to, core, out);
        }
    }

    /// [P39] Who is called to begin in the next configuration; nobody if we do so ourselves.
    pub(crate) fn heir(&self, core: &Core) -> Option<NodeId> {
        let can_begin =
            |peer: &&Progress| core.configuration.members.is_voter(peer.id) && peer.matched == self.last;
        if let Some(HandOver { to, .. }) = self.hand_over
            && self.peers.iter().filter(can_begin).any(|peer| peer.id == to)
        {
            return Some(to);
        }
        let leads_on = core.is_voter() && core.priority != Priority::Never;
        if leads_on { None } else { self.best_successor(core) }
    }

    /// The voter that was heard last and holds most, among those who do not decline.
    fn best_successor(&self, core: &Core) -> Option<NodeId> {
        let may_lead = |peer: &&Progress| core.configuration.members.is_voter(peer.id) && !peer.has_declined;
        let merit = |peer: &&Progress| (peer.probe_echoed > 0, peer.matched, peer.heard, Reverse(peer.id));
        self.peers.iter().filter(may_lead).max_by_key(merit).map(|peer| peer.id)
    }

    /// Calls the successor as soon as it holds everything that is proposed.
    pub(crate) fn call_successor(&mut self, core: &Core, out: &mut Out) {
        let Some(hand_over) = self.hand_over.as_mut().filter(|hand_over| !hand_over.is_called) else {
            return;
        };
        if self.peers.iter().any(|peer| peer.id == hand_over.to && peer.matched == self.last) {
            hand_over.is_called = true;
            self.lease.forfeit(); // [P35]
            // EARLY: it says nothing but our ballot, which is durable since before we led it.
            out.send_early(hand_over.to, Message::Call { ballot: core.promised.ballot() });
        }
    }

    /// With each heartbeat: the call may have been lost, or the successor cannot follow it. [P9] [P23]
    pub(crate) fn review_hand_over(&mut self, now: Time, core: &Core, out: &mut Out) {
        let Some(hand_over) = &mut self.hand_over else {
            return self.offer_again(now, core, out);
        };
        let is_over = now >= hand_over.until && !core.config.plants(Mutant::TransferNeverGivenUp);
        if is_over || !core.configuration.members.is_voter(hand_over.to) {
            self.hand_over = None;
            return;
        }
        hand_over.is_called = false;
        self.call_successor(core, out);
    }

    /// [P24] Whoever declined may have changed its mind.
    fn offer_again(&mut self, now: Time, core: &Core, out: &mut Out) {
        for peer in &mut self.peers {
            peer.has_declined = false;
        }
        self.give_way(now, core, out);
    }
}
