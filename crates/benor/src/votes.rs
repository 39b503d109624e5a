//! The votes of one round: one of each voter in each phase, whatever it says later.

use crate::message::{Casts, Proposal};
use alloc::collections::BTreeMap;
use consensus_core::{NodeId, Offence};

/// The votes of a round, by distinct sender.
// [B2]
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes(BTreeMap<NodeId, Casts>);

impl Votes {
    /// Counts what `from` has cast in this round.
    ///
    /// # Errors
    /// It has cast something else before; that stays.
    pub(crate) fn add(&mut self, from: NodeId, casts: Casts) -> Result<(), Offence> {
        let known = self.0.entry(from).or_insert(casts);
        if known.report != casts.report {
            return Err(Offence::Equivocation("two reports in one round"));
        }
        match (known.proposal, casts.proposal) {
            (Some(known), Some(other)) if known != other => {
                Err(Offence::Equivocation("two proposals in one round"))
            }
            (Some(_), Some(_) | None) | (None, None) => Ok(()),
            (None, Some(_)) => {
                known.proposal = casts.proposal;
                Ok(())
            }
        }
    }

    /// How many have reported.
    pub(crate) fn reports(&self) -> usize {
        self.0.len()
    }

    /// How many have reported `value`.
    pub(crate) fn reports_of(&self, value: bool) -> usize {
        self.0.values().filter(|casts| casts.report.value == value).count()
    }

    /// How many have proposed, be it nothing.
    pub(crate) fn proposals(&self) -> usize {
        self.0.values().filter(|casts| casts.proposal.is_some()).count()
    }

    /// How many have proposed `value`.
    pub(crate) fn proposals_of(&self, value: bool) -> usize {
        self.0.values().filter(|casts| casts.proposal == Some(Proposal::Value(value))).count()
    }

    pub(crate) fn contains(&self, voter: NodeId) -> bool {
        self.0.contains_key(&voter)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
