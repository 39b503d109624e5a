//! The bugs that can be planted in the log of Multi-Paxos, and the weather in which each shows.
//!
//! Those of single-decree Paxos that the log can have too are hunted in both.

use crate::subjects;
use crate::suite::Tuning;
use consensus_sim::Property::{
    self, Agreement, Durability, Integrity, Invariant, Linearizable, NoFalseAccusation, NoTimer, PrefixOrder,
    Progress, Recovery,
};
use consensus_sim::{Changes, MILLION, Plan, Rhythm, Still, Stream, TimingPlan};
use core::time::Duration;
use multipaxos::{Config, Mutant, Sizes};

type Hunt = super::Hunt<Mutant, Season>;

/// Which faults a hunt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// Everything that the suite has, drawn as for the suite.
    Swarm,
    /// Ballots without end: nobody asks before it leads, leaders crash or are cut off, and much comes late. Values travel one by one.
    Ballots,
    /// As ballots, with nodes that crash for a moment all the time, and disks that take long.
    Amnesia,
    /// As ballots, with as few acceptances as there may be.
    FewAcceptances,
    /// Many readers, and leaders that are cut off again and again while others are elected.
    Deposed,
    /// Many readers at nodes that crash for a moment, and messages that outlive the crash of their receiver.
    Readers,
    /// An operator who has leadership handed over all the time, to nodes of which one is gone.
    HandOvers,
    /// As ballots, with an operator who changes the members all the time.
    Operators,
    /// Much comes twice, and snapshots travel in many small pieces to nodes that were away.
    Repetitions,
    /// No fault at all, and clocks that stop.
    Calm,
    /// As calm, with leases, and many readers, who are told of nothing before they must be.
    CalmReaders,
}

use Season::{
    Amnesia, Ballots, Calm, CalmReaders, Deposed, FewAcceptances, HandOvers, Operators, Readers, Repetitions,
    Swarm,
};

/// Two nodes decided differently, or one forgot what it had decided: whichever shows first.
const UNSAFE: &[Property] = &[Agreement, Durability, PrefixOrder, Linearizable, Integrity];
/// The group stands still, or a part of it is never fed.
const STUCK: &[Property] = &[Progress, Durability];

const fn hunt(mutant: Mutant, by: &'static [Property], nodes: usize, weather: Season, budget: u64) -> Hunt {
    Hunt { mutant, by, nodes, weather, budget }
}

/// Every bug that is hunted in the log. `SealedVotesStay` takes a ballot that is lower than one of the configuration before, and
/// `PromiseOfAnyConfiguration` thousands of seeds: they have schedules of their own in `crates/multipaxos/tests/reconfiguration.rs`.
pub const MULTIPAXOS: &[Hunt] = &[
    hunt(Mutant::LastReportedWins, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::LargestValueWins, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::AcceptanceNotWritten, UNSAFE, 3, Amnesia, 600),
    hunt(Mutant::AcceptanceBeforeDurable, UNSAFE, 3, Amnesia, 600),
    hunt(Mutant::AcceptsBelowPromise, &[Agreement, Recovery, NoFalseAccusation], 3, Ballots, 600),
    hunt(Mutant::AcceptanceKeepsPromise, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::StalePromiseCounted, UNSAFE, 3, Ballots, 2_000),
    hunt(Mutant::DuplicatePromiseCounted, UNSAFE, 5, Ballots, 600),
    hunt(Mutant::RefusalCountsAsPromise, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::BallotsWithoutNode, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::HalfIsAQuorum, UNSAFE, 4, Ballots, 600),
    hunt(Mutant::QuorumsMissEachOther, UNSAFE, 5, FewAcceptances, 600),
    hunt(Mutant::HolesSkipped, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::NoopsOverVotes, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::PromiseCutShort, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::OldAcceptanceCounted, &[Agreement, NoFalseAccusation], 3, Ballots, 600),
    hunt(Mutant::HolesCounted, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::MarkTrustedBlindly, UNSAFE, 3, Ballots, 600),
    hunt(Mutant::CutWithoutSnapshot, STUCK, 3, Swarm, 600),
    hunt(Mutant::RepeatedPieceAnswered, &[Progress], 3, Repetitions, 300),
    hunt(Mutant::NeverResigns, STUCK, 5, Swarm, 2_000),
    hunt(Mutant::TransferNeverGivenUp, STUCK, 3, HandOvers, 600),
    hunt(Mutant::InterruptedAsRefused, &[Integrity, Linearizable], 3, Swarm, 600),
    hunt(Mutant::ReadBeforeRecovery, &[Linearizable], 3, Deposed, 600),
    hunt(Mutant::ReadWithoutQuorum, &[Linearizable], 3, Deposed, 600),
    hunt(Mutant::ReadAnswerOfEarlierBoot, &[Linearizable], 3, Readers, 600),
    hunt(Mutant::ProposedBehindStop, &[Invariant], 3, Operators, 600),
    hunt(Mutant::EnteredWhenAccepted, UNSAFE, 3, Operators, 600),
    hunt(Mutant::OldQuorumCounts, UNSAFE, 3, Operators, 2_000),
    hunt(Mutant::LearntProvesNothingBefore, UNSAFE, 3, Operators, 2_000),
    hunt(Mutant::AcknowledgesWhenAsked, &[NoTimer], 3, Calm, 100),
    hunt(Mutant::ReadAheadOfMark, &[NoTimer], 3, CalmReaders, 300),
];

