//! What weaker promises than linearizability ask of a history of reads and writes.
//!
//! From strong to weak: [`sequential`] consistency, [`causal`] consistency, the four guarantees of [`session`]s; and, apart
//! from these, [`convergence`] once the clients are silent. A linearizable history passes all of them, and whatever passes
//! one of the first three passes those behind it.
//!
//! Everything rests on one fact: *no value is written to the same register twice*, so that each read names the write that it
//! saw. [`Observed`] checks that, and derives the two relations that the checkers share:
//!
//! - **session order**: an operation of a client stands before another of the same client if it had returned before the other
//!   was invoked. What never returned stands before nothing: it may take effect late.
//! - **causal order**: the closure of session order and of "is read by".
//!
//! A write without a return that nobody read is taken never to have happened, and a read without a return tells nothing: both
//! are dropped. No checker looks at real time between clients.

mod bits;
pub mod causal;
pub mod convergence;
pub mod sequential;
pub mod session;

use crate::history::{Moment, Operation};
use crate::machine::{Answer, Call, Key, Value};
use bits::{Bits, closure, cycle, path};
use core::fmt;
use std::collections::BTreeMap;

/// The most operations that a history may have: the relations take the square of it in bits.
pub const MAX_EVENTS: usize = 20_000;

/// What a client did to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It read this; [`Value::default`] if nothing was there. Without a return it tells nothing.
    Read(Value),
    /// It wrote this, which nobody else writes there.
    Write(Value),
}

/// One operation of one client on one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The client.
    pub client: u32,
    /// The register.
    pub key: Key,
    /// What it did.
    pub access: Access,
    /// When it began.
    pub invoked: Moment,
    /// When it ended; `None` if the client never learnt.
    pub returned: Option<Moment>,
}

impl Event {
    /// The operation as a plain access.
    ///
    /// # Errors
    /// [`HistoryError::NotPlain`] for an append, a compare-and-swap or a reply that is none to a read.
    pub fn from_operation(operation: &Operation) -> Result<Self, HistoryError> {
        let answer = operation.outcome.map(|(_, answer)| answer);
        let access = match (operation.call, answer) {
            (Call::Put(mark), _) => Access::Write(Value::written(mark)),
            (Call::Get, Some(Answer::Value(value))) => Access::Read(value),
            (Call::Get, None) => Access::Read(Value::default()),
            (Call::Get, Some(Answer::Done | Answer::Swapped(_)))
            | (Call::Append(_) | Call::Cas { .. }, _) => {
                return Err(HistoryError::NotPlain { client: operation.client, call: operation.call });
            }
        };
        let returned = operation.outcome.map(|(moment, _)| moment);
        let &Operation { client, key, invoked, .. } = operation;
        Ok(Self { client, key, access, invoked, returned })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, value) = match self.access {
            Access::Read(value) => ("reads", value),
            Access::Write(value) => ("writes", value),
        };
        write!(out, "client {} {verb} k{} = {:x} ({}..", self.client, self.key.0, value.0, self.invoked.0)?;
        match self.returned {
            Some(moment) => write!(out, "{})", moment.0),
            None => write!(out, ")"),
        }
    }
}

/// Why a history cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryError {
    /// Two operations write the same value to the same register, or one writes what the empty register holds.
    Ambiguous {
        /// The register.
        key: Key,
        /// The value.
        value: Value,
    },
    /// The history is longer than [`MAX_EVENTS`].
    TooLong {
        /// How long it is.
        events: usize,
    },
    /// The operation is neither a plain read nor a plain write.
    NotPlain {
        /// Whose it is.
        client: u32,
        /// What it asked.
        call: Call,
    },
}

impl fmt::Display for HistoryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous { key, value } => write!(
                out,
                "k{} = {:x} is written twice or is the initial value: write unique values, so that each read names its write",
                key.0, value.0
            ),
            Self::TooLong { events } => {
                write!(out, "{events} operations are too many: judge at most {MAX_EVENTS} at once")
            }
            Self::NotPlain { client, call } => {
                write!(
                    out,
                    "{call:?} of client {client} is no plain read or write: use linearizability for it"
                )
            }
        }
    }
}

impl core::error::Error for HistoryError {}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The history keeps the promise.
    Holds,
    /// It does not; the text names the operations.
    Violated(String),
    /// The search was too long; nothing is known.
    Undecided,
}

/// A history whose reads name their writes, with session and causal order.
#[derive(Debug)]
pub struct Observed {
    /// By invocation.
    events: Vec<Event>,
    /// For a read the write that it saw; `None` is the empty register.
    source: Vec<Option<usize>>,
    /// The nearest operations before each in session order.
    session: Vec<Vec<usize>>,
    /// These, and the source.
    causes: Vec<Vec<usize>>,
    /// All that is causally before each.
    past: Vec<Bits>,
    writes: BTreeMap<Key, Vec<usize>>,
    /// A read of what nobody wrote.
    thin_air: Option<usize>,
}

