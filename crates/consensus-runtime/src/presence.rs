//! What is known of a peer's host: whether it is there, and which groups run on it.
//!
//! A peer counts as there as long as our connection to it stands, we hear it, and it has echoed a pulse that we sent within the
//! bound: so a way that works in one direction only is noticed at both ends. For a group it is there only if the group runs on it
//! too, under the same algorithm. This is what makes it sound for an idle group to rest in silence: whoever cannot be reached for it
//! is suspected, for whatever reason.

use crate::notice::{Pulse, Team};
use consensus_core::{GroupId, Time};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How soon an urgent pulse may be answered again.
const ANSWER_PAUSE: Duration = Duration::from_millis(10);

/// One peer.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// When the peer was heard last, in nanoseconds.
    heard_ns: AtomicU64,
    state: Mutex<State>,
}

/// What changes together, and what groups are told under the lock, so that the last they hear is the last that was so.
#[derive(Debug, Default)]
pub(crate) struct State {
    is_there: bool,
    /// When our present connection was made.
    connected: Time,
    /// When the newest pulse that the peer has echoed was sent.
    echoed: Time,
    /// The peer's newest pulse, and when it came.
    pulse: Option<(Time, Time)>,
    round_trip: Option<Duration>,
    /// Counts the peer's connections to us: what an earlier one still brings does not count.
    visit: u64,
    answered: Time,
    groups: BTreeMap<GroupId, Arc<str>>,
}

impl Presence {
    /// Something came from the peer.
    pub(crate) fn hear(&self, now: Time) {
        self.heard_ns.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }

    pub(crate) fn heard(&self) -> Time {
        Time::from_nanos(self.heard_ns.load(Ordering::Relaxed))
    }

