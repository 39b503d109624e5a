//! The bugs that can be planted in PBFT, and the weather in which each shows.

use crate::subjects;
use crate::suite::Tuning;
use ::pbft::{Config, Keyring, Mutant, Vouching};
use consensus_core::{NodeId, quorum};
use consensus_sim::Property::{
    self, Agreement, Durability, ExactlyOnce, Integrity, Invariant, Linearizable, NoFalseAccusation,
    PrefixOrder, Progress, Recovery, StateEqual,
};
use consensus_sim::{
    ByzantinePlan, EffectFilter, FrameAttacks, MILLION, Mutator, Plan, Rhythm, Scenario, Severs, Stream,
    TimingPlan, Traitor,
};
use core::time::Duration;

type Hunt = super::Hunt<Mutant, Front>;

/// Which faults a hunt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// As many Byzantine replicas as are tolerated, two of each, who talk with different parts of the others; views change all the time.
    Twins,
    /// As many Byzantine replicas as are tolerated, who change what they say and sign it; views change all the time.
    Liars,
    /// As liars, among replicas that crash and lag behind, so that states are taken over.
    Laggards,
    /// Nobody lies, and views change all the time: primaries are cut off or crash, and much comes late.
    Unrest,
    /// As unrest, with replicas that crash for a moment all the time, and disks that take long.
    Amnesia,
    /// Some say nothing, and much is lost: it takes patience to agree on a view.
    Silence,
    /// As silence, with timeouts that are shorter than a view change takes.
    Haste,
}

use Front::{Amnesia, Haste, Laggards, Liars, Silence, Twins, Unrest};

/// Replicas disagree about what is executed, or forget it: whichever shows first.
const UNSAFE: &[Property] =
    &[Agreement, Durability, PrefixOrder, Linearizable, Integrity, StateEqual, ExactlyOnce];
/// Or somebody looks like a liar who is none.
const SUSPECT: &[Property] = &[
    Agreement,
    Durability,
    PrefixOrder,
    Linearizable,
    Integrity,
    StateEqual,
    ExactlyOnce,
    NoFalseAccusation,
];
/// The group stands still, or a part of it is never fed.
const STUCK: &[Property] = &[Progress, Durability];

const fn hunt(mutant: Mutant, by: &'static [Property], nodes: usize, weather: Front, budget: u64) -> Hunt {
    Hunt { mutant, by, nodes, weather, budget }
}

/// Every bug that is hunted in PBFT.
pub const PBFT: &[Hunt] = &[
    hunt(Mutant::QuorumTwoF, UNSAFE, 4, Twins, 600),
    hunt(Mutant::QuorumTwoFPlusOne, UNSAFE, 6, Twins, 600),
    hunt(Mutant::SecondProposalTaken, SUSPECT, 4, Liars, 600),
    hunt(Mutant::DigestIgnored, SUSPECT, 4, Liars, 600),
    hunt(Mutant::PrimaryCounted, UNSAFE, 4, Twins, 600),
    hunt(Mutant::RepeatsCounted, SUSPECT, 4, Twins, 600),
    hunt(Mutant::SignaturesUnchecked, SUSPECT, 4, Liars, 600),
    hunt(Mutant::BodyUnchecked, SUSPECT, 4, Liars, 600),
    hunt(Mutant::CommitUnprepared, UNSAFE, 4, Twins, 600),
    hunt(Mutant::PreparedNotTold, UNSAFE, 4, Unrest, 600),
    hunt(Mutant::PreparedForgotten, UNSAFE, 4, Unrest, 600),
    hunt(Mutant::NullForPrepared, UNSAFE, 4, Unrest, 600),
    hunt(Mutant::NoNull, STUCK, 4, Unrest, 600),
    hunt(Mutant::OldViewHeard, SUSPECT, 4, Unrest, 600),
    hunt(Mutant::ViewMovesBack, &[Invariant, Recovery, Agreement, NoFalseAccusation], 4, Unrest, 600),
    hunt(Mutant::NeverJoins, STUCK, 4, Silence, 600),
    hunt(Mutant::TimeoutNotDoubled, STUCK, 4, Haste, 300),
    hunt(Mutant::TimerAtOnce, STUCK, 4, Silence, 600),
    hunt(Mutant::ViewChangeSaidOnce, STUCK, 4, Silence, 600),
    hunt(Mutant::WatermarksIgnored, &[Invariant, Progress, NoFalseAccusation], 4, Liars, 600),
    hunt(Mutant::RepliesNotDigested, SUSPECT, 4, Laggards, 600),
    hunt(Mutant::StateUnchecked, SUSPECT, 4, Laggards, 600),
    hunt(Mutant::HistoryUnchecked, SUSPECT, 4, Laggards, 600),
    hunt(Mutant::StableNotWritten, &[Recovery, Durability, Progress], 4, Amnesia, 600),
    hunt(Mutant::ProposalNotWritten, SUSPECT, 4, Amnesia, 600),
    hunt(Mutant::CertificateNotWritten, SUSPECT, 4, Amnesia, 600),
    hunt(Mutant::ViewChangeNotWritten, SUSPECT, 4, Amnesia, 600),
    hunt(Mutant::AskUnchecked, UNSAFE, 4, Liars, 600),
];

/// Bugs that random runs hide. Each has a schedule of its own in `crates/pbft/tests/mutants.rs`.
pub const PBFT_BY_SCHEDULE: &[Mutant] = &[
    Mutant::ViewNotSigned,
    Mutant::LowestViewWins,
    Mutant::CertificatesUnchecked,
    Mutant::ProposalsNotRecomputed,
    Mutant::StableAtWeak,
    Mutant::NamesUnchecked,
    Mutant::SkippedCounted,
    Mutant::RepeatsWhatIsOver,
    Mutant::OutrunsBackups,
    Mutant::NumberNotAsked,
    Mutant::ShareIgnored,
];

