//! Following: taking a leader's entries, and telling it how far they are on our disk (paper §5.3).
//!
//! Invariant: `verified` is the last slot up to which our log is known to equal that of this term's leader.

use crate::entry::{Entries, Position, are_hollow};
use crate::message::{Append, AppendReply, Message, Outcome};
use crate::mutant::Mutant;
use crate::state::{Core, Raft, Role};
use crate::step::Out;
use consensus_core::reads::Forwarded;
use consensus_core::{Epoch, NodeId, Offence, Slot, Time};

/// Somebody who follows, or looks for a leader.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    pub(crate) leader: Option<NodeId>,
    /// Our log equals the leader's up to here.
    pub(crate) verified: Slot,
    /// What was acknowledged last.
    acknowledged: Slot,
    /// Something arrived that wants an answer, once it is durable.
    owes_acknowledgement: bool,
    /// The newest probe of this term.
    probe: u64,
    /// It wants an answer at once.
    owes_echo: bool,
    pub(crate) reads: Forwarded,
    /// It has no timer (see `quiescence`).
    pub(crate) rests: bool,
}

impl Follower {
    pub(crate) fn new(leader: Option<NodeId>, commit: Slot) -> Self {
        Self {
            leader,
            // What is committed is in the log of every later leader.
            verified: commit,
            acknowledged: Slot::ZERO,
            owes_acknowledgement: false,
            probe: 0,
            owes_echo: false,
            reads: Forwarded::default(),
            rests: false,
        }
    }

    /// The log equals the leader's up to `slot`; say so once it is durable.
    pub(crate) fn verify(&mut self, slot: Slot) {
        self.verified = self.verified.max(slot);
        self.owes_acknowledgement = true;
    }

    pub(crate) fn flush(&mut self, now: Time, core: &mut Core, out: &mut Out) {
        let Some(leader) = self.leader else { return };
        self.acknowledge(leader, core, out);
        self.forward_reads(now, leader, core, out);
    }

    /// One acknowledgement for everything that a burst brought. It claims only what is already durable. [R12]
    fn acknowledge(&mut self, leader: NodeId, core: &Core, out: &mut Out) {
        let durable = core.durable_slot();
        let matched = core.or_whole_log(Mutant::AckWholeLog, self.verified).min(durable);
        let is_due = self.owes_echo
            || matched > self.acknowledged
            || (self.owes_acknowledgement && self.verified <= durable);
        if !is_due || core.is_misplaced() {
            return;
        }
        self.owes_echo = false;
        self.owes_acknowledgement &= self.verified > durable;
        self.acknowledged = self.acknowledged.max(matched);
        let reply =
            AppendReply { term: core.term, probe: self.probe, outcome: Outcome::Accepted { matched } };
        out.send_after(leader, Message::AppendReply(reply), core.vote_written);
    }

    pub(crate) fn assert_invariants(&self, core: &Core) {
        assert!(self.verified <= core.log.last().slot, "more is verified than there is");
        assert!(core.commit <= self.verified, "more is committed than is verified");
        assert!(self.acknowledged <= self.verified, "more was acknowledged than is verified");
        if self.rests {
            let end = core.log.last().slot;
            assert!(self.leader.is_some() && self.reads.is_empty(), "whoever rests waits for nothing");
            assert!(core.commit == end && core.log.durable() == end, "whoever rests lacks nothing");
        }
    }
}

