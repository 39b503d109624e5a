//! Controls: runs just outside of what an algorithm claims, where the suite must *find* a violation. Without them a suite
//! that finds nothing inside the claims might be blind.
//!
//! Two kinds: a property must fail (a Byzantine node in a crash-tolerant group, a disk that lies, an algorithm that claims too
//! much), or the group must stand still, agree all the same, and live again (more than f nodes down).

mod pbft;

pub use self::pbft::pbft;
use crate::claims::Unsupported;
use crate::leases::{self, Leased};
use crate::liar::{ByzantineProof, Liar, Lie, ReadsAtOnce, Timeless, TooResilient};
use crate::panics::guarded;
use crate::subjects;
use crate::suite::{Options, Tune, Tuning, check_until_failure};
use consensus_core::{ConsensusAlgorithm, NodeId};
use consensus_sim::{
    Amnesia, ByzantinePlan, FrameAttacks, MILLION, Mask, Plan, Property, Rhythm, Scenario, Setup, Stream,
    Traitor, Transport, beyond,
};
use core::time::Duration;
use std::fmt;

/// The properties that speak of safety: what clients or nodes believe, and not how long they wait.
pub const SAFETY: &[Property] = &[
    Property::Agreement,
    Property::PrefixOrder,
    Property::Integrity,
    Property::ExactlyOnce,
    Property::StateEqual,
    Property::OneLeader,
    Property::Linearizable,
];

/// What must come of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// One of these properties fails.
    Violation(&'static [Property]),
    /// Nothing is decided, nothing fails, and afterwards all is well again.
    Halt,
}

/// A run just outside of the claims, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What was done.
    pub name: String,
    /// What must come of it.
    pub expectation: Expectation,
    /// The most seeds that it may take.
    pub budget: u64,
    /// The seed at which a property failed, and which.
    pub found: Option<(u64, Property)>,
    /// What was seen, for people.
    pub detail: String,
}

impl Control {
    /// Whether what was expected came.
    #[must_use]
    pub const fn holds(&self) -> bool {
        match self.expectation {
            Expectation::Violation(_) => self.found.is_some(),
            Expectation::Halt => self.found.is_none(),
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let came = match (self.expectation, self.found) {
            (Expectation::Violation(_), Some((_, property))) => format!("violates {property}"),
            (Expectation::Violation(_), None) => "NOTHING FOUND".into(),
            (Expectation::Halt, None) => "stands still, agrees, lives again".into(),
            (Expectation::Halt, Some((_, property))) => format!("FAILED {property}"),
        };
        let seed = self.found.map_or_else(|| "-".into(), |(seed, _)| seed.to_string());
        write!(f, "{:<56} {came:<34} {seed:>6} {:>6}", self.name, self.budget)
    }
}

/// The head of the table that controls make.
#[must_use]
pub fn head() -> String {
    format!(
        "{:<56} {:<34} {:>6} {:>6}",
        "control: just outside the envelope", "what came of it", "seed", "budget"
    )
}

/// Looks for a seed on which one of the properties `by` fails. Seeds on which others fail are passed over.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn find<A: ConsensusAlgorithm>(
    name: impl Into<String>,
    by: &'static [Property],
    budget: u64,
    jobs: usize,
    tune: Tune<'_, A::Config>,
) -> Result<Control, Unsupported> {
    let expectation = Expectation::Violation(by);
    let mut control = Control { name: name.into(), expectation, budget, found: None, detail: String::new() };
    let mut from = 0;
    while from < budget {
        let options = Options::<A> { seeds: from..budget, jobs, replay: String::new(), tune };
        let Some(failed) = check_until_failure(&options)? else { break };
        if by.contains(&failed.failure.property) {
            control.found = Some((failed.recipe.seed, failed.failure.property));
            control.detail = failed.failure.to_string();
            break;
        }
        from = failed.recipe.seed + 1;
    }
    Ok(control)
}

