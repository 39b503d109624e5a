//! What a replica knows.

use crate::certificate::Stable;
use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::digest::Digest;
use crate::evidence::Evidence;
use crate::keys::Signature;
use crate::log;
use crate::message::{Message, NewView, PrePrepare, ViewChange, Vote};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::requests::{Requests, Rules};
use crate::statement::{Kind, Sequence, Statement, View};
use crate::step::Out;
use crate::transfer::Transfer;
use alloc::boxed::Box;
use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use consensus_core::{Epoch, Members, NodeId, Offence, Role, Slot, Status, Time};

/// A replica of PBFT (Castro and Liskov 1999, 2002).
#[derive(Debug)]
pub struct Pbft {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) members: Members,
    /// The view that we are in, or want.
    pub(crate) view: View,
    /// We have left all lower views, and wait for this one to begin.
    pub(crate) is_changing: bool,
    /// How the view began; none for the first.
    pub(crate) new_view: Option<NewView>,
    /// What is at the places up to here was given by the new view.
    pub(crate) inherited: Sequence,
    /// The stable checkpoint: h, the low watermark.
    pub(crate) stable: Stable,
    /// The places above it.
    pub(crate) log: BTreeMap<Sequence, log::Entry>,
    /// Everything up to here is executed.
    pub(crate) executed: Sequence,
    /// The last slot of that.
    pub(crate) slot: Slot,
    /// The last place that we, as primary, have put something at.
    pub(crate) assigned: Sequence,
    pub(crate) requests: Requests,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) transfer: Option<Transfer>,
    /// Of each replica the highest view that it wants.
    pub(crate) changes: BTreeMap<NodeId, ViewChange>,
    /// How many views in a row brought nothing.
    pub(crate) barren: u32,
    /// When we want another view, if nothing is executed before.
    pub(crate) deadline: Option<Time>,
    /// Who was there at some time since we are.
    pub(crate) seen: BTreeSet<NodeId>,
    /// Whom of them our failure detector suspects.
    pub(crate) suspected: BTreeSet<NodeId>,
    /// The time of the last input.
    pub(crate) now: Time,
    /// Proposals of the primary for which too few vouch yet.
    pub(crate) held: BTreeMap<Sequence, PrePrepare>,
    /// How many times the resend timer ran out.
    pub(crate) turn: u64,
    /// When the resend timer first ran out in this view.
    pub(crate) begun: Option<Time>,
    /// How often each replica was helped in this turn.
    pub(crate) helped: BTreeMap<NodeId, u32>,
    /// How many checks of the votes of each have come to nothing.
    pub(crate) vain: BTreeMap<NodeId, u32>,
    /// How much each has fetched.
    pub(crate) fetched: BTreeMap<NodeId, u32>,
    /// What was executed at the last turn.
    pub(crate) executed_at_turn: Sequence,
    /// Of each liar the first proof.
    pub(crate) evidence: BTreeMap<NodeId, Evidence>,
}

impl Pbft {
    pub(crate) fn new(id: NodeId, config: Config, members: Members) -> Self {
        Self {
            id,
            config,
            members,
            view: View::ZERO,
            is_changing: false,
            new_view: None,
            inherited: Sequence::ZERO,
            stable: Stable::default(),
            log: BTreeMap::new(),
            executed: Sequence::ZERO,
            slot: Slot::ZERO,
            assigned: Sequence::ZERO,
            requests: Requests::default(),
            checkpoints: Checkpoints::default(),
            transfer: None,
            changes: BTreeMap::new(),
            barren: 0,
            deadline: None,
            seen: BTreeSet::new(),
            suspected: BTreeSet::new(),
            now: Time::ZERO,
            held: BTreeMap::new(),
            turn: 0,
            begun: None,
            helped: BTreeMap::new(),
            vain: BTreeMap::new(),
            fetched: BTreeMap::new(),
            executed_at_turn: Sequence::ZERO,
            evidence: BTreeMap::new(),
        }
    }

    /// Who orders in our view.
    pub(crate) fn primary(&self) -> Option<NodeId> {
        self.config.primary(self.view)
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.primary() == Some(self.id)
    }

