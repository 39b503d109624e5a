//! Entries, and batches of them that are shared between the log, the disk and every follower.
//!
//! A batch is allocated once, when a leader closes a burst of proposals or a message is decoded; everything after that counts
//! references.

use crate::config::MAX_BATCH_ENTRIES;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use consensus_core::{Bytes, Decision, Epoch, Members, ProposalId, Slot, Verdict, wire};
use core::fmt;
use core::ops::Deref;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What one entry costs beyond its payload, when bytes are bounded.
const ENTRY_OVERHEAD_BYTES: usize = 32;
/// What one member costs.
const MEMBER_BYTES: usize = 16;

/// A place in a log: a slot, and the term of the entry there. Its order is the paper's "at least as up-to-date" (§5.4.1): the
/// later term wins, and in one term the longer log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The term of the entry.
    pub term: Epoch,
    /// Its slot.
    pub slot: Slot,
}

impl Position {
    /// Before the first entry.
    pub const ZERO: Self = Self { term: Epoch::ZERO, slot: Slot::ZERO };
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Epoch,
    /// What it carries.
    pub content: Content,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Nothing: a new leader's first entry.
    Noop,
    /// A client's proposal.
    Proposal {
        /// Its name.
        id: ProposalId,
        /// Opaque to us.
        payload: Bytes,
    },
    /// The members, from this entry on.
    Members {
        /// The change that led to them.
        id: ProposalId,
        /// All of them.
        members: Box<Named>,
    },
    /// Somebody's proposal, of which a witness keeps no more than its place.
    Withheld,
}

impl Content {
    /// The request that is done when it is committed. [R38] A change of members is done with its last configuration.
    pub(crate) fn settles(&self) -> Option<ProposalId> {
        match self {
            Self::Noop | Self::Withheld => None,
            Self::Proposal { id, .. } => Some(*id),
            Self::Members { id, members } => members.outgoing().is_empty().then_some(*id),
        }
    }

    /// The request that it came from.
    pub(crate) const fn id(&self) -> Option<ProposalId> {
        match self {
            Self::Noop | Self::Withheld => None,
            Self::Proposal { id, .. } | Self::Members { id, .. } => Some(*id),
        }
    }
}

/// Members as an entry names them, together with their encoded form, which is what a decision shows of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Members", into = "Members")]
pub struct Named {
    members: Members,
    encoded: Bytes,
}

impl From<Members> for Named {
    fn from(members: Members) -> Self {
        let encoded = wire::encode(&members).into();
        Self { members, encoded }
    }
}

impl From<Named> for Members {
    fn from(named: Named) -> Self {
        named.members
    }
}

impl Deref for Named {
    type Target = Members;

    fn deref(&self) -> &Members {
        &self.members
    }
}

/// What entries without a payload show.
static NOTHING: Bytes = Bytes::new();

impl Entry {
    /// What the gate is told when it is committed at `slot`.
    #[must_use]
    #[inline]
    pub fn decision(&self, slot: Slot) -> Decision<'_> {
        match &self.content {
            Content::Noop | Content::Withheld => {
                Decision { slot, id: None, verdict: Verdict::Noop, payload: &NOTHING }
            }
            Content::Proposal { id, payload } => {
                Decision { slot, id: Some(*id), verdict: Verdict::Commit, payload }
            }
            Content::Members { members, .. } => {
                let (id, payload) = (self.content.settles(), &members.encoded);
                Decision { slot, id, verdict: Verdict::Noop, payload }
            }
        }
    }

    /// What it counts for when bytes are bounded.
    #[must_use]
    pub fn size(&self) -> usize {
        ENTRY_OVERHEAD_BYTES
            + match &self.content {
                Content::Noop | Content::Withheld => 0,
                Content::Proposal { payload, .. } => payload.len(),
                Content::Members { members, .. } => MEMBER_BYTES * members.iter().count(),
            }
    }
}

/// Consecutive entries, shared. A clone costs a reference count.
#[derive(Clone, Default)]
pub struct Entries {
    shared: Option<Arc<[Entry]>>,
    from: u32,
    to: u32,
    size: usize,
    /// Whether an entry of the batch (of the shared one, if this is a part of it) names members.
    names_members: bool,
    /// Whether a payload is withheld in it.
    is_hollow: bool,
}

impl Entries {
    /// A batch of entries of which it is known what they count for.
    pub(crate) fn of_size(entries: impl Iterator<Item = Entry>, size: usize) -> Self {
        let entries = Self::whole(entries.collect(), size);
        debug_assert_eq!(size, entries.iter().map(Entry::size).sum::<usize>());
        entries
    }

    fn whole(shared: Arc<[Entry]>, size: usize) -> Self {
        if shared.is_empty() {
            return Self::default();
        }
        let (mut names_members, mut is_hollow) = (false, false);
        for entry in shared.iter() {
            match entry.content {
                Content::Noop | Content::Proposal { .. } => {}
                Content::Members { .. } => names_members = true,
                Content::Withheld => is_hollow = true,
            }
        }
        Self { from: 0, to: index(shared.len()), size, names_members, is_hollow, shared: Some(shared) }
    }

    /// The first `count` of these, or all.
    #[must_use]
    pub fn take(&self, count: usize) -> Self {
        self.range(0, count)
    }

    /// All but the first `count`.
    #[must_use]
    pub fn skip(&self, count: usize) -> Self {
        self.range(count, self.len())
    }

    /// Those at `start..end`, cut to what is there.
    #[must_use]
    pub fn range(&self, start: usize, end: usize) -> Self {
        let (start, end) = (start.min(self.len()), end.min(self.len()));
        if start == 0 && end == self.len() {
            return self.clone();
        }
        if start >= end {
            return Self::default();
        }
        let (from, to) = (self.from + index(start), self.from + index(end));
        let mut cut = Self { shared: self.shared.clone(), from, to, size: 0, ..*self };
        cut.size = cut.iter().map(Entry::size).sum();
        cut
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.to - self.from) as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// What they count for when bytes are bounded.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// False if none of them names members, which is nearly always.
    pub(crate) const fn name_members(&self) -> bool {
        self.names_members
    }

    /// Whether a payload is withheld.
    pub(crate) const fn is_hollow(&self) -> bool {
        self.is_hollow
    }

    /// The same places, without any payload.
    pub(crate) fn withhold(&self) -> Self {
        let hollow = |entry: &Entry| match &entry.content {
            Content::Proposal { .. } => Entry { term: entry.term, content: Content::Withheld },
            Content::Noop | Content::Members { .. } | Content::Withheld => entry.clone(),
        };
        self.iter().map(hollow).collect()
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        self.shared
            .as_ref()
            .and_then(|shared| shared.get(self.from as usize..self.to as usize))
            .unwrap_or_default()
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let shared: Arc<[Entry]> = entries.into_iter().collect();
        let size = shared.iter().map(Entry::size).sum();
        Self::whole(shared, size)
    }
}

/// A batch is bounded by [`MAX_BATCH_ENTRIES`], far below the range.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_BATCH_ENTRIES} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Entries, A::Error> {
                // The claimed length is not believed: room grows with what really arrives.
                let expected = entries.size_hint().unwrap_or(0).min(256);
                let mut taken = Vec::with_capacity(expected);
                while let Some(entry) = entries.next_element()? {
                    if taken.len() == MAX_BATCH_ENTRIES {
                        return Err(A::Error::invalid_length(taken.len() + 1, &self));
                    }
                    taken.push(entry);
                }
                Ok(if taken.is_empty() { Entries::default() } else { taken.into_iter().collect() })
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}
