//! An operator who changes the members while faults rage, and nodes that wish to lead or not.
//!
//! What is asked for never takes the last quorum from the group: nodes that are lost for good leave a quorum of every
//! configuration that may hold in the end.

use super::host::Host;
use super::{Happening, World};
use crate::changes::survive;
use crate::mask::FaultClass;
use crate::oracle::Property;
use crate::random::{MILLION, Stream};
use consensus_core::{
    Change, ClientId, ConsensusAlgorithm, Event, Members, NodeId, Priority, ProposalId, Verdict,
};

/// Who asks for changes: no other client has this number.
const OPERATOR: ClientId = ClientId::anonymous(1 << 40);
/// The most voters that the operator wants.
const MAX_VOTERS: usize = 5;

/// What a node keeps of what is decided. A node that was a witness is never a replica, nor the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Replica,
    Witness,
}

impl<A: ConsensusAlgorithm> World<A> {
    /// Those who begin as members have their part.
    pub(super) fn assign_parts(&mut self) {
        for host in &mut self.hosts {
            let is_witness = self.members.witnesses().contains(&host.id);
            let part = if is_witness { Part::Witness } else { Part::Replica };
            host.part = self.members.contains(host.id).then_some(part);
        }
    }

    pub(super) fn start_changes(&mut self) {
        self.plan_change();
        self.plan_fault(FaultClass::Wish, self.plan.wishes, Happening::Wish);
    }

    fn plan_change(&mut self) {
        if let Some(changes) = self.plan.changes.filter(|_| self.stormy) {
            let span = self.streams.faults.get_mut(FaultClass::Change).around(changes.every);
            self.plan_in(span, Happening::Change);
        }
    }

    pub(super) fn on_change(&mut self) {
        if self.plan.changes.is_none() || !self.stormy {
            return;
        }
        let mut choices = self.choices_for(FaultClass::Change);
        let leaders = self.leaders();
        let at_random = choices.index(self.hosts.len());
        let at = choices.pick(&leaders).copied().unwrap_or(at_random);
        let change = self.wish_for_members(at, &mut choices);
        if self.injector.allows_if(FaultClass::Change, change.is_some())
            && let Some((change, next)) = change
        {
            self.settle_part(&change);
            self.member_history.on_asked(next);
            self.counts.changes += 1;
            let id = ProposalId::new(OPERATOR, self.counts.changes);
            self.trace.event(self.now, 45, at as u64);
            self.trace.say(self.now, || format!("n{} is asked for other members: {change:?}", at + 1));
            self.tell(at, Event::Reconfigure { id, change });
        }
        self.plan_change();
    }

    /// Whoever is to be added has its part from now on, even if the change is refused.
    fn settle_part(&mut self, change: &Change) {
        let (node, part) = match change {
            Change::AddLearner(node) => (*node, Part::Replica),
            Change::AddWitness(node) => (*node, Part::Witness),
            Change::AddVoter(_) | Change::Remove(_) | Change::Replace(_) => return,
        };
        if let Some(host) = self.hosts.iter_mut().find(|host| host.id == node) {
            host.part = Some(part);
        }
    }

    /// A change that whoever is asked may carry out, if it leaves a quorum of those who are not lost, and the voters after it.
    fn wish_for_members(&self, at: usize, choices: &mut Stream) -> Option<(Change, Members)> {
        let members = self.hosts.get(at)?.status()?.members;
        let is_stranger = |host: &&Host<A>| !members.contains(host.id);
        let strangers: Vec<(NodeId, Option<Part>)> =
            self.hosts.iter().filter(is_stranger).map(|host| (host.id, host.part)).collect();
        let kind = choices.below(10);
        let (stranger, learner) =
            (choices.pick(&strangers).copied(), choices.pick(members.learners()).copied());
        let everybody: Vec<NodeId> = members.iter().collect();
        let member = choices.pick(&everybody).copied();
        let mut voters = everybody;
        choices.shuffle(&mut voters);
        voters.truncate(1 + choices.index(MAX_VOTERS));
        let (change, next) = match kind {
            0..3 => match stranger? {
                (node, None) if self.plan.witnesses > 0 && choices.chance(MILLION / 2) => {
                    (Change::AddWitness(node), with_witness(&members, node))
                }
                (node, Some(Part::Witness)) => (Change::AddWitness(node), with_witness(&members, node)),
                (node, None | Some(Part::Replica)) => (Change::AddLearner(node), members),
            },
            3..6 => {
                let learner = learner.filter(|_| members.voter_count() < MAX_VOTERS)?;
                let next = Members::of(members.voters().iter().copied().chain([learner]));
                (Change::AddVoter(learner), next)
            }
            6..8 => {
                let member = member?;
                let voters = members.voters().iter().copied().filter(|&node| node != member);
                (Change::Remove(member), Members::of(voters))
            }
            _ => (Change::Replace(voters.clone()), Members::of(voters)),
        };
        survive(&next, |node| self.is_lost(node)).then_some((change, next))
    }

