//! What is to happen, by time and then by the order in which it was planned.
//!
//! A heap moves its entries often, so it holds keys of three words; what they stand for lies still in a slab until its turn.
//!
//! Invariant: each key names a filled place of the slab, and each filled place is named by one key.

use consensus_core::Time;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of things that happen at a time.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Key>>,
    slab: Vec<Option<T>>,
    /// Empty places of the slab.
    free: Vec<usize>,
    planned: u64,
}

/// No two have the same number, so the place never decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Time,
    number: u64,
    place: usize,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), slab: Vec::new(), free: Vec::new(), planned: 0 }
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Adds something, behind everything that was planned for the same time before.
    pub(super) fn push(&mut self, at: Time, what: T) {
        let place = self.free.pop().unwrap_or(self.slab.len());
        match self.slab.get_mut(place) {
            Some(empty) => *empty = Some(what),
            None => self.slab.push(Some(what)),
        }
        self.planned += 1;
        self.heap.push(Reverse(Key { at, number: self.planned, place }));
    }

    /// Takes the first out, if its time is not after `until`.
    pub(super) fn pop_until(&mut self, until: Time) -> Option<(Time, T)> {
        if self.heap.peek().is_none_or(|Reverse(key)| key.at > until) {
            return None;
        }
        let Reverse(Key { at, place, .. }) = self.heap.pop()?;
        self.free.push(place);
        Some((at, self.slab.get_mut(place)?.take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn what_is_planned_first_for_a_time_happens_first() {
        let mut queue = Queue::new();
        for (millis, name) in [(2, "b"), (1, "a"), (2, "c"), (3, "d")] {
            queue.push(Time::from_millis(millis), name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop_until(Time::from_millis(2))).collect();
        assert_eq!(order.iter().map(|(_, name)| *name).collect::<String>(), "abc");
        assert_eq!(queue.len(), 1, "what is later waits");
    }

    #[test]
    fn it_agrees_with_a_sorted_list_and_uses_its_places_again() {
        let (mut choices, mut queue, mut model) = (Stream::derive(1, "queue"), Queue::new(), Vec::new());
        for number in 0..10_000_u64 {
            let at = Time::from_nanos(choices.below(50));
            queue.push(at, number);
            model.push((at, number));
            if model.len() > 20 || choices.chance(500_000) {
                model.sort_unstable();
                assert_eq!(queue.pop_until(Time::MAX), Some(model.remove(0)));
            }
        }
        assert_eq!(queue.len(), model.len());
        assert!(queue.slab.len() <= 21, "{} places", queue.slab.len());
    }
}