/// Bugs that random delays hide. Each has a schedule of its own in
/// `crates/multipaxos/tests/mutants.rs`.
pub const MULTIPAXOS_BY_SCHEDULE: &[Mutant] = &[
    Mutant::FixedTimeouts,
    Mutant::VetoIgnored,
    Mutant::ReadProbeReused,
    Mutant::NoopsBeyondLast,
    Mutant::PromiseBeforeDurable,
    Mutant::PromiseNotWritten,
    Mutant::BallotReused,
    Mutant::PromiseTellsPromised,
    Mutant::PromiseOfAnyConfiguration,
    Mutant::SealedVotesStay,
];

impl Hunt {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(&self, draw: &mut Stream, plan: &mut Plan, mutant: Option<Mutant>) -> Tuning<Config> {
        plan.nodes = self.nodes;
        plan.changes = None;
        let mut tuning = match self.weather {
            Swarm => subjects::multipaxos(draw, plan),
            Ballots => ballots(draw, plan),
            Amnesia => amnesia(draw, plan),
            FewAcceptances => few_acceptances(draw, plan),
            Deposed => deposed(draw, plan),
            Readers => readers(draw, plan),
            HandOvers => hand_overs(draw, plan),
            Operators => operators(draw, plan),
            Repetitions => repetitions(draw, plan),
            Calm => calm(draw, plan),
            CalmReaders => calm_readers(draw, plan),
        };
        tuning.config.mutant = mutant;
        tuning
    }
}

fn calm(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = subjects::multipaxos(draw, plan);
    plan.keep_still(Still::InCalm);
    tuning
}

fn calm_readers(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let mut tuning = calm(draw, plan);
    (plan.workload.clients, plan.workload.read_ppm) = (12, MILLION * 3 / 4);
    plan.workload.log_read_ppm = 0;
    (tuning.config.eager_commit, tuning.config.lease_drift_ppm) = (false, Some(1_000));
    tuning
}

