//! The bugs that can be planted in two-phase commit and Paxos Commit, and how each is hunted.

use crate::subjects;
use crate::suite::Tuning;
use ::twophase::{Config, Mutant, Presumption};
use consensus_sim::Property::{
    self, Agreement, Atomicity, CommitValidity, Durability, HonestBlocking, Integrity, Irrevocable,
    Isolation, NoFalseAccusation, NoTimer, NonTriviality, Progress, Recovery, Termination,
};
use consensus_sim::{Plan, Rhythm, Still, Stream};
use core::time::Duration;

/// In what weather a bug of two-phase commit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gale {
    /// Whatever a run draws.
    Swarm,
    /// Nodes come and go, and their disks are slow.
    Crashes,
    /// No fault at all, and clocks that stop.
    Calm,
}

/// In what weather a bug of Paxos Commit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surf {
    /// Whatever a run draws.
    Drawn,
    /// Nodes come and go, and their disks are slow.
    Restarts,
}

use Gale::{Calm, Crashes, Swarm};
use Surf::{Drawn, Restarts};

type Hunt<W> = super::Hunt<Mutant, W>;

/// Some commit, and some do not, or what is on disk contradicts itself, or the honest look like liars: whichever shows first.
const MIXED: &[Property] =
    &[Agreement, Irrevocable, Atomicity, CommitValidity, Durability, Recovery, NoFalseAccusation];

const fn hunt<W>(mutant: Mutant, by: &'static [Property], nodes: usize, weather: W, budget: u64) -> Hunt<W> {
    Hunt { mutant, by, nodes, weather, budget }
}

/// Every bug that is hunted in two-phase commit.
pub const TWOPHASE: &[Hunt<Gale>] = &[
    hunt(Mutant::YesBeforeDurable, MIXED, 3, Crashes, 600),
    hunt(Mutant::CommitBeforeDurable, MIXED, 3, Crashes, 600),
    hunt(Mutant::CommitNotWritten, MIXED, 3, Crashes, 600),
    hunt(Mutant::MissingVoteIsYes, MIXED, 3, Swarm, 600),
    hunt(Mutant::DuplicateYesCounted, MIXED, 3, Swarm, 600),
    hunt(Mutant::AbortsAfterYes, MIXED, 3, Swarm, 600),
    hunt(Mutant::CommitsOnTimeout, MIXED, 3, Swarm, 600),
    hunt(Mutant::PresumesCommit, MIXED, 3, Crashes, 600),
    hunt(Mutant::ForgetsBeforeAcknowledged, MIXED, 3, Swarm, 600),
    hunt(Mutant::PreparedInMemory, MIXED, 3, Crashes, 600),
    hunt(Mutant::CarriesOutAtPrepare, MIXED, 3, Swarm, 600),
    hunt(Mutant::AbortNotWritten, MIXED, 3, Crashes, 600),
    hunt(Mutant::AnswersBeforeDurable, MIXED, 3, Crashes, 600),
    hunt(Mutant::TimeoutIsAbort, MIXED, 3, Swarm, 600),
    hunt(Mutant::AnswersAbortUnfenced, MIXED, 3, Crashes, 600),
    hunt(Mutant::InDoubtIsAbort, MIXED, 3, Swarm, 600),
    hunt(Mutant::OnePhaseBeforeDurable, MIXED, 3, Crashes, 600),
    hunt(Mutant::WrongTransaction, MIXED, 3, Swarm, 600),
    hunt(Mutant::CommitsTwice, &[Integrity], 3, Swarm, 600),
    hunt(Mutant::NeverAsks, &[Termination, HonestBlocking, Progress], 3, Swarm, 600),
    hunt(Mutant::ReservationsForgotten, &[Isolation], 3, Crashes, 600),
    hunt(Mutant::DropsCommit, &[Atomicity, HonestBlocking], 3, Swarm, 600),
    hunt(Mutant::AlwaysAborts, &[NonTriviality], 3, Swarm, 600),
    hunt(Mutant::Silent, &[HonestBlocking], 3, Swarm, 600),
    hunt(Mutant::BlamesOther, &[HonestBlocking], 3, Swarm, 600),
    hunt(Mutant::AsksBeforeDurable, MIXED, 3, Crashes, 600),
    hunt(Mutant::VerdictToldLate, &[NoTimer], 3, Calm, 100),
];

