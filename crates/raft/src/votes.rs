//! Who is a quorum: a majority of the voters and, during a joint change, also one of the outgoing voters.

use alloc::vec::Vec;
use consensus_core::quorum::{self, Tally};
use consensus_core::{Members, NodeId};

/// Groups up to this size are counted on the stack.
const ON_STACK: usize = 16;

/// Whether those who voted are a quorum. [R30]
pub(crate) fn has_quorum(members: &Members, votes: &Tally) -> bool {
    halves(members).all(|half| votes.count_among(half) >= quorum::majority(half.len()))
}

/// The largest value that a quorum has reached. [R11] [R30]
pub(crate) fn reached_by_quorum(members: &Members, value: impl Fn(NodeId) -> u64) -> u64 {
    halves(members).map(|half| reached_by_half(half, &value)).min().unwrap_or(0)
}

fn halves(members: &Members) -> impl Iterator<Item = &[NodeId]> {
    [members.voters(), members.outgoing()].into_iter().filter(|half| !half.is_empty())
}

fn reached_by_half(half: &[NodeId], value: impl Fn(NodeId) -> u64) -> u64 {
    let quorum = quorum::majority(half.len());
    let mut on_stack = [0; ON_STACK];
    if let Some(values) = on_stack.get_mut(..half.len()) {
        for (place, &node) in values.iter_mut().zip(half) {
            *place = value(node);
        }
        return quorum::reached_by(values, quorum).unwrap_or(0);
    }
    let mut values: Vec<u64> = half.iter().map(|&node| value(node)).collect();
    quorum::reached_by(&mut values, quorum).unwrap_or(0)
}
