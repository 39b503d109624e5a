//! The bugs that can be planted in the leases of Multi-Paxos, and the weather in which each shows.

use crate::leases;
use crate::suite::Tuning;
use consensus_sim::Property::{self, Linearizable};
use consensus_sim::{Plan, Stream};
use multipaxos::Mutant;

type Hunt = super::Hunt<Mutant, Watch>;

/// Which faults a hunt sends: see [`crate::leases`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Leaders that are cut off, and not from their clients, while clocks drift as far as was declared.
    Drift,
    /// Leaders that are cut off, clocks that keep pace, and much that comes late.
    LateEchoes,
    /// As late echoes, with an operator who has leadership handed over all the time.
    Heirs,
    /// Leaders that are cut off, and others that restart in a moment.
    Restarts,
    /// Leaders that are cut off, and others that suspect them all the time.
    Doubts,
}

use Watch::{Doubts, Drift, Heirs, LateEchoes, Restarts};

const STALE: &[Property] = &[Linearizable];

const fn hunt(mutant: Mutant, weather: Watch, budget: u64) -> Hunt {
    Hunt { mutant, by: STALE, nodes: 3, weather, budget }
}

/// Every bug that is hunted in the leases of Multi-Paxos.
pub const LEASES: &[Hunt] = &[
    hunt(Mutant::LeaseRefusesNobody, Doubts, 300),
    hunt(Mutant::LeaseFromEcho, LateEchoes, 1_500),
    hunt(Mutant::LeaseForgottenInCrash, Restarts, 300),
    hunt(Mutant::LeaseAfterCall, Heirs, 300),
    hunt(Mutant::LeaseOfPerfectClocks, Drift, 300),
];

impl Hunt {
    /// The configuration of a run, with the bug or without it.
    pub(super) fn tuned(
        &self,
        draw: &mut Stream,
        plan: &mut Plan,
        mutant: Option<Mutant>,
    ) -> Tuning<multipaxos::Config> {
        plan.nodes = self.nodes;
        let mut tuning: Tuning<multipaxos::Config> = match self.weather {
            Drift => leases::cut_off_leaders(draw, plan, leases::DRIFT_PPM),
            LateEchoes => leases::late_echoes(draw, plan),
            Heirs => leases::heirs(draw, plan),
            Restarts => leases::restarts(draw, plan),
            Doubts => leases::doubts(draw, plan),
        };
        tuning.config.mutant = mutant;
        tuning
    }
}
