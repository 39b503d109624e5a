//! Snapshots: cutting the log, and taking one over in place of what somebody else has cut.

use super::ledger::Ledger;
use super::message::{Instance, Numbers, Outcome, Piece, Want};
use super::record::Record;
use super::state::Log;
use super::step::Out;
use crate::mutant::Mutant;
use alloc::vec::Vec;
use consensus_core::{Bytes, NodeId, Note, Refusal, Slot, Time};
use core::time::Duration;

/// A snapshot of the state machine.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The last instance that it contains.
    pub(crate) instance: Instance,
    /// The last slot that it contains.
    pub(crate) through: Slot,
    /// The batches that are settled by then.
    pub(crate) numbers: Numbers,
    pub(crate) bytes: Bytes,
    /// When a piece of it was last asked for.
    pub(crate) asked: Option<Time>,
}

/// A snapshot that is arriving.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    instance: Instance,
    through: Slot,
    numbers: Numbers,
    total: u64,
    bytes: Vec<u8>,
    /// How many timeouts in a row brought nothing, and how much was there at the last one.
    stalls: (u32, usize),
}

/// So many timeouts in a row without a piece, and another snapshot may be begun.
const MOST_STALLS: u32 = 8;

impl Incoming {
    pub(crate) const fn next_piece(&self) -> Want {
        Want::Piece { through: self.through, offset: self.bytes.len() as u64 }
    }

    fn is_continued_by(&self, piece: &Piece) -> bool {
        (self.through, self.total, self.bytes.len() as u64) == (piece.through, piece.total, piece.offset)
    }
}

impl Log {
    /// [L13] The state machine holds everything up to `through`: the instances are forgotten, but for a few.
    pub(crate) fn on_compact(&mut self, now: Time, through: Slot, bytes: Bytes, out: &mut Out) {
        let before = self.snapshot.as_ref().map_or(Instance::ZERO, |snapshot| snapshot.instance);
        let Some(instance) = self.ledger.instance_at(through).filter(|&instance| instance > before) else {
            return;
        };
        let mut numbers = self.snapshot.as_ref().map(|known| known.numbers.clone()).unwrap_or_default();
        let since = self.ledger.outcomes(before).take_while(|(settled, _)| *settled <= instance);
        since.filter_map(|(_, outcome)| outcome.offer().batch()).for_each(|id| numbers.settle(id));
        self.keep_serving(now);
        self.snapshot = Some(Snapshot { instance, through, numbers, bytes: bytes.clone(), asked: None });
        self.ledger.forget(instance, through, self.config.retained_slots);
        let tail = self.records();
        out.checkpoint(through, bytes, tail);
        out.note(Note::SnapshotTaken { through });
    }

    /// What is still needed behind the snapshot.
    // [L13]
    fn records(&self) -> Vec<Record> {
        let Some(Snapshot { instance, numbers, .. }) = &self.snapshot else { return Vec::new() };
        let forgets = self.config.plants(Mutant::SnapshotWithoutNumbers);
        let numbers = if forgets { Numbers::default() } else { numbers.clone() };
        let mut records = alloc::vec![Record::Base { instance: *instance, numbers }];
        for (instance, outcome) in self.ledger.outcomes(*instance) {
            let decided = outcome.offer();
            if let Outcome::Batch(parcel) = outcome {
                records.push(Record::Held(parcel));
            }
            records.push(Record::Decided { instance, decided });
        }
        records.extend(self.batches.parcels().map(Record::Held));
        for (&instance, open) in &self.open {
            records.extend(open.records(instance, self.id));
        }
        records
    }

    /// [L13] Whoever is in the midst of receiving the present snapshot shall have the rest of it, too.
    fn keep_serving(&mut self, now: Time) {
        let patience = Duration::from_millis(self.config.retry_ms.saturating_mul(4));
        let is_in_use = |snapshot: &Snapshot| snapshot.asked.is_some_and(|asked| now < asked + patience);
        if self.served.as_ref().is_some_and(|served| !is_in_use(served)) {
            self.served = None;
        }
        if self.served.is_none() {
            self.served = self.snapshot.take().filter(is_in_use);
        }
    }

