//! Medians and spreads: a shared machine allows nothing finer.

use serde::Serialize;

/// What the rounds of one contestant gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The middle (of an even number: the mean of the two in the middle).
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`; all zero if there are none.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Self::default() };
        let middle = |place: usize| sorted.get(place).copied().unwrap_or(max);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { middle(half) } else { f64::midpoint(middle(half - 1), middle(half)) };
        Self { median, min, max }
    }

    /// Median, then the range.
    pub(crate) fn show(&self, digits: usize) -> String {
        format!(
            "{}  ({}–{})",
            number(self.median, digits),
            number(self.min, digits),
            number(self.max, digits)
        )
    }
}

/// The median of the quotients of paired rounds: what the machine did to both sides in one round cancels out.
pub(crate) fn ratio(ours: &[f64], peers: &[f64]) -> Option<f64> {
    let quotients: Vec<f64> =
        ours.iter().zip(peers).filter(|&(_, &peer)| peer > 0.0).map(|(our, peer)| our / peer).collect();
    (!quotients.is_empty()).then(|| Spread::of(&quotients).median)
}

/// `value` with thousands set apart by commas.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let plain = format!("{:.digits$}", value.abs());
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, number, ratio};

    #[test]
    fn the_median_of_an_even_number_of_rounds_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of(&[4.0, 1.0, 3.0, 2.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of(&[7.0, 1.0, 3.0]), Spread { median: 3.0, min: 1.0, max: 7.0 });
        assert_eq!(Spread::of(&[]), Spread::default());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        assert_eq!(ratio(&[2.0, 30.0, 4.0], &[1.0, 10.0, 1.0]), Some(3.0));
        assert_eq!(ratio(&[1.0], &[0.0]), None);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!(number(999.25, 1), "999.2");
        assert_eq!(number(-1000.0, 0), "-1,000");
    }
}
