//! The bugs that can be planted in Raft, and the weather in which each shows.
//!
//! How a bug is caught is part of its declaration: a seed on which another property fails does not count. A group of
//! three is the smallest that survives a crash; a bug that shows only in a larger one is hunted there.

use crate::leases;
use crate::subjects;
use crate::suite::Tuning;
use consensus_sim::Property::{
    self, Agreement, Durability, Integrity, Invariant, Linearizable, Monotonic, NoFalseAccusation, NoTimer,
    OneLeader, PrefixOrder, Progress, Recovery,
};
use consensus_sim::{Changes, MILLION, Plan, Rhythm, Still, Stream, TimingPlan};
use core::time::Duration;
use raft::Mutant;

type Hunt = super::Hunt<Mutant, Weather>;

/// Which faults a hunt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything that the suite has, drawn as for the suite.
    Swarm,
    /// Elections without end: leaders crash or are cut off as soon as they lead, and are back at once. Entries travel one
    /// by one, so that a crash finds them in every state.
    Elections,
    /// Nodes forget what they had not synced, in the midst of votes: short crashes of anybody, without pre-votes.
    Amnesia,
    /// Many readers at nodes that crash for a moment, and messages that outlive the crash of their receiver.
    Readers,
    /// As amnesia, with disks that take long to sync: a crash finds much that was said and not written.
    SlowDisks,
    /// Many readers, and leaders that are cut off again and again while others are elected.
    Deposed,
    /// As amnesia, with an operator who has leadership handed over all the time, and calls that come late.
    HandOvers,
    /// As elections, with an operator who changes the members all the time.
    Operators,
    /// As elections, with two replicas and a witness.
    Witnesses,
    /// Replicas and witnesses come and go all the time, and whoever has gone is switched off in the end.
    Departures,
    /// An operator who has leadership handed over all the time, calls that come long after they were given up, and writes
    /// without end.
    LateCalls,
    /// An operator who changes the members all the time, and leaders that are cut off in the midst of it.
    Rivals,
    /// Links that break for a moment, and much that comes late, with pre-votes: elections begin and are overtaken by the
    /// leader's return.
    Flicker,
    /// Much comes twice, and late the second time; entries travel one by one, many at once, and leaders crash.
    Echoes,
    /// Leaders that are cut off, and not from their clients, while clocks drift as far as was declared.
    Drift,
    /// Leaders that are cut off, clocks that keep pace, and much that comes late.
    LateEchoes,
    /// As late echoes, with an operator who has leadership handed over all the time.
    Heirs,
    /// Leaders that are cut off, and followers that restart in a moment.
    Restarts,
    /// Leaders that are cut off, and followers that suspect them all the time.
    Doubts,
    /// No fault at all, and clocks that stop.
    Calm,
    /// As calm, with leases, and many readers, who are told of nothing before they must be.
    CalmReaders,
}

use Weather::{
    Amnesia, Calm, CalmReaders, Departures, Deposed, Doubts, Drift, Echoes, Elections, Flicker, HandOvers,
    Heirs, LateCalls, LateEchoes, Operators, Readers, Restarts, Rivals, SlowDisks, Swarm, Witnesses,
};

/// Two nodes decided differently, or one forgot what it had decided: whichever shows first.
const UNSAFE: &[Property] = &[Agreement, Durability, PrefixOrder, OneLeader, Linearizable, Integrity];
/// The group stands still, or a part of it is never fed.
const STUCK: &[Property] = &[Progress, Durability];

const fn hunt(mutant: Mutant, by: &'static [Property], nodes: usize, weather: Weather, budget: u64) -> Hunt {
    Hunt { mutant, by, nodes, weather, budget }
}

