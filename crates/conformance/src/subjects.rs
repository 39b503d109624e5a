//! The algorithms of this workspace, and how their configurations are drawn. [`ALL`] is the one place that lists them.

mod benor;
mod floodset;
mod mmr;
mod paxos;
mod pbft;
mod raft;
mod twophase;

pub use self::benor::{benor, benor_byzantine, benor_log};
pub use self::floodset::floodset;
pub use self::mmr::benor_mmr;
#[cfg(all(feature = "mutants", debug_assertions))]
pub(crate) use self::mmr::{Lie as MmrLie, coin as mmr_coin};
pub use self::paxos::{multipaxos, synod};
pub use self::pbft::{Lies, StandIn, pbft};
pub use self::raft::raft;
pub use self::twophase::{paxos_commit, twophase};
use crate::claims::Unsupported;
use crate::plans::{beyond_claims, plan_of, with_plan};
use crate::recipe::Recipe;
use crate::recorded::{Recorded, record_recipe};
use crate::report::SuiteReport;
use crate::shrink::Shrunk;
use crate::suite::{Options, Tune, Tuning, Watch, check_watched, run_recipe, shrink_run};
use consensus_core::ConsensusAlgorithm;
use consensus_sim::{Plan, Report, Stream};
use core::marker::PhantomData;
use core::ops::Range;
use core::time::Duration;
use std::path::Path;

/// Every algorithm that the command line knows by name; another protocol adds a line.
pub static ALL: &[&dyn Subject] = &[
    &Entry::<::raft::Raft, _>::new(raft),
    &Entry::<::multipaxos::MultiPaxos, _>::new(multipaxos),
    &Entry::<::multipaxos::Synod, _>::new(synod),
    &Entry::<::pbft::Pbft, _>::new(pbft),
    &Entry::<::benor::BenOr, _>::new(benor),
    &Entry::<::benor::Byzantine, _>::new(benor_byzantine),
    &Entry::<::benor::Mmr, _>::new(benor_mmr),
    &Entry::<::benor::Log, _>::new(benor_log),
    &Entry::<::floodset::FloodSet, _>::new(floodset),
    &Entry::<::twophase::TwoPhase, _>::new(twophase),
    &Entry::<::twophase::PaxosCommit, _>::new(paxos_commit),
];

type OwnTune<'a, C> = Box<dyn Fn(&mut Stream, &mut Plan) -> Tuning<C> + Sync + 'a>;

/// An algorithm under test, whatever its types.
pub trait Subject: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Runs all seeds on `jobs` threads and judges them; `watch` sees the verdict on each as soon as it is known.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn check(&self, seeds: Range<u64>, jobs: usize, watch: Watch<'_>) -> Result<SuiteReport, Unsupported>;

    /// Does one run, with the readable trace if `trace`.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn run(&self, recipe: &Recipe, trace: bool) -> Result<Report, Unsupported>;

    /// Does one run and records it, with the readable lines too if `lines`. `replay` is the command that does it again.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn record(&self, recipe: &Recipe, lines: bool, replay: &str) -> Result<(Report, Recorded), Unsupported>;

    /// Finds a smaller run that fails in the same way, in at most `most` runs; `None` if the run passes.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn shrink(&self, recipe: &Recipe, most: u64) -> Result<Option<Shrunk>, Unsupported>;

    /// The plan that a run follows.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn plan_of(&self, recipe: &Recipe) -> Result<Plan, Unsupported>;

    /// The fields of a plan that go beyond what is claimed, and that runs therefore leave out or bend.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn beyond_claims(&self, plan: &Plan) -> Result<Vec<String>, Unsupported>;

    /// The same subject, all of whose runs follow this plan, which was read from `path`, in place of what they draw.
    fn under<'a>(&'a self, plan: Plan, path: &Path) -> Box<dyn Subject + 'a>;

    /// The command that replays a seed, up to the seed's number.
    fn replay(&self) -> String;
}

/// An algorithm, and how its configuration is drawn.
pub struct Entry<A, F> {
    tune: F,
    /// What its commands say besides.
    flags: String,
    algorithm: PhantomData<fn() -> A>,
}

impl<A: ConsensusAlgorithm, F: Fn(&mut Stream, &mut Plan) -> Tuning<A::Config> + Sync> Entry<A, F> {
    /// The algorithm `A`, its configuration drawn by `tune`.
    #[must_use]
    pub const fn new(tune: F) -> Self {
        Self { tune, flags: String::new(), algorithm: PhantomData }
    }

    fn tune(&self) -> Tune<'_, A::Config> {
        &self.tune
    }
}

impl<A: ConsensusAlgorithm, F: Fn(&mut Stream, &mut Plan) -> Tuning<A::Config> + Sync> Subject
    for Entry<A, F>
{
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn check(&self, seeds: Range<u64>, jobs: usize, watch: Watch<'_>) -> Result<SuiteReport, Unsupported> {
        check_watched::<A>(&Options { seeds, jobs, replay: self.replay(), tune: self.tune() }, watch)
    }

    fn run(&self, recipe: &Recipe, trace: bool) -> Result<Report, Unsupported> {
        run_recipe::<A>(recipe, self.tune(), trace)
    }

    fn record(&self, recipe: &Recipe, lines: bool, replay: &str) -> Result<(Report, Recorded), Unsupported> {
        record_recipe::<A>(recipe, self.tune(), lines, replay)
    }

    fn shrink(&self, recipe: &Recipe, most: u64) -> Result<Option<Shrunk>, Unsupported> {
        shrink_run::<A>(recipe, self.tune(), most)
    }

    fn plan_of(&self, recipe: &Recipe) -> Result<Plan, Unsupported> {
        plan_of::<A>(recipe, self.tune())
    }

    fn beyond_claims(&self, plan: &Plan) -> Result<Vec<String>, Unsupported> {
        beyond_claims::<A>(plan)
    }

    fn under<'a>(&'a self, plan: Plan, path: &Path) -> Box<dyn Subject + 'a> {
        // As one type, whatever this subject's is: a subject under a plan may be put under another.
        let tune: OwnTune<'a, A::Config> = Box::new(with_plan(Some(plan), self.tune()));
        let flags = format!("{} --plan '{}'", self.flags, path.display());
        Box::new(Entry::<A, _> { tune, flags, algorithm: PhantomData })
    }

    fn replay(&self) -> String {
        format!("cargo xtask sim --algorithm {}{} --seed", self.name(), self.flags)
    }
}

/// A bound on clocks that the plan keeps.
fn declared_drift(plan: &Plan) -> u32 {
    let drift = plan.clocks.map_or(0, |clocks| clocks.drift_ppm);
    u32::try_from(drift).unwrap_or(u32::MAX).max(1)
}

/// How long a sync that began in the storm may go on, where everybody may be waiting for that one disk.
fn slowest_sync(plan: &Plan) -> Duration {
    if plan.hardships.slow_disks.is_some() { (plan.disk.slow + plan.disk.sync) * 40 } else { plan.disk.slow }
}

fn pick(draw: &mut Stream, choices: &[usize]) -> usize {
    draw.pick(choices).copied().unwrap_or(1)
}
