//! Ballots: who may propose, and who comes before whom.

use consensus_core::{Epoch, NodeId};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Rounds above this are lies: no group lives that long, and a ballot below it fits into an [`Epoch`].
const MAX_ROUND: u64 = 1 << 46;
/// No correct node is so many rounds ahead of another that was ever told of one: that would take years of elections without end.
const MAX_ROUND_JUMP: u64 = 1 << 32;
/// Whoever knows no ballot yet believes no later round: however wrong it is, it leaves a group more than it can use up.
const MAX_FIRST_ROUND: u64 = MAX_ROUND / 2;
/// How many bits of an [`Epoch`] tell the node.
const NODE_BITS: u32 = 16;

/// A ballot: a round, and the node that leads it. Two nodes never lead the same one; the later round wins, and in one
/// round the higher node.
// [S1]
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

    /// Whether there is a ballot above it that somebody would believe.
    pub(crate) const fn has_next(self) -> bool {
        self.round < MAX_ROUND
    }

    /// [P21] The last round that whoever knows of no ballot above this one believes. Whoever promised one of the last ballots would
    /// accept nothing any more.
    const fn last_credible_round(self) -> u64 {
        let last = if self.round == 0 { MAX_FIRST_ROUND } else { self.round.saturating_add(MAX_ROUND_JUMP) };
        if last < MAX_ROUND { last } else { MAX_ROUND }
    }

    /// [P21] Whether whoever knows of no ballot above `known` can believe this one.
    pub(crate) const fn is_credible(self, known: Self) -> bool {
        self.round <= known.round || self.round <= known.last_credible_round()
    }

    /// [P21] This ballot, or as far towards it as is credible.
    pub(crate) fn as_credible(self, known: Self) -> Self {
        if self.is_credible(known) { self } else { Self { round: known.last_credible_round(), ..self } }
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

    // tests [P21]
    #[test]
    fn rounds_far_in_the_future_are_not_believed() {
        let jump = MAX_ROUND_JUMP;
        for (known, round, believed) in [
            (0, MAX_FIRST_ROUND, MAX_FIRST_ROUND),
            (0, MAX_FIRST_ROUND + 1, MAX_FIRST_ROUND),
            (7, 3, 3),
            (7, 7 + jump, 7 + jump),
            (7, 8 + jump, 7 + jump),
            (MAX_ROUND - 1, MAX_ROUND, MAX_ROUND),
            (MAX_ROUND - 1, MAX_ROUND + 1, MAX_ROUND),
        ] {
            let (known, told) = (ballot(known, 2), ballot(round, 3));
            assert_eq!(told.as_credible(known), ballot(believed, 3), "{known:?} {told:?}");
            assert_eq!(told.is_credible(known), believed == round);
        }
        assert!(ballot(MAX_ROUND - 1, 1).has_next() && !ballot(MAX_ROUND, 1).has_next());
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
