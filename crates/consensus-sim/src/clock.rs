//! A node's own clock: it starts anywhere, runs too fast or too slow, and may stand still while its machine does.
//!
//! Invariants: within one boot it never goes back; [`Clock::when`] is the first moment at which [`Clock::read`] shows at least
//! what was asked for.

use crate::random::MILLION;
use consensus_core::Time;
use core::time::Duration;

/// A clock, as a line through a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// A moment of the world.
    origin: Time,
    /// What the clock showed then.
    reading: Time,
    /// How many millionths of a second it counts in a second; zero: it has stopped.
    rate_ppm: u64,
}

impl Clock {
    /// It shows the world's time.
    pub const TRUE: Self = Self { origin: Time::ZERO, reading: Time::ZERO, rate_ppm: MILLION };

    /// A clock that shows `reading` at the moment `origin`, and counts `rate_ppm` millionths of a second in a second.
    #[must_use]
    pub fn new(origin: Time, reading: Time, rate_ppm: u64) -> Self {
        Self { origin, reading, rate_ppm: rate_ppm.max(1) }
    }

    /// What it shows at this moment of the world.
    #[must_use]
    pub fn read(&self, now: Time) -> Time {
        let passed = u128::from(nanos(now.since(self.origin)));
        let counted = passed * u128::from(self.rate_ppm) / u128::from(MILLION);
        self.reading + Duration::from_nanos(u64::try_from(counted).unwrap_or(u64::MAX))
    }

    /// The first moment of the world at which it shows at least `reading`; [`Time::MAX`] if it never does.
    #[must_use]
    pub fn when(&self, reading: Time) -> Time {
        let counted = u128::from(nanos(reading.since(self.reading)));
        if self.rate_ppm == 0 {
            return if counted == 0 { self.origin } else { Time::MAX };
        }
        let passed = (counted * u128::from(MILLION)).div_ceil(u128::from(self.rate_ppm));
        self.origin + Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// It did not count the last `span`, which lies within its life.
    pub fn stood_still(&mut self, span: Duration) {
        self.origin += span;
    }

    /// From `now` on, which lies within its life, it shows the same for ever.
    pub fn stop(&mut self, now: Time) {
        *self = Self { origin: now, reading: self.read(now), rate_ppm: 0 };
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn a_true_clock_shows_the_time() {
        let now = Time::from_nanos(123_456_789);
        assert_eq!((Clock::TRUE.read(now), Clock::TRUE.when(now)), (now, now));
        assert_eq!(Clock::TRUE.when(Time::MAX), Time::MAX);
    }

    #[test]
    fn a_deadline_is_met_at_the_first_moment_that_shows_it() {
        let mut choices = Stream::derive(1, "clocks");
        for _ in 0..10_000 {
            let origin = Time::from_nanos(choices.below(1 << 40));
            let reading = Time::from_nanos(choices.below(1 << 50));
            let clock = Clock::new(origin, reading, choices.between(MILLION / 2, MILLION * 2));
            let deadline = reading + Duration::from_nanos(choices.between(1, 1 << 40));
            let when = clock.when(deadline);
            assert!(clock.read(when) >= deadline);
            assert!(clock.read(Time::from_nanos(when.as_nanos() - 1)) < deadline);
        }
    }

    #[test]
    fn a_clock_that_stood_still_goes_on_where_it_was() {
        let mut clock = Clock::new(Time::from_millis(5), Time::from_millis(100), MILLION + 50_000);
        let before = clock.read(Time::from_millis(10));
        clock.stood_still(Duration::from_millis(30));
        assert_eq!(clock.read(Time::from_millis(40)), before);
        assert!(clock.read(Time::from_millis(41)) > before);
    }

    #[test]
    fn a_clock_that_stopped_shows_nothing_new_for_ever() {
        let mut clock = Clock::new(Time::from_millis(5), Time::from_millis(100), MILLION + 50_000);
        let (now, shown) = (Time::from_millis(10), clock.read(Time::from_millis(10)));
        clock.stop(now);
        assert_eq!((clock.read(now), clock.read(Time::from_millis(1 << 40))), (shown, shown));
        assert_eq!(clock.when(shown), now, "what is due already is due");
        assert_eq!(clock.when(shown + Duration::from_nanos(1)), Time::MAX);
    }
}
