//! What a replica writes to its own disk: everything that it signed and could contradict, and what it needs to prove it. The state
//! is what the records say, in order (see [`crate::replay`]).

use crate::certificate::{Prepared, Stable};
use crate::digest::Digest;
use crate::evidence::Evidence;
use crate::message::{MAX_BATCHES, NewView, PrePrepare, ViewChange};
use crate::request::Batch;
use crate::statement::Sequence;
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::wire;
use serde::{Deserialize, Serialize};

/// A record. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A checkpoint is stable, and was executed: everything up to it is settled.
    Stable {
        /// The proof.
        stable: Box<Stable>,
        /// What was executed since the last one, or since the snapshot, in order: its bodies are written before.
        #[serde(deserialize_with = "wire::at_most::<MAX_BATCHES, _, _>")]
        batches: Vec<Digest>,
    },
    /// The body of a digest.
    Body {
        /// Its place.
        sequence: Sequence,
        /// The batch.
        batch: Batch,
    },
    /// The primary's proposal is taken over; or, at the primary, made.
    PrePrepare(Box<PrePrepare>),
    /// A prepared certificate.
    Prepared(Box<Prepared>),
    /// All views below this one are left.
    ViewChange(Box<ViewChange>),
    /// A view is entered.
    NewView(Box<NewView>),
    /// Somebody contradicted itself.
    Evidence(Box<Evidence>),
    /// The place that the snapshot was taken behind: the first record behind one.
    Snapshot {
        /// The place.
        sequence: Sequence,
    },
}
