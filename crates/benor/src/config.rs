//! What can be set, its bounds and its defaults.

use crate::coin::MAX_COMMON_ROUNDS;
use consensus_core::{ConfigError, Members};

/// The configuration of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a node that is waiting for votes waits before it says again where it stands, and asks the others where they
    /// do, in milliseconds; some times the slowest round trip. A wait that is too short costs messages, nothing else.
    pub retry_ms: u64,
    /// In how many rounds all nodes toss the same coin, made from `coin_key`; in later ones each tosses its own. Few rounds are enough then,
    /// but for whoever knows the key and orders the messages by it, who can waste so many. All nodes must have the same two.
    pub common_rounds: u64,
    /// What the common coins are made from.
    pub coin_key: u64,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retry_ms: 50,
            common_rounds: 0,
            coin_key: 0,
            #[cfg(all(feature = "mutants", debug_assertions))]
            mutant: None,
        }
    }
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// Names the first field that is out of bounds.
    pub fn validate(&self, members: &Members) -> Result<(), ConfigError> {
        if self.retry_ms == 0 || self.retry_ms > 1 << 32 {
            return Err(ConfigError::new("retry_ms", "it must lie within 1..=2^32"));
        }
        if self.common_rounds > MAX_COMMON_ROUNDS {
            return Err(ConfigError::new(
                "common_rounds",
                "it must be at most 2^10, or termination rests on the key",
            ));
        }
        if members.voter_count() == 0 {
            return Err(ConfigError::new("members", "nobody has a vote: name at least one voter"));
        }
        if !members.outgoing().is_empty() {
            return Err(ConfigError::new("members", "they never change here: leave the outgoing ones out"));
        }
        Ok(())
    }
}
