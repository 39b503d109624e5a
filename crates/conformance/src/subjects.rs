//! The algorithms of this workspace, and how their configurations are drawn. [`ALL`] is the one place that lists them.

use crate::claims::Unsupported;
use crate::plans::{beyond_claims, plan_of, with_plan};
use crate::recorded::{Recorded, record_seed};
use crate::report::SuiteReport;
use crate::suite::{Options, Tuning, Watch, check_watched, run_seed};
use consensus_core::ConsensusAlgorithm;
use consensus_sim::{Plan, Report, Stream};
use core::ops::Range;
use core::time::Duration;
use std::path::{Path, PathBuf};

/// Every algorithm that the command line knows by name; another protocol adds a line.
pub const ALL: &[&dyn Subject] = &[&Entry::<raft::Raft> { tune: raft, plan: None }];

/// An algorithm under test, whatever its types.
pub trait Subject: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Runs all seeds on `jobs` threads and judges them; `watch` sees the verdict on each as soon as it is known.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn check(&self, seeds: Range<u64>, jobs: usize, watch: Watch<'_>) -> Result<SuiteReport, Unsupported>;

    /// Runs one seed, with the readable trace if `trace`.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn run_seed(&self, seed: u64, trace: bool) -> Result<Report, Unsupported>;

    /// Runs one seed and records it, with the readable lines too if `lines`.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn record_seed(&self, seed: u64, lines: bool) -> Result<(Report, Recorded), Unsupported>;

    /// The plan of a seed, as its run follows it.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn plan_of(&self, seed: u64) -> Result<Plan, Unsupported>;

    /// The fields of a plan that go beyond what is claimed, and that runs therefore leave out or bend.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn beyond_claims(&self, plan: &Plan) -> Result<Vec<String>, Unsupported>;

    /// The same subject, all of whose runs follow this plan, which was read from `path`.
    fn under(&self, plan: &Plan, path: &Path) -> Box<dyn Subject>;

    /// The same subject.
    fn boxed(&self) -> Box<dyn Subject>;

    /// The command that replays a seed, up to the seed's number.
    fn replay(&self) -> String;
}

/// An algorithm, how its configuration is drawn, and the plan of all its runs if they do not draw their own.
struct Entry<A: ConsensusAlgorithm> {
    tune: fn(&mut Stream, &mut Plan) -> Tuning<A::Config>,
    plan: Option<(Plan, PathBuf)>,
}

impl<A: ConsensusAlgorithm> Entry<A> {
    fn tuning(&self) -> impl Fn(&mut Stream, &mut Plan) -> Tuning<A::Config> + Sync {
        with_plan(self.plan.as_ref().map(|(plan, _)| plan.clone()), self.tune)
    }
}

impl<A: ConsensusAlgorithm + 'static> Subject for Entry<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn check(&self, seeds: Range<u64>, jobs: usize, watch: Watch<'_>) -> Result<SuiteReport, Unsupported> {
        check_watched::<A>(&Options { seeds, jobs, replay: self.replay(), tune: &self.tuning() }, watch)
    }

    fn run_seed(&self, seed: u64, trace: bool) -> Result<Report, Unsupported> {
        run_seed::<A>(seed, &self.tuning(), trace)
    }

    fn record_seed(&self, seed: u64, lines: bool) -> Result<(Report, Recorded), Unsupported> {
        record_seed::<A>(seed, &self.tuning(), lines, &format!("{} {seed}", self.replay()))
    }

    fn plan_of(&self, seed: u64) -> Result<Plan, Unsupported> {
        plan_of::<A>(seed, &self.tuning())
    }

    fn beyond_claims(&self, plan: &Plan) -> Result<Vec<String>, Unsupported> {
        beyond_claims::<A>(plan)
    }

    fn under(&self, plan: &Plan, path: &Path) -> Box<dyn Subject> {
        Box::new(Self { tune: self.tune, plan: Some((plan.clone(), path.into())) })
    }

    fn boxed(&self) -> Box<dyn Subject> {
        Box::new(Self { tune: self.tune, plan: self.plan.clone() })
    }

    fn replay(&self) -> String {
        let plan = self.plan.as_ref().map(|(_, path)| format!(" --plan '{}'", path.display()));
        format!("cargo xtask sim --algorithm {}{} --seed", self.name(), plan.unwrap_or_default())
    }
}

/// Raft with small timeouts, batches, windows and chunks, so that every limit is met.
pub fn raft(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    // The paper's timing requirement (§5.6): a broadcast, disk included, takes much less than an election timeout.
    let delay = plan.network.longest_delay(plan.hosts());
    let round = (delay + plan.burst) * 3 + plan.disk.sync * 2;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let heartbeat_interval_ms = draw.between(5, 40).max(round_ms);
    let election_timeout_ms = heartbeat_interval_ms * draw.between(3, 8);
    let config = raft::Config {
        election_timeout_ms,
        heartbeat_interval_ms,
        stable_leadership: true,
        eager_commit: draw.below(2) == 0,
        max_append_bytes: pick(draw, &[64, 1_000, 64_000]),
        max_append_entries: pick(draw, &[1, 4, 64, 1_024]),
        max_in_flight_appends: pick(draw, &[1, 2, 16]),
        max_in_flight_bytes: pick(draw, &[100, 4_000, 1 << 20]),
        // A backlog of commands whose clients are long gone must be worked off within the patience.
        max_uncommitted_entries: pick(draw, &[2, 16, 64]),
        max_pending_reads: pick(draw, &[1, 16, 1_024]),
        snapshot_chunk_bytes: pick(draw, &[500, 4_096, 256 << 10]),
        retained_entries: pick(draw, &[0, 3, 100]),
        promotion_lag_entries: pick(draw, &[0, 5, 1_000]),
        ..raft::Config::default()
    };
    // Several elections in a row may be split, each of up to one and a half timeouts.
    let patience = Duration::from_millis(3_000 + 20 * election_timeout_ms);
    Tuning { config, patience }
}

fn pick(draw: &mut Stream, choices: &[usize]) -> usize {
    draw.pick(choices).copied().unwrap_or(1)
}
