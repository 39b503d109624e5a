//! Many seeds, one verdict.

use crate::claims::{Claims, Unsupported, claims_of};
use crate::panics::guarded;
use crate::report::{FailedSeed, SuiteReport};
use consensus_core::{ConsensusAlgorithm, Time};
use consensus_sim::{Failure, Mask, Mutate, Plan, Property, Report, Setup, Stream, Tape, run_mutated};
use core::ops::Range;
use core::time::Duration;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every so many seeds, one is run twice, and both runs must be the same.
const REPEAT_EVERY: u64 = 16;

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

/// What to run.
pub struct Options<'a, A: ConsensusAlgorithm> {
    /// Which seeds.
    pub seeds: Range<u64>,
    /// On how many threads.
    pub jobs: usize,
    /// The command that replays a seed, up to the seed's number.
    pub replay: String,
    /// The configuration of a run.
    pub tune: Tune<'a, A::Config>,
}

/// Runs all seeds and judges them.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn check<A: ConsensusAlgorithm>(options: &Options<'_, A>) -> Result<SuiteReport, Unsupported> {
    check_mutated(options, None)
}

/// As [`check`], where Byzantine nodes know how to change a field of a message.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn check_mutated<A: ConsensusAlgorithm>(
    options: &Options<'_, A>,
    mutate: Option<Mutate<A::Message>>,
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
                    let report = judge::<A>(seed, &claims, options.tune, mutate);
                    if let Ok(mut total) = total.lock() {
                        total.add(seed, report);
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.failures.sort_by_key(|failed| failed.seed);
    Ok(total)
}

/// Runs seeds until one fails; the lowest such seed among those that were run.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn check_until_failure<A: ConsensusAlgorithm>(
    options: &Options<'_, A>,
) -> Result<Option<FailedSeed>, Unsupported> {
    check_until_failure_mutated(options, None)
}

/// As [`check_until_failure`], where Byzantine nodes know how to change a field of a message.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn check_until_failure_mutated<A: ConsensusAlgorithm>(
    options: &Options<'_, A>,
    mutate: Option<Mutate<A::Message>>,
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
                    let Some(failure) = one::<A>(seed, &claims, options.tune, false, mutate).failure else {
                        continue;
                    };
                    // Lower seeds are run already, or at work; higher ones need not be.
                    next.store(options.seeds.end, Ordering::Relaxed);
                    if let Ok(mut first) = first.lock()
                        && first.as_ref().is_none_or(|known| seed < known.seed)
                    {
                        *first = Some(FailedSeed { seed, failure });
                    }
                }
            });
        }
    });
    Ok(first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// One seed, run twice now and then.
fn judge<A: ConsensusAlgorithm>(
    seed: u64,
    claims: &Claims,
    tune: Tune<'_, A::Config>,
    mutate: Option<Mutate<A::Message>>,
) -> Report {
    let mut report = one::<A>(seed, claims, tune, false, mutate);
    if seed.is_multiple_of(REPEAT_EVERY) && report.failure.is_none() {
        let again = one::<A>(seed, claims, tune, false, mutate);
        if again.hash != report.hash {
            let detail = format!("two runs differ: {:x} and {:x}", report.hash, again.hash);
            report.failure = Some(Failure { property: Property::Determinism, at: Time::ZERO, detail });
        }
    }
    report
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
    run_seed_mutated::<A>(seed, tune, trace, None)
}

/// As [`run_seed`], where Byzantine nodes know how to change a field of a message.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn run_seed_mutated<A: ConsensusAlgorithm>(
    seed: u64,
    tune: Tune<'_, A::Config>,
    trace: bool,
    mutate: Option<Mutate<A::Message>>,
) -> Result<Report, Unsupported> {
    Ok(one::<A>(seed, &claims_of(A::GUARANTEES)?, tune, trace, mutate))
}

fn one<A: ConsensusAlgorithm>(
    seed: u64,
    claims: &Claims,
    tune: Tune<'_, A::Config>,
    trace: bool,
    mutate: Option<Mutate<A::Message>>,
) -> Report {
    one_taped::<A>(seed, claims, tune, trace, (&Tape::off(), mutate))
}

/// What is drawn for a seed.
pub(crate) fn draw<A: ConsensusAlgorithm>(
    seed: u64,
    claims: &Claims,
    tune: Tune<'_, A::Config>,
) -> (Plan, Tuning<A::Config>) {
    let mut plan = Plan::draw(seed);
    claims.invite(seed, &mut plan);
    let tuning = tune(&mut Stream::derive(seed, "tuning"), &mut plan);
    claims.restrain(&mut plan);
    (plan, tuning)
}

/// Runs one seed, and records on `tape` what happens, even if the run panics.
pub(crate) fn one_taped<A: ConsensusAlgorithm>(
    seed: u64,
    claims: &Claims,
    tune: Tune<'_, A::Config>,
    trace: bool,
    (tape, mutate): (&Tape, Option<Mutate<A::Message>>),
) -> Report {
    let (plan, Tuning { config, patience }) = draw::<A>(seed, claims, tune);
    let setup = Setup { seed, plan, mask: Mask::all(), config, patience, trace };
    guarded(|| run_mutated::<A>(setup, tape.clone(), mutate)).unwrap_or_else(|said| Report {
        failure: Some(Failure { property: Property::Invariant, at: Time::ZERO, detail: said }),
        ..Report::default()
    })
}
