//! From the disk: the state is what the records say, in order.

use crate::checkpoint::Own;
use crate::evidence::Evidence;
use crate::log::{Accepted, Entry};
use crate::message::{PrePrepare, ViewChange};
use crate::mutant::Mutant;
use crate::record::Record;
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
            if matches!(record, Record::Stable(_)) != (is_first && !is_new) {
                return Err(RestoreError("the snapshot and the checkpoint's proof do not come together"));
            }
            pbft.replay(record, snapshot.as_ref())?;
        }
        if !is_new && pbft.stable.sequence == Sequence::ZERO {
            return Err(RestoreError("the proof of the snapshot's checkpoint is missing"));
        }
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
    ) -> Result<(), RestoreError> {
        match record {
            Record::Stable(stable) => {
                let Some((slot, bytes)) = snapshot else { return Ok(()) };
                let own = Own::new(stable.sequence, *slot, bytes.clone(), &self.config);
                if own.digest != stable.digest {
                    return Err(RestoreError(
                        "the snapshot is not the one that the checkpoint's proof is of",
                    ));
                }
                (self.executed, self.slot, self.inherited) = (stable.sequence, *slot, stable.sequence);
                self.checkpoints.own.insert(stable.sequence, own);
                self.stable = *stable;
            }
            Record::Body { sequence, batch } => {
                self.check_place(sequence)?;
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
