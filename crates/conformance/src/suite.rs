//! Many seeds, one verdict.

use crate::claims::{Claims, Unsupported, claims_of};
use crate::panics::guarded;
use crate::recipe::Recipe;
use crate::report::{FailedSeed, SuiteReport};
use crate::shrink::{self, Shrunk};
use consensus_core::{ConsensusAlgorithm, Time};
use consensus_sim::{Failure, Overrides, Plan, Property, Report, Setting, Setup, Still, Stream, Tape, World};
use core::ops::Range;
use core::time::Duration;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every so many seeds, one is run twice, and both runs must be the same.
const REPEAT_EVERY: u64 = 16;

/// How many of the seeds that fail are shrunk: one story is enough to begin with, and the others are often the same.
const SHRINK_FIRST: usize = 3;

/// An algorithm's configuration for one run.
#[derive(Clone, Debug)]
pub struct Tuning<C> {
    /// The configuration of every node.
    pub config: C,
    /// How long it may take to serve all clients again once the faults are over.
    pub patience: Duration,
}

/// Draws the configuration for a run; it may also bend the plan.
pub type Tune<'a, C> = &'a (dyn Fn(&mut Stream, &mut Plan) -> Tuning<C> + Sync);

/// Sees the verdict on a seed as soon as it is known: for somebody who waits.
pub type Watch<'a> = &'a (dyn Fn(&Report) + Sync);

/// What to run.
pub struct Options<'a, A: ConsensusAlgorithm> {
    /// Which seeds.
    pub seeds: Range<u64>,
    /// On how many threads.
    pub jobs: usize,
    /// The command that replays a seed, up to the seed's number; or with `{}` in place of a [`Recipe`].
    pub replay: String,
    /// The configuration of a run.
    pub tune: Tune<'a, A::Config>,
}

/// Runs all seeds and judges them.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn check<A: ConsensusAlgorithm>(options: &Options<'_, A>) -> Result<SuiteReport, Unsupported> {
    check_watched(options, &|_| {})
}

/// As [`check`], under the eyes of `watch`.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn check_watched<A: ConsensusAlgorithm>(
    options: &Options<'_, A>,
    watch: Watch<'_>,
) -> Result<SuiteReport, Unsupported> {
    let claims = claims_of(A::GUARANTEES)?;
    let next = AtomicU64::new(options.seeds.start);
    let total = Mutex::new(SuiteReport::new(A::NAME, &claims, &options.replay));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        break;
                    }
                    let judged = judge::<A>(seed, &claims, options.tune);
                    watch(&judged.report);
                    if let Ok(mut total) = total.lock() {
                        total.add(judged);
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.put_in_order();
    for failed in total.failures.iter_mut().take(SHRINK_FIRST) {
        failed.shrunk = shrink_run::<A>(&failed.recipe, options.tune, shrink::MAX_RUNS)?;
    }
    Ok(total)
}

/// Runs seeds until one fails; the lowest such seed among those that were run.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn check_until_failure<A: ConsensusAlgorithm>(
    options: &Options<'_, A>,
) -> Result<Option<FailedSeed>, Unsupported> {
    let claims = claims_of(A::GUARANTEES)?;
    let next = AtomicU64::new(options.seeds.start);
    let first = Mutex::new(None::<FailedSeed>);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        break;
                    }
                    let Some(failure) = one::<A>(&seed.into(), &claims, options.tune, false).failure else {
                        continue;
                    };
                    // Lower seeds are run already, or at work; higher ones need not be.
                    next.store(options.seeds.end, Ordering::Relaxed);
                    if let Ok(mut first) = first.lock()
                        && first.as_ref().is_none_or(|known| seed < known.recipe.seed)
                    {
                        *first = Some(FailedSeed { recipe: seed.into(), failure, shrunk: None });
                    }
                }
            });
        }
    });
    Ok(first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// What came of one seed.
pub(crate) struct Judged {
    /// The run that the report's failure is one of.
    pub(crate) recipe: Recipe,
    pub(crate) report: Report,
    /// Whether it was run twice, to compare.
    pub(crate) repeated: bool,
    /// Whether it was run with clocks that stop, too.
    pub(crate) stilled: bool,
}

/// One seed, run twice now and then, or another time with clocks that stop.
fn judge<A: ConsensusAlgorithm>(seed: u64, claims: &Claims, tune: Tune<'_, A::Config>) -> Judged {
    let recipe = Recipe::from(seed);
    let mut report = one::<A>(&recipe, claims, tune, false);
    let repeats = seed.is_multiple_of(REPEAT_EVERY) && report.failure.is_none();
    if repeats {
        let again = one::<A>(&recipe, claims, tune, false);
        if again.hash != report.hash {
            let detail = format!("two runs differ: {:x} and {:x}", report.hash, again.hash);
            report.failure = Some(Failure { property: Property::Determinism, at: Time::ZERO, detail });
        }
    }
    let mut judged = Judged { recipe, report, repeated: repeats, stilled: false };
    if let Some(still) = claims.still(seed).filter(|_| judged.report.failure.is_none()) {
        let value = if still == Still::InCalm { 1 } else { 2 };
        let overrides = Overrides::none().with(Setting::Still, value);
        let recipe = Recipe { overrides, ..seed.into() };
        let Report { failure, costs, .. } = one::<A>(&recipe, claims, tune, false);
        let costs_so_far = &mut judged.report.costs;
        (costs_so_far.alone, costs_so_far.together) = (costs.alone, costs.together);
        if failure.is_some() {
            (judged.recipe, judged.report.failure) = (recipe, failure);
        }
        judged.stilled = true;
    }
    judged
}

/// Runs one seed, with the readable trace if `trace`.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn run_seed<A: ConsensusAlgorithm>(
    seed: u64,
    tune: Tune<'_, A::Config>,
    trace: bool,
) -> Result<Report, Unsupported> {
    run_recipe::<A>(&seed.into(), tune, trace)
}

