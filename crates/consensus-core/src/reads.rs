//! Reads that wait until a leader knows that it still leads.
//!
//! A leader notes how far it is, then makes sure that it still leads: a quorum must echo a *probe* that left after the reads had
//! arrived. One probe serves all reads of a burst. Any other node asks its leader, also once per burst. Who is asked, and what a
//! quorum is, the protocol knows.
//!
//! Invariants: nobody waits for a probe that was not begun; at most so many wait as the bound allows.

use crate::id::{NodeId, ReadId, Slot};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Names a round of forwarded reads. A node draws a new `boot` at each start, so that an answer to a question from before a
/// crash never answers one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadToken {
    /// The asker's boot.
    pub boot: u64,
    /// The round, counted from 1 within the boot.
    pub round: u64,
}

/// The answer to forwarded reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadAnswer {
    /// Serve them once everything up to this slot is applied.
    At(Slot),
    /// The asked node does not lead (any more).
    NotLeader,
    /// Too many reads wait.
    Busy,
}

/// Who wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Somebody at this node.
    Local(ReadId),
    /// Another node, for all who asked there.
    Remote {
        /// That node.
        from: NodeId,
        /// Its name for the round.
        token: ReadToken,
    },
}

/// The reads that a leader has to answer.
#[derive(Clone, Debug)]
pub struct ReadQueue {
    /// The newest probe.
    probe: u64,
    /// The newest probe that reads wait for; zero if none ever did.
    awaited: u64,
    /// Arrived, not yet covered by a probe.
    fresh: Vec<Asker>,
    /// Covered, not yet confirmed; oldest first.
    rounds: VecDeque<Round>,
    /// How many wait in `rounds`.
    waiting: usize,
    /// A probe came back since the last look.
    has_echo: bool,
}

#[derive(Clone, Debug)]
struct Round {
    probe: u64,
    at: Slot,
    askers: Vec<Asker>,
}

impl Default for ReadQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadQueue {
    /// Nobody waits; the first probe is begun.
    #[must_use]
    pub const fn new() -> Self {
        Self { probe: 1, awaited: 0, fresh: Vec::new(), rounds: VecDeque::new(), waiting: 0, has_echo: false }
    }

    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.waiting + self.fresh.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.rounds.is_empty()
    }

    /// Whether somebody waits who is not covered by a probe.
    #[must_use]
    #[inline]
    pub const fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// The newest probe.
    #[must_use]
    pub const fn probe(&self) -> u64 {
        self.probe
    }

    /// The newest probe that reads wait for; zero if none ever did.
    #[must_use]
    pub const fn awaited(&self) -> u64 {
        self.awaited
    }

    /// A probe that nobody has seen yet: who answers it has heard us after this moment.
    pub const fn begin_probe(&mut self) -> u64 {
        self.probe += 1;
        self.probe
    }

    /// A probe came back, or who counts has changed: somebody may be confirmed.
    pub const fn on_echo(&mut self) {
        self.has_echo = true;
    }

    /// Takes `asker` in, unless `bound` wait already.
    #[must_use]
    pub fn push(&mut self, asker: Asker, bound: usize) -> bool {
        let has_room = self.len() < bound;
        if has_room {
            self.fresh.push(asker);
        }
        has_room
    }

    /// Takes out those who are not covered yet: they need no probe.
    pub fn take_fresh(&mut self) -> impl Iterator<Item = Asker> {
        self.fresh.drain(..)
    }

    /// Covers those who are not covered yet by a new probe: what they read is at `at` or later.
    pub fn start_round(&mut self, at: Slot) {
        self.awaited = self.begin_probe();
        self.waiting += self.fresh.len();
        let askers = core::mem::take(&mut self.fresh);
        self.rounds.push_back(Round { probe: self.awaited, at, askers });
        self.has_echo = true;
    }

    /// Whether it is worth while to count who has echoed what: something came back since the last look, and somebody waits for it.
    #[must_use]
    #[inline]
    pub fn is_worth_a_look(&mut self) -> bool {
        core::mem::take(&mut self.has_echo) && !self.rounds.is_empty()
    }

    /// Takes out those who waited longest, with the slot to wait for, if a quorum has echoed what covers them: probe `echoed`.
    pub fn take_confirmed(&mut self, echoed: u64) -> Option<(Slot, Vec<Asker>)> {
        let round = self.rounds.pop_front_if(|round| round.probe <= echoed)?;
        self.waiting -= round.askers.len();
        Some((round.at, round.askers))
    }

    /// All who wait, oldest first.
    pub fn into_askers(self) -> impl Iterator<Item = Asker> {
        self.rounds.into_iter().flat_map(|round| round.askers).chain(self.fresh)
    }

    /// Checks what must be true, where at most `bound` may wait.
    pub fn assert_invariants(&self, bound: usize) {
        let waiting: usize = self.rounds.iter().map(|round| round.askers.len()).sum();
        assert_eq!(self.waiting, waiting, "the count of waiting reads is wrong");
        assert!(self.len() <= bound, "too many reads wait");
        assert!(
            self.rounds.iter().all(|round| round.probe <= self.probe),
            "a read waits for a probe not sent"
        );
    }
}

/// The reads that a node has asked its leader about.
#[derive(Clone, Debug, Default)]
pub struct Forwarded {
    fresh: Vec<ReadId>,
    rounds: VecDeque<(u64, Vec<ReadId>)>,
    waiting: usize,
}

impl Forwarded {
    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.waiting + self.fresh.len()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.rounds.is_empty()
    }

    /// Whether some wait about whom nobody was asked.
    #[must_use]
    #[inline]
    pub const fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// The newest round that was asked and not answered.
    #[must_use]
    pub fn asked(&self) -> Option<u64> {
        self.rounds.back().map(|(round, _)| *round)
    }

    /// Takes a read in, unless `bound` wait already.
    #[must_use]
    pub fn push(&mut self, id: ReadId, bound: usize) -> bool {
        let has_room = self.len() < bound;
        if has_room {
            self.fresh.push(id);
        }
        has_room
    }

    /// What was not asked yet is asked as this round, which is later than all before.
    pub fn start_round(&mut self, round: u64) {
        let ids = core::mem::take(&mut self.fresh);
        self.waiting += ids.len();
        self.rounds.push_back((round, ids));
    }

    /// Takes out everything up to `round`: a later question was asked after the earlier reads had arrived, too.
    pub fn take_through(&mut self, round: u64) -> Vec<ReadId> {
        let mut taken = Vec::new();
        while let Some((_, ids)) = self.rounds.pop_front_if(|(asked, _)| *asked <= round) {
            self.waiting -= ids.len();
            taken.extend(ids);
        }
        taken
    }

    /// Takes out everything.
    pub fn take_all(&mut self) -> impl Iterator<Item = ReadId> {
        let asked = self.take_through(u64::MAX);
        asked.into_iter().chain(self.fresh.drain(..))
    }
}
