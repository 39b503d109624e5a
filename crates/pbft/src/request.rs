//! What is ordered: requests of clients, in batches.

use crate::digest::Digest;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{ClientId, ProposalId, wire};
use serde::{Deserialize, Serialize};

/// The most requests of a batch, or of a message that passes requests on.
pub const MAX_REQUESTS: usize = 8_192;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its name for good: the client, and the client's own count, which orders its requests as a timestamp would.
    pub id: ProposalId,
    /// What is asked for; opaque.
    pub payload: Bytes,
}

impl Request {
    /// What names it, content and all.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value(b"request", self)
    }

    /// The name that belongs to what is asked for. [B27]
    pub(crate) fn name(number: u64, payload: &[u8]) -> ProposalId {
        let Digest([a, b, c, d, e, f, g, h, ..]) = Digest::of_two(b"name", &number.to_le_bytes(), payload);
        ProposalId::new(ClientId::anonymous(u64::from_le_bytes([a, b, c, d, e, f, g, h])), number)
    }

    /// Whether it has that name.
    pub(crate) fn is_named(&self) -> bool {
        self.id == Self::name(self.id.sequence, &self.payload)
    }

    /// How much of a message it takes, in bytes, at most.
    pub(crate) const fn size(&self) -> usize {
        self.payload.len() + 24
    }
}

/// Requests that are executed one after the other; none: a null request, which does nothing. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Batch(#[serde(deserialize_with = "bounded")] Arc<Vec<Request>>);

fn bounded<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<Vec<Request>>, D::Error> {
    wire::at_most::<MAX_REQUESTS, Request, D>(deserializer).map(Arc::new)
}

impl Batch {
    /// These requests.
    #[must_use]
    pub fn new(requests: Vec<Request>) -> Self {
        Self(Arc::new(requests))
    }

    /// The requests, in order.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.0
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.is_empty()
    }

    /// What names it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value(b"batch", self)
    }

    /// How much of a message it takes, in bytes, at most.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(Request::size).sum()
    }
}
