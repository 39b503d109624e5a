//! A snapshot on its way to a follower: which pieces are in flight, and how many may be.
//!
//! Links are slow or fast, and nobody says how fast. A snapshot may fill the link, but what is said after it, heartbeats above
//! all, must not wait behind it for long. So the window is found by trying, as transport protocols do: it begins small, grows
//! by what arrives while pieces are answered soon, and is halved when one takes too long or is lost.
//!
//! Invariants: `received ≤ sent ≤` the length; what is in flight lies between them, in order.

use crate::config::Config;
use crate::message::{Arrival, Chunk, ChunkReply};
use crate::mutant::Mutant;
use crate::snapshot::Snapshot;
use crate::state::Core;
use alloc::collections::VecDeque;
use consensus_core::{Slot, Time};
use core::time::Duration;

/// How much is in flight while nothing is known of the link.
const FIRST_WINDOW_BYTES: usize = 4 << 10;
/// However slow the link is, so much may be in flight.
const LEAST_WINDOW_BYTES: usize = 1 << 10;
/// A piece whose answer takes so many times as long as the last one is lost.
const LOST_AFTER: u32 = 4;
/// How many election timeouts may pass, at most, until a piece that is not answered is sent again.
const MOST_PATIENCE: u32 = 8;

/// A snapshot that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    snapshot: Snapshot,
    /// What has arrived, from its beginning.
    received: usize,
    /// What was sent, from its beginning, and not given up since.
    sent: usize,
    in_flight: VecDeque<Piece>,
    /// Whether it is known where the follower is. Until then one piece is sent to find out.
    is_placed: bool,
    /// It is to begin anew with the next heartbeat.
    is_spoilt: bool,
    /// Something is missing between what has arrived and what was sent; that was seen to.
    has_gone_back: bool,
    /// The most bytes in flight.
    window: usize,
    /// What was sent up to here tells nothing new of the window.
    judged: usize,
    /// When something arrived last, or was given up.
    moved: Time,
    /// After which time without an answer everything in flight is lost.
    patience: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    end: usize,
    size: usize,
    left: Time,
}

impl Outgoing {
    pub(crate) fn new(snapshot: Snapshot, config: &Config) -> Self {
        Self {
            snapshot,
            received: 0,
            sent: 0,
            in_flight: VecDeque::new(),
            is_placed: false,
            is_spoilt: false,
            has_gone_back: false,
            window: FIRST_WINDOW_BYTES.min(config.max_in_flight_snapshot_bytes),
            judged: 0,
            moved: Time::ZERO,
            patience: config.heartbeat_interval() * 2,
        }
    }

    pub(crate) const fn through(&self) -> Slot {
        self.snapshot.through.slot
    }

    pub(crate) fn pieces_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) const fn bytes_in_flight(&self) -> usize {
        self.sent - self.received
    }

    const fn total(&self) -> usize {
        self.snapshot.bytes.len()
    }

    /// The next piece, if one may leave now. [R51]
    pub(crate) fn next_piece(&mut self, now: Time, core: &Core) -> Option<Chunk> {
        let rest = self.total() - self.sent;
        let window = if core.config.plants(Mutant::SnapshotInOneBurst) { usize::MAX } else { self.window };
        let size = core.config.snapshot_chunk_bytes.min(window).min(rest);
        let is_due = if self.is_placed {
            // One is always in flight, however narrow the window.
            rest > 0 && (self.in_flight.is_empty() || self.bytes_in_flight() + size <= window)
        } else {
            self.in_flight.is_empty()
        };
        if self.is_spoilt || !is_due {
            return None;
        }
        if self.in_flight.is_empty() {
            self.moved = now;
        }
        let offset = self.sent;
        self.sent += size;
        self.in_flight.push_back(Piece { end: self.sent, size, left: now });
        Some(self.piece(offset, core))
    }

    fn piece(&self, offset: usize, core: &Core) -> Chunk {
        let Snapshot { through, members, bytes, digest } = &self.snapshot;
        Chunk {
            term: core.term,
            through: *through,
            members: members.clone(),
            total: bytes.len() as u64,
            digest: *digest,
            offset: offset as u64,
            data: bytes.slice(offset..self.sent),
        }
    }

    /// A piece was answered. False if the answer is impossible.
    pub(crate) fn on_answer(&mut self, now: Time, reply: &ChunkReply, config: &Config) -> bool {
        let received = match reply.arrival {
            Arrival::Spoilt => {
                self.is_spoilt = true;
                return true;
            }
            Arrival::Received(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        if received > self.total() {
            return false;
        }
        self.is_placed = true;
        if received > self.received {
            self.on_arrival(now, received, config);
        } else if reply.offset > received as u64 && !self.has_gone_back {
            // What is before that piece has not arrived: it was lost, or the follower has forgotten it.
            self.go_back(now, received);
            self.has_gone_back = true;
        }
        true
    }

    fn on_arrival(&mut self, now: Time, received: usize, config: &Config) {
        // It may hold more than we sent: another leader was interrupted.
        let (mut arrived, mut left) = (0, None);
        while let Some(piece) = self.in_flight.pop_front_if(|piece| piece.end <= received) {
            (arrived, left) = (arrived + piece.size, Some(piece.left));
        }
        (self.received, self.sent) = (received, self.sent.max(received));
        (self.moved, self.has_gone_back) = (now, false);
        let Some(left) = left else { return };
        let took = now.since(left);
        self.patience = (config.heartbeat_interval() * 2).max(took * LOST_AFTER);
        if received <= self.judged {
            return;
        }
        if took > config.longest_piece() {
            return self.narrow();
        }
        self.window = self.window.saturating_add(arrived).min(config.max_in_flight_snapshot_bytes);
    }

    /// Half as much in flight. What is in flight now left under the old window, and tells nothing of the new one.
    fn narrow(&mut self) {
        self.window = (self.window / 2).max(LEAST_WINDOW_BYTES).min(self.window);
        self.judged = self.sent;
    }

    /// Everything behind `received` is sent again.
    fn go_back(&mut self, now: Time, received: usize) {
        self.narrow();
        self.in_flight.clear();
        (self.received, self.sent, self.judged) = (received, received, received);
        self.moved = now;
    }

    /// With each heartbeat: what is not answered for long is lost. [R16] True if the transfer is to begin anew.
    pub(crate) fn review(&mut self, now: Time, config: &Config) -> bool {
        if self.is_spoilt {
            return true;
        }
        // All of it may have arrived, and be lost with the follower: then nothing is in flight, and nothing comes.
        if now >= self.moved + self.patience {
            self.go_back(now, self.received);
            (self.is_placed, self.has_gone_back) = (false, false);
            self.patience = (self.patience * 2).min(config.election_timeout() * MOST_PATIENCE);
        }
        false
    }

    pub(crate) fn assert_invariants(&self, config: &Config) {
        assert!(self.received <= self.sent && self.sent <= self.total(), "more was sent than there is");
        assert!(self.in_flight.iter().is_sorted_by(|a, b| a.end <= b.end), "pieces are out of order");
        let is_between = |piece: &Piece| self.received <= piece.end && piece.end <= self.sent;
        assert!(self.in_flight.iter().all(is_between), "what is in flight has arrived, or was not sent");
        let is_wide = config.plants(Mutant::SnapshotInOneBurst) || self.in_flight.len() <= 1;
        assert!(
            is_wide || self.bytes_in_flight() <= config.max_in_flight_snapshot_bytes,
            "too much is in flight"
        );
    }
}
