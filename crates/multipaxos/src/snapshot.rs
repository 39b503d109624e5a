//! Snapshots: cutting the log, and taking one over in place of what somebody else has cut.

use crate::configuration::Configuration;
use crate::message::Piece;
use crate::state::{Core, MultiPaxos};
use crate::step::Out;
use alloc::vec::Vec;
use consensus_core::{Bytes, Note, Slot, Time};

/// A snapshot of the state machine.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The last slot that it contains.
    pub(crate) through: Slot,
    /// The configuration that chooses the slot behind that.
    pub(crate) configuration: Configuration,
    pub(crate) bytes: Bytes,
    /// When a piece of it was last asked for.
    pub(crate) asked: Option<Time>,
}

/// A snapshot that is arriving.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) through: Slot,
    configuration: Configuration,
    total: u64,
    bytes: Vec<u8>,
    /// How many timeouts in a row brought nothing, and how much was there at the last one.
    stalls: (usize, usize),
}

impl MultiPaxos {
    /// [P15] The state machine holds everything up to `through`: the log before it is forgotten, but for a tail that serves those
    /// who are a little behind. Votes for what is not known to be chosen stay.
    pub(crate) fn on_compact(&mut self, now: Time, through: Slot, bytes: Bytes, out: &mut Out) {
        let core = &mut self.core;
        let newest = core.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through);
        if through <= newest || through > core.learner.chosen || through < core.log.base() {
            return;
        }
        // [P42] Who does not know the members would pass that on.
        let known = core.configuration_behind(through).filter(|configuration| configuration.is_known());
        let Some(configuration) = known.cloned() else { return };
        core.forget_configurations_before(configuration.number);
        core.keep_serving(now);
        core.snapshot = Some(Snapshot { through, configuration, bytes: bytes.clone(), asked: None });
        core.log.forget_through(core.retained_from(through));
        let tail = core.records();
        out.checkpoint(through, bytes, tail);
        out.note(Note::SnapshotTaken { through });
    }
}

impl Core {
    /// The last slot that may be forgotten when a snapshot reaches `through`.
    fn retained_from(&self, through: Slot) -> Slot {
        let mut size = 0;
        let values = self.log.newest_first(through).take(self.config.retained_values);
        let retained = values.take_while(|(_, value)| {
            size += value.size();
            size <= self.config.retained_bytes
        });
        Slot(through.0 - retained.count() as u64).max(self.log.base())
    }

    /// [P15] Whoever is in the midst of receiving the present snapshot shall have the rest of it, too.
    fn keep_serving(&mut self, now: Time) {
        let patience = self.config.election_timeout() * 2;
        let is_in_use = |snapshot: &Snapshot| snapshot.asked.is_some_and(|asked| now < asked + patience);
        if self.served.as_ref().is_some_and(|served| !is_in_use(served)) {
            self.served = None;
        }
        if self.served.is_none() {
            self.served = self.snapshot.take().filter(is_in_use);
        }
    }

    /// A piece of a snapshot for somebody who lacks `first`, which we have cut off: the one that was asked for, if we have it.
    pub(crate) fn piece_for(&mut self, now: Time, first: Slot, wanted: Option<(Slot, u64)>) -> Option<Piece> {
        let piece_bytes = self.config.snapshot_piece_bytes as u64;
        let is_wanted =
            |snapshot: &&mut Snapshot| Some(snapshot.through) == wanted.map(|(through, _)| through);
        let known = self.served.as_mut().into_iter().chain(self.snapshot.as_mut()).find(is_wanted);
        let (snapshot, offset) = match (known, wanted) {
            (Some(snapshot), Some((_, offset))) => (snapshot, offset),
            (_, _) => (self.snapshot.as_mut()?, 0),
        };
        snapshot.asked = Some(now);
        let total = snapshot.bytes.len() as u64;
        let offset = offset.min(total);
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let data = snapshot.bytes.slice(place(offset)..place((offset + piece_bytes).min(total)));
        let (through, configuration) = (snapshot.through, snapshot.configuration.clone());
        Some(Piece { first, through, configuration, total, offset, data })
    }

    /// [P16] Takes the place of everything up to where the snapshot ends. Votes behind it stay.
    pub(crate) fn install(&mut self, whole: Incoming, out: &mut Out) {
        let Incoming { through, configuration, total: _, bytes, stalls: _ } = whole;
        let bytes = Bytes::from(bytes);
        self.hand_over_copies(out);
        self.log.forget_through(through);
        (self.learner.chosen, self.learner.handed_over) = (through, through);
        self.adopt_configuration(configuration.clone(), out);
        self.forget_configurations_before(configuration.number);
        let snapshot = Snapshot { through, configuration, bytes: bytes.clone(), asked: None };
        self.snapshot = Some(snapshot);
        let tail = self.records();
        out.checkpoint(through, bytes.clone(), tail);
        out.install(through, bytes);
        out.note(Note::SnapshotInstalled { through });
        self.open.settle(through);
        self.learn(out);
        self.keep_what_came_early(out);
    }
}

impl Incoming {
    /// Whether a piece is the next one of what is arriving, or the first of a newer snapshot. [P16]
    pub(crate) fn is_brought_on(arriving: Option<&Self>, piece: &Piece) -> bool {
        let begins = piece.offset == 0 && arriving.is_none_or(|known| known.through < piece.through);
        begins || arriving.is_some_and(|known| known.is_continued_by(piece))
    }

    fn is_continued_by(&self, piece: &Piece) -> bool {
        (self.through, self.total, self.received()) == (piece.through, piece.total, piece.offset)
    }

    /// Adds a piece if it is the next one, or the first of a newer snapshot. [P16]
    pub(crate) fn take(arriving: &mut Option<Self>, piece: Piece) {
        if piece.offset == 0 && arriving.as_ref().is_none_or(|known| known.through < piece.through) {
            let Piece { through, total, ref configuration, .. } = piece;
            let configuration = configuration.clone();
            *arriving = Some(Self { through, configuration, total, bytes: Vec::new(), stalls: (0, 0) });
        }
        if let Some(known) = arriving.as_mut().filter(|known| known.is_continued_by(&piece)) {
            // `offset + data ≤ total ≤ limit`: checked when the message came in, and by the caller.
            known.bytes.extend_from_slice(&piece.data);
        }
    }

    pub(crate) const fn received(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) const fn is_whole(&self) -> bool {
        self.received() == self.total
    }

    /// Whether so many timeouts in a row brought nothing.
    pub(crate) const fn has_stalled(&mut self, most: usize) -> bool {
        let (count, before) = self.stalls;
        let count = if self.bytes.len() > before { 0 } else { count + 1 };
        self.stalls = (count, self.bytes.len());
        count > most
    }
}