    /// Whether we take part in this view. [B18]
    pub(crate) fn takes_part_in(&self, view: View) -> bool {
        let is_left = self.is_changing && view.next() == self.view;
        (view == self.view && !self.is_changing) || (is_left && self.config.plants(Mutant::OldViewHeard))
    }

    /// Whether a place lies between the watermarks. [B6]
    pub(crate) fn is_in_window(&self, sequence: Sequence) -> bool {
        let low = self.stable.sequence;
        sequence > low && (sequence <= self.config.high(low) || self.config.plants(Mutant::WatermarksIgnored))
    }

    pub(crate) fn rules(&self) -> Rules {
        let (genuine, ready) = self.config.vouchers();
        let (count, bytes) = (self.config.max_open_requests, self.config.max_open_bytes);
        let (own, orders, late) = (self.id, self.is_primary(), self.config.view_timeout());
        Rules { own, orders, genuine, ready, count, bytes, late, share: self.config.share() }
    }

    /// Our signature.
    pub(crate) fn sign(&self, statement: Statement) -> Option<Signature> {
        let statement = self.config.as_signed(statement);
        self.config.keys.sign(self.id, &statement.to_bytes(self.config.group))
    }

    /// Our vote.
    pub(crate) fn vote(&self, kind: Kind, view: View, sequence: Sequence, digest: Digest) -> Option<Vote> {
        let signature = self.sign(Statement { kind, view, sequence, digest })?;
        Some(Vote { view, sequence, digest, signature })
    }

    /// Says it to all others, once everything persisted so far is durable. [B16]
    pub(crate) fn broadcast(&self, message: &Message, out: &mut Out) {
        for node in self.members.others(self.id) {
            out.send(node, message.clone());
        }
    }

    /// Somebody contradicted itself: the proof is kept, one for each. [B25]
    pub(crate) fn convict(
        &mut self,
        node: NodeId,
        first: (Statement, Signature),
        second: (Statement, Signature),
        out: &mut Out,
    ) {
        if let Entry::Vacant(place) = self.evidence.entry(node) {
            let evidence = place.insert(Evidence { node, first, second });
            out.persist(Record::Evidence(Box::new(*evidence)));
        }
        out.accuse(node, Offence::Equivocation("two signed statements on one choice"));
    }

    /// The proofs of who contradicted itself, one for each member: [`Evidence::is_proven`] checks them.
    pub fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence.values()
    }

    /// The view that it is in, or wants.
    #[must_use]
    pub const fn view(&self) -> View {
        self.view
    }

    /// The last place that it has executed.
    #[must_use]
    pub const fn executed(&self) -> Sequence {
        self.executed
    }

    /// The stable checkpoint.
    #[must_use]
    pub const fn stable(&self) -> &Stable {
        &self.stable
    }

    pub(crate) fn observe(&self) -> Status {
        let leads = self.is_primary() && !self.is_changing;
        Status {
            role: if leads {
                Role::Leader
            } else if self.is_changing {
                Role::Candidate
            } else {
                Role::Follower
            },
            leader: self.primary().filter(|_| !self.is_changing),
            epoch: Epoch(self.view.0),
            decided: self.slot,
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    pub(crate) fn check_invariants(&self) {
        let low = self.stable.sequence;
        let high = self.config.high(low);
        assert!(self.executed >= low, "what is stable is executed");
        if !self.config.plants(Mutant::WatermarksIgnored) {
            let first = self.log.first_key_value().map_or(high, |(&sequence, _)| sequence);
            let last = self.log.last_key_value().map_or(low, |(&sequence, _)| sequence);
            assert!(first > low && last <= high, "places {first} to {last} lie between the watermarks");
        }
        for (&sequence, entry) in &self.log {
            assert!(entry.prepares.len() <= self.config.n() && entry.commits.len() <= self.config.n());
            let proposed = entry.proposal.map_or(View::ZERO, |accepted| accepted.view);
            assert!(proposed <= self.view, "{sequence} was taken over in a view that is not ours yet");
            let is_done = entry.committed.is_some();
            assert!(sequence > self.executed || is_done, "{sequence} is executed, and not committed");
        }
        self.requests.check();
    }
}
