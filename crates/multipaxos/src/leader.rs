//! The proposer, phase 2: ordering proposals, having them accepted, and knowing when they are chosen.
//!
//! A burst of proposals becomes one batch, one record and one accept per node, all sharing one allocation: proposals are collected
//! in `step` and closed in `flush`. The leader's own disk write runs beside the others'.

use crate::acceptor::Open;
use crate::configuration::Configuration;
use crate::log::Fit;
use crate::message::Accepted;
use crate::mutant::Mutant;
use crate::progress::{Progress, feed, fill_hole, send_heartbeat};
use crate::proposer::in_batches;
use crate::record::Record;
use crate::state::{Core, MultiPaxos, Role};
use crate::step::{Out, Timer};
use crate::transfer::HandOver;
use crate::value::{Value, Values};
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::lease::Lease;
use consensus_core::reads::ReadQueue;
use consensus_core::{Bytes, NodeId, Offence, ProposalId, Refusal, Slot, Time};

/// Somebody who leads a ballot.
#[derive(Debug)]
pub(crate) struct Leader {
    /// The first slot that is proposed in this ballot: everything before it is chosen.
    pub(crate) start: Slot,
    /// The first slot that carries what clients wanted from us: what lies before it was proposed anew.
    pub(crate) own: Slot,
    /// The last slot that is proposed.
    pub(crate) last: Slot,
    pub(crate) peers: Vec<Progress>,
    /// Proposals of this burst.
    pending: Vec<Value>,
    pending_size: usize,
    /// What is proposed and not chosen.
    open: Open,
    /// Somebody holds more than before: more may be chosen.
    has_progress: bool,
    /// Something happened since the others were fed last, beyond a write of our own that became durable.
    has_news: bool,
    /// How much we knew of what was chosen before our ballot, and when that last grew.
    past: (Known, Time),
    pub(crate) reads: ReadQueue,
    pub(crate) lease: Lease,
    pub(crate) hand_over: Option<HandOver>,
    /// A stop-sign is proposed: nothing more is.
    pub(crate) is_sealed: bool,
}

impl Leader {
    pub(crate) fn new(now: Time, core: &Core, start: Slot) -> Self {
        let before = Slot(start.0 - 1);
        let peers = core.configuration.members.others(core.id).map(|id| Progress::new(id, before, now));
        Self {
            start,
            own: start,
            last: before,
            peers: peers.collect(),
            pending: Vec::new(),
            pending_size: 0,
            open: Open::default(),
            has_progress: true,
            has_news: true,
            past: (Known::default(), now),
            reads: ReadQueue::new(),
            lease: Lease::default(),
            hand_over: None,
            is_sealed: false,
        }
    }

    /// [P3] What may have been chosen in an earlier ballot is proposed anew in ours.
    pub(crate) fn repeat(&mut self, values: Vec<Value>, core: &mut Core, out: &mut Out) {
        self.is_sealed = matches!(values.last(), Some(Value::Stop(_)));
        let (most, bytes) = (core.config.max_accept_values, core.config.max_accept_bytes);
        for batch in in_batches(values, most, bytes) {
            self.propose(batch, core, out);
        }
        self.own = self.last.next();
    }

    /// [P37] The last value of our configuration; nothing follows it.
    pub(crate) fn seal(&mut self, next: Configuration, core: &mut Core, out: &mut Out) {
        self.push(Value::Stop(Box::new(next)));
        self.close_batch(core, out);
        self.is_sealed = true;
    }

    fn push(&mut self, value: Value) {
        self.pending_size += value.size();
        self.pending.push(value);
    }

    /// How many values are proposed, or about to be, and not chosen.
    #[inline]
    pub(crate) fn open_values(&self, core: &Core) -> usize {
        let proposed = usize::try_from(self.last.0 - core.learner.mark.0).unwrap_or(usize::MAX);
        proposed.saturating_add(self.pending.len())
    }

