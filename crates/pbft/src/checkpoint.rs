//! Checkpoints: what a quorum came to is stable, and what led to it is forgotten (Castro and Liskov 1999, §4.3).

use crate::certificate::Stable;
use crate::config::Config;
use crate::digest::Digest;
use crate::history::History;
use crate::log::Counted;
use crate::message::{Manifest, Message, Vote};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::state::Pbft;
use crate::statement::{Kind, Sequence, View};
use crate::step::Out;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{NodeId, Note, Slot};

/// What is known of checkpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checkpoints {
    /// Where we asked the state machine for a snapshot.
    pub(crate) asked: Option<(Sequence, Slot)>,
    /// The snapshots that we have, from the one that the checkpoint before the stable one begins with.
    pub(crate) snapshots: BTreeMap<Sequence, Snapshot>,
    /// What was executed since the first of those.
    pub(crate) history: History,
    /// Those that we came to, from the one before the stable one on.
    pub(crate) own: BTreeMap<Sequence, Own>,
    /// The snapshot that is on the disk.
    pub(crate) written: Sequence,
    /// Of each replica its newest votes.
    pub(crate) votes: BTreeMap<NodeId, BTreeMap<Sequence, Vote>>,
    /// A stable checkpoint that we have not come to.
    pub(crate) ahead: Option<Stable>,
}

/// A snapshot, and what it consists of.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Bytes,
}

impl Snapshot {
    pub(crate) fn new(sequence: Sequence, slot: Slot, bytes: Bytes, config: &Config) -> Self {
        let chunks = bytes.chunks(config.chunk_bytes).enumerate();
        let chunks = chunks.map(|(place, chunk)| config.chunk_digest(place, chunk)).collect();
        let length = bytes.len() as u64;
        Self { manifest: Manifest { sequence, slot, length, chunks, batches: Vec::new() }, bytes }
    }
}

/// A checkpoint that we came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    /// The snapshot that its state begins with.
    pub(crate) base: Sequence,
    /// What the state comes to.
    pub(crate) digest: Digest,
}

impl Pbft {
    /// [B15] Whether nothing is executed before our own snapshot is there: what the state behind the next place comes to begins with it.
    pub(crate) fn awaits_snapshot(&self) -> bool {
        self.checkpoints.history.sum.is_none() && self.config.is_checkpoint(self.executed.next())
    }

    /// [B15] A checkpoint's place is executed: what the state comes to is told, once its snapshot is there if one is due.
    pub(crate) fn reach_checkpoint(&mut self, out: &mut Out) {
        let Some(sum) = self.checkpoints.history.sum else { return };
        let sequence = self.executed;
        if sum.is_due(sequence, &self.config) {
            self.checkpoints.history.sum = None;
            self.checkpoints.asked = Some((sequence, self.slot));
            out.snapshot();
        } else {
            self.come_to(sequence, Own { base: sum.base, digest: sum.digest }, out);
        }
    }

    /// [B15] The snapshot that was asked for. Replicas that executed the same come to the same, also when they execute it once more
    /// after a crash.
    pub(crate) fn on_compact(&mut self, through: Slot, bytes: Bytes, out: &mut Out) {
        // What was not asked for is a snapshot of another place.
        let Some((sequence, slot)) = self.checkpoints.asked.take_if(|(_, slot)| *slot == through) else {
            return;
        };
        if bytes.len() as u64 > self.config.max_snapshot_bytes() {
            // Nobody could pass it on. Without checkpoints the window fills, and the group stops: said in the manual.
            return;
        }
        let snapshot = Snapshot::new(sequence, slot, bytes, &self.config);
        let own = Own { base: sequence, digest: snapshot.manifest.digest() };
        self.checkpoints.history.begin_with(&snapshot.manifest);
        self.checkpoints.snapshots.insert(sequence, snapshot);
        self.come_to(sequence, own, out);
        self.execute(out);
    }

