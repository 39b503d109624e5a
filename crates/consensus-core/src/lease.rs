//! Leases: how long one may be relied on, and from when it counts.
//!
//! Whoever hears a leader binds itself for a time T on its own clock, and helps nobody else to lead. A leader knows when its
//! probes left, and who echoed them; so it knows since when a quorum is bound at the earliest, and relies on that for less than T.
//!
//! Invariant: a lease is counted from when a probe left, never from when its echo came.

use crate::algorithm::ConfigError;
use crate::time::Time;
use alloc::collections::VecDeque;
use alloc::format;
use core::time::Duration;

const MILLION: u32 = 1_000_000;
/// Above this next to nothing of a lease is left.
const MAX_DRIFT_PPM: u32 = 500_000;
/// Departures are noted so many times per lease at most; in between the one before stands in.
const NOTES_PER_LEASE: u32 = 64;

/// Whether a bound on clocks can be kept, and leaves something of a lease; none is needed where there are no leases.
///
/// # Errors
/// Names the field `lease_drift_ppm`, and what would be right.
pub fn validate_drift(drift_ppm: Option<u32>) -> Result<(), ConfigError> {
    if drift_ppm.is_none_or(|drift| (1..=MAX_DRIFT_PPM).contains(&drift)) {
        return Ok(());
    }
    let problem = format!("it must lie within 1..={MAX_DRIFT_PPM}; no clock is perfect, and 200 is usual");
    Err(ConfigError::new("lease_drift_ppm", problem))
}

/// How long a leader may rely, on its own clock, on others that are bound for `bound` on theirs: T (1 − ρ) / (1 + ρ), where every
/// clock counts of any span of time at most `drift_ppm` millionths more or less.
#[must_use]
pub fn length(bound: Duration, drift_ppm: u32) -> Duration {
    let (rest, whole) = (MILLION.saturating_sub(drift_ppm), MILLION.saturating_add(drift_ppm));
    // Below 2^94 ns, times 2^20.
    let nanos = bound.as_nanos() * u128::from(rest) / u128::from(whole);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What a leader needs to know to hold a lease.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// Probes and when they left, oldest first.
    departures: VecDeque<(u64, Time)>,
    is_forfeit: bool,
}

impl Lease {
    /// A probe is about to leave for the first time, where leases last for `length`; `None`: there are none.
    pub fn note_departure(&mut self, probe: u64, now: Time, length: Option<Duration>) {
        let Some(length) = length else { return };
        // What left a whole lease ago supports none, whoever echoes it.
        while self.departures.pop_front_if(|(_, left)| *left + length <= now).is_some() {}
        if self.departures.back().is_none_or(|(_, left)| *left + length / NOTES_PER_LEASE <= now) {
            self.departures.push_back((probe, now));
        }
    }

    /// When this probe left at the earliest; `None`: too long ago to matter.
    #[must_use]
    pub fn departure_of(&self, probe: u64) -> Option<Time> {
        let noted = self.departures.iter().rev().find(|(noted, _)| *noted <= probe);
        noted.map(|&(_, left)| left)
    }

    /// Those who are bound are let go, by a word that may arrive at any time: there is no lease any more.
    pub const fn forfeit(&mut self) {
        self.is_forfeit = true;
    }

    /// Whether it was given up.
    #[must_use]
    pub const fn is_forfeit(&self) -> bool {
        self.is_forfeit
    }
}

/// A point in time as a number that a quorum reaches; zero if there was none.
#[must_use]
pub fn mark(left: Option<Time>) -> u64 {
    left.map_or(0, |left| left.as_nanos().saturating_add(1))
}

/// Whether a lease of `length` stands that counts from the [`mark`] that a quorum has reached.
#[must_use]
pub fn stands(reached: u64, length: Duration, now: Time) -> bool {
    reached > 0 && now < Time::from_nanos(reached - 1) + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::vec::Vec;

    const LENGTH: Duration = Duration::from_micros(640);

    quickcheck! {
        /// A leader whose clock is slow gives up before the fastest of the others does, and wastes no more than it must.
        fn a_lease_ends_before_those_who_are_bound_are_free(bound_us: u32, drift: u32) -> bool {
            let (bound, drift) = (Duration::from_micros(bound_us.into()), drift % MAX_DRIFT_PPM + 1);
            let (slow, fast) = (u128::from(MILLION - drift), u128::from(MILLION + drift));
            let length = length(bound, drift).as_nanos();
            length * fast <= bound.as_nanos() * slow && (length + 1) * fast > bound.as_nanos() * slow
        }

        fn no_departure_is_told_later_than_it_was(gaps_us: Vec<u16>) -> bool {
            let (mut lease, mut left) = (Lease::default(), Vec::new());
            let mut now = Time::ZERO;
            gaps_us.iter().zip(1..).all(|(gap, probe)| {
                now += Duration::from_micros(u64::from(*gap) % 100);
                left.push(now);
                lease.note_departure(probe, now, Some(LENGTH));
                let is_sound = |(&truly, probe): (&Time, u64)| match lease.departure_of(probe) {
                    // What is not told is too old, or what stands in for it is; what is told, by a little too old.
                    None => truly + LENGTH < now + LENGTH / NOTES_PER_LEASE,
                    Some(told) => told <= truly && truly < told + LENGTH / NOTES_PER_LEASE,
                };
                left.iter().zip(1..).all(is_sound)
            })
        }
    }

    #[test]
    fn few_departures_are_noted() {
        let mut lease = Lease::default();
        for probe in 1..100_000 {
            lease.note_departure(probe, Time::from_nanos(probe * 100), Some(LENGTH));
            assert!(lease.departures.len() <= NOTES_PER_LEASE as usize + 1);
        }
    }

    #[test]
    fn a_lease_stands_until_its_length_has_passed() {
        let left = Time::ZERO;
        assert!(stands(mark(Some(left)), LENGTH, left + (LENGTH - Duration::from_nanos(1))));
        assert!(!stands(mark(Some(left)), LENGTH, left + LENGTH));
        assert!(!stands(mark(None), LENGTH, left), "what never was is not the beginning of time");
    }

    #[test]
    fn bounds_that_leave_nothing_are_refused() {
        for drift in [0, MAX_DRIFT_PPM + 1, u32::MAX] {
            assert_eq!(validate_drift(Some(drift)).map_err(|error| error.field), Err("lease_drift_ppm"));
        }
        for drift in [None, Some(1), Some(MAX_DRIFT_PPM)] {
            assert_eq!(validate_drift(drift), Ok(()));
        }
    }
}
