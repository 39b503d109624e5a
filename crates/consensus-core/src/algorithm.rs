//! The trait that every protocol implements, and the vocabulary of its inputs.

use crate::effects::Effects;
use crate::guarantees::Guarantees;
use crate::id::{ClientId, Epoch, NodeId, ProposalId, ReadId, Slot, WriteSeq};
use crate::inspect::Inspection;
use crate::machine::{Decision, Verdict};
use crate::members::{BadChange, Change, Members, Priority};
use crate::time::Time;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Debug;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A deterministic state machine that agrees with its peers. It is handed an input, the time and a buffer, and writes down
/// what should happen; it never touches a clock, a socket, a disk, a thread or a random number generator of its own.
///
/// Drive it with [`crate::Node`], which carries the effects out in the only order that is safe.
pub trait ConsensusAlgorithm: Sized {
    /// The name in tables, logs and command lines.
    const NAME: &'static str;
    /// What is claimed; each claim is tested.
    const GUARANTEES: Guarantees;
    /// Whether it says itself where snapshots are taken ([`Effects::snapshot`]): then the node offers none of its own accord.
    const ASKS_FOR_SNAPSHOTS: bool = false;
    /// Plain data with public fields.
    type Config: Clone + Debug + Default;
    /// What nodes say to each other.
    type Message: Serialize + DeserializeOwned + Clone + Debug + PartialEq;
    /// What a node writes to its own disk.
    type Record: Serialize + DeserializeOwned + Clone + Debug + PartialEq;
    /// A closed set of reasons to wake up.
    type Timer: Copy + Ord + Debug;

    /// Whether this configuration can work for these members: bounds, quorum intersection, n against f. Where members may
    /// join, there are none at all at a node that does ([`Boot::members`]).
    ///
    /// # Errors
    /// Names the offending field and what to do.
    fn validate(config: &Self::Config, members: &Members) -> Result<(), ConfigError>;

    /// The only door: a first boot is recovery from an empty disk. Everything in `boot` was validated or read back intact.
    ///
    /// # Errors
    /// The records do not fit together: part of what this node promised is lost, and it must not start.
    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError>;

    /// Takes one input. Infallible, non-blocking, deterministic: equal boots and inputs give equal effects. `now` was read off
    /// the clock after the input arrived; so was that of [`ConsensusAlgorithm::flush`] after every input of its burst.
    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>);

    /// Called after a burst of inputs: the moment to emit what was held back to be batched (appends, acknowledgements, read
    /// probes). One burst = one append per follower, one write. What the inputs persisted may be durable by now.
    fn flush(&mut self, _now: Time, _out: &mut Out<Self>) {}

    /// The decisions from slot `from` to slot `through`, both included, oldest first: what [`crate::Effect::DecideThrough`] hands
    /// to the state machine, read where they stand. Emit that effect in [`ConsensusAlgorithm::flush`]: it is carried out
    /// before the next input, which may change where they stand.
    ///
    /// The default is for protocols that only decide one by one.
    fn decided(&self, _from: Slot, _through: Slot) -> impl Iterator<Item = Decision<'_>> {
        core::iter::empty()
    }

    /// What an observer may know.
    fn status(&self) -> Status;

    /// What a person who looks for the cause of something may know beyond that. It may take its time.
    fn inspect(&self) -> Inspection {
        Inspection::default()
    }

    /// Stateless checks (signatures, shape) that `step` may rely on. The node runs them on each [`crate::Event::Message`]; a
    /// driver may run them on another core and hand the message in as [`crate::Event::Screened`].
    ///
    /// # Errors
    /// The offence that the sender is to be accused of.
    fn screen(_config: &Self::Config, _from: NodeId, _message: &Self::Message) -> Result<(), Offence> {
        Ok(())
    }

    /// The name under which a client proposes `payload`, given a number above zero that neither it nor anybody else has used: its own
    /// count. Where nodes may lie it can be a digest of both, so that nobody can have something else decided in its place.
    fn name(client: ClientId, number: u64, _payload: &[u8]) -> ProposalId {
        ProposalId::new(client, number)
    }

    /// Checks every invariant of the state, at any cost. Called after each step in tests and simulations.
    fn assert_invariants(&self) {}
}

/// The input type of `A`.
pub type In<A> = Input<<A as ConsensusAlgorithm>::Message, <A as ConsensusAlgorithm>::Timer>;
/// The effect buffer of `A`.
pub type Out<A> = Effects<
    <A as ConsensusAlgorithm>::Message,
    <A as ConsensusAlgorithm>::Record,
    <A as ConsensusAlgorithm>::Timer,
>;

/// What a node starts from.
#[derive(Clone, Debug)]
pub struct Boot<A: ConsensusAlgorithm> {
    /// Who we are.
    pub id: NodeId,
    /// The members at the group's birth; a later change is in the records. None at all for a node that joins a group which
    /// exists: it is told who they are by the others, and must not guess.
    pub members: Members,
    /// The configuration, validated.
    pub config: A::Config,
    /// All of this boot's randomness comes from here. Drivers give a fresh one to each boot.
    pub seed: u64,
    /// The time of the boot.
    pub now: Time,
    /// The newest snapshot on our disk. The state machine already has it.
    pub snapshot: Option<(Slot, Bytes)>,
    /// Every record on our disk after that snapshot, oldest first.
    pub records: Vec<A::Record>,
}

