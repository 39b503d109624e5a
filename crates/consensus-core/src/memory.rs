//! A network and a storage in memory, for tests, examples and measurements of the core alone.

use crate::effects::Write;
use crate::hand_off::{Network, Recovered, Storage, StorageError};
use crate::id::{NodeId, Slot, WriteSeq};
use alloc::vec::Vec;
use bytes::Bytes;

/// A network that keeps what was sent until somebody delivers it.
#[derive(Clone, Debug)]
pub struct Outbox<M> {
    /// Receiver and message, in the order of sending.
    pub sent: Vec<(NodeId, M)>,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self { sent: Vec::new() }
    }
}

impl<M> Network<M> for Outbox<M> {
    fn send(&mut self, to: NodeId, message: M) {
        self.sent.push((to, message));
    }

    fn send_all(&mut self, messages: &mut Vec<(NodeId, M)>) {
        if self.sent.is_empty() {
            core::mem::swap(&mut self.sent, messages);
        } else {
            self.sent.append(messages);
        }
    }
}

/// A disk in memory. By default every write is durable at once; with [`MemoryStorage::held`] it is durable only after
/// [`MemoryStorage::sync`], and [`MemoryStorage::crash`] loses the rest.
#[derive(Clone, Debug)]
pub struct MemoryStorage<R> {
    disk: Recovered<R>,
    queued: Vec<Write<R>>,
    durable: WriteSeq,
    hold: bool,
}

impl<R> Default for MemoryStorage<R> {
    fn default() -> Self {
        Self { disk: Recovered::default(), queued: Vec::new(), durable: WriteSeq::ZERO, hold: false }
    }
}

impl<R: Clone> MemoryStorage<R> {
    /// An empty disk whose writes wait for [`MemoryStorage::sync`].
    #[must_use]
    pub fn held() -> Self {
        Self { hold: true, ..Self::default() }
    }

    /// Makes everything queued durable.
    pub fn sync(&mut self) {
        let queued = core::mem::take(&mut self.queued);
        for write in queued {
            self.write(write);
        }
    }

    fn write(&mut self, write: Write<R>) {
        match write {
            Write::Append { seq, record } => {
                self.disk.records.push(record);
                self.durable = seq;
            }
            Write::Checkpoint { seq, through, snapshot, tail } => {
                self.disk.snapshot = Some((through, snapshot));
                // The room is kept: what follows is as long as what went.
                self.disk.records.clear();
                self.disk.records.extend(tail);
                self.durable = seq;
            }
        }
    }

    fn take(&mut self, write: Write<R>) {
        if self.hold {
            self.queued.push(write);
        } else {
            self.write(write);
        }
    }

    /// What a new boot would find: everything durable, nothing else.
    #[must_use]
    pub fn crash(self) -> Self {
        Self { disk: self.disk, queued: Vec::new(), durable: WriteSeq::ZERO, hold: self.hold }
    }

    /// What is durable.
    #[must_use]
    pub const fn contents(&self) -> &Recovered<R> {
        &self.disk
    }
}

impl<R: Clone> Storage<R> for MemoryStorage<R> {
    fn recover(&mut self) -> Result<Recovered<R>, StorageError> {
        // A new boot counts its writes from 1 again, and finds nothing that was not durable.
        self.queued.clear();
        self.durable = WriteSeq::ZERO;
        Ok(self.disk.clone())
    }

    #[inline]
    fn append(&mut self, seq: WriteSeq, record: R) {
        if self.hold {
            return self.queued.push(Write::Append { seq, record });
        }
        self.disk.records.push(record);
        self.durable = seq;
    }

    fn checkpoint(&mut self, seq: WriteSeq, through: Slot, snapshot: Bytes, tail: Vec<R>) {
        self.take(Write::Checkpoint { seq, through, snapshot, tail });
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        Ok(self.durable)
    }
}