    /// Accepts values ourselves; the others are sent them when they are fed.
    fn propose(&mut self, values: Values, core: &mut Core, out: &mut Out) {
        let (ballot, first) = (core.promised.ballot(), self.last.next());
        self.last = Slot(self.last.0 + values.len() as u64);
        let mut seq = out.written();
        if !core.config.plants(Mutant::AcceptanceNotWritten) {
            let chosen = core.learner.chosen;
            seq = out.persist(Record::Accepted { ballot, first, values: values.clone(), chosen });
        }
        core.open.note(self.last, values.size());
        self.open.note(self.last, values.size());
        core.log.accept(ballot, first, values, seq);
        core.or_at_once();
    }

    pub(crate) fn peer(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    /// Our own disk is further. That chooses something only together with another, or if there is nobody else.
    pub(crate) fn on_own_progress(&mut self, core: &Core) {
        let is_enough = core.configuration.second_quorum() < 2;
        self.has_progress |= is_enough || self.peers.iter().any(|peer| peer.matched > core.learner.mark);
    }

    /// Anything else happened.
    pub(crate) const fn on_news(&mut self) {
        self.has_news = true;
    }

    /// The end of a burst: close the batch, choose, probe for reads, feed the others.
    #[inline]
    pub(crate) fn flush(&mut self, now: Time, core: &mut Core, out: &mut Out) {
        self.close_batch(core, out);
        if self.is_sealed {
            // [P39] Our own disk may be enough to choose it: whoever is to begin must have it then.
            self.feed_all(core, out);
        }
        if core::mem::take(&mut self.has_progress) {
            self.advance(core, out);
        }
        // [P38] Our ballot is not one of the next configuration.
        if core.has_entered || !core::mem::take(&mut self.has_news) {
            return;
        }
        self.take_reads(now, core, out);
        self.feed_all(core, out);
        self.call_successor(core, out);
        self.confirm_reads(core, out);
    }

    #[inline]
    fn feed_all(&mut self, core: &Core, out: &mut Out) {
        for peer in &mut self.peers {
            feed(peer, self.start, self.last, core, self.reads.probe(), out);
        }
    }

    pub(crate) fn close_batch(&mut self, core: &mut Core, out: &mut Out) {
        if self.pending.is_empty() {
            return;
        }
        let size = core::mem::take(&mut self.pending_size);
        let values = Values::of_size(self.pending.drain(..), size);
        self.propose(values, core, out);
    }

    /// [P4] What a quorum has accepted durably in our ballot is chosen.
    fn advance(&mut self, core: &mut Core, out: &mut Out) {
        // What others knew to be chosen, we propose as it is.
        let reached = self.reached(core).max(core.learner.chosen.min(self.last));
        if reached > core.learner.mark {
            self.has_news = true;
            self.open.settle(reached);
            core.learner.note_mark(core.promised.ballot(), reached);
        }
        core.learn(out);
    }

    /// Everything up to here is accepted by a quorum.
    fn reached(&self, core: &Core) -> Slot {
        // We count ourselves only for what is on our disk.
        let own = core.or_unwritten(self.last.min(core.log.durable()), self.last);
        let matched = |node| if node == core.id { own.0 } else { self.matched(node).0 };
        Slot(core.configuration.reached(matched))
    }

    fn matched(&self, node: NodeId) -> Slot {
        self.peers.iter().find(|peer| peer.id == node).map_or(Slot::ZERO, |peer| peer.matched)
    }

    /// [P11] [P28] Leadership is lost: what clients wanted and was proposed may yet be chosen in another's ballot; what is of this
    /// burst never left.
    pub(crate) fn abdicate(mut self, core: &Core, hint: Option<NodeId>, out: &mut Out) {
        // What is chosen, and not decided here yet, a snapshot may swallow.
        let first = core.learner.chosen.next().max(self.own);
        let is_denied = core.config.plants(Mutant::InterruptedAsRefused);
        let reason = if is_denied { Refusal::NotLeader { hint } } else { Refusal::Interrupted };
        self.interrupt(first, self.last, &reason, core, out);
        for value in self.pending.drain(..) {
            if let Some(id) = value.id() {
                out.refuse(id, Refusal::NotLeader { hint });
            }
        }
        self.refuse_reads(core, hint, out);
    }

    /// Refuses what clients wanted in these slots.
    fn interrupt(&self, first: Slot, last: Slot, reason: &Refusal, core: &Core, out: &mut Out) {
        for (_, value) in core.log.run(first.max(core.log.base().next()), last) {
            if let Some(id) = value.id() {
                out.refuse(id, reason.clone());
            }
        }
    }

    pub(crate) fn assert_invariants(&self, core: &Core) {
        assert!(core.learner.mark_of == core.promised.ballot(), "a leader's mark is of its own ballot");
        assert!(
            core.learner.mark <= self.last.max(Slot(self.start.0 - 1)),
            "more is chosen than is proposed"
        );
        for peer in &self.peers {
            peer.assert_invariants(self.last);
        }
        let ends = core.log.get(self.last).is_some_and(|(_, value)| matches!(value, Value::Stop(_)));
        assert!(!self.is_sealed || ends, "something is proposed behind a stop-sign");
        assert!(
            self.peers.iter().map(|peer| peer.id).eq(core.configuration.members.others(core.id)),
            "others are fed than members"
        );
        let pending: usize = self.pending.iter().map(Value::size).sum();
        assert_eq!(self.pending_size, pending, "the size of the pending batch is wrong");
        self.open.assert_invariants();
        self.reads.assert_invariants(core.config.max_pending_reads);
    }
}

impl MultiPaxos {
    /// [P11] Only a leader takes proposals, and only as many as its bounds allow.
    pub(crate) fn on_propose(&mut self, id: ProposalId, payload: Bytes, out: &mut Out) {
        let hint = self.leader();
        let Role::Leader(leader) = &mut self.role else {
            return out.refuse(id, Refusal::NotLeader { hint });
        };
        let core = &mut self.core;
        if payload.len() > core.config.max_payload_bytes {
            return out.refuse(id, Refusal::TooLarge);
        }
        if leader.is_sealed && !core.config.plants(Mutant::ProposedBehindStop) {
            // Whoever leads the next configuration takes it.
            return out.refuse(id, Refusal::NotLeader { hint: None });
        }
        let value = Value::Command { id, payload };
        let open = leader.open_values(core);
        let size = leader.open.bytes() + leader.pending_size + value.size();
        // One proposal is always taken, however small the bound: a payload within its own limit must be able to pass.
        let is_full = size > core.config.max_open_bytes && open > 0;
        if open >= core.config.max_open_values || is_full || leader.hand_over.is_some() {
            return out.refuse(id, Refusal::Busy);
        }
        let overflows = leader.pending_size + value.size() > core.config.max_accept_bytes
            || leader.pending.len() >= core.config.max_accept_values;
        if overflows {
            leader.close_batch(core, out);
        }
        leader.push(value);
    }

