//! What a replica writes to its own disk: everything that it signed and could contradict, and what it needs to prove it. The state
//! is what the records say, in order (see [`crate::replay`]).

use crate::certificate::{Prepared, Stable};
use crate::evidence::Evidence;
use crate::message::{NewView, PrePrepare, ViewChange};
use crate::request::Batch;
use crate::statement::Sequence;
use alloc::boxed::Box;
use serde::{Deserialize, Serialize};

/// A record. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The checkpoint that the snapshot is of: the first record behind one.
    Stable(Box<Stable>),
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
}
