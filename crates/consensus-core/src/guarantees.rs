//! What a protocol claims, as data: the conformance suite turns each claim into checks, and the documentation's tables
//! are made from it.

/// What is being agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// One value, once.
    OneShot,
    /// A totally ordered, gapless sequence of commands.
    Log,
    /// Commit or abort of each transaction, by all its participants.
    AtomicCommit,
    /// Everything accepted is delivered everywhere, in causal order, and merged.
    Convergence,
}

/// How a faulty node may behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// It stops for good.
    Crash,
    /// It stops, and may come back with what it had made durable.
    CrashRecovery,
    /// It may do anything, except to forge another's signature.
    Byzantine,
}

/// How many of `n` nodes may be faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resilience {
    /// n > 2f.
    Half,
    /// n > 3f.
    Third,
    /// n > 5f.
    Fifth,
    /// f = n − 1.
    AllButOne,
    /// None: one faulty node may block the others (it never makes them disagree).
    Zero,
}

/// What the protocol needs of the clock and the network in order to make progress (safety never needs any).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Nothing.
    Asynchronous,
    /// Bounds that hold from some unknown time on (Dwork, Lynch and Stockmeyer 1988).
    PartialSynchrony,
    /// Known bounds that always hold.
    Synchronous,
}

/// What is promised about progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// Within a bounded time once the network has stabilised.
    AfterStabilisation,
    /// With probability one.
    WithProbabilityOne,
    /// It may block until a certain node is back.
    Blocking,
    /// Within a bounded number of rounds.
    RoundBound,
    /// At once, in every state.
    Always,
}

/// How a linearizable read is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// [`crate::Input::Read`] is answered by a barrier that costs no log entry.
    Barrier,
    /// A read goes through the log like a write. A proposal without a payload is such a read and nothing else, unless it opens a session: it
    /// is decided, and not applied. [`crate::Event::Read`] makes one.
    ThroughLog,
    /// Reads are local and may be stale.
    Local,
}

/// How the members may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Not at all.
    Static,
    /// One node at a time.
    OneAtATime,
    /// Any change, through a joint configuration.
    Joint,
    /// A sealed configuration hands over to the next.
    StopSign,
}

/// The claims of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// What is being agreed on.
    pub problem: Problem,
    /// How a faulty node may behave.
    pub faults: Faults,
    /// How many nodes may be faulty.
    pub resilience: Resilience,
    /// What progress needs of the network.
    pub timing: Timing,
    /// What is promised about progress.
    pub termination: Termination,
    /// How a linearizable read is had.
    pub reads: Reads,
    /// How the members may change.
    pub membership: Membership,
}

impl Guarantees {
    /// The largest number of faulty nodes among `n` under which everything claimed holds.
    #[must_use]
    pub const fn tolerated(&self, n: usize) -> usize {
        let spare = n.saturating_sub(1);
        match self.resilience {
            Resilience::Half => spare / 2,
            Resilience::Third => spare / 3,
            Resilience::Fifth => spare / 5,
            Resilience::AllButOne => spare,
            Resilience::Zero => 0,
        }
    }

    /// How many matching replies a client must await before it may believe one: 1, or f+1 where nodes may lie.
    #[must_use]
    pub const fn replies(&self, n: usize) -> usize {
        match self.faults {
            Faults::Crash | Faults::CrashRecovery => 1,
            Faults::Byzantine => self.tolerated(n) + 1,
        }
    }
}