impl Raft {
    pub(crate) fn on_append(&mut self, now: Time, from: NodeId, append: Append, out: &mut Out) {
        let Append { term, prev, commit, probe, entries } = append;
        if !self.accept_leader(now, from, term, prev.slot, out) {
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let core = &mut self.core;
        if are_hollow(&entries) && core.is_laden() {
            return; // [R42]
        }
        if entries.is_empty() && core.config.plants(Mutant::HeartbeatClearsVote) {
            core.vote = None;
            core.vote_written = out.persist(crate::record::Record::Vote { term, vote: None });
        }
        if probe > follower.probe {
            follower.probe = probe;
        }
        follower.owes_echo |= probe > 0;
        let wants_answer = !entries.is_empty();
        match core.fit(prev, entries, out) {
            Fit::Matches(through) => {
                follower.verified = core.or_what_is_left(follower.verified).max(through);
                follower.acknowledged = core.or_what_is_left(follower.acknowledged);
                follower.owes_acknowledgement |= wants_answer;
                // [R13] Only what is known to equal the leader's log.
                let verified = core.or_whole_log(Mutant::CommitUnverified, follower.verified);
                core.commit_through(commit.min(verified), out);
            }
            Fit::Misses(hint) => {
                let is_wrong = core.config.plants(Mutant::RefusalNamesWrongSlot);
                let outcome = Outcome::Rejected { prev: if is_wrong { hint.slot } else { prev.slot }, hint };
                let reply = AppendReply { term, probe: follower.probe, outcome };
                follower.owes_echo = false;
                out.send_after(from, Message::AppendReply(reply), core.vote_written);
            }
            Fit::Contradicts => out.accuse(from, Offence::Impossible("it denies what is committed")),
        }
    }

    /// Whether `from` leads this term, and we follow it now. [R3] [R26]
    #[inline]
    pub(crate) fn accept_leader(
        &mut self,
        now: Time,
        from: NodeId,
        term: Epoch,
        prev: Slot,
        out: &mut Out,
    ) -> bool {
        let is_known = matches!(&self.role, Role::Follower(follower) if follower.leader == Some(from));
        if (term == self.core.term && is_known) || self.accept_new_leader(now, from, term, prev, out) {
            self.core.hear_leader(now);
            return true;
        }
        false
    }

    fn accept_new_leader(&mut self, now: Time, from: NodeId, term: Epoch, prev: Slot, out: &mut Out) -> bool {
        if term < self.core.term {
            // It does not know that its time is over. [R3]
            let outcome = Outcome::Rejected { prev, hint: Position::ZERO };
            let reply = AppendReply { term: self.core.term, probe: 0, outcome };
            out.send_after(from, Message::AppendReply(reply), self.core.vote_written);
            return self.core.config.plants(Mutant::StaleAppendTaken);
        }
        let known = if term == self.core.term { self.leader() } else { None };
        if known.is_some_and(|leader| leader != from) {
            out.accuse(from, Offence::Impossible("two leaders in one term"));
            return false;
        }
        if known.is_none() {
            self.become_follower(now, term, None, Some(from), out);
        }
        true
    }
}

/// How an append fits our log.
enum Fit {
    /// The log equals the leader's up to here.
    Matches(Slot),
    /// There is nothing, or something else, at its `prev`; the logs agree at best here.
    Misses(Position),
    /// It denies what is committed.
    Contradicts,
}

impl Core {
    /// Makes the log equal to the leader's as far as the append tells. [R9] [R10]
    fn fit(&mut self, prev: Position, entries: Entries, out: &mut Out) -> Fit {
        if entries.is_empty() && self.config.plants(Mutant::HeartbeatUnchecked) {
            return Fit::Matches(prev.slot.min(self.log.last().slot));
        }
        if prev == self.log.last() {
            let through = Slot(prev.slot.0 + entries.len() as u64);
            self.append(entries, out);
            return Fit::Matches(through);
        }
        if prev.slot < self.commit {
            return self.fit_behind(prev, &entries, out);
        }
        match self.log.term(prev.slot) {
            Some(term) if term == prev.term => self.merge(prev.slot, &entries, out),
            Some(_) if prev.slot == self.commit => Fit::Contradicts,
            // Both sides skip whole terms instead of one slot at a time (paper §5.3, last paragraph).
            Some(_) => Fit::Misses(self.log.last_at_most(Slot(prev.slot.0 - 1), prev.term)),
            None => Fit::Misses(self.log.last()),
        }
    }

    /// An append that begins among what is committed, and therefore equal: a late or repeated one.
    fn fit_behind(&mut self, prev: Position, entries: &Entries, out: &mut Out) -> Fit {
        if prev.slot >= self.log.base().slot && self.log.term(prev.slot) != Some(prev.term) {
            return Fit::Contradicts;
        }
        let known = usize::try_from(self.commit.0 - prev.slot.0).unwrap_or(usize::MAX);
        if entries.get(known - 1).is_some_and(|entry| self.log.term(self.commit) != Some(entry.term)) {
            return Fit::Contradicts;
        }
        self.merge(self.commit, &entries.skip(known), out)
    }

    /// Takes over what is new behind `prev`, where the logs agree, and cuts only at a real conflict. [R10]
    fn merge(&mut self, prev: Slot, entries: &Entries, out: &mut Out) -> Fit {
        let through = Slot(prev.0 + entries.len() as u64);
        let slots = (prev.0 + 1..).map(Slot);
        let keeps = self.config.plants(Mutant::ConflictKept);
        let is_known = |slot, term| self.log.term(slot).is_some_and(|known| known == term || keeps);
        let known = slots.zip(entries.iter()).take_while(|(slot, entry)| is_known(*slot, entry.term)).count();
        let first = Slot(prev.0 + known as u64 + 1);
        if known < entries.len() {
            if first <= self.commit {
                return Fit::Contradicts;
            }
            self.truncate_after(Slot(first.0 - 1), out);
            self.append(entries.skip(known), out);
        } else if !entries.is_empty() && self.config.plants(Mutant::TruncateWithoutConflict) {
            self.truncate_after(prev.max(self.commit), out);
            let kept = usize::try_from(self.log.last().slot.0 - prev.0).unwrap_or(usize::MAX);
            self.append(entries.skip(kept), out);
        }
        Fit::Matches(through.max(self.commit))
    }
}
