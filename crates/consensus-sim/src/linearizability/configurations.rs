//! The search by sets of configurations: breadth first through time (Lowe 2017, "just-in-time linearization").
//!
//! A configuration is what the register may hold now, and which of the open operations have taken effect already. The search
//! walks through the moments of the history with *all* configurations that explain it so far. An invocation opens an
//! operation; a return asks every configuration to have carried it out by now, and only then are open operations carried
//! out. What is behind is forgotten, so that the work grows with the concurrency and only linearly with the length: a history
//! without an explanation is refused at the first return that nothing explains, where a depth-first search would try every
//! order of all that came before.
//!
//! Four rules keep the sets small; none loses an explanation:
//! - An operation whose reply says that it changed nothing takes effect as soon as the register makes that reply true.
//! - Of two configurations that differ only in operations that never return, the one that has used fewer of them can do all
//!   that the other can, and alone is kept.
//! - Of operations with equal calls that never return, the first goes first.
//! - Where there are plain reads and writes alone, a write that nobody saw takes effect just before another, if it is open then:
//!   it is replaced at once, and could be of no use later.

use super::{Verdict, line, returned};
use crate::history::{Moment, Operation};
use crate::machine::{Answer, Call, Value};
use rustc_hash::{FxHashMap, FxHashSet};

/// The most operations that may be open at one moment.
const MAX_OPEN: usize = 128;
/// The most configurations at one moment.
const MAX_CONFIGURATIONS: usize = 100_000;

/// What may be the case at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Configuration {
    value: Value,
    /// Which of the open operations have taken effect, one bit for each seat.
    done: u128,
}

/// What happens at one moment.
#[derive(Clone, Copy)]
enum Event {
    Invoked(usize),
    Returned(usize),
}

/// The search, between two of its steps.
pub(super) struct Configurations<'a> {
    operations: &'a [&'a Operation],
    events: Vec<Event>,
    next: usize,
    /// The open operations.
    seats: Vec<Option<usize>>,
    seat_of: Vec<usize>,
    /// The seats whose operation never returns.
    optional: u128,
    /// The writes that return and that nobody saw.
    unseen: Vec<bool>,
    alive: Vec<Configuration>,
    given_up: bool,
}