    /// A piece of a snapshot: the one that was asked for, if we have it, or the first of the newest.
    pub(crate) fn piece_for(&mut self, now: Time, want: Want) -> Option<Piece> {
        let piece_bytes = self.config.snapshot_piece_bytes as u64;
        let (wanted, offset) = match want {
            Want::Page => (None, 0),
            Want::Piece { through, offset } => (Some(through), offset),
        };
        let is_wanted = |snapshot: &&mut Snapshot| Some(snapshot.through) == wanted;
        let known = self.served.as_mut().into_iter().chain(self.snapshot.as_mut()).find(is_wanted);
        let (snapshot, offset) = match known {
            Some(snapshot) => (snapshot, offset),
            None => (self.snapshot.as_mut()?, 0),
        };
        snapshot.asked = Some(now);
        let total = snapshot.bytes.len() as u64;
        let offset = offset.min(total);
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let data = snapshot.bytes.slice(place(offset)..place((offset + piece_bytes).min(total)));
        let Snapshot { instance, through, ref numbers, .. } = *snapshot;
        Some(Piece { instance, through, numbers: numbers.clone(), total, offset, data })
    }

    /// [L14] A piece that is the next one, or the first of a newer snapshot.
    pub(crate) fn on_piece(&mut self, from: NodeId, piece: Piece, out: &mut Out) {
        if piece.instance <= self.ledger.settled() || piece.total > self.config.max_snapshot_bytes {
            return;
        }
        let is_newer = self.incoming.as_ref().is_none_or(|known| known.through < piece.through);
        if piece.offset == 0 && is_newer {
            let Piece { instance, through, ref numbers, total, .. } = piece;
            let numbers = numbers.clone();
            self.incoming =
                Some(Incoming { instance, through, numbers, total, bytes: Vec::new(), stalls: (0, 0) });
        }
        let Some(incoming) = self.incoming.as_mut().filter(|known| known.is_continued_by(&piece)) else {
            return;
        };
        incoming.bytes.extend_from_slice(&piece.data);
        self.more_from = Some(from);
        if incoming.bytes.len() as u64 == incoming.total
            && let Some(whole) = self.incoming.take()
        {
            self.install(whole, out);
        }
    }

    /// [L14] Takes the place of everything up to where the snapshot ends. What was cast behind it stays.
    fn install(&mut self, whole: Incoming, out: &mut Out) {
        let Incoming { instance, through, numbers, total: _, bytes, stalls: _ } = whole;
        let bytes = Bytes::from(bytes);
        self.ledger = Ledger::behind(instance, through, numbers.clone());
        self.handed_over = through;
        self.give_up_replies(&numbers, out);
        self.batches.forget(&numbers);
        self.open = self.open.split_off(&instance.next());
        self.noted = self.noted.split_off(&instance.next());
        self.last_number = self.last_number.max(numbers.last(self.id));
        self.snapshot = Some(Snapshot { instance, through, numbers, bytes: bytes.clone(), asked: None });
        let tail = self.records();
        out.checkpoint(through, bytes.clone(), tail);
        out.install(through, bytes);
        out.note(Note::SnapshotInstalled { through });
    }

    /// [L14] Proposals of our clients that the snapshot contains were carried out by others: nobody here knows what came of them.
    fn give_up_replies(&self, numbers: &Numbers, out: &mut Out) {
        let own = self.batches.iter().filter(|(id, _)| id.origin == self.id && numbers.contain(*id));
        for entry in own.flat_map(|(_, entries)| entries.iter()) {
            out.refuse(entry.id, Refusal::Interrupted);
        }
    }

    /// What is arriving may be of a snapshot that nobody has any more.
    pub(crate) fn give_up_if_stalled(&mut self) {
        let settled = self.ledger.settled();
        self.incoming.take_if(|incoming| {
            let (count, before) = incoming.stalls;
            let count = if incoming.bytes.len() > before { 0 } else { count + 1 };
            incoming.stalls = (count, incoming.bytes.len());
            count > MOST_STALLS || incoming.instance <= settled
        });
    }
}
