//! Sequential consistency (Lamport 1979): one order of all operations, on all registers, that keeps each session's order and
//! in which each read sees the last write to its register.
//!
//! Unlike linearizability it is not local: registers that are each sequentially consistent may not be so together, and so the
//! whole history is judged at once. To decide it is NP-complete (Gibbons and Korach 1997), hence two steps:
//!
//! 1. **Saturation**, up to [`MAX_SATURATED`] operations. If a write to the same register must stand before a read, it must
//!    stand before what the read saw; if it must stand behind what the read saw, it must stand behind the read. What follows is
//!    added until nothing follows; a cycle is a violation, in polynomial time and with names.
//! 2. **Search** for the order, with a memory of the sets of operations already visited. A write may not come while the value
//!    that it replaces has readers to come; then the set alone tells what each register holds as far as anybody will look. With
//!    k sessions of n operations in all there are at most (n/k + 1)ᵏ such sets. Reads come as soon as they can, and so does a
//!    write all of whose readers can follow it at once: neither can spoil anything, so only the other writes are choices.
//!
//! After [`MAX_STATES`] sets, or [`MAX_MEMORY_WORDS`] of them, the search gives up and says so.

use super::bits::{Bits, closure, reverse};
use super::{Finding, Observed};
use crate::machine::Key;
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};

/// The longest history that is saturated before the search.
pub const MAX_SATURATED: usize = 3_000;
/// The most sets of operations that are visited.
pub const MAX_STATES: usize = 1_000_000;
/// The most memory for them, in words of 64 bits.
pub const MAX_MEMORY_WORDS: usize = 1 << 25;

const PROMISE: &str = "sequential consistency";

/// Judges the history.
#[must_use]
pub fn check(history: &Observed) -> Finding {
    if let Some(finding) = history.thin_air() {
        return finding;
    }
    // What causal order refuses, every order refuses; and it says why in simpler words.
    let causal = super::causal::check(history);
    if causal != Finding::Holds {
        return causal;
    }
    let mut before = history.causes.clone();
    if history.events.len() <= MAX_SATURATED
        && let Some(finding) = saturate(history, &mut before)
    {
        return finding;
    }
    Search::new(history, before).run()
}

/// Adds to `before` what follows; a finding if that is a contradiction.
fn saturate(history: &Observed, before: &mut [Vec<usize>]) -> Option<Finding> {
    let mut past = history.past.clone();
    loop {
        let mut grew = false;
        for read in (0..history.events.len()).filter(|&index| history.is_read(index)) {
            let seen = history.source[read];
            for &write in history.writes_of(history.events[read].key) {
                if Some(write) == seen {
                    continue;
                }
                if let Some(seen) = seen
                    && past[read].contains(write)
                    && !past[seen].contains(write)
                {
                    before[seen].push(write);
                    grew = true;
                }
                if seen.is_none_or(|seen| past[write].contains(seen)) && !past[write].contains(read) {
                    before[write].push(read);
                    // Spares what follows from this a neighbour of its own, where it comes later in this round.
                    let more = past[read].clone();
                    past[write].join(&more);
                    past[write].insert(read);
                    grew = true;
                }
            }
        }
        if !grew {
            return None;
        }
        past = closure(before);
        if let Some(finding) = history.explain_cycle(PROMISE, before, &past) {
            return Some(finding);
        }
    }
}

/// A choice, and those that are left in its place.
struct Level {
    /// How many operations stood before it.
    length: usize,
    choices: Vec<usize>,
}