/// Takes one node more away than is tolerated: nothing may be decided, nothing may fail, and all must be well when the nodes
/// are back.
#[must_use]
pub fn halt<A: ConsensusAlgorithm>(
    name: impl Into<String>,
    budget: u64,
    tune: impl Fn(&mut Stream, &mut Plan) -> Tuning<A::Config>,
) -> Control {
    let expectation = Expectation::Halt;
    let mut control = Control { name: name.into(), expectation, budget, found: None, detail: String::new() };
    for seed in 0..budget {
        let mut plan = Plan::draw(seed);
        let Tuning { config, patience } = tune(&mut Stream::derive(seed, "tuning"), &mut plan);
        // The control takes nodes away itself, needs all of them back, and must know whose majority it takes.
        (plan.lost_for_good, plan.hardships.rot, plan.changes) = (0, None, None);
        let down = A::GUARANTEES.tolerated(plan.nodes) + 1;
        let setup = Setup::<A> { seed, plan, mask: Mask::all(), config, patience, trace: false };
        let failure = match guarded(|| beyond(setup, down)) {
            Err(said) => Some((Property::Invariant, said)),
            Ok(halt) => match halt.report.failure {
                Some(failure) => Some((failure.property, failure.detail)),
                None if halt.during > 0 => {
                    Some((Property::Agreement, format!("{} decisions with {down} nodes down", halt.during)))
                }
                None if halt.before == 0 || halt.after == 0 => {
                    Some((Property::Progress, "nothing was decided before, or nothing after".into()))
                }
                None => None,
            },
        };
        if let Some((property, detail)) = failure {
            control.found = Some((seed, property));
            control.detail = detail;
            break;
        }
    }
    control
}

/// Whether there are controls of the algorithm of this name, or of those that "all" stands for.
#[must_use]
pub fn has_any(algorithm: &str) -> bool {
    ["all", "raft", "multipaxos", "pbft", "benor", "floodset"].contains(&algorithm)
}

/// The controls of the algorithm of this name, or of all of them. Tells of each as soon as it is over.
///
/// # Errors
/// The suite cannot check what an algorithm claims.
pub fn of(algorithm: &str, jobs: usize, mut tell: impl FnMut(&Control)) -> Result<Vec<Control>, Unsupported> {
    let mut done = Vec::new();
    if ["all", "raft"].contains(&algorithm) {
        done.extend(raft(jobs, &mut tell)?);
    }
    if ["all", "multipaxos"].contains(&algorithm) {
        done.extend(multipaxos(jobs, &mut tell)?);
    }
    if ["all", "pbft"].contains(&algorithm) {
        done.extend(pbft(jobs, &mut tell)?);
    }
    if ["all", "benor"].contains(&algorithm) {
        done.extend(benor(jobs, &mut tell)?);
    }
    if ["all", "floodset"].contains(&algorithm) {
        let tune = &subjects::floodset;
        let control = liar::<floodset::FloodSet, Timeless>(&[Property::Agreement], 200, jobs, tune)?;
        tell(&control);
        done.push(control);
    }
    Ok(done)
}

/// The controls of Raft. Tells of each as soon as it is over.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn raft(jobs: usize, mut tell: impl FnMut(&Control)) -> Result<Vec<Control>, Unsupported> {
    type Raft = raft::Raft;
    let mut done = Vec::new();
    let mut add = |control: Control| {
        tell(&control);
        done.push(control);
    };
    add(find::<Raft>("raft: one Byzantine node, twins", SAFETY, 100, jobs, &twins)?);
    add(find::<Raft>("raft: one Byzantine node, forgets its disk", SAFETY, 200, jobs, &amnesia)?);
    add(find::<Raft>("raft: one Byzantine node, forges senders", SAFETY, 200, jobs, &forgery)?);
    add(find::<Raft>("raft: syncs that lie", LYING_DISK, 50, jobs, &lying_syncs)?);
    for (what, budget, tune) in leases_betrayed::<raft::Config>() {
        add(find::<Raft>(format!("raft: {what}"), STALE, budget, jobs, &tune)?);
    }
    add(halt::<Raft>("raft: f + 1 nodes down", 10, subjects::raft));
    add(liar::<Raft, TooResilient>(LIVENESS, 50, jobs, &subjects::raft)?);
    add(liar::<Raft, ByzantineProof>(SAFETY, 100, jobs, &subjects::raft)?);
    add(liar::<Raft, ReadsAtOnce>(&[Property::Linearizable], 50, jobs, &barrier_reads)?);
    Ok(done)
}

