//! What a node writes to its own disk. Its standing is what the records say, in order.

use crate::message::{Decided, Proposal, Report};
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
    /// A round is entered with this report.
    Reported {
        /// The round.
        round: u64,
        /// The report.
        report: Report,
    },
    /// The second vote of the round that was entered last.
    Proposed(Proposal),
    /// A decision.
    Decided {
        /// What, and how.
        decided: Decided,
        /// The round in which the node stood when it decided.
        round: u64,
    },
}