/// What may happen to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<M, T> {
    /// A message arrived; `from` is authenticated by the network.
    Message {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: M,
    },
    /// A timer that was set has run out. It is no longer set.
    Timer(T),
    /// Every write up to this one is on disk. The network may know of them only now (the gate sees to that).
    Durable(WriteSeq),
    /// A client proposes.
    Propose {
        /// Its name for good.
        id: ProposalId,
        /// What is proposed; opaque.
        payload: Bytes,
    },
    /// A client asks for a linearizable read barrier.
    Read(ReadId),
    /// An operator asks for other members.
    Reconfigure {
        /// Its name for good.
        id: ProposalId,
        /// The change.
        change: Change,
    },
    /// Hand leadership over, to `to` or to whoever is best.
    Transfer {
        /// The wished-for successor.
        to: Option<NodeId>,
    },
    /// How much this node wishes to lead.
    Priority(Priority),
    /// The state machine's answer to [`crate::Effect::Judge`].
    Judged {
        /// The proposal that was judged.
        id: ProposalId,
        /// Whether the state machine can carry it out.
        accept: bool,
    },
    /// The failure detector's opinion, which may be wrong.
    Suspect {
        /// The peer.
        peer: NodeId,
        /// Whether it is suspected from now on.
        suspected: bool,
    },
    /// The state machine offers a snapshot of everything decided up to `through`, so that the log may be cut: because it is
    /// time, or because it was asked to ([`crate::Effect::Snapshot`]).
    Compact {
        /// The last slot that the snapshot contains.
        through: Slot,
        /// The snapshot.
        snapshot: Bytes,
    },
}

/// The part a node plays at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Orders proposals (leader, primary, coordinator).
    Leader,
    /// Tries to become leader.
    Candidate,
    /// Follows a leader, or looks for one.
    Follower,
    /// Follows without a vote.
    Learner,
    /// Votes without application state.
    Witness,
    /// One among equals, in protocols without a leader.
    Peer,
}

/// What an observer may know of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The part it plays.
    pub role: Role,
    /// Whom it takes for the leader; a hint, possibly stale.
    pub leader: Option<NodeId>,
    /// Its term, ballot round or view.
    pub epoch: Epoch,
    /// The last slot that it knows to be decided.
    pub decided: Slot,
    /// The members as it knows them.
    pub members: Members,
    /// Proposals that cannot be settled before certain nodes are back, with those nodes (atomic commitment).
    pub blocked: Vec<(ProposalId, Vec<NodeId>)>,
}

/// Why a proposal or a read was turned down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another node leads; nothing was done. Try the one hinted at.
    #[error("not the leader{}", hint.map(|n| alloc::format!(", {n} is")).unwrap_or_default())]
    NotLeader {
        /// The leader, as far as known.
        hint: Option<NodeId>,
    },
    /// A bound was reached; nothing was done. Try again later.
    #[error("busy: a configured bound is reached, try again later")]
    Busy,
    /// This protocol does not offer it; nothing was done.
    #[error("this protocol does not support the request")]
    Unsupported,
    /// The payload is over the configured limit; nothing was done.
    #[error("the payload is over the configured limit")]
    TooLarge,
    /// The node is not a member (any more); nothing was done.
    #[error("this node is not a member")]
    NotMember,
    /// Leadership was lost with the proposal in flight: it may or may not be decided.
    #[error("leadership was lost while the request was in flight; it may or may not have taken effect")]
    Interrupted,
    /// A change of members is already under way, or this one makes no sense; nothing was done.
    #[error("the change of members was refused: {0}")]
    BadChange(BadChange),
    /// A retry of a proposal that was settled long ago, by a protocol that decides each proposal once and keeps no reply
    /// (atomic commitment). This attempt did nothing; what the first one came to is told here.
    #[error("the proposal was settled before: {verdict:?}")]
    Settled {
        /// What was decided then.
        verdict: Verdict,
    },
}

impl Refusal {
    /// Whether it is certain that the proposal has not taken and will not take effect, neither now nor through an earlier
    /// attempt that this answer tells of.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        !matches!(self, Self::Interrupted | Self::Settled { verdict: Verdict::Commit })
    }
}

/// What a peer did wrong: evidence for a log, a metric or a blacklist, never an error of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offence {
    /// A frame or message that no correct peer of this version produces.
    Malformed(&'static str),
    /// A signature that does not verify.
    Forged,
    /// Two statements that contradict each other.
    Equivocation(&'static str),
    /// A message from somebody who is not a member.
    Stranger,
    /// A statement that the protocol forbids in this state (two leaders in one term).
    Impossible(&'static str),
}

/// Records that are intact one by one, and do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}: this node no longer knows what it promised, and must not take part; bring its directory back from a copy, or let \
     it join anew as another member"
)]
pub struct RestoreError(pub &'static str);

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// The field of the configuration.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl ConfigError {
    /// `field` is wrong for this reason.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}
