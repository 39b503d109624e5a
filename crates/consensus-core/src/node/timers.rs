//! Which timers run, and which one is due first.

use crate::time::Time;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Timers by reason and by deadline; the two views hold the same pairs.
#[derive(Debug)]
pub(super) struct Timers<T> {
    by_reason: BTreeMap<T, Time>,
    by_deadline: BTreeSet<(Time, T)>,
}

impl<T: Copy + Ord> Timers<T> {
    pub(super) const fn new() -> Self {
        Self { by_reason: BTreeMap::new(), by_deadline: BTreeSet::new() }
    }

    pub(super) fn set(&mut self, timer: T, at: Time) {
        if let Some(before) = self.by_reason.insert(timer, at) {
            self.by_deadline.remove(&(before, timer));
        }
        self.by_deadline.insert((at, timer));
    }

    pub(super) fn cancel(&mut self, timer: T) {
        if let Some(before) = self.by_reason.remove(&timer) {
            self.by_deadline.remove(&(before, timer));
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.by_deadline.first().map(|&(at, _)| at)
    }

    /// Writes down which timers have run out, earliest first.
    pub(super) fn due(&self, now: Time, due: &mut Vec<(Time, T)>) {
        due.extend(self.by_deadline.iter().copied().take_while(|&(at, _)| at <= now));
    }

    /// Stops the timer if it still runs and still stands at `at`.
    pub(super) fn expire(&mut self, timer: T, at: Time) -> bool {
        let runs = self.by_reason.get(&timer) == Some(&at);
        if runs {
            self.cancel(timer);
        }
        runs
    }
}