    /// [B15] What the state behind a checkpoint's place comes to is told.
    fn come_to(&mut self, sequence: Sequence, own: Own, out: &mut Out) {
        let digest = own.digest;
        self.checkpoints.own.insert(sequence, own);
        let Some(vote) = self.vote(Kind::Checkpoint, View::ZERO, sequence, digest) else { return };
        self.broadcast(&Message::Checkpoint(vote), out);
        self.checkpoints.count(&self.config, self.id, vote);
        for (&node, votes) in &self.checkpoints.votes {
            votes.get(&sequence).into_iter().for_each(|vote| self.compare(node, vote, out));
        }
        self.stabilise(sequence, digest, out);
        if let Some(ahead) = self.checkpoints.ahead.take_if(|ahead| ahead.sequence == sequence) {
            self.on_stable(ahead, out);
        }
    }

    pub(crate) fn on_checkpoint(&mut self, from: NodeId, vote: Vote, out: &mut Out) {
        if vote.sequence <= self.stable.sequence {
            return;
        }
        match self.checkpoints.count(&self.config, from, vote) {
            Counted::Fresh => {
                self.compare(from, &vote, out);
                self.stabilise(vote.sequence, vote.digest, out);
            }
            Counted::Known => {}
            Counted::Contradicts(known) => {
                let kind = Kind::Checkpoint;
                let (first, second) = (known.statement(kind), vote.statement(kind));
                self.convict(from, (first, known.signature), (second, vote.signature), out);
            }
        }
    }

    /// [B15] Whoever comes to another state than we do at the same place lies, or is not configured as we are: a person is told.
    fn compare(&self, node: NodeId, vote: &Vote, out: &mut Out) {
        let own = self.checkpoints.own.get(&vote.sequence);
        if own.is_some_and(|own| own.digest != vote.digest) {
            out.note(Note::StatesDiffer { peer: node, place: vote.sequence.0 });
        }
    }

    /// [B15] Whether a quorum came to this.
    fn stabilise(&mut self, sequence: Sequence, digest: Digest, out: &mut Out) {
        let votes = self.checkpoints.votes.iter();
        let alike = votes.filter_map(|(&node, votes)| {
            votes.get(&sequence).filter(|vote| vote.digest == digest).map(|vote| (node, vote.signature))
        });
        let mut alike: Vec<_> = alike.collect();
        if alike.len() >= self.config.stable_quorum() {
            alike.truncate(self.config.stable_quorum());
            self.on_stable(Stable { sequence, digest, votes: crate::certificate::Signers(alike) }, out);
        }
    }

    /// [B15] A checkpoint is stable: if we came to it too, everything up to it is forgotten, but what its state consists of.
    pub(crate) fn on_stable(&mut self, stable: Stable, out: &mut Out) {
        let sequence = stable.sequence;
        let is_news = self.checkpoints.ahead.as_ref().is_none_or(|ahead| ahead.sequence < sequence);
        if sequence <= self.stable.sequence || !is_news {
            return;
        }
        let checkpoints = &self.checkpoints;
        let own = checkpoints.own.get(&sequence).filter(|own| own.digest == stable.digest);
        match own {
            Some(&Own { base, .. }) => self.settle(stable, base, out),
            // Others came to it: we follow, or take their state over.
            None => self.checkpoints.ahead = Some(stable),
        }
    }

    /// [B15] A checkpoint that we came to is stable; its state begins with the snapshot at `base`.
    pub(crate) fn settle(&mut self, stable: Stable, base: Sequence, out: &mut Out) {
        let batches = self.checkpoints.history.between(self.stable.sequence, stable.sequence);
        let batches = batches.map(crate::Batch::digest).collect();
        self.settle_at(stable);
        let newer = self.checkpoints.snapshots.get(&base).filter(|_| base > self.checkpoints.written);
        if let Some(Snapshot { manifest: Manifest { slot, .. }, bytes }) = newer {
            let (slot, bytes) = (*slot, bytes.clone());
            self.write_snapshot(slot, bytes, base, out);
            out.note(Note::SnapshotTaken { through: slot });
        } else if !self.config.plants(Mutant::StableNotWritten) {
            out.persist(Record::Stable { stable: Box::new(self.stable.clone()), batches });
        }
        self.take_up_rest(out);
    }

