//! The log: shared batches of entries behind a base, and how far they are on our own disk.
//!
//! Invariants: slots are contiguous from `base + 1` to `last`; terms never fall; no batch is empty; `durable ≤ last`.

use crate::entry::{Entries, Entry, Position};
use alloc::collections::{VecDeque, vec_deque};
use alloc::vec::Vec;
use consensus_core::{Epoch, Slot, WriteSeq};
use core::ops::Range;
use core::slice;

/// How many batches from the end are looked at one by one before a search over all.
const RECENT_BATCHES: usize = 8;
/// How many batches from the end are checked: more than one step and the flush before it can add.
const CHECKED_BATCHES: usize = 4;

/// The uncompacted suffix of the log, in memory.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base: Position,
    last: Position,
    batches: VecDeque<Batch>,
    /// Everything up to here is on our disk.
    durable: Slot,
    /// Writes on their way to the disk, and the last slot that each brings.
    unwritten: VecDeque<(WriteSeq, Slot)>,
}

#[derive(Clone, Debug)]
struct Batch {
    first: Slot,
    /// The term of what precedes it.
    prev_term: Epoch,
    entries: Entries,
}

impl Batch {
    fn last(&self) -> Slot {
        Slot(self.first.0 + self.entries.len() as u64 - 1)
    }

    /// The place of its last entry; `term` if it has none, which must not be.
    fn end(&self, term: Epoch) -> Position {
        Position { term: self.entries.last().map_or(term, |entry| entry.term), slot: self.last() }
    }

    /// Where it ends, if it is sound and continues a log that ended at `before`.
    fn assert_follows(&self, before: Position) -> Position {
        assert_eq!(self.first, before.slot.next(), "the log has a gap");
        assert!(!self.entries.is_empty(), "the log has an empty batch");
        assert_eq!(self.prev_term, before.term, "a batch is wrong about what precedes it");
        let mut term = before.term;
        for entry in self.entries.iter() {
            assert!(entry.term >= term, "terms fall along the log");
            term = entry.term;
        }
        Position { term, slot: self.last() }
    }
}

/// Entries of consecutive slots.
#[derive(Clone, Debug)]
pub(crate) struct Span<'a> {
    batches: vec_deque::Iter<'a, Batch>,
    /// Those of the batch at hand.
    entries: slice::Iter<'a, Entry>,
    slots: Range<u64>,
}

impl<'a> Iterator for Span<'a> {
    type Item = (Slot, &'a Entry);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.slots.next()?;
        loop {
            if let Some(entry) = self.entries.next() {
                return Some((Slot(slot), entry));
            }
            self.entries = self.batches.next()?.entries.iter();
        }
    }
}

impl Log {
    /// An empty log behind `base`, which is durable.
    pub(crate) const fn new(base: Position) -> Self {
        Self { base, last: base, batches: VecDeque::new(), durable: base.slot, unwritten: VecDeque::new() }
    }

    pub(crate) const fn base(&self) -> Position {
        self.base
    }

    pub(crate) const fn last(&self) -> Position {
        self.last
    }

    pub(crate) const fn durable(&self) -> Slot {
        self.durable
    }

    /// Appends entries that write `seq` brings to the disk.
    #[inline]
    pub(crate) fn append(&mut self, entries: Entries, seq: WriteSeq) {
        let Some(newest) = entries.last() else { return };
        let first = self.last.slot.next();
        let prev_term = self.last.term;
        self.last = Position { term: newest.term, slot: Slot(self.last.slot.0 + entries.len() as u64) };
        self.batches.push_back(Batch { first, prev_term, entries });
        self.unwritten.push_back((seq, self.last.slot));
    }

    /// How many batches are on their way to the disk.
    pub(crate) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Everything up to write `seq` is on disk.
    pub(crate) fn on_durable(&mut self, seq: WriteSeq) {
        while let Some((_, slot)) = self.unwritten.pop_front_if(|(written, _)| *written <= seq) {
            self.durable = slot;
        }
    }

    /// Everything there is, is on disk: the records were just read from it.
    pub(crate) fn settle(&mut self) {
        self.unwritten.clear();
        self.durable = self.last.slot;
    }