    #[inline]
    pub(crate) fn on_accepted(&mut self, now: Time, from: NodeId, accepted: Accepted, out: &mut Out) {
        let Role::Leader(leader) = &mut self.role else { return };
        let core = &self.core;
        let Accepted { ballot, first, durable, chosen, probe } = accepted;
        // What was accepted in another ballot says nothing of ours. [P4]
        if ballot != core.promised.ballot() && !core.config.plants(Mutant::OldAcceptanceCounted) {
            return;
        }
        let newest = leader.reads.probe();
        let (start, last) = (leader.start, leader.last);
        let Some(peer) = leader.peers.iter_mut().find(|peer| peer.id == from) else { return };
        if durable > last && durable >= first {
            return out.accuse(from, Offence::Impossible("it accepted what was never proposed"));
        }
        if probe > newest {
            return out.accuse(from, Offence::Impossible("it echoes a probe that was never sent"));
        }
        peer.heard = now;
        if probe > peer.probe_echoed {
            peer.probe_echoed = probe;
            let late = core.config.plants(Mutant::LeaseFromEcho).then_some(now);
            peer.vouched = late.or(leader.lease.departure_of(probe)).max(peer.vouched); // [P32]
            leader.reads.on_echo();
        }
        let before = peer.matched;
        peer.on_accepted(first, durable, chosen.min(last), &core.config);
        leader.has_progress |= peer.matched > before;
        if first > peer.matched.next() {
            fill_hole(peer, start, Slot(first.0 - 1).min(last), core, newest, out);
        }
    }