/// Every bug that is hunted in Paxos Commit.
pub const PAXOS_COMMIT: &[Hunt<Surf>] = &[
    hunt(Mutant::OneAcceptorSuffices, MIXED, 3, Restarts, 600),
    hunt(Mutant::NoVoteIsPrepared, MIXED, 3, Drawn, 600),
    hunt(Mutant::OwnValue, MIXED, 3, Restarts, 600),
    hunt(Mutant::BallotZeroAfterPromise, MIXED, 3, Restarts, 2_000),
    hunt(Mutant::AcceptedBeforeDurable, MIXED, 3, Restarts, 2_000),
];

/// Bugs that random runs show hardly or never, or that need a client that errs: each has a schedule of its own in
/// `crates/twophase/tests/mutants.rs`.
pub const TWOPHASE_BY_SCHEDULE: &[Mutant] = &[
    Mutant::JudgesAgain,
    Mutant::VerdictsForgotten,
    Mutant::NoTombstone,
    Mutant::AbortBeforePrepareDropped,
    Mutant::ReaderAskedFirst,
    Mutant::ReaderRemembersAbort,
    Mutant::CoordinatorsNotTold,
    Mutant::ForgottenTakesPart,
    Mutant::TellsWhatIsProposed,
    Mutant::SoleAbortNotWritten,
    Mutant::AbortBeforeFence,
];

impl Hunt<Gale> {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(&self, draw: &mut Stream, plan: &mut Plan, mutant: Option<Mutant>) -> Tuning<Config> {
        plan.nodes = self.nodes;
        if self.weather == Crashes {
            restless(draw, plan);
        }
        let mut tuning = subjects::twophase(draw, plan);
        if self.weather == Calm {
            plan.keep_still(Still::InCalm);
        }
        let begins = self.mutant == Mutant::AsksBeforeDurable;
        tuning.config.presumption = if begins { Presumption::Commit } else { Presumption::Abort };
        tuning.config.mutant = mutant;
        tuning
    }
}

impl Hunt<Surf> {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(&self, draw: &mut Stream, plan: &mut Plan, mutant: Option<Mutant>) -> Tuning<Config> {
        plan.nodes = self.nodes;
        if self.weather == Restarts {
            restless(draw, plan);
        }
        let mut tuning = subjects::paxos_commit(draw, plan);
        tuning.config.mutant = mutant;
        tuning
    }
}

/// Nodes crash a few times in the life of each transaction, and forget what their slow disks did not take.
fn restless(draw: &mut Stream, plan: &mut Plan) {
    *plan = Plan { workload: plan.workload.clone(), ..Plan::calm(plan.nodes) };
    plan.faults_for = Duration::from_millis(draw.between(300, 800));
    plan.network.delay = Duration::from_micros(draw.between(200, 1_000));
    plan.network.spike_ppm = draw.between(100_000, 400_000);
    plan.network.spike = Duration::from_millis(draw.between(2, 20));
    plan.network.loss_ppm = draw.between(0, 100_000);
    plan.disk.sync = Duration::from_millis(draw.between(1, 4));
    plan.crashes = Some(Rhythm {
        every: Duration::from_millis(draw.between(5, 25)),
        lasts: Duration::from_millis(draw.between(1, 30)),
    });
    plan.workload.transactions.keys = 30;
    plan.workload.transactions.refuse_ppm = 50_000;
    plan.workload.transactions.retries = true;
}
