//! Who takes part in a group, and the changes to it.

use crate::id::NodeId;
use crate::wire;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::ops::Deref;
use core::time::Duration;
use serde::{Deserialize, Serialize, Serializer};

/// The most members of a group, all lists together. A frame or a file that names more is refused.
pub const MAX_MEMBERS: usize = 1024;

/// The members of a group. A clone counts a reference: every status carries one.
///
/// Invariants, also of a value that was decoded: every list is sorted and without repetition, node zero is in none of them,
/// a learner has no vote, and a witness is a voter.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Lists")]
pub struct Members(Arc<Lists>);

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Lists {
    /// Those whose votes count.
    voters: Vec<NodeId>,
    /// The voters of the configuration being left; empty unless a joint change is under way.
    outgoing: Vec<NodeId>,
    /// Those who follow the decisions without a vote.
    learners: Vec<NodeId>,
    /// Voters (they are in `voters` or `outgoing` too) that keep metadata but no application state.
    witnesses: Vec<NodeId>,
}

impl Lists {
    const fn places(&self) -> usize {
        self.voters.len() + self.outgoing.len() + self.learners.len() + self.witnesses.len()
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lists { voters, outgoing, learners, witnesses } = &*self.0;
        f.debug_struct("Members")
            .field("voters", voters)
            .field("outgoing", outgoing)
            .field("learners", learners)
            .field("witnesses", witnesses)
            .finish()
    }
}

/// What arrives are lists that nobody has checked yet.
impl TryFrom<Lists> for Members {
    type Error = MembersError;

    fn try_from(lists: Lists) -> Result<Self, MembersError> {
        let all = [&lists.voters, &lists.outgoing, &lists.learners, &lists.witnesses];
        if lists.places() > MAX_MEMBERS {
            return Err(MembersError::TooMany);
        }
        if !all.iter().all(|list| list.is_sorted_by(|a, b| a < b)) {
            return Err(MembersError::Unsorted);
        }
        if all.iter().any(|list| list.first() == Some(&NodeId::ZERO)) {
            return Err(MembersError::NodeZero);
        }
        let members = Self(Arc::new(lists));
        if members.learners().iter().any(|&node| members.is_voter(node)) {
            return Err(MembersError::LearnerVotes);
        }
        if !members.witnesses().iter().all(|&node| members.is_voter(node)) {
            return Err(MembersError::WitnessWithoutVote);
        }
        Ok(members)
    }
}

/// Lists that are not the members of any group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// More than [`MAX_MEMBERS`].
    #[error("more than {MAX_MEMBERS} members")]
    TooMany,
    /// A list that is not in ascending order, or that repeats a node.
    #[error("a list of members is not sorted, or repeats a node")]
    Unsorted,
    /// Zero is not a node.
    #[error("node zero cannot be a member")]
    NodeZero,
    /// A node that both votes and only follows.
    #[error("a learner is also a voter")]
    LearnerVotes,
    /// A witness that is no voter.
    #[error("a witness is not a voter")]
    WitnessWithoutVote,
}

