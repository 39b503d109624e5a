//! The bugs that can be planted in Ben-Or, and the weather in which each shows.

use crate::subjects;
use crate::suite::Tuning;
use benor::{Config, Mutant};
use consensus_core::NodeId;
use consensus_sim::Property::{
    self, Agreement, Integrity, Invariant, NoFalseAccusation, Termination, Validity,
};
use consensus_sim::{ByzantinePlan, FrameAttacks, Inputs, MILLION, Plan, Rhythm, Scenario, Stream, Traitor};
use core::time::Duration;

/// Which faults a hunt among nodes that crash sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tide {
    /// Everything that the suite has, drawn as for the suite.
    Swarm,
    /// Messages that take very different times, so that everybody waits for others, and that come twice.
    Spread,
    /// As spread, with nodes that crash for a moment all the time, and disks that take long.
    Crashes,
    /// As spread, with messages that are lost, and as many nodes as there may be gone for good.
    Losses,
}

/// Which lies a hunt among liars tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruse {
    /// One node changes what it says, from message to message.
    Liar,
}

use Ruse::Liar;
use Tide::{Crashes, Losses, Spread, Swarm};

type Hunt<W> = super::Hunt<Mutant, W>;

/// Two nodes decide differently, or are about to: whichever shows first.
const UNSAFE: &[Property] = &[Agreement, Invariant, NoFalseAccusation];

const fn hunt<W>(mutant: Mutant, by: &'static [Property], nodes: usize, weather: W, budget: u64) -> Hunt<W> {
    Hunt { mutant, by, nodes, weather, budget }
}

/// Every bug that is hunted among nodes that crash.
pub const BENOR: &[Hunt<Tide>] = &[
    hunt(Mutant::DecidesOnOne, &[Agreement], 3, Spread, 3_000),
    hunt(Mutant::AdoptsOnlyMany, &[Agreement], 3, Spread, 3_000),
    hunt(Mutant::CoinOverridesAdopted, &[Agreement], 3, Spread, 3_000),
    hunt(Mutant::MajorityOfReceived, &[Agreement, Invariant], 5, Spread, 600),
    hunt(Mutant::HalfProposes, &[Agreement, Invariant], 4, Spread, 600),
    hunt(Mutant::WaitsForFewer, &[Termination], 5, Losses, 600),
    hunt(Mutant::WaitsForAll, &[Termination], 3, Losses, 600),
    hunt(Mutant::RoundsMixed, UNSAFE, 3, Spread, 600),
    hunt(Mutant::PhasesMixed, UNSAFE, 3, Spread, 600),
    hunt(Mutant::LateCounted, UNSAFE, 3, Spread, 600),
    hunt(Mutant::LaterDropped, &[Termination], 3, Losses, 600),
    hunt(Mutant::OwnVoteTwice, UNSAFE, 3, Spread, 600),
    hunt(Mutant::DuplicatesCounted, UNSAFE, 5, Spread, 600),
    hunt(Mutant::HaltsAtDecision, &[Termination], 3, Losses, 600),
    hunt(Mutant::DecidesAgain, &[Integrity], 3, Swarm, 600),
    hunt(Mutant::CastsForgotten, UNSAFE, 3, Crashes, 600),
    hunt(Mutant::CastsBeforeDurable, UNSAFE, 3, Crashes, 600),
    hunt(Mutant::Invents, &[Validity], 3, Swarm, 600),
];

/// Every bug that is hunted among liars.
pub const BENOR_BYZANTINE: &[Hunt<Ruse>] = &[
    hunt(Mutant::CrashThresholds, &[Agreement, Validity], 7, Liar, 600),
    hunt(Mutant::BelievesOne, &[Agreement, Validity], 6, Liar, 600),
];

/// Bugs that random runs show hardly or never: half of all proposals, say, are too few against two liars of eleven only. Each has a schedule of its own in `crates/benor/tests/mutants.rs`.
pub const BENOR_BY_SCHEDULE: &[Mutant] =
    &[Mutant::FixedCoin, Mutant::SharedCoin, Mutant::HalfDecides, Mutant::AdoptsOnOne];

impl Hunt<Tide> {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(&self, draw: &mut Stream, plan: &mut Plan, mutant: Option<Mutant>) -> Tuning<Config> {
        plan.nodes = self.nodes;
        let mut tuning = match self.weather {
            Swarm => subjects::benor(draw, plan),
            Spread => spread(draw, plan),
            Crashes => crashes(draw, plan),
            Losses => losses(draw, plan),
        };
        tuning.config.mutant = mutant;
        tuning
    }
}

impl Hunt<Ruse> {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(&self, draw: &mut Stream, plan: &mut Plan, mutant: Option<Mutant>) -> Tuning<Config> {
        plan.nodes = self.nodes;
        let mut tuning = match self.weather {
            Liar => liar(draw, plan),
        };
        tuning.config.mutant = mutant;
        tuning
    }
}

fn spread(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    *plan = Plan::calm(plan.nodes);
    plan.faults_for = millis(draw, 100, 400);
    plan.network.delay = Duration::from_micros(draw.between(200, 1_000));
    plan.network.duplicate_ppm = draw.between(0, MILLION / 2);
    plan.network.spike_ppm = draw.between(200_000, 700_000);
    plan.network.spike = millis(draw, 2, 30);
    // Who has decided would tell it.
    plan.partitions = Some(Rhythm { every: millis(draw, 3, 30), lasts: millis(draw, 3, 40) });
    plan.disk.sync = Duration::from_micros(draw.between(50, 500));
    plan.workload.inputs = Inputs { values: 2, within: millis(draw, 0, 5) };
    let config = Config { retry_ms: draw.between(3, 20), ..Config::default() };
    Tuning { config, patience: Duration::from_secs(10) }
}

fn crashes(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = spread(draw, plan);
    plan.crashes = Some(Rhythm { every: millis(draw, 2, 8), lasts: millis(draw, 1, 2) });
    plan.disk.sync = millis(draw, 1, 8);
    tuning
}

fn losses(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = spread(draw, plan);
    plan.network.loss_ppm = draw.between(100_000, 400_000);
    // The world loses no more than the algorithm bears.
    plan.lost_for_good = plan.nodes / 2;
    plan.deaths = Some(Rhythm { every: millis(draw, 1, 30), lasts: millis(draw, 1, 1) });
    tuning
}

fn liar(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = spread(draw, plan);
    let node = NodeId(draw.between(1, plan.nodes as u64));
    let frames = FrameAttacks { mutate_ppm: draw.between(MILLION / 3, MILLION), ..FrameAttacks::default() };
    let traitor = Traitor { frames: Some(frames), ..Traitor::twins(node, 2) };
    let scenario = Some(Scenario::draw(plan.nodes + 1, draw));
    plan.byzantine = Some(ByzantinePlan { traitors: vec![traitor], scenario, ..ByzantinePlan::default() });
    // It knows what the fields mean.
    let mutator = subjects::benor_byzantine(draw, plan);
    Tuning { patience: mutator.patience, ..tuning }
}

fn millis(draw: &mut Stream, low: u64, high: u64) -> Duration {
    Duration::from_millis(draw.between(low, high))
}
