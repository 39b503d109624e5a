//! The state machine that the simulated clients use: a map of registers.
//!
//! A register's value is a digest of the writes that made it, so that a lost, repeated or reordered write shows in every
//! later read, while a value stays one word. The machine keeps a digest of its whole state, and tells the oracles what it
//! applied through a shared [`Journal`].

mod any;
mod one_shot;
mod replica;
mod shard;

pub use any::Machine;
pub use one_shot::Choice;
pub use replica::{CausalWrite, Replica};
pub use shard::{Cell, Shard, Transaction, TransactionWrite};

use crate::trace::{hash_bytes, mix};
use bytes::Bytes;
use consensus_core::{Decision, InstallError, ProposalId, Slot, StateMachine, Verdict, wire};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The longest command that the machine takes: a guard for decoding, above every workload.
const MAX_COMMAND_BYTES: usize = 1 << 20;

/// A key of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub u16);

/// What a register holds: the digest of its writes. Zero is the empty register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value(pub u64);

impl Value {
    /// What a write of `mark` makes of an empty register.
    #[must_use]
    pub const fn written(mark: u64) -> Self {
        Self::default_value().appended(mark)
    }

    /// What appending `mark` makes of this value.
    #[must_use]
    pub const fn appended(self, mark: u64) -> Self {
        Self(mix(self.0, mark))
    }

    const fn default_value() -> Self {
        Self(0)
    }
}

/// What a client asks of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Read it.
    Get,
    /// Replace its content by this mark.
    Put(u64),
    /// Append this mark, and return what comes of it.
    Append(u64),
    /// Replace the content if it is as expected.
    Cas {
        /// What must be there.
        expected: Value,
        /// The mark that replaces it.
        mark: u64,
    },
}

/// The reply to a [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What was read, or what an append made.
    Value(Value),
    /// A put was carried out.
    Done,
    /// Whether a compare-and-swap took place.
    Swapped(bool),
}

impl Call {
    /// The register's value afterwards, and the reply: the sequential specification.
    #[must_use]
    pub fn carry_out(self, before: Value) -> (Value, Answer) {
        match self {
            Self::Get => (before, Answer::Value(before)),
            Self::Put(mark) => (Value::written(mark), Answer::Done),
            Self::Append(mark) => {
                let after = before.appended(mark);
                (after, Answer::Value(after))
            }
            Self::Cas { expected, mark } if expected == before => {
                (Value::written(mark), Answer::Swapped(true))
            }
            Self::Cas { .. } => (before, Answer::Swapped(false)),
        }
    }
}

/// A command as it is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Which register.
    pub key: Key,
    /// What to do.
    pub call: Call,
    /// Ballast: it makes commands and snapshots as large as the plan wants them.
    pub ballast: Bytes,
}

/// What the machine did, for the oracles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// A command was carried out.
    Command {
        /// Its place.
        slot: Slot,
        /// Who proposed it.
        id: Option<ProposalId>,
        /// The reply.
        answer: Option<Answer>,
        /// The digest of the state afterwards.
        digest: u64,
    },
    /// A snapshot replaced the state.
    Installed {
        /// The last slot that it contains.
        through: Slot,
        /// The digest of the state afterwards.
        digest: u64,
    },
    /// One-shot agreement was reached.
    Chosen {
        /// Where it was said to be decided.
        slot: Slot,
        /// What was made of it.
        verdict: Verdict,
        /// The choice.
        value: Bytes,
    },
    /// A participant was asked for its vote on a transaction.
    Judged {
        /// The transaction.
        id: ProposalId,
        /// Its answer.
        accept: bool,
    },
    /// A participant carried a verdict out.
    Settled {
        /// The transaction.
        id: Option<ProposalId>,
        /// The verdict.
        verdict: Verdict,
        /// The digest of what was decided.
        content: u64,
        /// The registers that it wrote, as they are now.
        cells: Vec<(Key, Cell)>,
        /// Another transaction for which one of them was reserved.
        intruded: Option<ProposalId>,
    },
    /// A replica carried out a write.
    Delivered {
        /// The write.
        id: Option<ProposalId>,
        /// What was made of it.
        verdict: Verdict,
        /// The digest of what it says.
        content: u64,
    },
    /// A replica took over a snapshot.
    Merged {
        /// The writes that were new to it.
        writes: Vec<ProposalId>,
    },
    /// A snapshot replaced what a participant holds.
    Restored {
        /// The transactions in it, and which of them were committed.
        settled: BTreeMap<ProposalId, bool>,
        /// The registers.
        cells: BTreeMap<Key, Cell>,
    },
}

