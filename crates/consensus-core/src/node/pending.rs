//! Snapshots that are written out beside the node, which goes on meanwhile.

use super::Event;
use crate::id::Slot;
use crate::machine::Frozen;
use alloc::vec::Vec;
use core::fmt;

/// A snapshot whose state is held fast, and still to be written out: a driver takes it from [`crate::Node::take_pending_snapshot`], has it
/// written on another thread, and hands the event that comes of it back to the node. Until then, or until another state is
/// installed, the node takes no other one of its own accord.
pub struct PendingSnapshot {
    pub(super) through: Slot,
    /// The sessions of that moment.
    pub(super) head: Vec<u8>,
    pub(super) frozen: Frozen,
}

impl PendingSnapshot {
    /// The last slot that it contains.
    #[must_use]
    pub const fn through(&self) -> Slot {
        self.through
    }

    /// Writes it out, which takes its time; what comes of it is for the node that it was taken from.
    #[must_use]
    pub fn write<M>(self) -> Event<M> {
        let Self { through, head, frozen } = self;
        Event::SnapshotWritten { through, snapshot: frozen(head) }
    }
}

impl fmt::Debug for PendingSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingSnapshot").field("through", &self.through).finish_non_exhaustive()
    }
}
