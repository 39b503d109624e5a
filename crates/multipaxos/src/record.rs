//! What a node writes to its own disk. The state is what the records say, in order (see [`crate::state`]).

use crate::ballot::Ballot;
use crate::configuration::Configuration;
use crate::value::Values;
use alloc::boxed::Box;
use consensus_core::Slot;
use serde::{Deserialize, Serialize};

/// A record. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A ballot is promised.
    Promised(Ballot),
    /// Values are accepted, and their ballot promised.
    Accepted {
        /// The ballot.
        ballot: Ballot,
        /// The slot of the first value.
        first: Slot,
        /// At least one.
        values: Values,
        /// Everything up to here was known to be chosen before that.
        chosen: Slot,
    },
    /// Values are known to be chosen, and so is everything before them.
    Learnt {
        /// The slot of the first value.
        first: Slot,
        /// At least one.
        values: Values,
    },
    /// The configuration at the end of the snapshot, or at birth: the first record of all.
    Configuration {
        /// The last slot that the snapshot contains; zero at birth.
        through: Slot,
        /// Who takes part.
        configuration: Box<Configuration>,
        /// Where the log that was kept begins: behind this slot.
        base: Slot,
    },
}
