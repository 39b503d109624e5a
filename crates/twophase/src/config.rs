//! What can be set, its bounds and its defaults.

use crate::transaction::Presumption;
use consensus_core::{ConfigError, Members};

/// The longest time of any kind, in milliseconds.
const MAX_MS: u64 = 1 << 32;

/// The configuration of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is presumed of the transactions that this node coordinates. (Paxos Commit presumes nothing.)
    pub presumption: Presumption,
    /// How long a coordinator waits for votes before it aborts, in milliseconds; some times the slowest round trip, disk included.
    pub voting_ms: u64,
    /// How long until a message that may be lost is sent again, in milliseconds; some times the slowest round trip. Who has promised
    /// asks after this time what has become of it.
    pub retry_ms: u64,
    /// How many acceptors of a transaction may be down (F): 2F + 1 keep its votes. `None`: as many as the group can spare. It must be
    /// the same at all nodes; two-phase commit does not use it.
    pub faults: Option<usize>,
    /// The most transactions that a node coordinates at a time, and sixteen times as many with those whose verdict is not acknowledged
    /// by all; more are refused as busy. It takes part in so many of each voter at most.
    pub max_open: usize,
    /// The longest payload, its envelope included, in bytes.
    pub max_payload_bytes: usize,
    /// How many verdicts are remembered of one client; it has no more transactions in flight.
    pub remembered_per_client: usize,
    /// How many verdicts are remembered of all clients.
    pub remembered: usize,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            presumption: Presumption::Abort,
            voting_ms: 1_000,
            retry_ms: 100,
            faults: None,
            max_open: 1024,
            max_payload_bytes: 1 << 20,
            remembered_per_client: 1024,
            remembered: 1 << 20,
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
        if self.retry_ms == 0 || self.retry_ms > MAX_MS {
            return Err(ConfigError::new("retry_ms", "it must lie within 1..=2^32"));
        }
        if self.voting_ms < self.retry_ms || self.voting_ms > MAX_MS {
            return Err(ConfigError::new("voting_ms", "it must lie within retry_ms..=2^32"));
        }
        if self.max_open == 0 || self.max_open > 1 << 20 {
            return Err(ConfigError::new("max_open", "it must lie within 1..=2^20"));
        }
        if self.max_payload_bytes == 0 || self.max_payload_bytes > 4 << 20 {
            return Err(ConfigError::new(
                "max_payload_bytes",
                "it must lie within 1..=4 MiB, to fit into a frame",
            ));
        }
        if self.remembered_per_client == 0 || self.remembered_per_client > self.remembered {
            return Err(ConfigError::new("remembered_per_client", "it must lie within 1..=remembered"));
        }
        if self.remembered > 1 << 26 {
            return Err(ConfigError::new("remembered", "it must be at most 2^26"));
        }
        if members.voter_count() == 0 {
            return Err(ConfigError::new("members", "nobody has a vote: name at least one voter"));
        }
        if !members.outgoing().is_empty() {
            return Err(ConfigError::new("members", "they never change here: leave the outgoing ones out"));
        }
        if self.faults.is_some_and(|faults| faults > members.voter_count().saturating_sub(1) / 2) {
            return Err(ConfigError::new(
                "faults",
                "2F + 1 acceptors are needed: name fewer faults or more voters",
            ));
        }
        Ok(())
    }

    /// F, for so many voters. [T18]
    pub(crate) const fn faults_of(&self, voters: usize) -> usize {
        let most = voters.saturating_sub(1) / 2;
        match self.faults {
            Some(faults) if faults < most => faults,
            Some(_) | None => most,
        }
    }
}
