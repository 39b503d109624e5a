//! Quorum arithmetic. Votes are counted by distinct sender, never by message.

use crate::algorithm::ConfigError;
use crate::id::NodeId;
use alloc::format;
use alloc::vec::Vec;

/// Groups up to this size are counted on the stack.
const ON_STACK: usize = 8;

/// The smallest number such that any two sets of that size among `n` intersect: ⌊n/2⌋ + 1.
#[must_use]
pub const fn majority(n: usize) -> usize {
    n / 2 + 1
}

/// The most liars that `n` nodes can outvote: ⌊(n−1)/3⌋.
#[must_use]
pub const fn byzantine_faults(n: usize) -> usize {
    n.saturating_sub(1) / 3
}

/// The smallest number such that any two sets of that size among `n` share an *honest* node: ⌈(n+f+1)/2⌉ with
/// f = ⌊(n−1)/3⌋. It equals 2f+1 only when n = 3f+1 (PBFT, Castro and Liskov 1999 §4, generalised).
#[must_use]
pub const fn byzantine(n: usize) -> usize {
    (n + byzantine_faults(n) + 1).div_ceil(2)
}

/// The smallest number that surely contains an honest node: f+1.
#[must_use]
pub const fn weak(n: usize) -> usize {
    byzantine_faults(n) + 1
}

/// Two kinds of quorum that need only intersect each other (Howard, Malkhi and Spiegelman 2016).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flexible {
    first: usize,
    second: usize,
}

impl Flexible {
    /// Phase-1 quorums of `first` and phase-2 quorums of `second` among `n` nodes.
    ///
    /// # Errors
    /// Unless `first + second > n` and both are within 1..=n.
    pub fn new(n: usize, first: usize, second: usize) -> Result<Self, ConfigError> {
        if first == 0 || second == 0 || first > n || second > n {
            let problem = format!("quorums of {first} and {second} do not lie within 1..={n}");
            return Err(ConfigError::new("quorums", problem));
        }
        if first + second <= n {
            let problem = format!(
                "{first} + {second} must exceed {n}, or two quorums may miss each other and decide twice"
            );
            return Err(ConfigError::new("quorums", problem));
        }
        Ok(Self { first, second })
    }

    /// Majorities for both.
    #[must_use]
    pub const fn majorities(n: usize) -> Self {
        Self { first: majority(n), second: majority(n) }
    }

    /// How many promises elect a leader.
    #[must_use]
    pub const fn first(&self) -> usize {
        self.first
    }

    /// How many acceptances choose a value.
    #[must_use]
    pub const fn second(&self) -> usize {
        self.second
    }
}

/// Votes by distinct sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    voters: Vec<NodeId>,
}

impl Tally {
    /// No votes.
    #[must_use]
    pub const fn new() -> Self {
        Self { voters: Vec::new() }
    }

    /// Counts the vote of `voter`; false if it was counted before.
    pub fn add(&mut self, voter: NodeId) -> bool {
        match self.voters.binary_search(&voter) {
            Ok(_) => false,
            Err(place) => {
                self.voters.insert(place, voter);
                true
            }
        }
    }

    /// Whether the vote of `voter` was counted.
    #[must_use]
    pub fn contains(&self, voter: NodeId) -> bool {
        self.voters.binary_search(&voter).is_ok()
    }

    /// How many distinct nodes voted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.voters.len()
    }

    /// How many of `among` voted: strangers and former members do not count.
    #[must_use]
    pub fn count_among(&self, among: &[NodeId]) -> usize {
        among.iter().filter(|&&node| self.contains(node)).count()
    }

    /// Forgets all votes.
    pub fn clear(&mut self) {
        self.voters.clear();
    }
}

/// The largest value that at least `quorum` of `values` have reached: the commit rule of every log. Reorders `values`.
/// `None` if there are fewer than `quorum` values or `quorum` is zero.
pub fn reached_by<V: Ord + Copy>(values: &mut [V], quorum: usize) -> Option<V> {
    if quorum == 0 || values.len() < quorum {
        return None;
    }
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(quorum - 1).copied()
}

/// The largest value that at least `quorum` of these voters have reached; zero if there are fewer, or `quorum` is zero.
#[inline]
pub fn reached_by_voters(voters: &[NodeId], quorum: usize, value: impl Fn(NodeId) -> u64) -> u64 {
    if let (&[a, b, c], 2) = (voters, quorum) {
        // The one in the middle.
        let (a, b, c) = (value(a), value(b), value(c));
        return a.min(b).max(a.max(b).min(c));
    }
    if voters.len() <= ON_STACK {
        // So few are sorted as they come in, the largest first.
        let mut sorted = [0; ON_STACK];
        for (count, &node) in voters.iter().enumerate() {
            let mut value = value(node);
            for place in sorted.iter_mut().take(count + 1) {
                let smaller = value.min(*place);
                *place = value.max(*place);
                value = smaller;
            }
        }
        return quorum.checked_sub(1).and_then(|place| sorted.get(place)).copied().unwrap_or(0);
    }
    let mut values: Vec<u64> = voters.iter().map(|&node| value(node)).collect();
    reached_by(&mut values, quorum).unwrap_or(0)
}
