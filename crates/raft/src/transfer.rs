//! Handing leadership over (dissertation §3.10).
//!
//! The leader stops taking proposals, brings its successor up to date and tells it to seek election at once. The successor
//! asks without a pre-vote, and says that it was called: the others then do not hold against it that they still hear the old
//! leader. A hand-over that takes longer than an election timeout is given up.
//!
//! Nothing here is needed for safety: whoever is called wins only as any candidate does, by votes for a log that is at least
//! as up-to-date.

use crate::leader::Leader;
use crate::message::Message;
use crate::mutant::Mutant;
use crate::progress::{Mode, Progress};
use crate::state::{Core, Raft, Role};
use crate::step::Out;
use consensus_core::{Epoch, NodeId, Priority, Time};
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

impl Raft {
    /// [R32] An operator wishes that `to` led, or whoever is best.
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

    /// [R32] The leader calls us to succeed it. Only the leader that we follow can: a call that comes late is of a term that is
    /// over, or of a leader that we no longer follow.
    pub(crate) fn on_timeout_now(&mut self, now: Time, from: NodeId, term: Epoch, out: &mut Out) {
        let follows = matches!(&self.role, Role::Follower(follower) if follower.leader == Some(from));
        if !follows || term != self.core.term {
            return;
        }
        if self.core.priority == Priority::Never || !self.core.may_campaign() {
            return out.send_after(from, Message::TransferDeclined { term }, self.core.vote_written);
        }
        self.become_called_candidate(now, out);
    }

    /// [R32] The successor does not want to lead.
    pub(crate) fn on_transfer_declined(&mut self, now: Time, from: NodeId, term: Epoch, out: &mut Out) {
        let core = &self.core;
        let Role::Leader(leader) = &mut self.role else { return };
        if term != core.term {
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
        if is_under_way || !core.is_full_voter(to) {
            return;
        }
        let until = now + core.config.election_timeout();
        self.hand_over = Some(HandOver { to, until, is_called: false });
        self.call_successor(core, out);
    }

    /// [R33] Who does not wish to lead hands over to the best of those who answered it, if there is any.
    pub(crate) fn give_way(&mut self, now: Time, core: &Core, out: &mut Out) {
        if core.priority != Priority::Never || self.hand_over.is_some() {
            return;
        }
        let is_ready = |peer: &Progress| matches!(peer.mode, Mode::Replicate) && peer.is_active;
        let successor = self.best_successor(core);
        if let Some(to) =
            successor.filter(|&to| self.peers.iter().any(|peer| peer.id == to && is_ready(peer)))
        {
            self.start_hand_over(now, to, core, out);
        }
    }

    /// [R33] Whoever declined may have changed its mind.
    pub(crate) fn offer_again(&mut self, now: Time, core: &Core, out: &mut Out) {
        for peer in &mut self.peers {
            peer.has_declined = false;
        }
        self.give_way(now, core, out);
    }

    /// The voter that holds most of the log, among those who answer if there are any.
    fn best_successor(&self, core: &Core) -> Option<NodeId> {
        let may_lead = |peer: &&Progress| core.is_full_voter(peer.id) && !peer.has_declined;
        let merit = |peer: &&Progress| {
            let answers = peer.is_active && matches!(peer.mode, Mode::Replicate);
            (answers, peer.matched, Reverse(peer.id))
        };
        self.peers.iter().filter(may_lead).max_by_key(merit).map(|peer| peer.id)
    }

    /// Calls the successor as soon as it holds the whole log.
    pub(crate) fn call_successor(&mut self, core: &Core, out: &mut Out) {
        let Some(hand_over) = self.hand_over.filter(|hand_over| !hand_over.is_called) else { return };
        let last = core.log.last().slot;
        // What was proposed in the same burst is not in the log yet: called now, the successor would lack it, and lose.
        let is_whole = !self.has_pending() || core.config.plants(Mutant::CalledBeforeThePending);
        if is_whole && self.peers.iter().any(|peer| peer.id == hand_over.to && peer.matched == last) {
            self.hand_over = Some(HandOver { is_called: true, ..hand_over });
            self.lease.forfeit(); // [R46]
            // EARLY: it says nothing but our term, which is durable since our election.
            out.send_early(hand_over.to, Message::TimeoutNow { term: core.term });
        }
    }

    /// With each heartbeat: the call may have been lost, or the successor cannot follow it. [R16] [R32]
    pub(crate) fn review_hand_over(&mut self, now: Time, core: &Core, out: &mut Out) {
        let Some(hand_over) = &mut self.hand_over else { return };
        let is_over = now >= hand_over.until && !core.config.plants(Mutant::TransferNeverGivenUp);
        if is_over || !core.is_full_voter(hand_over.to) {
            self.hand_over = None;
            return;
        }
        hand_over.is_called = false;
        self.call_successor(core, out);
    }
}
