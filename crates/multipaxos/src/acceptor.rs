//! The acceptor, for all slots at once: one promise for the whole log, and per slot what was accepted in the highest ballot.
//!
//! Slots are accepted in any order. The answer to an accept tells of the slots *around* it that are held in the leader's ballot
//! without a hole; what lies before them was lost, and the leader sends it again.

use crate::ballot::Ballot;
use crate::election::Poll;
use crate::log::{Fit, Log};
use crate::message::{Accept, Accepted, Heartbeat, Message, Preempted, Prepare, Promise, Votes};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::state::{Core, MultiPaxos, Role};
use crate::step::{FAR_BALLOT, Out};
use crate::synod::Answer;
use crate::value::Values;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use consensus_core::reads::Forwarded;
use consensus_core::{NodeId, Offence, Slot, Time};

/// Somebody who follows a leader, or looks for one.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    pub(crate) leader: Option<NodeId>,
    /// A question how the others fare.
    pub(crate) poll: Option<Poll>,
    /// The slots around the last that the leader sent, held in its ballot without a hole: the first and the last of them.
    span: Option<(Slot, Slot)>,
    /// How far that was acknowledged.
    acknowledged: Slot,
    /// Something arrived that wants an answer, once it is durable.
    owes_acknowledgement: bool,
    /// The newest probe of this ballot.
    probe: u64,
    /// It wants an answer at once.
    owes_echo: bool,
    /// How much was known to be chosen at the last heartbeat.
    chosen_before: Slot,
    pub(crate) reads: Forwarded,
}

impl Follower {
    /// Follows `leader`, or nobody.
    pub(crate) fn of(leader: Option<NodeId>) -> Self {
        Self { leader, ..Self::default() }
    }

    /// Takes note of the slots around these, which were just accepted.
    #[inline]
    fn note_accepted(&mut self, core: &Core, first: Slot, last: Slot) {
        match &mut self.span {
            // What was held before may follow, too.
            Some((_, end)) if end.next() == first && last >= core.log.last() => *end = last,
            Some(_) | None => self.look_around(core, last),
        }
    }

    /// Takes note of the slots around `slot`, which the leader has sent.
    fn look_around(&mut self, core: &Core, slot: Slot) {
        if self.span.is_some_and(|(first, last)| first <= slot && slot <= last) {
            return;
        }
        // With nothing around, it ends before it begins.
        let nothing = (slot.next(), slot);
        self.span = Some(core.log.around(core.promised.ballot(), slot).unwrap_or(nothing));
        self.acknowledged = Slot::ZERO;
    }

    /// [P14] What is chosen, and for a whole heartbeat interval did not come, we may once have claimed to hold.
    fn ask_for_hole(&mut self, leader: NodeId, core: &mut Core) {
        let (chosen, mark) = (core.learner.chosen, core.learner.mark);
        let is_stuck = core::mem::replace(&mut self.chosen_before, chosen) == chosen;
        if let Some((first, _)) = self.span.filter(|(first, _)| is_stuck && chosen.next() < *first) {
            core.catch_up.want(leader, mark.min(Slot(first.0 - 1)));
        }
    }

    pub(crate) fn flush(&mut self, now: Time, core: &mut Core, out: &mut Out) {
        let Some(leader) = self.leader else { return };
        self.acknowledge(leader, core, out);
        self.forward_reads(now, leader, core, out);
    }

