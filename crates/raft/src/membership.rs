//! Changing the members (dissertation §4), one at a time or several through a joint configuration.
//!
//! The intuition: any two quorums that could ever decide at the same time must share a voter. Two configurations that differ by
//! one voter have that property; others are bridged by a configuration in which both must agree. Everything else here keeps
//! changes from overlapping: a leader begins one only when the last is committed, and when an entry of its own term is, since
//! only then it is known that no other leader's change can still be decided (Ongaro's correction of 2015).

use crate::configuration::Configuration;
use crate::entry::{Content, Entries, Entry, name_members};
use crate::leader::Leader;
use crate::message::Message;
use crate::mutant::Mutant;
use crate::progress::{Mode, Progress};
use crate::state::{Core, Raft, Role};
use crate::step::Out;
use crate::votes;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use consensus_core::{
    BadChange, Change, MAX_MEMBERS, Members, NodeId, Note, ProposalId, Refusal, Slot, Time,
};

impl Raft {
    /// [R35] An operator asks for other members.
    pub(crate) fn on_reconfigure(&mut self, id: ProposalId, change: &Change, out: &mut Out) {
        let hint = self.leader();
        let Role::Leader(leader) = &mut self.role else {
            return out.refuse(id, Refusal::NotLeader { hint });
        };
        let core = &mut self.core;
        if leader.hand_over.is_some() {
            return out.refuse(id, Refusal::Busy);
        }
        match leader.plan_change(core, change) {
            Ok(members) => leader.append_members(id, members, core, out),
            Err(reason) => out.refuse(id, Refusal::BadChange(reason)),
        }
    }

    /// [R37] A leader that is not a member of the committed configuration has done its part. It calls whoever can go on.
    pub(crate) fn retire(&mut self, now: Time, out: &mut Out) {
        let core = &self.core;
        let Role::Leader(leader) = &self.role else { return };
        let last = core.log.last().slot;
        let heir = leader.peers.iter().find(|peer| core.is_full_voter(peer.id) && peer.matched == last);
        if let Some(heir) = heir {
            // EARLY: it says nothing but our term, which is durable since our election.
            out.send_early(heir.id, Message::TimeoutNow { term: core.term });
        }
        let (term, vote) = (core.term, core.vote);
        out.note(Note::SteppedDown { epoch: term, why: "it has no vote any more" });
        self.become_follower(now, term, vote, None, out);
    }
}

impl Core {
    /// Takes note of the members that were appended. [R34]
    pub(crate) fn learn_members(&mut self, first: Slot, entries: &Entries, out: &mut Out) {
        if name_members(entries) {
            self.configurations.learn(first, entries);
            self.adopt_members(out);
        }
    }

    /// Cuts the log behind `slot`, and with it the configurations that it named. [R34]
    pub(crate) fn truncate_after(&mut self, slot: Slot, out: &mut Out) {
        self.log.truncate_after(slot);
        if self.configurations.newest().slot > slot {
            self.configurations.truncate_after(slot);
            if !self.config.plants(Mutant::CutMembersKept) {
                self.adopt_members(out);
            }
        }
    }

    /// The newest configuration holds from now on.
    pub(crate) fn adopt_members(&mut self, out: &mut Out) {
        let members = self.effective_members();
        if self.members != *members {
            self.members = members.into_owned();
            out.members(self.members.clone());
        }
    }
}

impl Leader {
    /// The members that `change` would lead to, if it may begin now; otherwise why not. [R35] [R36]
    fn plan_change(&self, core: &Core, change: &Change) -> Result<Members, BadChange> {
        let Configuration { slot, members } = core.configurations.newest();
        if *slot > core.commit || !members.outgoing().is_empty() {
            return Err(BadChange::UnderWay);
        }
        if core.commit < self.term_start && !core.config.plants(Mutant::ChangeBeforeOwnCommit) {
            return Err(BadChange::TooSoon);
        }
        let next = after(members, change, |node| self.is_caught_up(core, node))?;
        let answers = |node| u64::from(node == core.id || self.peer_ref(node).is_some_and(Progress::answers));
        if votes::reached_by_quorum(&next, answers) == 0 {
            return Err(BadChange::NoQuorum);
        }
        // [R41] Until one of them has the change, no witness is told of it.
        let may_lead = |node: &&NodeId| !next.witnesses().contains(node);
        if !next.voters().iter().filter(may_lead).any(|&node| answers(node) == 1) {
            return Err(BadChange::NoQuorum);
        }
        Ok(core.or_forgetful(next))
    }

    /// [R36] Whether a learner lacks so little that its vote would not hold the group up.
    fn is_caught_up(&self, core: &Core, node: NodeId) -> bool {
        self.peer_ref(node).is_some_and(|peer| {
            let lacks = core.log.last().slot.0 - peer.matched.0;
            matches!(peer.mode, Mode::Replicate)
                && peer.answers()
                && lacks <= core.config.promotion_lag_entries as u64
        })
    }

    fn append_members(&mut self, id: ProposalId, members: Members, core: &mut Core, out: &mut Out) {
        self.push(Entry {
            term: core.term,
            content: Content::Members { id, members: Box::new(members.into()) },
        });
        self.close_batch(core, out);
        self.change = Self::open_change(core);
        out.note(Note::ChangeBegun { slot: core.configurations.newest().slot });
    }

    /// The configuration that is to be committed before the next may begin, if any. [R35]
    pub(crate) fn open_change(core: &Core) -> Option<Slot> {
        let Configuration { slot, members } = core.configurations.newest();
        (*slot > core.commit || !members.outgoing().is_empty()).then_some(*slot)
    }

