//! Whether a history of clients is linearizable (Herlihy and Wing 1990).
//!
//! Linearizability is local: a history is linearizable if its part on each register is. Each part is first replayed in the
//! order of the log slots that the replies carry. If every reply is then what the specification gives, and no operation
//! stands before one that had returned before it was invoked, that order *is* a linearization, and nothing is left to
//! search. Otherwise two searches race, a slice of steps each in turn, and the first that decides is believed:
//!
//! - `depth_first`, of Wing and Gong (1993) with the memory of Lowe (2017): linearize any operation that was invoked before
//!   every outstanding return, and never visit the same set of operations with the same state twice. It finds an explanation
//!   fast where there are many.
//! - `configurations`, breadth first through time: it finds fast that there is none.
//!
//! The race is run in one thread and counts steps, not seconds, so that the same history always gets the same finding.
//!
//! An operation without a return may take effect at any time after its invocation, or never. A read without a return
//! tells nothing and is dropped.

mod configurations;
mod depth_first;
#[cfg(test)]
mod tests;

use crate::history::{History, Moment, Operation};
use crate::machine::{Call, Key, Value};
use configurations::Configurations;
use depth_first::DepthFirst;
use std::collections::BTreeMap;

/// The most steps of each search for one register before the checker gives up.
pub const MAX_STEPS: usize = 4_000_000;
/// How many steps one search takes before it is the other's turn.
const SLICE_STEPS: usize = 4_096;

/// What the checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// There is an order that explains every reply.
    Linearizable,
    /// There is none on this register.
    Violation {
        /// The register.
        key: Key,
        /// The operations that cannot be explained, and what was known before them.
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
            Some(Verdict::Found) => {}
            Some(Verdict::Impossible(detail)) => return Finding::Violation { key, detail },
            None => undecided = Some(Finding::Undecided { key }),
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

/// What a search found out.
enum Verdict {
    Found,
    Impossible(String),
}

/// Lets the searches race; `None` if neither decides.
fn search(part: &[&Operation]) -> Option<Verdict> {
    let mut operations = part.to_vec();
    operations.sort_by_key(|operation| operation.invoked);
    let mut depth_first = DepthFirst::new(&operations);
    let mut configurations = Configurations::new(&operations);
    let mut steps = 0;
    while steps < MAX_STEPS {
        if let Some(verdict) = depth_first.advance(SLICE_STEPS) {
            return Some(verdict);
        }
        if !configurations.has_given_up()
            && let Some(verdict) = configurations.advance(SLICE_STEPS)
        {
            return Some(verdict);
        }
        steps += SLICE_STEPS;
    }
    None
}

/// The operation on a line of its own.
fn line(operation: &Operation) -> String {
    format!(
        "\n  client {} {:?} at {} ({:?}..{:?}) answered {:?}, slot {:?}",
        operation.client,
        operation.call,
        operation.invoked_at,
        operation.invoked,
        returned(operation),
        operation.outcome.map(|(_, answer)| answer),
        operation.slot
    )
}
