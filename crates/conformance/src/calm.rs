//! Calm weather, without timers: in legs, how long clients wait while all clocks stand still, algorithm beside algorithm. A leg is
//! the longest that a message takes, with the burst that its receiver collects and a sync of its disk.

use crate::claims::Unsupported;
use crate::recipe::Recipe;
use crate::subjects::Subject;
use consensus_sim::{Failure, Overrides, Setting};
use core::fmt;

/// How many clients there are, row by row.
const CLIENTS: [u64; 3] = [1, 8, 64];

/// How long operations took, in hundredths of a leg, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Legs(Vec<u64>);

impl Legs {
    /// These, in whatever order.
    #[must_use]
    pub fn of(mut hundredths: Vec<u64>) -> Self {
        hundredths.sort_unstable();
        Self(hundredths)
    }

    /// How many operations there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many legs all but this share took at most; `None` if there was no operation.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        self.0.get((self.0.len() * percent / 100).min(last)).map(|&hundredths| hundredths as f64 / 100.0)
    }
}

/// The median, what one in a hundred exceeds, and the worst.
impl fmt::Display for Legs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, worst] = [50, 99, 100]
            .map(|percent| self.percentile(percent).map_or_else(|| "-".into(), |legs| format!("{legs:.1}")));
        write!(f, "{p50:>6} {p99:>6} {worst:>6}")
    }
}

/// What came of the runs of one algorithm with so many clients.
#[derive(Clone, Debug)]
struct Row {
    algorithm: &'static str,
    clients: u64,
    runs: u64,
    alone: Legs,
    together: Legs,
    /// The run, the command that does it again, and what failed.
    failures: Vec<(String, Failure)>,
}

impl Row {
    /// `None`: the algorithm claims nothing without timers.
    fn measure(subject: &dyn Subject, clients: u64, seeds: u64) -> Result<Option<Self>, Unsupported> {
        let overrides = Overrides::none().with(Setting::Clients, clients).with(Setting::Still, 1);
        let (mut alone, mut together, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 0..seeds {
            let recipe = Recipe { overrides: overrides.clone(), ..seed.into() };
            if subject.plan_of(&recipe)?.still.is_none() {
                return Ok(None);
            }
            let report = subject.run(&recipe, false)?;
            alone.extend(report.costs.alone);
            together.extend(report.costs.together);
            failures.extend(report.failure.map(|failure| (recipe.command(&subject.replay()), failure)));
        }
        let (alone, together) = (Legs::of(alone), Legs::of(together));
        Ok(Some(Self { algorithm: subject.name(), clients, runs: seeds, alone, together, failures }))
    }
}

/// The table of all algorithms.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Measures these algorithms, with this many seeds for each row.
    ///
    /// # Errors
    /// The suite cannot check what an algorithm claims.
    pub fn measure(subjects: &[&dyn Subject], seeds: u64) -> Result<Self, Unsupported> {
        let mut rows = Vec::new();
        for subject in subjects {
            for clients in CLIENTS {
                rows.extend(Row::measure(*subject, clients, seeds)?);
            }
        }
        Ok(Self { rows })
    }

    /// Whether everybody was answered in every run.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.failures.is_empty())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "how many legs an answer takes while all clocks stand still; a leg is a message, a burst and a sync, each as long as"
        )?;
        writeln!(f, "they get. Alone: nobody else asks. Together: all ask at once.\n")?;
        writeln!(
            f,
            "{:<15} {:>7} {:>6} {:>6}   {:>6} {:>6} {:>6}   {:>8} {:>6} {:>6}",
            "algorithm", "clients", "runs", "failed", "alone", "p99", "worst", "together", "p99", "worst"
        )?;
        for Row { algorithm, clients, runs, alone, together, failures } in &self.rows {
            let failed = failures.len();
            writeln!(f, "{algorithm:<15} {clients:>7} {runs:>6} {failed:>6}   {alone}     {together}")?;
        }
        for (command, failure) in self.rows.iter().flat_map(|row| &row.failures) {
            writeln!(f, "\nFAILED: {failure}\n  replay: {command}")?;
        }
        Ok(())
    }
}
