//! How often a leader speaks when it has nothing to say.
//!
//! Whatever is appended shows that the leader lives, so a heartbeat goes only to whoever was told nothing for an interval. It is
//! an append behind everything that was sent, and a probe of its own: the answer tells that nothing is missing, and when the
//! follower has heard us (see [`crate::lease`]). A leader without work speaks ever more rarely, as long as everybody answers.
//!
//! Invariant: a follower is sent something at least once per interval, and the interval is at most a quarter of the election
//! timeout, or what is configured if that is longer.

use crate::config::Config;
use crate::feed::{Burst, send_heartbeat};
use crate::leader::Leader;
use crate::progress::Progress;
use crate::state::Core;
use crate::step::{Out, Timer};
use consensus_core::{Slot, Time};
use core::time::Duration;

/// How often the leader speaks at present.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// How many times the configured interval was doubled.
    doublings: u32,
    /// The end of the log at the last beat: what has come and gone since was work, too.
    seen: Slot,
}

impl Pace {
    fn interval(&self, config: &Config) -> Duration {
        let interval = config.heartbeat_interval();
        let longest = interval.max(config.election_timeout() / 4);
        interval.saturating_mul(1 << self.doublings).min(longest)
    }

    /// [R48] Nobody had anything to do, and everybody answered.
    fn slow_down(&mut self, config: &Config) {
        let next = Self { doublings: self.doublings + 1, ..*self };
        if next.interval(config) > self.interval(config) {
            *self = next;
        }
    }

    /// [R48] As often as configured.
    pub(crate) const fn reset(&mut self) {
        self.doublings = 0;
    }
}

impl Leader {
    /// [R16] What may have been lost is said again, to each who was told nothing for an interval.
    pub(crate) fn beat(&mut self, now: Time, core: &Core, out: &mut Out) {
        let last = core.log.last().slot;
        let was_idle = last == self.pace.seen && !self.has_work(core);
        let is_answered = self.is_answered();
        self.pace.seen = last;
        if !was_idle || !is_answered {
            self.pace.reset();
        }
        let offers_rest = self.offers_rest(now, was_idle, core);
        self.speak(now, offers_rest, core, out);
        if was_idle && is_answered {
            self.pace.slow_down(&core.config);
        }
        self.review_hand_over(now, core, out);
        out.set_timer(Timer::Heartbeat, self.next_beat(now, core));
    }

    /// Heartbeats, each a probe of its own, to whom they are due.
    pub(crate) fn speak(&mut self, now: Time, offers_rest: bool, core: &Core, out: &mut Out) {
        let burst = Burst { offers_rest, ..self.burst_of_probe(now, core) };
        if offers_rest {
            self.note_offer(burst.probe);
        }
        let interval = self.pace.interval(&core.config);
        for peer in &mut self.peers {
            if peer.spoken_to + interval <= now {
                send_heartbeat(peer, core, burst, out);
            }
        }
    }

    /// When somebody will have been told nothing for an interval.
    pub(crate) fn next_beat(&self, now: Time, core: &Core) -> Time {
        let spoken_to = self.peers.iter().map(|peer| peer.spoken_to).min();
        spoken_to.unwrap_or(now) + self.pace.interval(&core.config)
    }

    /// [R48] With the first work the leader speaks as often as it is told to.
    pub(crate) fn quicken(&mut self, now: Time, core: &Core, out: &mut Out) {
        if (self.pace.doublings > 0 || self.has_offered()) && self.has_work(core) {
            self.pace.reset();
            self.withdraw_offer(now);
            out.set_timer(Timer::Heartbeat, self.next_beat(now, core));
        }
    }

    /// Whether anybody waits for anything.
    pub(crate) fn has_work(&self, core: &Core) -> bool {
        let last = core.log.last().slot;
        let lacks = |peer: &Progress| peer.answers() && peer.matched < last;
        let is_changing = self.hand_over.is_some() || self.change.is_some();
        core.commit < last || !self.reads.is_empty() || is_changing || self.peers.iter().any(lacks)
    }

    /// Whether whoever answers at all has answered the last probe that it was sent.
    fn is_answered(&self) -> bool {
        self.peers.iter().all(|peer| !peer.answers() || peer.probe_echoed >= peer.probe_sent)
    }
}
