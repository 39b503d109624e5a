//! The bugs that can be planted in Ben-Or, and the weather in which each shows.

use crate::subjects;
use crate::suite::Tuning;
use benor::{Config, Mutant, log};
use consensus_core::NodeId;
use consensus_sim::Property::{
    self, Agreement, Durability, Integrity, Invariant, Linearizable, NoFalseAccusation, NoTimer, PrefixOrder,
    Progress, Recovery, Termination, Validity,
};
use consensus_sim::{
    ByzantinePlan, FrameAttacks, Inputs, MILLION, Plan, Rhythm, Scenario, Still, Stream, Traitor,
};
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

/// Which faults a hunt in the log sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current {
    /// Messages that take very different times, and that come twice, among clients of all nodes.
    Crossing,
    /// As crossing, with nodes that crash for a moment all the time, and disks that take long.
    Amnesia,
    /// As crossing, with messages that are lost.
    Drops,
    /// Many readers, at nodes that are cut off from the others for a while.
    Readers,
    /// As amnesia, with logs that are cut all the time.
    Cuts,
    /// None at all, and clocks that stop.
    Calm,
    /// As calm, with many clients and little that may be under way.
    Crowd,
}

use Current::{Amnesia, Calm, Crossing, Crowd, Cuts, Drops, Readers};
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

/// Two nodes have decided differently, or are about to.
const APART: &[Property] = &[Agreement, PrefixOrder, Invariant, NoFalseAccusation, Recovery, Durability];

/// Every bug that is hunted in the log.
pub const BENOR_LOG: &[Hunt<Current>] = &[
    hunt(Mutant::OffersWithoutSenders, APART, 5, Crossing, 600),
    hunt(Mutant::MostOfReceivedOffers, APART, 5, Crossing, 600),
    hunt(Mutant::OneDecides, APART, 3, Crossing, 600),
    hunt(Mutant::TossesAtOnce, APART, 3, Crossing, 600),
    hunt(Mutant::VotesForgotten, APART, 3, Amnesia, 600),
    hunt(Mutant::OffersForgotten, APART, 3, Amnesia, 600),
    hunt(Mutant::WordsBeforeDurable, APART, 3, Amnesia, 600),
    hunt(Mutant::NothingLoses, &[Progress], 3, Crossing, 600),
    hunt(Mutant::OffersTwice, &[Integrity, Progress], 3, Crossing, 600),
    hunt(Mutant::SettledForgotten, &[Integrity, Invariant, Durability], 3, Crossing, 600),
    hunt(Mutant::OwnFirst, &[Progress], 3, Crossing, 600),
    hunt(Mutant::NeverFetches, &[Progress], 3, Drops, 600),
    hunt(Mutant::ReadsAlone, &[Linearizable], 3, Readers, 600),
    hunt(Mutant::ReadsWhatIsSettled, &[Linearizable], 3, Readers, 600),
    hunt(Mutant::DecidesSilently, &[NoTimer], 3, Calm, 100),
    hunt(Mutant::WaitsForTheMoot, &[NoTimer], 5, Calm, 300),
    hunt(Mutant::EarlyForgotten, &[NoTimer], 3, Crowd, 100),
    hunt(Mutant::SnapshotWithoutNumbers, &[Integrity, Invariant, Durability, Recovery], 3, Cuts, 600),
];

/// Bugs that random runs show hardly or never: half of all proposals, say, are too few against two liars of eleven only. Each has a schedule of its own in `crates/benor/tests/mutants.rs`.
pub const BENOR_BY_SCHEDULE: &[Mutant] = &[
    Mutant::FixedCoin,
    Mutant::SharedCoin,
    Mutant::HalfDecides,
    Mutant::AdoptsOnOne,
    Mutant::VotesWithoutOffer,
    Mutant::FirstReportsForgotten,
];

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

