//! Eventual convergence: once the clients are silent and the messages have arrived, all replicas hold the same, and hold what
//! somebody wrote.
//!
//! The second half keeps a store from converging by forgetting: a register to which a write was acknowledged is not empty, and
//! what it holds was written there. When a store must have converged is the caller's to say: it asks when it is time.
//!
//! The check takes time (n + r) · log n for n operations and r registers of all replicas.

use super::{Access, Event, Finding};
use crate::machine::{Key, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What one replica holds in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    /// Its number, for people.
    pub number: u32,
    /// Its registers. One that is not there is empty.
    pub registers: BTreeMap<Key, Value>,
}

impl Replica {
    fn get(&self, key: Key) -> Value {
        self.registers.get(&key).copied().unwrap_or_default()
    }
}

/// Judges what the replicas hold after `events`, all of them.
#[must_use]
pub fn check(events: &[Event], replicas: &[Replica]) -> Finding {
    let Some((first, others)) = replicas.split_first() else { return Finding::Holds };
    let mut writes: BTreeMap<Key, Vec<(Value, &Event)>> = BTreeMap::new();
    for event in events {
        if let Access::Write(value) = event.access {
            writes.entry(event.key).or_default().push((value, event));
        }
    }
    let held = replicas.iter().flat_map(|replica| replica.registers.keys());
    let keys: BTreeSet<Key> = held.chain(writes.keys()).copied().collect();
    for key in keys {
        let value = first.get(key);
        let made = writes.get(&key).map_or(&[][..], Vec::as_slice);
        if let Some(other) = others.iter().find(|other| other.get(key) != value) {
            return Finding::Violated(differ(key, first, other, made));
        }
        let acknowledged = made.iter().find(|(_, event)| event.returned.is_some());
        if value == Value::default() {
            if let Some((_, event)) = acknowledged {
                return Finding::Violated(format!(
                    "all replicas find k{} empty, but this was acknowledged:\n  {event}",
                    key.0
                ));
            }
        } else if !made.iter().any(|(written, _)| *written == value) {
            return Finding::Violated(format!(
                "all replicas hold k{} = {:x}, which nobody wrote",
                key.0, value.0
            ));
        }
    }
    Finding::Holds
}

fn differ(key: Key, first: &Replica, other: &Replica, made: &[(Value, &Event)]) -> String {
    let mut text = format!("replicas {} and {} differ in k{}:", first.number, other.number, key.0);
    for replica in [first, other] {
        let value = replica.get(key);
        let writer = made.iter().find(|(written, _)| *written == value);
        let origin = match writer {
            Some((_, event)) => format!(", by: {event}"),
            None if value == Value::default() => ", never written".into(),
            None => ", which nobody wrote".into(),
        };
        text.push_str(&format!("\n  replica {} holds {:x}{origin}", replica.number, value.0));
    }
    text
}
