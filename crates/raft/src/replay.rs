//! From records to state, and back.

use crate::configuration::Configurations;
use crate::entry::{Position, are_hollow};
use crate::log::Log;
use crate::record::Record;
use crate::snapshot::Snapshot;
use crate::state::Core;
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
    pub(crate) configurations: Configurations,
    pub(crate) is_hollow: bool,
}

impl Replayed {
    pub(crate) fn empty(members: Members) -> Self {
        let configurations = Configurations::new(Slot::ZERO, members);
        Self {
            term: Epoch::ZERO,
            vote: None,
            log: Log::new(Position::ZERO),
            snapshot: None,
            configurations,
            is_hollow: false,
        }
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
                state.configurations.truncate_after(Slot(first.0 - 1));
                state.is_hollow |= are_hollow(&entries);
                state.configurations.learn(first, &entries);
                state.log.append(entries, WriteSeq::ZERO);
            }
            Record::Snapshot { through, members, base, digest } => {
                let (slot, bytes) =
                    snapshot.take().ok_or("the records speak of a snapshot that is not there")?;
                if slot != through.slot || base > through {
                    return Err("the records speak of another snapshot");
                }
                state.is_hollow = bytes.is_empty();
                state.log = Log::new(base);
                state.configurations = Configurations::new(through.slot, (*members).clone());
                let read = Snapshot { through, members: *members, bytes, digest };
                if !read.is_sound() {
                    return Err("the snapshot is not what it was when it was written"); // [R50]
                }
                state.snapshot = Some(read);
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
        records(self.term, self.vote, &self.log, self.snapshot.as_ref())
    }
}

fn records(term: Epoch, vote: Option<NodeId>, log: &Log, snapshot: Option<&Snapshot>) -> Vec<Record> {
    let head = snapshot.map(|snapshot| {
        let Snapshot { through, members, digest, .. } = snapshot;
        Record::Snapshot {
            through: *through,
            members: Box::new(members.clone()),
            base: log.base(),
            digest: *digest,
        }
    });
    let batches = log.batches().map(|(first, entries)| Record::Entries { first, entries: entries.clone() });
    head.into_iter().chain([Record::Vote { term, vote }]).chain(batches).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Content, Entries, Entry};
    use quickcheck::quickcheck;
    use std::vec;

    fn entries(term: u64, count: u64) -> Entries {
        (0..count).map(|_| Entry { term: Epoch(term), content: Content::Noop }).collect()
    }

    quickcheck! {
        // tests [R25]
        fn replaying_the_records_of_a_state_gives_the_state(history: Vec<(u8, u8)>) -> bool {
            // A model: the terms of the log, cut and appended to at random, each time in a later term.
            let mut model: Vec<u64> = vec![];
            let mut written = vec![];
            for (turn, (cut, count)) in history.iter().enumerate() {
                let term = turn as u64 + 1;
                let keep = model.len() - usize::from(*cut) % (model.len() + 1);
                let count = u64::from(count % 4) + 1;
                written.push(Record::Vote { term: Epoch(term), vote: Some(NodeId(u64::from(*cut) + 1)) });
                written.push(Record::Entries { first: Slot(keep as u64 + 1), entries: entries(term, count) });
                model.truncate(keep);
                model.extend((0..count).map(|_| term));
            }
            let members = Members::of([NodeId(1)]);
            let Ok(state) = replay(members.clone(), None, written) else { return false };
            state.log.assert_invariants();
            let is_model = state.log.last().slot.0 == model.len() as u64
                && (1..).zip(&model).all(|(slot, &term)| state.log.term(Slot(slot)) == Some(Epoch(term)));
            // Cut in the middle, as compaction does, and brought back from the records of that.
            let mut cut = state.clone();
            let snapshot = state.log.position(Slot(model.len() as u64 / 2)).filter(|place| place.slot > Slot::ZERO);
            cut.snapshot = snapshot.map(|through| {
                cut.log.forget_through(Slot(through.slot.0 / 2));
                Snapshot::of(through, members.clone(), Bytes::new())
            });
            let records_of_it = records(cut.term, cut.vote, &cut.log, cut.snapshot.as_ref());
            let on_disk = snapshot.map(|through| (through.slot, Bytes::new()));
            let Ok(again) = replay(members, on_disk, records_of_it.clone()) else { return false };
            again.log.assert_invariants();
            let same = records(again.term, again.vote, &again.log, again.snapshot.as_ref()) == records_of_it;
            is_model && same && again.log.last() == state.log.last()
        }
    }

    // tests [R25]
    #[test]
    fn records_that_do_not_fit_are_refused() {
        let vote = |term| Record::Vote { term: Epoch(term), vote: None };
        let append = |first, term| Record::Entries { first: Slot(first), entries: entries(term, 2) };
        let refused = [
            vec![vote(2), append(2, 1)],
            vec![vote(2), append(1, 1), append(4, 1)],
            vec![vote(2), vote(1)],
            vec![vote(2), append(1, 2), append(3, 1)],
            vec![vote(1), append(1, 2)],
            vec![vote(1), Record::Entries { first: Slot(0), entries: entries(1, 1) }],
        ];
        for records in refused {
            assert!(replay(Members::of([NodeId(1)]), None, records.clone()).is_err(), "{records:?}");
        }
        let unknown = Some((Slot(3), Bytes::new()));
        assert!(replay(Members::of([NodeId(1)]), unknown, vec![vote(1)]).is_err());
    }
}
