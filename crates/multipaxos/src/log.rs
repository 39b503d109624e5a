//! What was accepted, slot by slot: shared batches of values, each in one ballot, behind a base.
//!
//! Slots are accepted in any order, so there may be holes. What is known to be chosen stands in [`CHOSEN`], a ballot above all, or
//! below the learner's mark; it is never replaced.
//!
//! Invariants: batches are sorted and do not overlap, all of them behind `base`; no batch is empty.

use crate::ballot::Ballot;
use crate::value::{Value, Values};
use alloc::collections::{VecDeque, vec_deque};
use alloc::vec::Vec;
use consensus_core::{NodeId, Slot, WriteSeq};
use core::ops::Range;
use core::slice;

/// How many batches from the end are looked at one by one before a search over all.
const RECENT_BATCHES: usize = 8;
/// How many batches from the end are checked: more than one step and the flush before it can add.
const CHECKED_BATCHES: usize = 4;

/// What was learnt stands as if it had been accepted in this ballot, which nobody leads.
pub(crate) const CHOSEN: Ballot = Ballot { round: u64::MAX, node: NodeId(u64::MAX) };

/// The uncompacted part of the log, in memory.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base: Slot,
    batches: VecDeque<Batch>,
    /// Writes on their way to the disk, and the first slot that each brings.
    unwritten: VecDeque<(WriteSeq, Slot)>,
}

/// Values of consecutive slots, accepted in one ballot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) first: Slot,
    pub(crate) ballot: Ballot,
    pub(crate) values: Values,
}

impl Batch {
    #[inline]
    pub(crate) fn last(&self) -> Slot {
        Slot(self.first.0 + self.values.len() as u64 - 1)
    }

    /// What of it lies within `from..=to`, if anything does.
    pub(crate) fn within(&self, from: Slot, to: Slot) -> Option<Self> {
        let (first, last) = (self.first.max(from), self.last().min(to));
        let values = self.values.range(distance(self.first, first), distance(self.first, last.next()));
        (first <= last && !values.is_empty()).then_some(Self { first, ballot: self.ballot, values })
    }
}

/// How many slots lie from `from` to `to`, which is not before it.
fn distance(from: Slot, to: Slot) -> usize {
    usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX)
}

/// What becomes of values that are to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Some of them were not held in this ballot, or a higher one.
    Fresh,
    /// All of them were.
    Known,
    /// In the very same ballot another value is held.
    Contradicts,
}

/// Values of consecutive slots.
#[derive(Clone, Debug)]
pub(crate) struct Run<'a> {
    batches: vec_deque::Iter<'a, Batch>,
    /// Those of the batch at hand.
    values: slice::Iter<'a, Value>,
    slots: Range<u64>,
}

impl<'a> Iterator for Run<'a> {
    type Item = (Slot, &'a Value);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.slots.next()?;
        loop {
            if let Some(value) = self.values.next() {
                return Some((Slot(slot), value));
            }
            self.values = self.batches.next()?.values.iter();
        }
    }
}

impl Log {
    /// An empty log behind `base`.
    pub(crate) const fn new(base: Slot) -> Self {
        Self { base, batches: VecDeque::new(), unwritten: VecDeque::new() }
    }

    /// Everything up to here is forgotten.
    pub(crate) const fn base(&self) -> Slot {
        self.base
    }

    /// The last slot that holds something.
    #[inline]
    pub(crate) fn last(&self) -> Slot {
        self.batches.back().map_or(self.base, Batch::last)
    }

    /// How these values, which begin at `first`, fit what is held.
    #[inline]
    pub(crate) fn fit(&self, ballot: Ballot, first: Slot, values: &Values) -> Fit {
        if first > self.last() {
            return Fit::Fresh;
        }
        self.fit_among(ballot, first, values)
    }

    fn fit_among(&self, ballot: Ballot, first: Slot, values: &Values) -> Fit {
        let last = Slot(first.0 + values.len() as u64 - 1);
        let mut held = 0;
        for batch in self.overlapping(first, last) {
            let Some(part) = batch.within(first, last) else { continue };
            if part.ballot == ballot
                && part.values[..] != values.skip(distance(first, part.first))[..part.values.len()]
            {
                return Fit::Contradicts;
            }
            held += if part.ballot >= ballot { part.values.len() } else { 0 };
        }
        if held == values.len() { Fit::Known } else { Fit::Fresh }
    }

