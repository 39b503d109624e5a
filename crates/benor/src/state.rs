//! What a node knows, and how it comes back to it after a crash.

use crate::config::Config;
use crate::message::{Decided, Message, Standing};
use crate::model::{Model, Thresholds};
use crate::mutant::Mutant;
use crate::past::Past;
use crate::record::Record;
use crate::step::{Out, Timer};
use crate::votes::Votes;
use alloc::collections::BTreeMap;
use consensus_core::{
    Boot, Bytes, Epoch, Faults, Members, NodeId, ProposalId, RestoreError, Role, Slot, Status, Time, Verdict,
};
use core::marker::PhantomData;
use core::time::Duration;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// The one decision.
const THE_SLOT: Slot = Slot(1);

/// One node that agrees with the others on one bit, in the model `M` of faults.
///
/// It keeps its own votes, four bytes a round; of the others' the votes of its round, and what each said last.
#[derive(Debug)]
pub struct Agreement<M> {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) members: Members,
    pub(crate) thresholds: Thresholds,
    /// The proposal of our client, if it made one.
    pub(crate) own: Option<ProposalId>,
    /// What we have cast: on our disk before anybody hears of it.
    pub(crate) past: Past,
    /// The votes of our round, our own among them.
    pub(crate) votes: Votes,
    /// What each voter said last.
    pub(crate) heard: BTreeMap<NodeId, Standing>,
    /// What each voter reported first of all, as long as we have reported nothing ourselves. Who is in a later round tells it when asked, and it is not
    /// its last word.
    pub(crate) given: BTreeMap<NodeId, bool>,
    /// The round in which we stood when we decided; zero before.
    decided_in: u64,
    /// Whether the others are still to be told where we stand.
    pub(crate) has_news: bool,
    /// Whether we ask when the timer runs out.
    is_curious: bool,
    pub(crate) rng: ChaCha8Rng,
    model: PhantomData<M>,
}

impl<M: Model> Agreement<M> {
    /// Where this node stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.past.standing()
    }

    /// Rebuilds the state from what the disk holds. The votes of others are asked for anew. [B7]
    pub(crate) fn recover(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot: _, records } = boot;
        let mut node = Self {
            id,
            thresholds: config.or_bent(M::thresholds(members.voter_count()), members.voter_count()),
            config,
            members,
            own: None,
            past: Past::default(),
            votes: Votes::default(),
            heard: BTreeMap::new(),
            given: BTreeMap::new(),
            decided_in: 0,
            has_news: false,
            is_curious: false,
            // Nodes that are given the same seed must not toss alike.
            rng: ChaCha8Rng::seed_from_u64(seed ^ id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            model: PhantomData,
        };
        let mut given = None;
        for record in &records {
            node.past.replay(record).map_err(RestoreError)?;
            match *record {
                Record::Given { id, value } => (node.own, given) = (Some(id), Some(value)),
                Record::Decided { decided: _, round } if node.decided_in == 0 => node.decided_in = round,
                Record::Decided { .. } | Record::Reported { .. } | Record::Proposed(_) => {}
            }
        }
        node.count_own();
        if let Some(value) = given.filter(|_| node.past.round() == 0 && node.past.decided.is_none()) {
            // The crash came between the two records.
            node.begin(value, out);
        }
        if let Some(Decided { value, .. }) = node.past.decided {
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

    /// [B6] A decision, counted or told; the first one is handed over.
    pub(crate) fn decide(&mut self, decided: Decided, round: u64, out: &mut Out) {
        let is_first = self.past.decided.is_none();
        out.persist(Record::Decided { decided, round });
        self.past.decided = Some(decided);
        self.has_news = true;
        if is_first {
            self.decided_in = round;
            out.decide(THE_SLOT, self.own, Verdict::Commit, encode(decided.value));
        }
    }

    /// Whether nothing is left to do but to answer: this node has decided, and everybody will without its votes of rounds to come.
    // [B6]
    pub(crate) fn is_done(&self) -> bool {
        let claims = || self.heard.values().filter(|standing| standing.decided.is_some()).count() + 1;
        let Some(decided) = self.past.decided else { return false };
        // One honest word convinces everybody where nobody lies; otherwise all but the liars must have decided.
        let is_missed = self.members.is_voter(self.id) && self.thresholds.believe > 1;
        decided.reached || !is_missed || claims() >= self.thresholds.wait
    }

    /// [B8] Whoever has heard of anything wants to know the end of it.
    pub(crate) fn become_curious(&mut self, now: Time, out: &mut Out) {
        if !self.is_curious && !self.is_done() {
            self.arm_retry(now, out);
        }
    }

    pub(crate) fn arm_retry(&mut self, now: Time, out: &mut Out) {
        self.is_curious = true;
        out.set_timer(Timer::Retry, now + Duration::from_millis(self.config.retry_ms));
    }

    /// Tells everybody where we stand, once what we cast is durable.
    // [B7] [B8]
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
            blocked: alloc::vec::Vec::new(),
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.votes.reports() <= self.members.voter_count(), "more votes than voters");
        assert!(self.heard.len() < self.members.iter().count(), "more was heard than others can say");
        assert!(self.standing().check().is_ok(), "no node casts this: {:?}", self.standing());
        if M::FAULTS == Faults::CrashRecovery {
            let both = [false, true].map(|value| self.votes.proposals_of(value) > 0);
            assert!(both != [true, true], "two majorities in round {}", self.past.round());
        }
    }
}

fn encode(value: bool) -> Bytes {
    Bytes::from_static(if value { b"1" } else { b"0" })
}