/// Every bug that can be planted in Raft, with its budget in seeds: several times what it took when this was written.
pub const RAFT: &[Hunt] = &[
    hunt(Mutant::VoteNotPersisted, &[OneLeader], 3, Amnesia, 300),
    hunt(Mutant::VoteBeforeDurable, &[OneLeader], 3, SlowDisks, 600),
    hunt(Mutant::TermNotPersisted, &[Recovery], 3, Swarm, 300),
    hunt(Mutant::VoteTwice, &[OneLeader], 3, Amnesia, 300),
    hunt(Mutant::LeaderVotesForOthers, &[OneLeader], 3, Amnesia, 300),
    hunt(Mutant::HeartbeatClearsVote, &[OneLeader], 3, Amnesia, 300),
    hunt(Mutant::StaleVoteCounted, &[OneLeader], 3, Amnesia, 600),
    hunt(Mutant::DuplicateVoteCounted, &[OneLeader], 4, Amnesia, 300),
    hunt(Mutant::RefusalCountsAsVote, &[OneLeader], 3, Amnesia, 300),
    hunt(Mutant::VoteWithoutLogCheck, UNSAFE, 3, Elections, 300),
    hunt(Mutant::VoteComparesLength, UNSAFE, 3, Elections, 300),
    hunt(Mutant::CommitOldTermByCounting, UNSAFE, 3, Elections, 600),
    hunt(Mutant::CommitUnverified, &[Invariant], 3, Swarm, 300),
    hunt(Mutant::CommitRegresses, &[Monotonic], 3, Swarm, 300),
    hunt(Mutant::CountReplies, UNSAFE, 3, Swarm, 300),
    hunt(Mutant::RefusalCountsAsMatch, UNSAFE, 3, Elections, 300),
    hunt(Mutant::StaleAckCounted, &[NoFalseAccusation], 3, Elections, 300),
    hunt(Mutant::MatchRegresses, &[Invariant], 3, Swarm, 300),
    hunt(Mutant::NextNotAboveMatch, &[Invariant], 3, Swarm, 300),
    hunt(Mutant::AckBeforeDurable, UNSAFE, 3, Swarm, 300),
    hunt(Mutant::LeaderCountsUnwritten, UNSAFE, 3, SlowDisks, 600),
    hunt(Mutant::DenialProvenAtOnce, &[NoFalseAccusation], 3, Swarm, 300),
    hunt(Mutant::AckWholeLog, &[Invariant, NoFalseAccusation], 3, Swarm, 300),
    hunt(Mutant::TruncateWithoutConflict, UNSAFE, 3, Echoes, 300),
    hunt(Mutant::ConflictKept, UNSAFE, 3, Elections, 300),
    hunt(Mutant::StaleAppendTaken, &[Agreement, NoFalseAccusation], 3, Elections, 300),
    hunt(Mutant::RefusalNamesWrongSlot, STUCK, 3, Swarm, 300),
    hunt(Mutant::HeartbeatUnchecked, UNSAFE, 3, Elections, 300),
    hunt(Mutant::HeartbeatBehindNothing, STUCK, 3, Swarm, 300),
    hunt(Mutant::LeaderIgnoresHigherTerm, STUCK, 3, Flicker, 300),
    hunt(Mutant::NoNoop, STUCK, 3, Swarm, 300),
    hunt(Mutant::NoCheckQuorum, &[Progress], 3, Swarm, 2_000),
    hunt(Mutant::InterruptedAsRefused, &[Integrity, Linearizable], 3, Swarm, 300),
    hunt(Mutant::ReadBeforeOwnCommit, &[Linearizable], 3, Swarm, 300),
    hunt(Mutant::ReadWithoutQuorum, &[Linearizable], 3, Deposed, 300),
    hunt(Mutant::ReadAnswerOfEarlierBoot, &[Linearizable], 3, Readers, 600),
    hunt(Mutant::LeaseIgnoresDrift, &[Linearizable], 3, Drift, 300),
    hunt(Mutant::LeaseFromArrival, &[Linearizable], 3, LateEchoes, 1_500),
    hunt(Mutant::LeaseFromOneEcho, &[Linearizable], 5, LateEchoes, 1_500),
    hunt(Mutant::LeaseOutlivesCall, &[Linearizable], 3, Heirs, 300),
    hunt(Mutant::PromiseForgottenInCrash, &[Linearizable], 3, Restarts, 300),
    hunt(Mutant::SuspicionBreaksPromise, &[Linearizable], 3, Doubts, 300),
    hunt(Mutant::SnapshotLowersTerm, &[Monotonic], 3, Swarm, 300),
    hunt(Mutant::SnapshotCutsMatchingLog, &[Invariant], 3, Swarm, 600),
    hunt(Mutant::TransferNeverGivenUp, STUCK, 3, HandOvers, 300),
    hunt(Mutant::CalledVoteUnchecked, UNSAFE, 3, LateCalls, 600),
    hunt(Mutant::ChangeBeforeOwnCommit, UNSAFE, 4, Rivals, 600),
    hunt(Mutant::JointNeedsNewOnly, UNSAFE, 3, Operators, 2_000),
    hunt(Mutant::MembersWhenCommitted, UNSAFE, 3, Operators, 2_000),
    hunt(Mutant::CutMembersKept, UNSAFE, 4, Rivals, 600),
    hunt(Mutant::RemovedLeaderCounts, UNSAFE, 3, Operators, 2_000),
    hunt(Mutant::LearnerCounts, UNSAFE, 3, Operators, 2_000),
    hunt(Mutant::SnapshotKeepsOldMembers, UNSAFE, 3, Operators, 2_000),
    hunt(Mutant::WitnessLeads, UNSAFE, 3, Witnesses, 600),
    hunt(Mutant::JointForgetsWitnesses, STUCK, 4, Departures, 600),
    hunt(Mutant::WitnessReads, &[Linearizable], 4, Departures, 600),
    hunt(Mutant::ReadsAwaitHeartbeat, &[NoTimer], 3, Calm, 100),
    hunt(Mutant::ReadAheadOfCommit, &[NoTimer], 3, CalmReaders, 300),
];

