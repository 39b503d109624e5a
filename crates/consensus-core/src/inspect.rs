//! What a person who looks for the cause of something wants to know of a node, beyond its [`crate::Status`]: where it stands, and
//! what has happened to it. A protocol fills in what it has. None of it changes anything.

use crate::id::{Epoch, NodeId, Slot};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// Where a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The first slot that it keeps besides its snapshot.
    pub first: Slot,
    /// The last slot that it keeps.
    pub last: Slot,
    /// The last slot that is on its own disk.
    pub durable: Slot,
    /// The last slot that its newest snapshot contains; zero if there is none.
    pub snapshot: Slot,
    /// What it has waiting, by name.
    pub queues: Vec<(&'static str, usize)>,
    /// What it knows of others, if it feeds them.
    pub peers: Vec<PeerProgress>,
    /// Who has broken the protocol, with what proves it to a third party in the protocol's own encoding.
    pub proofs: Vec<(NodeId, Bytes)>,
}

/// What a node knows of another one that it feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The other one.
    pub id: NodeId,
    /// It holds everything up to here, durably, and equal to what we hold.
    pub matched: Slot,
    /// The next slot to send.
    pub next: Slot,
    /// How it is fed.
    pub mode: Feeding,
    /// Messages in flight: appends, or pieces of a snapshot.
    pub in_flight: usize,
    /// Bytes in flight, of entries or of a snapshot.
    pub in_flight_bytes: usize,
}

/// How a node is fed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feeding {
    /// It is not known yet what it holds.
    Probe,
    /// It is sent what is new.
    Replicate,
    /// It is sent a snapshot.
    Snapshot,
}

impl fmt::Display for Feeding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "probe",
            Self::Replicate => "replicate",
            Self::Snapshot => "snapshot",
        })
    }
}

/// Something that has happened in a protocol, for a log or a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The node seeks to lead.
    ElectionStarted {
        /// The epoch that it is in.
        epoch: Epoch,
        /// What moved it.
        why: &'static str,
    },
    /// The node leads.
    ElectionWon {
        /// The epoch that it leads.
        epoch: Epoch,
    },
    /// The node no longer seeks to lead.
    ElectionLost {
        /// The epoch that it is in.
        epoch: Epoch,
        /// What ended it.
        why: &'static str,
    },
    /// The node leads no longer.
    SteppedDown {
        /// The epoch that it is in.
        epoch: Epoch,
        /// What ended it.
        why: &'static str,
    },
    /// The leader has begun a change of members.
    ChangeBegun {
        /// Its place.
        slot: Slot,
    },
    /// A change of members is complete.
    ChangeDone {
        /// Its place.
        slot: Slot,
    },
    /// A snapshot has taken the place of what was before it.
    SnapshotTaken {
        /// The last slot that it contains.
        through: Slot,
    },
    /// Another node lacks so much that it is sent a snapshot.
    SnapshotSending {
        /// The other node.
        to: NodeId,
        /// The last slot that it contains.
        through: Slot,
    },
    /// Another node has what it was sent a snapshot for.
    SnapshotSent {
        /// The other node.
        to: NodeId,
    },
    /// A snapshot of another node has taken the place of what was here.
    SnapshotInstalled {
        /// The last slot that it contains.
        through: Slot,
    },
    /// Another node came to another state than this one, where both executed the same: it lies, or they are not configured alike, or their
    /// state machine is not deterministic.
    StatesDiffer {
        /// The other node.
        peer: NodeId,
        /// The place, as the protocol counts.
        place: u64,
    },
}
