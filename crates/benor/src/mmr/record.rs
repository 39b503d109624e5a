//! What a node writes to its own disk. Its standing is what the records say, in order.

use super::coin::Share;
use super::message::Values;
use consensus_core::ProposalId;
use serde::{Deserialize, Serialize};

/// A record. Variants are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A client proposed here.
    Given {
        /// The name of the proposal.
        id: ProposalId,
        /// The value.
        value: bool,
    },
    /// A round is entered with this value.
    Entered {
        /// The round.
        round: u64,
        /// The value: EST.
        value: bool,
    },
    /// A value is passed on, in the present round or an earlier one: EST.
    Relayed {
        /// The round.
        round: u64,
        /// The value.
        value: bool,
    },
    /// A value was accepted: AUX.
    Named(bool),
    /// These values were named by enough: CONF.
    Confirmed(Values),
    /// Our share of the round's coin.
    Shared(Share),
    /// A decision.
    Decided {
        /// What.
        value: bool,
        /// The round in which the node stood.
        round: u64,
    },
}