/// Bugs that random delays hide, that need a disk to be lost or nodes that are configured differently, or that the next client would
/// repair. Each has a schedule of its own in `crates/raft/tests/mutants.rs`.
pub const RAFT_BY_SCHEDULE: &[Mutant] = &[
    Mutant::FixedTimeouts,
    Mutant::EarlierStayCounted,
    Mutant::SnapshotWithoutMembers,
    Mutant::WitnessAhead,
    Mutant::PromiseEndsWithTerm,
    Mutant::ReadProbeReused,
    Mutant::RestWithoutTheSilent,
    Mutant::SuspicionSleptThrough,
    Mutant::WitnessGroupFedEarly,
    Mutant::SnapshotUnchecked,
    Mutant::SnapshotInOneBurst,
    Mutant::CalledBeforeThePending,
    Mutant::FarTermBelieved,
    Mutant::StrangersCompact,
    Mutant::WitnessTrustsRemoved,
];

impl Hunt {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(
        &self,
        draw: &mut Stream,
        plan: &mut Plan,
        mutant: Option<Mutant>,
    ) -> Tuning<raft::Config> {
        plan.nodes = self.nodes;
        plan.changes = None;
        let mut tuning = match self.weather {
            Swarm => subjects::raft(draw, plan),
            Elections => elections(draw, plan),
            Amnesia => amnesia(draw, plan),
            Readers => readers(draw, plan),
            SlowDisks => slow_disks(draw, plan),
            Deposed => deposed(draw, plan),
            HandOvers => hand_overs(draw, plan),
            Operators => operators(draw, plan),
            Witnesses => witnesses(draw, plan),
            Departures => departures(draw, plan),
            LateCalls => late_calls(draw, plan),
            Rivals => rivals(draw, plan),
            Flicker => flicker(draw, plan),
            Echoes => echoes(draw, plan),
            Drift => leases::cut_off_leaders(draw, plan, leases::DRIFT_PPM),
            LateEchoes => leases::late_echoes(draw, plan),
            Heirs => leases::heirs(draw, plan),
            Restarts => leases::restarts(draw, plan),
            Doubts => leases::doubts(draw, plan),
            Calm => calm(draw, plan),
            CalmReaders => calm_readers(draw, plan),
        };
        if !matches!(self.weather, Witnesses | Departures) {
            plan.witnesses = 0;
        }
        tuning.config.mutant = mutant;
        tuning
    }
}

fn calm(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = subjects::raft(draw, plan);
    plan.keep_still(Still::InCalm);
    tuning
}

fn calm_readers(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = calm(draw, plan);
    (plan.workload.clients, plan.workload.read_ppm) = (12, MILLION * 3 / 4);
    plan.workload.log_read_ppm = 0;
    (tuning.config.eager_commit, tuning.config.lease_drift_ppm) = (false, Some(1_000));
    tuning
}

fn elections(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = amnesia(draw, plan);
    plan.crashes = Some(Rhythm { every: millis(draw, 30, 120), lasts: millis(draw, 10, 120) });
    plan.partitions = Some(Rhythm { every: millis(draw, 40, 150), lasts: millis(draw, 20, 100) });
    plan.at_leaders_ppm = MILLION * 9 / 10;
    tuning
}