    /// One acknowledgement for everything that a burst brought. It claims only what is already durable. [P4] [P6]
    #[inline]
    fn acknowledge(&mut self, leader: NodeId, core: &Core, out: &mut Out) {
        let Some((first, last)) = self.span else { return };
        if !self.owes_acknowledgement && !self.owes_echo {
            return;
        }
        let durable = core.or_unwritten(last.min(core.log.durable()), last).max(Slot(first.0 - 1));
        let has_news = durable > self.acknowledged || durable == last;
        let is_due = self.owes_echo || has_news && !core.config.plants(Mutant::AcknowledgesWhenAsked);
        if !is_due {
            return;
        }
        self.owes_echo = false;
        self.owes_acknowledgement = durable < last;
        self.acknowledged = durable;
        let accepted = Accepted {
            ballot: core.promised.ballot(),
            first,
            durable,
            // What a crash may take from us nobody would send again.
            chosen: core.learner.chosen.min(core.log.durable()),
            probe: self.probe,
        };
        out.send_after(leader, Message::Accepted(accepted), core.promise_written);
    }
}

impl MultiPaxos {
    /// Phase 1. [P1] [P2] [P33]
    pub(crate) fn on_prepare(&mut self, now: Time, from: NodeId, prepare: Prepare, out: &mut Out) {
        let Prepare { configuration, ballot, from: first, promises, called_by } = prepare;
        let known = Slot(first.0 - 1);
        if !self.is_of_our_configuration(now, from, configuration, known, out)
            && !self.core.config.plants(Mutant::PromiseOfAnyConfiguration)
        {
            return;
        }
        if configuration == self.core.configuration.number && promises != self.core.configuration.promises {
            return out.accuse(from, Offence::Impossible("it counts on other quorums"));
        }
        if !self.core.believes(from, ballot, out) {
            return;
        }
        let before = self.promised();
        let ballot_here = self.core.config.as_ballot(before, ballot);
        match self.core.promised.answer(ballot_here) {
            Answer::Refused(_) => return self.core.preempt(from, out),
            // It asks again.
            Answer::Fresh if self.core.is_bound_against(from, called_by, now) => return,
            Answer::Fresh => {
                self.core.promise(ballot_here, out);
                self.become_follower(now, None, out);
            }
            // It was asked before it led: it came late.
            Answer::Again if self.core.has_voted_in(ballot) => return,
            // It asks for the next page, or once more.
            Answer::Again => {}
        }
        // [P19] Somebody is about to lead.
        self.core.hear(now);
        let promise = self.core.page(ballot, first, before);
        let message = Message::Promise(Box::new(promise));
        if self.core.config.plants(Mutant::PromiseBeforeDurable) {
            // EARLY: it is a bug, and planted.
            return out.send_early(from, message);
        }
        out.send_after(from, message, self.core.promise_written);
    }

