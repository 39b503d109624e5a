//! Testing the tester: known bugs are planted one by one, and the suite must find each of them within its budget.

use crate::claims::Unsupported;
use crate::subjects;
use crate::suite::{Options, Tuning, check_until_failure, run_seed};
use consensus_sim::{MILLION, Plan, Property, Rhythm, Stream};
use core::time::Duration;
use raft::Mutant;
use std::fmt;

/// A planted bug, and how it is hunted.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// The bug.
    pub mutant: Mutant,
    /// The weather in which it shows.
    pub weather: Weather,
    /// The most seeds that it may take.
    pub budget: u64,
}

/// Which faults a hunt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything that the suite has, drawn as for the suite.
    Swarm,
    /// Elections without end: leaders crash or are cut off as soon as they lead, and are back at once. Entries travel one
    /// by one, so that a crash finds them in every state.
    Elections,
    /// Nodes forget what they had not synced, in the midst of votes: short crashes of anybody, without pre-votes.
    Amnesia,
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
    Hunt { mutant: Mutant::VoteNotPersisted, weather: Weather::Amnesia, budget: 300 },
    Hunt { mutant: Mutant::CommitOldTermByCounting, weather: Weather::Elections, budget: 300 },
    Hunt { mutant: Mutant::AckBeforeDurable, weather: Weather::Swarm, budget: 300 },
    Hunt { mutant: Mutant::HeartbeatClearsVote, weather: Weather::Amnesia, budget: 300 },
    Hunt { mutant: Mutant::TruncateWithoutConflict, weather: Weather::Swarm, budget: 300 },
];

/// Hunts every bug, and tells of each as soon as its hunt is over.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn hunt(start: u64, jobs: usize, mut tell: impl FnMut(&Catch)) -> Result<HuntReport, Unsupported> {
    let mut report = HuntReport::default();
    for hunt in RAFT {
        let caught = hunt_one(hunt, start, jobs)?;
        tell(&caught);
        report.catches.push(caught);
    }
    Ok(report)
}

/// Hunts one bug. A seed that fails without the bug too has not found it.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn hunt_one(hunt: Hunt, start: u64, jobs: usize) -> Result<Catch, Unsupported> {
    let Hunt { mutant, weather, budget } = hunt;
    let sick = |draw: &mut Stream, plan: &mut Plan| tuned(draw, plan, weather, Some(mutant));
    let sound = |draw: &mut Stream, plan: &mut Plan| tuned(draw, plan, weather, None);
    let end = start.saturating_add(budget);
    let mut from = start;
    loop {
        let options = Options::<raft::Raft> { seeds: from..end, jobs, replay: String::new(), tune: &sick };
        let Some(failed) = check_until_failure(&options)? else {
            return Ok(Catch { mutant, found: None, budget });
        };
        let control = run_seed::<raft::Raft>(failed.seed, &sound, false)?;
        if control.failure.is_none() {
            let found = Some((failed.seed, failed.seed - start + 1, failed.failure.property));
            return Ok(Catch { mutant, found, budget });
        }
        from = failed.seed + 1;
    }
}

fn tuned(
    draw: &mut Stream,
    plan: &mut Plan,
    weather: Weather,
    mutant: Option<Mutant>,
) -> Tuning<raft::Config> {
    let mut tuning = match weather {
        Weather::Swarm => subjects::raft(draw, plan),
        Weather::Elections => elections(draw, plan),
        Weather::Amnesia => amnesia(draw, plan),
    };
    tuning.config.mutant = mutant;
    tuning
}

fn elections(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = amnesia(draw, plan);
    plan.nodes = 5;
    plan.crashes = Some(Rhythm { every: millis(draw, 30, 120), lasts: millis(draw, 10, 120) });
    plan.partitions = Some(Rhythm { every: millis(draw, 40, 150), lasts: millis(draw, 20, 100) });
    plan.at_leaders_ppm = MILLION * 9 / 10;
    tuning
}

fn amnesia(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    plan.nodes = if draw.below(2) == 0 { 3 } else { 5 };
    plan.faults_for = Duration::from_secs(4);
    plan.network.delay = Duration::from_micros(draw.between(500, 4_000));
    plan.network.spike_ppm = draw.between(10_000, 100_000);
    plan.network.spike = millis(draw, 20, 100);
    plan.partitions = Some(Rhythm { every: millis(draw, 80, 300), lasts: millis(draw, 20, 150) });
    plan.crashes = Some(Rhythm { every: millis(draw, 10, 60), lasts: millis(draw, 1, 8) });
    plan.at_leaders_ppm = draw.below(MILLION / 2);
    plan.power_losses = None;
    plan.final_power_loss = false;
    plan.lost_for_good = 0;
    plan.disk.sync = Duration::from_micros(draw.between(200, 2_000));
    plan.burst = Duration::ZERO;
    plan.compact_after_bytes = 1 << 20;
    plan.workload.clients = 4;
    plan.workload.ballast_bytes = 0;
    plan.workload.think = Duration::from_millis(5);
    let config = raft::Config {
        heartbeat_interval_ms: 10,
        election_timeout_ms: draw.between(30, 80),
        // Pre-votes and the refusal of votes while a leader is heard hide most mistakes in voting.
        stable_leadership: false,
        max_append_entries: 1,
        max_in_flight_appends: 1,
        ..raft::Config::default()
    };
    Tuning { config, patience: Duration::from_secs(10) }
}

fn millis(draw: &mut Stream, low: u64, high: u64) -> Duration {
    Duration::from_millis(draw.between(low, high))
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
        let (mutant, budget) = (format!("{:?}", self.mutant), self.budget);
        match self.found {
            Some((seed, seeds, property)) => {
                write!(f, "{mutant:<26} {:<26} {seed:>6} {seeds:>8} {budget:>8}", property.name())
            }
            None => write!(f, "{mutant:<26} {:<26} {:>6} {budget:>8} {budget:>8}", "SURVIVED", "-"),
        }
    }
}

/// The head of the table that catches make.
#[must_use]
pub fn head() -> String {
    format!("{:<26} {:<26} {:>6} {:>8} {:>8}", "mutant", "property that caught it", "seed", "seeds", "budget")
}
