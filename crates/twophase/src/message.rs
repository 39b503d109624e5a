//! What nodes say to each other.

use crate::transaction::{Header, MAX_PARTICIPANTS, Transaction};
use alloc::vec::Vec;
use consensus_core::{NodeId, Offence, ProposalId, wire};
use multipaxos::Ballot;
use serde::{Deserialize, Serialize};

/// Rounds above this are lies: nobody leads so many ballots.
pub(crate) const MAX_ROUND: u64 = 1 << 46;

/// How a participant answers the question of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vote {
    /// It is promised, and the promise is on disk.
    Yes,
    /// It cannot be done here.
    No,
    /// It can be done, and changes nothing here.
    ReadOnly,
    /// Another node coordinates a transaction of this name.
    Foreign(NodeId),
    /// A transaction of this name was committed here before.
    Committed,
    /// It may have been settled so long ago that the verdict is gone.
    Forgotten,
}

/// What an acceptor has accepted of one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Whose vote.
    pub participant: NodeId,
    /// In which ballot.
    pub ballot: Ballot,
    /// Whether it is prepared; otherwise it is aborted.
    pub prepared: bool,
}

/// A message. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// The coordinator asks a participant for its vote.
    Prepare(Transaction),
    /// The vote.
    Vote {
        /// On what.
        id: ProposalId,
        /// What it is.
        vote: Vote,
    },
    /// The verdict.
    Outcome {
        /// On what.
        id: ProposalId,
        /// Whether it is committed.
        commit: bool,
    },
    /// The verdict has come, and will not be asked for again.
    Acknowledge {
        /// On what.
        id: ProposalId,
    },
    /// Whoever has promised and hears nothing asks the coordinator, and then its peers: what has become of it?
    Inquire(Header),
    /// The answer of a peer that has promised too.
    InDoubt {
        /// Of what.
        id: ProposalId,
    },
    /// Paxos Commit, phase 2a of ballot zero: the sender is prepared.
    Register(Header),
    /// Phase 1a: promise this ballot, for all participants at once.
    Query {
        /// Of what.
        header: Header,
        /// The ballot.
        ballot: Ballot,
    },
    /// Phase 1b.
    Promised {
        /// Of what.
        id: ProposalId,
        /// The ballot.
        ballot: Ballot,
        /// What was accepted before.
        #[serde(deserialize_with = "wire::at_most::<MAX_PARTICIPANTS, _, _>")]
        votes: Vec<Registered>,
    },
    /// Phase 2a, for all participants at once.
    Propose {
        /// Of what.
        header: Header,
        /// The ballot.
        ballot: Ballot,
        /// Who is prepared; the others are aborted.
        #[serde(deserialize_with = "wire::at_most::<MAX_PARTICIPANTS, _, _>")]
        prepared: Vec<NodeId>,
    },
    /// Phase 2b. In ballot zero: all participants are prepared.
    Accepted {
        /// Of what.
        id: ProposalId,
        /// The ballot.
        ballot: Ballot,
    },
    /// A higher ballot was promised.
    Refused {
        /// Of what.
        id: ProposalId,
        /// That ballot.
        ballot: Ballot,
    },
    /// Every participant has the verdict: no acceptor will be asked any more.
    Forget {
        /// What.
        id: ProposalId,
        /// Whether it was committed.
        commit: bool,
    },
}

impl Message {
    /// Whether a correct node may send this.
    // [T16]
    pub(crate) fn check(&self, from: NodeId) -> Result<(), Offence> {
        match self {
            Self::Prepare(transaction) => {
                transaction.header.check()?;
                if transaction.header.coordinator == from {
                    Ok(())
                } else {
                    Err(Offence::Malformed("a question in the name of another coordinator"))
                }
            }
            Self::Inquire(header) | Self::Register(header) => {
                header.check()?;
                if header.has(from) {
                    Ok(())
                } else {
                    Err(Offence::Malformed("a word of a node that does not take part"))
                }
            }
            Self::Query { header, ballot } => {
                header.check()?;
                led_by(from, *ballot)
            }
            Self::Propose { header, ballot, prepared } => {
                header.check()?;
                led_by(from, *ballot)?;
                if prepared.is_sorted_by(|a, b| a < b) && prepared.iter().all(|&node| header.has(node)) {
                    Ok(())
                } else {
                    Err(Offence::Malformed("votes of nodes that do not take part"))
                }
            }
            Self::Promised { ballot, votes, .. } => {
                let is_sound = votes.iter().all(|vote| vote.ballot < *ballot)
                    && votes.is_sorted_by(|a, b| a.participant < b.participant);
                if is_sound {
                    credible(*ballot)
                } else {
                    Err(Offence::Malformed("votes of later ballots, or repeated"))
                }
            }
            Self::Accepted { ballot, .. } | Self::Refused { ballot, .. } => credible(*ballot),
            Self::Vote { .. }
            | Self::Outcome { .. }
            | Self::Acknowledge { .. }
            | Self::InDoubt { .. }
            | Self::Forget { .. } => Ok(()),
        }
    }
}

fn credible(ballot: Ballot) -> Result<(), Offence> {
    if ballot.round <= MAX_ROUND { Ok(()) } else { Err(Offence::Malformed("a ballot out of range")) }
}

fn led_by(from: NodeId, ballot: Ballot) -> Result<(), Offence> {
    if ballot.node == from && ballot.round > 0 {
        credible(ballot)
    } else {
        Err(Offence::Malformed("a ballot that the sender does not lead"))
    }
}