    /// Phase 2. [P5] [P6]
    #[inline]
    pub(crate) fn on_accept(&mut self, now: Time, from: NodeId, accept: Accept, out: &mut Out) {
        let Accept { configuration, ballot, first, chosen, probe, values } = accept;
        if !self.follow(now, from, (configuration, ballot), chosen, out) {
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let core = &mut self.core;
        core.learner.note_mark(ballot, chosen);
        let last = Slot(first.0 + values.len() as u64 - 1);
        match core.accept(ballot, first, values, out) {
            Taken::Held => follower.note_accepted(core, first, last),
            Taken::Full => {}
            Taken::Contradicts => {
                return out.accuse(from, Offence::Equivocation("two values in one ballot"));
            }
        }
        follower.owes_acknowledgement = true;
        follower.owes_echo |= probe > 0;
        follower.probe = follower.probe.max(probe);
        core.learn(out);
    }

    /// [P9] The leader lives, and tells how far it is.
    pub(crate) fn on_heartbeat(&mut self, now: Time, from: NodeId, heartbeat: Heartbeat, out: &mut Out) {
        let Heartbeat { configuration, ballot, start, next, chosen, probe } = heartbeat;
        if !self.follow(now, from, (configuration, ballot), chosen, out) {
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let core = &mut self.core;
        core.learner.note_mark(ballot, chosen);
        // What there is no room for need not be sent again.
        if !core.is_full() || follower.span.is_none() {
            follower.look_around(core, Slot(next.0 - 1));
        }
        follower.owes_echo |= probe > 0;
        follower.probe = follower.probe.max(probe);
        core.learn(out);
        // [P14] What lies before, nobody will propose to us.
        if core.learner.chosen.next() < start {
            core.catch_up.want(from, Slot(start.0 - 1));
        }
        follower.ask_for_hole(from, core);
    }

    /// Whether `from` leads the ballot that we have promised, and we follow it now. [S3]
    #[inline]
    fn follow(
        &mut self,
        now: Time,
        from: NodeId,
        (configuration, ballot): (u64, Ballot),
        chosen: Slot,
        out: &mut Out,
    ) -> bool {
        let follows = matches!(&self.role, Role::Follower(follower) if follower.leader == Some(from))
            && ballot == self.core.promised.ballot()
            && configuration == self.core.configuration.number;
        if follows || self.follow_another(now, from, (configuration, ballot), chosen, out) {
            self.core.hear(now);
            self.core.bind(self.core.promised.ballot(), now);
            return true;
        }
        false
    }

    fn follow_another(
        &mut self,
        now: Time,
        from: NodeId,
        (configuration, ballot): (u64, Ballot),
        chosen: Slot,
        out: &mut Out,
    ) -> bool {
        if !self.is_of_our_configuration(now, from, configuration, chosen, out) {
            return false;
        }
        if !self.core.believes(from, ballot, out) {
            return false;
        }
        let ballot = self.core.config.as_ballot(self.promised(), ballot);
        match self.core.promised.answer(ballot) {
            Answer::Refused(_) => {
                self.core.preempt(from, out);
                return self.core.config.plants(Mutant::AcceptsBelowPromise)
                    && matches!(self.role, Role::Follower(_));
            }
            Answer::Fresh if self.core.config.plants(Mutant::AcceptanceKeepsPromise) => {}
            Answer::Fresh => self.core.promise(ballot, out),
            Answer::Again => {}
        }
        self.become_follower(now, Some(from), out);
        true
    }
}

/// What became of values that were to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// They are held now, and on their way to the disk.
    Held,
    /// There is no room for them.
    Full,
    /// In the same ballot, another value was accepted.
    Contradicts,
}

impl Core {
    /// [P21] [P29] [P31] Whether a voter of our configuration may lead this ballot, as far as we know of ballots.
    fn believes(&self, from: NodeId, ballot: Ballot, out: &mut Out) -> bool {
        let voters = self.configuration.members.voters();
        if !voters.is_empty() && !voters.contains(&from) {
            out.accuse(from, Offence::Impossible("it leads without a vote"));
            return false;
        }
        let is_credible = ballot.is_credible(self.known());
        if !is_credible {
            out.accuse(from, FAR_BALLOT);
        }
        is_credible
    }

    /// Promises `ballot`, which is above all that was promised. Whoever we were bound to relies on us no more. [P33]
    pub(crate) fn promise(&mut self, ballot: Ballot, out: &mut Out) {
        self.promised.raise(ballot);
        self.bound = None;
        self.seen = self.seen.max(ballot);
        if !self.config.plants(Mutant::PromiseNotWritten) {
            self.promise_written = out.persist(Record::Promised(ballot));
        }
    }

    /// Tells `from` that it was overtaken.
    pub(crate) fn preempt(&self, from: NodeId, out: &mut Out) {
        let (configuration, chosen) = (self.configuration.number, self.learner.chosen);
        let preempted = Preempted { configuration, ballot: self.promised.ballot(), chosen };
        out.send_after(from, Message::Preempted(preempted), self.promise_written);
    }

