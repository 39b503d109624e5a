//! What the nodes say to each other.

use consensus_core::Bytes;
use serde::{Deserialize, Serialize};

/// A message. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// "This is what I hold in this round."
    Flood {
        /// The round, from 1 on.
        round: u64,
        /// The value.
        estimate: Bytes,
        /// Whether the sender decides it now: it knows that all hold it.
        is_early: bool,
    },
}
