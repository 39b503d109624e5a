//! The journal of one group on one thread, behind [`Storage`].

use crate::batch::Batch;
use crate::disk::Disk;
use crate::journal::{Identity, Journal, JournalConfig};
use crate::recover::RecoveredRaw;
use bytes::Bytes;
use consensus_core::{GroupId, Recovered, Slot, Storage, StorageError, WriteSeq};
use core::marker::PhantomData;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A journal with one group. Writes are queued until somebody calls [`SoloStorage::commit`]; any error of the disk is
/// remembered and reported by [`Storage::durable`] for ever.
pub struct SoloStorage<D: Disk, R> {
    journal: Journal<D>,
    group: GroupId,
    batch: Batch,
    recovered: RecoveredRaw,
    queued: WriteSeq,
    durable: WriteSeq,
    records: PhantomData<fn() -> R>,
}

impl<D: Disk, R> SoloStorage<D, R> {
    /// Opens or begins the journal.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open(
        disk: D,
        config: JournalConfig,
        identity: Identity,
        group: GroupId,
    ) -> Result<Self, StorageError> {
        let (journal, mut groups) = Journal::open(disk, config, identity)?;
        Ok(Self {
            journal,
            group,
            batch: Batch::new(),
            recovered: groups.remove(&group).unwrap_or_default(),
            queued: WriteSeq::ZERO,
            durable: WriteSeq::ZERO,
            records: PhantomData,
        })
    }

    /// Makes everything queued durable, with one write and one sync. Blocks.
    ///
    /// # Errors
    /// The disk failed, now or earlier.
    pub fn commit(&mut self) -> Result<WriteSeq, StorageError> {
        self.journal.write(&mut self.batch)?;
        self.durable = self.queued;
        Ok(self.durable)
    }

    /// Whether something waits for [`SoloStorage::commit`].
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.queued > self.durable
    }

    /// The journal.
    pub const fn journal(&mut self) -> &mut Journal<D> {
        &mut self.journal
    }
}

impl<D: Disk, R: Serialize + DeserializeOwned> Storage<R> for SoloStorage<D, R> {
    fn recover(&mut self) -> Result<Recovered<R>, StorageError> {
        core::mem::take(&mut self.recovered).decode()
    }

    fn append(&mut self, seq: WriteSeq, record: R) {
        self.batch.append(self.group, &record);
        self.queued = seq;
    }

    fn checkpoint(&mut self, seq: WriteSeq, through: Slot, snapshot: Bytes, tail: Vec<R>) {
        self.batch.checkpoint(self.group, through, &snapshot, &tail);
        self.queued = seq;
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        match self.journal.failure() {
            Some(error) => Err(error.clone()),
            None => Ok(self.durable),
        }
    }
}