struct Search<'a> {
    history: &'a Observed,
    behind: Vec<Vec<usize>>,
    /// How many neighbours of each have still to come before it.
    missing: Vec<usize>,
    /// How many reads saw each write.
    readers: Vec<usize>,
    /// How many of those who saw a register's present value have still to come.
    waiting: BTreeMap<Key, usize>,
    /// What may come next as far as `missing` goes.
    ready: BTreeSet<usize>,
    done: Bits,
    order: Vec<usize>,
    longest: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(history: &'a Observed, before: Vec<Vec<usize>>) -> Self {
        let count = history.events.len();
        let missing: Vec<usize> = before.iter().map(Vec::len).collect();
        let mut readers = vec![0; count];
        let mut waiting: BTreeMap<Key, usize> = BTreeMap::new();
        for read in (0..count).filter(|&index| history.is_read(index)) {
            match history.source[read] {
                Some(write) => readers[write] += 1,
                None => *waiting.entry(history.events[read].key).or_default() += 1,
            }
        }
        Self {
            history,
            behind: reverse(&before),
            ready: (0..count).filter(|&index| missing[index] == 0).collect(),
            missing,
            readers,
            waiting,
            done: Bits::new(count),
            order: Vec::new(),
            longest: Vec::new(),
        }
    }

    fn run(mut self) -> Finding {
        let count = self.history.events.len();
        let most = (MAX_MEMORY_WORDS / self.done.words().max(1)).min(MAX_STATES);
        let mut visited: FxHashSet<Bits> = FxHashSet::default();
        let mut stack: Vec<Level> = Vec::new();
        loop {
            self.settle();
            if self.order.len() == count {
                return Finding::Holds;
            }
            if self.order.len() > self.longest.len() {
                self.longest.clone_from(&self.order);
            }
            if visited.len() >= most {
                return Finding::Undecided;
            }
            if visited.insert(self.done.clone()) {
                let choices = self.ready.iter().rev().copied().filter(|&write| self.is_free(write)).collect();
                stack.push(Level { length: self.order.len(), choices });
            }
            loop {
                let Some(level) = stack.last_mut() else { return self.explain() };
                self.take_back(level.length);
                if let Some(write) = level.choices.pop() {
                    self.append(write);
                    break;
                }
                stack.pop();
            }
        }
    }

    /// Whether nobody waits for what the register holds.
    fn is_free(&self, index: usize) -> bool {
        self.waiting.get(&self.history.events[index].key).is_none_or(|&waiting| waiting == 0)
    }

    /// Appends everything that cannot spoil anything.
    fn settle(&mut self) {
        loop {
            let length = self.order.len();
            self.append_reads();
            let writes: Vec<usize> = self.ready.iter().copied().collect();
            for write in writes {
                if !self.is_free(write) {
                    continue;
                }
                let mark = self.order.len();
                self.append(write);
                self.append_reads();
                if !self.is_free(write) {
                    self.take_back(mark);
                }
            }
            if self.order.len() == length {
                return;
            }
        }
    }

    /// Appends the reads that are ready: what they saw is there, since nothing may replace it before.
    fn append_reads(&mut self) {
        while let Some(read) = self.ready.iter().copied().find(|&index| self.history.is_read(index)) {
            self.append(read);
        }
    }

    fn append(&mut self, index: usize) {
        let waiting = self.waiting.entry(self.history.events[index].key).or_default();
        *waiting = if self.history.is_read(index) { waiting.saturating_sub(1) } else { self.readers[index] };
        self.ready.remove(&index);
        self.done.insert(index);
        self.order.push(index);
        for &next in &self.behind[index] {
            self.missing[next] -= 1;
            if self.missing[next] == 0 {
                self.ready.insert(next);
            }
        }
    }

    fn take_back(&mut self, length: usize) {
        while self.order.len() > length {
            let Some(index) = self.order.pop() else { return };
            for &next in &self.behind[index] {
                self.missing[next] += 1;
                self.ready.remove(&next);
            }
            self.done.remove(index);
            self.ready.insert(index);
            let waiting = self.waiting.entry(self.history.events[index].key).or_default();
            // A write came only when nobody waited.
            *waiting = if self.history.is_read(index) { *waiting + 1 } else { 0 };
        }
    }

    fn explain(mut self) -> Finding {
        self.take_back(0);
        for index in core::mem::take(&mut self.longest) {
            self.append(index);
        }
        let mut text = format!(
            "{PROMISE}: no order of all operations explains the reads; {} of {} can be lined up, after which each of these would \
             replace what others have still to read:",
            self.order.len(),
            self.history.events.len()
        );
        let stuck: Vec<usize> = self.ready.iter().copied().collect();
        self.history.list(&mut text, &stuck);
        text.push_str("\nand these have still to read it:");
        let keys: BTreeSet<Key> = stuck.iter().map(|&index| self.history.events[index].key).collect();
        let unread = (0..self.history.events.len()).filter(|&index| {
            let is_now = self.history.source[index].is_none_or(|write| self.done.contains(write));
            let is_waiting = self.history.is_read(index) && !self.done.contains(index);
            is_waiting && is_now && keys.contains(&self.history.events[index].key)
        });
        self.history.list(&mut text, &unread.collect::<Vec<_>>());
        Finding::Violated(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consistency::{Access, Event};
    use crate::history::Moment;
    use crate::machine::Value;
    use crate::random::Stream;

    /// A store whose reads now and then see any value of the register.
    fn observed(seed: u64) -> Observed {
        let mut choices = Stream::derive(seed, "spoilt");
        let mut values: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        let mut events = Vec::new();
        for number in 1..=choices.between(6, 24) {
            let key = Key(u16::try_from(choices.below(2)).unwrap());
            let written = values.entry(key).or_insert_with(|| vec![Value::default()]);
            let access = if choices.chance(450_000) {
                written.push(Value(number));
                Access::Write(Value(number))
            } else {
                let spoilt = choices.chance(300_000);
                let value = if spoilt { choices.pick(written) } else { written.last() };
                Access::Read(*value.unwrap())
            };
            let client = u32::try_from(choices.below(3)).unwrap();
            let (invoked, returned) = (Moment(2 * number), Some(Moment(2 * number + 1)));
            events.push(Event { client, key, access, invoked, returned });
        }
        Observed::new(&events).unwrap()
    }

    #[test]
    fn the_search_alone_finds_what_it_finds_after_saturation() {
        let (mut good, mut beyond_causal) = (0, 0);
        for seed in 0..4_000 {
            let history = observed(seed);
            if crate::consistency::causal::check(&history) != Finding::Holds {
                continue;
            }
            let holds = check(&history) == Finding::Holds;
            let alone = Search::new(&history, history.causes.clone()).run();
            assert_eq!(alone == Finding::Holds, holds, "seed {seed}: {alone:?}");
            good += usize::from(holds);
            if let Finding::Violated(text) = alone {
                assert!(text.contains("client"), "{text}");
                beyond_causal += 1;
            }
        }
        assert!(good > 300 && beyond_causal > 100, "{good} {beyond_causal}");
    }
}
