//! State transfer: who lacks more than others still keep takes over the state after a stable checkpoint, part by part, from
//! anybody: the snapshot in chunks, unless it has come that far, and what was executed since. What arrives is checked against the
//! digest that a quorum signed (Castro and Liskov 2002, §5.3).

use crate::certificate::Stable;
use crate::checkpoint::{Own, Snapshot};
use crate::config::Config;
use crate::history::History;
use crate::message::{MAX_WINDOW, Manifest, Message};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::request::Batch;
use crate::state::Pbft;
use crate::statement::Sequence;
use crate::step::Out;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{NodeId, Note, Offence, Time};

/// A state on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transfer {
    /// What it must come to.
    pub(crate) stable: Stable,
    manifest: Option<Manifest>,
    /// We have not come as far as the snapshot.
    needs_snapshot: bool,
    /// What has arrived of it.
    chunks: Vec<Bytes>,
    /// The batches begin behind this place: the snapshot's, or if we have come further, ours.
    after: Sequence,
    batches: Vec<Batch>,
    /// Who is asked: the next one each time.
    turn: usize,
    /// How much was there when the resend timer ran out.
    seen: Option<usize>,
}

impl Transfer {
    /// Another state instead. What has arrived may be a part of that one, too.
    fn turn_to(self, stable: Stable) -> Self {
        Self { stable, manifest: None, seen: None, ..self }
    }

    /// It is known what the state consists of: what has arrived stays, as far as it is a part of that.
    fn begin(&mut self, manifest: Manifest, executed: Sequence, config: &Config) {
        let chunks = self.chunks.iter().enumerate().zip(&manifest.chunks);
        let kept =
            chunks.take_while(|((place, chunk), wanted)| config.chunk_digest(*place, chunk) == **wanted);
        self.chunks.truncate(kept.count());
        // Who has come as far as the snapshot lacks the rest alone.
        let base = manifest.sequence;
        self.needs_snapshot = executed < base;
        let latest = executed.max(base);
        if self.batches.is_empty() || self.after < base || self.after > latest {
            self.batches.clear();
            self.after = latest;
        }
        let batches = self.batches.iter().zip(manifest.batches_after(self.after));
        let kept = batches.take_while(|(batch, wanted)| batch.digest() == **wanted);
        self.batches.truncate(kept.count());
        self.manifest = Some(manifest);
    }

    /// How much has arrived, in chunks and batches.
    pub(crate) const fn received(&self) -> usize {
        self.chunks.len() + self.batches.len()
    }

    /// The place of the last batch that has arrived.
    fn reached(&self) -> Sequence {
        Sequence(self.after.0.saturating_add(self.batches.len() as u64))
    }

    /// What to ask for next; nothing if all is there.
    fn question(&self) -> Option<Message> {
        let sequence = self.stable.sequence;
        let Some(manifest) = &self.manifest else { return Some(Message::FetchState { sequence }) };
        let lacks_chunks = self.needs_snapshot && self.chunks.len() < manifest.chunks.len();
        if let Some(index) = u32::try_from(self.chunks.len()).ok().filter(|_| lacks_chunks) {
            return Some(Message::FetchChunk { sequence, index });
        }
        let after = self.reached();
        (after < sequence).then_some(Message::FetchBatches { sequence, after })
    }
}

impl Pbft {
    /// A stable checkpoint beyond what we have executed.
    pub(crate) fn ahead(&self) -> Option<&Stable> {
        self.checkpoints.ahead.as_ref().filter(|ahead| ahead.sequence > self.executed)
    }

    /// [B17] Takes over the state of a stable checkpoint that lies ahead, if we do not come to it ourselves; if that is under way
    /// and has brought nothing since the last turn, somebody else is asked.
    pub(crate) fn tend_transfer(&mut self, out: &mut Out) {
        let has_stalled = self.executed == self.executed_at_turn;
        let ahead = self.ahead().filter(|_| has_stalled);
        if let Some(ahead) = ahead
            && self.transfer.as_ref().is_none_or(|transfer| transfer.stable.sequence < ahead.sequence)
        {
            // What is under way is not given up while it comes.
            let is_moving =
                self.transfer.as_ref().is_some_and(|transfer| transfer.seen != Some(transfer.received()));
            if !is_moving {
                let stable = ahead.clone();
                self.transfer = Some(self.transfer.take().unwrap_or_default().turn_to(stable));
            }
        }
        self.transfer.take_if(|transfer| transfer.stable.sequence <= self.executed);
        let Some(transfer) = &mut self.transfer else { return };
        if transfer.seen == Some(transfer.received()) || transfer.seen.is_none() {
            transfer.turn += 1;
            transfer.seen = Some(transfer.received());
            self.go_on_with_state(out);
        } else {
            transfer.seen = Some(transfer.received());
        }
    }

