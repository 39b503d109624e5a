//! The four guarantees of a session (Terry, Demers, Petersen, Spreitzer, Theimer and Welch, "Session guarantees for weakly
//! consistent replicated data", PDIS 1994).
//!
//! The paper speaks of the writes in a server's database. A client does not see that: it sees a value. So each guarantee is
//! read as a debt: before each read, the session is *owed* some writes,
//!
//! - read your writes: those that it made before;
//! - monotonic reads: those that it saw before;
//! - monotonic writes: those that their sessions made before the writes that it saw before;
//! - writes follow reads: those that their sessions saw before they made the writes that it saw before.
//!
//! The guarantee is broken if a read finds the register empty though a write to it is owed, or sees a write that is causally
//! before one that is owed. Of concurrent writes nobody can say which is the newer, so that seeing either breaks nothing. The
//! last two are judged with the eyes of a session that reads on, as any client must, and so take for granted that what it saw
//! stays seen.
//!
//! What is owed is causally before the read. Therefore causal consistency gives all four. Each check takes time and bits n²
//! for n operations.

use super::bits::Bits;
use super::{Finding, Observed};
use core::fmt;

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// A read sees what its session wrote before.
    ReadYourWrites,
    /// A read sees what its session saw before.
    MonotonicReads,
    /// Who sees a write sees what its session wrote before it.
    MonotonicWrites,
    /// Who sees a write sees what its session had seen before it.
    WritesFollowReads,
}

impl Guarantee {
    /// All four.
    pub const ALL: [Self; 4] =
        [Self::ReadYourWrites, Self::MonotonicReads, Self::MonotonicWrites, Self::WritesFollowReads];
}

impl fmt::Display for Guarantee {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::ReadYourWrites => "read your writes",
            Self::MonotonicReads => "monotonic reads",
            Self::MonotonicWrites => "monotonic writes",
            Self::WritesFollowReads => "writes follow reads",
        })
    }
}

/// Judges the history by one guarantee.
#[must_use]
pub fn check(history: &Observed, guarantee: Guarantee) -> Finding {
    if let Some(finding) = history.thin_air() {
        return finding;
    }
    let owed = match guarantee {
        Guarantee::ReadYourWrites => made_before(history),
        Guarantee::MonotonicReads => seen_before(history),
        Guarantee::MonotonicWrites => through_what_was_seen(history, &made_before(history)),
        Guarantee::WritesFollowReads => through_what_was_seen(history, &seen_before(history)),
    };
    match history.stale(&owed) {
        Some((read, write)) => history.explain_stale(&guarantee.to_string(), read, write),
        None => Finding::Holds,
    }
}

/// The writes of the session before each of its operations.
fn made_before(history: &Observed) -> Vec<Bits> {
    along_sessions(history, |index, debt| {
        if !history.is_read(index) {
            debt.insert(index);
        }
    })
}

/// The writes that the session saw before each of its operations.
fn seen_before(history: &Observed) -> Vec<Bits> {
    along_sessions(history, |index, debt| {
        if let Some(write) = history.source[index] {
            debt.insert(write);
        }
    })
}

/// What was `known` to the writers of all that the session saw before each of its operations.
fn through_what_was_seen(history: &Observed, known: &[Bits]) -> Vec<Bits> {
    along_sessions(history, |index, debt| {
        if let Some(write) = history.source[index] {
            debt.join(&known[write]);
        }
    })
}

/// For each operation what `add` collects from those before it in its session.
fn along_sessions(history: &Observed, add: impl Fn(usize, &mut Bits)) -> Vec<Bits> {
    let count = history.events.len();
    let mut owed: Vec<Bits> = Vec::with_capacity(count);
    // Events stand by invocation, hence behind all that is before them in their session.
    for before in &history.session {
        let mut debt = Bits::new(count);
        for &earlier in before {
            debt.join(&owed[earlier]);
            add(earlier, &mut debt);
        }
        owed.push(debt);
    }
    owed
}
