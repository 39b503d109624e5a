//! What can be set, its bounds and its defaults.

use consensus_core::{ConfigError, Members};

/// The configuration of one node. All nodes must have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a round lasts, in milliseconds: at least twice the longest delay of a message together with the longest that a node
    /// takes to answer, and what clocks may drift apart besides. A promise that you make: if it is broken, nodes may disagree.
    pub round_ms: u64,
    /// t, how many nodes may crash; `None`: all but one. Rounds are one more.
    pub faults: Option<usize>,
    /// Whether nodes decide as soon as they can tell that nobody crashes any more, and not at the end of the last round.
    pub early: bool,
    /// The longest payload of a proposal, in bytes.
    pub max_payload_bytes: usize,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            round_ms: 1_000,
            faults: None,
            early: true,
            max_payload_bytes: 1 << 20,
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
    // [F8]
    pub fn validate(&self, members: &Members) -> Result<(), ConfigError> {
        if self.round_ms == 0 || self.round_ms > 1 << 32 {
            return Err(ConfigError::new("round_ms", "it must lie within 1..=2^32"));
        }
        if members.voter_count() == 0 {
            return Err(ConfigError::new("members", "nobody has a vote: name at least one voter"));
        }
        if !members.outgoing().is_empty() || !members.learners().is_empty() {
            return Err(ConfigError::new(
                "members",
                "all must vote here: leave learners and the outgoing out",
            ));
        }
        if self.faults.is_some_and(|faults| faults >= members.voter_count()) {
            return Err(ConfigError::new(
                "faults",
                "somebody must live: it must be less than the voters are",
            ));
        }
        if self.max_payload_bytes > 16 << 20 {
            return Err(ConfigError::new("max_payload_bytes", "it must be at most 16 MiB"));
        }
        Ok(())
    }

    /// The number of rounds of so many voters: t + 1.
    // [F4]
    pub(crate) fn rounds(&self, voters: usize) -> u64 {
        self.faults.map_or(voters, |faults| faults + 1) as u64
    }
}
