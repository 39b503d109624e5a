//! The proposer, phase 1: how a ballot gets its leader.
//!
//! It is done once for all slots. Every acceptor that promises tells what it has accepted, page by page; of each slot the value in
//! the highest ballot must be proposed anew, and a slot of which nobody tells is free. What lies below the highest mark that is
//! told is chosen, and is learnt and not proposed.

use crate::ballot::Ballot;
use crate::config::MAX_OPEN_VALUES;
use crate::leader::Leader;
use crate::log::Log;
use crate::message::{Message, Preempted, Prepare, Promise};
use crate::mutant::Mutant;
use crate::state::{Core, MultiPaxos, Role};
use crate::step::{Out, Timer};
use crate::synod::Promises;
use crate::value::{Value, Values};
use alloc::vec::Vec;
use consensus_core::{NodeId, Note, Offence, Slot, Time, WriteSeq};

/// Somebody who asks for promises.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) promises: Promises,
    /// Which page of each acceptor is wanted; those that are not here have told nothing.
    pages: Vec<(NodeId, Slot)>,
    /// What the first pages are asked for.
    from: Slot,
    /// The last slot that each acceptor told of.
    reach: Vec<(NodeId, Slot)>,
    /// Of each slot the value in the highest ballot that was told of.
    told: Log,
    /// The highest mark below which everything is chosen, and who told it.
    chosen: (Slot, NodeId),
    /// The leader of this ballot called it to succeed it.
    called_by: Option<Ballot>,
}

impl Candidate {
    pub(crate) fn assert_invariants(&self, core: &Core) {
        assert_eq!(self.promises.ballot(), core.promised.ballot(), "a candidate promises its own ballot");
        self.told.assert_invariants();
    }

    /// The ballot of the leader that called it, if it was called.
    pub(crate) const fn called_by(&self) -> Option<Ballot> {
        self.called_by
    }

    fn wanted(&self, node: NodeId) -> Slot {
        self.pages.iter().find(|(known, _)| *known == node).map_or(self.from, |(_, page)| *page)
    }

    fn want(&mut self, node: NodeId, page: Slot) {
        self.pages.retain(|(known, _)| *known != node);
        self.pages.push((node, page));
    }

    /// Asks `node` for the page that is wanted.
    fn ask(&self, node: NodeId, core: &Core, out: &mut Out) {
        let prepare = Prepare {
            configuration: core.configuration.number,
            ballot: self.promises.ballot(),
            from: self.wanted(node),
            promises: core.configuration.promises,
            called_by: self.called_by,
        };
        out.send_after(node, Message::Prepare(prepare), core.promise_written); // [S1]
    }

    /// Takes over what an acceptor tells. [S5]
    fn note_votes(&mut self, from: NodeId, promise: Promise, core: &Core) {
        if let Some(votes) = promise.votes.last() {
            self.reach.retain(|(node, _)| *node != from);
            self.reach.push((from, Slot(votes.first.0 + votes.values.len() as u64 - 1)));
        }
        for votes in promise.votes {
            let ballot = core.config.as_told_in(&self.told, &votes);
            self.told.accept(ballot, votes.first, votes.values, WriteSeq::ZERO);
        }
    }

    fn note_chosen(&mut self, chosen: Slot, node: NodeId) {
        if chosen > self.chosen.0 {
            self.chosen = (chosen, node);
        }
    }

    /// [P31] Where a hole begins that no leader leaves. What lies further ahead of what is chosen than anybody proposes, somebody
    /// made up.
    fn impossible_hole(&self) -> Option<Slot> {
        let mut end = self.chosen.0;
        for batch in self.told.batches() {
            if batch.first.0 > end.0 + MAX_OPEN_VALUES as u64 + 1 {
                return Some(end);
            }
            end = end.max(batch.last());
        }
        None
    }

