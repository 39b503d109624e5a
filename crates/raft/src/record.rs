//! What a node writes to its own disk. The state is what the records say, in order (see [`crate::state`]).

use crate::digest::Digest;
use crate::entry::{Entries, Position};
use alloc::boxed::Box;
use consensus_core::{Epoch, Members, NodeId, Slot};
use serde::{Deserialize, Serialize};

/// A record. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The term, and whom we voted for in it: always written together.
    Vote {
        /// The term.
        term: Epoch,
        /// Our vote in it.
        vote: Option<NodeId>,
    },
    /// The log is cut before `first`, then these follow.
    Entries {
        /// The slot of the first of them.
        first: Slot,
        /// At least one.
        entries: Entries,
    },
    /// Stands first behind a snapshot: what it contains, and where the log that was kept begins.
    Snapshot {
        /// The last entry that the snapshot contains.
        through: Position,
        /// The members at that place.
        members: Box<Members>,
        /// What precedes the first entry that was kept; at most `through`.
        base: Position,
        /// The digest of the snapshot.
        digest: Digest,
    },
}
