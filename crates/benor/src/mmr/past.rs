//! What a node has cast and decided: its word, which it keeps through crashes.

use super::message::{Casts, Standing, Values};
use super::record::Record;
use alloc::vec::Vec;

/// The most rounds that a node takes part in. Until all hold one value each round brings that about with probability one half, whatever the liars
/// do, and from then on each decides with one half: nobody gets there.
pub(crate) const MAX_ROUNDS: u64 = 1 << 10;

/// The votes of a node, round by round from the first, and its decision.
// [M10]
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    casts: Vec<Casts>,
    pub(crate) decided: Option<bool>,
}

impl Past {
    /// The round; zero before the first.
    pub(crate) const fn round(&self) -> u64 {
        self.casts.len() as u64
    }

    /// What was cast in a round.
    pub(crate) fn casts_in(&self, round: u64) -> Option<Casts> {
        let place = usize::try_from(round.checked_sub(1)?).ok()?;
        self.casts.get(place).copied()
    }

    /// Where the node stands.
    pub(crate) fn standing(&self) -> Standing {
        self.standing_in(self.round())
    }

    /// What somebody in `round` needs to know: where the node stands, or stood in the round after that one.
    // [M9]
    pub(crate) fn standing_for(&self, round: u64) -> Standing {
        self.standing_in(round.saturating_add(1).min(self.round()))
    }

    /// Where the node stood in a round that it has been in.
    pub(crate) fn standing_in(&self, round: u64) -> Standing {
        Standing {
            round,
            casts: self.casts_in(round),
            before: self.casts_in(round.saturating_sub(1)),
            decided: self.decided,
        }
    }

    /// Does what a record says was done.
    ///
    /// # Errors
    /// The record does not fit to those before.
    // [M8]
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), &'static str> {
        let last = self.casts.last_mut();
        match *record {
            Record::Given { .. } => {}
            Record::Entered { round, value } => {
                let is_over = last.is_none_or(|casts| casts.share.is_some());
                if round != self.round() + 1 || !is_over {
                    return Err("the records hold votes of a round that does not follow");
                }
                self.casts.push(Casts::of(value));
            }
            Record::Relayed { round, value } => {
                let place = round.checked_sub(1).and_then(|place| usize::try_from(place).ok());
                let Some(casts) = place.and_then(|place| self.casts.get_mut(place)) else {
                    return Err("the records pass a value on in a round that was not entered");
                };
                casts.est = casts.est.with(Values::only(value));
            }
            Record::Named(value) => match last {
                Some(casts) if casts.aux.is_none() => casts.aux = Some(value),
                Some(_) | None => return Err("the records name a value twice, or in no round"),
            },
            Record::Confirmed(values) => match last {
                Some(casts) if casts.aux.is_some() && casts.conf.is_none() => casts.conf = Some(values),
                Some(_) | None => return Err("the records confirm values twice, or before one is named"),
            },
            Record::Shared(share) => match last {
                Some(casts) if casts.conf.is_some() && casts.share.is_none() => casts.share = Some(share),
                Some(_) | None => {
                    return Err("the records hold two shares, or one before values are confirmed");
                }
            },
            Record::Decided { value, round: _ } => {
                if self.decided.is_some() {
                    return Err("the records hold two decisions");
                }
                self.decided = Some(value);
            }
        }
        Ok(())
    }
}
