//! Testing the tester: known bugs are planted one by one, and the suite must find each of them within its budget.

use crate::claims::Unsupported;
use crate::subjects;
use crate::suite::{Options, Tuning, check_until_failure, run_seed};
use consensus_sim::{Plan, Property, Stream};
use raft::Mutant;
use std::fmt;

/// A planted bug, and how it is hunted.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// The bug.
    pub mutant: Mutant,
    /// The most seeds that it may take.
    pub budget: u64,
}

/// What came of one hunt.
#[derive(Clone, Debug)]
pub struct Catch {
    /// The bug.
    pub mutant: Mutant,
    /// The seed that found it, how many seeds that took, and the property that failed; `None`: it survived.
    pub found: Option<(u64, u64, Property)>,
    /// The most seeds that it might have taken.
    pub budget: u64,
}

/// What came of all hunts.
#[derive(Clone, Debug, Default)]
pub struct HuntReport {
    /// One for each planted bug.
    pub catches: Vec<Catch>,
}

/// Every bug that can be planted in Raft, with its budget in seeds: several times what it took when this was written.
pub const RAFT: [Hunt; 5] = [
    Hunt { mutant: Mutant::VoteNotPersisted, budget: 5_000 },
    Hunt { mutant: Mutant::CommitOldTermByCounting, budget: 20_000 },
    Hunt { mutant: Mutant::AckBeforeDurable, budget: 2_000 },
    Hunt { mutant: Mutant::HeartbeatClearsVote, budget: 10_000 },
    Hunt { mutant: Mutant::TruncateWithoutConflict, budget: 5_000 },
];

/// Hunts every bug.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn hunt(start: u64, jobs: usize) -> Result<HuntReport, Unsupported> {
    let mut report = HuntReport::default();
    for hunt in RAFT {
        report.catches.push(hunt_one(hunt, start, jobs)?);
    }
    Ok(report)
}

/// Hunts one bug. A seed that fails without the bug too has not found it.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn hunt_one(hunt: Hunt, start: u64, jobs: usize) -> Result<Catch, Unsupported> {
    let Hunt { mutant, budget } = hunt;
    let tune = |draw: &mut Stream, plan: &mut Plan| plant(draw, plan, mutant);
    let end = start.saturating_add(budget);
    let mut from = start;
    loop {
        let options = Options::<raft::Raft> { seeds: from..end, jobs, replay: String::new(), tune: &tune };
        let Some(failed) = check_until_failure(&options)? else {
            return Ok(Catch { mutant, found: None, budget });
        };
        let control = run_seed::<raft::Raft>(failed.seed, &subjects::raft, false)?;
        if control.failure.is_none() {
            let found = Some((failed.seed, failed.seed - start + 1, failed.failure.property));
            return Ok(Catch { mutant, found, budget });
        }
        from = failed.seed + 1;
    }
}

fn plant(draw: &mut Stream, plan: &mut Plan, mutant: Mutant) -> Tuning<raft::Config> {
    let mut tuning = subjects::raft(draw, plan);
    tuning.config.mutant = Some(mutant);
    tuning
}

impl HuntReport {
    /// How many bugs were not found.
    #[must_use]
    pub fn survivors(&self) -> usize {
        self.catches.iter().filter(|catch| catch.found.is_none()).count()
    }
}

impl fmt::Display for HuntReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<26} {:<26} {:>6} {:>8} {:>8}",
            "mutant", "property that caught it", "seed", "seeds", "budget"
        )?;
        for Catch { mutant, found, budget } in &self.catches {
            let mutant = format!("{mutant:?}");
            match found {
                Some((seed, seeds, property)) => {
                    writeln!(f, "{mutant:<26} {:<26} {seed:>6} {seeds:>8} {budget:>8}", property.name())?;
                }
                None => writeln!(f, "{mutant:<26} {:<26} {:>6} {budget:>8} {budget:>8}", "SURVIVED", "-")?,
            }
        }
        let survivors = self.survivors();
        write!(f, "\n{} passed, {survivors} failed", self.catches.len() - survivors)
    }
}
