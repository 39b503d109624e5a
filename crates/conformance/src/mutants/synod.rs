//! The bugs that can be planted in single-decree Paxos, and the weather in which each shows.

use crate::subjects;
use crate::suite::Tuning;
use consensus_sim::Property::{self, Agreement};
use consensus_sim::{Inputs, Plan, Rhythm, Stream};
use core::time::Duration;
use multipaxos::{Mutant, Sizes, synod};

type Hunt = super::Hunt<Mutant, Sky>;

/// Which faults a hunt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sky {
    /// Everything that the suite has, drawn as for the suite.
    Swarm,
    /// Ballots that overtake each other, and much that comes late: every proposer is told of something, or should be.
    Duels,
    /// As duels, with nodes that crash for a moment all the time, and disks that take long.
    Crashes,
    /// As duels, with as few acceptances as there may be.
    FewAcceptances,
}

use Sky::{Crashes, Duels, FewAcceptances, Swarm};

const fn hunt(mutant: Mutant, by: &'static [Property], nodes: usize, weather: Sky, budget: u64) -> Hunt {
    Hunt { mutant, by, nodes, weather, budget }
}

/// Every bug that is hunted in single-decree Paxos. One value is decided soon, and then nothing can go wrong any more: the other bugs
/// of acceptors and proposers are found in the log, which shares their code.
pub const SYNOD: &[Hunt] = &[
    hunt(Mutant::OwnValueProposed, &[Agreement], 3, Duels, 300),
    hunt(Mutant::LastReportedWins, &[Agreement], 3, Duels, 2_000),
    hunt(Mutant::AcceptanceNotWritten, &[Agreement], 3, Crashes, 600),
    hunt(Mutant::RefusalCountsAsPromise, &[Agreement], 3, Duels, 600),
    hunt(Mutant::BallotsWithoutNode, &[Agreement], 3, Duels, 600),
    hunt(Mutant::TwoValuesInOneBallot, &[Agreement, Property::NoFalseAccusation], 5, Duels, 600),
    hunt(Mutant::LearnerCountsAcrossBallots, &[Agreement], 3, Duels, 6_000),
    hunt(Mutant::LearnerCountsAcrossValues, &[Agreement], 3, Duels, 600),
    hunt(Mutant::HalfIsAQuorum, &[Agreement], 4, Duels, 600),
    hunt(Mutant::QuorumsMissEachOther, &[Agreement], 5, FewAcceptances, 600),
];

impl Hunt {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(
        &self,
        draw: &mut Stream,
        plan: &mut Plan,
        mutant: Option<Mutant>,
    ) -> Tuning<synod::Config> {
        plan.nodes = self.nodes;
        let mut tuning = match self.weather {
            Swarm => subjects::synod(draw, plan),
            Duels => duels(draw, plan),
            Crashes => crashes(draw, plan),
            FewAcceptances => few_acceptances(draw, plan),
        };
        tuning.config.mutant = mutant;
        tuning
    }
}

fn duels(draw: &mut Stream, plan: &mut Plan) -> Tuning<synod::Config> {
    *plan = Plan::calm(plan.nodes);
    plan.faults_for = millis(draw, 200, 800);
    plan.network.delay = Duration::from_micros(draw.between(200, 1_000));
    plan.network.loss_ppm = draw.between(150_000, 500_000);
    plan.network.duplicate_ppm = draw.between(0, 500_000);
    plan.network.spike_ppm = draw.between(200_000, 700_000);
    plan.network.spike = millis(draw, 3, 40);
    // Who knows the choice would tell it.
    plan.partitions = Some(Rhythm { every: millis(draw, 8, 40), lasts: millis(draw, 4, 40) });
    plan.disk.sync = Duration::from_micros(draw.between(50, 1_000));
    plan.workload.inputs = Inputs { values: 10, within: millis(draw, 0, 40) };
    let config = synod::Config { retry_ms: draw.between(1, 6), ..synod::Config::default() };
    Tuning { config, patience: Duration::from_secs(10) }
}

fn crashes(draw: &mut Stream, plan: &mut Plan) -> Tuning<synod::Config> {
    let tuning = duels(draw, plan);
    plan.crashes = Some(Rhythm { every: millis(draw, 3, 15), lasts: millis(draw, 1, 3) });
    plan.disk.sync = millis(draw, 1, 6);
    tuning
}

fn few_acceptances(draw: &mut Stream, plan: &mut Plan) -> Tuning<synod::Config> {
    let mut tuning = duels(draw, plan);
    tuning.config.quorums = Some(Sizes { promises: plan.nodes - 1, acceptances: 2 });
    tuning
}

fn millis(draw: &mut Stream, low: u64, high: u64) -> Duration {
    Duration::from_millis(draw.between(low, high))
}
