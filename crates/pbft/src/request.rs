//! What is ordered: requests of clients, in batches.
//!
//! Each is hashed once, when it is made or decoded, and carries its digest: a batch is named by those of its requests. No digest
//! comes from another replica.

use crate::digest::Digest;
use crate::keys::Signature;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{ClientId, ProposalId, wire};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most requests of a batch, or of a message that passes requests on.
pub const MAX_REQUESTS: usize = 8_192;
/// How much of a payload a client's signature takes, in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Plain")]
pub struct Request {
    id: ProposalId,
    payload: Bytes,
    #[serde(skip_serializing)]
    digest: Digest,
}

/// A request on the wire.
#[derive(Deserialize)]
struct Plain {
    id: ProposalId,
    payload: Bytes,
}

impl From<Plain> for Request {
    fn from(Plain { id, payload }: Plain) -> Self {
        Self::new(id, payload)
    }
}

impl Request {
    /// `payload`, asked for under this name.
    #[must_use]
    pub fn new(id: ProposalId, payload: Bytes) -> Self {
        Self { id, digest: content(id.sequence, &payload), payload }
    }

    /// A command that its client has signed ([`crate::Ask`]): the payload is the signature, and the command behind it.
    #[must_use]
    pub fn signed(id: ProposalId, command: &[u8], signature: &Signature) -> Self {
        Self::new(id, [&signature.r[..], &signature.s, command].concat().into())
    }

    /// The signature in front of the payload, and the command behind it.
    // [B29]
    #[must_use]
    pub fn signature(&self) -> Option<(Signature, Bytes)> {
        let (r, rest) = self.payload.split_first_chunk()?;
        let (s, _) = rest.split_first_chunk()?;
        Some((Signature { r: *r, s: *s }, self.payload.slice(SIGNATURE_BYTES..)))
    }

    /// Its name for good: the client, and the client's own count, which orders its requests as a timestamp would.
    #[must_use]
    pub const fn id(&self) -> ProposalId {
        self.id
    }

    /// What is asked for; opaque.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The digest of the client's count and of what is asked for. With [`Request::id`] it names the request, content and all.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The name that belongs to what is asked for. [B27]
    pub(crate) fn name(number: u64, payload: &[u8]) -> ProposalId {
        name_of(number, content(number, payload))
    }

    /// Whether it has that name.
    pub(crate) fn is_named(&self) -> bool {
        self.id == name_of(self.id.sequence, self.digest)
    }

    /// How much of a message it takes, in bytes, at most.
    pub(crate) const fn size(&self) -> usize {
        self.payload.len() + 24
    }
}

fn content(number: u64, payload: &[u8]) -> Digest {
    Digest::of_two(b"name", &number.to_le_bytes(), payload)
}

fn name_of(number: u64, content: Digest) -> ProposalId {
    let Digest([a, b, c, d, e, f, g, h, ..]) = content;
    ProposalId::new(ClientId::anonymous(u64::from_le_bytes([a, b, c, d, e, f, g, h])), number)
}

/// Requests that are executed one after the other; none: a null request, which does nothing. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch(Arc<Contents>);

#[derive(Debug, PartialEq, Eq)]
struct Contents {
    requests: Vec<Request>,
    digest: Digest,
}

impl Batch {
    /// These requests.
    #[must_use]
    pub fn new(requests: Vec<Request>) -> Self {
        let mut names = Vec::with_capacity(requests.len() * 48);
        for Request { id, digest, .. } in &requests {
            names.extend_from_slice(&id.client.to_bits().to_le_bytes());
            names.extend_from_slice(&id.sequence.to_le_bytes());
            names.extend_from_slice(&digest.0);
        }
        let digest = Digest::of(b"batch", &names);
        Self(Arc::new(Contents { requests, digest }))
    }

    /// The requests, in order.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.0.requests
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.requests.is_empty()
    }

    /// What names it: a digest of the names and the digests of its requests.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// How much of a message it takes, in bytes, at most.
    pub(crate) fn size(&self) -> usize {
        self.0.requests.iter().map(Request::size).sum()
    }
}

/// The null request.
impl Default for Batch {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.requests.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        wire::at_most::<MAX_REQUESTS, Request, D>(deserializer).map(Self::new)
    }
}