impl Hunt {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(&self, draw: &mut Stream, plan: &mut Plan, mutant: Option<Mutant>) -> Tuning<Config> {
        plan.nodes = self.nodes;
        let mut tuning = match self.weather {
            Twins => twins(draw, plan),
            Liars => liars(draw, plan),
            Laggards => laggards(draw, plan),
            Unrest => unrest(draw, plan),
            Amnesia => amnesia(draw, plan),
            Silence => silence(draw, plan),
            Haste => haste(draw, plan),
        };
        tuning.config.mutant = mutant;
        tuning
    }
}

/// Views last as long as a few rounds.
fn unrest(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let drawn = core::mem::replace(plan, Plan::calm(plan.nodes));
    plan.workload = drawn.workload;
    plan.workload.session_ppm = MILLION;
    plan.workload.clients = 4;
    plan.workload.ballast_bytes = 0;
    plan.workload.think = Duration::from_millis(3);
    plan.faults_for = Duration::from_secs(2);
    plan.timing = TimingPlan::Asynchronous;
    plan.network.delay = Duration::from_micros(draw.between(300, 1_500));
    plan.network.loss_ppm = draw.between(0, 100_000);
    plan.network.duplicate_ppm = draw.between(0, 200_000);
    plan.network.spike_ppm = draw.between(50_000, 400_000);
    plan.network.spike = millis(draw, 3, 60);
    plan.partitions = Some(Rhythm { every: millis(draw, 20, 150), lasts: millis(draw, 10, 100) });
    plan.at_leaders_ppm = MILLION * 3 / 4;
    plan.byzantine = None;
    let mut tuning = subjects::pbft(draw, plan);
    plan.byzantine =
        Some(ByzantinePlan { mutator: Some(Mutator::of::<subjects::Lies>()), ..ByzantinePlan::default() });
    let config = &mut tuning.config;
    (config.resend_interval_ms, config.view_timeout_ms) = (draw.between(5, 12), draw.between(15, 40));
    config.max_view_timeout_ms = 400;
    config.max_in_flight_batches = 16;
    config.max_batch_requests = draw.pick(&[1, 1, 8]).copied().unwrap_or(1);
    tuning.patience = Duration::from_secs(10);
    tuning
}

/// As many liars as are tolerated, the first primary among them as often as not.
fn traitors(draw: &mut Stream, plan: &mut Plan, traitor: impl Fn(NodeId, &mut Stream) -> Traitor) {
    let mut order: Vec<u64> = (1..=plan.nodes as u64).collect();
    draw.shuffle(&mut order);
    let chosen = order.into_iter().take(quorum::byzantine_faults(plan.nodes)).map(NodeId);
    let traitors: Vec<Traitor> = chosen.map(|node| traitor(node, draw)).collect();
    if let Some(byzantine) = &mut plan.byzantine {
        byzantine.traitors = traitors;
    }
}

fn twins(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = unrest(draw, plan);
    plan.partitions = None;
    plan.network.loss_ppm = 0;
    traitors(draw, plan, |node, _| Traitor::twins(node, 2));
    let hosts = plan.hosts();
    let mut scenario = Scenario::draw(hosts, draw);
    scenario.round = millis(draw, 10, 120);
    scenario.severs = Severs::Everyone;
    if let Some(byzantine) = &mut plan.byzantine {
        byzantine.scenario = Some(scenario);
    }
    tuning
}

fn liars(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = unrest(draw, plan);
    traitors(draw, plan, |node, draw| {
        let mutate_ppm = draw.between(MILLION / 10, MILLION / 2);
        let frames = FrameAttacks {
            mutate_ppm,
            replay_ppm: MILLION / 10,
            relay_ppm: MILLION / 10,
            ..FrameAttacks::default()
        };
        Traitor { frames: Some(frames), ..Traitor::new(node) }
    });
    tuning
}

fn laggards(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let mut tuning = liars(draw, plan);
    plan.crashes = Some(Rhythm { every: millis(draw, 50, 200), lasts: millis(draw, 50, 400) });
    tuning.config.checkpoint_interval = 2;
    tuning.config.window = 4;
    tuning.config.chunk_bytes = draw.pick(&[40, 4_096]).copied().unwrap_or(40);
    tuning.config.snapshot_after_bytes = draw.pick(&[0, 500]).copied().unwrap_or(0);
    tuning
}

fn amnesia(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = unrest(draw, plan);
    plan.crashes = Some(Rhythm { every: millis(draw, 5, 40), lasts: millis(draw, 1, 6) });
    plan.disk.sync = millis(draw, 1, 6);
    tuning
}

fn silence(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = unrest(draw, plan);
    plan.network.delay = millis(draw, 2, 12);
    plan.network.loss_ppm = draw.between(100_000, 300_000);
    traitors(draw, plan, |node, _| {
        let filter = EffectFilter { send_omission_ppm: MILLION, ..EffectFilter::default() };
        Traitor { effects: Some(filter), ..Traitor::new(node) }
    });
    tuning
}

fn haste(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let mut tuning = silence(draw, plan);
    plan.network.delay = millis(draw, 8, 12);
    plan.network.loss_ppm = 0;
    (tuning.config.resend_interval_ms, tuning.config.view_timeout_ms) = (10, 11);
    // Where one voucher is enough, views of a few rounds may do.
    (tuning.config.vouching, tuning.config.clients) = (Vouching::Quorum, Keyring::default());
    plan.workload.seal = None;
    tuning
}

fn millis(draw: &mut Stream, low: u64, high: u64) -> Duration {
    Duration::from_millis(draw.between(low, high))
}
