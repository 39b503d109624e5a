//! The bugs that can be planted in agreement with a hidden coin, and the weather in which each shows.

use crate::subjects;
use crate::suite::Tuning;
use benor::mmr::{Config, Mutant};
use consensus_core::NodeId;
use consensus_sim::Property::{self, Agreement, NoFalseAccusation, Termination, Validity};
use consensus_sim::{ByzantinePlan, FrameAttacks, MILLION, Mutator, Plan, Rhythm, Scenario, Stream, Traitor};
use core::time::Duration;

/// Which faults a hunt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squall {
    /// Messages that take very different times, so that everybody waits for others, and that come twice.
    Scattered,
    /// As scattered, with nodes that crash for a moment all the time, and disks that take long.
    Forgetful,
    /// As scattered, and messages are lost.
    Lossy,
    /// As scattered, and one node changes what it says, from message to message.
    Lying,
}

use Squall::{Forgetful, Lossy, Lying, Scattered};

type Hunt = super::Hunt<Mutant, Squall>;

const fn hunt(mutant: Mutant, by: &'static [Property], nodes: usize, weather: Squall, budget: u64) -> Hunt {
    Hunt { mutant, by, nodes, weather, budget }
}

/// Two nodes decide differently, or a decision is none that anybody was given.
const UNSAFE: &[Property] = &[Agreement, Validity];

/// Every bug that is hunted.
pub const BENOR_MMR: &[Hunt] = &[
    hunt(Mutant::CoinOverridesValue, UNSAFE, 4, Scattered, 300),
    hunt(Mutant::DuplicatesCounted, &[Agreement, Validity, NoFalseAccusation], 4, Scattered, 300),
    hunt(Mutant::CastsForgotten, &[Agreement, Validity, NoFalseAccusation], 4, Forgetful, 300),
    hunt(Mutant::CastsBeforeDurable, &[Agreement, Validity, NoFalseAccusation], 4, Forgetful, 300),
    hunt(Mutant::HaltsAtDecision, &[Termination], 4, Lossy, 300),
    hunt(Mutant::RelaysAtOne, &[Validity], 4, Lying, 300),
    hunt(Mutant::CountsUnaccepted, &[Validity], 4, Lying, 300),
    hunt(Mutant::BelievesOne, UNSAFE, 4, Lying, 300),
];

/// Bugs that random runs show hardly or never. Each has a schedule of its own in `crates/benor/tests/mmr_mutants.rs`.
pub const BENOR_MMR_BY_SCHEDULE: &[Mutant] = &[
    Mutant::NoConfirmation,
    Mutant::DecidesWithoutCoin,
    Mutant::WaitsForMajority,
    Mutant::WaitsForTwoThirds,
    Mutant::RevealsBeforeWait,
    Mutant::SharesUnchecked,
    Mutant::AcceptsAtRelay,
    Mutant::RelaysNoMore,
];

impl Hunt {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(&self, draw: &mut Stream, plan: &mut Plan, mutant: Option<Mutant>) -> Tuning<Config> {
        plan.nodes = self.nodes;
        let mut tuning = match self.weather {
            Scattered => scattered(draw, plan),
            Forgetful => forgetful(draw, plan),
            Lossy => lossy(draw, plan),
            Lying => lying(draw, plan),
        };
        tuning.config.mutant = mutant;
        tuning
    }
}

fn scattered(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    super::benor::scatter(draw, plan);
    let coin = subjects::mmr_coin(plan.nodes, draw.number());
    let config = Config { coin, retry_ms: draw.between(3, 20), ..Config::default() };
    Tuning { config, patience: Duration::from_secs(10) }
}

fn forgetful(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = scattered(draw, plan);
    plan.crashes = Some(Rhythm { every: millis(draw, 2, 8), lasts: millis(draw, 1, 2) });
    plan.disk.sync = millis(draw, 1, 8);
    tuning
}

fn lossy(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = scattered(draw, plan);
    plan.network.loss_ppm = draw.between(100_000, 400_000);
    tuning
}

fn lying(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = scattered(draw, plan);
    // All correct nodes are given one value more often than not: then another one shows.
    plan.workload.inputs.values = draw.pick(&[1, 1, 2]).copied().unwrap_or(1);
    let node = NodeId(draw.between(1, plan.nodes as u64));
    let frames = FrameAttacks { mutate_ppm: draw.between(MILLION / 3, MILLION), ..FrameAttacks::default() };
    let traitor = Traitor { frames: Some(frames), ..Traitor::twins(node, 2) };
    let scenario = Some(Scenario::draw(plan.nodes + 1, draw));
    // It knows what the fields mean.
    let mutator = Some(Mutator::of::<subjects::MmrLie>());
    plan.byzantine =
        Some(ByzantinePlan { traitors: vec![traitor], scenario, mutator, ..ByzantinePlan::default() });
    tuning
}

fn millis(draw: &mut Stream, low: u64, high: u64) -> Duration {
    Duration::from_millis(draw.between(low, high))
}
