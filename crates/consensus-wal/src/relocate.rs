//! Keeps one slow group from holding segments for ever: what it still needs is written anew, at the end.

use crate::batch::Batch;
use crate::disk::Disk;
use crate::entry::{Entries, Entry, SnapshotRef};
use crate::frame;
use crate::journal::{GroupState, Journal};
use crate::plate::PLATE_BYTES;
use crate::replay::read_frame;
use crate::segment::{self, Window};
use crate::snapshot::ADVICE;
use bytes::Bytes;
use consensus_core::{GroupId, Slot, StorageError};
use std::collections::BTreeMap;

/// Write anew only if the segments hold this many times what is needed: then each byte that is written anew frees three.
const WASTE: u64 = 4;

impl<D: Disk> Journal<D> {
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
        let mut chosen: BTreeMap<GroupId, (GroupState, Vec<Bytes>)> = BTreeMap::new();
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
            batch.restate(group, through, place, &records);
        }
        self.write_frame(&mut batch)?;
        Ok(())
    }

    /// Reads back what these groups still need.
    fn collect(&self, chosen: &mut BTreeMap<GroupId, (GroupState, Vec<Bytes>)>) -> Result<(), StorageError> {
        for info in &self.segments {
            let name = segment::name(info.first);
            let handle = self.volume.open(&name)?;
            let mut window = Window::over(&handle)?;
            let seed = self.owner.segment_seed(info.first);
            let (mut offset, mut sequence) = (PLATE_BYTES as u64, info.first);
            while offset < info.bytes {
                let Some((header, payload)) = read_frame(&mut window, seed, offset, sequence)? else {
                    let problem = format!("frame {sequence} no longer holds; {ADVICE}");
                    return Err(self.volume.damage(&name, offset, problem));
                };
                for entry in Entries::of(&payload).flatten() {
                    gather(chosen, &payload, &entry);
                }
                offset += frame::frame_bytes(header.payload_bytes) as u64;
                sequence += 1;
            }
        }
        Ok(())
    }
}

fn gather(chosen: &mut BTreeMap<GroupId, (GroupState, Vec<Bytes>)>, payload: &Bytes, entry: &Entry<'_>) {
    match *entry {
        Entry::Record { group, bytes } => {
            if let Some((_, records)) = chosen.get_mut(&group) {
                records.push(payload.slice_ref(bytes));
            }
        }
        Entry::Checkpoint { group, tail, .. } => {
            if let Some((_, records)) = chosen.get_mut(&group) {
                records.clear();
                records.extend(tail.map(|bytes| payload.slice_ref(bytes)));
            }
        }
    }
}
