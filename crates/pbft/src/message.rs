//! What replicas say to each other. Variants and fields are only ever appended.

use crate::certificate::{Committed, Prepared, Stable};
use crate::digest::Digest;
use crate::keys::Signature;
use crate::request::{Batch, Request};
use crate::statement::{Kind, Sequence, Statement, View};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{MAX_MEMBERS, NodeId, Slot, wire};
use serde::{Deserialize, Serialize};

/// The most sequence numbers between the watermarks.
pub const MAX_WINDOW: usize = 4_096;
/// The most batches that a state has beside its snapshot.
pub const MAX_BATCHES: usize = 1 << 16;
/// The most chunks of a snapshot.
pub const MAX_CHUNKS: usize = 1 << 16;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Clients asked for these.
    Requests(#[serde(deserialize_with = "wire::at_most::<8192, _, _>")] Vec<Request>),
    /// The primary puts a batch at a sequence number.
    PrePrepare(PrePrepare),
    /// A backup takes it over.
    Prepare(Vote),
    /// A replica holds a prepared certificate.
    Commit(Vote),
    /// A replica has executed everything up to here, and its state has this digest.
    Checkpoint(Vote),
    /// A replica wants another view.
    ViewChange(Box<ViewChange>),
    /// The primary of a view begins it.
    NewView(Box<NewView>),
    /// Where a replica stands.
    Status(Status),
    /// A batch that is committed, with the proof.
    Committed(Box<Proven>),
    /// A checkpoint that is stable, with the proof.
    Stable(Box<Stable>),
    /// Which batch has this digest, at this place?
    FetchBatch {
        /// The place.
        sequence: Sequence,
        /// The digest.
        digest: Digest,
    },
    /// This one.
    BatchIs {
        /// The place.
        sequence: Sequence,
        /// The batch.
        batch: Batch,
    },
    /// What does the state after this checkpoint consist of?
    FetchState {
        /// The checkpoint.
        sequence: Sequence,
    },
    /// Of this.
    State(Box<Manifest>),
    /// What is in this chunk of it?
    FetchChunk {
        /// The checkpoint.
        sequence: Sequence,
        /// Which chunk, from 0 on.
        index: u32,
    },
    /// This.
    Chunk {
        /// The checkpoint.
        sequence: Sequence,
        /// Which chunk.
        index: u32,
        /// What is in it.
        bytes: Bytes,
    },
    /// What was executed after this place, up to this checkpoint?
    FetchBatches {
        /// The checkpoint.
        sequence: Sequence,
        /// The place.
        after: Sequence,
    },
    /// This, or the first part of it.
    Batches {
        /// The checkpoint.
        sequence: Sequence,
        /// The place.
        after: Sequence,
        /// What was executed, in order.
        #[serde(deserialize_with = "wire::at_most::<MAX_WINDOW, _, _>")]
        batches: Vec<Batch>,
    },
}

/// PRE-PREPARE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrePrepare {
    /// The view.
    pub view: View,
    /// The place.
    pub sequence: Sequence,
    /// The batch's digest.
    pub digest: Digest,
    /// The batch.
    pub batch: Batch,
    /// The primary's signature on the first three.
    pub signature: Signature,
}

/// PREPARE, COMMIT or CHECKPOINT of whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The view; 0 for a checkpoint.
    pub view: View,
    /// The place.
    pub sequence: Sequence,
    /// The digest of the batch, or of the state.
    pub digest: Digest,
    /// The sender's signature on the statement of that kind.
    pub signature: Signature,
}

impl Vote {
    /// What is said, if it is of this kind.
    #[must_use]
    pub const fn statement(&self, kind: Kind) -> Statement {
        Statement { kind, view: self.view, sequence: self.sequence, digest: self.digest }
    }
}

/// VIEW-CHANGE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewChange {
    /// Who says it.
    pub node: NodeId,
    /// The view that it wants.
    pub view: View,
    /// Its stable checkpoint.
    pub stable: Stable,
    /// What it prepared above that: of each place the certificate of the highest view, in ascending order of places.
    #[serde(deserialize_with = "wire::at_most::<MAX_WINDOW, _, _>")]
    pub prepared: Vec<Prepared>,
    /// Its signature.
    pub signature: Signature,
}

impl ViewChange {
    /// What is signed.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let digest = Digest::of_value(b"view-change", &(&self.stable, &self.prepared));
        Statement { kind: Kind::ViewChange, view: self.view, sequence: self.stable.sequence, digest }
    }
}

/// What a new view puts at a place: a batch by its digest, or a null request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The place.
    pub sequence: Sequence,
    /// The digest.
    pub digest: Digest,
    /// The primary's signature, as on a PRE-PREPARE.
    pub signature: Signature,
}

/// NEW-VIEW.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewView {
    /// The view.
    pub view: View,
    /// V: a quorum's wish for it, in ascending order of nodes.
    #[serde(deserialize_with = "wire::at_most::<MAX_MEMBERS, _, _>")]
    pub changes: Vec<ViewChange>,
    /// O: what follows from that, in ascending order of places.
    #[serde(deserialize_with = "wire::at_most::<MAX_WINDOW, _, _>")]
    pub proposals: Vec<Proposal>,
    /// The primary's signature.
    pub signature: Signature,
}

impl NewView {
    /// What is signed.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let digest = Digest::of_value(b"new-view", &(&self.changes, &self.proposals));
        Statement { kind: Kind::NewView, view: self.view, sequence: Sequence::ZERO, digest }
    }
}

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its view, or the one that it wants.
    pub view: View,
    /// Whether it waits for that view to begin.
    pub is_changing: bool,
    /// Its stable checkpoint.
    pub stable: Sequence,
    /// It has executed everything up to here.
    pub executed: Sequence,
}

/// A batch that is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proven {
    /// The proof.
    pub certificate: Committed,
    /// The batch.
    pub batch: Batch,
}

/// What the state after a checkpoint consists of: a snapshot, and what was executed since. Its digest is what the checkpoint's
/// certificate names. The default is the state of the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The place that the snapshot was taken behind.
    pub sequence: Sequence,
    /// The last slot that the snapshot contains.
    pub slot: Slot,
    /// How many bytes the snapshot has.
    pub length: u64,
    /// The digest of each chunk of the snapshot.
    #[serde(deserialize_with = "wire::at_most::<MAX_CHUNKS, _, _>")]
    pub chunks: Vec<Digest>,
    /// The digest of each batch that was executed since, in order.
    #[serde(deserialize_with = "wire::at_most::<MAX_BATCHES, _, _>")]
    pub batches: Vec<Digest>,
}

impl Manifest {
    /// What a checkpoint signs: client sessions with their replies are part of the snapshot, and so of this.
    // [B15]
    #[must_use]
    pub fn digest(&self) -> Digest {
        let Self { sequence, slot, length, chunks, batches } = self;
        let snapshot = Digest::of_value(b"state", &(sequence, slot, length, chunks));
        batches.iter().fold(snapshot, |state, batch| state.then(*batch))
    }

    /// The digests of what was executed after a place that is the snapshot's, or lies behind it.
    pub(crate) fn batches_after(&self, place: Sequence) -> &[Digest] {
        let known = place.0.checked_sub(self.sequence.0).and_then(|known| usize::try_from(known).ok());
        known.and_then(|known| self.batches.get(known..)).unwrap_or_default()
    }

    /// The checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> Sequence {
        Sequence(self.sequence.0.saturating_add(self.batches.len() as u64))
    }
}
