//! How long one link takes for one message: a distribution, in whole nanoseconds, so that every machine draws the same.

use crate::plan::text;
use crate::random::{MILLION, Stream};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// How many uniform numbers are added up for a normal one: their sum has a variance of one (Irwin 1927, Hall 1927).
const IRWIN_HALL: u32 = 12;

/// A distribution of delays. Each has a largest delay, so that a bound can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// Always the same.
    Constant(#[serde(with = "text::span")] Duration),
    /// Anything between two bounds is as likely.
    Uniform {
        /// The least.
        #[serde(with = "text::span")]
        least: Duration,
        /// The most.
        #[serde(with = "text::span")]
        most: Duration,
    },
    /// Bell-shaped: the sum of twelve uniform numbers, so that nothing is more than six deviations off; never below zero.
    Normal {
        /// The mean.
        #[serde(with = "text::span")]
        mean: Duration,
        /// The standard deviation.
        #[serde(with = "text::span")]
        deviation: Duration,
    },
    /// Mostly a little above the least, and now and then many times that: a Pareto distribution, cut off. Its tail index is
    /// −log₂ of the rate of doubling (25 %: 2).
    LongTail {
        /// The least.
        #[serde(with = "text::span")]
        least: Duration,
        /// How many of a million delays that have come so far are at least twice as long.
        #[serde(rename = "doubles", with = "text::rate")]
        doubles_ppm: u64,
        /// The most.
        #[serde(with = "text::span")]
        most: Duration,
    },
}

impl Latency {
    /// The mean; of a long tail within one part in a million.
    #[must_use]
    pub fn mean(&self) -> Duration {
        match *self {
            Self::Constant(delay) => delay,
            Self::Uniform { least, most } => least + most.saturating_sub(least) / 2,
            Self::Normal { mean, deviation: _ } => mean,
            Self::LongTail { least, doubles_ppm, most } => {
                let (mut mean, mut share, mut from) = (0u128, u128::from(MILLION) << 40, least.min(most));
                let doubles = u128::from(doubles_ppm.min(MILLION));
                while share > 0 {
                    let to = (from * 2).min(most);
                    let here =
                        if from >= most { share } else { share - share * doubles / u128::from(MILLION) };
                    mean += here * (from + to.saturating_sub(from) / 2).as_nanos();
                    (share, from) = (share - here, to);
                }
                Duration::from_nanos(u64::try_from((mean >> 40) / u128::from(MILLION)).unwrap_or(u64::MAX))
            }
        }
    }

    /// No delay is longer.
    #[must_use]
    pub fn most(&self) -> Duration {
        match *self {
            Self::Constant(delay) => delay,
            Self::Uniform { least, most } | Self::LongTail { least, doubles_ppm: _, most } => most.max(least),
            Self::Normal { mean, deviation } => mean + deviation * (IRWIN_HALL / 2),
        }
    }

    /// No delay is shorter.
    #[must_use]
    pub fn least(&self) -> Duration {
        match *self {
            Self::Constant(delay) => delay,
            Self::Uniform { least, most } | Self::LongTail { least, doubles_ppm: _, most } => least.min(most),
            Self::Normal { mean, deviation } => mean.saturating_sub(deviation * (IRWIN_HALL / 2)),
        }
    }

    /// One delay.
    #[must_use]
    pub fn draw(&self, choices: &mut Stream) -> Duration {
        match *self {
            Self::Constant(delay) => delay,
            Self::Uniform { least, most } => choices.span(least, most),
            Self::Normal { mean, deviation } => {
                let sum: Duration = (0..IRWIN_HALL).map(|_| choices.span(Duration::ZERO, deviation)).sum();
                (mean + sum).saturating_sub(deviation * (IRWIN_HALL / 2))
            }
            Self::LongTail { least, doubles_ppm, most } => {
                let mut from = least.min(most);
                while from < most && choices.chance(doubles_ppm) {
                    from = (from * 2).min(most);
                }
                choices.span(from, (from * 2).min(most))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const ALL: [Latency; 5] = [
        Latency::Constant(millis(5)),
        Latency::Uniform { least: millis(2), most: millis(9) },
        Latency::Normal { mean: millis(40), deviation: millis(4) },
        Latency::LongTail { least: millis(2), doubles_ppm: 250_000, most: millis(200) },
        Latency::LongTail { least: millis(2), doubles_ppm: 600_000, most: millis(100) },
    ];

    #[test]
    fn delays_lie_within_their_bounds_and_around_their_mean() {
        for latency in ALL {
            let mut choices = Stream::derive(1, "latency");
            let delays: Vec<Duration> = (0..40_000).map(|_| latency.draw(&mut choices)).collect();
            assert!(
                delays.iter().all(|delay| (latency.least()..=latency.most()).contains(delay)),
                "{latency:?}"
            );
            let mean = delays.iter().sum::<Duration>() / 40_000;
            let (low, high) = (latency.mean() * 97 / 100, latency.mean() * 103 / 100);
            assert!((low..=high).contains(&mean), "{latency:?}: {mean:?}, not {:?}", latency.mean());
        }
    }

    #[test]
    fn a_normal_delay_is_within_one_deviation_in_two_thirds_of_all_cases() {
        let latency = Latency::Normal { mean: millis(40), deviation: millis(4) };
        let mut choices = Stream::derive(1, "latency");
        let near =
            (0..10_000).filter(|_| latency.draw(&mut choices).abs_diff(millis(40)) <= millis(4)).count();
        assert!((6_500..7_150).contains(&near), "{near}");
    }

    #[test]
    fn a_long_tail_halves_with_each_doubling() {
        let latency = Latency::LongTail { least: millis(1), doubles_ppm: 500_000, most: millis(1_000) };
        let mut choices = Stream::derive(1, "latency");
        let delays: Vec<Duration> = (0..64_000).map(|_| latency.draw(&mut choices)).collect();
        for doublings in 1..7 {
            let beyond = delays.iter().filter(|&&delay| delay > millis(1 << doublings)).count();
            let expected = 64_000 >> doublings;
            assert!((expected * 9 / 10..=expected * 11 / 10).contains(&beyond), "{doublings}: {beyond}");
        }
    }
}