    /// [P9] What may have been lost is said again. [P20] A leader that hears no quorum resigns.
    pub(crate) fn on_heartbeat_timeout(&mut self, now: Time, out: &mut Out) {
        match &mut self.role {
            Role::Follower(follower) => follower.repeat_reads(now, &self.core, out),
            Role::Candidate(_) => self.ask_for_promises(now, out),
            Role::Leader(leader) => {
                if !leader.hears_quorum(now, &self.core) || leader.is_stranded(now, &self.core) {
                    return self.resign(now, out);
                }
                let (start, probe) = (leader.start, leader.begin_probe(now, &self.core.config));
                leader.ask_for_past(&mut self.core);
                for peer in &mut leader.peers {
                    send_heartbeat(peer, start, &self.core, probe, out);
                }
                leader.review_hand_over(now, &self.core, out);
                out.set_timer(Timer::Heartbeat, now + self.core.config.heartbeat_interval());
            }
        }
    }

    /// [P13] Whether these values, which are chosen, show that somebody leads a higher ballot: others were proposed in ours, or
    /// none yet.
    pub(crate) fn is_overtaken_by(&self, first: Slot, values: &Values) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let last = Slot(first.0 + values.len() as u64 - 1);
        last > leader.last || self.core.log.fit(self.promised(), first, values) == Fit::Contradicts
    }

    /// [P13] A snapshot is about to replace what it contains, of which we know only that it is chosen. If that is more than was
    /// chosen in our ballot, it may be something else than we proposed. What clients wanted from us, and it contains, they must ask
    /// for again.
    pub(crate) fn yield_to_snapshot(&mut self, now: Time, through: Slot, out: &mut Out) {
        let Role::Leader(leader) = &self.role else { return };
        if through > self.core.learner.mark {
            return self.resign(now, out);
        }
        let first = self.core.learner.chosen.next().max(leader.own);
        leader.interrupt(first, through.min(leader.last), &Refusal::Interrupted, &self.core, out);
    }
}

/// How much is known: everything up to a slot, and so many bytes of a snapshot.
type Known = (Slot, u64);

impl Leader {
    /// [P14] What was chosen before our ballot began we may lack ourselves.
    fn ask_for_past(&self, core: &mut Core) {
        let before = Slot(self.start.0 - 1);
        for peer in self.peers.iter().filter(|peer| peer.chosen > core.learner.chosen) {
            core.catch_up.want(peer.id, peer.chosen.min(before));
        }
    }

    /// [P13] Whether nobody has told us more, for long, of what was chosen before our ballot began. Who knew it may be gone for good;
    /// those who accepted it tell of it in phase 1 of the next ballot.
    fn is_stranded(&mut self, now: Time, core: &Core) -> bool {
        let known = (core.learner.chosen, core.catch_up.received());
        if known != self.past.0 {
            self.past = (known, now);
        }
        known.0.next() < self.start && now >= self.past.1 + core.config.election_timeout() * 2
    }

    /// [P19] Whether enough others were heard within T to choose anything.
    fn hears_quorum(&self, now: Time, core: &Core) -> bool {
        let timeout = core.config.election_timeout();
        let is_heard = |node| {
            let peer = self.peers.iter().find(|peer| peer.id == node);
            u64::from(node == core.id || peer.is_some_and(|peer| now < peer.heard + timeout))
        };
        core.configuration.reached(is_heard) > 0 || core.config.plants(Mutant::NeverResigns)
    }
}
