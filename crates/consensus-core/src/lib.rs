#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod algorithm;
mod batch;
mod effects;
mod guarantees;
mod hand_off;
mod id;
mod inspect;
pub mod lease;
mod machine;
mod members;
pub mod memory;
mod mutants;
mod node;
pub mod quorum;
pub mod reads;
mod recent;
mod session;
mod snapshot;
mod time;
mod window;
pub mod wire;

pub use algorithm::{
    Boot, ConfigError, ConsensusAlgorithm, In, Input, Offence, Out, Refusal, RestoreError, Role, Status,
};
pub use batch::{Batch, Item};
pub use effects::{Effect, Effects, Outgoing, Write};
pub use guarantees::{Faults, Guarantees, Membership, Problem, Reads, Resilience, Termination, Timing};
pub use hand_off::{Network, Recovered, Storage, StorageError};
pub use id::{ClientId, ClusterId, Epoch, GroupId, NodeId, ProposalId, ReadId, Slot, WriteSeq};
pub use inspect::{Feeding, Inspection, Note, PeerProgress};
pub use machine::{Decision, Frozen, InstallError, StateMachine, Verdict};
pub use members::{BadChange, Change, MAX_MEMBERS, Members, MembersError, NamedMembers, Priority};
pub use node::{Event, Node, NodeConfig, NodeError, Outcome, PendingSnapshot, Reply};
pub use recent::{MAX_RECENT, MAX_RECENT_BYTES};
pub use session::{Admission, MAX_REPLIES, MAX_REPLY_BYTES, MAX_SESSIONS, MAX_TABLE_BYTES, Sessions};
pub use time::Time;
pub use window::Window;

pub use bytes::Bytes;
