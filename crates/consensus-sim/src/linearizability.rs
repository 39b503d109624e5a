//! Whether a history of clients is linearizable (Herlihy and Wing 1990).
//!
//! Linearizability is local: a history is linearizable if its part on each register is. Each part is first replayed in the
//! order of the log slots that the replies carry. If every reply is then what the specification gives, and no operation
//! stands before one that had returned before it was invoked, that order *is* a linearization, and nothing is left to
//! search. Otherwise the search of Wing and Gong (1993) with the memory of Lowe (2017) decides: linearize any operation
//! that was invoked before every outstanding return, and never visit the same set of operations with the same state twice.
//!
//! An operation without a return may take effect at any time after its invocation, or never. A read without a return
//! tells nothing and is dropped.

use crate::history::{History, Moment, Operation};
use crate::machine::{Call, Key, Value};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// The most search steps for one register before the checker gives up.
pub const MAX_STEPS: usize = 4_000_000;

/// What the checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// There is an order that explains every reply.
    Linearizable,
    /// There is none on this register.
    Violation {
        /// The register.
        key: Key,
        /// The longest explanation found, and what it cannot explain.
        detail: String,
    },
    /// The search was too long; nothing is known.
    Undecided {
        /// The register.
        key: Key,
    },
}

/// Judges the whole history.
#[must_use]
pub fn check(history: &History) -> Finding {
    check_operations(history.operations())
}

/// Judges operations, in any order.
#[must_use]
pub fn check_operations(operations: &[Operation]) -> Finding {
    let mut undecided = None;
    for (key, part) in by_key(operations) {
        if witness(&part) {
            continue;
        }
        match search(&part) {
            Search::Found => {}
            Search::Impossible(detail) => return Finding::Violation { key, detail },
            Search::TooLong => undecided = Some(Finding::Undecided { key }),
        }
    }
    undecided.unwrap_or(Finding::Linearizable)
}

fn by_key(operations: &[Operation]) -> BTreeMap<Key, Vec<&Operation>> {
    let mut parts: BTreeMap<Key, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        if operation.outcome.is_some() || operation.call != Call::Get {
            parts.entry(operation.key).or_default().push(operation);
        }
    }
    parts
}

fn returned(operation: &Operation) -> Option<Moment> {
    operation.outcome.map(|(moment, _)| moment)
}

/// Whether the order of the slots explains everything. `false` proves nothing.
fn witness(part: &[&Operation]) -> bool {
    // What never returned and is nowhere in the log is taken never to have happened.
    let mut order: Vec<&Operation> = part
        .iter()
        .copied()
        .filter(|operation| operation.outcome.is_some() || operation.slot.is_some())
        .collect();
    // A read carries the slot of the last write that it saw, so it stands behind it.
    order.sort_by_key(|operation| (operation.slot, operation.call == Call::Get, operation.invoked));
    let mut value = Value::default();
    let mut latest_invocation = Moment::default();
    for operation in order {
        if operation.slot.is_none() || returned(operation).is_some_and(|moment| moment < latest_invocation) {
            return false;
        }
        latest_invocation = latest_invocation.max(operation.invoked);
        let (after, answer) = operation.call.carry_out(value);
        if operation.outcome.is_some_and(|(_, seen)| seen != answer) {
            return false;
        }
        value = after;
    }
    true
}

enum Search {
    Found,
    Impossible(String),
    TooLong,
}

/// A set of operations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Set(Box<[u64]>);

impl Set {
    fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)].into())
    }

    fn flip(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word ^= 1 << (index % 64);
        }
    }

    fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }
}