impl Members {
    /// A configuration of plain voters. Node zero is left out: it is nobody.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self(Arc::new(Lists { voters: sorted(voters), ..Lists::default() }))
    }

    /// The same members with these learners beside them; those who vote are left out.
    #[must_use]
    pub fn with_learners(mut self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        let learners = sorted(learners.into_iter().filter(|&node| !self.is_voter(node)));
        Arc::make_mut(&mut self.0).learners = learners;
        self
    }

    /// The same members on their way from the voters `outgoing`. Learners among these still vote, so they stop being
    /// listed as learners; witnesses that lose their last vote stop being listed as witnesses.
    #[must_use]
    pub fn with_outgoing(mut self, outgoing: impl IntoIterator<Item = NodeId>) -> Self {
        let lists = Arc::make_mut(&mut self.0);
        lists.outgoing = sorted(outgoing);
        let learners = core::mem::take(&mut lists.learners);
        let witnesses = core::mem::take(&mut lists.witnesses);
        self.with_learners(learners).with_witnesses(witnesses)
    }

    /// The same members, of whom these voters keep no application state; those without a vote are left out.
    #[must_use]
    pub fn with_witnesses(mut self, witnesses: impl IntoIterator<Item = NodeId>) -> Self {
        let witnesses = sorted(witnesses.into_iter().filter(|&node| self.is_voter(node)));
        Arc::make_mut(&mut self.0).witnesses = witnesses;
        self
    }

    /// Those whose votes count.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.0.voters
    }

    /// The voters of the configuration being left during a joint change.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.0.outgoing
    }

    /// Those who follow without a vote.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.0.learners
    }

    /// Voters without application state.
    #[must_use]
    pub fn witnesses(&self) -> &[NodeId] {
        &self.0.witnesses
    }

    /// Whether `node` has a vote, in either half of a joint configuration.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.0.voters.binary_search(&node).is_ok() || self.0.outgoing.binary_search(&node).is_ok()
    }

    /// Whether `node` takes part at all.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.0.learners.binary_search(&node).is_ok()
    }

    /// Every member once, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        let mut lists = [self.voters(), self.outgoing(), self.learners()];
        core::iter::from_fn(move || {
            let next = lists.iter().filter_map(|list| list.first()).min().copied()?;
            for list in &mut lists {
                if let [first, rest @ ..] = list
                    && *first == next
                {
                    *list = rest;
                }
            }
            Some(next)
        })
    }

    /// Every member but `node`, in order.
    pub fn others(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.iter().filter(move |&member| member != node)
    }

    /// Whether they are too many to be told to anybody: all lists together may have [`MAX_MEMBERS`] places.
    #[must_use]
    pub fn are_too_many(&self) -> bool {
        self.0.places() > MAX_MEMBERS
    }

    /// How many have a vote in the current configuration.
    #[must_use]
    pub fn voter_count(&self) -> usize {
        self.0.voters.len()
    }
}

fn sorted(nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = nodes.into_iter().filter(|&node| node != NodeId::ZERO).collect();
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

/// Why a change of members was refused; nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum BadChange {
    /// The one before is not done yet.
    #[error("another change is under way; try again when it is done")]
    UnderWay,
    /// It is not certain yet that no other leader's change can still be decided.
    #[error("this leader has not committed an entry of its own term yet; try again soon")]
    TooSoon,
    /// A vote of this node would hold the group up.
    #[error("{0} lacks too much of the log, or does not answer; try again when it has caught up")]
    LagsBehind(NodeId),
    /// The group would stand still.
    #[error("too few of the voters that would remain answer; bring them back first")]
    NoQuorum,
    /// The group would end.
    #[error("nobody would be left who can lead; name at least one voter")]
    NobodyLeft,
    /// It makes no sense for these members, or never does.
    #[error("{0}")]
    Senseless(String),
}

impl BadChange {
    /// Whether the very same change may be possible a moment later, without anybody doing anything.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::UnderWay | Self::TooSoon)
    }
}

impl From<String> for BadChange {
    fn from(reason: String) -> Self {
        Self::Senseless(reason)
    }
}

/// Members as a log names them, together with their encoded form, which is what a decision shows of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Members", into = "Members")]
pub struct NamedMembers {
    members: Members,
    encoded: Bytes,
}

impl NamedMembers {
    /// Their encoded form.
    #[must_use]
    pub const fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

impl From<Members> for NamedMembers {
    fn from(members: Members) -> Self {
        let encoded = wire::encode(&members).into();
        Self { members, encoded }
    }
}

impl From<NamedMembers> for Members {
    fn from(named: NamedMembers) -> Self {
        named.members
    }
}

impl Deref for NamedMembers {
    type Target = Members;

    fn deref(&self) -> &Members {
        &self.members
    }
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

impl Priority {
    /// The span from which a wait before an election is drawn that is `from..to` for a node without a wish; `timeout` is an
    /// election timeout.
    #[must_use]
    pub fn stretch(self, from: Duration, to: Duration, timeout: Duration) -> (Duration, Duration) {
        match self {
            Self::High => (from, from + to.saturating_sub(from) / 2),
            Self::Normal => (from, to),
            Self::Low => (from + timeout / 2, to + timeout / 2),
            Self::Never => (from + timeout * 3, to + timeout * 3),
        }
    }
}
