//! What a node writes to its own disk.

use super::message::{BatchId, Instance, Numbers, Offer, Parcel};
use crate::message::{Proposal, Report};
use serde::{Deserialize, Serialize};

/// What is cast in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vote {
    /// The first vote of the next round.
    Report(Report),
    /// The second of the same.
    Proposal(Proposal),
}

/// A record. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The snapshot on this disk contains everything up to here. The first record behind a snapshot, and nowhere else.
    Base {
        /// The last instance.
        instance: Instance,
        /// The batches that are settled by then.
        numbers: Numbers,
    },
    /// A batch that this node holds, its own or another's.
    Held(Parcel),
    /// What it has offered.
    Offered {
        /// In this instance.
        instance: Instance,
        /// The offer.
        offer: Offer,
    },
    /// What it has cast in the rounds.
    Voted {
        /// In this instance.
        instance: Instance,
        /// The vote.
        vote: Vote,
        /// The batch that `true` means, as far as it is known.
        batch: Option<BatchId>,
    },
    /// What an instance has decided.
    Decided {
        /// The instance.
        instance: Instance,
        /// What.
        decided: Offer,
    },
}
