//! One seed, one stream of choices per subsystem: a change in how many choices the disks make must not move the network's.

use core::time::Duration;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Parts per million: rates are integers, so that a plan prints and reads back exactly.
pub const MILLION: u64 = 1_000_000;

/// A stream of choices.
#[derive(Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `subsystem` in the run of `seed`. Streams of different names are independent.
    #[must_use]
    pub fn derive(seed: u64, subsystem: &str) -> Self {
        let mut key = [0; 32];
        let (number, name) = key.split_at_mut(8);
        number.copy_from_slice(&seed.to_le_bytes());
        // Names are short constants; what would not fit is left out.
        for (place, byte) in name.iter_mut().zip(subsystem.bytes()) {
            *place = byte;
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A stream of its own for what is drawn next: however much that is, this stream moves by one number.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::derive(self.number(), "fork")
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; zero if `bound` is zero. The bias is below 2⁻⁶⁴ times `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// An index into a list of `length`; zero if it is empty.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// A number within `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in `ppm` of a million cases.
    pub fn chance(&mut self, ppm: u64) -> bool {
        ppm > 0 && self.below(MILLION) < ppm
    }

    /// A span within `low..=high`, to the nanosecond.
    pub fn span(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(nanos(low), nanos(high)))
    }

    /// A span around `mean`, evenly within a half and one and a half of it.
    pub fn around(&mut self, mean: Duration) -> Duration {
        self.span(mean / 2, mean + mean / 2)
    }

    /// One of the choices; the first if there is but one.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let index = self.index(choices.len());
        choices.get(index)
    }

    /// Brings the list into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let other = self.index(end + 1);
            list.swap(end, other);
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_the_same_on_every_machine_and_after_every_upgrade() {
        let mut network = Stream::derive(7, "network");
        let mut disk = Stream::derive(7, "disk");
        let first = [network.number(), network.number()];
        assert_ne!(first[0], disk.number());
        let mut again = Stream::derive(7, "network");
        assert_eq!(first, [again.number(), again.number()]);
        assert_eq!(
            first,
            [342_448_343_757_049_804, 3_812_779_263_532_008_592],
            "a change here changes what every seed means"
        );
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let mut stream = Stream::derive(1, "bounds");
        assert_eq!(stream.below(0), 0);
        for _ in 0..1_000 {
            assert!(stream.below(3) < 3);
            assert!((5..=9).contains(&stream.between(5, 9)));
        }
        assert!(!stream.chance(0) && stream.chance(MILLION));
    }
}
