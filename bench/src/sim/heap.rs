//! The bare loop that every simulator of events has at its heart, and nothing else: the upper bound.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;

/// How many events wait at any time: about as many as in a busy cluster.
const WAITING: u64 = 256;

/// Takes the first of the waiting events and plans another, `events` times.
pub(super) fn run(events: u64) -> u64 {
    let mut heap = BinaryHeap::new();
    let mut choices = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move || {
        choices ^= choices << 13;
        choices ^= choices >> 7;
        choices ^= choices << 17;
        choices % 1_000_000
    };
    for number in 0..WAITING {
        heap.push(Reverse((draw(), number, number)));
    }
    let mut digest = 0_u64;
    for number in WAITING..WAITING + events {
        let Some(Reverse((at, _, what))) = heap.pop() else { break };
        digest = digest.rotate_left(5) ^ at ^ what;
        heap.push(Reverse((at + draw(), number, what)));
    }
    black_box(digest);
    events
}
