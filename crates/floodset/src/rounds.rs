//! Everybody tells everybody the least value that it knows, round by round, until all must know the same.
//!
//! A crash in the midst of telling is all that can keep two nodes apart, and each node crashes once: of t + 1 rounds, one at least sees no
//! crash, and after it all hold the same for good. Who hears as many nodes in a round as in the one before has seen such a round
//! itself: whoever was silent in this one was silent in the one before, so that what it knows now it has of all who could know
//! more.

use crate::config::Config;
use crate::message::Message;
use crate::mutant::Mutant;
use crate::step::{Out, Timer};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use consensus_core::{Bytes, Epoch, Members, NodeId, Offence, ProposalId, Refusal, Role, Slot, Status};
use consensus_core::{Time, Verdict};
use core::time::Duration;

/// The one decision.
const THE_SLOT: Slot = Slot(1);

/// One node that agrees with the others on one value, in rounds that all keep.
#[derive(Clone, Debug)]
pub struct FloodSet {
    id: NodeId,
    pub(crate) config: Config,
    members: Members,
    /// The number of rounds, t + 1.
    last: u64,
    /// The proposal of our client, if it made one.
    own: Option<ProposalId>,
    /// The round; zero before the first.
    round: u64,
    ends_at: Time,
    /// What we hold; empty only before the first round.
    estimate: Bytes,
    is_early: bool,
    /// How many we heard in the round before, ourselves included.
    heard_before: usize,
    /// What was heard in this round and, from those who began earlier, in later ones.
    heard: BTreeMap<(u64, NodeId), (Bytes, bool)>,
    /// The round in which we decided.
    decided_in: Option<u64>,
}

impl FloodSet {
    pub(crate) fn new(id: NodeId, config: Config, members: Members) -> Self {
        Self {
            id,
            last: config.or_fewer(config.rounds(members.voter_count())),
            own: None,
            round: 0,
            ends_at: Time::ZERO,
            estimate: Bytes::new(),
            is_early: false,
            heard_before: members.voter_count(),
            heard: BTreeMap::new(),
            decided_in: None,
            config,
            members,
        }
    }

    /// The round in which this node decided.
    #[must_use]
    pub const fn decided_in(&self) -> Option<u64> {
        self.decided_in
    }

    /// [F7] The value of this node, if it has none yet.
    pub(crate) fn on_propose(&mut self, now: Time, id: ProposalId, payload: Bytes, out: &mut Out) {
        if payload.len() > self.config.max_payload_bytes {
            return out.refuse(id, Refusal::TooLarge);
        }
        if self.own.is_some() || self.decided_in.is_some() {
            return out.refuse(id, Refusal::Busy);
        }
        self.own = Some(id);
        if self.round == 0 {
            self.begin(now, payload, out);
        }
    }

    pub(crate) fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        let Message::Flood { round, estimate, is_early } = message;
        if from == self.id || !self.members.contains(from) {
            return out.accuse(from, Offence::Stranger); // [F9]
        }
        if round > self.last {
            return out.accuse(from, Offence::Malformed("a round is out of range"));
        }
        if self.round == 0 {
            self.begin(now, estimate.clone(), out);
        }
        if round < self.round || self.decided_in.is_some() {
            return; // [F3]
        }
        let said = (estimate, is_early);
        if *self.heard.entry((round, from)).or_insert_with(|| said.clone()) != said {
            out.accuse(from, Offence::Equivocation("two values in one round"));
        }
    }

    /// [F2] The first round.
    fn begin(&mut self, now: Time, value: Bytes, out: &mut Out) {
        (self.estimate, self.ends_at) = (value, now);
        self.enter_next_round(out);
    }

    /// [F1] [F3] Tells all what we hold, and waits for what they do.
    fn enter_next_round(&mut self, out: &mut Out) {
        self.round += 1;
        for peer in self.members.others(self.id) {
            let estimate = self.estimate.clone();
            out.send(peer, Message::Flood { round: self.round, estimate, is_early: self.is_early });
        }
        self.ends_at += Duration::from_millis(self.config.round_ms);
        out.set_timer(Timer::Round, self.ends_at);
    }

    /// [F3] [F4] [F5] The end of a round.
    pub(crate) fn on_round_over(&mut self, out: &mut Out) {
        if self.decided_in.is_some() {
            return;
        }
        let later = self.heard.split_off(&(self.round + 1, NodeId::ZERO));
        let said: Vec<(Bytes, bool)> = core::mem::replace(&mut self.heard, later).into_values().collect();
        let (values, early): (Vec<Bytes>, Vec<bool>) = said.into_iter().unzip();
        self.estimate = self.config.held(&self.estimate, &values);
        let heard = values.len() + 1;
        let is_told = early.contains(&true) && !self.config.plants(Mutant::EarlyUnheard);
        self.is_early = self.config.early && (heard == self.heard_before || is_told);
        self.heard_before = heard;
        if self.round >= self.last {
            return self.decide(out);
        }
        if self.is_early && self.config.plants(Mutant::SilentAtOnce) {
            return self.decide(out);
        }
        if self.is_early && self.config.plants(Mutant::DecidesAtOnce) {
            self.decide(out);
            return self.enter_next_round(out);
        }
        self.enter_next_round(out);
        if self.is_early {
            // [F6] All are told, whatever becomes of us.
            self.decide(out);
        }
    }

    fn decide(&mut self, out: &mut Out) {
        self.decided_in = Some(self.round);
        self.heard.clear();
        out.cancel_timer(Timer::Round);
        out.decide(THE_SLOT, self.own, Verdict::Commit, self.estimate.clone());
    }

    pub(crate) fn observe(&self) -> Status {
        Status {
            role: Role::Peer,
            leader: None,
            epoch: Epoch(self.decided_in.unwrap_or(self.round)),
            decided: Slot(u64::from(self.decided_in.is_some())),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    pub(crate) fn check_invariants(&self) {
        let voters = self.members.voter_count();
        assert!(self.heard.len() as u64 <= self.last * voters as u64, "more was heard than can be said");
        assert!(self.heard.keys().all(|&(round, _)| round >= self.round), "a round that is over is kept");
        assert!(self.round <= self.last, "it goes on after the last round");
    }
}
