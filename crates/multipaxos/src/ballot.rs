//! Ballots: who may propose, and who comes before whom.

use consensus_core::{Epoch, NodeId};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Rounds above this are lies: no group lives that long, and a ballot below it fits into an [`Epoch`].
const MAX_ROUND: u64 = 1 << 46;
/// How many bits of an [`Epoch`] tell the node.
const NODE_BITS: u32 = 16;

/// A ballot: a round, and the node that leads it. [S1] Two nodes never lead the same one; the later round wins, and in one
/// round the higher node.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// The round.
    pub round: u64,
    /// Who leads it.
    pub node: NodeId,
}

impl Ballot {
    /// Before every ballot that anybody leads.
    pub const ZERO: Self = Self { round: 0, node: NodeId::ZERO };

    /// The lowest ballot that `node` leads and that is above this one.
    #[must_use]
    pub const fn next(self, node: NodeId) -> Self {
        Self { round: self.round + 1, node }
    }

    /// Whether somebody may lead it.
    pub(crate) fn is_sound(self) -> bool {
        (1..=MAX_ROUND).contains(&self.round) && self.node != NodeId::ZERO
    }

    /// The ballot as one number, for observers: it never falls where ballots rise, and as long as nodes are numbered below 2^16,
    /// two ballots never share it.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        let most = (1 << NODE_BITS) - 1;
        Epoch(self.round << NODE_BITS | self.node.0.min(most))
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}.{}", self.round, self.node.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    const fn ballot(round: u64, node: u64) -> Ballot {
        Ballot { round, node: NodeId(node) }
    }

    quickcheck! {
        // tests [S1]
        fn ballots_are_ordered_by_round_then_node(a: (u8, u8), b: (u8, u8)) -> bool {
            let (x, y) = (ballot(a.0.into(), a.1.into()), ballot(b.0.into(), b.1.into()));
            x.cmp(&y) == a.cmp(&b) && (x == y) == (a == b) && x.epoch().cmp(&y.epoch()) == x.cmp(&y)
        }

        // tests [S1]
        fn the_next_ballot_is_above_and_of_its_node(a: (u32, u8), node: u8) -> bool {
            let before = ballot(a.0.into(), a.1.into());
            let next = before.next(NodeId(node.into()));
            next > before && next.node == NodeId(node.into())
        }
    }

    // tests [S1]
    #[test]
    fn epochs_never_fall_where_ballots_rise() {
        let rising =
            [ballot(5, 9), ballot(5, 1 << 16), ballot(5, 1 << 40), ballot(6, 1), ballot(MAX_ROUND, 3)];
        assert!(rising.is_sorted_by(|a, b| a < b && a.epoch() <= b.epoch()));
        assert!(ballot(MAX_ROUND, u64::MAX).is_sound() && !ballot(MAX_ROUND + 1, 1).is_sound());
        assert!(!ballot(0, 1).is_sound() && !ballot(1, 0).is_sound());
    }
}
