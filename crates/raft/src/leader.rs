//! Leading: ordering proposals, replicating them, and knowing when they are committed (paper §5.3, §5.4.2).
//!
//! A burst of proposals becomes one batch, one record and one append per follower, all sharing one allocation: proposals are
//! collected in `step` and closed in `flush`. The leader's own disk write runs beside replication.

use crate::entry::{Content, Entries, Entry, name_members};
use crate::feed::{Burst, agreement, feed};
use crate::heartbeat::Pace;
use crate::message::{AppendReply, Outcome};
use crate::mutant::Mutant;
use crate::progress::{Mode, Progress};
use crate::quiescence::Rest;
use crate::state::{Core, Raft, Role};
use crate::step::{Out, Timer};
use crate::transfer::HandOver;
use crate::votes;
use alloc::vec::Vec;
use consensus_core::lease::Lease;
use consensus_core::reads::ReadQueue;
use consensus_core::{Bytes, NodeId, Note, Offence, ProposalId, Refusal, Slot, Time};

/// Somebody who leads a term.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// Where this term begins: the leader's no-op.
    pub(crate) term_start: Slot,
    pub(crate) peers: Vec<Progress>,
    /// Proposals of this burst.
    pending: Vec<Entry>,
    pending_size: usize,
    /// What is pending or in the log but not committed counts for this many bytes.
    uncommitted_size: usize,
    /// Somebody holds more than before: the commit index may advance.
    has_progress: bool,
    /// Something happened since the followers were fed last, beyond a write of our own that became durable.
    has_news: bool,
    pub(crate) reads: ReadQueue,
    pub(crate) pace: Pace,
    pub(crate) lease: Lease,
    pub(crate) rest: Rest,
    pub(crate) hand_over: Option<HandOver>,
    /// The change of members that is to be committed before the next may begin.
    pub(crate) change: Option<Slot>,
    /// A configuration is committed in which we have no vote.
    pub(crate) is_dismissed: bool,
}

impl Leader {
    /// [R8] A new leader begins with a no-op: nothing older commits before an entry of its own term does.
    pub(crate) fn new(core: &Core) -> Self {
        let last = core.log.last().slot;
        let uncommitted = core.log.iter(core.commit.next(), last).map(|(_, entry)| entry.size());
        let noop = Entry { term: core.term, content: Content::Noop };
        let mut leader = Self {
            term_start: last.next(),
            peers: core.members.others(core.id).map(|id| Progress::new(id, last)).collect(),
            pending: Vec::new(),
            pending_size: 0,
            uncommitted_size: uncommitted.sum(),
            has_progress: false,
            has_news: true,
            reads: ReadQueue::new(),
            pace: Pace::default(),
            lease: Lease::default(),
            rest: Rest::default(),
            hand_over: None,
            change: Self::open_change(core),
            is_dismissed: false,
        };
        if !core.config.plants(Mutant::NoNoop) {
            leader.push(noop);
        }
        leader
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.pending_size += entry.size();
        self.uncommitted_size += entry.size();
        self.pending.push(entry);
    }

    pub(crate) const fn uncommitted_size(&self) -> usize {
        self.uncommitted_size
    }

