//! Entries, and batches of them that are shared between the log, the disk and every follower.

use crate::config::MAX_BATCH_ENTRIES;
use alloc::boxed::Box;
use consensus_core::{Batch, Bytes, Decision, Epoch, Item, NamedMembers, ProposalId, Slot, Verdict};
use serde::{Deserialize, Serialize};

/// What one entry costs beyond its payload, when bytes are bounded.
const ENTRY_OVERHEAD_BYTES: usize = 32;
/// What one member costs.
const MEMBER_BYTES: usize = 16;
/// Marks a batch in which an entry names members.
const NAMES_MEMBERS: u8 = 1;
/// Marks a batch in which a payload is withheld.
const IS_HOLLOW: u8 = 2;

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
        members: Box<NamedMembers>,
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
                let (id, payload) = (self.content.settles(), members.encoded());
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

impl Item for Entry {
    const MOST: usize = MAX_BATCH_ENTRIES;

    fn size(&self) -> usize {
        self.size()
    }

    fn marks(&self) -> u8 {
        match self.content {
            Content::Noop | Content::Proposal { .. } => 0,
            Content::Members { .. } => NAMES_MEMBERS,
            Content::Withheld => IS_HOLLOW,
        }
    }
}

/// Consecutive entries, shared. A clone costs a reference count.
pub type Entries = Batch<Entry>;

/// False if none of them names members, which is nearly always.
pub(crate) const fn name_members(entries: &Entries) -> bool {
    entries.marks() & NAMES_MEMBERS != 0
}

/// Whether a payload is withheld.
pub(crate) const fn are_hollow(entries: &Entries) -> bool {
    entries.marks() & IS_HOLLOW != 0
}

/// The same places, without any payload.
pub(crate) fn withhold(entries: &Entries) -> Entries {
    let hollow = |entry: &Entry| match &entry.content {
        Content::Proposal { .. } => Entry { term: entry.term, content: Content::Withheld },
        Content::Noop | Content::Members { .. } | Content::Withheld => entry.clone(),
    };
    entries.iter().map(hollow).collect()
}
