//! What is measured beside the verdict, for each problem.

use super::one_shot::OneShotMeasures;
use std::fmt;

/// What was measured in a run, or in many runs of the same problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Measures {
    /// Nothing beyond the counts.
    #[default]
    Log,
    /// Rounds and choices.
    OneShot(OneShotMeasures),
}

impl Measures {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        match (self, other) {
            (_, Self::Log) => {}
            (Self::OneShot(sum), Self::OneShot(more)) => sum.add(more),
            (sum @ Self::Log, Self::OneShot(more)) => *sum = Self::OneShot(more.clone()),
        }
    }
}

impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => Ok(()),
            Self::OneShot(measures) => measures.fmt(f),
        }
    }
}

impl fmt::Display for OneShotMeasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.rounds.values().sum();
        writeln!(f, "{:>12} runs with equal proposals", self.unanimous)?;
        for (value, count) in &self.chosen {
            writeln!(f, "{count:>12} runs chose {value:?}")?;
        }
        for (round, count) in &self.rounds {
            let share = 100.0 * *count as f64 / total.max(1) as f64;
            writeln!(f, "{count:>12} nodes decided in round {round} ({share:.1} %)")?;
        }
        Ok(())
    }
}
