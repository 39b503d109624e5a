//! From records to state, and back.

use crate::entry::Position;
use crate::log::Log;
use crate::record::Record;
use crate::state::{Core, Snapshot};
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::{Bytes, Epoch, Members, NodeId, Slot, WriteSeq};

/// The durable part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Replayed {
    pub(crate) term: Epoch,
    pub(crate) vote: Option<NodeId>,
    pub(crate) log: Log,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) members: Members,
}

impl Replayed {
    pub(crate) const fn empty(members: Members) -> Self {
        Self { term: Epoch::ZERO, vote: None, log: Log::new(Position::ZERO), snapshot: None, members }
    }
}

/// Reads the records in order. What does not fit together is refused: a log that is silently shorter than what was once
/// acknowledged would be worse than a node that does nothing. [R25]
pub(crate) fn replay(
    members: Members,
    snapshot: Option<(Slot, Bytes)>,
    records: Vec<Record>,
) -> Result<Replayed, &'static str> {
    let mut state = Replayed::empty(members);
    let mut snapshot = snapshot;
    for record in records {
        match record {
            Record::Vote { term, vote } => {
                if term < state.term {
                    return Err("the records hold a term that falls");
                }
                (state.term, state.vote) = (term, vote);
            }
            Record::Entries { first, entries } => {
                let end = state.log.last().slot;
                if first <= state.log.base().slot || first > end.next() {
                    return Err("the records have a gap: part of the log is lost");
                }
                state.log.truncate_after(Slot(first.0 - 1));
                if entries.first().is_none_or(|entry| entry.term < state.log.last().term) {
                    return Err("the records hold entries whose terms fall");
                }
                state.log.append(entries, WriteSeq::ZERO);
            }
            Record::Snapshot { through, members, base } => {
                let (slot, bytes) =
                    snapshot.take().ok_or("the records speak of a snapshot that is not there")?;
                if slot != through.slot || base > through {
                    return Err("the records speak of another snapshot");
                }
                state.log = Log::new(base);
                state.members = (*members).clone();
                state.snapshot = Some(Snapshot { through, members: *members, bytes });
            }
        }
    }
    if snapshot.is_some() {
        return Err("there is a snapshot that the records do not know");
    }
    if let Some(snapshot) = &state.snapshot
        && state.log.position(snapshot.through.slot) != Some(snapshot.through)
    {
        return Err("the log does not fit its snapshot");
    }
    if state.log.last().term > state.term {
        return Err("the log is of a later term than the records tell");
    }
    state.log.settle();
    Ok(state)
}

impl Core {
    /// The records that bring this state back, beside the snapshot. [R25]
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(snapshot) = &self.snapshot {
            let (through, members) = (snapshot.through, Box::new(snapshot.members.clone()));
            records.push(Record::Snapshot { through, members, base: self.log.base() });
        }
        records.push(Record::Vote { term: self.term, vote: self.vote });
        let batches = self.log.batches();
        records.extend(batches.map(|(first, entries)| Record::Entries { first, entries: entries.clone() }));
        records
    }
}
