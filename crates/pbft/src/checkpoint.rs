//! Checkpoints: what a quorum came to is stable, and what led to it is forgotten (Castro and Liskov 1999, §4.3).

use crate::certificate::Stable;
use crate::config::Config;
use crate::digest::Digest;
use crate::log::Counted;
use crate::message::{Manifest, Message, Vote};
use crate::record::Record;
use crate::state::Pbft;
use crate::statement::{Kind, Sequence, View};
use crate::step::Out;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{NodeId, Note, Slot};

/// What is known of checkpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checkpoints {
    /// Where we asked the state machine for a snapshot.
    pub(crate) asked: VecDeque<(Sequence, Slot)>,
    /// Those that we took, from the one before the stable one on.
    pub(crate) own: BTreeMap<Sequence, Own>,
    /// Of each replica its newest votes.
    pub(crate) votes: BTreeMap<NodeId, BTreeMap<Sequence, Vote>>,
    /// A stable checkpoint that we have not come to.
    pub(crate) ahead: Option<Stable>,
}

/// A checkpoint that we took.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) manifest: Manifest,
    pub(crate) digest: Digest,
    pub(crate) snapshot: Bytes,
}

impl Own {
    pub(crate) fn new(sequence: Sequence, slot: Slot, snapshot: Bytes, config: &Config) -> Self {
        let chunks = snapshot.chunks(config.chunk_bytes).enumerate();
        let chunks = chunks.map(|(place, chunk)| config.chunk_digest(place, chunk)).collect();
        let manifest = Manifest { sequence, slot, length: snapshot.len() as u64, chunks };
        Self { digest: manifest.digest(), manifest, snapshot }
    }
}

impl Pbft {
    /// [B15] The state behind a checkpoint's place: its digest is told. Replicas that executed the same come to the same, also
    /// when they execute it once more after a crash.
    pub(crate) fn on_compact(&mut self, through: Slot, snapshot: Bytes, out: &mut Out) {
        // What was not asked for is a snapshot of another place.
        let asked = &mut self.checkpoints.asked;
        let Some((sequence, slot)) = asked.pop_front_if(|(_, slot)| *slot == through) else { return };
        if snapshot.len() as u64 > self.config.max_snapshot_bytes() {
            // Nobody could pass it on. Without checkpoints the window fills, and the group stops: said in the manual.
            return;
        }
        let own = Own::new(sequence, slot, snapshot, &self.config);
        let digest = own.digest;
        self.checkpoints.own.insert(sequence, own);
        let Some(vote) = self.vote(Kind::Checkpoint, View::ZERO, sequence, digest) else { return };
        self.broadcast(&Message::Checkpoint(vote), out);
        self.checkpoints.count(&self.config, self.id, vote);
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
            Counted::Fresh => self.stabilise(vote.sequence, vote.digest, out),
            Counted::Known => {}
            Counted::Contradicts(known) => {
                let kind = Kind::Checkpoint;
                let (first, second) = (known.statement(kind), vote.statement(kind));
                self.convict(from, (first, known.signature), (second, vote.signature), out);
            }
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

    /// [B15] A checkpoint is stable: if we came to it too, everything up to it is forgotten.
    pub(crate) fn on_stable(&mut self, stable: Stable, out: &mut Out) {
        let sequence = stable.sequence;
        let is_news = self.checkpoints.ahead.as_ref().is_none_or(|ahead| ahead.sequence < sequence);
        if sequence <= self.stable.sequence || !is_news {
            return;
        }
        let Some(own) = self.checkpoints.own.get(&sequence).filter(|own| own.digest == stable.digest) else {
            // Others came to it: we follow, or take their state over.
            self.checkpoints.ahead = Some(stable);
            return;
        };
        let (slot, snapshot) = (own.manifest.slot, own.snapshot.clone());
        self.settle_at(stable);
        out.checkpoint(slot, snapshot, self.tail());
        out.note(Note::SnapshotTaken { through: slot });
        self.take_up_rest(out);
    }

    /// The low watermark rises. The snapshot before stays too, for whoever is taking it over.
    pub(crate) fn settle_at(&mut self, stable: Stable) {
        let before = core::mem::replace(&mut self.stable, stable).sequence;
        let sequence = self.stable.sequence;
        self.log = self.log.split_off(&sequence.next());
        self.held = self.held.split_off(&sequence.next());
        let checkpoints = &mut self.checkpoints;
        checkpoints.own = checkpoints.own.split_off(&before);
        checkpoints.asked.retain(|(asked, _)| *asked > sequence);
        for votes in checkpoints.votes.values_mut() {
            *votes = votes.split_off(&sequence.next());
        }
        checkpoints.ahead.take_if(|ahead| ahead.sequence <= sequence);
        self.transfer.take_if(|transfer| transfer.stable.sequence <= sequence);
    }

    /// What is still needed of what is on the disk: each record as [`crate::replay`] wants it.
    pub(crate) fn tail(&self) -> Vec<Record> {
        let mut tail = Vec::from([Record::Stable(Box::new(self.stable.clone()))]);
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
