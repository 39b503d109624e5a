//! The writing side: one frame and one sync for all that is pending.

use crate::batch::Batch;
use crate::disk::Disk;
use crate::entry::{Entries, Entry, SnapshotRef};
use crate::plate::PLATE_BYTES;
use crate::recover::{self, RecoveredRaw};
use crate::segment::{self, Owner, SegmentPlate};
use crate::snapshot::{self, SnapshotPlate};
use crate::volume::{Handle, Volume};
use crate::{MAX_FRAME_BYTES, frame, note};
use bytes::Bytes;
use consensus_core::{ClusterId, GroupId, NodeId, Slot, StorageError};
use std::collections::{BTreeMap, VecDeque};

const MIN_SEGMENT_BYTES: u64 = 4096;

/// How the journal uses its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// A segment is not begun anew before it has this many bytes; at least 4096. A larger frame gets a larger segment.
    pub segment_bytes: u64,
    /// How many zeros are written ahead at once, so that a commit rarely changes the file's metadata. Zero writes none.
    pub zero_ahead_bytes: u64,
    /// When the segments hold more than this, and four times what the groups still need, then the groups that hold the
    /// oldest segment are written anew.
    pub retained_bytes: u64,
    /// Mixed into every checksum of a new directory, so that no client can make bytes that look like a frame. Draw it at
    /// random; an existing directory keeps its own.
    pub salt: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, zero_ahead_bytes: 1 << 20, retained_bytes: 512 << 20, salt: 0 }
    }
}

/// Whose journal this is. A directory of anybody else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node within it.
    pub node: NodeId,
}

/// The number of a frame: one higher with every write, for the life of the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameSeq(pub u64);

/// What is known of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupState {
    /// The oldest frame that it needs.
    pub(crate) since: u64,
    /// Bytes of its entries from there on.
    pub(crate) live_bytes: u64,
    /// Its newest snapshot.
    pub(crate) snapshot: Option<(Slot, SnapshotRef)>,
}

/// A segment that has not been unlinked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentInfo {
    pub(crate) first: u64,
    pub(crate) bytes: u64,
}

/// The segment that is written to.
pub(crate) struct Active<F> {
    pub(crate) handle: Handle<F>,
    pub(crate) seed: u32,
    /// Where the next frame goes.
    pub(crate) position: u64,
    /// Up to here the file is known to hold zeros behind `position`.
    pub(crate) zeroed: u64,
    /// The floor that its plate names, which recovery goes by.
    pub(crate) floor: u64,
}

/// An append-only journal that many groups share. It blocks: run it on a thread of its own, or in a simulation.
pub struct Journal<D: Disk> {
    pub(crate) volume: Volume<D>,
    pub(crate) config: JournalConfig,
    pub(crate) owner: Owner,
    pub(crate) note: Option<Bytes>,
    pub(crate) active: Active<D::File>,
    /// The number of the next frame.
    pub(crate) next: u64,
    /// Oldest first; the last is the active one.
    pub(crate) segments: VecDeque<SegmentInfo>,
    pub(crate) groups: BTreeMap<GroupId, GroupState>,
    pub(crate) failed: Option<StorageError>,
    /// Snapshots that the last frame made superfluous.
    pub(crate) superseded: Vec<SnapshotRef>,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal of `identity`, or begins it if the directory is empty, and reads back what every group needs.
    ///
    /// # Errors
    /// The disk failed; something that was durable is damaged or missing; the directory belongs to another cluster or node
    /// or to a newer format. Nothing on the disk was changed then.
    pub fn open(
        disk: D,
        config: JournalConfig,
        identity: Identity,
    ) -> Result<(Self, BTreeMap<GroupId, RecoveredRaw>), StorageError> {
        let config = JournalConfig { segment_bytes: config.segment_bytes.max(MIN_SEGMENT_BYTES), ..config };
        recover::open(Volume::new(disk), config, identity)
    }

    /// Whose directory this is, and its note, without opening the journal or changing anything; `None` if it is nobody's yet.
    ///
    /// # Errors
    /// As [`Journal::open`], but only as far as the identity and the note tell.
    pub fn peek(disk: D) -> Result<Option<(Identity, Option<Bytes>)>, StorageError> {
        recover::peek(&Volume::new(disk))
    }

