//! What nodes may do wrong, and how many must therefore say the same.
//!
//! The two models share every line of the protocol, and differ in five numbers alone.

use consensus_core::quorum::majority;
use consensus_core::{Faults, Guarantees, Membership, Problem, Reads, Resilience, Termination, Timing};
use core::fmt::Debug;

/// How many distinct voters it takes, the own vote included.
// [B1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// To go on from a wait: as many as certainly answer.
    pub wait: usize,
    /// To propose a value: reports of it.
    pub propose: usize,
    /// To decide a value: proposals of it.
    pub decide: usize,
    /// To adopt a value: proposals of it.
    pub adopt: usize,
    /// To believe what cannot be seen from here: as many as are not all faulty.
    pub believe: usize,
}

/// A model of faults; [`Crashes`] and [`Lies`] are all that there are.
pub trait Model: Debug + Sized + 'static {
    /// The name of the algorithm in this model.
    const NAME: &'static str;
    /// How a faulty node may behave.
    const FAULTS: Faults;
    /// How many may be faulty.
    const RESILIENCE: Resilience;

    /// The numbers for `n` voters.
    #[must_use]
    fn thresholds(n: usize) -> Thresholds;
}

/// Nodes crash, and come back with what was durable: n > 2f.
#[derive(Clone, Copy, Debug)]
pub enum Crashes {}

/// Some nodes do whatever they like: n > 5t.
#[derive(Clone, Copy, Debug)]
pub enum Lies {}

impl Model for Crashes {
    const NAME: &'static str = "benor";
    const FAULTS: Faults = Faults::CrashRecovery;
    const RESILIENCE: Resilience = Resilience::Half;

    fn thresholds(n: usize) -> Thresholds {
        let f = guarantees::<Self>().tolerated(n);
        // More than half of all, not of those that were heard.
        Thresholds { wait: n - f, propose: majority(n), decide: f + 1, adopt: 1, believe: 1 }
    }
}

impl Model for Lies {
    const NAME: &'static str = "benor-byzantine";
    const FAULTS: Faults = Faults::Byzantine;
    const RESILIENCE: Resilience = Resilience::Fifth;

    fn thresholds(n: usize) -> Thresholds {
        let t = guarantees::<Self>().tolerated(n);
        // More than (n + t) / 2: two such sets share more than the liars.
        let most = (n + t) / 2 + 1;
        Thresholds { wait: n - t, propose: most, decide: most, adopt: t + 1, believe: t + 1 }
    }
}

/// What is claimed in the model `M`.
pub(crate) const fn guarantees<M: Model>() -> Guarantees {
    Guarantees {
        problem: Problem::OneShot,
        faults: M::FAULTS,
        resilience: M::RESILIENCE,
        timing: Timing::Asynchronous,
        termination: Termination::WithProbabilityOne,
        reads: Reads::Local,
        membership: Membership::Static,
    }
}
