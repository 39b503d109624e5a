//! The failure detector, one for all groups of a host: a pulse on each connection at regular intervals, whoever else uses it, and a
//! look at who has fallen silent. What it finds is told to the groups as [`consensus_core::Event::Suspect`].
//!
//! Invariant: groups are told under the lock of the peer's [`Presence`], and rosters are announced under the lock of our own, so
//! that what is told last is what was so last.

use crate::frame::{FrameError, Kind};
use crate::host::Inner;
use crate::link::Link;
use crate::mailbox::News;
use crate::metrics::add;
use crate::notice::{Notice, Team};
use crate::presence::State;
use crate::registry::MAX_GROUPS;
use consensus_core::{GroupId, NodeId};
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

/// Pulses within the bound: three may be late or lost.
const PULSES: u32 = 4;

/// Runs until it is aborted.
pub(crate) async fn watch(host: Arc<Inner>) {
    let interval = host.suspect_after() / PULSES;
    let mut before = host.clock.now();
    loop {
        tokio::time::sleep(interval).await;
        let now = host.clock.now();
        // Who overslept has not heard what waits in its own sockets: it gives the others another interval.
        let is_late = now.since(before) > 2 * interval;
        before = now;
        for link in host.contacts.links().table().values() {
            let mut state = link.presence.lock();
            if !is_late && state.on_tick(now, link.presence.heard(), host.suspect_after()) {
                add(&host.metrics.suspicions, 1);
                tracing::warn!(peer = %link.peer, "a peer has fallen silent, or does not hear us");
                host.tell_all(link.peer, &state, News::LOST);
            }
            host.send_pulse(link, &state);
        }
    }
}

impl Inner {
    pub(crate) const fn suspect_after(&self) -> Duration {
        Duration::from_millis(self.config.suspect_after_ms)
    }

    /// Our connection to a peer is made: the peer is told which groups run here, and asked whether it hears us.
    pub(crate) fn on_connected(&self, link: &Link, stream: Arc<TcpStream>) {
        let roster = self.roster();
        let mut teams: BTreeMap<&str, Vec<GroupId>> = BTreeMap::new();
        for (&group, &algorithm) in roster.iter() {
            teams.entry(algorithm).or_default().push(group);
        }
        let teams = teams.into_iter().map(|(algorithm, groups)| Team { algorithm: algorithm.into(), groups });
        link.connect(stream);
        self.announce(link, &Notice::Roster(teams.collect()));
        drop(roster);
        self.announce(link, &Notice::Address(self.contacts.own_addresses()));
        let mut state = link.presence.lock();
        state.on_connected(self.clock.now());
        self.send_pulse(link, &state);
        self.tell_all(link.peer, &state, News { up: true, ..News::default() });
    }

    /// Our connection to a peer was lost.
    pub(crate) fn on_disconnected(&self, link: &Link) {
        link.disconnect();
        let mut state = link.presence.lock();
        state.on_disconnected();
        self.tell_all(link.peer, &state, News::LOST);
    }

    /// A peer has connected to us. Returns the number of its visit.
    pub(crate) fn on_visit(&self, link: &Link) -> u64 {
        link.seen.notify_one();
        link.presence.hear(self.clock.now());
        link.presence.lock().on_visit()
    }

    /// A peer's connection to us was lost.
    pub(crate) fn on_visit_over(&self, link: &Link, visit: u64) {
        let mut state = link.presence.lock();
        // Whoever closes its socket has most likely ended; only the algorithm knows what that is worth.
        let news =
            if state.on_visit_over(visit) { News::LOST } else { News { suspected: None, ..News::LOST } };
        self.tell_all(link.peer, &state, news);
    }

