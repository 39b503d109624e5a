//! Single-decree Paxos: agreeing on one value (Lamport 1998, 2001). The place to start.
//!
//! Three parts, which every node plays at once:
//! - the [`Proposer`] leads *ballots*. In phase 1 it asks the acceptors to promise its ballot; in phase 2 it asks them to accept
//!   a value in it.
//! - the [`Acceptor`] keeps its word: once it has promised a ballot it takes part in no lower one, and it tells what it has
//!   accepted before.
//! - the [`Learner`] counts who has accepted what. What a quorum has accepted in one ballot is *chosen*, for good.
//!
//! *Why two ballots never choose differently.* Let a value v be chosen in ballot b: a quorum accepted it. The proposer of the next
//! ballot that gets to phase 2 has promises of a quorum, and the two quorums share an acceptor. It accepted v before it promised
//! (afterwards it would have refused), and tells of it; and nobody tells of a higher ballot, for none got to phase 2 between the
//! two. So the proposer must propose v. And so must every later one, by the same argument.
//!
//! *Why it ends.* Two proposers can overtake each other for ever. Each waits a random while before it tries again, so that some
//! day one of them is alone for long enough.
//!
//! The log (`crate::MultiPaxos`) is made of the same parts: it shares [`Promised`] and [`Promises`], and does phase 1 once for
//! all slots.
//!
//! ```
//! use consensus_core::NodeId;
//! use multipaxos::Ballot;
//! use multipaxos::synod::{Acceptor, Answer, Learner, Proposer, Vote};
//!
//! let voters = [1, 2, 3].map(NodeId);
//! let mut acceptors = [(); 3].map(|()| Acceptor::default());
//! // Node 1 gets as far as one acceptance.
//! let first = Ballot::ZERO.next(NodeId(1));
//! acceptors[0].accept(first, "red");
//! // Node 2 hears of it in phase 1, so that it cannot propose what it wants.
//! let second = first.next(NodeId(2));
//! let mut proposer = Proposer::new(second);
//! for (acceptor, node) in acceptors.iter_mut().zip(voters).take(2) {
//!     assert_eq!(acceptor.prepare(second), Answer::Fresh);
//!     proposer.on_promise(node, second, acceptor.vote().cloned());
//! }
//! assert_eq!(proposer.propose(&voters, 2, Some(&"blue")), Some("red"));
//! // Two acceptances in one ballot, and it is chosen.
//! let (vote, mut learner) = (Vote { ballot: second, value: "red" }, Learner::default());
//! assert_eq!(learner.on_accepted(NodeId(1), vote.clone(), 2), None);
//! assert_eq!(learner.on_accepted(NodeId(2), vote, 2), Some("red"));
//! ```

mod acceptor;
mod learner;
mod message;
mod node;
mod proposer;

pub use acceptor::{Acceptor, Answer, Promised, Vote};
pub use learner::Learner;
pub use message::{Message, Record, Value};
pub use node::Synod;
pub use proposer::{Promises, Proposer, adopt};

use crate::quorums::{Sizes, quorums};
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Effects, Faults, Guarantees, Input, Members, Membership, NodeId,
    Offence, Problem, Reads, Refusal, Resilience, RestoreError, Status, Termination, Time, Timing,
};

/// The configuration of one node. All nodes should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The shortest wait before a ballot that came to nothing is followed by another, in milliseconds; some times the slowest
    /// round trip.
    pub retry_ms: u64,
    /// How large quorums are; `None`: majorities. It must be the same at all nodes.
    pub quorums: Option<Sizes>,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retry_ms: 50,
            quorums: None,
            #[cfg(all(feature = "mutants", debug_assertions))]
            mutant: None,
        }
    }
}

impl Config {
    /// How many promises, and how many acceptances, are a quorum of so many voters. [S10]
    pub(crate) fn quorums_for(&self, voters: usize) -> (usize, usize) {
        self.or_too_small(quorums(self.quorums, voters), voters)
    }
}

/// The effect buffer.
pub(crate) type Out = Effects<Message, Record, Timer>;

/// Reasons to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Nothing was chosen yet.
    Retry,
}

impl ConsensusAlgorithm for Synod {
    const NAME: &'static str = "synod";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::OneShot,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Half,
        timing: Timing::PartialSynchrony,
        termination: Termination::AfterStabilisation,
        reads: Reads::Local,
        membership: Membership::Static,
    };
    type Config = Config;
    type Message = Message;
    type Record = Record;
    type Timer = Timer;

    fn validate(config: &Config, members: &Members) -> Result<(), ConfigError> {
        if config.retry_ms == 0 || config.retry_ms > 1 << 32 {
            return Err(ConfigError::new("retry_ms", "it must lie within 1..=2^32"));
        }
        crate::quorums::validate(config.quorums, members) // [S10]
    }

    fn restore(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        Self::recover(boot, out)
    }

    fn step(&mut self, now: Time, input: Input<Message, Timer>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Timer(Timer::Retry) => self.on_retry(now, out),
            Input::Durable(durable) => self.on_durable(durable, out),
            Input::Propose { id, payload } => self.on_propose(now, id, payload, out),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Reconfigure { id, change: _ } => out.refuse(id, Refusal::Unsupported),
            // Nobody leads for longer than a ballot, and a handful of records is never compacted.
            Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. }
            | Input::Compact { .. } => {}
        }
    }

    fn status(&self) -> Status {
        self.observe()
    }

    fn screen(_config: &Config, from: NodeId, message: &Message) -> Result<(), Offence> {
        message.check(from)
    }

    fn assert_invariants(&self) {
        self.check_invariants();
    }
}