fn readers(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = amnesia(draw, plan);
    plan.network.spike_ppm = draw.between(100_000, 300_000);
    plan.network.spike = millis(draw, 10, 60);
    plan.crashes = Some(Rhythm { every: millis(draw, 20, 60), lasts: millis(draw, 1, 4) });
    plan.partitions = None;
    plan.at_leaders_ppm = 0;
    read_much(plan);
    tuning.config.stable_leadership = true;
    tuning.config.max_append_entries = 64;
    tuning.config.max_in_flight_appends = 16;
    tuning
}

fn deposed(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = amnesia(draw, plan);
    plan.crashes = None;
    plan.partitions = Some(Rhythm { every: millis(draw, 100, 300), lasts: millis(draw, 50, 200) });
    plan.at_leaders_ppm = MILLION * 9 / 10;
    read_much(plan);
    tuning
}

fn flicker(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = amnesia(draw, plan);
    plan.network.spike_ppm = draw.between(100_000, 300_000);
    plan.crashes = None;
    plan.partitions = Some(Rhythm { every: millis(draw, 60, 150), lasts: millis(draw, 30, 100) });
    plan.at_leaders_ppm = MILLION / 2;
    tuning.config.stable_leadership = true;
    tuning
}

fn hand_overs(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = amnesia(draw, plan);
    plan.network.spike_ppm = draw.between(100_000, 300_000);
    plan.network.spike = millis(draw, 50, 250);
    plan.crashes = Some(Rhythm { every: millis(draw, 200, 800), lasts: millis(draw, 20, 300) });
    plan.transfers = Some(Rhythm { every: millis(draw, 10, 60), lasts: millis(draw, 1, 1) });
    plan.at_leaders_ppm = MILLION * 9 / 10;
    plan.lost_for_good = 1;
    tuning.config.stable_leadership = true;
    tuning
}

fn operators(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = elections(draw, plan);
    plan.changes = Some(Changes { spares: 2, every: millis(draw, 10, 60) });
    plan.compact_after_bytes = draw.between(200, 4_000);
    tuning.config.retained_entries = 3;
    tuning.config.promotion_lag_entries = 1_000;
    tuning
}

fn witnesses(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = elections(draw, plan);
    plan.witnesses = 1;
    tuning
}

fn departures(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = operators(draw, plan);
    plan.witnesses = 2;
    plan.lost_for_good = 3;
    plan.crashes = Some(Rhythm { every: millis(draw, 100, 400), lasts: millis(draw, 50, 400) });
    plan.partitions = Some(Rhythm { every: millis(draw, 100, 400), lasts: millis(draw, 50, 400) });
    plan.workload.read_ppm = MILLION / 2;
    plan.workload.log_read_ppm = 0;
    tuning.config.stable_leadership = true;
    tuning
}

/// A call that comes late finds its successor behind: the hand-over was given up in the meantime, and the same leader went on.
/// Neither crashes nor cuts depose it; writes never cease, and each lost or late message leaves somebody behind.
fn late_calls(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = amnesia(draw, plan);
    plan.faults_for = Duration::from_secs(3);
    plan.network.delay = Duration::from_micros(draw.between(300, 1_500));
    plan.network.spike_ppm = draw.between(200_000, 400_000);
    plan.network.spike = millis(draw, 80, 200);
    plan.crashes = None;
    plan.partitions = None;
    plan.transfers = Some(Rhythm { every: millis(draw, 10, 25), lasts: millis(draw, 1, 1) });
    plan.at_leaders_ppm = MILLION * 9 / 10;
    plan.workload.clients = 8;
    plan.workload.read_ppm = 0;
    tuning.config.stable_leadership = true;
    tuning.config.election_timeout_ms = draw.between(30, 40);
    tuning
}

