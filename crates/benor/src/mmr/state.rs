//! What a node knows, and how it comes back to it after a crash.

use super::config::{Config, Thresholds};
use super::message::{Message, Standing};
use super::mutant::Mutant;
use super::past::Past;
use super::record::Record;
use super::step::{Out, Timer};
use super::votes::Votes;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use consensus_core::{
    Boot, Bytes, Epoch, Members, NodeId, ProposalId, RestoreError, Role, Slot, Status, Time, Verdict,
};
use core::time::Duration;

/// The one decision.
const THE_SLOT: Slot = Slot(1);

/// One node that agrees with the others on one bit, though some of them lie, by coins that are hidden until they are needed.
#[derive(Debug)]
pub struct Mmr {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) members: Members,
    pub(crate) thresholds: Thresholds,
    /// The proposal of our client, if it made one.
    pub(crate) own: Option<ProposalId>,
    /// What we have cast: on our disk before anybody hears of it.
    pub(crate) past: Past,
    /// The votes of the first round and all others that we have entered, our own among them.
    pub(crate) votes: Vec<Votes>,
    /// What each voter said last.
    pub(crate) heard: BTreeMap<NodeId, Standing>,
    /// The round in which we stood when we decided; zero before.
    decided_in: u64,
    /// Whether the others are still to be told where we stand.
    pub(crate) has_news: bool,
    /// Whether we ask when the timer runs out.
    is_curious: bool,
}

impl Mmr {
    /// Where this node stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.past.standing()
    }

    /// Rebuilds the state from what the disk holds. The votes of others are asked for anew. [M8]
    pub(crate) fn recover(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed: _, now, snapshot: _, records } = boot;
        if members.is_voter(id) && !config.coin.holds(id) {
            return Err(RestoreError(
                "the secret key for the common coin is not this node's: give it its own",
            ));
        }
        let mut node = Self {
            id,
            thresholds: config.thresholds(members.voter_count()),
            config,
            members,
            own: None,
            past: Past::default(),
            votes: vec![Votes::default()],
            heard: BTreeMap::new(),
            decided_in: 0,
            has_news: false,
            is_curious: false,
        };
        let mut given = None;
        for record in &records {
            node.past.apply(record).map_err(RestoreError)?;
            match *record {
                Record::Given { id, value } => (node.own, given) = (Some(id), Some(value)),
                Record::Decided { value: _, round } => node.decided_in = round,
                Record::Entered { round, .. } if round > 1 => node.votes.push(Votes::default()),
                Record::Entered { .. }
                | Record::Relayed { .. }
                | Record::Named(_)
                | Record::Confirmed(_)
                | Record::Shared(_) => {}
            }
        }
        node.past.standing().check().map_err(|_| RestoreError("the records hold what no node casts"))?;
        for round in 1..=node.past.round() {
            node.count_own(round);
        }
        if let Some(value) = given.filter(|_| node.past.round() == 0) {
            // The crash came between the two records.
            node.enter(value, out);
        }
        if let Some(value) = node.past.decided {
            // EARLY: it was read back from the disk.
            out.decide_early(THE_SLOT, node.own, Verdict::Commit, encode(value));
        }
        if !records.is_empty() {
            node.has_news = true;
            node.become_curious(now, out);
        }
        // Alone, or with enough that crashed at the right moment, our own vote may be all that it takes.
        node.advance(out);
        Ok(node)
    }

    /// What a node does goes to the disk, and is done.
    // [M8]
    pub(crate) fn cast(&mut self, record: Record, out: &mut Out) {
        let applied = self.past.apply(&record);
        debug_assert_eq!(applied, Ok(()), "{record:?}");
        if !self.config.plants(Mutant::CastsForgotten) {
            out.persist(record);
        }
    }

    /// [M7] A decision, counted or told; there is one.
    pub(crate) fn decide(&mut self, value: bool, out: &mut Out) {
        if self.past.decided.is_some() {
            return;
        }
        let round = self.past.round().max(1);
        out.persist(Record::Decided { value, round });
        (self.past.decided, self.decided_in, self.has_news) = (Some(value), round, true);
        out.decide(THE_SLOT, self.own, Verdict::Commit, encode(value));
    }

    /// Whether nothing is left to do but to answer: this node has decided, and everybody will without its votes of rounds to come.
    // [M7]
    pub(crate) fn is_done(&self) -> bool {
        let claims = self.heard.values().filter(|standing| standing.decided.is_some()).count() + 1;
        let is_missed = self.members.is_voter(self.id) && claims < self.thresholds.wait;
        self.past.decided.is_some() && !is_missed
    }

    /// [M9] Whoever has heard of anything wants to know the end of it.
    pub(crate) fn become_curious(&mut self, now: Time, out: &mut Out) {
        if !self.is_curious && !self.is_done() {
            self.arm_retry(now, out);
        }
    }

    pub(crate) fn arm_retry(&mut self, now: Time, out: &mut Out) {
        self.is_curious = true;
        out.set_timer(Timer::Retry, now + Duration::from_millis(self.config.retry_ms));
    }

    /// Tells everybody, once what we cast is durable.
    // [M8] [M9]
    pub(crate) fn tell_all(&self, message: Message, out: &mut Out) {
        for peer in self.members.others(self.id) {
            self.tell(peer, message, out);
        }
    }

    pub(crate) fn tell(&self, peer: NodeId, message: Message, out: &mut Out) {
        if self.config.plants(Mutant::CastsBeforeDurable) {
            // EARLY: it is a bug, and planted.
            return out.send_early(peer, message);
        }
        out.send(peer, message);
    }

    pub(crate) fn observe(&self) -> Status {
        Status {
            role: if self.members.is_voter(self.id) { Role::Peer } else { Role::Learner },
            leader: None,
            epoch: Epoch(if self.decided_in == 0 { self.past.round() } else { self.decided_in }),
            decided: Slot(u64::from(self.past.decided.is_some())),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    pub(crate) fn check_invariants(&self) {
        let voters = self.members.voter_count();
        assert!(self.votes.iter().all(|votes| votes.most() <= voters), "more votes than voters");
        assert!(self.votes.len() as u64 == self.past.round().max(1), "votes of a round that is none");
        assert!(self.heard.len() < self.members.iter().count(), "more was heard than others can say");
        assert!(self.standing().check().is_ok(), "no node casts this: {:?}", self.standing());
    }
}

fn encode(value: bool) -> Bytes {
    Bytes::from_static(if value { b"1" } else { b"0" })
}