    /// The snapshot takes the place of what is on the disk, with what is still needed beside it.
    pub(crate) fn write_snapshot(&mut self, slot: Slot, bytes: Bytes, base: Sequence, out: &mut Out) {
        self.checkpoints.written = base;
        out.checkpoint(slot, bytes, self.tail(base));
    }

    /// The low watermark rises. The state of the checkpoint before stays too, for whoever is taking it over.
    pub(crate) fn settle_at(&mut self, stable: Stable) {
        let before = core::mem::replace(&mut self.stable, stable).sequence;
        let sequence = self.stable.sequence;
        self.log = self.log.split_off(&sequence.next());
        self.held = self.held.split_off(&sequence.next());
        let checkpoints = &mut self.checkpoints;
        checkpoints.own = checkpoints.own.split_off(&before);
        let first = checkpoints.own.get(&before).map_or(Sequence::ZERO, |own| own.base);
        checkpoints.snapshots = checkpoints.snapshots.split_off(&first);
        checkpoints.history.forget_through(first);
        for votes in checkpoints.votes.values_mut() {
            *votes = votes.split_off(&sequence.next());
        }
        checkpoints.ahead.take_if(|ahead| ahead.sequence <= sequence);
        self.transfer.take_if(|transfer| transfer.stable.sequence <= sequence);
    }

    /// What is still needed of what is on the disk beside the snapshot at `base`: each record as [`crate::replay`] wants it.
    fn tail(&self, base: Sequence) -> Vec<Record> {
        let mut tail = Vec::from([Record::Snapshot { sequence: base }]);
        let mut batches = Vec::new();
        let mut sequence = base;
        for batch in self.checkpoints.history.between(base, self.stable.sequence) {
            sequence = sequence.next();
            batches.push(batch.digest());
            tail.push(Record::Body { sequence, batch: batch.clone() });
        }
        tail.push(Record::Stable { stable: Box::new(self.stable.clone()), batches });
        tail.extend(self.evidence.values().map(|evidence| Record::Evidence(Box::new(*evidence))));
        for (&sequence, entry) in &self.log {
            tail.extend(entry.bodies().map(|batch| Record::Body { sequence, batch: batch.clone() }));
            tail.extend(entry.prepared.clone().map(|prepared| Record::Prepared(Box::new(prepared))));
        }
        tail.extend(self.new_view.clone().map(|new_view| Record::NewView(Box::new(new_view))));
        for (&sequence, entry) in &self.log {
            tail.extend(
                entry
                    .taken_over(sequence, self.inherited)
                    .map(|message| Record::PrePrepare(Box::new(message))),
            );
        }
        let own_change = self.changes.get(&self.id).filter(|_| self.is_changing);
        tail.extend(own_change.cloned().map(|change| Record::ViewChange(Box::new(change))));
        tail
    }
}

impl Checkpoints {
    /// What the state of a checkpoint that we came to consists of.
    pub(crate) fn manifest(&self, sequence: Sequence) -> Option<Manifest> {
        let base = self.own.get(&sequence)?.base;
        let snapshot = self.snapshots.get(&base).map(|snapshot| snapshot.manifest.clone());
        // Nothing was there at the beginning.
        let mut manifest = snapshot.or_else(|| (base == Sequence::ZERO).then(Manifest::default))?;
        manifest.batches = self.history.between(base, sequence).map(crate::Batch::digest).collect();
        Some(manifest)
    }

    /// Counts a vote; of each replica only so many are kept as there can be checkpoints in flight, the newest.
    fn count(&mut self, config: &Config, from: NodeId, vote: Vote) -> Counted {
        let most = usize::try_from(config.window / config.checkpoint_interval).unwrap_or(usize::MAX) + 2;
        let votes = self.votes.entry(from).or_default();
        match votes.get(&vote.sequence) {
            Some(known) if known.digest == vote.digest => return Counted::Known,
            Some(known) => return Counted::Contradicts(*known),
            None => {}
        }
        votes.insert(vote.sequence, vote);
        while votes.len() > most {
            votes.pop_first();
        }
        Counted::Fresh
    }
}