    /// A notice of a peer.
    pub(crate) fn on_notice(&self, link: &Link, visit: u64, body: &[u8]) -> Result<(), FrameError> {
        let notice = Notice::read(body)?;
        let mut state = link.presence.lock();
        if !state.is_visit(visit) {
            return Ok(());
        }
        match notice {
            Notice::Pulse(pulse) => {
                let now = self.clock.now();
                let (has_come, answers) = state.on_pulse(now, pulse, link.is_up(), self.suspect_after());
                if has_come {
                    tracing::info!(peer = %link.peer, "a peer is there, and hears us");
                    self.tell_all(link.peer, &state, News { up: true, ..News::default() });
                }
                if answers {
                    self.send_pulse(link, &state);
                }
            }
            Notice::Roster(teams) => {
                state.on_roster(teams);
                self.tell_all(link.peer, &state, News { up: true, ..News::default() });
            }
            Notice::Joined { group, algorithm } => {
                state.on_joined(group, &algorithm, MAX_GROUPS);
                self.tell(link.peer, &state, group, News { up: true, ..News::default() });
            }
            Notice::Left { group } => {
                state.on_left(group);
                self.tell(link.peer, &state, group, News::LOST);
            }
            Notice::Address(addresses) => self.contacts.introduce(link.peer, addresses),
        }
        Ok(())
    }

    /// A group runs here: the peers are told, and the group who is there.
    pub(crate) fn join(&self, group: GroupId, algorithm: &'static str) {
        let mut roster = self.roster();
        roster.insert(group, algorithm);
        for link in self.contacts.links().table().values() {
            self.announce(link, &Notice::Joined { group, algorithm: algorithm.into() });
        }
        drop(roster);
        self.tell_who_is_there(group);
    }

    /// Tells a group, if it runs here, which of its members are there.
    pub(crate) fn tell_who_is_there(&self, group: GroupId) {
        let Some(door) = self.registry.door(group) else { return };
        let members = door.shared().view.borrow().status.members.clone();
        let links = self.contacts.links().table();
        for peer in members.others(self.config.node) {
            match links.get(&peer) {
                Some(link) => self.tell(peer, &link.presence.lock(), group, News::default()),
                // Nobody has told yet where it listens.
                None => door.tell(peer, News { suspected: Some(true), ..News::default() }),
            }
        }
    }

    /// A group runs here no more.
    pub(crate) fn leave(&self, group: GroupId) {
        let mut roster = self.roster();
        roster.remove(&group);
        for link in self.contacts.links().table().values() {
            self.announce(link, &Notice::Left { group });
        }
    }

    /// A peer that missed a notice would believe the wrong thing for ever: then it hears all anew, on another connection.
    fn announce(&self, link: &Link, notice: &Notice) {
        if link.is_up() && !link.post(Kind::Notice, GroupId::ZERO, notice) {
            tracing::warn!(peer = %link.peer, "too much waits for a peer; dialling again");
            link.disconnect();
        }
        link.transmit();
    }

    fn send_pulse(&self, link: &Link, state: &State) {
        // One that is lost is followed by others.
        link.post(Kind::Notice, GroupId::ZERO, &Notice::Pulse(state.pulse(self.clock.now())));
        link.transmit();
    }

    /// Tells all groups with this peer.
    fn tell_all(&self, peer: NodeId, state: &State, news: News) {
        for group in self.registry.running() {
            self.tell(peer, state, group, news);
        }
    }

    /// Tells a group, if it runs here and has this peer, and adds whether it is to be suspected.
    fn tell(&self, peer: NodeId, state: &State, group: GroupId, news: News) {
        let Some(door) = self.registry.door(group) else { return };
        if !door.shared().view.borrow().status.members.contains(peer) {
            return;
        }
        let ours = door.algorithm();
        if let Some(theirs) = state.runs(group).filter(|theirs| *theirs != ours) {
            tracing::error!(%peer, %group, ours, theirs, "a peer runs another algorithm under the same group id");
        }
        let is_there = state.has(group, ours);
        door.tell(peer, News { up: news.up && is_there, suspected: Some(!is_there), ..news });
    }

    fn roster(&self) -> MutexGuard<'_, BTreeMap<GroupId, &'static str>> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
