//! What is committed or aborted, and by whom.

use alloc::vec::Vec;
use consensus_core::{Bytes, Members, NodeId, Offence, ProposalId, wire};
use serde::{Deserialize, Serialize};

/// The most participants of a transaction.
pub(crate) const MAX_PARTICIPANTS: usize = 1024;

/// What a coordinator that remembers nothing of a transaction takes to have become of it.
// [T6] [T7]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presumption {
    /// It was aborted: aborts are not acknowledged.
    #[default]
    Abort,
    /// It was committed: commits are not acknowledged, and each transaction is written down before anybody is asked.
    Commit,
}

/// What a client proposes: a payload, and who takes part in it.
// [T1]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who takes part; nobody: all members.
    #[serde(deserialize_with = "wire::at_most::<MAX_PARTICIPANTS, _, _>")]
    pub participants: Vec<NodeId>,
    /// One of them, if it only reads: it is asked last, and writes nothing.
    pub reader: Option<NodeId>,
    /// What the state machine of each participant judges and carries out.
    pub payload: Bytes,
}

impl Envelope {
    /// `payload` for these participants; for all members if there are none.
    pub fn new(participants: impl IntoIterator<Item = NodeId>, payload: Bytes) -> Self {
        Self { participants: participants.into_iter().collect(), reader: None, payload }
    }

    /// The same, of whose participants this one only reads.
    #[must_use]
    pub fn with_reader(self, reader: NodeId) -> Self {
        Self { reader: Some(reader), ..self }
    }

    /// What is handed to a coordinator.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        wire::encode(self).into()
    }
}

/// A transaction without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name: that of the proposal.
    pub id: ProposalId,
    /// Who decides.
    pub coordinator: NodeId,
    /// Who votes, in order and without repetition.
    #[serde(deserialize_with = "wire::at_most::<MAX_PARTICIPANTS, _, _>")]
    pub participants: Vec<NodeId>,
    /// The participant that only reads.
    pub reader: Option<NodeId>,
    /// What becomes of it if its coordinator remembers nothing.
    pub presumed: Presumption,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// All but what is to be done.
    pub header: Header,
    /// What is to be done.
    pub payload: Bytes,
}

impl Header {
    /// Whether no correct node makes it.
    pub(crate) fn check(&self) -> Result<(), Offence> {
        let Self { id: _, coordinator, participants, reader, presumed: _ } = self;
        let is_sound = *coordinator != NodeId::ZERO
            && participants.first().is_some_and(|&first| first != NodeId::ZERO)
            && participants.is_sorted_by(|a, b| a < b)
            && reader.is_none_or(|reader| participants.len() > 1 && participants.contains(&reader));
        if is_sound { Ok(()) } else { Err(Offence::Malformed("a transaction that nobody can carry out")) }
    }

    /// Whether all of them are voters.
    pub(crate) fn is_of(&self, members: &Members) -> bool {
        members.contains(self.coordinator) && self.participants.iter().all(|&node| members.is_voter(node))
    }

    /// Whether `node` takes part.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.participants.binary_search(&node).is_ok()
    }

    /// Whether `node` takes part, and promises: the reader does not.
    pub(crate) fn promises(&self, node: NodeId) -> bool {
        self.has(node) && self.reader != Some(node)
    }

    /// Whether the only participant decides, in place of the coordinator. [T9]
    pub(crate) const fn is_delegated(&self) -> bool {
        self.participants.len() == 1
    }

    /// Whether this verdict must be acknowledged: the one that is not presumed. [T6] [T7]
    pub(crate) fn needs_acknowledgement(&self, commit: bool) -> bool {
        commit == (self.presumed == Presumption::Abort)
    }

    /// Who writes its promise down, besides `node`: the others are told a verdict until they have it.
    pub(crate) fn promising_besides(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let others = self.participants.iter().copied();
        others.filter(move |&other| other != node && self.promises(other))
    }
}
