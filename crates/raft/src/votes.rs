//! Who is a quorum: a majority of the voters and, during a joint change, also one of the outgoing voters.

use alloc::vec::Vec;
use consensus_core::quorum::{self, Tally};
use consensus_core::{Members, NodeId};

/// Groups up to this size are counted on the stack.
const ON_STACK: usize = 8;

/// Whether those who voted are a quorum. [R30]
pub(crate) fn has_quorum(members: &Members, votes: &Tally) -> bool {
    halves(members).all(|half| votes.count_among(half) >= quorum::majority(half.len()))
}

/// The largest value that a quorum has reached. [R11] [R30]
#[inline]
pub(crate) fn reached_by_quorum(members: &Members, value: impl Fn(NodeId) -> u64) -> u64 {
    if members.outgoing().is_empty() {
        return reached_by_half(members.voters(), &value);
    }
    halves(members).map(|half| reached_by_half(half, &value)).min().unwrap_or(0)
}

fn halves(members: &Members) -> impl Iterator<Item = &[NodeId]> {
    [members.voters(), members.outgoing()].into_iter().filter(|half| !half.is_empty())
}

fn reached_by_half(half: &[NodeId], value: impl Fn(NodeId) -> u64) -> u64 {
    let quorum = quorum::majority(half.len());
    if let &[a, b, c] = half {
        // The one in the middle.
        let (a, b, c) = (value(a), value(b), value(c));
        return a.min(b).max(a.max(b).min(c));
    }
    if half.len() <= ON_STACK {
        // So few are sorted as they come in, the largest first.
        let mut sorted = [0; ON_STACK];
        for (count, &node) in half.iter().enumerate() {
            let mut value = value(node);
            for place in sorted.iter_mut().take(count + 1) {
                let smaller = value.min(*place);
                *place = value.max(*place);
                value = smaller;
            }
        }
        return sorted.get(quorum - 1).copied().unwrap_or(0);
    }
    let mut values: Vec<u64> = half.iter().map(|&node| value(node)).collect();
    quorum::reached_by(&mut values, quorum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::vec;

    /// The oracle: the largest value that at least a majority of each half has reached, by counting.
    fn counted(members: &Members, values: &[u64]) -> u64 {
        let value = |node: &NodeId| values.get(node.0 as usize).copied().unwrap_or(0);
        let is_reached = |limit: u64| {
            halves(members)
                .all(|half| half.iter().filter(|node| value(node) >= limit).count() * 2 > half.len())
        };
        let reached = values.iter().copied().filter(|&limit| is_reached(limit)).max();
        if halves(members).next().is_none() { 0 } else { reached.unwrap_or(0) }
    }

    quickcheck! {
        // tests [R11] [R30]
        fn the_fast_path_agrees_with_counting(values: Vec<u64>, voters: Vec<u8>, outgoing: Vec<u8>) -> bool {
            let mut values = values;
            values.resize(values.len().max(25), 0);
            let nodes = |list: Vec<u8>| list.into_iter().map(|node| NodeId(u64::from(node) % 24 + 1));
            let members = Members::of(nodes(voters)).with_outgoing(nodes(outgoing));
            let fast = reached_by_quorum(&members, |node| values[node.0 as usize]);
            fast == counted(&members, &values)
        }

        // tests [R30]
        fn votes_are_counted_by_distinct_voter(voters: Vec<u8>, outgoing: Vec<u8>, votes: Vec<u8>) -> bool {
            let nodes = |list: Vec<u8>| list.into_iter().map(|node| NodeId(u64::from(node) % 24 + 1));
            let members = Members::of(nodes(voters)).with_outgoing(nodes(outgoing));
            let mut tally = Tally::new();
            let mut values = vec![0; 25];
            for node in nodes(votes) {
                tally.add(node);
                values[node.0 as usize] = 1;
            }
            members.voter_count() == 0 || has_quorum(&members, &tally) == (counted(&members, &values) == 1)
        }
    }
}
