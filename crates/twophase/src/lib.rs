//! Atomic commitment as deterministic state machines under the trait of `consensus-core`: all participants of a transaction commit it,
//! or none does. [`TwoPhase`] may block while its coordinator is down; [`PaxosCommit`] does not as long as a majority of its acceptors
//! is up. The clauses that they keep (T1 to T24) are in `spec.md` beside this crate's manifest.
//!
//! It knows no clock, socket, disk, thread or random source, and not how its effects are carried out: a `consensus_core::Node` drives
//! it.
#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod accounts;
mod ballot;
mod config;
mod coordinator;
mod message;
mod mutant;
mod participant;
mod past;
mod protocol;
mod record;
mod registrar;
mod replay;
mod state;
mod step;
mod transaction;

pub use config::Config;
pub use message::{Message, Registered, Vote};
#[cfg(all(feature = "mutants", debug_assertions))]
pub use mutant::Mutant;
pub use past::Remembered;
pub use protocol::{Classic, Protocol, Replicated};
pub use record::Record;
pub use state::Commitment;
pub use step::Timer;
pub use transaction::{Envelope, Header, Presumption, Transaction};

/// Two-phase commit: safe always, and blocked while the coordinator of what is promised is down.
pub type TwoPhase = Commitment<Classic>;
/// Paxos Commit: a vote is agreed on by 2F + 1 acceptors, so that no single node is awaited.
pub type PaxosCommit = Commitment<Replicated>;
