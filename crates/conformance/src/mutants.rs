//! Testing the tester: known bugs are planted one by one, and the suite must find each of them within its budget.

mod plant;
mod raft;

pub use self::plant::{named, names};
pub use self::raft::{RAFT, RAFT_BY_SCHEDULE, Weather};
use crate::claims::Unsupported;
use crate::suite::{Options, check_until_failure, run_seed};
use ::raft::{Mutant, Raft};
use consensus_sim::{Plan, Property, Stream};
use std::fmt;

/// A planted bug, and how it is hunted.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// The bug.
    pub mutant: Mutant,
    /// The properties that speak of it: one of them must fail.
    pub by: &'static [Property],
    /// The size of the group.
    pub nodes: usize,
    /// The weather in which it shows.
    pub weather: Weather,
    /// The most seeds that it may take.
    pub budget: u64,
}

/// What came of one hunt.
#[derive(Clone, Copy, Debug)]
pub struct Catch {
    /// What was hunted, and how.
    pub hunt: Hunt,
    /// The seed that found it, how many seeds that took, and the property that failed; `None`: it survived.
    pub found: Option<(u64, u64, Property)>,
}

/// What came of all hunts.
#[derive(Clone, Debug, Default)]
pub struct HuntReport {
    /// One for each planted bug.
    pub catches: Vec<Catch>,
}

/// Hunts every bug with `only` in its name, one after the other, for as long as somebody asks for the next.
pub fn hunts(only: &str, start: u64, jobs: usize) -> impl Iterator<Item = Result<Catch, Unsupported>> {
    let named = move |hunt: &&Hunt| format!("{:?}", hunt.mutant).contains(only);
    RAFT.iter().filter(named).map(move |hunt| hunt_one(*hunt, start, jobs))
}

/// Hunts one bug. A seed that fails without the bug too, or by a property that does not speak of it, has not found it.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn hunt_one(hunt: Hunt, start: u64, jobs: usize) -> Result<Catch, Unsupported> {
    let sick = |draw: &mut Stream, plan: &mut Plan| hunt.tuned(draw, plan, Some(hunt.mutant));
    let sound = |draw: &mut Stream, plan: &mut Plan| hunt.tuned(draw, plan, None);
    let end = start.saturating_add(hunt.budget);
    let mut from = start;
    loop {
        let options = Options::<Raft> { seeds: from..end, jobs, replay: String::new(), tune: &sick };
        let Some(failed) = check_until_failure(&options)? else {
            return Ok(Catch { hunt, found: None });
        };
        let property = failed.failure.property;
        if hunt.by.contains(&property) && run_seed::<Raft>(failed.seed, &sound, false)?.failure.is_none() {
            return Ok(Catch { hunt, found: Some((failed.seed, failed.seed - start + 1, property)) });
        }
        from = failed.seed + 1;
    }
}

impl HuntReport {
    /// How many bugs were not found.
    #[must_use]
    pub fn survivors(&self) -> usize {
        self.catches.iter().filter(|catch| catch.found.is_none()).count()
    }
}

impl fmt::Display for Catch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hunt { mutant, by: _, nodes, weather, budget } = self.hunt;
        let (property, seed, seeds) = match self.found {
            Some((seed, seeds, property)) => (property.name(), seed.to_string(), seeds),
            None => ("SURVIVED", "-".into(), budget),
        };
        let (mutant, weather) = (format!("{mutant:?}"), format!("{weather:?}"));
        write!(f, "{mutant:<26} {nodes:>2} {weather:<10} {property:<24} {seed:>6} {seeds:>6} {budget:>6}")
    }
}

/// The head of the table that catches make.
#[must_use]
pub fn head() -> String {
    format!(
        "{:<26} {:>2} {:<10} {:<24} {:>6} {:>6} {:>6}",
        "mutant", "n", "weather", "property that caught it", "seed", "seeds", "budget"
    )
}