    /// What is to be proposed anew, from the first slot that nobody knows to be chosen up to the last that anybody told of. [P3]
    /// Where nobody told of the first slot of the configuration, it is opened. [P40]
    fn to_repeat(&self, core: &Core) -> Vec<Value> {
        let first = self.chosen.0.next();
        let last = core.config.or_further(self.told.last()).max(core.configuration.opening());
        let told = |slot| self.told.get(Slot(slot)).map(|(_, value)| value.clone());
        if core.config.plants(Mutant::HolesSkipped) {
            return (first.0..=last.0).filter_map(told).collect();
        }
        if core.config.plants(Mutant::NoopsOverVotes) {
            return (first.0..=last.0).map(|_| Value::Noop).collect();
        }
        let of_nobody = |slot| core.configuration.opening_at(Slot(slot));
        (first.0..=last.0).map(|slot| told(slot).unwrap_or_else(|| of_nobody(slot))).collect()
    }
}

impl MultiPaxos {
    /// Leads a ballot above all that are known: phase 1 begins. [P1] [S1]
    pub(crate) fn become_candidate(&mut self, now: Time, called_by: Option<Ballot>, out: &mut Out) {
        if self.core.is_bound_to_the_past(now) {
            return self.core.arm_retry(now, out); // [P34]
        }
        self.become_follower(now, None, out);
        let core = &mut self.core;
        let ballot = core.known().next(core.id);
        core.own_promise(ballot, out);
        let from = core.learner.chosen.next();
        let candidate = Candidate {
            promises: Promises::new(ballot),
            pages: Vec::new(),
            reach: Vec::new(),
            from,
            told: Log::new(Slot(from.0 - 1)),
            chosen: (Slot(from.0 - 1), core.id),
            called_by,
        };
        let why = if called_by.is_some() { "the leader called it" } else { "nobody is heard who leads" };
        out.note(Note::ElectionStarted { epoch: ballot.epoch(), why });
        self.role = Role::Candidate(candidate);
        self.core.hear(now);
        self.core.arm_retry(now, out);
        self.ask_for_promises(now, out);
        self.count_own_promise(now, out);
    }

    /// Asks those who have not told everything yet; repeated with every heartbeat interval.
    pub(crate) fn ask_for_promises(&mut self, now: Time, out: &mut Out) {
        let Role::Candidate(candidate) = &self.role else { return };
        let core = &self.core;
        for voter in core.configuration.other_voters(core.id) {
            if !candidate.promises.contains(voter) {
                candidate.ask(voter, core, out);
            }
        }
        out.set_timer(Timer::Heartbeat, now + core.config.heartbeat_interval());
    }