/// Where a machine writes what it did.
pub type Journal = Rc<RefCell<Vec<Applied>>>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Register {
    value: Value,
    ballast: Bytes,
}

/// The map of registers.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    map: BTreeMap<Key, Register>,
    digest: u64,
    journal: Journal,
    /// Used again for each reply.
    buffer: Vec<u8>,
}

impl Registers {
    /// An empty map that reports to `journal`.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self { journal, ..Self::default() }
    }

    /// What the register holds.
    #[must_use]
    pub fn get(&self, key: Key) -> Value {
        self.map.get(&key).map_or_else(Value::default, |register| register.value)
    }

    fn carry_out(&mut self, command: Command) -> Answer {
        let before = self.get(command.key);
        let (after, answer) = command.call.carry_out(before);
        if after != before {
            let register = Register { value: after, ballast: command.ballast };
            let new = weight(command.key, &register);
            let old = self.map.insert(command.key, register).map_or(0, |old| weight(command.key, &old));
            // The digest of the state is the sum over its registers, so that one write costs one register.
            self.digest = self.digest.wrapping_sub(old).wrapping_add(new);
        }
        answer
    }

    /// A reply of exactly its size: replies are many, and are kept.
    fn encoded(&mut self, answer: &Option<Answer>) -> Bytes {
        self.buffer.clear();
        wire::encode_into(answer, &mut self.buffer);
        Bytes::copy_from_slice(&self.buffer)
    }
}

fn weight(key: Key, register: &Register) -> u64 {
    hash_bytes(mix(register.value.0, u64::from(key.0)), &register.ballast)
}

impl StateMachine for Registers {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        let command = wire::decode::<Command>(decision.payload, MAX_COMMAND_BYTES).ok();
        // A payload that is no command changes nothing: the oracles find it by its bytes, not here.
        let answer = command.map(|command| self.carry_out(command));
        let (slot, id, digest) = (decision.slot, decision.id, self.digest);
        self.journal.borrow_mut().push(Applied::Command { slot, id, answer, digest });
        self.encoded(&answer)
    }

    fn query(&self, request: &Bytes) -> Bytes {
        let key = wire::decode::<Key>(request, MAX_COMMAND_BYTES).ok();
        wire::encode(&key.map(|key| Answer::Value(self.get(key)))).into()
    }

    fn snapshot(&self) -> Bytes {
        wire::encode(&self.map).into()
    }

    fn install(&mut self, through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        self.map =
            wire::decode(&snapshot, snapshot.len()).map_err(|error| InstallError(error.to_string()))?;
        self.digest =
            self.map.iter().fold(0, |sum, (&key, register)| sum.wrapping_add(weight(key, register)));
        self.journal.borrow_mut().push(Applied::Installed { through, digest: self.digest });
        Ok(())
    }
}

/// Reads a reply of [`Registers`].
#[must_use]
pub fn answer_of(reply: &[u8]) -> Option<Answer> {
    wire::decode::<Option<Answer>>(reply, MAX_COMMAND_BYTES).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(machine: &mut Registers, slot: u64, call: Call) -> Answer {
        let payload =
            wire::encode(&Command { key: Key(1), call, ballast: Bytes::from_static(&[3; 5]) }).into();
        let decision = Decision { slot: Slot(slot), id: None, verdict: Verdict::Commit, payload: &payload };
        answer_of(&machine.apply(decision)).unwrap()
    }

    #[test]
    fn a_repeated_append_shows() {
        let mut machine = Registers::default();
        let once = apply(&mut machine, 1, Call::Append(9));
        let twice = apply(&mut machine, 2, Call::Append(9));
        assert_ne!(once, twice);
        let Answer::Value(now) = twice else { panic!("an append answers with the value") };
        assert_eq!(apply(&mut machine, 3, Call::Cas { expected: now, mark: 4 }), Answer::Swapped(true));
        assert_eq!(apply(&mut machine, 4, Call::Cas { expected: now, mark: 4 }), Answer::Swapped(false));
        assert_eq!(apply(&mut machine, 5, Call::Get), Answer::Value(Value::written(4)));
    }

    #[test]
    fn a_snapshot_carries_the_state_and_its_digest() {
        let mut machine = Registers::default();
        apply(&mut machine, 1, Call::Put(9));
        let mut other = Registers::default();
        other.install(Slot(1), machine.snapshot()).unwrap();
        assert_eq!((other.get(Key(1)), other.digest), (machine.get(Key(1)), machine.digest));
        assert!(other.install(Slot(2), Bytes::from_static(&[255])).is_err());
    }
}
