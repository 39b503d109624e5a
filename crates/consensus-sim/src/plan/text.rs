//! How a plan is written for people: spans as `"150ms"`, rates as `"2%"` or `"150ppm"`. Both read back exactly.

use crate::random::MILLION;
use core::fmt;
use core::time::Duration;
use serde::de::{Error, Visitor};

/// Units of time in nanoseconds, the largest that is written first.
const UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
/// What is read besides.
const MORE_UNITS: [(&str, u64); 3] = [("µs", 1_000), ("min", 60_000_000_000), ("h", 3_600_000_000_000)];

/// The span in the largest unit in which it is a whole number.
pub(crate) fn write_span(span: Duration) -> String {
    let nanos = span.as_nanos();
    for (unit, size) in UNITS {
        if nanos.is_multiple_of(u128::from(size)) {
            return format!("{}{unit}", nanos / u128::from(size));
        }
    }
    format!("{nanos}ns")
}

/// A number with a unit, such as `150ms`, `1.5s` or `20us`.
pub(crate) fn read_span(text: &str) -> Result<Duration, String> {
    let refused = || {
        format!("{text:?} is no span of time; write a number and ns, us, ms, s, min or h, as in \"150ms\"")
    };
    let (number, unit) = split_unit(text);
    let (_, size) = UNITS.iter().chain(&MORE_UNITS).find(|(name, _)| *name == unit).ok_or_else(refused)?;
    scaled(number, *size).map(Duration::from_nanos).ok_or_else(refused)
}

/// As a percentage, or in parts per million if that has fewer digits.
pub(crate) fn write_rate(ppm: u64) -> String {
    if !ppm.is_multiple_of(100) {
        return format!("{ppm}ppm");
    }
    let (whole, rest) = (ppm / 10_000, ppm % 10_000 / 100);
    match (rest, rest % 10) {
        (0, _) => format!("{whole}%"),
        (_, 0) => format!("{whole}.{}%", rest / 10),
        (_, _) => format!("{whole}.{rest:02}%"),
    }
}

/// A number with `%` or `ppm`.
pub(crate) fn read_rate(text: &str) -> Result<u64, String> {
    let refused = || {
        format!("{text:?} is no rate; write a percentage or parts per million, as in \"2.5%\" or \"300ppm\"")
    };
    let (number, unit) = split_unit(text);
    let size = match unit {
        "%" => MILLION / 100,
        "ppm" => 1,
        _ => return Err(refused()),
    };
    scaled(number, size).ok_or_else(refused)
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    (number, unit.trim_start())
}

/// A decimal number times `size`, if that is a whole number that fits.
fn scaled(number: &str, size: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = u32::try_from(fraction.len()).ok().filter(|&digits| digits <= 18)?;
    let (whole, fraction): (u64, u64) = (whole.parse().ok()?, fraction.parse().ok()?);
    let (parts, scale) = (u128::from(fraction) * u128::from(size), 10u128.checked_pow(digits)?);
    if !parts.is_multiple_of(scale) {
        return None;
    }
    whole.checked_mul(size)?.checked_add(u64::try_from(parts / scale).ok()?)
}

/// For `#[serde(with = …)]` on a [`Duration`].
pub(crate) mod span {
    use super::Words;
    use core::time::Duration;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::write_span(*span))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_str(Words { expected: "a span of time such as \"150ms\"", read: super::read_span })
    }
}

/// For `#[serde(with = …)]` on a number of parts per million.
pub(crate) mod rate {
    use super::Words;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(ppm: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::write_rate(*ppm))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        from.deserialize_str(Words {
            expected: "a rate such as \"2.5%\" or \"300ppm\"",
            read: super::read_rate,
        })
    }
}

/// Reads a text that stands for a value, and says what it expected in place of anything else.
struct Words<T> {
    expected: &'static str,
    read: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Words<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn spans_read_back_as_they_were_written() {
        let mut choices = Stream::derive(1, "spans");
        for _ in 0..1_000 {
            let nanos = choices.number() >> choices.below(64);
            let span = Duration::from_nanos(nanos);
            assert_eq!(read_span(&write_span(span)), Ok(span));
        }
        assert_eq!(write_span(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(read_span(" 1.5 s "), Ok(Duration::from_millis(1_500)));
        assert_eq!(read_span("2min"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn rates_read_back_as_they_were_written() {
        for ppm in (0..3_000).chain([25_000, 999_900, MILLION, 1 << 40]) {
            assert_eq!(read_rate(&write_rate(ppm)), Ok(ppm), "{}", write_rate(ppm));
        }
        assert_eq!(
            (write_rate(20_000), write_rate(25_500), write_rate(150)),
            ("2%".into(), "2.55%".into(), "150ppm".into())
        );
        assert_eq!(read_rate("0.5%"), Ok(5_000));
    }

    #[test]
    fn what_is_no_span_or_rate_is_refused_with_an_example() {
        for text in [
            "",
            "ms",
            "5",
            "-5ms",
            "1e9s",
            "5 fortnights",
            "0.0000000001s",
            "99999999999999999999s",
            "5msms",
            "1.2.3s",
            "µ",
            ".5s",
            "5.s",
        ] {
            assert!(read_span(text).is_err_and(|said| said.contains("\"150ms\"")), "{text}");
        }
        for text in ["", "%", "2", "-2%", "2 percent", "0.00001%", "0.5ppm", "99999999999999999999ppm"] {
            assert!(read_rate(text).is_err_and(|said| said.contains("\"2.5%\"")), "{text}");
        }
    }
}
