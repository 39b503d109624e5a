//! Relations between the operations of a history, as rows of bits.

use std::collections::VecDeque;

/// A set of operations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bits(Box<[u64]>);

impl Bits {
    /// The empty set of operations below `size`.
    pub(super) fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)].into())
    }

    pub(super) fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.0[index / 64] &= !(1 << (index % 64));
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    /// Takes up all of `other`; whether that was more.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        let mut gained = 0;
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            gained |= more & !*word;
            *word |= more;
        }
        gained != 0
    }

    pub(super) fn words(&self) -> usize {
        self.0.len()
    }
}

/// All that is before each operation, if `before` names its neighbours. In a cycle an operation is before itself.
pub(super) fn closure(before: &[Vec<usize>]) -> Vec<Bits> {
    let mut past = vec![Bits::new(before.len()); before.len()];
    let (order, is_cyclic) = order(before);
    // One round does it if there is no cycle.
    loop {
        let mut grew = false;
        for &index in &order {
            let mut row = core::mem::replace(&mut past[index], Bits::new(0));
            for &other in &before[index] {
                if !row.contains(other) {
                    row.insert(other);
                    grew = true;
                }
                if other != index {
                    grew |= row.join(&past[other]);
                }
            }
            past[index] = row;
        }
        if !grew || !is_cyclic {
            return past;
        }
    }
}

/// An order in which everything stands behind its neighbours, and whether there is a cycle; what is in or behind one comes last.
fn order(before: &[Vec<usize>]) -> (Vec<usize>, bool) {
    let mut missing: Vec<usize> = before.iter().map(Vec::len).collect();
    let behind = reverse(before);
    let mut order: Vec<usize> = (0..before.len()).filter(|&index| missing[index] == 0).collect();
    let mut at = 0;
    while let Some(&index) = order.get(at) {
        at += 1;
        for &next in &behind[index] {
            missing[next] -= 1;
            if missing[next] == 0 {
                order.push(next);
            }
        }
    }
    let is_cyclic = order.len() < before.len();
    order.extend((0..before.len()).filter(|&index| missing[index] > 0));
    (order, is_cyclic)
}

/// The same neighbours, seen from the other side.
pub(super) fn reverse(before: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut behind = vec![Vec::new(); before.len()];
    for (index, others) in before.iter().enumerate() {
        for &other in others {
            behind[other].push(index);
        }
    }
    behind
}

/// A shortest way from one operation to a later one, both included; from an operation to itself it goes around a cycle. Empty
/// if there is none.
pub(super) fn path(before: &[Vec<usize>], from: usize, to: usize) -> Vec<usize> {
    let mut next = vec![None; before.len()];
    let mut waiting = VecDeque::from([to]);
    while let Some(index) = waiting.pop_front() {
        for &other in &before[index] {
            if other == from {
                let mut way = vec![from, index];
                let mut last = index;
                while last != to {
                    let Some(step) = next[last] else { break };
                    way.push(step);
                    last = step;
                }
                return way;
            }
            if other != to && next[other].is_none() {
                next[other] = Some(index);
                waiting.push_back(other);
            }
        }
    }
    Vec::new()
}

/// A cycle, each operation once.
pub(super) fn cycle(before: &[Vec<usize>], past: &[Bits]) -> Option<Vec<usize>> {
    let inside = (0..before.len()).find(|&index| past[index].contains(index))?;
    let mut around = path(before, inside, inside);
    around.pop();
    Some(around)
}
