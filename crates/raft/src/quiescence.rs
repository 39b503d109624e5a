//! Rest: a group with nothing to do sets no timer and says nothing.
//!
//! A leader that has had no work for a while offers rest in place of its heartbeats. Whoever holds the same log, all of it
//! committed, takes the offer: it stops its election timer, and answers. When everybody has answered the leader stops its timers,
//! too. From then on failure detectors stand in for heartbeats: the leader does not wait for a follower that is suspected, and a
//! follower that suspects its leader wakes. So does whoever is given anything to do or hears anybody. It takes up its timers, and
//! goes on as if it had just heard its leader, or, as a leader, had just been heard by a quorum.
//!
//! Nothing here is needed for safety: resting delays what a node does of itself, which a slow clock could as well.
//!
//! Invariant: whoever rests has no timer, knows its leader, and holds a log that is committed and durable to its end.

use crate::leader::Leader;
use crate::message::{Append, Message};
use crate::mutant::Mutant;
use crate::progress::Progress;
use crate::state::{Core, Raft, Role};
use crate::step::{Out, Timer};
use crate::votes;
use consensus_core::{Input, MAX_MEMBERS, NodeId, Priority, Time};
use core::time::Duration;

/// How far a leader is on its way to rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest {
    /// Since when there was no work, as of the last heartbeat.
    idle_since: Time,
    /// The probe of the first offer since then; zero if there was none.
    offered: u64,
    pub(crate) is_resting: bool,
}

impl Raft {
    /// Whether no timer runs.
    #[inline]
    pub(crate) const fn rests(&self) -> bool {
        match &self.role {
            Role::Follower(follower) => follower.rests,
            Role::PreCandidate(_) | Role::Candidate(_) => false,
            Role::Leader(leader) => leader.rest.is_resting,
        }
    }

    /// [R52] Whether somebody who rests takes up its timers for this. An offer of rest by its leader is judged by [`Self::on_rest`].
    pub(crate) fn is_woken_by(&self, input: &Input<Message, Timer>) -> bool {
        match input {
            Input::Message { from, message: Message::Rest(append) } => {
                append.term != self.core.term || self.leader() != Some(*from)
            }
            Input::Suspect { peer, suspected } => {
                let is_ours = *suspected && self.leader() == Some(*peer);
                let is_missed = is_ours && self.core.config.plants(Mutant::SuspicionSleptThrough);
                (is_ours || matches!(self.role, Role::Leader(_))) && !is_missed
            }
            // Our own disk and state machine have nothing to do with the others.
            Input::Durable(_) | Input::Compact { .. } | Input::Judged { .. } => false,
            Input::Message { .. }
            | Input::Timer(_)
            | Input::Propose { .. }
            | Input::Read(_)
            | Input::Reconfigure { .. }
            | Input::Transfer { .. }
            | Input::Priority(_) => true,
        }
    }

    /// [R52] Takes up its timers.
    pub(crate) fn wake(&mut self, now: Time, out: &mut Out) {
        match &mut self.role {
            Role::Follower(follower) => {
                follower.rests = false;
                // It has not been heard for long, since it was not to speak. Give it the time to.
                let trusted = follower.leader.filter(|&leader| !self.core.suspects(leader));
                self.core.heard = trusted.map(|_| now);
                self.core.arm_election(now, out);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
            Role::Leader(leader) => leader.wake(now, &self.core, out),
        }
    }

    /// [R49] The leader offers rest, in a heartbeat.
    pub(crate) fn on_rest(&mut self, now: Time, from: NodeId, offer: Append, out: &mut Out) {
        let (term, end, commit) = (offer.term, offer.prev, offer.commit);
        self.on_append(now, from, offer, out);
        let core = &self.core;
        let is_whole = core.log.last() == end && core.log.durable() == end.slot;
        let is_committed = commit == end.slot && core.commit == end.slot;
        let is_trusted = term == core.term && self.leader() == Some(from) && !core.suspects(from);
        let is_willing = core.config.quiesce_after_ms.is_some() && is_whole && is_committed && is_trusted;
        let Role::Follower(follower) = &mut self.role else { return };
        if is_willing && follower.reads.is_empty() {
            follower.rests = true;
            out.cancel_timer(Timer::Election);
        } else if follower.rests {
            self.wake(now, out);
        }
    }
}

impl Leader {
    /// [R49] Whether the next heartbeats offer rest.
    pub(crate) fn offers_rest(&mut self, now: Time, was_idle: bool, core: &Core) -> bool {
        if !was_idle {
            (self.rest.idle_since, self.rest.offered) = (now, 0);
        }
        let is_ready = core.log.durable() == core.log.last().slot && core.priority != Priority::Never;
        let after = core.config.quiesce_after_ms.map(Duration::from_millis);
        after.is_some_and(|after| self.rest.idle_since + after <= now) && is_ready && was_idle
    }

    /// The probe of an offer leaves.
    pub(crate) const fn note_offer(&mut self, probe: u64) {
        if self.rest.offered == 0 {
            self.rest.offered = probe;
        }
    }

    /// Whether rest was offered, and not taken by all yet.
    pub(crate) const fn has_offered(&self) -> bool {
        self.rest.offered > 0
    }

    /// There is work again.
    pub(crate) const fn withdraw_offer(&mut self, now: Time) {
        (self.rest.idle_since, self.rest.offered) = (now, 0);
    }

    /// [R49] Rests once everybody who is not suspected has answered an offer.
    pub(crate) fn rest_if_agreed(&mut self, core: &Core, out: &mut Out) {
        if self.rest.offered == 0 || self.rest.is_resting {
            return;
        }
        let spares_silent = core.config.plants(Mutant::RestWithoutTheSilent);
        let is_missed = |peer: &Progress| !core.suspects(peer.id) && (peer.answers() || !spares_silent);
        let is_agreed =
            self.peers.iter().all(|peer| peer.probe_echoed >= self.rest.offered || !is_missed(peer));
        let is_trusted = |node| u64::from(node == core.id || !core.suspects(node));
        if is_agreed && votes::reached_by_quorum(&core.members, is_trusted) > 0 {
            self.rest.is_resting = true;
            out.cancel_timer(Timer::Heartbeat);
            out.cancel_timer(Timer::Election);
        }
    }

    /// [R52] Speaks to everybody at once, and checks its quorum from now on.
    fn wake(&mut self, now: Time, core: &Core, out: &mut Out) {
        self.rest = Rest { idle_since: now, ..Rest::default() };
        self.pace.reset();
        for peer in &mut self.peers {
            // Who rested counts as heard, but not for the next check: by then it must have answered.
            (peer.was_active, peer.is_active) = (!core.suspects(peer.id), false);
        }
        out.set_timer(Timer::Election, now + core.config.election_timeout());
        self.speak(now, false, core, out);
        out.set_timer(Timer::Heartbeat, self.next_beat(now, core));
    }
}

impl Core {
    /// [R53] What our failure detector says of a peer.
    pub(crate) fn note_suspicion(&mut self, peer: NodeId, suspected: bool) {
        self.suspected.retain(|&known| known != peer);
        // More than there can be members: of those whom we forget, we think too well.
        if suspected && self.suspected.len() < MAX_MEMBERS {
            self.suspected.push(peer);
        }
    }

    pub(crate) fn suspects(&self, peer: NodeId) -> bool {
        self.suspected.contains(&peer)
    }
}