    /// Whether it is enough that a quorum is left: the only copy of something may lie where a witness is the rest of a quorum.
    /// Who is no member any more, whatever holds, may be switched off.
    fn keeps_the_copies(&self, index: usize) -> bool {
        let is_spare = |host: &Host<A>| {
            host.part == Some(Part::Witness)
                || (self.plan.changes.is_some() && !self.member_history.may_name(host.id))
        };
        self.plan.witnesses == 0 || self.hosts.get(index).is_some_and(is_spare)
    }

    fn is_lost(&self, node: NodeId) -> bool {
        self.hosts.iter().any(|host| host.id == node && (host.lost || host.misery.is_some()))
    }

    /// Whether the group can do without this node for good, whichever members it ends up with.
    pub(super) fn may_lose(&self, index: usize) -> bool {
        let lost = |node| self.is_lost(node) || self.hosts.get(index).is_some_and(|host| host.id == node);
        let spared = self.plan.changes.is_none() || self.member_history.survive(lost);
        // A Byzantine node is not lost: it lies on.
        spared && self.keeps_the_copies(index) && !self.is_byzantine(index)
    }

    /// How many nodes more may be lost for good, at most.
    pub(super) fn losses_left(&self) -> usize {
        let lost = self.hosts.iter().filter(|host| host.lost).count();
        let most = match self.plan.changes {
            // Which ones is another question.
            Some(_) => self.hosts.len(),
            // Byzantine nodes count against what is tolerated.
            None => A::GUARANTEES.tolerated(self.plan.hosts()).saturating_sub(self.traitors()),
        };
        most.saturating_sub(lost)
    }

    /// Whether the node must hold everything in the end: it is a member.
    pub(super) fn is_member(&self, host: &Host<A>) -> bool {
        self.plan.changes.is_none() || self.member_history.newest().contains(host.id)
    }

    /// Looks at the members that a node decided or takes for the members.
    pub(super) fn observe_members(&mut self, index: usize) {
        let Some(host) = self.hosts.get_mut(index).filter(|_| self.plan.changes.is_some()) else { return };
        let Some(status) = host.status() else { return };
        let mut wrong = None;
        for decided in host.tap.borrow().iter() {
            if decided.verdict == Verdict::Noop
                && let Err(detail) = self.member_history.on_decided(decided.slot, &decided.payload)
            {
                wrong = Some(detail);
            }
        }
        if host.last_members.as_ref() != Some(&status.members) {
            self.member_history.on_seen(&status.members);
            let id = host.id;
            self.trace.say(self.now, || format!("{id} takes for the members: {:?}", status.members));
            host.last_members = Some(status.members);
        }
        self.counts.changed = self.member_history.count();
        if let Some(detail) = wrong {
            self.oracle.fail(Property::Members, self.now, detail);
        }
    }

    /// A node wishes to lead more or less than before: that may cost time, and nothing else.
    pub(super) fn on_wish(&mut self) {
        if self.plan.wishes.is_none() || !self.stormy {
            return;
        }
        let mut choices = self.choices_for(FaultClass::Wish);
        let node = self.victim(&mut choices);
        let wishes = [Priority::Never, Priority::Low, Priority::Normal, Priority::High];
        let wish = choices.pick(&wishes).copied().unwrap_or_default();
        if self.injector.allows_if(FaultClass::Wish, self.is_up(node)) {
            self.counts.wishes += 1;
            self.trace.event(self.now, 46, node as u64);
            self.trace.say(self.now, || format!("n{} wishes to lead: {wish:?}", node + 1));
            self.tell(node, Event::Priority(wish));
        }
        self.plan_fault(FaultClass::Wish, self.plan.wishes, Happening::Wish);
    }
}

/// The same members with a witness more.
fn with_witness(members: &Members, node: NodeId) -> Members {
    let witnesses = members.witnesses().iter().copied().chain([node]);
    Members::of(members.voters().iter().copied().chain([node])).with_witnesses(witnesses)
}
