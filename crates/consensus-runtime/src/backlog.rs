//! What a socket did not take: frames, in a queue for each group, that leave in turns, so that a group with much to say does not
//! stand before the others.
//!
//! Invariants: frames of one group leave in their order and never cut; no queue is empty; `bytes` is the sum over the queues.

use crate::frame;
use consensus_core::GroupId;
use std::collections::{BTreeMap, VecDeque};

/// A group's turn ends with the frame that reaches this.
const TURN_BYTES: usize = 64 << 10;

/// The queues of one connection.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    queues: BTreeMap<GroupId, Queue>,
    turns: VecDeque<GroupId>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// What is before it has left.
    from: usize,
}

impl Queue {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// How much waits.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a group may put in so many bytes more: it may hold as much as it leaves free of `most`.
    pub(crate) fn admits(&self, group: GroupId, size: usize, most: usize) -> bool {
        if self.bytes == 0 {
            return size <= most;
        }
        let held = self.queues.get(&group).map_or(0, |queue| queue.rest().len());
        held + size <= most.saturating_sub(self.bytes)
    }

    /// Puts in whole frames of any groups.
    pub(crate) fn push(&mut self, frames: &[u8]) {
        for frame in frame::split(frames) {
            let queue = self.queues.entry(frame.group).or_insert_with(|| {
                self.turns.push_back(frame.group);
                Queue::default()
            });
            queue.bytes.extend_from_slice(frame.bytes);
            self.bytes += frame.bytes.len();
        }
    }

    /// Takes the next group's turn out, into what is empty; false if there is nothing.
    pub(crate) fn next(&mut self, into: &mut Vec<u8>) -> bool {
        let Some(group) = self.turns.pop_front() else { return false };
        let Some(queue) = self.queues.get_mut(&group) else { return false };
        let mut size = 0;
        for frame in frame::split(queue.rest()) {
            size += frame.bytes.len();
            if size >= TURN_BYTES {
                break;
            }
        }
        into.extend_from_slice(queue.rest().get(..size).unwrap_or_default());
        queue.from += size;
        self.bytes -= size;
        if queue.rest().is_empty() {
            self.queues.remove(&group);
        } else {
            if queue.from > queue.bytes.len() / 2 {
                queue.bytes.drain(..queue.from);
                queue.from = 0;
            }
            self.turns.push_back(group);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Kind, write};
    use consensus_core::NodeId;

    fn frame(group: u64, mark: u8, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Message, GroupId(group), NodeId(1), &vec![mark; size]).unwrap();
        bytes
    }

    fn drain(backlog: &mut Backlog) -> Vec<Vec<u8>> {
        let next = || {
            let mut turn = Vec::new();
            backlog.next(&mut turn).then_some(turn)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_group_with_much_to_say_does_not_stand_before_the_others() {
        let mut backlog = Backlog::default();
        let long: Vec<_> = (0..8).map(|mark| frame(1, mark, 40_000)).collect();
        backlog.push(&long.concat());
        let short = [frame(2, 1, 10), frame(3, 2, 10), frame(2, 3, 10)];
        backlog.push(&short.concat());
        assert_eq!(backlog.bytes, long.concat().len() + short.concat().len());
        let turns = drain(&mut backlog);
        let expected = [
            long[..2].concat(),
            [short[0].clone(), short[2].clone()].concat(),
            short[1].clone(),
            long[2..4].concat(),
            long[4..6].concat(),
            long[6..].concat(),
        ];
        assert_eq!(turns, expected);
        assert!(backlog.is_empty() && backlog.bytes == 0 && backlog.turns.is_empty());
    }

    #[test]
    fn one_group_cannot_fill_it() {
        let most = 100_000;
        let mut backlog = Backlog::default();
        let fill = |backlog: &mut Backlog, group| {
            let frame = frame(group, 0, 1_000);
            while backlog.admits(GroupId(group), frame.len(), most) {
                backlog.push(&frame);
            }
            backlog.bytes
        };
        assert!(fill(&mut backlog, 1) <= most / 2 + 1_100);
        assert!(fill(&mut backlog, 2) <= most * 3 / 4 + 1_100);
        assert!(backlog.admits(GroupId(3), 5_000, most), "there is room for those who have nothing in it");
        assert!(!backlog.admits(GroupId(1), 5_000, most));
        assert!(
            Backlog::default().admits(GroupId(1), most, most),
            "whatever fits is taken where nothing waits"
        );
    }
}
