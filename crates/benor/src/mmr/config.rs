//! What can be set, its bounds and its defaults; and the numbers of the group.

use super::coin::Coin;
use alloc::format;
use consensus_core::{ConfigError, Members, quorum};

/// The configuration of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// The keys of the common coin: the public ones of all voters, and our own secret one.
    pub coin: Coin,
    /// How long a node that is waiting for votes waits before it says again where it stands, and asks the others where they
    /// do, in milliseconds; some times the slowest round trip. A wait that is too short costs messages, nothing else.
    pub retry_ms: u64,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<super::Mutant>,
}

/// Without keys: they must be given.
impl Default for Config {
    fn default() -> Self {
        Self {
            coin: Coin::default(),
            retry_ms: 50,
            #[cfg(all(feature = "mutants", debug_assertions))]
            mutant: None,
        }
    }
}

/// How many distinct voters it takes, the own vote included.
// [M1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// To go on from a wait: n − t, as many as certainly answer. Two such sets share more than t voters.
    pub wait: usize,
    /// To accept a value: 2t + 1 that speak for it, of whom t + 1 are correct, so that everybody will come to pass it on.
    pub accept: usize,
    /// To pass a value on: t + 1 that speak for it, one of whom is correct.
    pub relay: usize,
    /// To believe a decision: t + 1, one of whom is correct.
    pub believe: usize,
}

impl Thresholds {
    /// The numbers for `n` voters.
    #[must_use]
    pub const fn of(n: usize) -> Self {
        let t = quorum::byzantine_faults(n);
        Self { wait: n - t, accept: 2 * t + 1, relay: t + 1, believe: t + 1 }
    }
}

impl Config {
    /// Checks every bound, and whether the keys are those of the voters.
    ///
    /// # Errors
    /// Names the first field that is out of bounds.
    pub fn validate(&self, members: &Members) -> Result<(), ConfigError> {
        if self.retry_ms == 0 || self.retry_ms > 1 << 32 {
            return Err(ConfigError::new("retry_ms", "it must lie within 1..=2^32"));
        }
        let voters = members.voters();
        if voters.is_empty() {
            return Err(ConfigError::new("members", "nobody has a vote: name at least one voter"));
        }
        if !members.outgoing().is_empty() {
            return Err(ConfigError::new("members", "they never change here: leave the outgoing ones out"));
        }
        let keys = self.coin.keys();
        if keys.members() != voters {
            let problem = format!(
                "there are keys of {:?}, and the voters are {voters:?}: each needs one",
                keys.members()
            );
            return Err(ConfigError::new("coin", problem));
        }
        // [M6] Fewer shares are no secret from the liars, and more may not come before some correct nodes are waiting for others.
        let needed = quorum::weak(voters.len());
        if keys.threshold() != needed {
            let problem = format!(
                "{} shares make a coin of these keys, and it must be {needed}: one more than may lie",
                keys.threshold()
            );
            return Err(ConfigError::new("coin", problem));
        }
        Ok(())
    }
}
