//! Identities and counters. Each is its own type, so that a slot is never passed where an epoch is meant.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);

            /// The value that follows this one. The largest is followed by itself: a peer that names it must neither stop us
            /// nor turn us back to zero.
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

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

counter!(
    /// A member of the cluster. Zero is not a valid member.
    NodeId, "n"
);
counter!(
    /// Many independent groups share one process, one journal and one set of connections.
    GroupId, "g"
);
counter!(
    /// A cluster: nodes of different clusters refuse each other's frames and data directories.
    ClusterId, "c"
);
counter!(
    /// A position in the sequence of decisions; the first decision has slot 1, zero means "none yet".
    Slot, "s"
);
counter!(
    /// A term, ballot round or view: whatever the protocol counts leaderships with.
    Epoch, "e"
);
counter!(
    /// A write to our own disk, counted from 1 since this boot; zero is "before any write".
    WriteSeq, "w"
);
counter!(
    /// A read barrier that a driver asked for.
    ReadId, "r"
);

/// Who proposes: an anonymous client, whose commands are applied as often as they are decided, or a session, whose
/// commands are applied exactly once (see [`crate::Sessions`]). Whoever is known to the group has a session from the beginning.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(u64);

impl ClientId {
    const SESSION: u64 = 1 << 63;
    /// No slot comes so far.
    const KNOWN: u64 = Self::SESSION | 1 << 62;

    /// A client without a session. `number` only has to be unique among those who wait for a reply (63 bits are kept).
    #[must_use]
    pub const fn anonymous(number: u64) -> Self {
        Self(number & !Self::SESSION)
    }

    /// The session that was opened by the decision at `slot`: unique in the life of a group.
    #[must_use]
    pub const fn session(slot: Slot) -> Self {
        Self(slot.0 | Self::SESSION)
    }

    /// A client that the group knows, as by its key (62 bits are kept): a session that nobody has to open, and that is never
    /// forgotten where there are no more sessions than are kept ([`crate::MAX_SESSIONS`]).
    #[must_use]
    pub const fn known(number: u64) -> Self {
        Self(number | Self::KNOWN)
    }

    /// Whether the group knows this client without a session that was opened.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 & Self::KNOWN == Self::KNOWN
    }

    /// Whether commands of this client are applied exactly once.
    #[must_use]
    pub const fn is_session(self) -> bool {
        self.0 & Self::SESSION != 0
    }

    /// The identity as one number, for a reply or a log line.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`ClientId::to_bits`].
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, mark) = if self.is_known() {
            ("known", Self::KNOWN)
        } else if self.is_session() {
            ("session", Self::SESSION)
        } else {
            ("anon", 0)
        };
        write!(f, "{kind}:{:x}", self.0 & !mark)
    }
}

/// Names one proposal for good: retries carry the same identity. For atomic commitment it *is* the transaction.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProposalId {
    /// Who proposes.
    pub client: ClientId,
    /// The client's own count. An anonymous proposal with sequence 0 opens a session.
    pub sequence: u64,
}

impl ProposalId {
    /// The proposal number `sequence` of `client`.
    #[must_use]
    pub const fn new(client: ClientId, sequence: u64) -> Self {
        Self { client, sequence }
    }

    /// A proposal that asks for a new session; the reply is the session's [`ClientId`] (8 bytes, little-endian).
    #[must_use]
    pub const fn open_session(nonce: u64) -> Self {
        Self { client: ClientId::anonymous(nonce), sequence: 0 }
    }

    /// Whether it is a command of a session, or asks for one.
    pub(crate) const fn concerns_sessions(&self) -> bool {
        self.client.is_session() || self.opens_session()
    }

    /// Whether this proposal asks for a new session.
    #[must_use]
    pub const fn opens_session(&self) -> bool {
        !self.client.is_session() && self.sequence == 0
    }
}

impl fmt::Debug for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.client, self.sequence)
    }
}
