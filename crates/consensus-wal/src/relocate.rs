//! Reads back what groups still need: for a group that starts again, and to keep a slow one from holding segments for ever (what
//! it still needs is written anew, at the end).

use crate::batch::Batch;
use crate::disk::Disk;
use crate::entry::{Entries, Entry, SnapshotRef};
use crate::frame;
use crate::journal::{GroupState, Journal};
use crate::plate::PLATE_BYTES;
use crate::recover::{RawRecord, RecoveredRaw};
use crate::replay::read_frame;
use crate::segment::{self, Window};
use crate::snapshot::{self, ADVICE, SnapshotPlate};
use bytes::Bytes;
use consensus_core::{GroupId, Slot, StorageError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Write anew only if the segments hold this many times what is needed: then each byte that is written anew frees three.
const WASTE: u64 = 4;

/// Groups that are read back, and the records found so far.
type Chosen = BTreeMap<GroupId, (GroupState, Vec<RawRecord>)>;

impl<D: Disk> Journal<D> {
    /// Reads back what is durable of one group, as [`Journal::open`] gave it: nothing, if there is nothing. Reads every segment
    /// from the first that the group needs on; nothing can be written meanwhile.
    ///
    /// # Errors
    /// The disk failed, or what was durable is damaged. The journal itself goes on.
    pub fn read_group(&self, group: GroupId) -> Result<RecoveredRaw, StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let Some(&state) = self.groups.get(&group) else { return Ok(RecoveredRaw::default()) };
        let mut chosen = Chosen::from([(group, (state, Vec::new()))]);
        self.collect(&mut chosen)?;
        let records = chosen.remove(&group).map(|(_, records)| records).unwrap_or_default();
        let snapshot = match state.snapshot {
            Some((through, place)) => {
                let plate = SnapshotPlate { group, through, place };
                Some((through, snapshot::read(&self.volume, self.owner.seed(), plate)?))
            }
            None => None,
        };
        Ok(RecoveredRaw { snapshot, records })
    }

    /// Writes the groups that hold the oldest segment anew, if the segments hold too much. Their old entries stay valid until
    /// the next segment names a higher floor, so a crash at any point loses nothing.
    pub(crate) fn relocate(&mut self) -> Result<(), StorageError> {
        let needed: u64 = self.groups.values().map(|group| group.live_bytes).sum();
        let limit = self.config.retained_bytes.max(needed.saturating_mul(WASTE));
        if self.retained_bytes() <= limit {
            return Ok(());
        }
        let Some(second) = self.segments.get(1).map(|segment| segment.first) else { return Ok(()) };
        let mut budget = self.config.segment_bytes.max(needed / WASTE).min(crate::MAX_FRAME_BYTES as u64 / 2);
        let mut chosen = Chosen::new();
        for (&group, &state) in self.groups.iter().filter(|(_, state)| state.since < second) {
            if state.live_bytes <= budget {
                budget -= state.live_bytes;
                chosen.insert(group, (state, Vec::new()));
            }
        }
        if chosen.is_empty() {
            return Ok(());
        }
        self.collect(&mut chosen)?;
        let mut batch = Batch::new();
        for (group, (state, records)) in chosen {
            let (through, place) = state.snapshot.unwrap_or((Slot::ZERO, SnapshotRef::NONE));
            let records: Vec<Bytes> = records.into_iter().map(|record| record.bytes).collect();
            batch.restate(group, through, place, &records);
        }
        self.write_frame(&mut batch)?;
        Ok(())
    }

    /// Reads back what these groups still need.
    fn collect(&self, chosen: &mut Chosen) -> Result<(), StorageError> {
        let since = chosen.values().map(|(state, _)| state.since).min().unwrap_or(self.next);
        let needed = self.segments.partition_point(|segment| segment.first <= since).saturating_sub(1);
        for info in self.segments.range(needed..) {
            let name = segment::name(info.first);
            let place: Arc<str> = self.volume.place(&name).into();
            let handle = self.volume.open(&name)?;
            let mut window = Window::over(&handle)?;
            let seed = self.owner.segment_seed(info.first);
            let (mut offset, mut sequence) = (PLATE_BYTES as u64, info.first);
            while offset < info.bytes {
                let Some((header, payload)) = read_frame(&mut window, seed, offset, sequence)? else {
                    let problem = format!("frame {sequence} no longer holds; {ADVICE}");
                    return Err(self.volume.damage(&name, offset, problem));
                };
                let raw = |bytes: &[u8]| RawRecord {
                    bytes: payload.slice_ref(bytes),
                    place: place.clone(),
                    offset,
                };
                for entry in Entries::of(&payload).flatten() {
                    gather(chosen, &entry, raw);
                }
                offset += frame::frame_bytes(header.payload_bytes) as u64;
                sequence += 1;
            }
        }
        Ok(())
    }
}

fn gather(chosen: &mut Chosen, entry: &Entry<'_>, raw: impl Fn(&[u8]) -> RawRecord) {
    match *entry {
        Entry::Record { group, bytes } => {
            if let Some((_, records)) = chosen.get_mut(&group) {
                records.push(raw(bytes));
            }
        }
        Entry::Checkpoint { group, tail, .. } => {
            if let Some((_, records)) = chosen.get_mut(&group) {
                records.clear();
                records.extend(tail.map(raw));
            }
        }
    }
}