    /// Accepts values in the ballot that is promised. What is known to be chosen is left alone. [P5]
    #[inline]
    pub(crate) fn accept(&mut self, ballot: Ballot, first: Slot, values: Values, out: &mut Out) -> Taken {
        let chosen = self.learner.chosen;
        let (first, values) = if first > chosen {
            (first, values)
        } else {
            (chosen.next(), values.skip(usize::try_from(chosen.0 + 1 - first.0).unwrap_or(usize::MAX)))
        };
        if values.is_empty() {
            return Taken::Held;
        }
        let last = Slot(first.0 + values.len() as u64 - 1);
        match self.log.fit(ballot, first, &values) {
            Fit::Known => return Taken::Held,
            Fit::Contradicts if !self.config.plants(Mutant::TwoValuesInOneBallot) => {
                return Taken::Contradicts;
            }
            Fit::Contradicts | Fit::Fresh => {}
        }
        if !self.has_room(last, values.size()) {
            return Taken::Full;
        }
        self.open.note(last, values.size());
        let mut seq = out.written();
        if !self.config.plants(Mutant::AcceptanceNotWritten) {
            seq = out.persist(Record::Accepted { ballot, first, values: values.clone(), chosen });
        }
        self.log.accept(ballot, first, values, seq);
        self.or_at_once();
        Taken::Held
    }

    /// Whether so much may be accepted beyond what is known to be chosen. [P6]
    #[inline]
    fn has_room(&self, last: Slot, size: usize) -> bool {
        let ahead = last.0 - self.learner.chosen.0;
        // What fills a hole always has room: otherwise nothing would ever be chosen any more.
        let is_beyond = last > self.log.last() && !self.open.batches.is_empty();
        let is_large = self.open.bytes.saturating_add(size) > self.config.max_ahead_bytes;
        ahead <= self.config.max_ahead_values && !(is_beyond && is_large)
    }

    fn is_full(&self) -> bool {
        !self.has_room(self.log.last().max(self.learner.chosen).next(), self.config.max_accept_bytes)
    }

    /// Whether anything was accepted in this ballot that is not known to be chosen.
    fn has_voted_in(&self, ballot: Ballot) -> bool {
        self.log.from(self.learner.chosen.next()).any(|batch| batch.ballot == ballot)
    }

    /// A page of what was accepted and is not known to be chosen, from `from` on. [P2]
    pub(crate) fn page(&self, ballot: Ballot, from: Slot, before: Ballot) -> Promise {
        let chosen = self.learner.chosen;
        let (mut votes, mut size, mut next) = (Vec::new(), 0, None);
        for batch in self.log.from(from.max(chosen.next())) {
            let is_over = size + batch.values.size() > self.config.max_accept_bytes && !votes.is_empty();
            if is_over || votes.len() == self.config.max_accept_values.min(crate::message::MAX_PAGE_BATCHES) {
                next = Some(batch.first);
                break;
            }
            size += batch.values.size();
            votes.push(Votes { first: batch.first, ballot: batch.ballot, values: batch.values });
        }
        self.config.as_reported(&mut votes, before);
        Promise { ballot, from, chosen, votes, next }
    }
}

/// What was accepted and is not known to be chosen: how many bytes of values, bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    batches: VecDeque<(Slot, usize)>,
    bytes: usize,
}

impl Open {
    /// What of a log is open.
    pub(crate) fn of(log: &Log, chosen: Slot) -> Self {
        let mut open = Self::default();
        for batch in log.from(chosen.next()) {
            open.note(batch.last(), batch.values.size());
        }
        open
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(crate) fn note(&mut self, last: Slot, size: usize) {
        self.batches.push_back((last, size));
        self.bytes += size;
    }

    /// Everything up to `chosen` is known to be chosen. What was accepted out of order may be counted a little longer.
    #[inline]
    pub(crate) fn settle(&mut self, chosen: Slot) {
        while let Some((_, size)) = self.batches.pop_front_if(|(last, _)| *last <= chosen) {
            self.bytes -= size;
        }
    }

    pub(crate) fn assert_invariants(&self) {
        let sum: usize = self.batches.iter().map(|(_, size)| size).sum();
        assert_eq!(self.bytes, sum, "the count of open bytes leaks");
    }
}
