//! Raft (Ongaro and Ousterhout 2014; Ongaro's dissertation 2014) as a deterministic state machine under the trait of
//! `consensus-core`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod candidate;
mod config;
mod entry;
mod follower;
mod leader;
mod log;
mod message;
mod mutant;
mod progress;
mod read;
mod record;
mod replay;
mod snapshot;
mod state;
mod step;
mod votes;

pub use config::{Config, MAX_BATCH_ENTRIES};
pub use entry::{Content, Entries, Entry, Position};
pub use leader::{Mode, Peer};
pub use message::{
    Append, AppendReply, Ballot, BallotReply, Chunk, ChunkReply, Message, Outcome, ReadAnswer, ReadToken,
};
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
pub use record::Record;
pub use state::Raft;
pub use step::Timer;