    /// The note that was kept last; `None` if none was ever kept.
    #[must_use]
    pub const fn note(&self) -> Option<&Bytes> {
        self.note.as_ref()
    }

    /// Keeps a few bytes of the caller's own beside the journal, in place of those that were kept before. They are durable on
    /// return; a crash before leaves the old ones or the new ones.
    ///
    /// # Errors
    /// As [`Journal::write`].
    pub fn keep(&mut self, note: Bytes) -> Result<(), StorageError> {
        self.guarded(|journal| {
            note::write(&journal.volume, &journal.owner, &note)?;
            journal.note = Some(note);
            Ok(())
        })
    }

    /// Makes the batch durable, as one frame with one sync, and clears it. An empty batch costs nothing.
    ///
    /// # Errors
    /// The disk failed, or the batch is over [`MAX_FRAME_BYTES`]. Every later call returns the same error: nobody knows
    /// what is on the disk.
    pub fn write(&mut self, batch: &mut Batch) -> Result<FrameSeq, StorageError> {
        self.guarded(|journal| {
            let rolled = journal.write_frame(batch)?;
            if rolled { journal.compact() } else { Ok(()) }
        })?;
        Ok(self.durable())
    }

    /// The last frame that is durable.
    #[must_use]
    pub const fn durable(&self) -> FrameSeq {
        FrameSeq(self.next - 1)
    }

    /// The error that ended this journal, if one did.
    #[must_use]
    pub const fn failure(&self) -> Option<&StorageError> {
        self.failed.as_ref()
    }

    /// Writes zeros ahead of the next frame; call it when there is nothing else to do. False if there is nothing to prepare.
    ///
    /// # Errors
    /// As [`Journal::write`].
    pub fn prepare(&mut self) -> Result<bool, StorageError> {
        let active = &self.active;
        let enough = active.zeroed.saturating_sub(active.position) >= self.config.zero_ahead_bytes;
        if self.failed.is_none() && (enough || active.zeroed >= self.config.segment_bytes) {
            return Ok(false);
        }
        self.guarded(|journal| {
            let from = journal.active.zeroed.max(journal.active.position);
            journal.zero_ahead(from)?;
            journal.active.handle.sync()
        })?;
        Ok(true)
    }

    /// Bytes in all segments that have not been unlinked.
    #[must_use]
    pub fn retained_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// How many segments have not been unlinked.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The disk.
    pub const fn disk(&self) -> &D {
        self.volume.disk()
    }

