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
mod backlog;
mod book;
mod census;
mod chronicle;
mod clock;
mod config;
mod contacts;
mod credit;
mod detector;
mod dial;
mod door;
mod driver;
mod enquiry;
mod exposition;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
#[allow(clippy::panic, reason = "a finding is a panic")]
pub mod fuzzing;
mod group;
mod handle;
mod handshake;
mod host;
mod journal;
mod lane;
mod link;
mod listen;
mod local;
mod mailbox;
mod metrics;
mod network;
mod notice;
mod presence;
mod proposals;
mod reads;
mod registry;
mod replica;
mod replicated;
mod report;
mod request;
mod shared;
mod syncs;
mod title;
mod transport;

pub use address::{AddressError, PeerAddress};
pub use book::{MAX_ADDRESSES, Peers, Remembered, remembered};
pub use config::{GroupConfig, HostConfig, Limits, LinkLimits, ReplicaConfig, StartError};
pub use enquiry::{Enquiry, EnquiryError, enquire};
pub use handle::Handle;
pub use host::Host;
pub use local::LocalNetwork;
pub use metrics::{HostReading, MetricsReading};
pub use registry::RecoveredGroup;
pub use replica::Replica;
pub use replicated::{Applied, Replicated, RequestError};
pub use report::{LinkReport, PeerReport, Report};
pub use shared::{StopReason, View};

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