    /// The configuration that was waited for is committed: a joint one is left, and whoever has no vote in it any more leads no
    /// longer. [R37] [R38]
    pub(crate) fn finish_change(&mut self, core: &mut Core, out: &mut Out) {
        let Configuration { slot, members } = core.configurations.newest();
        if members.outgoing().is_empty() {
            self.is_dismissed = !members.is_voter(core.id);
            self.change = None;
            out.note(Note::ChangeDone { slot: *slot });
            return;
        }
        let next = Members::of(members.voters().iter().copied())
            .with_learners(members.learners().iter().copied())
            .with_witnesses(members.witnesses().iter().copied());
        let id = core.log.iter(*slot, *slot).find_map(|(_, entry)| match &entry.content {
            Content::Members { id, .. } => Some(*id),
            Content::Noop | Content::Proposal { .. } | Content::Withheld => None,
        });
        self.append_members(id.unwrap_or_default(), next, core, out);
    }

    /// Feeds those who are members now, and nobody else. [R39]
    pub(crate) fn follow_members(&mut self, core: &Core) {
        let members = &core.members;
        self.peers.retain(|peer| members.contains(peer.id));
        let last = core.log.last().slot;
        for node in members.others(core.id) {
            if self.peers.iter().any(|peer| peer.id == node) {
                continue;
            }
            // What it said during an earlier stay does not count: it did not know this probe then.
            let stay =
                if core.config.plants(Mutant::EarlierStayCounted) { 0 } else { self.reads.begin_probe() };
            self.peers.push(Progress { stay, ..Progress::new(node, last) });
        }
        self.peers.sort_unstable_by_key(|peer| peer.id);
        // The quorum may be another one, and what waits for it may have it already.
        self.recount();
        self.reads.on_echo();
    }

    fn peer_ref(&self, node: NodeId) -> Option<&Progress> {
        self.peers.iter().find(|peer| peer.id == node)
    }
}

/// The members after `change`; why not, if it makes no sense. `is_caught_up` tells which learners may get a vote. [R36]
fn after(
    members: &Members,
    change: &Change,
    is_caught_up: impl Fn(NodeId) -> bool,
) -> Result<Members, BadChange> {
    let next = match change {
        Change::AddLearner(node) => {
            let node = newcomer(members, *node)?;
            let learners = members.learners().iter().copied().chain([node]);
            members.clone().with_learners(learners)
        }
        Change::AddVoter(node) => {
            let node = may_vote(members, *node, is_caught_up)?;
            with_voters(members, members.voters().iter().copied().chain([node]))
        }
        Change::AddWitness(node) => {
            let node = newcomer(members, *node)?;
            let witnesses = members.witnesses().iter().copied().chain([node]);
            with_voters(members, members.voters().iter().copied().chain([node])).with_witnesses(witnesses)
        }
        Change::Remove(node) if !members.contains(*node) => {
            return Err(format!("{node} is not a member").into());
        }
        Change::Remove(node) => {
            let stays = |other: &NodeId| other != node;
            let learners = members.learners().iter().copied().filter(stays);
            with_voters(members, members.voters().iter().copied().filter(stays)).with_learners(learners)
        }
        Change::Replace(voters) => replaced(members, voters, is_caught_up)?,
    };
    if next.voters().iter().all(|node| next.witnesses().contains(node)) {
        return Err(BadChange::NobodyLeft);
    }
    if next.are_too_many() {
        return Err(format!("a group has at most {MAX_MEMBERS} members, those being left included").into());
    }
    Ok(next)
}

/// [R38] All voters at once, through a configuration in which the old ones must agree too.
fn replaced(
    members: &Members,
    voters: &[NodeId],
    is_caught_up: impl Fn(NodeId) -> bool,
) -> Result<Members, BadChange> {
    let mut sorted: Vec<NodeId> = voters.to_vec();
    sorted.sort_unstable();
    if let Some(twice) =
        sorted.windows(2).find_map(|pair| pair.first().filter(|node| pair.last() == Some(node)))
    {
        return Err(format!("{twice} is named twice").into());
    }
    if sorted == members.voters() {
        return Err(String::from("these are the voters already").into());
    }
    for &node in sorted.iter().filter(|&&node| !members.is_voter(node)) {
        may_vote(members, node, &is_caught_up)?;
    }
    // Who leaves stays a witness until it has left.
    let joint = with_voters(members, sorted).with_outgoing(members.voters().iter().copied());
    Ok(joint.with_witnesses(members.witnesses().iter().copied()))
}

/// The same members with these voters; those who were learners are so no more.
fn with_voters(members: &Members, voters: impl IntoIterator<Item = NodeId>) -> Members {
    Members::of(voters)
        .with_learners(members.learners().iter().copied())
        .with_witnesses(members.witnesses().iter().copied())
}

fn newcomer(members: &Members, node: NodeId) -> Result<NodeId, String> {
    if node == NodeId::ZERO {
        return Err("node zero cannot be a member".into());
    }
    if members.contains(node) {
        return Err(format!("{node} is a member already"));
    }
    Ok(node)
}

fn may_vote(
    members: &Members,
    node: NodeId,
    is_caught_up: impl Fn(NodeId) -> bool,
) -> Result<NodeId, BadChange> {
    if members.is_voter(node) {
        return Err(format!("{node} is a voter already").into());
    }
    if !members.contains(node) {
        return Err(format!(
            "{node} is not a learner; add it as one first, so that its vote does not hold the group up"
        )
        .into());
    }
    if !is_caught_up(node) {
        return Err(BadChange::LagsBehind(node));
    }
    Ok(node)
}
