//! What becomes durable together. A batch is filled on the algorithm's thread while the journal writes another one.

use crate::entry::{self, SnapshotRef};
use crate::frame::{self, HEADER_BYTES};
use bytes::Bytes;
use consensus_core::{GroupId, Slot};
use serde::Serialize;

/// A buffer above this is given back after its batch is written.
const KEPT_BYTES: usize = 8 << 20;

/// Records and checkpoints of any groups, encoded as they come, for one [`crate::Journal::write`]. Reuse it: its buffer
/// grows to what is needed and stays.
#[derive(Debug)]
pub struct Batch {
    /// Room for the frame's header, then the payload.
    buffer: Vec<u8>,
    snapshots: Vec<PendingSnapshot>,
}

/// A snapshot that is to be written before the frame that refers to it.
#[derive(Debug)]
pub(crate) struct PendingSnapshot {
    pub(crate) group: GroupId,
    pub(crate) through: Slot,
    pub(crate) bytes: Bytes,
}

impl Default for Batch {
    fn default() -> Self {
        Self { buffer: vec![0; HEADER_BYTES], snapshots: Vec::new() }
    }
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.buffer.len() <= HEADER_BYTES
    }

    /// Bytes of encoded entries, without snapshots. More than [`crate::MAX_FRAME_BYTES`] cannot be written: hand a batch over
    /// long before.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.buffer.len().saturating_sub(HEADER_BYTES)
    }

    /// Adds a record of `group`.
    pub fn append<R: Serialize>(&mut self, group: GroupId, record: &R) {
        entry::push_record(&mut self.buffer, group, |buffer| entry::encode(record, buffer));
    }

    /// Adds a record of `group` that is encoded already.
    pub fn append_bytes(&mut self, group: GroupId, record: &[u8]) {
        entry::push_record(&mut self.buffer, group, |buffer| buffer.extend_from_slice(record));
    }

    /// Replaces everything that `group` wrote before, in this batch or an earlier one, by a snapshot of all decisions up to
    /// `through` and the records that are still needed. Other groups are not touched.
    pub fn checkpoint<R: Serialize>(&mut self, group: GroupId, through: Slot, snapshot: &Bytes, tail: &[R]) {
        let place = self.keep_snapshot(group, through, snapshot);
        entry::push_checkpoint(&mut self.buffer, group, through, place, tail, entry::encode);
    }

    /// [`Batch::checkpoint`] with records that are encoded already.
    pub fn checkpoint_bytes(&mut self, group: GroupId, through: Slot, snapshot: &Bytes, tail: &[Bytes]) {
        let place = self.keep_snapshot(group, through, snapshot);
        entry::push_checkpoint(&mut self.buffer, group, through, place, tail, |record, buffer| {
            buffer.extend_from_slice(record);
        });
    }

    /// Replaces everything that `group` wrote before by these records, without a snapshot.
    pub fn replace_bytes(&mut self, group: GroupId, records: &[Bytes]) {
        self.restate(group, Slot::ZERO, SnapshotRef::NONE, records);
    }

    /// Restates a group whose snapshot stays in its file.
    pub(crate) fn restate(&mut self, group: GroupId, through: Slot, place: SnapshotRef, tail: &[Bytes]) {
        entry::push_checkpoint(&mut self.buffer, group, through, place, tail, |record, buffer| {
            buffer.extend_from_slice(record);
        });
    }

    /// Forgets everything that was added.
    pub fn clear(&mut self) {
        self.buffer.truncate(HEADER_BYTES);
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer.shrink_to(KEPT_BYTES);
        }
        self.snapshots.clear();
    }

    pub(crate) fn snapshots(&self) -> &[PendingSnapshot] {
        &self.snapshots
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.buffer.get(HEADER_BYTES..).unwrap_or_default()
    }

    pub(crate) const fn frame_bytes(&self) -> usize {
        frame::frame_bytes(self.len())
    }

    /// Completes the frame and returns it. The batch must be cleared afterwards.
    pub(crate) fn seal(&mut self, seed: u32, sequence: u64) -> &[u8] {
        frame::seal(&mut self.buffer, seed, sequence);
        &self.buffer
    }

    fn keep_snapshot(&mut self, group: GroupId, through: Slot, snapshot: &Bytes) -> SnapshotRef {
        let ordinal = u32::try_from(self.snapshots.len()).unwrap_or(u32::MAX);
        self.snapshots.push(PendingSnapshot { group, through, bytes: snapshot.clone() });
        SnapshotRef { frame: 0, ordinal }
    }
}