impl Observed {
    /// Judges what every checker needs.
    ///
    /// # Errors
    /// If the history is too long, or a read does not name its write.
    pub fn new(events: &[Event]) -> Result<Self, HistoryError> {
        if events.len() > MAX_EVENTS {
            return Err(HistoryError::TooLong { events: events.len() });
        }
        let events = relevant(events)?;
        let mut writers: BTreeMap<(Key, Value), usize> = BTreeMap::new();
        let mut writes: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            if let Access::Write(value) = event.access {
                writers.insert((event.key, value), index);
                writes.entry(event.key).or_default().push(index);
            }
        }
        let mut thin_air = None;
        let mut source = vec![None; events.len()];
        for (index, event) in events.iter().enumerate() {
            if let Access::Read(value) = event.access
                && value != Value::default()
            {
                source[index] = writers.get(&(event.key, value)).copied();
                if source[index].is_none() {
                    thin_air.get_or_insert(index);
                }
            }
        }
        let session = session_order(&events);
        let with_source = session.iter().zip(&source);
        let causes: Vec<Vec<usize>> =
            with_source.map(|(before, source)| before.iter().copied().chain(*source).collect()).collect();
        let past = closure(&causes);
        Ok(Self { events, source, session, causes, past, writes, thin_air })
    }

    fn is_read(&self, index: usize) -> bool {
        matches!(self.events[index].access, Access::Read(_))
    }

    fn writes_of(&self, key: Key) -> &[usize] {
        self.writes.get(&key).map_or(&[], Vec::as_slice)
    }

    /// A read and a write that it had to see: the write is in its row of `owed`, and causally after what the read saw.
    fn stale(&self, owed: &[Bits]) -> Option<(usize, usize)> {
        (0..self.events.len()).filter(|&read| self.is_read(read)).find_map(|read| {
            let seen = self.source[read];
            let newer = |write: usize| seen.is_none_or(|seen| self.past[write].contains(seen));
            let mut writes = self.writes_of(self.events[read].key).iter().copied();
            writes.find(|&write| owed[read].contains(write) && newer(write)).map(|write| (read, write))
        })
    }

    /// The finding about reads of what nobody wrote, which no promise allows.
    fn thin_air(&self) -> Option<Finding> {
        let read = self.events[self.thin_air?];
        Some(Finding::Violated(format!("nobody wrote what was read:\n  {read}")))
    }

    /// Says which write the read missed, and how it should have known.
    fn explain_stale(&self, promise: &str, read: usize, write: usize) -> Finding {
        let mut text = format!("{promise}: a read missed a write:\n  {}", self.events[read]);
        text.push_str(&format!("\nhad to see this write:\n  {}", self.events[write]));
        text.push_str("\nwhich it knew through:");
        self.list(&mut text, &path(&self.causes, write, read));
        match self.source[read] {
            None => text.push_str("\nbut found the register empty"),
            Some(seen) => {
                text.push_str("\nbut saw an older one, which was known when the write was made:");
                self.list(&mut text, &path(&self.causes, seen, write));
            }
        }
        Finding::Violated(text)
    }

    /// Says which operations would have to stand before themselves, if there are any.
    fn explain_cycle(&self, promise: &str, before: &[Vec<usize>], past: &[Bits]) -> Option<Finding> {
        let around = cycle(before, past)?;
        let mut text =
            format!("{promise}: each of these has to stand before the next, and the last before the first:");
        self.list(&mut text, &around);
        Some(Finding::Violated(text))
    }

    fn list(&self, text: &mut String, indices: &[usize]) {
        const MOST: usize = 12;
        for &index in indices.iter().take(MOST) {
            text.push_str(&format!("\n  {}", self.events[index]));
        }
        if indices.len() > MOST {
            text.push_str(&format!("\n  and {} more", indices.len() - MOST));
        }
    }
}

/// The events that tell something, by invocation.
fn relevant(events: &[Event]) -> Result<Vec<Event>, HistoryError> {
    let mut seen: BTreeMap<(Key, Value), bool> = BTreeMap::new();
    for event in events {
        if let Access::Write(value) = event.access
            && (value == Value::default() || seen.insert((event.key, value), false).is_some())
        {
            return Err(HistoryError::Ambiguous { key: event.key, value });
        }
    }
    for event in events {
        if let Access::Read(value) = event.access
            && event.returned.is_some()
            && let Some(is_seen) = seen.get_mut(&(event.key, value))
        {
            *is_seen = true;
        }
    }
    let tells = |event: &&Event| match event.access {
        Access::Read(_) => event.returned.is_some(),
        Access::Write(value) => event.returned.is_some() || seen.get(&(event.key, value)) == Some(&true),
    };
    let mut kept: Vec<Event> = events.iter().filter(tells).copied().collect();
    kept.sort_by_key(|event| event.invoked);
    Ok(kept)
}

/// The nearest operations before each of the same client: those that returned before it began, without those that returned
/// before another of them began.
fn session_order(events: &[Event]) -> Vec<Vec<usize>> {
    let mut frontiers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut before = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        let frontier = frontiers.entry(event.client).or_default();
        let is_over = |other: &usize| events[*other].returned.is_some_and(|moment| moment < event.invoked);
        let latest = frontier.iter().filter(|other| is_over(other)).map(|&other| events[other].invoked).max();
        if let Some(latest) = latest {
            frontier.retain(|&other| events[other].returned.is_none_or(|moment| moment >= latest));
        }
        before.push(frontier.iter().copied().filter(is_over).collect());
        // What never returned stands before nothing.
        if event.returned.is_some() {
            frontier.push(index);
        }
    }
    before
}
