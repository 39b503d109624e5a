//! Who takes part in a group, and the changes to it.

use crate::id::NodeId;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The members of a group. Every list is sorted and without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Those whose votes count.
    voters: Vec<NodeId>,
    /// The voters of the configuration being left; empty unless a joint change is under way.
    outgoing: Vec<NodeId>,
    /// Those who follow the decisions without a vote.
    learners: Vec<NodeId>,
    /// Voters (they are in `voters` too) that keep metadata but no application state.
    witnesses: Vec<NodeId>,
}

impl Members {
    /// A configuration of plain voters.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self { voters: sorted(voters), ..Self::default() }
    }

    /// The same members with these learners beside them.
    #[must_use]
    pub fn with_learners(mut self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        self.learners = sorted(learners);
        self
    }

    /// Those whose votes count.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// The voters of the configuration being left during a joint change.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Those who follow without a vote.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Voters without application state.
    #[must_use]
    pub fn witnesses(&self) -> &[NodeId] {
        &self.witnesses
    }

    /// Whether `node` has a vote, in either half of a joint configuration.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.binary_search(&node).is_ok() || self.outgoing.binary_search(&node).is_ok()
    }

    /// Whether `node` takes part at all.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.binary_search(&node).is_ok()
    }

    /// Every member once, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        let all = self.voters.iter().chain(&self.outgoing).chain(&self.learners);
        sorted(all.copied()).into_iter()
    }

    /// Every member but `node`, in order.
    pub fn others(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.iter().filter(move |&member| member != node)
    }

    /// How many have a vote in the current configuration.
    #[must_use]
    pub fn voter_count(&self) -> usize {
        self.voters.len()
    }
}

fn sorted(nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = nodes.into_iter().collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// A request to change the members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Let `node` follow without a vote.
    AddLearner(NodeId),
    /// Give `node` a vote.
    AddVoter(NodeId),
    /// Give `node` a vote without application state.
    AddWitness(NodeId),
    /// Let `node` go.
    Remove(NodeId),
    /// Replace the voters at once, through a joint configuration.
    Replace(Vec<NodeId>),
}

/// How much a node wishes to lead. It is advice: it may move timeouts and pick transfer targets, never a vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Hand leadership over and do not seek it (low battery, upkeep).
    Never,
    /// Lead only if nobody better is there.
    Low,
    /// No wish either way.
    #[default]
    Normal,
    /// Prefer to lead.
    High,
}