    /// Cuts everything after `slot`, which lies in the log or at its base.
    pub(crate) fn truncate_after(&mut self, slot: Slot) {
        let slot = slot.max(self.base.slot);
        while self.batches.pop_back_if(|batch| batch.first > slot).is_some() {}
        if let Some(batch) = self.batches.back_mut() {
            let keep = slot.0 + 1 - batch.first.0;
            batch.entries = batch.entries.take(usize::try_from(keep).unwrap_or(usize::MAX));
        }
        self.last = match self.batches.back() {
            Some(batch) => batch.end(self.base.term),
            None => self.base,
        };
        // A write that is still on its way brings no more than what is left of it.
        self.durable = self.durable.min(self.last.slot);
        for (_, brings) in &mut self.unwritten {
            *brings = (*brings).min(self.last.slot);
        }
    }

    /// Forgets everything up to `slot`, which lies in the log.
    pub(crate) fn forget_through(&mut self, slot: Slot) {
        let Some(base) = self.position(slot) else { return };
        while self.batches.pop_front_if(|batch| batch.last() <= slot).is_some() {}
        if self.batches.is_empty() {
            // What comes next is put where the oldest was: memory that was used lately.
            self.batches.clear();
        }
        if let Some(batch) = self.batches.front_mut()
            && batch.first <= slot
        {
            let gone = usize::try_from(slot.0 + 1 - batch.first.0).unwrap_or(usize::MAX);
            batch.entries = batch.entries.skip(gone);
            batch.first = slot.next();
            batch.prev_term = base.term;
        }
        self.base = base;
    }

    /// Forgets everything, for a snapshot that ends at `base` and that write `seq` brings to the disk. `kept` is what our
    /// disk holds of it whatever happens to that write.
    pub(crate) fn replace(&mut self, base: Position, seq: WriteSeq, kept: Slot) {
        let durable = self.durable.min(kept);
        *self = Self { durable, ..Self::new(base) };
        self.unwritten.push_back((seq, base.slot));
    }

    /// The term at `slot`; none if it is before the base or after the end.
    pub(crate) fn term(&self, slot: Slot) -> Option<Epoch> {
        if slot == self.last.slot {
            return Some(self.last.term);
        }
        if slot == self.base.slot {
            return Some(self.base.term);
        }
        // What precedes an append that has not been sent yet.
        if let Some(newest) = self.batches.back()
            && slot.next() == newest.first
        {
            return Some(newest.prev_term);
        }
        self.entry(slot).map(|entry| entry.term)
    }

    pub(crate) fn position(&self, slot: Slot) -> Option<Position> {
        self.term(slot).map(|term| Position { term, slot })
    }

    /// The last position at or before `slot` whose term is at most `term`: where two logs can agree at best.
    pub(crate) fn last_at_most(&self, slot: Slot, term: Epoch) -> Position {
        let mut slot = slot.min(self.last.slot);
        loop {
            match self.position(slot) {
                Some(place) if place.term <= term => return place,
                Some(_) if slot > self.base.slot => slot = self.start_of_term_before(slot),
                Some(_) | None => return self.base,
            }
        }
    }

    /// The last slot before the run of equal terms that `slot` belongs to, within its batch.
    fn start_of_term_before(&self, slot: Slot) -> Slot {
        let Some((index, batch)) = self.find(slot) else { return self.base.slot };
        let term = batch.entries.get(index).map(|entry| entry.term);
        let earlier = batch.entries.iter().take(index).filter(|entry| Some(entry.term) < term).count();
        Slot(batch.first.0 + earlier as u64 - 1)
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        let (index, batch) = self.find(slot)?;
        batch.entries.get(index)
    }

    #[inline]
    fn find(&self, slot: Slot) -> Option<(usize, &Batch)> {
        let batch = self.batches.get(self.batch_of(slot)?)?;
        Some((usize::try_from(slot.0 - batch.first.0).ok()?, batch))
    }

    #[inline]
    fn batch_of(&self, slot: Slot) -> Option<usize> {
        if slot <= self.base.slot || slot > self.last.slot {
            return None;
        }
        match self.batches.back() {
            Some(newest) if newest.first <= slot => Some(self.batches.len() - 1),
            Some(_) | None => self.older_batch_of(slot),
        }
    }

    fn older_batch_of(&self, slot: Slot) -> Option<usize> {
        // What is asked for is nearly always among the newest: a search over the whole log would miss every cache.
        let newest = self.batches.len().saturating_sub(1);
        for index in (newest.saturating_sub(RECENT_BATCHES)..newest).rev() {
            if self.batches.get(index)?.first <= slot {
                return Some(index);
            }
        }
        self.batches.partition_point(|batch| batch.first <= slot).checked_sub(1)
    }

