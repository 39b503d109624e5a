//! The replica that lies: it knows everything that was ever said in its hearing, and signs whatever it likes, under its own name.

use super::fields::{self, Field};
use super::keys::sign;
use crate::plan::Plan;
use bytes::Bytes;
use consensus_core::{ClientId, NodeId, ProposalId};
use pbft::{
    Batch, Committed, Digest, Kind, Manifest, Message, NewView, PrePrepare, Prepared, Proposal, Proven,
    Request, Sequence, Signature, Signers, Stable, Statement, Status, View, ViewChange, Vote,
};
use std::collections::BTreeMap;

/// So much of each kind is remembered, the newest.
const KNOWN: usize = 24;
/// How many kinds of messages there are.
const KINDS: usize = 16;
const UNSIGNED: Signature = Signature { r: [0; 32], s: [0; 32] };

/// The liar, and what it knows.
pub(crate) struct Liar {
    pub(crate) id: NodeId,
    size: u64,
    messages: Vec<Message>,
    views: Vec<View>,
    sequences: Vec<Sequence>,
    digests: Vec<Digest>,
    signatures: Vec<Signature>,
    signers: Vec<(NodeId, Signature)>,
    batches: Vec<Batch>,
    requests: Vec<Request>,
    stables: Vec<Stable>,
    certificates: Vec<Prepared>,
    changes: Vec<ViewChange>,
    proposals: Vec<Proposal>,
    manifests: Vec<Manifest>,
    committed: Vec<Committed>,
    chunks: Vec<Bytes>,
}

fn learn<T: Clone + PartialEq>(known: &mut Vec<T>, fact: &T) {
    if !known.contains(fact) {
        if known.len() == KNOWN {
            known.remove(0);
        }
        known.push(fact.clone());
    }
}

