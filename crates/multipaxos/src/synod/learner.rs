//! The learner: it finds out what is chosen.

use super::acceptor::Vote;
use alloc::collections::BTreeMap;
use consensus_core::NodeId;

/// The learner of single-decree Paxos.
///
/// Of each voter it keeps the vote in the highest ballot. That is enough: once a value is chosen, whoever votes again votes for
/// the same one, and if no ballot comes to an end, somebody leads a higher one.
#[derive(Clone, Debug)]
pub struct Learner<V> {
    votes: BTreeMap<NodeId, Vote<V>>,
}

impl<V> Default for Learner<V> {
    fn default() -> Self {
        Self { votes: BTreeMap::new() }
    }
}

impl<V: Clone + PartialEq> Learner<V> {
    /// The voter `from` has accepted. Returns what is chosen, if `quorum` voters are known to have accepted it in this ballot.
    // [S6]
    pub fn on_accepted(&mut self, from: NodeId, vote: Vote<V>, quorum: usize) -> Option<V> {
        if self.votes.get(&from).is_some_and(|known| known.ballot >= vote.ballot) {
            return None;
        }
        self.votes.insert(from, vote.clone());
        let alike = self.votes.values().filter(|known| **known == vote).count();
        (alike >= quorum).then_some(vote.value)
    }

    /// How many voters are known to have accepted anything.
    #[must_use]
    pub fn heard(&self) -> usize {
        self.votes.len()
    }
}
