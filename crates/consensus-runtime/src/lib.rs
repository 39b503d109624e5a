#![doc = include_str!("../README.md")]
//!
//! # Invariants of absence
//!
//! This crate names no algorithm, and decides nothing that an algorithm or the gate decides: it does not hold messages back
//! until a write is durable, it does not order decisions, it does not know what a term is.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this crate is where time, threads and randomness enter; its maps are looked up, and no order of theirs decides anything"
)]

mod address;
mod book;
mod clock;
mod config;
mod dial;
mod driver;
mod frame;
mod handle;
mod handshake;
mod journal;
mod listen;
mod local;
mod metrics;
mod peers;
mod proposals;
mod reads;
mod replica;
mod replicated;
mod request;
mod roster;
mod shared;
mod transport;
mod visit;

pub use address::{AddressError, PeerAddress};
pub use book::{MAX_ADDRESSES, Peers, Remembered, remembered};
pub use config::{Limits, ReplicaConfig, StartError};
pub use handle::Handle;
pub use local::LocalNetwork;
pub use metrics::{Metrics, MetricsReading};
pub use replica::Replica;
pub use replicated::{Applied, Replicated, RequestError};
pub use shared::{StopReason, View};
pub use visit::{VisitError, Visitor, visit};

use consensus_core::ConsensusAlgorithm;

/// An algorithm that may move between threads: every one that is made of plain data. Nobody implements this by hand.
pub trait Runnable:
    ConsensusAlgorithm<Config: Send + Sync, Message: Send, Record: Send, Timer: Send> + Send + 'static
{
}

impl<A> Runnable for A where
    A: ConsensusAlgorithm<Config: Send + Sync, Message: Send, Record: Send, Timer: Send> + Send + 'static
{
}