impl Hunt<Current> {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(
        &self,
        draw: &mut Stream,
        plan: &mut Plan,
        mutant: Option<Mutant>,
    ) -> Tuning<log::Config> {
        plan.nodes = self.nodes;
        let mut tuning = match self.weather {
            Crossing => crossing(draw, plan),
            Amnesia => amnesia(draw, plan),
            Drops => drops(draw, plan),
            Readers => readers(draw, plan),
            Cuts => cuts(draw, plan),
            Calm => calm(draw, plan),
            Crowd => crowd(draw, plan),
        };
        tuning.config.mutant = mutant;
        tuning
    }
}

fn crossing(draw: &mut Stream, plan: &mut Plan) -> Tuning<log::Config> {
    *plan = Plan { workload: plan.workload.clone(), ..Plan::calm(plan.nodes) };
    plan.faults_for = millis(draw, 300, 800);
    plan.network.delay = Duration::from_micros(draw.between(200, 1_000));
    plan.network.duplicate_ppm = draw.between(MILLION / 10, MILLION / 2);
    plan.network.spike_ppm = draw.between(100_000, 500_000);
    plan.network.spike = millis(draw, 2, 20);
    plan.disk.sync = Duration::from_micros(draw.between(50, 500));
    plan.workload.clients = plan.workload.clients.max(4);
    let config = log::Config {
        retry_ms: draw.between(5, 20),
        common_rounds: draw.pick(&[0, 16]).copied().unwrap_or(0),
        max_instances: draw.between(1, 4),
        max_open_batches: draw.between(1, 4),
        max_batch_entries: 1,
        ..log::Config::default()
    };
    Tuning { config, patience: Duration::from_secs(10) }
}

fn amnesia(draw: &mut Stream, plan: &mut Plan) -> Tuning<log::Config> {
    let tuning = crossing(draw, plan);
    plan.crashes = Some(Rhythm { every: millis(draw, 5, 20), lasts: millis(draw, 1, 3) });
    plan.disk.sync = millis(draw, 1, 6);
    tuning
}

fn drops(draw: &mut Stream, plan: &mut Plan) -> Tuning<log::Config> {
    let tuning = crossing(draw, plan);
    plan.network.loss_ppm = draw.between(50_000, 300_000);
    plan.lost_for_good = plan.nodes / 2;
    plan.deaths = Some(Rhythm { every: millis(draw, 50, 200), lasts: millis(draw, 1, 1) });
    tuning
}

fn readers(draw: &mut Stream, plan: &mut Plan) -> Tuning<log::Config> {
    let tuning = crossing(draw, plan);
    plan.partitions = Some(Rhythm { every: millis(draw, 30, 100), lasts: millis(draw, 20, 150) });
    plan.workload.read_ppm = MILLION * 6 / 10;
    plan.workload.log_read_ppm = 0;
    plan.workload.clients = 8;
    plan.workload.think = Duration::from_millis(2);
    plan.workload.keys = 1;
    tuning
}

fn cuts(draw: &mut Stream, plan: &mut Plan) -> Tuning<log::Config> {
    let mut tuning = amnesia(draw, plan);
    plan.compact_after_bytes = draw.between(50, 500);
    tuning.config.retained_slots = 0;
    tuning
}

fn calm(draw: &mut Stream, plan: &mut Plan) -> Tuning<log::Config> {
    let tuning = subjects::benor_log(draw, plan);
    plan.keep_still(Still::InCalm);
    tuning
}

fn crowd(draw: &mut Stream, plan: &mut Plan) -> Tuning<log::Config> {
    let mut tuning = calm(draw, plan);
    plan.workload.clients = 24;
    (tuning.config.max_open_batches, tuning.config.max_queued_entries) = (1, 64);
    tuning
}

fn spread(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    scatter(draw, plan);
    let config = Config { retry_ms: draw.between(3, 20), ..Config::default() };
    Tuning { config, patience: Duration::from_secs(10) }
}

/// Nodes are divided, and hear of each other at very different times.
pub(super) fn scatter(draw: &mut Stream, plan: &mut Plan) {
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