/// The operations by invocation, linked so that those already linearized are skipped.
struct Outstanding {
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Outstanding {
    /// Place 0 is the head; operation `i` is at place `i + 1`.
    fn new(count: usize) -> Self {
        let places = count + 1;
        Self {
            next: (0..places).map(|place| (place + 1) % places).collect(),
            previous: (0..places).map(|place| (place + places - 1) % places).collect(),
        }
    }

    fn after(&self, place: usize) -> usize {
        self.next.get(place).copied().unwrap_or_default()
    }

    fn relink(&mut self, place: usize, present: bool) {
        let (before, after) = (self.previous.get(place).copied().unwrap_or_default(), self.after(place));
        if let Some(link) = self.next.get_mut(before) {
            *link = if present { place } else { after };
        }
        if let Some(link) = self.previous.get_mut(after) {
            *link = if present { place } else { before };
        }
    }
}

struct Level {
    place: usize,
    before: Value,
}

fn search(part: &[&Operation]) -> Search {
    let mut operations = part.to_vec();
    operations.sort_by_key(|operation| operation.invoked);
    let mut missing = operations.iter().filter(|operation| operation.outcome.is_some()).count();
    let mut outstanding = Outstanding::new(operations.len());
    let mut done = Set::new(operations.len());
    let mut seen: FxHashSet<(Set, Value)> = FxHashSet::default();
    let mut stack: Vec<Level> = Vec::new();
    let mut best: (usize, Set, Value) = (usize::MAX, done.clone(), Value::default());
    let mut value = Value::default();
    let mut place = outstanding.after(0);
    // What is invoked after the earliest outstanding return cannot come first.
    let mut deadline = None::<Moment>;
    for _ in 0..MAX_STEPS {
        if missing == 0 {
            return Search::Found;
        }
        let candidate = place.checked_sub(1).and_then(|index| Some((index, *operations.get(index)?)));
        let candidate = candidate.filter(|(_, operation)| deadline.is_none_or(|by| operation.invoked < by));
        let Some((index, operation)) = candidate else {
            // Nothing more can come here: take the last choice back and try its successor.
            let Some(Level { place: last, before }) = stack.pop() else {
                return Search::Impossible(describe(&operations, &best.1, best.2));
            };
            outstanding.relink(last, true);
            done.flip(last - 1);
            missing += usize::from(operations.get(last - 1).is_some_and(|back| back.outcome.is_some()));
            value = before;
            deadline = deadline_before(&operations, &outstanding, last);
            place = outstanding.after(last);
            deadline = earlier(deadline, operations.get(last - 1).and_then(|back| returned(back)));
            continue;
        };
        let (after, answer) = operation.call.carry_out(value);
        if operation.outcome.is_none_or(|(_, told)| told == answer) {
            done.flip(index);
            if seen.insert((done.clone(), after)) {
                outstanding.relink(place, false);
                stack.push(Level { place, before: value });
                missing -= usize::from(operation.outcome.is_some());
                value = after;
                if missing < best.0 {
                    best = (missing, done.clone(), value);
                }
                place = outstanding.after(0);
                deadline = None;
                continue;
            }
            done.flip(index);
        }
        deadline = earlier(deadline, returned(operation));
        place = outstanding.after(place);
    }
    Search::TooLong
}

fn earlier(left: Option<Moment>, right: Option<Moment>) -> Option<Moment> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}

/// The earliest return among the outstanding operations before `end`.
fn deadline_before(operations: &[&Operation], outstanding: &Outstanding, end: usize) -> Option<Moment> {
    let mut deadline = None;
    let mut place = outstanding.after(0);
    while place != 0 && place != end {
        deadline = earlier(deadline, operations.get(place - 1).and_then(|operation| returned(operation)));
        place = outstanding.after(place);
    }
    deadline
}

fn describe(operations: &[&Operation], done: &Set, value: Value) -> String {
    let explained = (0..operations.len()).filter(|&index| done.contains(index)).count();
    let mut text = format!(
        "no order explains the replies; {explained} of {} operations can be explained, after which the register holds {value:?}, but then:",
        operations.len()
    );
    let left = operations.iter().enumerate().filter(|(index, _)| !done.contains(*index));
    for (_, operation) in left.filter(|(_, operation)| operation.outcome.is_some()).take(6) {
        text.push_str(&format!(
            "\n  client {} {:?} at {} ({:?}..{:?}) answered {:?}, slot {:?}",
            operation.client,
            operation.call,
            operation.invoked_at,
            operation.invoked,
            returned(operation),
            operation.outcome.map(|(_, answer)| answer),
            operation.slot
        ));
    }
    text
}
