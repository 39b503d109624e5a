//! Raft (Ongaro and Ousterhout 2014; Ongaro's dissertation 2014) as a deterministic state machine under the trait of
//! `consensus-core`. The clauses it keeps (R1 to R56) are in `spec.md` beside this crate's manifest.
//!
//! It knows no clock, socket, disk, thread or random source, and it does not know how its effects are carried out: a
//! `consensus_core::Node` drives it. The handlers are grouped by role; what every role needs is in `state`.
#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod candidate;
mod config;
mod configuration;
mod digest;
mod entry;
mod feed;
mod follower;
mod heartbeat;
mod incoming;
mod inspect;
mod leader;
mod lease;
mod log;
mod membership;
mod message;
mod mutant;
mod outgoing;
mod priority;
mod progress;
mod quiescence;
mod read;
mod record;
mod replay;
mod snapshot;
mod state;
mod step;
mod transfer;
mod votes;
mod witness;

pub use config::{Config, MAX_BATCH_ENTRIES};
pub use consensus_core::reads::{ReadAnswer, ReadToken};
pub use digest::Digest;
pub use entry::{Content, Entries, Entry, Position};
pub use message::{Append, AppendReply, Arrival, Ballot, BallotReply, Chunk, ChunkReply, Message, Outcome};
#[cfg(all(feature = "mutants", debug_assertions))]
pub use mutant::Mutant;
pub use record::Record;
pub use state::Raft;
pub use step::Timer;

/// What a leader knows of a follower, and how it feeds it.
pub use consensus_core::{Feeding as Mode, PeerProgress as Peer};
