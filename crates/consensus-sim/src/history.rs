//! What the clients saw: every operation with the moment it was invoked, the moment it returned, and what came of it.

use crate::machine::{Answer, Call, Key};
use consensus_core::{ProposalId, Slot, Time};

/// A moment in the total order of everything that clients see. It is finer than virtual time: no two are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// One operation of one client on one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The client.
    pub client: u32,
    /// The register.
    pub key: Key,
    /// What was asked.
    pub call: Call,
    /// When.
    pub invoked: Moment,
    /// When, in virtual time (for people).
    pub invoked_at: Time,
    /// How the client called it, if it went through the log.
    pub id: Option<ProposalId>,
    /// What came of it; `None` if the client never learnt: it may have taken effect, at any later time, or never.
    pub outcome: Option<(Moment, Answer)>,
    /// Where in the log it took effect: a witness for the checker, never a proof.
    pub slot: Option<Slot>,
}

/// All operations of a run, in the order of their invocation.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    moment: u64,
}

/// An operation's place in its [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationNumber(usize);

impl History {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client asks for something.
    pub fn invoke(&mut self, client: u32, key: Key, call: Call, now: Time) -> OperationNumber {
        let invoked = self.tick();
        self.operations.push(Operation {
            client,
            key,
            call,
            invoked,
            invoked_at: now,
            id: None,
            outcome: None,
            slot: None,
        });
        OperationNumber(self.operations.len() - 1)
    }

    /// The operation goes by this name in the log.
    pub fn name(&mut self, number: OperationNumber, id: ProposalId) {
        if let Some(operation) = self.operations.get_mut(number.0) {
            operation.id = Some(id);
        }
    }

    /// The client learns what came of it.
    pub fn complete(&mut self, number: OperationNumber, answer: Answer, slot: Option<Slot>) {
        let now = self.tick();
        if let Some(operation) = self.operations.get_mut(number.0) {
            operation.outcome = Some((now, answer));
            operation.slot = slot;
        }
    }

    /// Notes where operations without an outcome took effect, as far as `slot_of` knows.
    pub fn witness(&mut self, slot_of: impl Fn(ProposalId) -> Option<Slot>) {
        for operation in self.operations.iter_mut().filter(|operation| operation.outcome.is_none()) {
            operation.slot = operation.id.and_then(&slot_of);
        }
    }

    /// The operations, in the order of their invocation.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// How many operations came to an end that the client saw.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.operations.iter().filter(|operation| operation.outcome.is_some()).count()
    }

    fn tick(&mut self) -> Moment {
        self.moment += 1;
        Moment(self.moment)
    }
}
