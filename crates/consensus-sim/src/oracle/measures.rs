//! What is measured beside the verdict, for each problem.

use super::atomic::AtomicMeasures;
use super::convergence::ConvergenceMeasures;
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
    /// Verdicts and waits.
    AtomicCommit(AtomicMeasures),
    /// Writes and how they met.
    Convergence(ConvergenceMeasures),
}

impl Measures {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::Log) => {}
            (Self::OneShot(sum), Self::OneShot(more)) => sum.add(more),
            (Self::AtomicCommit(sum), Self::AtomicCommit(more)) => sum.add(more),
            (Self::Convergence(sum), Self::Convergence(more)) => sum.add(more),
            // The first run with something to tell; runs of different problems are not added.
            (_, Self::OneShot(_) | Self::AtomicCommit(_) | Self::Convergence(_)) => *self = other.clone(),
        }
    }
}

impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => Ok(()),
            Self::OneShot(measures) => measures.fmt(f),
            Self::AtomicCommit(measures) => measures.fmt(f),
            Self::Convergence(measures) => measures.fmt(f),
        }
    }
}

impl fmt::Display for OneShotMeasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.rounds.values().sum();
        writeln!(f, "{:>10} runs with equal proposals", self.unanimous)?;
        for (value, count) in &self.chosen {
            writeln!(f, "{count:>10} runs chose {value:?}")?;
        }
        for (round, count) in &self.rounds {
            let share = 100.0 * *count as f64 / total.max(1) as f64;
            writeln!(f, "{count:>10} nodes decided in round {round} ({share:.1} %)")?;
        }
        Ok(())
    }
}

impl fmt::Display for AtomicMeasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { committed, aborted, undecided, blockings, blocked, longest } = self;
        writeln!(f, "{committed:>10} transactions committed")?;
        writeln!(f, "{aborted:>10} transactions aborted")?;
        writeln!(f, "{undecided:>10} transactions that nobody decided")?;
        let (total, longest) = (blocked.as_secs_f64(), longest.as_secs_f64());
        writeln!(
            f,
            "{blockings:>10} waits for a node that was down: {total:.3} s in all, {longest:.3} s the longest"
        )
    }
}

impl fmt::Display for ConvergenceMeasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, deliveries, concurrent } = self;
        writeln!(f, "{writes:>10} writes applied")?;
        writeln!(f, "{deliveries:>10} of them delivered to another replica")?;
        writeln!(f, "{concurrent:>10} of those met concurrent ones there")
    }
}