impl Liar {
    pub(crate) fn new(id: NodeId, size: u64) -> Self {
        Self {
            id,
            size,
            messages: Vec::new(),
            views: vec![View::ZERO],
            sequences: vec![Sequence(1)],
            digests: vec![Batch::default().digest()],
            signatures: vec![UNSIGNED],
            signers: Vec::new(),
            batches: vec![Batch::default()],
            requests: Vec::new(),
            stables: vec![Stable::default()],
            certificates: Vec::new(),
            changes: Vec::new(),
            proposals: Vec::new(),
            manifests: Vec::new(),
            committed: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// Something was said.
    pub(crate) fn hear(&mut self, message: &Message) {
        let mut message = message.clone();
        learn(&mut self.messages, &message);
        match &message {
            Message::State(manifest) => learn(&mut self.manifests, manifest),
            Message::Committed(proven) => learn(&mut self.committed, &proven.certificate),
            Message::ViewChange(change) => learn(&mut self.changes, change),
            _ => {}
        }
        fields::of_message(&mut message, &mut |field| match field {
            Field::View(view) => learn(&mut self.views, view),
            Field::Sequence(sequence) => learn(&mut self.sequences, sequence),
            Field::Digest(digest) => learn(&mut self.digests, digest),
            Field::Signature(signature) => learn(&mut self.signatures, signature),
            Field::Bytes(bytes) => learn(&mut self.chunks, bytes),
            Field::Batch(batch) => {
                learn(&mut self.batches, batch);
                batch.requests().iter().for_each(|request| learn(&mut self.requests, request));
            }
            Field::Requests(requests) => requests.iter().for_each(|it| learn(&mut self.requests, it)),
            Field::Signers(signers) => signers.0.iter().for_each(|it| learn(&mut self.signers, it)),
            Field::Stable(stable) => learn(&mut self.stables, stable),
            Field::Certificates(all) => all.iter().for_each(|it| learn(&mut self.certificates, it)),
            Field::Changes(all) => all.iter().for_each(|it| learn(&mut self.changes, it)),
            Field::Proposals(all) => all.iter().for_each(|it| learn(&mut self.proposals, it)),
            Field::Chunks(digests) => digests.iter().for_each(|it| learn(&mut self.digests, it)),
            Field::Node(_) | Field::Slot(_) | Field::Length(_) | Field::Index(_) | Field::Flag(_) => {}
        });
    }

    /// A lie: what was said, or something new, with a few fields changed; mostly signed as soundly as the liar can.
    pub(crate) fn lie(&self, plan: &mut Plan<'_>) -> Message {
        let known = if plan.once_in(3) { None } else { plan.pick(&self.messages).cloned() };
        let mut message = known.unwrap_or_else(|| self.make_up(plan));
        for _ in 0..plan.below(4) {
            self.change(&mut message, plan);
        }
        if !plan.once_in(8) {
            self.mend(&mut message);
        }
        message
    }

    fn primary(&self, view: View) -> NodeId {
        NodeId(view.0 % self.size + 1)
    }

    fn sign(&self, kind: Kind, view: View, sequence: Sequence, digest: Digest) -> Signature {
        sign(self.id, Statement { kind, view, sequence, digest })
    }

    fn view(&self, plan: &mut Plan<'_>) -> View {
        let known = plan.pick(&self.views).map_or(0, |view| view.0);
        View(plan.near(known))
    }

    fn sequence(&self, plan: &mut Plan<'_>) -> Sequence {
        let known = plan.pick(&self.sequences).map_or(0, |sequence| sequence.0);
        Sequence(plan.near(known))
    }

    fn digest(&self, plan: &mut Plan<'_>) -> Digest {
        plan.pick(&self.digests).copied().unwrap_or_default()
    }

    fn request(&self, plan: &mut Plan<'_>) -> Request {
        match plan.pick(&self.requests).filter(|_| !plan.once_in(4)) {
            Some(known) => known.clone(),
            // One that nobody asked for, under a name that may be another's.
            None => {
                let number = u64::from(plan.byte() % 32);
                Request::new(ProposalId::new(ClientId::anonymous(7), number), vec![7; plan.below(64)].into())
            }
        }
    }

    fn batch(&self, plan: &mut Plan<'_>) -> Batch {
        match plan.below(3) {
            0 => Batch::new((0..plan.below(4)).map(|_| self.request(plan)).collect()),
            _ => plan.pick(&self.batches).cloned().unwrap_or_default(),
        }
    }

    fn vote(&self, plan: &mut Plan<'_>) -> Vote {
        let (view, sequence, digest) = (self.view(plan), self.sequence(plan), self.digest(plan));
        Vote { view, sequence, digest, signature: UNSIGNED }
    }

    fn make_up(&self, plan: &mut Plan<'_>) -> Message {
        let stable = |plan: &mut Plan<'_>| plan.pick(&self.stables).cloned().unwrap_or_default();
        match plan.below(KINDS) {
            0 => Message::Requests((0..plan.below(16)).map(|_| self.request(plan)).collect()),
            1 => {
                let (view, sequence, batch) = (self.view(plan), self.sequence(plan), self.batch(plan));
                let digest = batch.digest();
                Message::PrePrepare(PrePrepare { view, sequence, digest, batch, signature: UNSIGNED })
            }
            2 => Message::Prepare(self.vote(plan)),
            3 => Message::Commit(self.vote(plan)),
            4 => Message::Checkpoint(Vote { view: View::ZERO, ..self.vote(plan) }),
            5 => {
                let certificates = (0..plan.below(4)).filter_map(|_| plan.pick(&self.certificates).cloned());
                let prepared = certificates.collect();
                let (view, stable) = (self.view(plan), stable(plan));
                let change = ViewChange { node: self.id, view, stable, prepared, signature: UNSIGNED };
                Message::ViewChange(Box::new(change))
            }
            6 => Message::NewView(Box::new(self.new_view(plan))),
            7 => {
                let (view, is_changing) = (self.view(plan), plan.once_in(2));
                let (stable, executed) = (self.sequence(plan), self.sequence(plan));
                Message::Status(Status { view, is_changing, stable, executed })
            }
            8 => match plan.pick(&self.committed).cloned() {
                Some(certificate) => {
                    let batch = self.batch(plan);
                    Message::Committed(Box::new(Proven { certificate, batch }))
                }
                None => Message::Commit(self.vote(plan)),
            },
            9 => Message::Stable(Box::new(stable(plan))),
            10 => Message::FetchBatch { sequence: self.sequence(plan), digest: self.digest(plan) },
            11 => Message::BatchIs { sequence: self.sequence(plan), batch: self.batch(plan) },
            12 => Message::FetchState { sequence: self.sequence(plan) },
            13 => match plan.pick(&self.manifests) {
                Some(manifest) => Message::State(Box::new(manifest.clone())),
                None => Message::FetchState { sequence: self.sequence(plan) },
            },
            14 => Message::FetchChunk { sequence: self.sequence(plan), index: u32::from(plan.byte()) },
            15 => Message::FetchBatches { sequence: self.sequence(plan), after: self.sequence(plan) },
            16 => {
                let batches = (0..plan.below(3)).map(|_| self.batch(plan)).collect();
                Message::Batches { sequence: self.sequence(plan), after: self.sequence(plan), batches }
            }
            _ => {
                let bytes = plan.pick(&self.chunks).cloned().unwrap_or_default();
                Message::Chunk { sequence: self.sequence(plan), index: u32::from(plan.byte()), bytes }
            }
        }
    }

    /// A NEW-VIEW from any wishes for the same view that were ever heard, our own made up for it, and what follows from them: each
    /// choice of wishes gives another one, all sound.
    fn new_view(&self, plan: &mut Plan<'_>) -> NewView {
        let view = plan.pick(&self.changes).map_or(View(1), |change| change.view);
        let mut changes: BTreeMap<NodeId, ViewChange> = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.view == view) {
            if !plan.once_in(3) {
                changes.insert(change.node, change.clone());
            }
        }
        if plan.once_in(2) {
            let stable = plan.pick(&self.stables).cloned().unwrap_or_default();
            let change =
                ViewChange { node: self.id, view, stable, prepared: Vec::new(), signature: UNSIGNED };
            changes.insert(self.id, change);
        }
        let changes: Vec<ViewChange> = changes.into_values().take(3).collect();
        let proposals = follow(&changes);
        NewView { view, changes, proposals, signature: UNSIGNED }
    }

    /// Changes one field.
    fn change(&self, message: &mut Message, plan: &mut Plan<'_>) {
        if plan.once_in(8) {
            return turn(message);
        }
        let mut count = 0_usize;
        fields::of_message(message, &mut |_| count += 1);
        let mut left = plan.below(count);
        fields::of_message(message, &mut |field| {
            if left == 0 {
                self.change_field(field, plan);
            }
            left = left.wrapping_sub(1);
        });
    }

    fn change_field(&self, field: Field<'_>, plan: &mut Plan<'_>) {
        match field {
            Field::View(view) if plan.once_in(2) => *view = View(plan.near(view.0)),
            Field::View(view) => *view = self.view(plan),
            Field::Sequence(sequence) if plan.once_in(2) => *sequence = Sequence(plan.near(sequence.0)),
            Field::Sequence(sequence) => *sequence = self.sequence(plan),
            Field::Digest(digest) => *digest = self.digest(plan),
            Field::Signature(signature) => match plan.pick(&self.signatures) {
                Some(known) if plan.once_in(2) => *signature = *known,
                Some(_) | None => signature.r[plan.below(32)] ^= 1,
            },
            Field::Node(node) => *node = NodeId(plan.below(6) as u64),
            Field::Slot(slot) => slot.0 = plan.near(slot.0),
            Field::Length(length) => *length = plan.near(*length),
            Field::Index(index) => *index = u32::try_from(plan.near(u64::from(*index))).unwrap_or(u32::MAX),
            Field::Flag(flag) => *flag = !*flag,
            Field::Bytes(bytes) => {
                let mut changed = bytes.to_vec();
                plan.edit_bytes(&mut changed, &[]);
                *bytes = changed.into();
            }
            Field::Batch(batch) => *batch = self.batch(plan),
            Field::Requests(requests) => {
                let fresh = self.request(plan);
                plan.edit_list(requests, &[fresh]);
            }
            Field::Signers(Signers(signers)) => plan.edit_list(signers, &self.signers),
            Field::Stable(stable) => *stable = plan.pick(&self.stables).cloned().unwrap_or_default(),
            Field::Certificates(certificates) => plan.edit_list(certificates, &self.certificates),
            Field::Changes(changes) => plan.edit_list(changes, &self.changes),
            Field::Proposals(proposals) => plan.edit_list(proposals, &self.proposals),
            Field::Chunks(digests) => plan.edit_list(digests, &self.digests),
        }
    }

    /// Signs everything that the liar can sign, from within to without.
    fn mend(&self, message: &mut Message) {
        let id = self.id;
        match message {
            Message::PrePrepare(PrePrepare { view, sequence, digest, batch, signature }) => {
                *digest = batch.digest();
                *signature = self.sign(Kind::PrePrepare, *view, *sequence, *digest);
            }
            Message::Prepare(vote) => vote.signature = sign(id, vote.statement(Kind::Prepare)),
            Message::Commit(vote) => vote.signature = sign(id, vote.statement(Kind::Commit)),
            Message::Checkpoint(vote) => vote.signature = sign(id, vote.statement(Kind::Checkpoint)),
            Message::ViewChange(change) => {
                change.node = id;
                self.mend_change(change);
            }
            Message::NewView(new_view) => {
                new_view.changes.iter_mut().for_each(|change| self.mend_change(change));
                let view = new_view.view;
                for Proposal { sequence, digest, signature } in &mut new_view.proposals {
                    *signature = self.sign(Kind::PrePrepare, view, *sequence, *digest);
                }
                new_view.signature = sign(id, new_view.statement());
            }
            Message::Committed(proven) => {
                let Committed { view, sequence, digest, commits } = &mut proven.certificate;
                self.mend_signers(commits, Kind::Commit, *view, *sequence, *digest);
            }
            Message::Stable(stable) => self.mend_stable(stable),
            Message::Requests(_)
            | Message::Status(_)
            | Message::FetchBatch { .. }
            | Message::BatchIs { .. }
            | Message::FetchState { .. }
            | Message::State(_)
            | Message::FetchChunk { .. }
            | Message::FetchBatches { .. }
            | Message::Batches { .. }
            | Message::Chunk { .. } => {}
        }
    }

    fn mend_signers(
        &self,
        signers: &mut Signers,
        kind: Kind,
        view: View,
        sequence: Sequence,
        digest: Digest,
    ) {
        for (node, signature) in &mut signers.0 {
            if *node == self.id {
                *signature = self.sign(kind, view, sequence, digest);
            }
        }
    }

    fn mend_stable(&self, Stable { sequence, digest, votes }: &mut Stable) {
        self.mend_signers(votes, Kind::Checkpoint, View::ZERO, *sequence, *digest);
    }

    /// Nobody else's wish can be signed.
    fn mend_change(&self, change: &mut ViewChange) {
        if change.node != self.id {
            return;
        }
        self.mend_stable(&mut change.stable);
        for Prepared { view, sequence, digest, pre_prepare, prepares } in &mut change.prepared {
            if self.primary(*view) == self.id {
                *pre_prepare = self.sign(Kind::PrePrepare, *view, *sequence, *digest);
            }
            self.mend_signers(prepares, Kind::Prepare, *view, *sequence, *digest);
        }
        change.signature = sign(self.id, change.statement());
    }
}

/// One kind of vote becomes another.
fn turn(message: &mut Message) {
    *message = match message {
        Message::Prepare(vote) => Message::Commit(*vote),
        Message::Commit(vote) => Message::Prepare(*vote),
        Message::PrePrepare(PrePrepare { sequence, batch, .. }) => {
            Message::BatchIs { sequence: *sequence, batch: batch.clone() }
        }
        _ => return,
    };
}

/// What a view that begins with these begins with: of each place the certificate of the highest view. [`pbft`] computes it by itself.
fn follow(changes: &[ViewChange]) -> Vec<Proposal> {
    let stable = changes.iter().map(|change| change.stable.sequence).max().unwrap_or_default();
    let mut best: BTreeMap<Sequence, &Prepared> = BTreeMap::new();
    for prepared in changes.iter().flat_map(|change| &change.prepared) {
        let known = best.entry(prepared.sequence).or_insert(prepared);
        if prepared.view > known.view {
            *known = prepared;
        }
    }
    let last = best.last_key_value().map_or(stable, |(&sequence, _)| sequence);
    let places = (stable.0..last.0).take(64).map(|below| Sequence(below).next());
    let digest =
        |sequence| best.get(&sequence).map_or_else(|| Batch::default().digest(), |prepared| prepared.digest);
    places.map(|sequence| Proposal { sequence, digest: digest(sequence), signature: UNSIGNED }).collect()
}
