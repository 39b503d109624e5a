//! What a node has cast and decided: its word, which it keeps through crashes.

use crate::log::Vote;
use crate::message::{Casts, Decided, Proposal, Report, Standing};
use crate::record::Record;
use alloc::vec::Vec;

/// The most rounds that a node takes part in, whatever the coins do: its votes in them are all that grows.
pub(crate) const MAX_ROUNDS: u64 = 1 << 20;

/// The votes of a node, round by round from the first, and its decision.
// [B9]
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    casts: Vec<Casts>,
    pub(crate) decided: Option<Decided>,
}

impl Past {
    /// The round; zero before the first.
    pub(crate) const fn round(&self) -> u64 {
        self.casts.len() as u64
    }

    /// What was cast in the present round.
    pub(crate) fn casts(&self) -> Option<Casts> {
        self.casts.last().copied()
    }

    /// Enters the next round.
    pub(crate) fn enter(&mut self, report: Report) {
        self.casts.push(Casts { report, proposal: None });
    }

    /// Casts the second vote of the round.
    pub(crate) fn propose(&mut self, proposal: Proposal) {
        if let Some(casts) = self.casts.last_mut() {
            casts.proposal = Some(proposal);
        }
    }

    /// Everything that was cast, in order.
    pub(crate) fn votes(&self) -> impl Iterator<Item = Vote> {
        self.casts.iter().flat_map(|casts| {
            let report = Some(Vote::Report(casts.report));
            report.into_iter().chain(casts.proposal.map(Vote::Proposal))
        })
    }

    /// Where the node stands.
    pub(crate) fn standing(&self) -> Standing {
        self.standing_in(self.round())
    }

    /// What somebody in `round` needs to know: where the node stands, or stood in the round after that one.
    // [B8]
    pub(crate) fn standing_for(&self, round: u64) -> Standing {
        self.standing_in(round.saturating_add(1).min(self.round()))
    }

    fn standing_in(&self, round: u64) -> Standing {
        let place = usize::try_from(round).unwrap_or(usize::MAX);
        let casts_in = |place: Option<usize>| self.casts.get(place?).copied();
        let is_present = round == self.round();
        Standing {
            round,
            casts: casts_in(place.checked_sub(1)),
            before: casts_in(place.checked_sub(2)),
            // That it was reached speaks of the present round alone.
            decided: self.decided.map(|it| Decided { reached: it.reached && is_present, ..it }),
        }
    }

    /// Does again what a record says was done.
    ///
    /// # Errors
    /// The record does not fit to those before.
    // [B7]
    pub(crate) fn replay(&mut self, record: &Record) -> Result<(), &'static str> {
        match *record {
            Record::Given { .. } => {}
            Record::Reported { round, report } => {
                let is_over = self.casts().is_none_or(|casts| casts.proposal.is_some());
                if round != self.round() + 1 || !is_over {
                    return Err("the records hold votes of a round that does not follow");
                }
                self.enter(report);
            }
            Record::Proposed(proposal) => {
                if self.casts().is_none_or(|casts| casts.proposal.is_some()) {
                    return Err("the records hold a second vote without a first, or two");
                }
                self.propose(proposal);
            }
            Record::Decided { decided, round: _ } => {
                if self.decided.is_some_and(|known| known.value != decided.value || known.reached) {
                    return Err("the records hold two decisions");
                }
                self.decided = Some(decided);
            }
        }
        self.standing().check().map_err(|_| "the records hold what no node casts")
    }
}
