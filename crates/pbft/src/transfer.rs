//! State transfer: who lacks more than others still keep takes over the state after a stable checkpoint, chunk by chunk, from
//! anybody; what arrives is checked against the digest that a quorum signed (Castro and Liskov 2002, §5.3).

use crate::certificate::Stable;
use crate::checkpoint::Own;
use crate::message::{Manifest, Message};
use crate::mutant::Mutant;
use crate::state::Pbft;
use crate::statement::Sequence;
use crate::step::Out;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{NodeId, Note, Offence, Time};

/// A state on its way.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    /// What it must come to.
    pub(crate) stable: Stable,
    manifest: Option<Manifest>,
    chunks: Vec<Bytes>,
    /// Who is asked: the next one each time.
    turn: usize,
    /// How much was there when the resend timer ran out.
    seen: Option<usize>,
}

impl Transfer {
    /// How much has arrived, in chunks.
    pub(crate) const fn received(&self) -> usize {
        self.chunks.len()
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
            // A newer state makes what arrived of an older one useless, unless that is nearly there.
            let is_moving =
                self.transfer.as_ref().is_some_and(|transfer| transfer.seen != Some(transfer.received()));
            if !is_moving {
                let turn = self.transfer.as_ref().map_or(0, |transfer| transfer.turn);
                let stable = ahead.clone();
                self.transfer =
                    Some(Transfer { stable, manifest: None, chunks: Vec::new(), turn, seen: None });
            }
        }
        self.transfer.take_if(|transfer| transfer.stable.sequence <= self.executed);
        let Some(transfer) = &mut self.transfer else { return };
        if transfer.seen == Some(transfer.received()) || transfer.seen.is_none() {
            transfer.turn += 1;
            let (sequence, turn) = (transfer.stable.sequence, transfer.turn);
            transfer.seen = Some(transfer.received());
            self.ask_for_state(sequence, turn, out);
        } else {
            transfer.seen = Some(transfer.received());
        }
    }

    fn ask_for_state(&self, sequence: Sequence, turn: usize, out: &mut Out) {
        let others: Vec<NodeId> = self.members.others(self.id).collect();
        let Some(transfer) = &self.transfer else { return };
        let Some(&to) = others.get(turn.checked_rem(others.len()).unwrap_or(0)) else { return };
        let message = match u32::try_from(transfer.received()) {
            Ok(index) if transfer.manifest.is_some() => Message::FetchChunk { sequence, index },
            Ok(_) | Err(_) => Message::FetchState { sequence },
        };
        // EARLY: a question claims nothing.
        out.send_early(to, message);
    }

    pub(crate) fn on_fetch_state(&mut self, from: NodeId, sequence: Sequence, out: &mut Out) {
        if !self.may_fetch(from) {
            return;
        }
        if let Some(own) = self.stable_own(sequence) {
            // EARLY: what is stable stays so without us.
            out.send_early(from, Message::State(Box::new(own.manifest.clone())));
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
        let start = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(size);
        let end = start.saturating_add(size).min(own.snapshot.len());
        if start < end {
            let bytes = own.snapshot.slice(start..end);
            // EARLY: what is stable stays so without us.
            out.send_early(from, Message::Chunk { sequence, index, bytes });
        }
    }

    /// A checkpoint of ours that is stable: others may take it over.
    fn stable_own(&self, sequence: Sequence) -> Option<&Own> {
        self.checkpoints.own.get(&sequence).filter(|_| sequence <= self.stable.sequence)
    }

    /// [B17] What the state consists of.
    pub(crate) fn on_manifest(&mut self, from: NodeId, manifest: Manifest, out: &mut Out) {
        let is_trusted = self.config.plants(Mutant::StateUnchecked);
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.manifest.is_none()) else {
            return;
        };
        if manifest.sequence != transfer.stable.sequence {
            return;
        }
        if manifest.digest() != transfer.stable.digest && !is_trusted {
            return out
                .accuse(from, Offence::Malformed("a state that is not the one which a quorum came to"));
        }
        let (sequence, turn, is_whole) = (manifest.sequence, transfer.turn, manifest.chunks.is_empty());
        transfer.manifest = Some(manifest);
        if is_whole { self.finish_transfer(out) } else { self.ask_for_state(sequence, turn, out) }
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
        let (is_whole, turn) = (transfer.chunks.len() == manifest.chunks.len(), transfer.turn);
        if is_whole { self.finish_transfer(out) } else { self.ask_for_state(sequence, turn, out) }
    }

    /// [B17] The state is here: it takes the place of ours.
    fn finish_transfer(&mut self, out: &mut Out) {
        let Some(Transfer { stable, manifest: Some(manifest), chunks, .. }) = self.transfer.take() else {
            return;
        };
        let snapshot: Bytes = chunks.concat().into();
        let (sequence, slot) = (stable.sequence, manifest.slot);
        if sequence <= self.executed || slot < self.slot {
            return;
        }
        let digest = stable.digest;
        self.checkpoints.asked.clear();
        self.checkpoints.own.insert(sequence, Own { manifest, digest, snapshot: snapshot.clone() });
        (self.executed, self.slot, self.deadline) = (sequence, slot, None);
        self.settle_at(stable);
        out.checkpoint(slot, snapshot.clone(), self.tail());
        out.install(slot, snapshot);
        out.note(Note::SnapshotInstalled { through: slot });
        let rules = self.rules();
        self.requests.doubt(self.now, Time::from_nanos(u64::MAX), &rules);
        self.take_up_rest(out);
        self.execute(out);
    }
}
