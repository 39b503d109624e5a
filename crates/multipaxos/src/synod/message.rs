//! What the nodes say to each other, and what they write down.

use super::acceptor::Vote;
use crate::ballot::Ballot;
use consensus_core::{Bytes, NodeId, Offence, ProposalId};
use serde::{Deserialize, Serialize};

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Value {
    /// Its name.
    pub id: ProposalId,
    /// Opaque to us.
    pub payload: Bytes,
}

/// A message. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// "Promise me this ballot" (phase 1a).
    Prepare(Ballot),
    /// "Promised" (phase 1b).
    Promise {
        /// The ballot that is promised.
        ballot: Ballot,
        /// What the sender accepted last.
        vote: Option<Vote<Value>>,
    },
    /// "Accept this" (phase 2a).
    Accept(Vote<Value>),
    /// "Accepted" (phase 2b): to every learner.
    Accepted(Vote<Value>),
    /// "I have promised this ballot, and it is higher than yours."
    Preempted(Ballot),
    /// "What is chosen?"
    Learn,
    /// "This is."
    Chosen(Value),
}

/// A record. Variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// This node was asked to propose a value.
    Proposed(Value),
    /// A ballot is promised.
    Promised(Ballot),
    /// A value is accepted, and its ballot promised.
    Accepted(Vote<Value>),
    /// A value is chosen.
    Chosen(Value),
}

impl Message {
    /// The checks that need no state.
    ///
    /// # Errors
    /// What no correct node would say.
    // [S11]
    pub fn check(&self, from: NodeId) -> Result<(), Offence> {
        let (ballot, is_own) = match self {
            Self::Prepare(ballot) | Self::Accept(Vote { ballot, .. }) => (*ballot, true),
            Self::Promise { ballot, vote } => {
                if vote.as_ref().is_some_and(|vote| vote.ballot >= *ballot || !vote.ballot.is_sound()) {
                    return Err(Offence::Malformed("a promise tells of a vote that came after it"));
                }
                (*ballot, false)
            }
            Self::Accepted(Vote { ballot, .. }) | Self::Preempted(ballot) => (*ballot, false),
            Self::Learn | Self::Chosen(_) => return Ok(()),
        };
        if !ballot.is_sound() {
            return Err(Offence::Malformed("a ballot is out of range"));
        }
        if is_own && ballot.node != from {
            return Err(Offence::Impossible("it leads a ballot of another node"));
        }
        Ok(())
    }
}