/// Leaders in turn that each begin a change and are cut off before anybody has it. In a group of four two such changes have
/// quorums without a common node. Logs are caught up with at once, so that a leader comes to its next change before its next cut.
fn rivals(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = amnesia(draw, plan);
    plan.network.delay = Duration::from_micros(draw.between(300, 1_000));
    plan.crashes = None;
    plan.partitions = Some(Rhythm { every: millis(draw, 40, 100), lasts: millis(draw, 20, 100) });
    plan.at_leaders_ppm = MILLION * 9 / 10;
    plan.changes = Some(Changes { spares: 2, every: millis(draw, 3, 12) });
    plan.compact_after_bytes = 4_000;
    plan.disk.sync = Duration::from_micros(draw.between(200, 500));
    tuning.config.retained_entries = 3;
    tuning.config.promotion_lag_entries = 1_000;
    tuning.config.election_timeout_ms = draw.between(30, 40);
    tuning.config.max_append_entries = 64;
    tuning
}

fn read_much(plan: &mut Plan) {
    plan.workload.clients = 8;
    plan.workload.keys = 1;
    plan.workload.read_ppm = MILLION * 6 / 10;
    plan.workload.log_read_ppm = 0;
    plan.workload.think = Duration::from_millis(2);
}

fn slow_disks(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = amnesia(draw, plan);
    plan.disk.sync = millis(draw, 3, 12);
    plan.disk.slow_ppm = draw.between(100_000, 400_000);
    plan.disk.slow = millis(draw, 20, 100);
    tuning
}

fn echoes(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let mut tuning = amnesia(draw, plan);
    plan.network.delay = Duration::from_micros(draw.between(300, 1_000));
    // More is lost than repeated: with the bug a refusal is answered by what is refused again, and each repetition would
    // begin another such exchange.
    plan.network.loss_ppm = draw.between(150_000, 250_000);
    plan.network.duplicate_ppm = draw.between(100_000, 150_000);
    plan.network.spike_ppm = draw.between(50_000, 200_000);
    plan.network.spike = millis(draw, 3, 15);
    plan.crashes = Some(Rhythm { every: millis(draw, 150, 400), lasts: millis(draw, 150, 300) });
    plan.partitions = None;
    plan.at_leaders_ppm = MILLION * 9 / 10;
    plan.workload.clients = 8;
    plan.workload.read_ppm = 0;
    plan.workload.think = millis(draw, 5, 40);
    tuning.config.eager_commit = false;
    tuning.config.heartbeat_interval_ms = Some(25);
    tuning.config.election_timeout_ms = 80;
    tuning.config.max_in_flight_appends = 4;
    tuning
}

/// What every weather but the swarm begins with: of what was drawn for the seed only loss, repetition, and what clients do.
/// What the hunt does not send cannot hide the bug, and a class of faults that is new to the swarm leaves the hunts as they are.
fn clear_sky(plan: &mut Plan) {
    let drawn = core::mem::replace(plan, Plan::calm(plan.nodes));
    plan.network.loss_ppm = drawn.network.loss_ppm;
    plan.network.duplicate_ppm = drawn.network.duplicate_ppm;
    plan.workload = drawn.workload;
}

fn amnesia(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    clear_sky(plan);
    plan.faults_for = Duration::from_secs(4);
    // A bound that was drawn for other delays would mean nothing here.
    plan.timing = TimingPlan::Asynchronous;
    plan.left_out.clear();
    plan.network.delay = Duration::from_micros(draw.between(500, 4_000));
    plan.network.spike_ppm = draw.between(10_000, 100_000);
    plan.network.spike = millis(draw, 20, 100);
    plan.partitions = Some(Rhythm { every: millis(draw, 80, 300), lasts: millis(draw, 20, 150) });
    plan.crashes = Some(Rhythm { every: millis(draw, 10, 60), lasts: millis(draw, 1, 8) });
    plan.at_leaders_ppm = draw.below(MILLION / 2);
    plan.disk.sync = Duration::from_micros(draw.between(200, 2_000));
    plan.workload.clients = 4;
    plan.workload.ballast_bytes = 0;
    plan.workload.think = Duration::from_millis(5);
    let config = raft::Config {
        heartbeat_interval_ms: Some(10),
        election_timeout_ms: draw.between(30, 80),
        // Pre-votes and the refusal of votes while a leader is heard hide most mistakes in voting.
        stable_leadership: false,
        max_append_entries: 1,
        max_in_flight_appends: 1,
        ..raft::Config::default()
    };
    Tuning { config, patience: Duration::from_secs(10) }
}

fn millis(draw: &mut Stream, low: u64, high: u64) -> Duration {
    Duration::from_millis(draw.between(low, high))
}