    /// Takes these values over, but for slots that hold something in this ballot or a higher one. Write `seq` brings them to the
    /// disk.
    #[inline]
    pub(crate) fn accept(&mut self, ballot: Ballot, first: Slot, values: Values, seq: WriteSeq) {
        if values.is_empty() {
            return;
        }
        self.unwritten.push_back((seq, first));
        let batch = Batch { first, ballot, values };
        if first > self.last() {
            return self.batches.push_back(batch);
        }
        self.merge(batch);
    }

    /// Fits a batch in among the others.
    fn merge(&mut self, new: Batch) {
        let (from, to) = (new.first.max(self.base.next()), new.last());
        let start = self.batches.partition_point(|batch| batch.last() < from);
        let end = self.batches.partition_point(|batch| batch.first <= to);
        let old: Vec<Batch> = self.batches.drain(start..end.max(start)).collect();
        let mut merged = Vec::new();
        // What lies before the place that is looked at is settled.
        let mut place = from;
        for batch in old {
            if batch.ballot >= new.ballot {
                merged.extend(new.within(place, Slot(batch.first.0 - 1)));
                place = batch.last().next();
                merged.push(batch);
            } else {
                merged.extend(batch.within(batch.first, Slot(from.0 - 1)));
                let rest = batch.within(to.next(), batch.last());
                if let Some(rest) = rest {
                    merged.extend(new.within(place, to));
                    place = to.next();
                    merged.push(rest);
                }
            }
        }
        merged.extend(new.within(place, to));
        let later = self.batches.split_off(start);
        self.batches.extend(merged);
        self.batches.extend(later);
    }

    /// Everything up to write `seq` is on disk.
    pub(crate) fn on_durable(&mut self, seq: WriteSeq) {
        while self.unwritten.pop_front_if(|(written, _)| *written <= seq).is_some() {}
    }

    /// Everything there is, is on disk: the records were just read from it.
    pub(crate) fn settle(&mut self) {
        self.unwritten.clear();
    }

    /// Whatever is held up to here is on disk.
    #[inline]
    pub(crate) fn durable(&self) -> Slot {
        let first = self.unwritten.iter().map(|(_, first)| *first).min();
        first.map_or(Slot(u64::MAX), |first| Slot(first.0 - 1))
    }

    /// What `slot` holds, and in which ballot.
    pub(crate) fn get(&self, slot: Slot) -> Option<(Ballot, &Value)> {
        let batch = self.batch_at(slot)?;
        Some((batch.ballot, batch.values.get(distance(batch.first, slot))?))
    }

    /// The batch that holds `slot`.
    #[inline]
    pub(crate) fn batch_at(&self, slot: Slot) -> Option<&Batch> {
        self.batches.get(self.place_of(slot)?).filter(|batch| batch.first <= slot && slot <= batch.last())
    }

    /// The last batch that begins at `slot` or before.
    #[inline]
    fn place_of(&self, slot: Slot) -> Option<usize> {
        match self.batches.back() {
            Some(newest) if newest.first <= slot => Some(self.batches.len() - 1),
            Some(_) | None => self.older_place_of(slot),
        }
    }

    fn older_place_of(&self, slot: Slot) -> Option<usize> {
        // What is asked for is nearly always among the newest: a search over the whole log would miss every cache.
        let newest = self.batches.len().saturating_sub(1);
        for index in (newest.saturating_sub(RECENT_BATCHES)..newest).rev() {
            if self.batches.get(index)?.first <= slot {
                return Some(index);
            }
        }
        self.batches.partition_point(|batch| batch.first <= slot).checked_sub(1)
    }

    /// The batches that hold a slot within `from..=to`.
    fn overlapping(&self, from: Slot, to: Slot) -> impl Iterator<Item = &Batch> {
        let start = self.place_of(from).unwrap_or(0);
        self.batches.range(start..).take_while(move |batch| batch.first <= to)
    }

