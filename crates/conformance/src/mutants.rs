//! Testing the tester: known bugs are planted one by one, and the suite must find each of them within its budget.

mod benor;
mod floodset;
mod leases;
mod mmr;
mod multipaxos;
mod pbft;
mod plant;
mod raft;
mod synod;
mod twophase;

pub use self::benor::{BENOR, BENOR_BY_SCHEDULE, BENOR_BYZANTINE, BENOR_LOG, Current, Ruse, Tide};
pub use self::floodset::FLOODSET_BY_SCHEDULE;
pub use self::leases::{LEASES, Watch};
pub use self::mmr::{BENOR_MMR, BENOR_MMR_BY_SCHEDULE, Squall};
pub use self::multipaxos::{MULTIPAXOS, MULTIPAXOS_BY_SCHEDULE, Season};
pub use self::pbft::{Front, PBFT, PBFT_BY_SCHEDULE};
pub use self::plant::{named, names};
pub use self::raft::{RAFT, RAFT_BY_SCHEDULE, Weather};
pub use self::synod::{SYNOD, Sky};
pub use self::twophase::{Gale, PAXOS_COMMIT, Surf, TWOPHASE, TWOPHASE_BY_SCHEDULE};
use crate::claims::Unsupported;
use crate::subjects::{Entry, Subject};
use crate::suite::{Options, Tuning, check_until_failure, run_seed};
use ::benor::{BenOr, Byzantine, Mmr};
use ::multipaxos::{MultiPaxos, Synod};
use ::pbft::Pbft;
use ::raft::Raft;
use ::twophase::{PaxosCommit, TwoPhase};
use consensus_core::ConsensusAlgorithm;
use consensus_sim::{Plan, Property, Stream};
use core::fmt::{self, Debug};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A planted bug, and how it is hunted.
#[derive(Clone, Copy, Debug)]
pub struct Hunt<M, W> {
    /// The bug.
    pub mutant: M,
    /// The properties that speak of it: one of them must fail.
    pub by: &'static [Property],
    /// The size of the group.
    pub nodes: usize,
    /// The weather in which it shows.
    pub weather: W,
    /// The most seeds that it may take.
    pub budget: u64,
}

/// How the runs of a hunt are tuned: what each algorithm with bugs to plant tells of itself.
pub trait Tuned: Copy + Debug + Sync + 'static {
    /// Whose bug it is.
    type Algorithm: ConsensusAlgorithm;

    /// The configuration of a run, with the bug if `is_planted`.
    fn tuned(
        &self,
        draw: &mut Stream,
        plan: &mut Plan,
        is_planted: bool,
    ) -> Tuning<<Self::Algorithm as ConsensusAlgorithm>::Config>;
}

/// A hunt, whatever the algorithm.
pub trait Hunted: Sync {
    /// Whose bug it is.
    fn algorithm(&self) -> &'static str;

    /// The name of the bug.
    fn name(&self) -> String;

    /// Hunts it. A seed that fails without the bug too, or by a property that does not speak of it, has not found it.
    ///
    /// # Errors
    /// The suite cannot check what the algorithm claims.
    fn hunt(&self, start: u64) -> Result<Catch, Unsupported>;

    /// The algorithm with the bug, to look at.
    fn planted(&self) -> Box<dyn Subject>;
}

/// What came of one hunt.
#[derive(Clone, Debug)]
pub struct Catch {
    /// Whose bug it was.
    pub algorithm: &'static str,
    /// The bug.
    pub mutant: String,
    /// The size of the group.
    pub nodes: usize,
    /// The weather in which it was hunted.
    pub weather: String,
    /// The most seeds that it might take.
    pub budget: u64,
    /// The seed that found it, how many seeds that took, and the property that failed; `None`: it survived.
    pub found: Option<(u64, u64, Property)>,
}

/// What came of all hunts.
#[derive(Clone, Debug, Default)]
pub struct HuntReport {
    /// One for each planted bug.
    pub catches: Vec<Catch>,
}

/// Every hunt of every algorithm.
pub fn all() -> impl Iterator<Item = &'static dyn Hunted> {
    let raft = RAFT.iter().map(|hunt| hunt as &dyn Hunted);
    let log = MULTIPAXOS.iter().map(|hunt| hunt as &dyn Hunted);
    let leases = LEASES.iter().map(|hunt| hunt as &dyn Hunted);
    let pbft = PBFT.iter().map(|hunt| hunt as &dyn Hunted);
    let crashes = BENOR.iter().map(|hunt| hunt as &dyn Hunted);
    let lies = BENOR_BYZANTINE.iter().map(|hunt| hunt as &dyn Hunted);
    let hidden = BENOR_MMR.iter().map(|hunt| hunt as &dyn Hunted);
    let leaderless = BENOR_LOG.iter().map(|hunt| hunt as &dyn Hunted);
    let synod = SYNOD.iter().map(|hunt| hunt as &dyn Hunted);
    let classic = TWOPHASE.iter().map(|hunt| hunt as &dyn Hunted);
    let replicated = PAXOS_COMMIT.iter().map(|hunt| hunt as &dyn Hunted);
    let logs = raft.chain(log).chain(leases).chain(synod).chain(pbft);
    logs.chain(crashes).chain(lies).chain(hidden).chain(leaderless).chain(classic).chain(replicated)
}