const LYING_DISK: &[Property] = &[
    Property::Agreement,
    Property::StateEqual,
    Property::Linearizable,
    Property::Durability,
    Property::Recovery,
    Property::OneLeader,
];
const STALE: &[Property] = &[Property::Linearizable];
const LIVENESS: &[Property] = &[Property::Progress, Property::Durability];

/// Runs an algorithm that claims too much.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn liar<A: ConsensusAlgorithm, L: Lie<A>>(
    by: &'static [Property],
    budget: u64,
    jobs: usize,
    tune: Tune<'_, A::Config>,
) -> Result<Control, Unsupported> {
    let name = format!("liar: {} {}", A::NAME, L::NAME);
    find::<Liar<A, L>>(name, by, budget, jobs, tune)
}

/// One Byzantine node of `nodes`, with a plan that leaves it room: nothing but its own misdeeds goes wrong.
fn betrayed(draw: &mut Stream, plan: &mut Plan, nodes: usize, traitor: Traitor) -> Tuning<raft::Config> {
    let hosts = nodes - 1 + traitor.instances;
    *plan = Plan { byzantine: None, workload: plan.workload.clone(), ..Plan::calm(nodes) };
    plan.faults_for = Duration::from_secs(3);
    let tuning = subjects::raft(draw, plan);
    let mut scenario = (hosts > nodes).then(|| Scenario::draw(hosts, draw));
    if let Some(scenario) = &mut scenario {
        // Long enough for an election and some commands.
        scenario.round = Duration::from_millis(4 * tuning.config.election_timeout_ms);
    }
    plan.byzantine =
        Some(ByzantinePlan { traitors: vec![traitor], scenario, may_halt: true, ..ByzantinePlan::default() });
    tuning
}

fn twins(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    betrayed(draw, plan, 3, Traitor::twins(NodeId(1), 2))
}

fn amnesia(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let rhythm = Rhythm { every: Duration::from_millis(300), lasts: Duration::from_millis(5) };
    let amnesia = Amnesia { rhythm, empty_ppm: MILLION / 2 };
    let traitor = Traitor { amnesia: Some(amnesia), ..Traitor::new(NodeId(1)) };
    let tuning = betrayed(draw, plan, 3, traitor);
    plan.partitions = Some(Rhythm { every: Duration::from_millis(250), lasts: Duration::from_millis(250) });
    tuning
}

fn forgery(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let frames = FrameAttacks { forge_ppm: MILLION / 2, ..FrameAttacks::default() };
    let traitor = Traitor { frames: Some(frames), ..Traitor::new(NodeId(1)) };
    let tuning = betrayed(draw, plan, 5, traitor);
    plan.partitions = Some(Rhythm { every: Duration::from_millis(250), lasts: Duration::from_millis(250) });
    if let Some(byzantine) = &mut plan.byzantine {
        byzantine.transport = Transport::Trusting;
    }
    tuning
}

fn lying_syncs(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    plan.disk.lying_syncs = true;
    // What is lost must be lost by the lie alone.
    plan.hardships.rot = None;
    subjects::raft(draw, plan)
}

type Weather<C> = fn(&mut Stream, &mut Plan) -> Tuning<C>;

