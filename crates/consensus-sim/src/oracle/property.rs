//! What must hold, by name, and for which problem.

use consensus_core::{Problem, Reads, Time};
use std::fmt;

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Property {
            $($(#[$doc])* $name,)*
        }

        impl Property {
            /// All properties of all problems, in the order of reports. [`Property::of`] says which belong to a problem.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

properties! {
    /// No two nodes decide differently (in one slot, about one transaction), in any boot, even if they crash later.
    Agreement = "agreement",
    /// What is decided by one-shot agreement was proposed; if all proposals are equal, it is that one.
    Validity = "validity",
    /// Slots are applied in order, without gaps.
    PrefixOrder = "prefix order",
    /// What is decided was proposed, and a proposal made once is decided once.
    Integrity = "integrity",
    /// A command of a session takes effect once, however often it is sent.
    ExactlyOnce = "exactly once",
    /// The state machines of all nodes are equal after equal slots.
    StateEqual = "equal states",
    /// Members that are decided one after the other have quorums that meet.
    Members = "safe changes of members",
    /// An epoch has at most one leader.
    OneLeader = "one leader per epoch",
    /// A transaction commits only if every participant voted yes.
    CommitValidity = "commit only if all said yes",
    /// A transaction that every participant accepts commits if nothing fails.
    NonTriviality = "commit if nothing fails",
    /// No node takes its verdict on a transaction back, restarts or not.
    Irrevocable = "no verdict is reversed",
    /// A transaction takes effect at all its participants or at none, once, and leaves no reservation behind.
    Atomicity = "all or nothing",
    /// What a participant reserved for a transaction is no other's until the verdict.
    Isolation = "reservations hold",
    /// A participant waits for others only while it names one that is down, and says that it waits.
    HonestBlocking = "blocks only on the dead",
    /// A write is applied nowhere before what its replica had applied when it accepted it.
    CausalOrder = "causal order",
    /// What a node knows to be decided, what it has applied and its epoch never go back while it runs.
    Monotonic = "monotonic within a boot",
    /// A node comes up again after every crash.
    Recovery = "recovery after a crash",
    /// A node runs until it is stopped.
    NodeRuns = "nodes run",
    /// No correct node accuses a correct node.
    NoFalseAccusation = "no false accusation",
    /// No assertion of the algorithm fails, and nothing panics.
    Invariant = "invariants",
    /// A replica that is up answers, however the links are cut.
    Availability = "available when cut off",
    /// Once the faults are over, clients get replies again within the bound.
    Progress = "progress after healing",
    /// Where nothing is amiss and a leader is there, if there is any, everybody is answered though all clocks stand still.
    NoTimer = "no timer in calm",
    /// Once the faults are over, every live node decides within the bound.
    Termination = "termination",
    /// Once the faults are over, every live replica applies every write that a live replica has accepted or applied.
    Delivery = "eventual delivery",
    /// Once the faults are over, every live node reaches the last decision; nothing acknowledged is lost.
    Durability = "durability",
    /// Once all is delivered, all replicas hold the same, and hold what was written.
    Convergence = "convergence",
    /// There is an order of all operations that explains every reply to a client.
    Linearizable = "linearizability",
    /// There is such an order that keeps each client's, though not real time.
    Sequential = "sequential consistency",
    /// A read sees what its session wrote before.
    ReadYourWrites = "read your writes",
    /// A read sees what its session saw before.
    MonotonicReads = "monotonic reads",
    /// Who sees a write sees what its session wrote before it.
    MonotonicWrites = "monotonic writes",
    /// Who sees a write sees what its session had seen before it.
    WritesFollowReads = "writes follow reads",
    /// A read sees all that was known to whoever it learnt from.
    Causal = "causal consistency",
    /// The scheduler keeps nobody waiting beyond the bound, once there is one: without that, nothing can be said of progress.
    Fairness = "fair scheduling",
    /// The same seed gives the same run.
    Determinism = "determinism",
}

impl Property {
    /// Those that are judged for a problem, and for this way of reading, in the order of reports.
    #[must_use]
    pub fn of(problem: Problem, reads: Reads) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|property| property.belongs(problem, reads)).collect()
    }

    const fn belongs(self, problem: Problem, reads: Reads) -> bool {
        let is_log = matches!(problem, Problem::Log);
        let is_atomic = matches!(problem, Problem::AtomicCommit);
        let converges = matches!(problem, Problem::Convergence);
        let is_local = matches!(reads, Reads::Local);
        match self {
            Self::Agreement => !converges,
            Self::Validity => matches!(problem, Problem::OneShot),
            Self::PrefixOrder | Self::ExactlyOnce | Self::Members | Self::OneLeader => is_log,
            // Atomic commitment and convergence replay their decisions into the same state after a restart.
            Self::StateEqual => is_log || is_atomic,
            Self::CommitValidity
            | Self::NonTriviality
            | Self::Irrevocable
            | Self::Atomicity
            | Self::Isolation
            | Self::HonestBlocking => is_atomic,
            Self::CausalOrder | Self::Availability | Self::Delivery | Self::Convergence => converges,
            Self::Integrity
            | Self::Monotonic
            | Self::Recovery
            | Self::NodeRuns
            | Self::NoFalseAccusation
            | Self::Invariant
            | Self::Durability
            | Self::NoTimer
            | Self::Fairness
            | Self::Determinism => true,
            Self::Progress => is_log || is_atomic || converges,
            Self::Termination => !is_log && !converges,
            Self::Linearizable => is_log && !is_local,
            Self::Sequential => is_log && is_local,
            Self::ReadYourWrites
            | Self::MonotonicReads
            | Self::MonotonicWrites
            | Self::WritesFollowReads
            | Self::Causal => converges || (is_log && is_local),
        }
    }

    /// Whether it is judged from what clients saw, when the run is over.
    #[must_use]
    pub const fn is_of_history(self) -> bool {
        matches!(
            self,
            Self::Linearizable
                | Self::Sequential
                | Self::ReadYourWrites
                | Self::MonotonicReads
                | Self::MonotonicWrites
                | Self::WritesFollowReads
                | Self::Causal
        )
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub property: Property,
    /// When, in virtual time.
    pub at: Time,
    /// What happened, for a person.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed at {}: {}", self.property, self.at, self.detail)
    }
}

/// What was found wrong: the first thing counts, since others may follow from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(Option<Failure>);

impl Findings {
    pub(crate) const fn first(&self) -> Option<&Failure> {
        self.0.as_ref()
    }

    pub(crate) fn fail(&mut self, property: Property, at: Time, detail: impl Into<String>) {
        if self.0.is_none() {
            self.0 = Some(Failure { property, at, detail: detail.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_property_belongs_to_a_problem_and_has_a_name_of_its_own() {
        let problems = [Problem::OneShot, Problem::Log, Problem::AtomicCommit, Problem::Convergence];
        let judged: BTreeSet<Property> = problems
            .into_iter()
            .flat_map(|problem| {
                [Reads::Barrier, Reads::Local].into_iter().flat_map(move |reads| Property::of(problem, reads))
            })
            .collect();
        assert_eq!(judged, Property::ALL.iter().copied().collect());
        let names: BTreeSet<&str> = Property::ALL.iter().map(|property| property.name()).collect();
        assert_eq!(names.len(), Property::ALL.len());
    }
}
