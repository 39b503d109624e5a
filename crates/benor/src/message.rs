//! What the nodes say to each other: where they stand, and nothing else.
//!
//! All that matters to somebody in a round fits into a few bytes, so that every message says it all: a message that is lost is made up for
//! by the next, and one that comes late or twice brings nothing.

use crate::past::MAX_ROUNDS;
use consensus_core::Offence;
use serde::{Deserialize, Serialize};

/// What a node casts in the first phase of a round: the value that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The value.
    pub value: bool,
    /// Whether a coin gave it; otherwise it was proposed in the round before, or given to the node at the beginning.
    pub tossed: bool,
}

/// What a node casts in the second phase of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proposal {
    /// This value was reported by so many that no other can be.
    Value(bool),
    /// The paper's "?": none was.
    Nothing,
}

/// What a node has cast in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Casts {
    /// In the first phase.
    pub report: Report,
    /// In the second, if it has got so far.
    pub proposal: Option<Proposal>,
}

/// That a node has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What.
    pub value: bool,
    /// Whether it counted the proposals itself, in the round before the one in which it stands: then it votes for the value in that
    /// round and all later ones. Otherwise it was told.
    pub reached: bool,
}

/// Where a node stands, or stood in the round after that of somebody who asks.
// [B8]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The round; zero before the first.
    pub round: u64,
    /// What it has cast in that round.
    pub casts: Option<Casts>,
    /// What it cast in the round before.
    pub before: Option<Casts>,
    /// What it has decided.
    pub decided: Option<Decided>,
}

/// A message. Variants are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// "Here I stand."
    Tell(Standing),
    /// "Here I stand, and lack something. Where do you?"
    Ask(Standing),
}

impl Casts {
    /// A vote for `value` in both phases.
    #[must_use]
    pub const fn all_for(value: bool) -> Self {
        Self { report: Report { value, tossed: false }, proposal: Some(Proposal::Value(value)) }
    }
}

impl Standing {
    /// What is known of the node's votes in `round`.
    // [B6]
    #[must_use]
    pub fn casts_in(&self, round: u64) -> Option<Casts> {
        match self.decided {
            Some(Decided { value, reached: true }) if round > self.round => Some(Casts::all_for(value)),
            Some(_) | None if round == self.round => self.casts,
            Some(_) | None if round.checked_add(1) == Some(self.round) => self.before,
            Some(_) | None => None,
        }
    }

    /// Whether this says more than `known`, which the same node said.
    pub(crate) fn is_newer_than(&self, known: &Self) -> bool {
        let rank = |standing: &Self| {
            let proposed = standing.casts.is_some_and(|casts| casts.proposal.is_some());
            (standing.round, proposed, standing.decided.is_some(), standing.is_final())
        };
        rank(self) > rank(known)
    }

    /// Whether it has decided by its own count, and never casts anything again.
    pub(crate) fn is_final(&self) -> bool {
        self.decided.is_some_and(|decided| decided.reached)
    }

    /// The checks that need no state.
    ///
    /// # Errors
    /// What no correct node would say.
    // [B13]
    pub fn check(&self) -> Result<(), Offence> {
        if self.round > MAX_ROUNDS {
            return Err(Offence::Malformed("a round is out of range"));
        }
        if (self.round == 0) != self.casts.is_none() || (self.round < 2 && self.before.is_some()) {
            return Err(Offence::Malformed("votes of a round that is none"));
        }
        if self.round == 1 && self.casts.is_some_and(|casts| casts.report.tossed) {
            return Err(Offence::Malformed("a coin was tossed before the first round"));
        }
        if let Some(Decided { value, reached: true }) = self.decided
            && (self.round < 2 || self.casts != Some(Casts::all_for(value)))
        {
            return Err(Offence::Malformed("it decided, and votes for something else"));
        }
        Ok(())
    }
}

impl Message {
    /// Where the sender stands.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        match self {
            Self::Tell(standing) | Self::Ask(standing) => standing,
        }
    }
}