    /// Whether the peer can be reached for a group that runs `algorithm`.
    pub(crate) fn has(&self, group: GroupId, algorithm: &str) -> bool {
        self.lock().has(group, algorithm)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn has(&self, group: GroupId, algorithm: &str) -> bool {
        self.is_there && self.runs(group).is_some_and(|runs| runs == algorithm)
    }

    /// The algorithm of a group on the peer, if it runs there.
    pub(crate) fn runs(&self, group: GroupId) -> Option<&str> {
        self.groups.get(&group).map(|algorithm| &**algorithm)
    }

    pub(crate) const fn is_there(&self) -> bool {
        self.is_there
    }

    pub(crate) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Our connection to the peer was made.
    pub(crate) const fn on_connected(&mut self, now: Time) {
        self.connected = now;
    }

    /// Our connection to the peer was lost.
    pub(crate) const fn on_disconnected(&mut self) {
        self.is_there = false;
    }

    /// The peer has connected to us: what it runs and what it has heard of us, it tells anew. Returns the number of the visit.
    pub(crate) fn on_visit(&mut self) -> u64 {
        self.visit += 1;
        self.groups.clear();
        self.pulse = None;
        self.visit
    }

    /// The peer's connection to us was lost. False if it has another one by now.
    pub(crate) fn on_visit_over(&mut self, visit: u64) -> bool {
        let is_current = self.visit == visit;
        if is_current {
            self.groups.clear();
            self.pulse = None;
            self.is_there = false;
        }
        is_current
    }

    pub(crate) const fn is_visit(&self, visit: u64) -> bool {
        self.visit == visit
    }

    /// What we say now.
    pub(crate) fn pulse(&self, now: Time) -> Pulse {
        let (echo, at) = self.pulse.unwrap_or_default();
        let held_ns = u64::try_from(now.since(at).as_nanos()).unwrap_or(u64::MAX);
        Pulse { sent: now, echo, held_ns, is_urgent: !self.is_there }
    }

    /// A pulse of the peer. Returns whether it is there now and was not before, and whether it wants an answer at once.
    pub(crate) fn on_pulse(&mut self, now: Time, pulse: Pulse, is_up: bool, bound: Duration) -> (bool, bool) {
        self.pulse = Some((pulse.sent, now));
        let mut has_come = false;
        if pulse.echo > Time::ZERO && pulse.echo <= now {
            self.echoed = self.echoed.max(pulse.echo);
            let held = Duration::from_nanos(pulse.held_ns);
            self.round_trip = now.since(pulse.echo).checked_sub(held).or(self.round_trip);
            // The echo came by the peer's connection to us, of something that left by our present one to it.
            let goes_round = pulse.echo >= self.connected && now.since(pulse.echo) <= bound;
            has_come = is_up && goes_round && !self.is_there;
            self.is_there |= has_come;
        }
        let answers = pulse.is_urgent && now >= self.answered + ANSWER_PAUSE;
        if answers {
            self.answered = now;
        }
        (has_come, answers)
    }

    /// Looks whether the peer has fallen silent; true if it was there until now.
    pub(crate) fn on_tick(&mut self, now: Time, heard: Time, bound: Duration) -> bool {
        let is_silent = now.since(heard) > bound || now.since(self.echoed) > bound;
        let has_gone = self.is_there && is_silent;
        self.is_there &= !is_silent;
        has_gone
    }

    /// The groups that run on the peer, all of them.
    pub(crate) fn on_roster(&mut self, teams: Vec<Team>) {
        self.groups.clear();
        for Team { algorithm, groups } in teams {
            let algorithm: Arc<str> = algorithm.into();
            self.groups.extend(groups.into_iter().map(|group| (group, Arc::clone(&algorithm))));
        }
    }

    /// One more group runs on the peer.
    pub(crate) fn on_joined(&mut self, group: GroupId, algorithm: &str, most: usize) {
        if self.groups.len() < most {
            let known = self.groups.values().find(|known| ***known == *algorithm).map(Arc::clone);
            self.groups.insert(group, known.unwrap_or_else(|| algorithm.into()));
        }
    }

    /// A group runs on the peer no more.
    pub(crate) fn on_left(&mut self, group: GroupId) {
        self.groups.remove(&group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(100);

    const fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn echoing(sent: Time, echo: Time) -> Pulse {
        Pulse { sent, echo, held_ns: 0, is_urgent: false }
    }

    #[test]
    fn a_peer_is_there_once_its_echo_comes_round_and_until_it_is_silent() {
        let presence = Presence::default();
        let mut state = presence.lock();
        state.on_connected(ms(10));
        assert!(state.pulse(ms(10)).is_urgent);
        let (has_come, _) = state.on_pulse(ms(12), echoing(ms(500), ms(9)), true, BOUND);
        assert!(!has_come, "an echo of what left by an earlier connection");
        let (has_come, _) = state.on_pulse(ms(12), echoing(ms(500), ms(10)), false, BOUND);
        assert!(!has_come, "our connection is not up");
        let (has_come, _) = state.on_pulse(ms(12), echoing(ms(500), ms(99)), true, BOUND);
        assert!(!has_come, "an echo of what was not yet sent");
        let (has_come, _) = state.on_pulse(ms(13), echoing(ms(500), ms(10)), true, BOUND);
        assert!(has_come && state.is_there());
        assert_eq!(state.round_trip(), Some(Duration::from_millis(3)));
        let answer = state.pulse(ms(20));
        assert_eq!((answer.echo, answer.held_ns, answer.is_urgent), (ms(500), 7_000_000, false));
        assert!(!state.on_tick(ms(100), ms(90), BOUND), "heard, and echoed, within the bound");
        assert!(state.on_tick(ms(111), ms(90), BOUND), "it is heard, but hears us no more");
        assert!(!state.is_there() && !state.on_tick(ms(200), ms(90), BOUND), "that is told once");
    }

    #[test]
    fn silence_is_noticed_though_echoes_were_fresh() {
        let mut state = State::default();
        assert!(state.on_pulse(ms(50), echoing(ms(1), ms(40)), true, BOUND).0);
        assert!(!state.on_tick(ms(140), ms(41), BOUND));
        state.echoed = ms(300);
        assert!(state.on_tick(ms(300), ms(150), BOUND));
    }

    #[test]
    fn urgent_pulses_are_answered_now_and_then() {
        let mut state = State::default();
        let urgent = Pulse { is_urgent: true, ..echoing(ms(1), Time::ZERO) };
        let mut answers = |now| state.on_pulse(ms(now), urgent, true, BOUND).1;
        assert_eq!([answers(20), answers(21), answers(29), answers(30)], [true, false, false, true]);
    }

    #[test]
    fn a_new_visit_outweighs_what_an_earlier_one_still_brings() {
        let mut state = State { is_there: true, ..State::default() };
        let first = state.on_visit();
        state.on_roster(vec![Team { algorithm: "raft".into(), groups: vec![GroupId(1), GroupId(2)] }]);
        assert!(state.has(GroupId(2), "raft") && !state.has(GroupId(2), "fixed"));
        let second = state.on_visit();
        assert!(!state.has(GroupId(1), "raft"), "it is told anew");
        state.on_joined(GroupId(3), "raft", 10);
        assert!(!state.on_visit_over(first) && state.has(GroupId(3), "raft"));
        assert!(state.on_visit_over(second) && !state.is_there());
        assert_eq!(state.runs(GroupId(3)), None);
    }
}