    /// [S4] A page of what somebody has accepted who has promised our ballot.
    pub(crate) fn on_promise(&mut self, now: Time, from: NodeId, promise: Promise, out: &mut Out) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        let core = &self.core;
        let voters = core.configuration.members.voters();
        let is_ours =
            promise.ballot == candidate.promises.ballot() || core.config.plants(Mutant::StalePromiseCounted);
        if !is_ours || !voters.contains(&from) || candidate.wanted(from) != promise.from {
            return;
        }
        if candidate.promises.contains(from) && !core.config.plants(Mutant::DuplicatePromiseCounted) {
            return;
        }
        candidate.note_chosen(promise.chosen, from);
        let next = promise.next.filter(|_| !core.config.plants(Mutant::PromiseCutShort));
        candidate.note_votes(from, promise, core);
        if let Some(next) = next {
            candidate.want(from, next);
            candidate.ask(from, core, out);
            // Pages that come one after the other are no failure, however many there are.
            return self.core.arm_retry(now, out);
        }
        let voter = core.config.as_counted(&candidate.promises, from, voters);
        candidate.promises.add(voter, candidate.promises.ballot());
        self.lead_if_promised(now, out);
    }

    /// [S4] What we promised ourselves counts when it is on our disk.
    pub(crate) fn count_own_promise(&mut self, now: Time, out: &mut Out) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        let core = &self.core;
        if core.promise_written > core.durable || candidate.promises.contains(core.id) {
            return;
        }
        let ballot = candidate.promises.ballot();
        for batch in core.log.from(candidate.from) {
            candidate.told.accept(batch.ballot, batch.first, batch.values, WriteSeq::ZERO);
        }
        candidate.note_chosen(core.learner.chosen, core.id);
        candidate.promises.add(core.id, ballot);
        self.lead_if_promised(now, out);
    }

    /// With a quorum of promises: phase 2. [P3] [S5]
    fn lead_if_promised(&mut self, now: Time, out: &mut Out) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        let core = &mut self.core;
        let count = candidate.promises.count_among(core.configuration.members.voters());
        if count < core.configuration.first_quorum() {
            return;
        }
        // We may have learnt more since we began to ask.
        candidate.note_chosen(core.learner.chosen, core.id);
        if let Some(hole) = candidate.impossible_hole() {
            for (node, _) in candidate.reach.iter().filter(|(_, reach)| *reach > hole) {
                out.accuse(*node, Offence::Impossible("it accepted what nobody can have proposed"));
            }
            self.become_follower(now, None, out);
            return self.core.arm_retry(now, out);
        }
        let (chosen, source) = candidate.chosen;
        let mut values = candidate.to_repeat(core);
        core.respect_stops(chosen.next(), &candidate.told, &mut values);
        core.learner.note_mark(core.promised.ballot(), chosen);
        if chosen > core.learner.chosen {
            core.catch_up.want(source, chosen);
        }
        let mut leader = Leader::new(now, core, chosen.next());
        leader.repeat(values, core, out);
        self.role = Role::Leader(leader);
        out.note(Note::ElectionWon { epoch: core.promised.ballot().epoch() });
        core.learn(out);
        out.cancel_timer(Timer::Election);
        self.on_heartbeat_timeout(now, out);
    }

    /// [P25] Somebody has promised a higher ballot, or is in a later configuration.
    pub(crate) fn on_preempted(&mut self, now: Time, from: NodeId, preempted: Preempted, out: &mut Out) {
        let Preempted { configuration, ballot, chosen } = preempted;
        if configuration > self.core.configuration.number {
            self.core.catch_up.want(from, chosen);
            return self.leave_sealed(now, out);
        }
        // [P31] Strangers overtake nobody.
        if configuration < self.core.configuration.number || !self.core.configuration.members.contains(from) {
            return;
        }
        if self.core.config.plants(Mutant::RefusalCountsAsPromise)
            && let Role::Candidate(candidate) = &mut self.role
        {
            candidate.promises.add(from, candidate.promises.ballot());
            return self.lead_if_promised(now, out);
        }
        self.core.note_seen(from, ballot, out);
        let is_over = match &self.role {
            Role::Follower(_) => false,
            Role::Candidate(_) | Role::Leader(_) => ballot > self.core.promised.ballot(),
        };
        if is_over {
            self.become_follower(now, None, out);
        }
    }
}

impl Core {
    /// [S1] Promises a ballot of our own, before anybody else is asked for it.
    fn own_promise(&mut self, ballot: Ballot, out: &mut Out) {
        if self.config.plants(Mutant::BallotReused) {
            self.promised.raise(ballot);
            return;
        }
        self.promise(ballot, out);
    }
}

/// Values in batches that a message can carry.
pub(crate) fn in_batches(values: Vec<Value>, most: usize, bytes: usize) -> Vec<Values> {
    let (mut batches, mut batch, mut size) = (Vec::new(), Vec::new(), 0);
    for value in values {
        if batch.len() == most || (size + value.size() > bytes && !batch.is_empty()) {
            batches.push(core::mem::take(&mut batch).into_iter().collect());
            size = 0;
        }
        size += value.size();
        batch.push(value);
    }
    if !batch.is_empty() {
        batches.push(batch.into_iter().collect());
    }
    batches
}
