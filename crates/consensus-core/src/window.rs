//! What a leader has sent to one node and was not told of yet.

use crate::id::Slot;
use alloc::collections::VecDeque;

/// The messages in flight to one node, bounded by count and bytes.
#[derive(Clone, Debug, Default)]
pub struct Window {
    in_flight: VecDeque<InFlight>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    last: Slot,
    bytes: usize,
}

impl Window {
    /// Nothing is in flight.
    #[must_use]
    pub const fn new() -> Self {
        Self { in_flight: VecDeque::new(), bytes: 0 }
    }

    /// Whether one more may be sent, where at most so many are in flight, and none is added to so many bytes.
    #[must_use]
    #[inline]
    pub fn has_room(&self, most: usize, bytes: usize) -> bool {
        self.in_flight.len() < most && self.bytes < bytes
    }

    /// Whether nothing is in flight.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// How many are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// How many bytes are.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A message left that ends with slot `last`, which is behind those of all before it.
    #[inline]
    pub fn sent(&mut self, last: Slot, bytes: usize) {
        self.in_flight.push_back(InFlight { last, bytes });
        self.bytes += bytes;
    }

    /// The node holds everything up to `through`.
    #[inline]
    pub fn arrived(&mut self, through: Slot) {
        while let Some(message) = self.in_flight.pop_front_if(|message| message.last <= through) {
            self.bytes -= message.bytes;
        }
    }

    /// What is in flight is given up.
    pub fn clear(&mut self) {
        self.in_flight.clear();
        self.bytes = 0;
    }

    /// Checks what must be true of a window of slots behind `held` and before `next`.
    pub fn assert_invariants(&self, held: Slot, next: Slot) {
        let sum: usize = self.in_flight.iter().map(|message| message.bytes).sum();
        assert_eq!(self.bytes, sum, "the byte counter of the window leaks");
        assert!(
            self.in_flight.iter().all(|message| held < message.last && message.last < next),
            "the window holds what has arrived, or what was not sent"
        );
        assert!(self.in_flight.iter().is_sorted_by(|a, b| a.last < b.last), "the window is out of order");
    }
}
