//! The normal case: PRE-PREPARE, PREPARE, COMMIT, execution (Castro and Liskov 1999, §4.2).

use crate::certificate::{Committed, Prepared};
use crate::digest::Digest;
use crate::log::{Accepted, Counted, VoteKind};
use crate::message::{Message, PrePrepare, Vote};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::request::Batch;
use crate::state::Pbft;
use crate::statement::{Kind, Sequence, Statement, View};
use crate::step::Out;
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::{NodeId, Note, Offence, Slot, Verdict};

/// How many checks of one replica's votes may come to nothing between two turns of the resend timer. A correct one's never do.
const MOST_VAIN: u32 = 16;

impl Pbft {
    /// [B5] A backup takes over what the primary of its view puts at a place between the watermarks, if it has taken nothing else
    /// over there in this view.
    pub(crate) fn on_pre_prepare(&mut self, from: NodeId, message: PrePrepare, out: &mut Out) {
        let PrePrepare { view, sequence, digest, signature, ref batch } = message;
        if !self.takes_part_in(view)
            || !self.is_in_window(sequence)
            || self.config.primary(view) == Some(self.id)
        {
            return;
        }
        let held = self.held.get(&sequence).map(|held| (held.view, held.digest, held.signature));
        let taken = self.log.get(&sequence).and_then(|entry| entry.proposal);
        let known =
            taken.map(|taken| (taken.view, taken.digest, taken.signature)).filter(|known| known.0 == view);
        let known = known.or(held.filter(|held| held.0 == view));
        let known = known.map(|(view, digest, signature)| Accepted { view, digest, signature });
        if let Some(known) = known {
            if known.digest == digest {
                // The body may be what we lack of a new view.
                return self.on_body(sequence, batch.clone(), out);
            }
            let statement = |digest| Statement { kind: Kind::PrePrepare, view, sequence, digest };
            self.convict(
                from,
                (statement(known.digest), known.signature),
                (statement(digest), signature),
                out,
            );
            if !self.config.plants(Mutant::SecondProposalTaken) {
                return;
            }
        } else if sequence <= self.inherited {
            // What the view began with there lies beyond our watermarks.
            return;
        } else if batch.is_null() {
            return out.accuse(from, Offence::Impossible("a null request that no new view begins with"));
        }
        // A correct primary has looked at the signatures of clients itself.
        if !self.are_asked(from, batch.requests(), out) {
            return;
        }
        if !self.requests.are_genuine(batch, from, &self.rules()) {
            self.held.entry(sequence).or_insert(message);
            return;
        }
        self.take_over(message, out);
    }

    /// [B13] What was held back may be genuine by now.
    pub(crate) fn look_at_held(&mut self, out: &mut Out) {
        if self.held.is_empty() {
            return;
        }
        let Some(primary) = self.primary() else { return };
        let rules = self.rules();
        let is_genuine = |message: &PrePrepare| {
            let PrePrepare { view, sequence, digest, .. } = *message;
            // Whoever prepares it has looked at it too.
            let is_same = |_: NodeId, vote: &Vote| vote.view == view && vote.digest == digest;
            let prepares = self.log.get(&sequence).map_or(0, |entry| entry.prepares.alike(is_same).0.len());
            prepares + 1 >= rules.genuine || self.requests.are_genuine(&message.batch, primary, &rules)
        };
        let genuine = self.held.values().filter(|message| is_genuine(message));
        let genuine: Vec<Sequence> = genuine.map(|message| message.sequence).collect();
        for message in genuine.iter().filter_map(|sequence| self.held.remove(sequence)).collect::<Vec<_>>() {
            if self.takes_part_in(message.view) && self.is_in_window(message.sequence) {
                self.take_over(message, out);
            }
        }
    }

    /// [B5] Takes a proposal over: it is written down, then PREPARE is said.
    fn take_over(&mut self, message: PrePrepare, out: &mut Out) {
        let PrePrepare { view, sequence, digest, batch, signature } = message;
        let turn = self.turn;
        let entry = self.log.entry(sequence).or_default();
        entry.touched = turn;
        entry.proposal = Some(Accepted { view, digest, signature });
        entry.keep(digest, batch.clone());
        entry.tidy();
        if !self.config.plants(Mutant::ProposalNotWritten) {
            out.persist(Record::PrePrepare(Box::new(PrePrepare {
                view,
                sequence,
                digest,
                batch,
                signature,
            })));
        }
        self.prepare(view, sequence, digest, out);
        self.certify(sequence, out);
    }

    /// Says PREPARE, as a backup. [B5]
    pub(crate) fn prepare(&mut self, view: View, sequence: Sequence, digest: Digest, out: &mut Out) {
        let Some(vote) = self.vote(Kind::Prepare, view, sequence, digest) else { return };
        if let Some(entry) = self.log.get_mut(&sequence) {
            entry.prepares.count(self.id, vote);
        }
        self.broadcast(&Message::Prepare(vote), out);
        if self.config.plants(Mutant::CommitUnprepared) {
            self.commit(view, sequence, digest, out);
        }
    }

