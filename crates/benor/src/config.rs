//! What can be set, its bounds and its defaults.

use consensus_core::{ConfigError, Members};

/// The configuration of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a node that is waiting for votes waits before it says again where it stands, and asks the others where they
    /// do, in milliseconds; some times the slowest round trip. A wait that is too short costs messages, nothing else.
    pub retry_ms: u64,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retry_ms: 50,
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
        if members.voter_count() == 0 {
            return Err(ConfigError::new("members", "nobody has a vote: name at least one voter"));
        }
        if !members.outgoing().is_empty() {
            return Err(ConfigError::new("members", "they never change here: leave the outgoing ones out"));
        }
        Ok(())
    }
}
