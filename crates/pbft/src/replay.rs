//! From the disk: the state is what the records say, in order.

use crate::certificate::Stable;
use crate::checkpoint::{Own, Snapshot};
use crate::digest::Digest;
use crate::evidence::Evidence;
use crate::history::{History, Sum};
use crate::log::{Accepted, Entry};
use crate::message::{MAX_BATCHES, PrePrepare, ViewChange};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::request::Batch;
use crate::state::Pbft;
use crate::statement::Sequence;
use crate::step::{Out, Timer};
use consensus_core::{Boot, RestoreError, Slot};

impl Pbft {
    /// [B16] A replica comes back as the one that it was: in the view that it was in or wanted, bound by what it signed.
    pub(crate) fn recover(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed: _, now, snapshot, records } = boot;
        if !config.keys.signs_as(id) {
            return Err(RestoreError("the secret key is not this node's"));
        }
        let is_new = snapshot.is_none();
        let mut pbft = Self::new(id, config, members);
        pbft.now = now;
        for (place, record) in records.into_iter().enumerate() {
            let is_first = place == 0;
            if matches!(record, Record::Snapshot { .. }) != (is_first && !is_new) {
                return Err(RestoreError("the snapshot and its place do not come together"));
            }
            pbft.replay(record, snapshot.as_ref(), out)?;
        }
        if !is_new && pbft.stable.sequence == Sequence::ZERO {
            return Err(RestoreError("the proof of the snapshot's checkpoint is missing"));
        }
        // Bodies of a state that was not taken over to the end.
        drop(pbft.log.split_off(&pbft.config.high(pbft.stable.sequence).next()));
        pbft.log.values_mut().for_each(Entry::tidy);
        // What was proposed in earlier views leaves places behind that are free again.
        let is_ours = |entry: &Entry| entry.proposal.is_some_and(|accepted| accepted.view == pbft.view);
        let last = pbft.log.iter().rev().find(|(_, entry)| is_ours(entry));
        pbft.assigned = last.map_or(pbft.inherited, |(&sequence, _)| sequence.max(pbft.inherited));
        pbft.recall_votes(out);
        out.set_timer(Timer::Resend, now + pbft.config.resend_interval());
        Ok(pbft)
    }

    fn replay(
        &mut self,
        record: Record,
        snapshot: Option<&(Slot, bytes::Bytes)>,
        out: &mut Out,
    ) -> Result<(), RestoreError> {
        match record {
            Record::Snapshot { sequence } => {
                let Some((slot, bytes)) = snapshot else { return Ok(()) };
                let snapshot = Snapshot::new(sequence, *slot, bytes.clone(), &self.config);
                self.checkpoints.history = History::behind(&snapshot.manifest);
                self.checkpoints.snapshots.insert(sequence, snapshot);
                self.checkpoints.written = sequence;
                (self.executed, self.slot) = (sequence, *slot);
            }
            Record::Stable { stable, batches } => self.replay_stable(*stable, &batches, out)?,
            Record::Body { sequence, batch } => {
                // One of a state that is taken over may lie further ahead than others.
                let most = self.config.high(self.executed).0.saturating_add(MAX_BATCHES as u64);
                if sequence <= self.executed || sequence.0 > most {
                    return Err(RestoreError("a body is written of a place that is settled, or far away"));
                }
                self.log.entry(sequence).or_default().keep(batch.digest(), batch);
            }
            Record::PrePrepare(message) => {
                let PrePrepare { view, sequence, digest, batch, signature } = *message;
                if view != self.view || self.is_changing {
                    return Err(RestoreError("a proposal was taken over in a view that was not entered"));
                }
                if batch.digest() != digest && !self.config.plants(Mutant::BodyUnchecked) {
                    return Err(RestoreError("a proposal was taken over whose digest is not its batch's"));
                }
                self.check_place(sequence)?;
                let entry = self.log.entry(sequence).or_default();
                entry.proposal = Some(Accepted { view, digest, signature });
                entry.keep(digest, batch);
            }
            Record::Prepared(prepared) => {
                let sequence = prepared.sequence;
                self.check_place(sequence)?;
                self.log.entry(sequence).or_default().prepared = Some(*prepared);
            }
            Record::ViewChange(change) => self.replay_change(*change)?,
            Record::NewView(new_view) => {
                if new_view.view < self.view {
                    return Err(RestoreError("a view was entered after a later one"));
                }
                self.take_up(*new_view);
            }
            Record::Evidence(evidence) => {
                let Evidence { node, .. } = *evidence;
                self.evidence.insert(node, *evidence);
            }
        }
        Ok(())
    }

    /// What led to the checkpoint is executed once more.
    fn replay_stable(
        &mut self,
        stable: Stable,
        batches: &[Digest],
        out: &mut Out,
    ) -> Result<(), RestoreError> {
        for &digest in batches {
            let sequence = self.executed.next();
            let body = self.log.get(&sequence).and_then(|entry| entry.body(digest)).cloned();
            let null = || Some(Batch::default()).filter(|null| null.digest() == digest);
            let Some(batch) = body.or_else(null) else {
                return Err(RestoreError("the body of something that was executed is missing"));
            };
            self.decide(&batch, out);
            self.checkpoints.history.push(batch);
            self.executed = sequence;
        }
        let sum = self
            .checkpoints
            .history
            .sum
            .filter(|sum| (self.executed, sum.digest) == (stable.sequence, stable.digest));
        let Some(Sum { base, digest, .. }) = sum else {
            return Err(RestoreError("what was executed is not what the checkpoint's proof is of"));
        };
        self.checkpoints.own.insert(stable.sequence, Own { base, digest });
        self.inherited = self.inherited.max(stable.sequence);
        self.settle_at(stable);
        Ok(())
    }

    fn check_place(&self, sequence: Sequence) -> Result<(), RestoreError> {
        let is_in_window = self.is_in_window(sequence);
        is_in_window
            .then_some(())
            .ok_or(RestoreError("a place is written of that does not lie between the watermarks"))
    }

    fn replay_change(&mut self, change: ViewChange) -> Result<(), RestoreError> {
        if change.node != self.id || change.view < self.view {
            return Err(RestoreError("it wanted a view after a later one"));
        }
        (self.view, self.is_changing) = (change.view, true);
        self.changes.insert(self.id, change);
        Ok(())
    }
}