    /// The values from `from` to `to`, both included, with their slots. There must be no hole.
    #[inline]
    pub(crate) fn run(&self, from: Slot, to: Slot) -> Run<'_> {
        let start = self.place_of(from).unwrap_or(self.batches.len());
        let mut batches = self.batches.range(start..);
        let values = batches
            .next()
            .map_or(&[][..], |batch| batch.values.get(distance(batch.first, from)..).unwrap_or_default());
        Run { batches, values: values.iter(), slots: from.0..to.0.saturating_add(1) }
    }

    /// What is held from `from` on, in batches.
    pub(crate) fn from(&self, from: Slot) -> impl Iterator<Item = Batch> + '_ {
        self.overlapping(from, Slot(u64::MAX)).filter_map(move |batch| batch.within(from, batch.last()))
    }

    /// The slots around `slot` that are held in `ballot`, or known to be chosen, without a hole; none if `slot` itself is not.
    pub(crate) fn around(&self, ballot: Ballot, slot: Slot) -> Option<(Slot, Slot)> {
        let place = self.place_of(slot)?;
        let is_held = |batch: &Batch| batch.ballot == ballot || batch.ballot == CHOSEN;
        let (mut first, mut last) = (self.batch_at(slot).filter(|batch| is_held(batch))?.first, slot);
        for batch in self.batches.range(place..) {
            if !is_held(batch) || batch.first > last.next() {
                break;
            }
            last = batch.last();
        }
        for batch in self.batches.range(..place).rev() {
            if !is_held(batch) || batch.last().next() != first {
                break;
            }
            first = batch.first;
        }
        Some((first, last))
    }

    /// Values of consecutive slots from `from` on, up to `to`, at most so many and so many bytes, but at least one if `from` holds
    /// any. They are shared with the log if one batch holds them, and collected anew if they are scattered over several.
    #[inline]
    pub(crate) fn slice(&self, from: Slot, to: Slot, max_values: usize, max_bytes: usize) -> Values {
        // What was accepted last, whole: nearly always.
        if let Some(Batch { first, values, .. }) = self.batches.back()
            && (*first, values.len() <= max_values, values.size() <= max_bytes) == (from, true, true)
            && from.0 + values.len() as u64 <= to.next().0
        {
            return values.clone();
        }
        self.slice_of_several(from, to, max_values, max_bytes)
    }

    fn slice_of_several(&self, from: Slot, to: Slot, max_values: usize, max_bytes: usize) -> Values {
        let (mut values, mut size, mut next) = (Vec::new(), 0, from);
        for batch in self.overlapping(from, to) {
            let Some(part) = batch.within(from, to) else { continue };
            if part.first != next {
                break;
            }
            let is_alone = values.is_empty()
                && (part.values.len() >= max_values / 2 || part.values.size() >= max_bytes / 2);
            if is_alone && part.values.len() <= max_values && part.values.size() <= max_bytes {
                return part.values;
            }
            for value in part.values.iter() {
                if values.len() == max_values || (size + value.size() > max_bytes && !values.is_empty()) {
                    return values.into_iter().collect();
                }
                size += value.size();
                values.push(value.clone());
            }
            next = part.last().next();
        }
        values.into_iter().collect()
    }

    /// The values up to `through`, newest first, with their slots. There must be no hole.
    pub(crate) fn newest_first(&self, through: Slot) -> impl Iterator<Item = (Slot, &Value)> {
        let end = self.place_of(through).map_or(0, |place| place + 1);
        let values = self.batches.range(..end).rev().flat_map(|batch| {
            let slots = (batch.first.0..=batch.last().0).rev().map(Slot);
            slots.zip(batch.values.iter().rev())
        });
        values.skip_while(move |(slot, _)| *slot > through)
    }

    /// Forgets everything up to `slot`.
    pub(crate) fn forget_through(&mut self, slot: Slot) {
        while self.batches.pop_front_if(|batch| batch.last() <= slot).is_some() {}
        if let Some(batch) = self.batches.front_mut()
            && batch.first <= slot
        {
            batch.values = batch.values.skip(distance(batch.first, slot.next()));
            batch.first = slot.next();
        }
        self.base = self.base.max(slot);
    }

    /// Forgets what was accepted after `slot`, but for what is known to be chosen.
    pub(crate) fn forget_votes_after(&mut self, slot: Slot) {
        self.batches.retain_mut(|batch| {
            if batch.ballot != CHOSEN && batch.last() > slot {
                batch.values = batch.values.take(distance(batch.first, slot.next()));
            }
            !batch.values.is_empty()
        });
    }

    /// The batches, oldest first: the records that bring the log back.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter()
    }

    /// Batches are shared and never written to, and a step adds and cuts at the ends alone, or merges: who asks after every step
    /// looks at the ends.
    pub(crate) fn assert_invariants(&self) {
        let newest = self.batches.len().saturating_sub(CHECKED_BATCHES);
        let mut before =
            newest.checked_sub(1).and_then(|place| self.batches.get(place)).map_or(self.base, Batch::last);
        for batch in self.batches.range(newest..) {
            assert!(!batch.values.is_empty(), "the log has an empty batch");
            assert!(before < batch.first, "batches overlap");
            before = batch.last();
        }
        assert!(
            self.batches.front().is_none_or(|batch| batch.first > self.base),
            "what is forgotten is held"
        );
        assert!(self.unwritten.iter().is_sorted_by_key(|(seq, _)| *seq), "writes are out of order");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::{ClientId, ProposalId};
    use quickcheck::quickcheck;
    use std::collections::BTreeMap;

    type Held = BTreeMap<u64, (u64, u64)>;

    const fn ballot(round: u64) -> Ballot {
        Ballot { round, node: NodeId(1) }
    }

    fn value(number: u64) -> Value {
        let id = ProposalId::new(ClientId::anonymous(1), number);
        Value::Command { id, payload: consensus_core::Bytes::new() }
    }

    fn number(value: &Value) -> u64 {
        value.id().map_or(0, |id| id.sequence)
    }

    fn held(log: &Log) -> Held {
        let of = |batch: &Batch| {
            let (first, ballot) = (batch.first.0, batch.ballot.round);
            (first..)
                .zip(batch.values.iter())
                .map(|(slot, value)| (slot, (ballot, number(value))))
                .collect::<Vec<_>>()
        };
        log.batches().flat_map(of).collect()
    }

    /// A log, and a model of it: slot → (ballot, value). The value of a slot in a ballot is always the same.
    fn built(accepted: &[(u8, u8, u8)]) -> (Log, Held) {
        let (mut log, mut model) = (Log::new(Slot::ZERO), Held::new());
        for &(round, first, count) in accepted {
            let (round, first) = (u64::from(round % 4) + 1, u64::from(first % 24) + 1);
            let slots = first..first + u64::from(count % 7);
            let values: Values = slots.clone().map(|slot| value(round * 100 + slot)).collect();
            if !values.is_empty() {
                let is_held = |slot: &u64| model.get(slot).is_some_and(|(held, _)| *held >= round);
                let expected = if slots.clone().all(|slot| is_held(&slot)) { Fit::Known } else { Fit::Fresh };
                assert_eq!(log.fit(ballot(round), Slot(first), &values), expected);
            }
            log.accept(ballot(round), Slot(first), values, WriteSeq::ZERO);
            for slot in slots {
                let known = model.entry(slot).or_insert((round, round * 100 + slot));
                *known = (*known).max((round, round * 100 + slot));
            }
            log.assert_invariants();
        }
        (log, model)
    }

    quickcheck! {
        // tests [P5]
        fn of_each_slot_the_highest_ballot_is_kept(accepted: Vec<(u8, u8, u8)>) -> bool {
            let (log, model) = built(&accepted);
            held(&log) == model && (0..40).all(|slot| {
                let found = log.get(Slot(slot)).map(|(ballot, value)| (ballot.round, number(value)));
                found == model.get(&slot).copied()
            })
        }

        // tests [P2]
        fn what_is_held_from_a_slot_on_is_told(accepted: Vec<(u8, u8, u8)>, from: u8) -> bool {
            let (log, mut model) = built(&accepted);
            let from = u64::from(from % 40);
            let mut told = Log::new(Slot::ZERO);
            for Batch { first, ballot, values } in log.from(Slot(from)) {
                told.accept(ballot, first, values, WriteSeq::ZERO);
            }
            model.retain(|slot, _| *slot >= from);
            held(&told) == model
        }

        // tests [P6]
        fn the_slots_around_one_are_those_without_a_hole(accepted: Vec<(u8, u8, u8)>, slot: u8, round: u8) -> bool {
            let (log, model) = built(&accepted);
            let (slot, round) = (u64::from(slot % 40), u64::from(round % 4) + 1);
            let is_held = |slot: u64| model.get(&slot).is_some_and(|(held, _)| *held == round);
            let first = (0..=slot).rev().take_while(|&slot| is_held(slot)).last();
            let last = (slot..60).take_while(|&slot| is_held(slot)).last();
            log.around(ballot(round), Slot(slot)) == first.zip(last).map(|(first, last)| (Slot(first), Slot(last)))
        }

        fn slices_are_what_the_slots_hold(accepted: Vec<(u8, u8, u8)>, from: u8, to: u8, most: u8) -> bool {
            let (log, model) = built(&accepted);
            let (from, to, most) = (u64::from(from % 40), u64::from(to % 40), usize::from(most % 9) + 1);
            let held = (from..=to).map_while(|slot| model.get(&slot)).map(|(_, value)| *value);
            let by_count: Vec<u64> = log.slice(Slot(from), Slot(to), most, 1 << 20).iter().map(number).collect();
            let by_size: Vec<u64> = log.slice(Slot(from), Slot(to), 100, 32 * most).iter().map(number).collect();
            let expected: Vec<u64> = held.take(most).collect();
            // A batch that is large enough is shared as it is, and then less may be taken.
            let fits = |taken: &[u64]| {
                expected.starts_with(taken) && (taken.len() * 2 >= expected.len().min(most) || taken.len() >= most / 2)
            };
            fits(&by_size) && fits(&by_count) && (expected.is_empty() || !by_count.is_empty())
        }

        // tests [P15]
        fn what_is_forgotten_is_gone_and_the_rest_stays(accepted: Vec<(u8, u8, u8)>, before: u8, after: u8) -> bool {
            let (mut log, mut model) = built(&accepted);
            let (before, after) = (u64::from(before % 40), u64::from(after % 40));
            log.forget_through(Slot(before));
            model.retain(|slot, _| *slot > before);
            let cut = held(&log) == model && log.base() == Slot(before);
            log.forget_votes_after(Slot(after.max(before)));
            log.assert_invariants();
            model.retain(|slot, _| *slot <= after.max(before));
            cut && held(&log) == model
        }
    }

    #[test]
    fn another_value_in_one_ballot_contradicts() {
        let (log, _) = built(&[(1, 4, 5)]);
        let other = |slot: u64| [value(7 + slot)].into_iter().collect::<Values>();
        assert_eq!(log.fit(ballot(2), Slot(6), &other(6)), Fit::Contradicts);
        assert_eq!(log.fit(ballot(3), Slot(6), &other(6)), Fit::Fresh);
        assert_eq!(log.fit(ballot(1), Slot(6), &other(6)), Fit::Known, "a higher ballot has had its say");
        assert_eq!(log.fit(CHOSEN, Slot(6), &other(6)), Fit::Fresh);
    }

    // tests [P4]
    #[test]
    fn what_is_durable_ends_where_the_first_write_is_under_way() {
        let mut log = Log::new(Slot::ZERO);
        let batch = || (1..=3).map(value).collect::<Values>();
        for (first, seq) in [(1, 1), (7, 2), (4, 3)] {
            log.accept(ballot(1), Slot(first), batch(), WriteSeq(seq));
        }
        assert_eq!(log.durable(), Slot(0));
        log.on_durable(WriteSeq(1));
        assert_eq!(log.durable(), Slot(3));
        log.on_durable(WriteSeq(2));
        assert_eq!(log.durable(), Slot(3), "the hole was filled later, and is not on disk");
        log.on_durable(WriteSeq(3));
        assert_eq!(log.durable(), Slot(u64::MAX));
    }
}
