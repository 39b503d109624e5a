//! The two protocols. They share the participant, the locks, the records and the memory, and differ in who keeps the votes: the
//! coordinator alone, or 2F + 1 acceptors. Since what is claimed is part of a type, they are two types.

use consensus_core::{Faults, Guarantees, Membership, Problem, Reads, Resilience, Termination, Timing};
use core::fmt::Debug;

/// A protocol; [`Classic`] and [`Replicated`] are all that there are.
pub trait Protocol: Debug + Sized + 'static {
    /// The name of the algorithm.
    const NAME: &'static str;
    /// Whether acceptors keep the votes.
    const IS_REPLICATED: bool;
}

/// Votes go to the coordinator.
#[derive(Clone, Copy, Debug)]
pub enum Classic {}

/// Votes go to the acceptors.
#[derive(Clone, Copy, Debug)]
pub enum Replicated {}

impl Protocol for Classic {
    const NAME: &'static str = "twophase";
    const IS_REPLICATED: bool = false;
}

impl Protocol for Replicated {
    const NAME: &'static str = "paxos-commit";
    const IS_REPLICATED: bool = true;
}

/// What is claimed.
pub(crate) const fn guarantees<P: Protocol>() -> Guarantees {
    let (resilience, timing, termination) = if P::IS_REPLICATED {
        (Resilience::Half, Timing::PartialSynchrony, Termination::AfterStabilisation)
    } else {
        (Resilience::Zero, Timing::Asynchronous, Termination::Blocking)
    };
    Guarantees {
        problem: Problem::AtomicCommit,
        faults: Faults::CrashRecovery,
        resilience,
        timing,
        termination,
        reads: Reads::Local,
        membership: Membership::Static,
    }
}
