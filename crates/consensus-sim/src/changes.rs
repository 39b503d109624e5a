//! Changes of the members: what a plan asks for, and what must hold of those that are decided.

use crate::plan::text;
use crate::random::Stream;
use bytes::Bytes;
use consensus_core::{Members, Membership, NodeId, Slot, quorum, wire};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// An operator who never leaves the members alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// How many nodes there are beside those that begin as members.
    pub spares: usize,
    /// The mean time between two changes that are asked for.
    #[serde(with = "text::span")]
    pub every: Duration,
}

impl Changes {
    pub(crate) fn draw(draw: &mut Stream) -> Option<Self> {
        let spares = usize::try_from(draw.between(1, 3)).unwrap_or(1);
        let every = Duration::from_millis(draw.between(20, 500));
        draw.chance(300_000).then_some(Self { spares, every })
    }
}

/// The members that are decided, and those that some log may still name.
#[derive(Clone, Debug)]
pub(crate) struct MemberHistory {
    /// Decided, oldest first.
    decided: Vec<(Slot, Members)>,
    /// The newest that are decided, and all that were seen since and may yet hold.
    possible: Vec<Members>,
    /// What was asked for last: whoever was asked may be about to begin it. Of sealed configurations, all that was asked for since
    /// one was entered: the members are seen only when the seal is decided.
    asked: Vec<Members>,
    how: Membership,
}

impl MemberHistory {
    pub(crate) fn new(birth: Members, how: Membership) -> Self {
        Self { decided: vec![(Slot::ZERO, birth.clone())], possible: vec![birth], asked: Vec::new(), how }
    }

    const fn is_sealed(&self) -> bool {
        matches!(self.how, Membership::StopSign)
    }

    /// The newest members that are decided.
    pub(crate) fn newest(&self) -> &Members {
        // There is always the birth.
        &self.decided[self.decided.len() - 1].1
    }

    /// How many changes are decided.
    pub(crate) const fn count(&self) -> u64 {
        self.decided.len() as u64 - 1
    }

    /// A slot that carries no command was decided with this payload.
    ///
    /// # Errors
    /// These members must not follow the ones before them.
    pub(crate) fn on_decided(&mut self, slot: Slot, payload: &Bytes) -> Result<(), String> {
        let (last, before) = &self.decided[self.decided.len() - 1];
        if slot <= *last {
            return Ok(());
        }
        let Ok(members) = wire::decode::<Members>(payload, wire::MAX_FRAME_BYTES) else { return Ok(()) };
        if self.is_sealed() {
            // Each is on its own; but nobody votes in two at once, and somebody must vote.
            if members.voters().is_empty() || !members.outgoing().is_empty() {
                return Err(format!("at {slot}, {before:?} was followed by {members:?}, who cannot decide"));
            }
            self.asked.clear();
        } else if !follows(before, &members) {
            return Err(format!(
                "at {slot}, {before:?} was followed by {members:?}: their quorums may miss each other"
            ));
        }
        self.possible = vec![members.clone()];
        self.decided.push((slot, members));
        Ok(())
    }

    /// A leader is asked for these members.
    pub(crate) fn on_asked(&mut self, members: Members) {
        if !self.is_sealed() {
            self.asked.clear();
        }
        if !self.asked.contains(&members) {
            self.asked.push(members);
        }
    }

    /// A node takes these for the members. Perhaps they were decided long ago; but who was a member then may be one again.
    pub(crate) fn on_seen(&mut self, members: &Members) {
        if !self.possible.contains(members) {
            self.possible.push(members.clone());
        }
    }

    /// Whether the node is a member of any configuration that may hold in the end.
    pub(crate) fn may_name(&self, node: NodeId) -> bool {
        self.possible.iter().chain(&self.asked).any(|members| members.contains(node))
    }

    /// Whether a quorum remains without the lost, whichever members hold in the end.
    pub(crate) fn survive(&self, is_lost: impl Fn(NodeId) -> bool) -> bool {
        self.possible.iter().chain(&self.asked).all(|members| survive(members, &is_lost))
    }
}

