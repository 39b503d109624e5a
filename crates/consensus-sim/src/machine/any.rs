//! One state machine per problem, under one type.

use super::{Choice, Journal, Key, Registers, Replica, Shard, Value};
use bytes::Bytes;
use consensus_core::{Decision, Frozen, InstallError, NodeId, Problem, ProposalId, Slot, StateMachine};
use std::collections::BTreeSet;

/// The state machine of a simulated node: the one that its problem needs.
#[derive(Debug)]
pub enum Machine {
    /// Registers that change in one order for all.
    Log(Registers),
    /// What was chosen.
    OneShot(Choice),
    /// One participant's part of the data.
    AtomicCommit(Shard),
    /// Registers that keep concurrent writes.
    Convergence(Replica),
}

impl Machine {
    /// The empty machine of node `id` for this problem, that reports to `journal`. `last_wins` is for [`Replica::new`].
    #[must_use]
    pub fn new(problem: Problem, id: NodeId, journal: Journal, last_wins: bool) -> Self {
        match problem {
            Problem::Log => Self::Log(Registers::new(journal)),
            Problem::Convergence => Self::Convergence(Replica::new(journal, last_wins)),
            Problem::AtomicCommit => Self::AtomicCommit(Shard::new(id, journal)),
            Problem::OneShot => Self::OneShot(Choice::new(journal)),
        }
    }

    /// What a register holds; empty where there are none.
    #[must_use]
    pub fn get(&self, key: Key) -> Value {
        match self {
            Self::Log(registers) => registers.get(key),
            Self::Convergence(replica) => replica.get(key),
            Self::OneShot(_) | Self::AtomicCommit(_) => Value::default(),
        }
    }

    /// The transactions for which something is reserved.
    #[must_use]
    pub fn reservations(&self) -> BTreeSet<ProposalId> {
        match self {
            Self::AtomicCommit(shard) => shard.reservations(),
            Self::Log(_) | Self::OneShot(_) | Self::Convergence(_) => BTreeSet::new(),
        }
    }

    /// The replica, if the problem is convergence.
    #[must_use]
    pub const fn replica(&self) -> Option<&Replica> {
        match self {
            Self::Convergence(replica) => Some(replica),
            Self::Log(_) | Self::OneShot(_) | Self::AtomicCommit(_) => None,
        }
    }
}

/// Hands a call on to the machine in question.
macro_rules! each {
    ($machine:expr, $inner:ident => $call:expr) => {
        match $machine {
            Machine::Log($inner) => $call,
            Machine::OneShot($inner) => $call,
            Machine::AtomicCommit($inner) => $call,
            Machine::Convergence($inner) => $call,
        }
    };
}

impl StateMachine for Machine {
    fn judge(&mut self, id: ProposalId, payload: &Bytes) -> bool {
        each!(self, inner => inner.judge(id, payload))
    }

    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        each!(self, inner => inner.apply(decision))
    }

    fn query(&self, request: &Bytes) -> Bytes {
        each!(self, inner => inner.query(request))
    }

    fn snapshot(&self) -> Bytes {
        each!(self, inner => inner.snapshot())
    }

    fn freeze(&self) -> Option<Frozen> {
        let state = self.snapshot();
        Some(Box::new(move |mut bytes| {
            bytes.extend_from_slice(&state);
            Some(bytes.into())
        }))
    }

    fn install(&mut self, through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        each!(self, inner => inner.install(through, snapshot))
    }
}
