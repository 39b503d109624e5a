//! What is settled: decided, with everything before it, and held.

use super::message::{BatchId, Entries, Instance, Numbers, Offer, Outcome, Page, Parcel};
use alloc::collections::VecDeque;
use consensus_core::{Decision, Slot, Verdict};

/// A settled instance.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What it decided.
    batch: Option<BatchId>,
    entries: Entries,
    /// The last slot that it filled, or that was filled before it.
    end: Slot,
    /// The round in which we decided it; zero if we were told.
    round: u64,
}

/// The settled instances, but for those that a snapshot has taken the place of.
// [L7]
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// The last instance that is not kept, and the last slot of it.
    base: (Instance, Slot),
    lines: VecDeque<Line>,
    /// The batches that are settled.
    pub(crate) numbers: Numbers,
}

impl Ledger {
    /// Everything up to `instance`, which fills the slots up to `end`, is in a snapshot.
    pub(crate) const fn behind(instance: Instance, end: Slot, numbers: Numbers) -> Self {
        Self { base: (instance, end), lines: VecDeque::new(), numbers }
    }

    /// The last instance.
    pub(crate) fn settled(&self) -> Instance {
        Instance(self.base.0.0 + self.lines.len() as u64)
    }

    /// The last slot.
    pub(crate) fn end(&self) -> Slot {
        self.lines.back().map_or(self.base.1, |line| line.end)
    }

    /// The last instance that is not kept.
    pub(crate) const fn base(&self) -> Instance {
        self.base.0
    }

    /// The first slot that is kept.
    pub(crate) const fn first_slot(&self) -> Slot {
        self.base.1.next()
    }

    fn line(&self, instance: Instance) -> Option<&Line> {
        let place = instance.0.checked_sub(self.base.0.0 + 1)?;
        self.lines.get(usize::try_from(place).ok()?)
    }

    /// What an instance decided, and in which round.
    pub(crate) fn decided(&self, instance: Instance) -> Option<(Offer, u64)> {
        self.line(instance).map(|line| (line.batch.map_or(Offer::Nothing, Offer::Batch), line.round))
    }

    /// The next instance has decided this.
    // [L6]
    pub(crate) fn settle(&mut self, batch: Option<BatchId>, entries: Entries, round: u64) {
        let end = Slot(self.end().0 + entries.len() as u64);
        if let Some(id) = batch {
            self.numbers.settle(id);
        }
        self.lines.push_back(Line { batch, entries, end, round });
    }

    /// The proposals in these slots.
    pub(crate) fn decisions(&self, from: Slot, through: Slot) -> impl Iterator<Item = Decision<'_>> {
        let first = self.lines.partition_point(|line| line.end < from);
        let of_line = |line: &'_ Line| Slot(line.end.0 - line.entries.len() as u64);
        self.lines
            .range(first..)
            .flat_map(move |line| (of_line(line).0 + 1..).map(Slot).zip(line.entries.iter()))
            .skip_while(move |(slot, _)| *slot < from)
            .take_while(move |(slot, _)| *slot <= through)
            .map(|(slot, entry)| Decision {
                slot,
                id: Some(entry.id),
                verdict: Verdict::Commit,
                payload: &entry.payload,
            })
    }

    /// The instances after `settled`, as many as are kept and fit into so many bytes.
    pub(crate) fn page(&self, settled: Instance, most: usize, most_bytes: usize) -> Page {
        let mut size = 0;
        let first = settled.next();
        let skipped = usize::try_from(first.0.saturating_sub(self.base.0.0 + 1)).unwrap_or(usize::MAX);
        let fits = |line: &&Line| {
            let is_first = size == 0;
            size += line.entries.size() + 1;
            is_first || size <= most_bytes
        };
        let outcome = |line: &Line| match line.batch {
            None => Outcome::Nothing,
            Some(id) => Outcome::Batch(Parcel { id, entries: line.entries.clone() }),
        };
        let outcomes = self.lines.iter().skip(skipped).take(most).take_while(fits).map(outcome).collect();
        Page { first, outcomes, settled: self.settled() }
    }

    /// The last instance that a snapshot of everything up to `through` contains, if one ends there.
    pub(crate) fn instance_at(&self, through: Slot) -> Option<Instance> {
        let behind = self.lines.partition_point(|line| line.end <= through);
        let last = behind.checked_sub(1).and_then(|place| self.lines.get(place));
        let ends_there = last.map_or(self.base.1, |line| line.end) == through;
        ends_there.then_some(Instance(self.base.0.0 + behind as u64))
    }

    /// What the instances behind `after` have decided, as far as they are kept.
    pub(crate) fn outcomes(&self, after: Instance) -> impl Iterator<Item = (Instance, Outcome)> {
        let skipped = usize::try_from(after.0.saturating_sub(self.base.0.0)).unwrap_or(usize::MAX);
        let numbered = (self.base.0.0 + 1..).map(Instance).zip(&self.lines).skip(skipped);
        numbered.map(|(instance, line)| {
            let outcome = line
                .batch
                .map_or(Outcome::Nothing, |id| Outcome::Batch(Parcel { id, entries: line.entries.clone() }));
            (instance, outcome)
        })
    }

    /// Forgets what a snapshot through `snapshot` contains, but for the last `retained` slots of it.
    pub(crate) fn forget(&mut self, snapshot: Instance, through: Slot, retained: u64) {
        let kept_from = Slot(through.0.saturating_sub(retained));
        while self.base.0 < snapshot
            && let Some(line) = self.lines.pop_front_if(|line| line.end <= kept_from)
        {
            self.base = (self.base.0.next(), line.end);
        }
    }

    pub(crate) fn assert_invariants(&self) {
        let mut end = self.base.1;
        for line in &self.lines {
            end = Slot(end.0 + line.entries.len() as u64);
            assert_eq!(line.end, end, "slots are left out, or filled twice");
            assert!(line.batch.is_none_or(|id| self.numbers.contain(id)), "a settled batch is forgotten");
        }
    }
}