impl<'a> Configurations<'a> {
    /// `operations` in the order of their invocation.
    pub(super) fn new(operations: &'a [&'a Operation]) -> Self {
        let mut events: Vec<(Moment, bool, Event)> = Vec::with_capacity(2 * operations.len());
        for (index, operation) in operations.iter().enumerate() {
            events.push((operation.invoked, false, Event::Invoked(index)));
            if let Some(moment) = returned(operation) {
                events.push((moment, true, Event::Returned(index)));
            }
        }
        // Equal moments are concurrent: what is invoked then may still come first.
        events.sort_by_key(|(moment, is_return, _)| (*moment, *is_return));
        Self {
            operations,
            events: events.into_iter().map(|(_, _, event)| event).collect(),
            next: 0,
            seats: Vec::new(),
            seat_of: vec![0; operations.len()],
            optional: 0,
            unseen: unseen(operations),
            alive: vec![Configuration { value: Value::default(), done: 0 }],
            given_up: false,
        }
    }

    /// Searches on for about so many steps; `None` if that did not decide.
    pub(super) fn advance(&mut self, steps: usize) -> Option<Verdict> {
        let mut spent = 0;
        while spent < steps && !self.given_up {
            let Some(&event) = self.events.get(self.next) else { return Some(Verdict::Found) };
            self.next += 1;
            match event {
                Event::Invoked(index) => {
                    self.on_invoked(index);
                    spent += 1;
                }
                Event::Returned(index) => {
                    let before = self.alive.clone();
                    spent += self.on_returned(index);
                    if self.alive.is_empty() && !self.given_up {
                        return Some(Verdict::Impossible(self.describe(index, &before)));
                    }
                }
            }
        }
        None
    }

    /// Whether the history is too concurrent for this search.
    pub(super) const fn has_given_up(&self) -> bool {
        self.given_up
    }

    fn operation(&self, seat: usize) -> Option<&'a Operation> {
        self.operations.get((*self.seats.get(seat)?)?).copied()
    }

    fn on_invoked(&mut self, index: usize) {
        let seat = self.seats.iter().position(Option::is_none).unwrap_or(self.seats.len());
        if seat >= MAX_OPEN {
            self.given_up = true;
            return;
        }
        if seat == self.seats.len() {
            self.seats.push(None);
        }
        if let (Some(free), Some(seat_of)) = (self.seats.get_mut(seat), self.seat_of.get_mut(index)) {
            (*free, *seat_of) = (Some(index), seat);
        }
        let Some(operation) = self.operation(seat) else { return };
        if operation.outcome.is_none() {
            self.optional |= 1 << seat;
        }
        for configuration in &mut self.alive {
            if changes_nothing(operation, configuration.value) {
                configuration.done |= 1 << seat;
            }
        }
    }

    /// Keeps what has carried the operation out, or can. Returns the work that it took.
    fn on_returned(&mut self, index: usize) -> usize {
        let seat = self.seat_of.get(index).copied().unwrap_or_default();
        let mut work = core::mem::take(&mut self.alive);
        let mut known = Known::default();
        work.retain(|configuration| known.is_new(*configuration, self.optional));
        let mut at = 0;
        while let Some(&configuration) = work.get(at) {
            at += 1;
            if configuration.done & (1 << seat) == 0 {
                self.expand(configuration, &mut known, &mut work);
            }
            if work.len() > MAX_CONFIGURATIONS {
                self.given_up = true;
                return at;
            }
        }
        let bit = 1 << seat;
        self.alive = work.into_iter().filter(|configuration| configuration.done & bit != 0).collect();
        for configuration in &mut self.alive {
            configuration.done &= !bit;
        }
        if let Some(taken) = self.seats.get_mut(seat) {
            *taken = None;
        }
        at
    }

    /// Adds everything that one more operation makes of `configuration`.
    fn expand(&self, configuration: Configuration, known: &mut Known, work: &mut Vec<Configuration>) {
        for seat in 0..self.seats.len() {
            let bit = 1 << seat;
            let Some(operation) = self.operation(seat).filter(|_| configuration.done & bit == 0) else {
                continue;
            };
            if self.optional & bit != 0 && self.twin_waits(seat, operation, configuration.done) {
                continue;
            }
            let (value, answer) = operation.call.carry_out(configuration.value);
            if operation.outcome.is_some_and(|(_, told)| told != answer) {
                continue;
            }
            let hidden = if matches!(operation.call, Call::Put(_)) { self.unseen_seats() } else { 0 };
            let next = self.settled(Configuration { value, done: configuration.done | bit | hidden });
            if known.is_new(next, self.optional) {
                work.push(next);
            }
        }
    }

    /// The open writes that may hide behind another.
    fn unseen_seats(&self) -> u128 {
        let is_unseen = |index: usize| self.unseen.get(index).copied().unwrap_or_default();
        let taken = self.seats.iter().enumerate().filter(|(_, seat)| seat.is_some_and(is_unseen));
        taken.fold(0, |seats, (seat, _)| seats | 1 << seat)
    }

    /// Whether an equal call that never returns either has not taken effect, and sits before it.
    fn twin_waits(&self, seat: usize, operation: &Operation, done: u128) -> bool {
        (0..seat).any(|other| {
            let bit = 1 << other;
            self.optional & bit != 0
                && done & bit == 0
                && self.operation(other).is_some_and(|twin| twin.call == operation.call)
        })
    }

    /// With every operation carried out that changes nothing and is answered truly.
    fn settled(&self, mut configuration: Configuration) -> Configuration {
        for seat in 0..self.seats.len() {
            let bit = 1 << seat;
            if configuration.done & bit == 0
                && self.operation(seat).is_some_and(|open| changes_nothing(open, configuration.value))
            {
                configuration.done |= bit;
            }
        }
        configuration
    }

    fn describe(&self, index: usize, before: &[Configuration]) -> String {
        let Some(operation) = self.operations.get(index) else { return String::new() };
        let mut values: Vec<Value> = before.iter().map(|configuration| configuration.value).collect();
        values.sort_unstable();
        values.dedup();
        let some = values.len().min(8);
        let mut text = format!(
            "no order explains the reply that returned at {:?}; the register could then hold one of {:?}{}, but:{}",
            returned(operation),
            values.get(..some).unwrap_or_default(),
            if some < values.len() { " and others" } else { "" },
            line(operation)
        );
        text.push_str("\nopen beside it:");
        // The seat of the operation itself is free by now.
        for seat in 0..self.seats.len() {
            if let Some(open) = self.operation(seat) {
                text.push_str(&line(open));
            }
        }
        text
    }
}

/// Which writes return and are seen by nobody; none if a call other than a read or a write could tell them apart.
fn unseen(operations: &[&Operation]) -> Vec<bool> {
    let is_plain = operations.iter().all(|operation| matches!(operation.call, Call::Get | Call::Put(_)));
    let mut seen: FxHashSet<Value> = FxHashSet::default();
    for operation in operations {
        if let Some((_, Answer::Value(value))) = operation.outcome {
            seen.insert(value);
        }
    }
    let is_unseen = |operation: &&Operation| match operation.call {
        Call::Put(mark) => operation.outcome.is_some() && !seen.contains(&Value::written(mark)),
        Call::Get | Call::Append(_) | Call::Cas { .. } => false,
    };
    operations.iter().map(|operation| is_plain && is_unseen(operation)).collect()
}

/// Whether the reply is true of `value`, and tells that the operation changed nothing whatever the register held.
fn changes_nothing(operation: &Operation, value: Value) -> bool {
    let Some((_, told)) = operation.outcome else { return false };
    let is_read = match operation.call {
        Call::Get => true,
        Call::Cas { .. } => told == Answer::Swapped(false),
        Call::Put(_) | Call::Append(_) => false,
    };
    is_read && operation.call.carry_out(value).1 == told
}

/// The configurations met before the same return.
#[derive(Default)]
struct Known(FxHashMap<(Value, u128), Vec<u128>>);

impl Known {
    /// Notes the configuration, unless one is known that can do as much.
    fn is_new(&mut self, configuration: Configuration, optional: u128) -> bool {
        let used = configuration.done & optional;
        let known = self.0.entry((configuration.value, configuration.done & !optional)).or_default();
        if known.iter().any(|&fewer| fewer & !used == 0) {
            return false;
        }
        known.push(used);
        true
    }
}
