//! What a slot of the log may hold, and batches of it that are shared between the log, the disk and every peer.

use crate::configuration::Configuration;
use alloc::boxed::Box;
use consensus_core::{Batch, Bytes, Decision, Item, NamedMembers, ProposalId, Slot, Verdict};
use serde::{Deserialize, Serialize};

/// The most values in one message or record, whatever is configured: a peer cannot make us allocate more.
pub const MAX_BATCH_VALUES: usize = 1 << 16;
/// What one value costs beyond its payload, when bytes are bounded.
const VALUE_OVERHEAD_BYTES: usize = 32;
/// What one member costs.
const MEMBER_BYTES: usize = 16;
/// Marks a batch in which a configuration is sealed.
const STOPS: u8 = 1;

/// What a slot may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// Nothing: it fills a hole.
    Noop,
    /// A client's command.
    Command {
        /// Its name.
        id: ProposalId,
        /// Opaque to us.
        payload: Bytes,
    },
    /// The stop-sign: the last value of a configuration, and the one that follows it.
    Stop(Box<Configuration>),
    /// The first value of a configuration: it has begun to choose.
    Begin {
        /// The change that led to it, which is done now.
        id: ProposalId,
        /// Who takes part.
        members: Box<NamedMembers>,
    },
}

/// What values without a payload show.
static NOTHING: Bytes = Bytes::new();

impl Value {
    /// What the gate is told when it is chosen at `slot`.
    #[must_use]
    #[inline]
    pub fn decision(&self, slot: Slot) -> Decision<'_> {
        match self {
            Self::Noop | Self::Stop(_) => {
                Decision { slot, id: None, verdict: Verdict::Noop, payload: &NOTHING }
            }
            Self::Command { id, payload } => {
                Decision { slot, id: Some(*id), verdict: Verdict::Commit, payload }
            }
            Self::Begin { id, members } => {
                Decision { slot, id: Some(*id), verdict: Verdict::Noop, payload: members.encoded() }
            }
        }
    }

    /// The request that it came from.
    pub(crate) const fn id(&self) -> Option<ProposalId> {
        match self {
            Self::Noop => None,
            Self::Command { id, .. } | Self::Begin { id, .. } => Some(*id),
            Self::Stop(next) => Some(next.id),
        }
    }

    /// What it counts for when bytes are bounded.
    #[must_use]
    pub fn size(&self) -> usize {
        VALUE_OVERHEAD_BYTES
            + match self {
                Self::Noop => 0,
                Self::Command { payload, .. } => payload.len(),
                Self::Stop(next) => MEMBER_BYTES * next.members.iter().count(),
                Self::Begin { members, .. } => MEMBER_BYTES * members.iter().count(),
            }
    }
}

impl Item for Value {
    const MOST: usize = MAX_BATCH_VALUES;

    fn size(&self) -> usize {
        self.size()
    }

    fn marks(&self) -> u8 {
        match self {
            Self::Noop | Self::Command { .. } | Self::Begin { .. } => 0,
            Self::Stop(_) => STOPS,
        }
    }
}

/// Values of consecutive slots, shared. A clone costs a reference count.
pub type Values = Batch<Value>;

/// False if no configuration is sealed in it, which is nearly always.
pub(crate) const fn may_stop(values: &Values) -> bool {
    values.marks() & STOPS != 0
}