    /// Whether something is not in the log yet.
    pub(crate) const fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn peer(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    /// Our own disk is further. It commits something only together with a follower's, or if there is no other voter.
    pub(crate) fn on_own_progress(&mut self, core: &Core) {
        let is_alone = core.members.voter_count() < 2;
        self.has_progress |= is_alone || self.peers.iter().any(|peer| peer.matched > core.commit);
    }

    /// Who counts has changed.
    pub(crate) const fn recount(&mut self) {
        (self.has_progress, self.has_news) = (true, true);
    }

    /// Anything else happened.
    pub(crate) const fn on_news(&mut self) {
        self.has_news = true;
    }

    /// The end of a burst: close the batch, commit, probe for reads, feed the followers.
    pub(crate) fn flush(&mut self, now: Time, core: &mut Core, out: &mut Out) {
        self.close_batch(core, out);
        if core::mem::take(&mut self.has_progress) {
            self.advance_commit(core, out);
        }
        if self.change.is_some_and(|slot| slot.max(self.term_start) <= core.commit) {
            self.finish_change(core, out);
        }
        // What a witness may know can change without anything new: our own disk is further.
        if !core::mem::take(&mut self.has_news) && core.members.witnesses().is_empty() {
            return;
        }
        self.take_reads(now, core, out);
        if !core.members.witnesses().is_empty() {
            self.bound_witnesses(core);
        }
        if self.may_feed(core) {
            let burst = self.burst(now);
            for peer in &mut self.peers {
                feed(peer, core, burst, out);
            }
            self.send_pieces(now, core, out);
        }
        self.call_successor(core, out);
        self.confirm_reads(core, out);
        self.quicken(now, core, out);
        self.rest_if_agreed(core, out);
    }

    fn burst(&self, now: Time) -> Burst {
        Burst { now, probe: self.reads.probe(), awaited: self.reads.awaited(), offers_rest: false }
    }

    /// A burst with a probe of its own, which leaves now.
    pub(crate) fn burst_of_probe(&mut self, now: Time, core: &Core) -> Burst {
        let probe = self.reads.begin_probe();
        self.lease.note_departure(probe, now, core.config.lease()); // [R43]
        self.burst(now)
    }

    pub(crate) fn close_batch(&mut self, core: &mut Core, out: &mut Out) {
        if self.pending.is_empty() {
            return;
        }
        let size = core::mem::take(&mut self.pending_size);
        let entries = Entries::of_size(self.pending.drain(..), size);
        let names_members = name_members(&entries);
        core.append(entries, out);
        if names_members {
            self.follow_members(core);
        }
    }

    /// [R11] What a quorum holds durably is committed, if it is of our own term; what is older is committed with it.
    fn advance_commit(&mut self, core: &mut Core, out: &mut Out) {
        let reached = self.reached(core);
        let is_own_term = reached >= self.term_start || core.config.plants(Mutant::CommitOldTermByCounting);
        if reached > core.commit && is_own_term {
            self.has_news = true;
            self.uncommitted_size -= core.log.size(core.commit.next(), reached);
            core.commit_through(reached, out);
            if core.config.plants(Mutant::MembersWhenCommitted) {
                self.follow_members(core);
            }
        }
    }

    /// Everything up to here is held by a quorum.
    fn reached(&self, core: &Core) -> Slot {
        // [R12] We count ourselves only for what is on our disk.
        let own = core.or_whole_log(Mutant::LeaderCountsUnwritten, core.durable_slot());
        let matched = |node| if node == core.id { own.0 } else { self.matched(node).0 };
        Slot(core.or_unfit_voters(votes::reached_by_quorum(&core.members, matched), matched))
    }

    fn matched(&self, node: NodeId) -> Slot {
        self.peers.iter().find(|peer| peer.id == node).map_or(Slot::ZERO, |peer| peer.matched)
    }

    /// [R18] [R21] Leadership is lost: proposals of this term that are in the log may yet be decided by another leader; those
    /// of this burst never left.
    pub(crate) fn abdicate(mut self, core: &Core, hint: Option<NodeId>, out: &mut Out) {
        let first = core.commit.next().max(self.term_start);
        let is_denied = core.config.plants(Mutant::InterruptedAsRefused);
        let reason = if is_denied { Refusal::NotLeader { hint } } else { Refusal::Interrupted };
        for (_, entry) in core.log.iter(first, core.log.last().slot) {
            if let Some(id) = entry.content.id() {
                out.refuse(id, reason.clone());
            }
        }
        for entry in self.pending.drain(..) {
            if let Some(id) = entry.content.id() {
                out.refuse(id, Refusal::NotLeader { hint });
            }
        }
        self.refuse_reads(core, hint, out);
    }

    pub(crate) fn assert_invariants(&self, core: &Core) {
        assert_eq!(core.vote, Some(core.id), "a leader votes for itself");
        let last = core.log.last().slot;
        for peer in &self.peers {
            peer.assert_invariants(last, &core.config);
        }
        // What was committed by other members need not be held by a quorum of these yet.
        let since = self.term_start.max(core.configurations.newest().slot);
        let is_held = core.commit < since || core.commit <= self.reached(core);
        assert!(
            self.peers.iter().map(|peer| peer.id).eq(core.members.others(core.id)),
            "others are fed than members"
        );
        assert!(!self.rest.is_resting || !self.has_work(core), "whoever rests has no work");
        assert!(is_held, "what was committed in this term is no longer held by a quorum");
        let in_log: usize = core.log.iter(core.commit.next(), last).map(|(_, entry)| entry.size()).sum();
        let pending: usize = self.pending.iter().map(Entry::size).sum();
        assert_eq!(self.pending_size, pending, "the size of the pending batch is wrong");
        assert_eq!(self.uncommitted_size, in_log + pending, "the size of what is uncommitted is wrong");
        self.reads.assert_invariants(core.config.max_pending_reads);
    }
}

impl Raft {
    /// [R18] Only a leader takes proposals, and only as many as its bounds allow.
    pub(crate) fn on_propose(&mut self, id: ProposalId, payload: Bytes, out: &mut Out) {
        let hint = self.leader();
        let Role::Leader(leader) = &mut self.role else {
            return out.refuse(id, Refusal::NotLeader { hint });
        };
        let core = &mut self.core;
        if payload.len() > core.config.max_payload_bytes {
            return out.refuse(id, Refusal::TooLarge);
        }
        let entry = Entry { term: core.term, content: Content::Proposal { id, payload } };
        let in_log = usize::try_from(core.log.last().slot.0 - core.commit.0).unwrap_or(usize::MAX);
        let uncommitted = in_log.saturating_add(leader.pending.len());
        let size = leader.uncommitted_size.saturating_add(entry.size());
        // One proposal is always taken, however small the bound: a payload within its own limit must be able to pass.
        let is_full = size > core.config.max_uncommitted_bytes && uncommitted > 0;
        if uncommitted >= core.config.max_uncommitted_entries || is_full || leader.hand_over.is_some() {
            return out.refuse(id, Refusal::Busy);
        }
        let overflows = leader.pending_size + entry.size() > core.config.max_append_bytes
            || leader.pending.len() >= core.config.max_append_entries;
        if overflows {
            leader.close_batch(core, out);
        }
        leader.push(entry);
    }