    /// Fail-stop: after an error nothing is attempted any more.
    fn guarded(
        &mut self,
        attempt: impl FnOnce(&mut Self) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        attempt(self).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Writes one frame; true if it began a new segment.
    pub(crate) fn write_frame(&mut self, batch: &mut Batch) -> Result<bool, StorageError> {
        if batch.is_empty() {
            return Ok(false);
        }
        self.check_size(batch)?;
        self.write_snapshots(batch)?;
        let frame_bytes = batch.frame_bytes() as u64;
        let rolled = self.active.position > PLATE_BYTES as u64
            && self.active.position + frame_bytes > self.config.segment_bytes;
        if rolled {
            self.begin_segment()?;
        }
        self.note_entries(batch)?;
        let active = &mut self.active;
        active.handle.write_at(active.position, batch.seal(active.seed, self.next))?;
        active.position += frame_bytes;
        if active.position > active.zeroed {
            let from = active.position;
            self.zero_ahead(from)?;
        }
        self.active.handle.sync()?;
        if rolled {
            self.volume.sync()?;
        }
        self.next += 1;
        if let Some(last) = self.segments.back_mut() {
            last.bytes = self.active.position;
        }
        self.remove_superseded()?;
        batch.clear();
        Ok(rolled)
    }

    fn check_size(&self, batch: &Batch) -> Result<(), StorageError> {
        if batch.len() <= MAX_FRAME_BYTES {
            return Ok(());
        }
        let bytes = batch.len();
        let cause = format!(
            "a batch of {bytes} bytes is over the limit of {MAX_FRAME_BYTES}; hand over smaller ones"
        );
        Err(StorageError::Io {
            operation: "writing",
            place: self.volume.place(&segment::name(self.next)),
            cause,
        })
    }

    fn write_snapshots(&self, batch: &Batch) -> Result<(), StorageError> {
        for (ordinal, pending) in (0..).zip(batch.snapshots()) {
            let place = SnapshotRef { frame: self.next, ordinal };
            let plate = SnapshotPlate { group: pending.group, through: pending.through, place };
            snapshot::write(&self.volume, self.owner.seed(), plate, &pending.bytes)?;
        }
        if batch.snapshots().is_empty() { Ok(()) } else { self.volume.sync() }
    }

    /// Begins the segment of the next frame. It becomes durable together with that frame.
    fn begin_segment(&mut self) -> Result<(), StorageError> {
        let first = self.next;
        // Everything that the floor relies on is durable by now: the frame to come does not count.
        let floor = self.floor();
        self.active = begin_segment(&self.volume, &self.owner, SegmentPlate { first, floor })?;
        self.segments.push_back(SegmentInfo { first, bytes: PLATE_BYTES as u64 });
        Ok(())
    }

    /// The oldest frame that any group needs.
    pub(crate) fn floor(&self) -> u64 {
        self.groups.values().map(|group| group.since).min().unwrap_or(self.next).min(self.next)
    }

    fn zero_ahead(&mut self, from: u64) -> Result<(), StorageError> {
        let ahead = self.config.zero_ahead_bytes;
        let to = from.saturating_add(ahead).min(self.config.segment_bytes).max(from);
        if ahead > 0 {
            self.active.handle.zero(from, to)?;
        }
        self.active.zeroed = to;
        Ok(())
    }

    fn note_entries(&mut self, batch: &Batch) -> Result<(), StorageError> {
        let frame = self.next;
        for entry in Entries::of(batch.payload()) {
            let Ok(entry) = entry else {
                let place = self.volume.place(&segment::name(frame));
                let cause = "a record is over the limit; write smaller ones".into();
                return Err(StorageError::Io { operation: "encoding", place, cause });
            };
            note_entry(&mut self.groups, frame, &entry, |place| self.superseded.push(place));
        }
        Ok(())
    }

    fn remove_superseded(&mut self) -> Result<(), StorageError> {
        while let Some(place) = self.superseded.pop() {
            self.volume.remove(&snapshot::name(place))?;
        }
        Ok(())
    }

    /// After a new segment became durable: unlinks what its floor makes superfluous, then sees to groups that hold too much.
    fn compact(&mut self) -> Result<(), StorageError> {
        let floor = self.active.floor;
        while let [first, second, ..] = *self.segments.make_contiguous()
            && second.first <= floor
        {
            self.volume.remove(&segment::name(first.first))?;
            self.segments.pop_front();
        }
        self.relocate()
    }
}

/// Creates a segment and writes its plate; neither is durable yet.
pub(crate) fn begin_segment<D: Disk>(
    volume: &Volume<D>,
    owner: &Owner,
    plate: SegmentPlate,
) -> Result<Active<D::File>, StorageError> {
    let handle = volume.create(&segment::name(plate.first))?;
    handle.write_at(0, &owner.encode(plate))?;
    let position = PLATE_BYTES as u64;
    Ok(Active {
        handle,
        seed: owner.segment_seed(plate.first),
        position,
        zeroed: position,
        floor: plate.floor,
    })
}

/// Keeps the books of one entry of `frame`; tells which snapshot it made superfluous.
pub(crate) fn note_entry(
    groups: &mut BTreeMap<GroupId, GroupState>,
    frame: u64,
    entry: &Entry<'_>,
    mut superseded: impl FnMut(SnapshotRef),
) {
    let live_bytes = entry.encoded_bytes();
    match *entry {
        Entry::Record { group, .. } => {
            let fresh = GroupState { since: frame, live_bytes: 0, snapshot: None };
            groups.entry(group).or_insert(fresh).live_bytes += live_bytes;
        }
        Entry::Checkpoint { group, through, snapshot, .. } => {
            let snapshot = snapshot.within(frame).map(|place| (through, place));
            let state = GroupState { since: frame, live_bytes, snapshot };
            let before = groups.insert(group, state).and_then(|before| before.snapshot);
            if let Some((_, place)) = before
                && snapshot.is_none_or(|(_, kept)| kept != place)
            {
                superseded(place);
            }
        }
    }
}

const _: () = assert!(PLATE_BYTES.is_multiple_of(frame::ALIGNMENT));
