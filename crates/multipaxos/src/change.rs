//! Changes of the members that are asked for, and whether they may begin.

use crate::leader::Leader;
use crate::state::{Core, MultiPaxos, Role};
use crate::step::Out;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use consensus_core::{BadChange, Change, MAX_MEMBERS, Members, NodeId, Note, ProposalId, Refusal, Time};

impl MultiPaxos {
    /// [P37] An operator asks for other members: the leader seals its configuration.
    pub(crate) fn on_reconfigure(&mut self, now: Time, id: ProposalId, change: &Change, out: &mut Out) {
        let hint = self.leader();
        let Role::Leader(leader) = &mut self.role else {
            return out.refuse(id, Refusal::NotLeader { hint });
        };
        let core = &mut self.core;
        if leader.hand_over.is_some() || leader.open_values(core) >= core.config.max_open_values {
            return out.refuse(id, Refusal::Busy);
        }
        let members = match leader.plan_change(now, core, change) {
            Ok(members) => members,
            Err(reason) => return out.refuse(id, Refusal::BadChange(reason)),
        };
        leader.close_batch(core, out);
        let stop = leader.last.next();
        let next = core.configuration.followed_by(members, id, stop, &core.config);
        leader.seal(next, core, out);
        out.note(Note::ChangeBegun { slot: stop });
    }
}

impl Leader {
    /// The members that `change` would lead to, if it may begin now; otherwise why not. [P37]
    fn plan_change(&self, now: Time, core: &Core, change: &Change) -> Result<Members, BadChange> {
        // The one before is done when its configuration has chosen something.
        if self.is_sealed || core.learner.chosen < core.configuration.opening() {
            return Err(BadChange::UnderWay);
        }
        let next = after(&core.configuration.members, change, |node| self.is_caught_up(now, core, node))?;
        let answering =
            next.voters().iter().filter(|&&node| node == core.id || self.answers(now, core, node));
        let (first, second) = core.config.quorums_for(next.voter_count());
        if answering.count() < first.max(second) {
            return Err(BadChange::NoQuorum);
        }
        Ok(next)
    }

    /// Whether the node was heard in this ballot, and within T.
    fn answers(&self, now: Time, core: &Core, node: NodeId) -> bool {
        self.peers.iter().any(|peer| {
            peer.id == node && peer.probe_echoed > 0 && now < peer.heard + core.config.election_timeout()
        })
    }

    /// Whether a learner lacks so little that its vote would not hold the group up. [P37]
    fn is_caught_up(&self, now: Time, core: &Core, node: NodeId) -> bool {
        let lacks = self.peers.iter().find(|peer| peer.id == node).map(|peer| {
            // Of what was chosen before this ballot, what it has accepted in it tells nothing.
            let has_past = peer.chosen.next() >= self.start;
            let held = if has_past { peer.matched.max(peer.chosen) } else { peer.chosen };
            self.last.0.saturating_sub(held.0)
        });
        let lacks_little = lacks.is_some_and(|lacks| lacks <= core.config.promotion_lag_values as u64);
        lacks_little && self.answers(now, core, node)
    }
}

/// The members after `change`; why not, if it makes no sense. `is_caught_up` tells which learners may get a vote. [P37]
fn after(
    members: &Members,
    change: &Change,
    is_caught_up: impl Fn(NodeId) -> bool,
) -> Result<Members, BadChange> {
    let voters = || members.voters().iter().copied();
    let next = match change {
        Change::AddLearner(node) if *node == NodeId::ZERO => {
            return Err(String::from("node zero cannot be a member").into());
        }
        Change::AddLearner(node) if members.contains(*node) => {
            return Err(format!("{node} is a member already").into());
        }
        Change::AddLearner(node) => {
            members.clone().with_learners(members.learners().iter().copied().chain([*node]))
        }
        Change::AddVoter(node) => {
            may_vote(members, *node, is_caught_up)?;
            with_voters(members, voters().chain([*node]))
        }
        Change::AddWitness(_) => {
            let reason = "there are no witnesses here; smaller quorums of acceptances serve that end";
            return Err(String::from(reason).into());
        }
        Change::Remove(node) if !members.contains(*node) => {
            return Err(format!("{node} is not a member").into());
        }
        Change::Remove(node) => {
            let learners = members.learners().iter().copied().filter(|other| other != node);
            with_voters(members, voters().filter(|other| other != node)).with_learners(learners)
        }
        Change::Replace(voters) => replaced(members, voters, is_caught_up)?,
    };
    if next.voters().is_empty() {
        return Err(BadChange::NobodyLeft);
    }
    if next.are_too_many() {
        return Err(format!("a group has at most {MAX_MEMBERS} members").into());
    }
    Ok(next)
}

/// All voters at once: the next configuration needs none of the old ones.
fn replaced(
    members: &Members,
    voters: &[NodeId],
    is_caught_up: impl Fn(NodeId) -> bool,
) -> Result<Members, BadChange> {
    let mut sorted: Vec<NodeId> = voters.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < voters.len() {
        return Err(String::from("a voter is named twice").into());
    }
    if sorted == members.voters() {
        return Err(String::from("these are the voters already").into());
    }
    for &node in sorted.iter().filter(|&&node| !members.is_voter(node)) {
        may_vote(members, node, &is_caught_up)?;
    }
    Ok(with_voters(members, sorted))
}

/// The same members with these voters; those who were learners are so no more.
fn with_voters(members: &Members, voters: impl IntoIterator<Item = NodeId>) -> Members {
    Members::of(voters).with_learners(members.learners().iter().copied())
}

fn may_vote(members: &Members, node: NodeId, is_caught_up: impl Fn(NodeId) -> bool) -> Result<(), BadChange> {
    if members.is_voter(node) {
        return Err(format!("{node} is a voter already").into());
    }
    if !members.contains(node) {
        let reason = "is not a learner; add it as one first, so that its vote does not hold the group up";
        return Err(format!("{node} {reason}").into());
    }
    if is_caught_up(node) { Ok(()) } else { Err(BadChange::LagsBehind(node)) }
}