    /// Says COMMIT. [B8]
    fn commit(&mut self, view: View, sequence: Sequence, digest: Digest, out: &mut Out) {
        let Some(vote) = self.vote(Kind::Commit, view, sequence, digest) else { return };
        if let Some(entry) = self.log.get_mut(&sequence) {
            entry.commits.count(self.id, vote);
        }
        self.broadcast(&Message::Commit(vote), out);
        self.conclude(view, sequence, digest, out);
    }

    /// [B7] A primary proposes, and does not prepare.
    pub(crate) fn on_prepare(&mut self, from: NodeId, vote: Vote, out: &mut Out) {
        if self.count(VoteKind::Prepare, from, vote, out) {
            self.certify(vote.sequence, out);
        }
    }

    /// [B9]
    pub(crate) fn on_commit(&mut self, from: NodeId, vote: Vote, out: &mut Out) {
        if self.count(VoteKind::Commit, from, vote, out) {
            self.conclude(vote.view, vote.sequence, vote.digest, out);
        }
    }

    /// Counts a vote, if its place is one that we look at; whether that may change something.
    fn count(&mut self, kind: VoteKind, from: NodeId, vote: Vote, out: &mut Out) -> bool {
        let is_done = vote.sequence <= self.executed;
        if !self.is_in_window(vote.sequence) || (is_done && vote.view < self.view) {
            return false;
        }
        let entry = self.log.get(&vote.sequence);
        if entry.is_some_and(|entry| entry.has_proven(kind, &vote)) {
            return false;
        }
        let is_known = entry.is_some_and(|entry| entry.votes(kind).weigh(from, &vote) == Counted::Known);
        if !is_known && !self.has_signed(kind.into(), from, &vote, out) {
            return false;
        }
        let votes = self.log.entry(vote.sequence).or_default().votes_mut(kind);
        match votes.count(from, vote) {
            Counted::Fresh => true,
            Counted::Known => self.config.plants(Mutant::RepeatsCounted),
            Counted::Contradicts(known) => {
                let kind = kind.into();
                *self.vain.entry(from).or_default() += 1;
                let (first, second) = (known.statement(kind), vote.statement(kind));
                self.convict(from, (first, known.signature), (second, vote.signature), out);
                false
            }
        }
    }

    /// Whether a vote is signed as it must be. [B28] This is asked here and not before, at the door, since only here it is known
    /// which votes still matter. The door cannot be told: it has a configuration, which replicas of one process may share, and which
    /// outlives a boot, so that it would spare a replica what another one knows.
    fn has_signed(&mut self, kind: Kind, from: NodeId, vote: &Vote, out: &mut Out) -> bool {
        if self.is_muted(from) {
            return false;
        }
        let was_certified = self.log.get(&vote.sequence).is_some_and(|entry| entry.prepared.is_some());
        if was_certified && self.config.plants(Mutant::SkippedCounted) {
            return true;
        }
        let is_signed = self.config.is_signed(from, vote.statement(kind), &vote.signature);
        if !is_signed {
            *self.vain.entry(from).or_default() += 1;
            out.accuse(from, Offence::Forged);
        }
        is_signed
    }

    /// Whether too many checks of what a replica says have come to nothing in this turn.
    pub(crate) fn is_muted(&self, node: NodeId) -> bool {
        self.vain.get(&node).is_some_and(|&vain| vain >= MOST_VAIN)
    }

    /// It passed on what nobody asked for, which no correct one does: nothing of it is checked until the next turn.
    pub(crate) fn mute(&mut self, node: NodeId, out: &mut Out) {
        self.vain.insert(node, MOST_VAIN);
        out.accuse(node, Offence::Forged);
    }

    /// [B7] [B8] With the proposal and PREPAREs of enough backups a place is prepared: the certificate is written down, and COMMIT
    /// is said once it is durable.
    pub(crate) fn certify(&mut self, sequence: Sequence, out: &mut Out) {
        let Some(entry) = self.log.get(&sequence) else { return };
        let Some(Accepted { view, digest, signature }) = entry.proposal else { return };
        let is_known = entry.prepared.as_ref().is_some_and(|prepared| prepared.view >= view);
        if is_known || !self.takes_part_in(view) || entry.body(digest).is_none() {
            return;
        }
        let primary = self.config.primary(view);
        let is_same = |vote: &Vote| vote.digest == digest || self.config.plants(Mutant::DigestIgnored);
        let mut prepares =
            entry.prepares.alike(|node, vote| Some(node) != primary && vote.view == view && is_same(vote));
        let repeats = if self.config.plants(Mutant::RepeatsCounted) { entry.prepares.repeats } else { 0 };
        if prepares.0.len() + repeats < self.config.prepares() {
            return;
        }
        prepares.0.truncate(self.config.prepares());
        let prepared = Prepared { view, sequence, digest, pre_prepare: signature, prepares };
        if !self.config.plants(Mutant::CertificateNotWritten) {
            out.persist(Record::Prepared(Box::new(prepared.clone())));
        }
        if let Some(entry) = self.log.get_mut(&sequence) {
            entry.prepared = Some(prepared);
            entry.tidy();
        }
        self.commit(view, sequence, digest, out);
    }

