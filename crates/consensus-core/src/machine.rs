//! The replicated state machine.

use crate::id::{ProposalId, Slot};
use crate::members::Members;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What was decided about a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Carry it out.
    Commit,
    /// Do not; give back what was reserved for it.
    Abort,
    /// The slot carries nothing to be carried out: a leader's no-op; or, with a payload, the members from here on, encoded
    /// ([`crate::wire`]), which [`StateMachine::follow_members`] is told.
    Noop,
}

/// One decision, as the state machine sees it.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Its place.
    pub slot: Slot,
    /// Who proposed it, if anybody.
    pub id: Option<ProposalId>,
    /// What was decided; a no-op never reaches the state machine.
    pub verdict: Verdict,
    /// What was proposed.
    pub payload: &'a Bytes,
}

/// A deterministic machine: equal decisions in equal order give equal replies, equal state and equal snapshots. It reads no
/// clock and draws no random number.
pub trait StateMachine {
    /// Whether this proposal could be carried out here: a participant's vote. It may reserve what the proposal needs until
    /// the verdict.
    fn judge(&mut self, _id: ProposalId, _payload: &Bytes) -> bool {
        true
    }

    /// Carries a decision out and returns the reply to whoever proposed it.
    fn apply(&mut self, decision: Decision<'_>) -> Bytes;

    /// The members from `slot` on are decided. All machines of a group are told alike, between the same decisions, so what is
    /// made of it may be part of the state.
    fn follow_members(&mut self, _slot: Slot, _members: &Members) {}

    /// Answers a question without changing anything.
    fn query(&self, request: &Bytes) -> Bytes;

    /// The whole state: equal states give equal bytes.
    fn snapshot(&self) -> Bytes;

    /// The state of this moment, to be written out later, on another thread, while this machine goes on: what [`StateMachine::snapshot`] would
    /// give now. `None`, as by default, from a machine that has no cheap way to hold its state fast. Asked only of machines that follow a
    /// log, and where the driver sees to it ([`crate::NodeConfig::defers_snapshots`]).
    fn freeze(&self) -> Option<Frozen> {
        None
    }

    /// Takes a snapshot over. [`crate::Problem::Convergence`] merges it, all other problems replace the state.
    ///
    /// # Errors
    /// The bytes are not a snapshot of this machine; the state is unchanged, and the node stops.
    fn install(&mut self, through: Slot, snapshot: Bytes) -> Result<(), InstallError>;
}

/// Writes a state out that is held fast: behind the bytes that it is given. `None` if another state was installed meanwhile.
pub type Frozen = Box<dyn FnOnce(Vec<u8>) -> Option<Bytes> + Send>;

/// A snapshot that the state machine cannot take over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot cannot be installed: {0}")]
pub struct InstallError(pub String);
