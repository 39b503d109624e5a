//! Paxos as deterministic state machines under the trait of `consensus-core`: [`synod`] agrees on one value, [`MultiPaxos`] on a log.
//! The clauses that they keep (S1 to S11, P1 to P42) are in `spec.md` beside this crate's manifest.
//!
//! They know no clock, socket, disk, thread or random source, and not how their effects are carried out: a
//! `consensus_core::Node` drives them.
#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acceptor;
mod ballot;
mod catch_up;
mod change;
mod config;
mod configuration;
mod election;
mod inspect;
mod leader;
mod learner;
mod lease;
mod log;
mod membership;
mod message;
mod mutant;
mod priority;
mod progress;
mod proposer;
mod quorums;
mod read;
mod record;
mod replay;
mod snapshot;
mod state;
mod step;
pub mod synod;
mod transfer;
mod value;

pub use ballot::Ballot;
pub use config::Config;
pub use configuration::Configuration;
pub use consensus_core::reads::{ReadAnswer, ReadToken};
pub use message::{
    Accept, Accepted, Ask, Heartbeat, Learn, Learnt, Message, Piece, Preempted, Prepare, Promise, Tell, Votes,
};
#[cfg(all(feature = "mutants", debug_assertions))]
pub use mutant::Mutant;
pub use quorums::Sizes;
pub use record::Record;
pub use state::MultiPaxos;
pub use step::Timer;
pub use synod::Synod;
pub use value::{MAX_BATCH_VALUES, Value, Values};
