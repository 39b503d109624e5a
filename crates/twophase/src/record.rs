//! What a node writes to its own disk.

use crate::message::Registered;
use crate::past::Remembered;
use crate::transaction::{Header, Transaction};
use alloc::vec::Vec;
use consensus_core::{Bytes, ProposalId};
use multipaxos::Ballot;
use serde::{Deserialize, Serialize};

/// A record. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A coordinator is about to ask for votes, under presumed commit.
    Begun(Header),
    /// A participant's YES, with all that a commit takes.
    Prepared(Transaction),
    /// The commit of whoever decides: the coordinator, or the only participant.
    Committed {
        /// Of what.
        header: Header,
        /// What is carried out here, or by others; nothing once a snapshot has it.
        payload: Option<Bytes>,
    },
    /// The verdict on what was prepared here.
    Settled {
        /// On what.
        id: ProposalId,
        /// Whether it is committed.
        commit: bool,
    },
    /// It is aborted, and must not be begun again, nor voted for.
    Aborted {
        /// What.
        id: ProposalId,
    },
    /// Everybody has acknowledged the coordinator's verdict.
    Ended {
        /// What.
        id: ProposalId,
    },
    /// All that an acceptor knows of one transaction: it replaces what it knew before.
    Registered {
        /// Of what.
        header: Header,
        /// What was promised.
        promised: Ballot,
        /// What was accepted.
        votes: Vec<Registered>,
    },
    /// An acceptor needs to know no more than the verdict.
    Closed {
        /// Of what.
        id: ProposalId,
        /// Whether it was committed.
        commit: bool,
    },
    /// A verdict that a snapshot does not contain yet.
    Carried {
        /// On what.
        id: ProposalId,
        /// Whether it is committed.
        commit: bool,
        /// What was decided on.
        payload: Bytes,
    },
    /// What was settled before a snapshot.
    Past(Remembered),
}

impl Record {
    /// What it says of a transaction besides its name.
    pub(crate) const fn header(&self) -> Option<&Header> {
        match self {
            Self::Prepared(transaction) => Some(&transaction.header),
            Self::Begun(header) | Self::Committed { header, .. } | Self::Registered { header, .. } => {
                Some(header)
            }
            Self::Settled { .. }
            | Self::Aborted { .. }
            | Self::Ended { .. }
            | Self::Closed { .. }
            | Self::Carried { .. }
            | Self::Past(_) => None,
        }
    }
}