    /// The entries from `from` to `to`, both included, with their slots.
    #[inline]
    pub(crate) fn iter(&self, from: Slot, to: Slot) -> Span<'_> {
        let start = self.batch_of(from).unwrap_or(self.batches.len());
        let mut batches = self.batches.range(start..);
        let entries = batches.next().map_or(&[][..], |batch| {
            let skipped = usize::try_from(from.0.saturating_sub(batch.first.0)).unwrap_or(usize::MAX);
            batch.entries.get(skipped..).unwrap_or_default()
        });
        Span { batches, entries: entries.iter(), slots: from.0..to.0.saturating_add(1) }
    }

    /// What the entries from `from` to `to`, both included, count for when bytes are bounded.
    #[inline]
    pub(crate) fn size(&self, from: Slot, to: Slot) -> usize {
        match self.batches.back() {
            Some(newest) if newest.first == from && to == self.last.slot => newest.entries.size(),
            Some(_) | None => self.iter(from, to).map(|(_, entry)| entry.size()).sum(),
        }
    }

    /// The entries up to `through`, newest first, with their slots.
    pub(crate) fn newest_first(&self, through: Slot) -> impl Iterator<Item = (Slot, &Entry)> {
        let end = self.batch_of(through).map_or(0, |index| index + 1);
        let entries = self.batches.range(..end).rev().flat_map(|batch| {
            let slots = (batch.first.0..=batch.last().0).rev().map(Slot);
            slots.zip(batch.entries.iter().rev())
        });
        entries.skip_while(move |(slot, _)| *slot > through)
    }

    /// Entries from `from` on, at most so many and so many bytes, but at least one if there is any; and what precedes them. None
    /// if that is forgotten.
    #[inline]
    pub(crate) fn behind(
        &self,
        from: Slot,
        max_entries: usize,
        max_bytes: usize,
    ) -> Option<(Position, Entries)> {
        // What was appended last, whole: nearly always.
        if let Some(Batch { first, prev_term, entries }) = self.batches.back()
            && (*first, entries.len() <= max_entries, entries.size() <= max_bytes) == (from, true, true)
        {
            let prev = Position { term: *prev_term, slot: Slot(from.0 - 1) };
            return Some((prev, entries.clone()));
        }
        let prev = self.position(Slot(from.0 - 1))?;
        Some((prev, self.slice(from, max_entries, max_bytes)))
    }

    /// They are shared with the log if one batch holds them, and collected anew if they are scattered over several.
    fn slice(&self, from: Slot, max_entries: usize, max_bytes: usize) -> Entries {
        let Some(index) = self.batch_of(from) else { return Entries::default() };
        let Some(batch) = self.batches.get(index) else { return Entries::default() };
        let fits = batch.entries.size() <= max_bytes && batch.entries.len() <= max_entries;
        let is_newest = index + 1 == self.batches.len();
        let skipped = usize::try_from(from.0 - batch.first.0).unwrap_or(usize::MAX);
        if fits
            && (is_newest || 2 * batch.entries.len() >= max_entries || 2 * batch.entries.size() >= max_bytes)
        {
            return batch.entries.skip(skipped);
        }
        let mut size = 0;
        let affordable = self.iter(from, self.last.slot).take(max_entries).take_while(|(_, entry)| {
            let is_first = size == 0;
            size += entry.size();
            is_first || size <= max_bytes
        });
        let collected: Vec<Entry> = affordable.map(|(_, entry)| entry.clone()).collect();
        collected.into_iter().collect()
    }

    /// The batches, oldest first: the records that bring the log back.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (Slot, &Entries)> {
        self.batches.iter().map(|batch| (batch.first, &batch.entries))
    }

    /// Batches are shared and never written to, and a step adds and cuts at the ends alone: who asks after every step need look
    /// nowhere else.
    pub(crate) fn assert_invariants(&self) {
        if let Some(oldest) = self.batches.front() {
            oldest.assert_follows(self.base);
        }
        let newest = self.batches.len().saturating_sub(CHECKED_BATCHES);
        let before = newest.checked_sub(1).and_then(|place| self.batches.get(place));
        let before = before.map_or(self.base, |batch| batch.end(self.base.term));
        let end = self.batches.range(newest..).fold(before, |end, batch| batch.assert_follows(end));
        assert_eq!(self.last, end, "the end of the log is not its last entry");
        assert!(self.durable <= self.last.slot, "more is durable than there is");
        assert!(
            self.unwritten.iter().all(|(_, brings)| *brings <= self.last.slot),
            "a write brings what was cut"
        );
        assert!(self.unwritten.iter().is_sorted_by_key(|(seq, _)| *seq), "writes are out of order");
    }
}
