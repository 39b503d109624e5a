//! What is signed: one fixed form for all that replicas say and others may have to prove.

use crate::digest::Digest;
use consensus_core::ProposalId;
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The first.
            pub const ZERO: Self = Self(0);

            /// The next one. The largest is followed by itself.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// A view: in each, one replica is the primary. The first is 0.
    View, "v"
);
number!(
    /// A sequence number: the place of a batch. The first batch has 1.
    Sequence, "q"
);

/// What kind of thing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// The primary of `view` puts the batch with this digest at `sequence`.
    PrePrepare,
    /// A backup takes that over, and will take no other in this view.
    Prepare,
    /// A replica holds a prepared certificate for it.
    Commit,
    /// After executing everything up to `sequence` the state has this digest (the view is 0).
    Checkpoint,
    /// A replica has left all views below `view`; the digest is of its certificates, `sequence` its stable checkpoint.
    ViewChange,
    /// The primary of `view` begins it; the digest is of its proof.
    NewView,
}

/// Something that is signed.
// [B2]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Statement {
    /// What kind of thing is said.
    pub kind: Kind,
    /// In which view, or of which.
    pub view: View,
    /// Of which place.
    pub sequence: Sequence,
    /// Of what.
    pub digest: Digest,
}

/// How many bytes are signed.
pub const STATEMENT_BYTES: usize = 65;

impl Statement {
    /// What is signed, for this group: `pbft/1` and two zeros, then the group, the kind, the view and the sequence, little-endian,
    /// then the digest. No two statements, groups or protocols have the same bytes.
    #[must_use]
    pub fn to_bytes(&self, group: u64) -> [u8; STATEMENT_BYTES] {
        let kind = match self.kind {
            Kind::PrePrepare => 1,
            Kind::Prepare => 2,
            Kind::Commit => 3,
            Kind::Checkpoint => 4,
            Kind::ViewChange => 5,
            Kind::NewView => 6,
        };
        joined([
            b"pbft/1\0\0",
            &group.to_le_bytes(),
            &[kind],
            &self.view.0.to_le_bytes(),
            &self.sequence.0.to_le_bytes(),
            &self.digest.0,
        ])
    }
}

/// What a client signs: that it asks for this, under this name.
// [B29]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The client, and its own count, which orders what it asks for as a timestamp would.
    pub id: ProposalId,
    /// The digest of what is asked for ([`Ask::of`]).
    pub digest: Digest,
}

/// How many bytes a client signs.
pub const ASK_BYTES: usize = 64;

impl Ask {
    /// This command, under this name.
    #[must_use]
    pub fn of(id: ProposalId, command: &[u8]) -> Self {
        Self { id, digest: Digest::of(b"ask", command) }
    }

    /// What is signed, for this group: `pbft/ask`, then the group, the client and its count, little-endian, then the digest. Nothing
    /// that a replica signs has the same bytes.
    #[must_use]
    pub fn to_bytes(&self, group: u64) -> [u8; ASK_BYTES] {
        let Self { id, digest } = self;
        let client = id.client.to_bits().to_le_bytes();
        joined([b"pbft/ask", &group.to_le_bytes(), &client, &id.sequence.to_le_bytes(), &digest.0])
    }
}

/// These parts, one behind the other.
fn joined<const LENGTH: usize, const PARTS: usize>(parts: [&[u8]; PARTS]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let mut rest = bytes.as_mut_slice();
    for part in parts {
        let Some((place, behind)) = rest.split_at_mut_checked(part.len()) else { break };
        place.copy_from_slice(part);
        rest = behind;
    }
    bytes
}
