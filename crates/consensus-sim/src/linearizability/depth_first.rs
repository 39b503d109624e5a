//! The search of Wing and Gong (1993) with the memory of Lowe (2017): one explanation at a time, taken back where it ends.

use super::{Verdict, line, returned};
use crate::history::{Moment, Operation};
use crate::machine::{Call, Value};
use rustc_hash::{FxHashMap, FxHashSet};

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

    /// The same set in short: the leading full words are counted, the trailing empty ones left out.
    fn packed(&self) -> (usize, Box<[u64]>) {
        let full = self.0.iter().take_while(|&&word| word == u64::MAX).count();
        let rest = self.0.get(full..).unwrap_or_default();
        let used = rest.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        (full, rest.get(..used).unwrap_or_default().into())
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

/// What was visited: the operations carried out, in short, and the value that they left.
type Visited = FxHashSet<((usize, Box<[u64]>), Value)>;

/// The search, between two of its steps.
pub(super) struct DepthFirst<'a> {
    operations: &'a [&'a Operation],
    /// For an operation that never returns: the one before it with the same call that never returns either.
    twins: Vec<Option<usize>>,
    /// How many operations with a return are not explained.
    missing: usize,
    outstanding: Outstanding,
    done: Set,
    visited: Visited,
    stack: Vec<Level>,
    best: (usize, Set, Value),
    value: Value,
    place: usize,
    /// What is invoked after the earliest outstanding return cannot come first.
    deadline: Option<Moment>,
}

impl<'a> DepthFirst<'a> {
    /// `operations` in the order of their invocation.
    pub(super) fn new(operations: &'a [&'a Operation]) -> Self {
        let outstanding = Outstanding::new(operations.len());
        let done = Set::new(operations.len());
        Self {
            operations,
            twins: twins(operations),
            missing: operations.iter().filter(|operation| operation.outcome.is_some()).count(),
            best: (usize::MAX, done.clone(), Value::default()),
            place: outstanding.after(0),
            outstanding,
            done,
            visited: Visited::default(),
            stack: Vec::new(),
            value: Value::default(),
            deadline: None,
        }
    }

    /// Searches on for so many steps; `None` if that did not decide.
    pub(super) fn advance(&mut self, steps: usize) -> Option<Verdict> {
        for _ in 0..steps {
            if self.missing == 0 {
                return Some(Verdict::Found);
            }
            let index = self.place.checked_sub(1);
            let candidate = index.and_then(|index| Some((index, *self.operations.get(index)?)));
            match candidate.filter(|(_, next)| self.deadline.is_none_or(|by| next.invoked < by)) {
                Some((index, operation)) => self.attempt(index, operation),
                None => {
                    if !self.take_back() {
                        return Some(Verdict::Impossible(self.describe()));
                    }
                }
            }
        }
        None
    }

    /// Carries the operation out if its reply allows it and that leads to something new; otherwise passes it by.
    fn attempt(&mut self, index: usize, operation: &Operation) {
        let (after, answer) = operation.call.carry_out(self.value);
        let twin_waits =
            self.twins.get(index).copied().flatten().is_some_and(|twin| !self.done.contains(twin));
        if !twin_waits && operation.outcome.is_none_or(|(_, told)| told == answer) {
            self.done.flip(index);
            if self.visited.insert((self.done.packed(), after)) {
                self.outstanding.relink(self.place, false);
                self.stack.push(Level { place: self.place, before: self.value });
                self.missing -= usize::from(operation.outcome.is_some());
                self.value = after;
                if self.missing < self.best.0 {
                    self.best = (self.missing, self.done.clone(), self.value);
                }
                self.place = self.outstanding.after(0);
                self.deadline = None;
                return;
            }
            self.done.flip(index);
        }
        self.deadline = earlier(self.deadline, returned(operation));
        self.place = self.outstanding.after(self.place);
    }

    /// Takes the last choice back and goes on behind it; `false` if there is none.
    fn take_back(&mut self) -> bool {
        let Some(Level { place: last, before }) = self.stack.pop() else { return false };
        self.outstanding.relink(last, true);
        self.done.flip(last - 1);
        let back = self.operations.get(last - 1).copied();
        self.missing += usize::from(back.is_some_and(|back| back.outcome.is_some()));
        self.value = before;
        let deadline = deadline_before(self.operations, &self.outstanding, last);
        self.deadline = earlier(deadline, back.and_then(returned));
        self.place = self.outstanding.after(last);
        true
    }

    fn describe(&self) -> String {
        let (_, done, value) = &self.best;
        let count = self.operations.len();
        let explained = (0..count).filter(|&index| done.contains(index)).count();
        let mut text = format!(
            "no order explains the replies; {explained} of {count} operations can be explained, after which the register holds {value:?}, but then:"
        );
        let left = self.operations.iter().enumerate().filter(|(index, _)| !done.contains(*index));
        for (_, operation) in left.filter(|(_, operation)| operation.outcome.is_some()).take(6) {
            text.push_str(&line(operation));
        }
        text
    }
}

fn twins(operations: &[&Operation]) -> Vec<Option<usize>> {
    let mut last: FxHashMap<Call, usize> = FxHashMap::default();
    let indexed = operations.iter().enumerate();
    indexed
        .map(
            |(index, operation)| {
                if operation.outcome.is_some() { None } else { last.insert(operation.call, index) }
            },
        )
        .collect()
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