    pub(crate) fn on_append_reply(&mut self, now: Time, from: NodeId, reply: AppendReply, out: &mut Out) {
        if reply.term > self.core.term && self.core.config.plants(Mutant::LeaderIgnoresHigherTerm) {
            return;
        }
        let is_current = self.settle_term(now, from, reply.term, out);
        if !is_current && !self.core.config.plants(Mutant::StaleAckCounted) {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let core = &self.core;
        let newest = leader.reads.probe();
        let Some(peer) = leader.peers.iter_mut().find(|peer| peer.id == from) else { return };
        let (base, last) = (core.log.base().slot, core.log.last().slot);
        if reply.probe > newest {
            return out.accuse(from, Offence::Impossible("it echoes a probe that was never sent"));
        }
        if reply.probe < peer.stay {
            // [R39] It was said in an earlier stay.
            return;
        }
        peer.is_active = true;
        if reply.probe > peer.probe_echoed {
            peer.probe_echoed = reply.probe;
            let late = core.config.plants(Mutant::LeaseFromArrival).then_some(now);
            peer.vouched = late.or(leader.lease.departure_of(reply.probe)).max(peer.vouched); // [R43]
            leader.reads.on_echo();
        }
        if let Outcome::Rejected { hint, .. } = reply.outcome {
            let at_once = core.config.plants(Mutant::DenialProvenAtOnce) && hint.slot < peer.matched;
            if peer.is_denial(hint.slot, reply.probe, || leader.reads.begin_probe()) || at_once {
                out.accuse(from, Offence::Impossible("it denies what it acknowledged")); // [R55]
            }
        }
        match reply.outcome {
            Outcome::Accepted { matched } if matched > last => {
                out.accuse(from, Offence::Impossible("it acknowledges what was never sent"));
            }
            Outcome::Accepted { matched } => {
                let matched = core.or_whole_log(Mutant::CountReplies, matched);
                leader.has_progress |= matched > peer.matched;
                if core.config.plants(Mutant::MatchRegresses) {
                    peer.matched = matched;
                }
                let is_catching_up = matches!(peer.mode, Mode::Snapshot(_));
                peer.on_accepted(matched, base);
                if is_catching_up && matches!(peer.mode, Mode::Replicate) {
                    out.note(Note::SnapshotSent { to: from });
                }
            }
            Outcome::Rejected { hint, .. } if core.config.plants(Mutant::RefusalCountsAsMatch) => {
                leader.has_progress = true;
                peer.on_accepted(hint.slot.min(last), base);
            }
            Outcome::Rejected { prev, hint } if peer.heeds_rejection(prev) => {
                let next = agreement(core, prev, hint).next();
                peer.become_probe(next);
                if core.config.plants(Mutant::NextNotAboveMatch) {
                    peer.next = next;
                }
            }
            Outcome::Rejected { .. } => {}
        }
    }

    pub(crate) fn on_heartbeat_timeout(&mut self, now: Time, out: &mut Out) {
        match &mut self.role {
            Role::Follower(follower) => follower.repeat_reads(now, &self.core, out),
            Role::PreCandidate(_) | Role::Candidate(_) => self.ask_for_votes(now, out),
            Role::Leader(leader) => leader.beat(now, &self.core, out),
        }
    }

    /// [R7] A leader that has not heard a quorum for an election timeout steps down: others may have elected another.
    pub(crate) fn check_quorum(&mut self, now: Time, out: &mut Out) {
        let Role::Leader(leader) = &mut self.role else { return };
        let core = &self.core;
        let active = |node| {
            let is_heard = leader.peers.iter().any(|peer| peer.id == node && peer.is_active);
            u64::from(node == core.id || is_heard)
        };
        let has_quorum = votes::reached_by_quorum(&core.members, active) > 0;
        if has_quorum || !core.config.stable_leadership || core.config.plants(Mutant::NoCheckQuorum) {
            leader.offer_again(now, core, out);
            for peer in &mut leader.peers {
                peer.was_active = core::mem::take(&mut peer.is_active);
            }
            return out.set_timer(Timer::Election, now + core.config.election_timeout());
        }
        let (term, vote) = (core.term, core.vote);
        out.note(Note::SteppedDown { epoch: term, why: "no quorum has answered for an election timeout" });
        self.become_follower(now, term, vote, None, out);
    }
}