/// What no lease withstands, and the most seeds that it may take to show.
fn leases_betrayed<C: Leased>() -> [(&'static str, u64, Weather<C>); 2] {
    [
        ("leases, and clocks beyond the declared bound", 50, wild_clocks),
        ("leases, and clocks that stop with their machine", 100, stopped_clocks),
    ]
}

/// The controls of Multi-Paxos. Tells of each as soon as it is over.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn multipaxos(jobs: usize, mut tell: impl FnMut(&Control)) -> Result<Vec<Control>, Unsupported> {
    let mut done = Vec::new();
    for (what, budget, tune) in leases_betrayed::<multipaxos::Config>() {
        let control =
            find::<multipaxos::MultiPaxos>(format!("multipaxos: {what}"), STALE, budget, jobs, &tune)?;
        tell(&control);
        done.push(control);
    }
    Ok(done)
}

/// The controls of Ben-Or, in both models. Tells of each as soon as it is over.
///
/// # Errors
/// The suite cannot check what the algorithm claims.
pub fn benor(jobs: usize, mut tell: impl FnMut(&Control)) -> Result<Vec<Control>, Unsupported> {
    let mut done = Vec::new();
    let mut add = |control: Control| {
        tell(&control);
        done.push(control);
    };
    add(liar::<benor::BenOr, TooResilient>(&[Property::Termination], 50, jobs, &subjects::benor)?);
    let name = "benor: one Byzantine node among nodes that crash";
    add(find::<benor::BenOr>(name, DECISIONS, 300, jobs, &|draw, plan| disputed(draw, plan, 5, 1))?);
    let name = "benor-byzantine: t + 1 Byzantine nodes";
    add(find::<benor::Byzantine>(name, DECISIONS, 600, jobs, &|draw, plan| disputed(draw, plan, 6, 2))?);
    let name = "benor-mmr: t + 1 Byzantine nodes";
    add(find::<benor::Mmr>(name, DECISIONS, 600, jobs, &|draw, plan| {
        dispute(draw, plan, 4, 2);
        subjects::benor_mmr(draw, plan)
    })?);
    Ok(done)
}

const DECISIONS: &[Property] = &[Property::Agreement, Property::Validity];

/// So many of the nodes lie, each to others otherwise, and nothing else goes wrong.
fn dispute(draw: &mut Stream, plan: &mut Plan, nodes: usize, liars: u64) {
    *plan = Plan { byzantine: None, workload: plan.workload.clone(), ..Plan::calm(nodes) };
    plan.network.spike_ppm = MILLION / 3;
    plan.network.spike = Duration::from_millis(10);
    let frames = FrameAttacks { mutate_ppm: MILLION / 2, ..FrameAttacks::default() };
    let liar = |node| Traitor { frames: Some(frames), ..Traitor::twins(NodeId(node), 2) };
    let traitors: Vec<Traitor> = (1..=liars).map(liar).collect();
    let scenario = Some(Scenario::draw(nodes + traitors.len(), draw));
    plan.byzantine = Some(ByzantinePlan { traitors, scenario, may_halt: true, ..ByzantinePlan::default() });
}

fn disputed(draw: &mut Stream, plan: &mut Plan, nodes: usize, liars: u64) -> Tuning<benor::Config> {
    dispute(draw, plan, nodes, liars);
    subjects::benor_byzantine(draw, plan)
}

/// Clocks drift, and next to nothing was declared.
fn wild_clocks<C: Leased>(draw: &mut Stream, plan: &mut Plan) -> Tuning<C> {
    plan.nodes = 3;
    leases::cut_off_leaders(draw, plan, 1_000)
}

/// Clocks keep pace, but a leader that stands still does so with its clock. Whoever is elected meanwhile must not reach it.
fn stopped_clocks<C: Leased>(draw: &mut Stream, plan: &mut Plan) -> Tuning<C> {
    plan.nodes = 3;
    let tuning = leases::cut_off_in_time(draw, plan);
    (plan.hardships.pauses, plan.clocks_stop_ppm) = (plan.partitions, MILLION);
    tuning
}

fn barrier_reads(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    (plan.workload.log_read_ppm, plan.workload.read_ppm) = (0, MILLION / 2);
    subjects::raft(draw, plan)
}