fn ballots(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let drawn = core::mem::replace(plan, Plan::calm(plan.nodes));
    plan.workload = drawn.workload;
    plan.faults_for = Duration::from_secs(3);
    plan.timing = TimingPlan::Asynchronous;
    plan.network.delay = Duration::from_micros(draw.between(300, 2_000));
    plan.network.loss_ppm = draw.between(20_000, 250_000);
    plan.network.duplicate_ppm = draw.between(0, 300_000);
    plan.network.spike_ppm = draw.between(50_000, 400_000);
    plan.network.spike = millis(draw, 5, 80);
    plan.partitions = Some(Rhythm { every: millis(draw, 20, 150), lasts: millis(draw, 10, 100) });
    plan.crashes = Some(Rhythm { every: millis(draw, 50, 300), lasts: millis(draw, 5, 100) });
    plan.at_leaders_ppm = MILLION * 3 / 4;
    plan.disk.sync = Duration::from_micros(draw.between(100, 1_500));
    plan.workload.clients = 6;
    plan.workload.ballast_bytes = 0;
    plan.workload.think = Duration::from_millis(3);
    let config = Config {
        heartbeat_interval_ms: 8,
        election_timeout_ms: draw.between(20, 60),
        // Asking first keeps ballots apart, and hides most mistakes in them.
        ask_first: false,
        max_accept_values: draw.pick(&[1, 1, 4]).copied().unwrap_or(1),
        ..Config::default()
    };
    Tuning { config, patience: Duration::from_secs(10) }
}

fn amnesia(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = ballots(draw, plan);
    plan.crashes = Some(Rhythm { every: millis(draw, 5, 40), lasts: millis(draw, 1, 6) });
    plan.disk.sync = millis(draw, 1, 8);
    tuning
}

fn few_acceptances(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let mut tuning = ballots(draw, plan);
    tuning.config.quorums = Some(Sizes { promises: plan.nodes - 1, acceptances: 2 });
    tuning
}

fn deposed(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let tuning = ballots(draw, plan);
    plan.crashes = None;
    plan.partitions = Some(Rhythm { every: millis(draw, 100, 300), lasts: millis(draw, 50, 200) });
    plan.at_leaders_ppm = MILLION * 9 / 10;
    read_much(plan);
    tuning
}

fn readers(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let mut tuning = ballots(draw, plan);
    plan.network.spike_ppm = draw.between(100_000, 300_000);
    plan.network.spike = millis(draw, 10, 60);
    plan.crashes = Some(Rhythm { every: millis(draw, 20, 60), lasts: millis(draw, 1, 4) });
    plan.partitions = None;
    plan.at_leaders_ppm = 0;
    read_much(plan);
    tuning.config.ask_first = true;
    tuning.config.max_accept_values = 64;
    tuning
}

fn hand_overs(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let mut tuning = ballots(draw, plan);
    plan.network.loss_ppm = draw.between(0, 50_000);
    plan.crashes = Some(Rhythm { every: millis(draw, 200, 800), lasts: millis(draw, 20, 300) });
    plan.partitions = None;
    plan.transfers = Some(Rhythm { every: millis(draw, 10, 60), lasts: millis(draw, 1, 1) });
    plan.lost_for_good = 1;
    tuning.config.ask_first = true;
    tuning
}

fn operators(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let mut tuning = ballots(draw, plan);
    plan.changes = Some(Changes { spares: 3, every: millis(draw, 10, 80) });
    plan.crashes = Some(Rhythm { every: millis(draw, 10, 100), lasts: millis(draw, 1, 60) });
    tuning.config.ask_first = draw.below(2) == 0;
    tuning
}

fn repetitions(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let mut tuning = ballots(draw, plan);
    plan.network.loss_ppm = 0;
    plan.network.duplicate_ppm = draw.between(100_000, 300_000);
    plan.crashes = Some(Rhythm { every: millis(draw, 100, 300), lasts: millis(draw, 50, 200) });
    plan.compact_after_bytes = draw.between(500, 2_000);
    plan.workload.ballast_bytes = 2_000;
    tuning.config.ask_first = true;
    tuning.config.retained_values = 0;
    tuning.config.snapshot_piece_bytes = 50;
    tuning
}

fn read_much(plan: &mut Plan) {
    plan.workload.clients = 8;
    plan.workload.keys = 1;
    plan.workload.read_ppm = MILLION * 6 / 10;
    plan.workload.log_read_ppm = 0;
    plan.workload.think = Duration::from_millis(2);
}

fn millis(draw: &mut Stream, low: u64, high: u64) -> Duration {
    Duration::from_millis(draw.between(low, high))
}
