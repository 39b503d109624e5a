//! The acceptor: it keeps its word, and remembers what it last accepted.
//!
//! Both phases ask it the same question, whether it has promised a higher ballot, and both end with the ballot promised. That
//! accepting promises too is what *Paxos Made Simple* leaves out: an acceptor that accepts in ballot 3 and goes on to accept in
//! ballot 2, which it promised to nobody, lets ballot 2 choose against a choice of ballot 3.

use crate::ballot::Ballot;
use serde::{Deserialize, Serialize};

/// What was accepted, and in which ballot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote<V> {
    /// The ballot.
    pub ballot: Ballot,
    /// The value.
    pub value: V,
}

/// How an acceptor takes a message of a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The ballot is promised now, and was not before: that is to be written down.
    Fresh,
    /// The ballot was promised before.
    Again,
    /// This higher ballot was promised.
    Refused(Ballot),
}

/// Which ballots an acceptor still answers.
// [S2] [S3]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promised(pub(crate) Ballot);

impl Promised {
    /// The highest ballot that was promised.
    #[must_use]
    pub const fn ballot(self) -> Ballot {
        self.0
    }

    /// Promises `ballot`, unless a higher one was promised.
    #[inline]
    pub fn raise(&mut self, ballot: Ballot) -> Answer {
        let answer = self.answer(ballot);
        if answer == Answer::Fresh {
            self.0 = ballot;
        }
        answer
    }

    /// What [`Promised::raise`] would say.
    #[must_use]
    #[inline]
    pub fn answer(self, ballot: Ballot) -> Answer {
        match ballot.cmp(&self.0) {
            core::cmp::Ordering::Greater => Answer::Fresh,
            core::cmp::Ordering::Equal => Answer::Again,
            core::cmp::Ordering::Less => Answer::Refused(self.0),
        }
    }
}

/// The acceptor of single-decree Paxos.
#[derive(Clone, Debug)]
pub struct Acceptor<V> {
    pub(crate) promised: Promised,
    pub(crate) vote: Option<Vote<V>>,
}

impl<V> Default for Acceptor<V> {
    fn default() -> Self {
        Self { promised: Promised::default(), vote: None }
    }
}

impl<V> Acceptor<V> {
    /// Phase 1: whether it promises `ballot`.
    // [S2]
    pub fn prepare(&mut self, ballot: Ballot) -> Answer {
        self.promised.raise(ballot)
    }

    /// Phase 2: whether it accepts `value` in `ballot`.
    // [S3]
    pub fn accept(&mut self, ballot: Ballot, value: V) -> Answer {
        let answer = self.promised.raise(ballot);
        if !matches!(answer, Answer::Refused(_)) {
            self.vote = Some(Vote { ballot, value });
        }
        answer
    }

    /// The highest ballot that was promised.
    #[must_use]
    pub const fn promised(&self) -> Ballot {
        self.promised.ballot()
    }

    /// What was accepted last.
    #[must_use]
    pub const fn vote(&self) -> Option<&Vote<V>> {
        self.vote.as_ref()
    }

    /// Checks what must be true of its state.
    pub fn assert_invariants(&self) {
        if let Some(vote) = &self.vote {
            assert!(vote.ballot <= self.promised(), "it accepted in a ballot above what it promised");
        }
    }
}
