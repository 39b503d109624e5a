//! What a driver tells a node, and what a client is told.

use crate::algorithm::Refusal;
use crate::id::{ClientId, NodeId, ProposalId, ReadId, Slot};
use crate::members::{Change, Priority};
use bytes::Bytes;

/// What a driver tells a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<M> {
    /// A decoded message from an authenticated peer. It is screened here ([`crate::ConsensusAlgorithm::screen`]).
    Message {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: M,
    },
    /// A message that the driver has screened already, on another core.
    Screened {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: M,
    },
    /// The time may have reached [`crate::Node::deadline`].
    Tick,
    /// The storage may have news ([`crate::Storage::durable`]).
    Written,
    /// A snapshot was written out ([`crate::PendingSnapshot::write`]).
    SnapshotWritten {
        /// The last slot that it contains.
        through: Slot,
        /// `None`: its state is gone.
        snapshot: Option<Bytes>,
    },
    /// A client proposes.
    Propose {
        /// Its name for good.
        id: ProposalId,
        /// What is proposed.
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
    /// Hand leadership over.
    Transfer {
        /// The wished-for successor.
        to: Option<NodeId>,
    },
    /// How much this node wishes to lead.
    Priority(Priority),
    /// The failure detector's opinion.
    Suspect {
        /// The peer.
        peer: NodeId,
        /// Whether it is suspected from now on.
        suspected: bool,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A proposal was decided and applied here. Every replica reports every proposal; a driver picks out those it waits for.
    Done {
        /// The proposal.
        id: ProposalId,
        /// Its place.
        slot: Slot,
        /// What came of it.
        outcome: Outcome,
    },
    /// A proposal was turned down.
    Refused {
        /// The proposal.
        id: ProposalId,
        /// Why.
        reason: Refusal,
    },
    /// The state machine now holds everything that a linearizable read at this point must see.
    ReadReady {
        /// The read.
        id: ReadId,
        /// The slot that was waited for.
        at: Slot,
    },
    /// A read was turned down.
    ReadRefused {
        /// The read.
        id: ReadId,
        /// Why.
        reason: Refusal,
    },
}

/// What came of a decided proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out, now or (a repeated command of a session) before.
    Applied(Bytes),
    /// It was decided not to carry it out.
    Aborted(Bytes),
    /// The session was opened.
    Opened(ClientId),
    /// The slot carried no command (a change of members took effect).
    Noop,
    /// The session let go of this reply; the command is not applied again.
    Stale,
    /// The session is unknown or has expired; the command is not applied.
    Expired,
}