    /// [B9] With COMMITs of a quorum a place is committed, whatever we have prepared ourselves.
    pub(crate) fn conclude(&mut self, view: View, sequence: Sequence, digest: Digest, out: &mut Out) {
        let quorum = self.config.quorum();
        let Some(entry) = self.log.get_mut(&sequence).filter(|entry| entry.committed.is_none()) else {
            return;
        };
        let mut commits = entry.commits.alike(|_, vote| vote.view == view && vote.digest == digest);
        if commits.0.len() < quorum {
            return;
        }
        commits.0.truncate(quorum);
        entry.committed = Some(Committed { view, sequence, digest, commits });
        self.execute(out);
    }

    /// A body, which may be what we lack. Its digest says where it belongs.
    pub(crate) fn on_body(&mut self, sequence: Sequence, batch: Batch, out: &mut Out) {
        let Some(wanted) = self.log.get(&sequence).and_then(crate::log::Entry::lacks) else { return };
        if batch.digest() != wanted {
            return;
        }
        out.persist(Record::Body { sequence, batch: batch.clone() });
        if let Some(entry) = self.log.get_mut(&sequence) {
            entry.keep(wanted, batch);
        }
        self.certify(sequence, out);
        self.execute(out);
    }

    /// [B10] [B11] Executes what is committed, place by place. A checkpoint is taken exactly behind its place.
    pub(crate) fn execute(&mut self, out: &mut Out) {
        loop {
            let sequence = self.executed.next();
            if self.awaits_snapshot() {
                return;
            }
            let Some(batch) = self.log.get(&sequence).and_then(crate::log::Entry::outcome).cloned() else {
                return;
            };
            self.decide(&batch, out);
            self.checkpoints.history.push(batch);
            self.executed = sequence;
            (self.barren, self.deadline) = (0, None);
            if self.config.is_checkpoint(sequence) {
                self.reach_checkpoint(out);
            }
        }
    }

    /// Hands a batch to the state machine.
    pub(crate) fn decide(&mut self, batch: &Batch, out: &mut Out) {
        if batch.is_null() {
            self.slot = self.slot.next();
            out.decide(self.slot, None, Verdict::Noop, bytes::Bytes::new());
        }
        for request in batch.requests() {
            self.slot = self.slot.next();
            let command = self.config.command(request);
            out.decide(self.slot, Some(request.id()), Verdict::Commit, command);
            self.requests.execute(self.now, request);
        }
    }

    /// [B12] The primary puts what waits at the next places, as many batches at once as are allowed.
    pub(crate) fn propose(&mut self, out: &mut Out) {
        if !self.is_primary() || self.is_changing {
            return;
        }
        let low = self.stable.sequence.max(self.inherited).max(self.executed);
        self.assigned = self.assigned.max(low);
        while self.is_in_all_windows(self.assigned.next())
            && self.assigned.0 - self.executed.0 < self.config.max_in_flight_batches
        {
            let (most, bytes) = (self.config.max_batch_requests, self.config.max_batch_bytes);
            let Some(batch) = self.requests.next_batch(most, bytes) else { return };
            let (view, sequence, digest) = (self.view, self.assigned.next(), batch.digest());
            let statement = Statement { kind: Kind::PrePrepare, view, sequence, digest };
            let Some(signature) = self.sign(statement) else { return };
            self.assigned = sequence;
            let message = PrePrepare { view, sequence, digest, batch: batch.clone(), signature };
            if !self.config.plants(Mutant::ProposalNotWritten) {
                out.persist(Record::PrePrepare(Box::new(message.clone())));
            }
            let turn = self.turn;
            let entry = self.log.entry(sequence).or_default();
            entry.touched = turn;
            entry.proposal = Some(Accepted { view, digest, signature });
            entry.keep(digest, batch);
            self.broadcast(&Message::PrePrepare(message), out);
            self.certify(sequence, out);
        }
    }

    /// Whether backups take a place over that have not heard yet of our last stable checkpoint. [B12]
    fn is_in_all_windows(&self, sequence: Sequence) -> bool {
        if self.config.plants(Mutant::OutrunsBackups) || self.config.plants(Mutant::WatermarksIgnored) {
            return self.is_in_window(sequence);
        }
        let before = self.stable.sequence.0.saturating_sub(self.config.checkpoint_interval);
        sequence <= self.config.high(Sequence(before))
    }

    /// Tells that we lead.
    pub(crate) fn note_lead(&self, out: &mut Out) {
        if self.is_primary() {
            out.note(Note::ElectionWon { epoch: consensus_core::Epoch(self.view.0) });
        }
    }

    /// The last slot that is handed to the state machine.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }
}