/// Whether the others than the lost are a quorum.
pub(crate) fn survive(members: &Members, is_lost: impl Fn(NodeId) -> bool) -> bool {
    let left = |half: &[NodeId]| half.iter().filter(|&&node| !is_lost(node)).count();
    let halves = [members.voters(), members.outgoing()];
    halves.iter().all(|half| half.is_empty() || left(half) >= quorum::majority(half.len()))
}

/// Whether every quorum of the one shares a voter with every quorum of the other.
fn follows(before: &Members, after: &Members) -> bool {
    let is_joint = |members: &Members| !members.outgoing().is_empty();
    match (is_joint(before), is_joint(after)) {
        // One voter more or less.
        (false, false) => {
            let lacks =
                |a: &Members, b: &Members| a.voters().iter().filter(|&&node| !b.is_voter(node)).count();
            lacks(before, after) + lacks(after, before) <= 1
        }
        (false, true) => after.outgoing() == before.voters(),
        (true, false) => after.voters() == before.voters(),
        (true, true) => after.voters() == before.voters() && after.outgoing() == before.outgoing(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[u64], outgoing: &[u64]) -> Members {
        let nodes = |list: &[u64]| list.iter().copied().map(NodeId).collect::<Vec<_>>();
        Members::of(nodes(voters)).with_outgoing(nodes(outgoing))
    }

    #[test]
    fn members_follow_each_other_if_their_quorums_meet() {
        let three = members(&[1, 2, 3], &[]);
        assert!(follows(&three, &members(&[1, 2], &[])));
        assert!(follows(&three, &members(&[1, 2, 3, 4], &[])));
        assert!(follows(&three, &members(&[4, 5], &[1, 2, 3])));
        assert!(follows(&members(&[4, 5], &[1, 2, 3]), &members(&[4, 5], &[])));
        assert!(!follows(&three, &members(&[1, 2, 4], &[])));
        assert!(!follows(&three, &members(&[4, 5], &[1, 2])));
        assert!(!follows(&members(&[4, 5], &[1, 2, 3]), &three));
    }

    #[test]
    fn what_may_be_lost_depends_on_every_configuration_that_may_hold() {
        let mut history = MemberHistory::new(members(&[1, 2, 3], &[]), Membership::Joint);
        let lose = |history: &MemberHistory, lost: &[u64]| history.survive(|node| lost.contains(&node.0));
        assert!(lose(&history, &[2]) && !lose(&history, &[2, 3]));
        let next = members(&[1, 2], &[]);
        history.on_seen(&next);
        assert!(!lose(&history, &[2]) && lose(&history, &[3]));
        history.on_decided(Slot(5), &wire::encode(&next).into()).unwrap();
        assert_eq!((history.newest(), history.count()), (&next, 1));
        assert!(history.may_name(NodeId(2)) && !history.may_name(NodeId(3)));
        let apart = wire::encode(&members(&[7, 8], &[])).into();
        assert!(history.on_decided(Slot(6), &apart).is_err());
    }

    #[test]
    fn sealed_configurations_need_not_meet_and_all_that_was_asked_for_may_hold() {
        let mut history = MemberHistory::new(members(&[1, 2, 3], &[]), Membership::StopSign);
        let lose = |history: &MemberHistory, lost: &[u64]| history.survive(|node| lost.contains(&node.0));
        history.on_asked(members(&[1], &[]));
        history.on_asked(members(&[1, 2, 3, 4], &[]));
        assert!(!lose(&history, &[1]) && lose(&history, &[2]));
        history.on_decided(Slot(5), &wire::encode(&members(&[7, 8, 9], &[])).into()).unwrap();
        assert!(lose(&history, &[1, 2, 3]) && !lose(&history, &[7, 8]));
        assert!(history.on_decided(Slot(6), &wire::encode(&members(&[], &[])).into()).is_err());
        assert!(history.on_decided(Slot(6), &wire::encode(&members(&[7], &[8])).into()).is_err());
    }
}
