//! The trait, the vocabulary and the gate that every agreement protocol of this workspace shares.
//!
//! **Effects are data, and one gate orders them.** A protocol is a deterministic state machine
//! ([`ConsensusAlgorithm`]): it is handed an [`Input`], the [`Time`] and a buffer ([`Effects`]), and writes down what should
//! happen. [`Node`] carries the effects out and is the only place that knows "nothing leaves before what it depends on is
//! durable". A simulator and a server drive the very same `Node`.
//!
//! This crate knows no socket, no file, no clock, no thread and no source of randomness. It needs only `alloc`.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod algorithm;
mod effects;
mod guarantees;
mod hand_off;
mod id;
mod machine;
mod members;
pub mod memory;
mod node;
pub mod quorum;
mod session;
mod snapshot;
mod time;
pub mod wire;

pub use algorithm::{Boot, ConfigError, ConsensusAlgorithm, In, Input, Offence, Out, Refusal, Role, Status};
pub use effects::{Effect, Effects};
pub use guarantees::{Faults, Guarantees, Membership, Problem, Reads, Resilience, Termination, Timing};
pub use hand_off::{Network, Recovered, Storage, StorageError};
pub use id::{ClientId, ClusterId, Epoch, GroupId, NodeId, ProposalId, ReadId, Slot, WriteSeq};
pub use machine::{Decision, InstallError, StateMachine, Verdict};
pub use members::{Change, MAX_MEMBERS, Members, MembersError, Priority};
pub use node::{Event, Node, NodeConfig, NodeError, Outcome, Reply};
pub use session::{Admission, MAX_REPLIES, MAX_REPLY_BYTES, MAX_SESSIONS, MAX_TABLE_BYTES, Sessions};
pub use time::Time;

pub use bytes::Bytes;
