//! The two synchronous hand-offs: a network is an outbox that may lose, a storage is a queue that reports what is durable.

use crate::id::{NodeId, Slot, WriteSeq};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// An outbox. It may lose, delay, repeat and reorder; it never blocks and never forges a sender.
pub trait Network<M> {
    /// Takes the message over.
    fn send(&mut self, to: NodeId, message: M);

    /// Takes over all of these, in order, and leaves the list empty.
    fn send_all(&mut self, messages: &mut Vec<(NodeId, M)>) {
        for (to, message) in messages.drain(..) {
            self.send(to, message);
        }
    }

    /// A burst ends here: what was taken over may leave in one write.
    fn flush(&mut self) {}
}

/// A journal of records and a snapshot, on a disk.
pub trait Storage<R> {
    /// Reads back what is durable. Called once, before anything is written; write numbers start at 1 after it.
    ///
    /// # Errors
    /// What is on the disk is damaged, foreign or newer than this program: the node does not start.
    fn recover(&mut self) -> Result<Recovered<R>, StorageError>;

    /// Queues a record and returns at once.
    fn append(&mut self, seq: WriteSeq, record: R);

    /// Queues the replacement of every earlier write by a snapshot and a tail, atomic under a crash.
    fn checkpoint(&mut self, seq: WriteSeq, through: Slot, snapshot: Bytes, tail: Vec<R>);

    /// A burst ends here: what was queued should be on its way to the disk.
    fn flush(&mut self) {}

    /// The last write that is durable, together with all before it.
    ///
    /// # Errors
    /// A write or a sync failed. The node stops, for good: after a failed sync nobody knows what is on the disk.
    fn durable(&mut self) -> Result<WriteSeq, StorageError>;
}

/// What was on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered<R> {
    /// The newest snapshot.
    pub snapshot: Option<(Slot, Bytes)>,
    /// Every record after it, oldest first.
    pub records: Vec<R>,
}

impl<R> Default for Recovered<R> {
    fn default() -> Self {
        Self { snapshot: None, records: Vec::new() }
    }
}

/// Why a disk cannot be used (any more).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused.
    #[error("{operation} failed on {place}: {cause}; the node stops, since nobody knows what is on the disk")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        place: String,
        /// What the operating system said.
        cause: String,
    },
    /// Bytes that were once durable are no longer what was written.
    #[error("{place} is damaged at byte {offset}: {problem}")]
    Corrupt {
        /// The file.
        place: String,
        /// Where in it.
        offset: u64,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The directory belongs to somebody else, or to another version.
    #[error("{place} cannot be used: {problem}")]
    Foreign {
        /// The file or directory.
        place: String,
        /// Whose it is, and what to do.
        problem: String,
    },
}
