//! The proposer: it asks for promises, and proposes what they leave it free to propose.

use super::acceptor::Vote;
use crate::ballot::Ballot;
use consensus_core::NodeId;
use consensus_core::quorum::Tally;

/// Who has promised the ballot that is led now.
// [S4]
#[derive(Clone, Debug)]
pub struct Promises {
    ballot: Ballot,
    from: Tally,
}

impl Promises {
    /// None yet.
    #[must_use]
    pub const fn new(ballot: Ballot) -> Self {
        Self { ballot, from: Tally::new() }
    }

    /// The ballot that is led.
    #[must_use]
    pub const fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Counts the promise of `ballot` by `from`; false if it is of another ballot, or was counted before.
    pub fn add(&mut self, from: NodeId, ballot: Ballot) -> bool {
        ballot == self.ballot && self.from.add(from)
    }

    /// How many of these voters have promised.
    #[must_use]
    pub fn count_among(&self, voters: &[NodeId]) -> usize {
        self.from.count_among(voters)
    }

    /// Whether `node` has.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.from.contains(node)
    }
}

/// Keeps, of two votes, the one in the higher ballot.
// [S5]
pub fn adopt<V>(highest: &mut Option<Vote<V>>, vote: Vote<V>) {
    if highest.as_ref().is_none_or(|known| known.ballot < vote.ballot) {
        *highest = Some(vote);
    }
}

/// Who leads a ballot of single-decree Paxos.
#[derive(Clone, Debug)]
pub struct Proposer<V> {
    pub(super) promises: Promises,
    pub(super) highest: Option<Vote<V>>,
    /// What was proposed: once, whatever is learnt afterwards.
    pub(super) proposed: Option<V>,
}

impl<V: Clone> Proposer<V> {
    /// Begins `ballot`.
    #[must_use]
    pub const fn new(ballot: Ballot) -> Self {
        Self { promises: Promises::new(ballot), highest: None, proposed: None }
    }

    /// The ballot that it leads.
    #[must_use]
    pub const fn ballot(&self) -> Ballot {
        self.promises.ballot()
    }

    /// `from` has promised `ballot`, and accepted `vote` before that.
    pub fn on_promise(&mut self, from: NodeId, ballot: Ballot, vote: Option<Vote<V>>) {
        if self.promises.add(from, ballot)
            && let Some(vote) = vote
        {
            adopt(&mut self.highest, vote);
        }
    }

    /// What to propose, if that is known now: with `quorum` promises of `voters` the value of the highest ballot, or `own` if
    /// nobody has accepted any.
    // [S5]
    pub fn propose(&mut self, voters: &[NodeId], quorum: usize, own: Option<&V>) -> Option<V> {
        if self.proposed.is_some() || self.promises.count_among(voters) < quorum {
            return None;
        }
        let bound = self.highest.as_ref().map(|vote| &vote.value);
        self.proposed = bound.or(own).cloned();
        self.proposed.clone()
    }
}