/// Hunts every bug with `only` in its name, or in that of its algorithm, on `jobs` threads. `watch` sees what came of a hunt as soon as it is over.
///
/// # Errors
/// The suite cannot check what an algorithm claims.
pub fn hunt_all(
    only: &str,
    start: u64,
    jobs: usize,
    watch: impl Fn(&Catch) + Sync,
) -> Result<HuntReport, Unsupported> {
    let is_wanted = |hunt: &&dyn Hunted| format!("{}:{}", hunt.algorithm(), hunt.name()).contains(only);
    let wanted: Vec<&dyn Hunted> = all().filter(is_wanted).collect();
    let (next, over) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(hunt) = wanted.get(place) else { return };
                    let catch = hunt.hunt(start);
                    if let Ok(catch) = &catch {
                        watch(catch);
                    }
                    if let Ok(mut over) = over.lock() {
                        over.insert(place, catch);
                    }
                }
            });
        }
    });
    let over = over.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(HuntReport { catches: over.into_values().collect::<Result<_, _>>()? })
}

impl<M, W> Hunted for Hunt<M, W>
where
    M: Copy + Debug + Sync + 'static,
    W: Copy + Debug + Sync + 'static,
    Self: Tuned,
{
    fn algorithm(&self) -> &'static str {
        <Self as Tuned>::Algorithm::NAME
    }

    fn name(&self) -> String {
        format!("{:?}", self.mutant)
    }

    fn hunt(&self, start: u64) -> Result<Catch, Unsupported> {
        let Self { mutant, by, nodes, weather, budget } = *self;
        let mut catch = Catch {
            algorithm: <Self as Tuned>::Algorithm::NAME,
            mutant: format!("{mutant:?}"),
            nodes,
            weather: format!("{weather:?}"),
            budget,
            found: None,
        };
        let sick = |draw: &mut Stream, plan: &mut Plan| self.tuned(draw, plan, true);
        let sound = |draw: &mut Stream, plan: &mut Plan| self.tuned(draw, plan, false);
        let end = start.saturating_add(budget);
        let mut from = start;
        loop {
            let seeds = from..end;
            // Others are hunted at the same time.
            let options =
                Options::<<Self as Tuned>::Algorithm> { seeds, jobs: 1, replay: String::new(), tune: &sick };
            let Some(failed) = check_until_failure(&options)? else { return Ok(catch) };
            let (seed, property) = (failed.recipe.seed, failed.failure.property);
            let is_sound =
                || Ok(run_seed::<<Self as Tuned>::Algorithm>(seed, &sound, false)?.failure.is_none());
            if by.contains(&property) && is_sound()? {
                catch.found = Some((seed, seed - start + 1, property));
                return Ok(catch);
            }
            from = seed + 1;
        }
    }

    fn planted(&self) -> Box<dyn Subject> {
        let hunt = *self;
        let tune = move |draw: &mut Stream, plan: &mut Plan| hunt.tuned(draw, plan, true);
        Box::new(Entry::<<Self as Tuned>::Algorithm, _>::new(tune))
    }
}

impl Tuned for Hunt<::raft::Mutant, Weather> {
    type Algorithm = Raft;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::raft::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::multipaxos::Mutant, Season> {
    type Algorithm = MultiPaxos;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::multipaxos::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::multipaxos::Mutant, Sky> {
    type Algorithm = Synod;

    fn tuned(
        &self,
        draw: &mut Stream,
        plan: &mut Plan,
        is_planted: bool,
    ) -> Tuning<::multipaxos::synod::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::multipaxos::Mutant, Watch> {
    type Algorithm = MultiPaxos;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::multipaxos::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::benor::Mutant, Tide> {
    type Algorithm = BenOr;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::benor::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::benor::Mutant, Ruse> {
    type Algorithm = Byzantine;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::benor::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::benor::mmr::Mutant, Squall> {
    type Algorithm = Mmr;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::benor::mmr::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::benor::Mutant, Current> {
    type Algorithm = ::benor::Log;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::benor::log::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::pbft::Mutant, Front> {
    type Algorithm = Pbft;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::pbft::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::twophase::Mutant, Gale> {
    type Algorithm = TwoPhase;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::twophase::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
    }
}

impl Tuned for Hunt<::twophase::Mutant, Surf> {
    type Algorithm = PaxosCommit;

    fn tuned(&self, draw: &mut Stream, plan: &mut Plan, is_planted: bool) -> Tuning<::twophase::Config> {
        self.tuned(draw, plan, is_planted.then_some(self.mutant))
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
        let Self { algorithm, mutant, nodes, weather, budget, found } = self;
        let (property, seed, seeds) = match found {
            Some((seed, seeds, property)) => (property.name(), seed.to_string(), *seeds),
            None => ("SURVIVED", "-".into(), *budget),
        };
        write!(
            f,
            "{algorithm:<15} {mutant:<26} {nodes:>2} {weather:<10} {property:<24} {seed:>6} {seeds:>6} {budget:>6}"
        )
    }
}

/// The head of the table that catches make.
#[must_use]
pub fn head() -> String {
    format!(
        "{:<15} {:<26} {:>2} {:<10} {:<24} {:>6} {:>6} {:>6}",
        "algorithm", "mutant", "n", "weather", "property that caught it", "seed", "seeds", "budget"
    )
}