    /// Asks for the next part of it; if nothing is missing, it is taken over.
    fn go_on_with_state(&mut self, out: &mut Out) {
        let Some(transfer) = &self.transfer else { return };
        let Some(question) = transfer.question() else { return self.finish_transfer(out) };
        let others: Vec<NodeId> = self.members.others(self.id).collect();
        if let Some(&to) = others.get(transfer.turn.checked_rem(others.len()).unwrap_or(0)) {
            out.send_early(to, question); // EARLY: a question claims nothing.
        }
    }

    pub(crate) fn on_fetch_state(&mut self, from: NodeId, sequence: Sequence, out: &mut Out) {
        if !self.may_fetch(from) {
            return;
        }
        if let Some(manifest) = self.stable_manifest(sequence) {
            // EARLY: what is stable stays so without us.
            out.send_early(from, Message::State(Box::new(manifest)));
        } else if sequence < self.stable.sequence {
            out.send_early(from, Message::Stable(Box::new(self.stable.clone()))); // EARLY: as above
        }
    }

    pub(crate) fn on_fetch_chunk(&mut self, from: NodeId, sequence: Sequence, index: u32, out: &mut Out) {
        if !self.may_fetch(from) {
            return;
        }
        let size = self.config.chunk_bytes;
        let Some(own) = self.stable_own(sequence) else { return };
        let Some(Snapshot { bytes, .. }) = self.checkpoints.snapshots.get(&own.base) else { return };
        let start = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(size);
        let end = start.saturating_add(size).min(bytes.len());
        if start < end {
            let bytes = bytes.slice(start..end);
            // EARLY: what is stable stays so without us.
            out.send_early(from, Message::Chunk { sequence, index, bytes });
        }
    }

    /// [B17] As many batches as a chunk may have bytes, and at least one.
    pub(crate) fn on_fetch_batches(
        &mut self,
        from: NodeId,
        sequence: Sequence,
        after: Sequence,
        out: &mut Out,
    ) {
        if !self.may_fetch(from) {
            return;
        }
        let Some(own) = self.stable_own(sequence).filter(|own| own.base <= after) else { return };
        debug_assert!(own.base <= sequence, "a state begins with a snapshot from before");
        let mut room = self.config.chunk_bytes;
        let history = self.checkpoints.history.between(after, sequence).take(MAX_WINDOW).enumerate();
        let fitting = history.take_while(|(place, batch)| {
            let fits = *place == 0 || batch.size() <= room;
            room = room.saturating_sub(batch.size());
            fits
        });
        let batches: Vec<Batch> = fitting.map(|(_, batch)| batch.clone()).collect();
        if !batches.is_empty() {
            // EARLY: what is stable stays so without us.
            out.send_early(from, Message::Batches { sequence, after, batches });
        }
    }

    /// A checkpoint of ours that is stable: others may take it over.
    fn stable_own(&self, sequence: Sequence) -> Option<&Own> {
        self.checkpoints.own.get(&sequence).filter(|_| sequence <= self.stable.sequence)
    }

    fn stable_manifest(&self, sequence: Sequence) -> Option<Manifest> {
        self.stable_own(sequence)?;
        self.checkpoints.manifest(sequence)
    }

