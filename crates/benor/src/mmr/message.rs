//! What the nodes say to each other: where they stand, and nothing else.
//!
//! As in the rest of this crate every message says all that matters to somebody in the round: a message that is lost is made up for by the next, and
//! one that comes late or twice brings nothing.

use super::coin::Share;
use super::past::MAX_ROUNDS;
use consensus_core::Offence;
use serde::{Deserialize, Serialize};

/// Some values, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Values {
    /// 0 alone.
    Zero,
    /// 1 alone.
    One,
    /// Both.
    Both,
}

/// What a node casts in one round. What it has cast it never takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Casts {
    /// EST: the value that it holds, and whatever it passes on.
    pub est: Values,
    /// AUX: a value that it has accepted.
    pub aux: Option<bool>,
    /// CONF: which values enough voters have named.
    pub conf: Option<Values>,
    /// Its share of the round's coin.
    pub share: Option<Share>,
}

/// Where a node stands, or stood in the round after that of somebody who asks.
// [M9]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The round; zero before the first.
    pub round: u64,
    /// What it has cast in that round.
    pub casts: Option<Casts>,
    /// What it cast in the round before.
    pub before: Option<Casts>,
    /// What it has decided.
    pub decided: Option<bool>,
}

/// A message. Variants are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// "Here I stand."
    Tell(Standing),
    /// "Here I stand, and lack something. Where do you?"
    Ask(Standing),
}

impl Values {
    /// This value alone.
    #[must_use]
    pub const fn only(value: bool) -> Self {
        if value { Self::One } else { Self::Zero }
    }

    /// Whether the value is among them.
    #[must_use]
    pub const fn contains(self, value: bool) -> bool {
        match self {
            Self::Zero => !value,
            Self::One => value,
            Self::Both => true,
        }
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        match (self, others) {
            (Self::Zero, Self::Zero) => Self::Zero,
            (Self::One, Self::One) => Self::One,
            (Self::Zero | Self::One | Self::Both, Self::Zero | Self::One | Self::Both) => Self::Both,
        }
    }

    /// Whether all of them are among those.
    #[must_use]
    pub const fn are_within(self, others: Self) -> bool {
        matches!(
            (self, others),
            (Self::Zero, Self::Zero)
                | (Self::One, Self::One)
                | (Self::Zero | Self::One | Self::Both, Self::Both)
        )
    }

    /// The value, if it is one.
    #[must_use]
    pub const fn single(self) -> Option<bool> {
        match self {
            Self::Zero => Some(false),
            Self::One => Some(true),
            Self::Both => None,
        }
    }
}

impl Casts {
    /// A round is entered with this value.
    #[must_use]
    pub const fn of(value: bool) -> Self {
        Self { est: Values::only(value), aux: None, conf: None, share: None }
    }

    /// How far they have got; only ever more of it is said.
    fn rank(&self) -> (bool, bool, bool, bool) {
        (self.share.is_some(), self.conf.is_some(), self.aux.is_some(), self.est == Values::Both)
    }

    /// Whether nothing was cast before what must be cast first.
    const fn is_in_order(&self) -> bool {
        (self.aux.is_some() || self.conf.is_none()) && (self.conf.is_some() || self.share.is_none())
    }
}

impl Standing {
    /// What is known of the node's votes in `round`.
    #[must_use]
    pub fn casts_in(&self, round: u64) -> Option<Casts> {
        if round == self.round {
            self.casts
        } else if round.checked_add(1) == Some(self.round) {
            self.before
        } else {
            None
        }
    }

    /// Whether this says more than `known`, which the same node said.
    pub(crate) fn is_newer_than(&self, known: &Self) -> bool {
        let rank = |standing: &Self| (standing.round, standing.casts.map(|casts| casts.rank()));
        rank(self) > rank(known)
    }

    /// The checks that need no state.
    ///
    /// # Errors
    /// What no correct node would say.
    // [M13]
    pub fn check(&self) -> Result<(), Offence> {
        if self.round > MAX_ROUNDS {
            return Err(Offence::Malformed("a round is out of range"));
        }
        if (self.round == 0) != self.casts.is_none() || (self.round < 2) != self.before.is_none() {
            return Err(Offence::Malformed("votes of a round that is none, or none of one"));
        }
        let is_in_order = |casts: Option<Casts>| casts.is_none_or(|casts| casts.is_in_order());
        if !is_in_order(self.casts) || !is_in_order(self.before) {
            return Err(Offence::Malformed("a vote came before what must be cast first"));
        }
        if self.before.is_some_and(|casts| casts.share.is_none()) {
            return Err(Offence::Malformed("it left a round that it had not gone through"));
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