/// Does one run, as [`run_seed`], with what its recipe sets otherwise and leaves out.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn run_recipe<A: ConsensusAlgorithm>(
    recipe: &Recipe,
    tune: Tune<'_, A::Config>,
    trace: bool,
) -> Result<Report, Unsupported> {
    Ok(one::<A>(recipe, &claims_of(A::GUARANTEES)?, tune, trace))
}

/// Shrinks a run that fails, in at most `most` runs; `None` if it does not fail.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn shrink_run<A: ConsensusAlgorithm>(
    recipe: &Recipe,
    tune: Tune<'_, A::Config>,
    most: u64,
) -> Result<Option<Shrunk>, Unsupported> {
    let claims = claims_of(A::GUARANTEES)?;
    let (plan, _) = draw::<A>(recipe, &claims, tune);
    let tape = Tape::off();
    let run = |recipe: &Recipe, most_events| {
        let report = one_bounded::<A>(recipe, &claims, tune, (false, most_events), &tape);
        (report.events < most_events).then_some(report)
    };
    Ok(shrink::shrink(recipe, &plan, most, run))
}

fn one<A: ConsensusAlgorithm>(
    recipe: &Recipe,
    claims: &Claims,
    tune: Tune<'_, A::Config>,
    trace: bool,
) -> Report {
    one_taped::<A>(recipe, claims, tune, trace, &Tape::off())
}

/// What is drawn for a run, and set otherwise by its recipe. What the algorithm's configuration is drawn from stays as it was.
pub(crate) fn draw<A: ConsensusAlgorithm>(
    recipe: &Recipe,
    claims: &Claims,
    tune: Tune<'_, A::Config>,
) -> (Plan, Tuning<A::Config>) {
    let mut plan = Plan::draw_for(A::GUARANTEES.problem, recipe.seed);
    claims.invite(recipe.seed, &mut plan);
    // Whoever may know the bound of a synchronous run must find it in the plan.
    claims.restrain(&mut plan);
    let tuning = tune(&mut Stream::derive(recipe.seed, "tuning"), &mut plan);
    recipe.overrides.apply(&mut plan);
    claims.restrain(&mut plan);
    (plan, tuning)
}

/// Does one run, and records on `tape` what happens, even if the run panics.
pub(crate) fn one_taped<A: ConsensusAlgorithm>(
    recipe: &Recipe,
    claims: &Claims,
    tune: Tune<'_, A::Config>,
    trace: bool,
    tape: &Tape,
) -> Report {
    one_bounded::<A>(recipe, claims, tune, (trace, u64::MAX), tape)
}

/// As [`one_taped`]; with `most_events` events the run ends, and says nothing.
fn one_bounded<A: ConsensusAlgorithm>(
    recipe: &Recipe,
    claims: &Claims,
    tune: Tune<'_, A::Config>,
    (trace, most_events): (bool, u64),
    tape: &Tape,
) -> Report {
    let (plan, Tuning { config, patience }) = draw::<A>(recipe, claims, tune);
    let (seed, mask) = (recipe.seed, recipe.mask.clone());
    let setup = Setup { seed, plan, mask, config, patience, trace };
    let report = guarded(|| World::<A>::with_tape(setup, tape.clone())).and_then(|mut world| {
        world.stop_after(most_events);
        // The world outlives a panic, and tells how it came to it.
        if let Err(said) = guarded(|| world.run_plan()) {
            world.fail(Property::Invariant, said);
        }
        guarded(|| world.finish())
    });
    report.unwrap_or_else(|said| Report {
        failure: Some(Failure { property: Property::Invariant, at: Time::ZERO, detail: said }),
        ..Report::default()
    })
}