    /// [B17] What the state consists of.
    pub(crate) fn on_manifest(&mut self, from: NodeId, manifest: Manifest, out: &mut Out) {
        let is_trusted = self.config.plants(Mutant::StateUnchecked);
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.manifest.is_none()) else {
            return;
        };
        if manifest.checkpoint() != transfer.stable.sequence {
            return;
        }
        if manifest.digest() != transfer.stable.digest && !is_trusted {
            return out
                .accuse(from, Offence::Malformed("a state that is not the one which a quorum came to"));
        }
        transfer.begin(manifest, self.executed, &self.config);
        self.go_on_with_state(out);
    }

    /// [B17] A chunk of it. What comes again, or out of turn, is not answered by a question.
    pub(crate) fn on_chunk(
        &mut self,
        from: NodeId,
        sequence: Sequence,
        index: u32,
        bytes: Bytes,
        out: &mut Out,
    ) {
        let config = &self.config;
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.stable.sequence == sequence)
        else {
            return;
        };
        let Some(manifest) = &transfer.manifest else { return };
        let place = transfer.chunks.len();
        if usize::try_from(index) != Ok(place) {
            return;
        }
        let Some(&wanted) = manifest.chunks.get(place) else { return };
        if config.chunk_digest(place, &bytes) != wanted && !config.plants(Mutant::StateUnchecked) {
            return out.accuse(from, Offence::Malformed("a chunk that is not the state's"));
        }
        transfer.chunks.push(bytes);
        self.go_on_with_state(out);
    }

    /// [B17] What was executed since the snapshot, or a part of it.
    pub(crate) fn on_batches(
        &mut self,
        from: NodeId,
        sequence: Sequence,
        after: Sequence,
        batches: Vec<Batch>,
        out: &mut Out,
    ) {
        let is_trusted = self.config.plants(Mutant::HistoryUnchecked);
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.stable.sequence == sequence)
        else {
            return;
        };
        let Some(manifest) = &transfer.manifest else { return };
        let is_next = transfer.question() == Some(Message::FetchBatches { sequence, after });
        if !is_next {
            return;
        }
        for (batch, wanted) in batches.into_iter().zip(manifest.batches_after(after)) {
            if batch.digest() != *wanted && !is_trusted {
                return out
                    .accuse(from, Offence::Malformed("a batch that is not the one which was executed"));
            }
            transfer.batches.push(batch);
        }
        self.go_on_with_state(out);
    }

    /// [B17] Everything is here.
    fn finish_transfer(&mut self, out: &mut Out) {
        let Some(Transfer { stable, manifest: Some(manifest), chunks, after, batches, .. }) =
            self.transfer.take()
        else {
            return;
        };
        if stable.sequence <= self.executed {
            return;
        }
        if self.executed >= manifest.sequence {
            let known = self.executed.0.saturating_sub(after.0);
            let missing = batches.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX));
            self.follow(stable, missing.collect(), out);
        } else {
            self.take_state_over(stable, manifest, chunks.concat().into(), batches, out);
        }
    }

    /// What we lack is executed here too.
    fn follow(&mut self, stable: Stable, missing: Vec<Batch>, out: &mut Out) {
        // While our own snapshot is on its way, it cannot be told what we come to.
        let Some(mut sum) = self.checkpoints.history.sum else { return };
        missing.iter().for_each(|batch| sum.add(batch));
        if sum.digest != stable.digest && !self.config.plants(Mutant::HistoryUnchecked) {
            // Our state is another one already: nothing mends that.
            return;
        }
        for batch in missing {
            let sequence = self.executed.next();
            out.persist(Record::Body { sequence, batch: batch.clone() });
            self.decide(&batch, out);
            self.checkpoints.history.push(batch);
            self.executed = sequence;
        }
        (self.barren, self.deadline) = (0, None);
        self.checkpoints.own.insert(self.executed, Own { base: sum.base, digest: sum.digest });
        self.settle(stable, sum.base, out);
        self.execute(out);
    }

    /// The state takes the place of ours.
    fn take_state_over(
        &mut self,
        stable: Stable,
        manifest: Manifest,
        bytes: Bytes,
        batches: Vec<Batch>,
        out: &mut Out,
    ) {
        let (base, slot, digest) = (manifest.sequence, manifest.slot, stable.digest);
        if slot < self.slot {
            return;
        }
        let manifest = Manifest { batches: Vec::new(), ..manifest };
        let checkpoints = &mut self.checkpoints;
        checkpoints.asked = None;
        checkpoints.history = History::behind(&manifest);
        batches.iter().for_each(|batch| checkpoints.history.push(batch.clone()));
        checkpoints.snapshots = BTreeMap::from([(base, Snapshot { manifest, bytes: bytes.clone() })]);
        checkpoints.own = BTreeMap::from([(stable.sequence, Own { base, digest })]);
        (self.executed, self.slot, self.deadline) = (stable.sequence, slot, None);
        self.settle_at(stable);
        self.write_snapshot(slot, bytes.clone(), base, out);
        out.install(slot, bytes);
        out.note(Note::SnapshotInstalled { through: slot });
        batches.iter().for_each(|batch| self.decide(batch, out));
        let rules = self.rules();
        self.requests.doubt(self.now, Time::from_nanos(u64::MAX), &rules);
        self.take_up_rest(out);
        self.execute(out);
    }
}
