//! Practical Byzantine Fault Tolerance (Castro and Liskov 1999, 2002) with signed messages, as a deterministic state machine under
//! the trait of `consensus-core`: n ≥ 3f+1 replicas agree on a log while f of them do anything.
//! The clauses that it keeps (B1 to B32) are in `spec.md` beside this crate's manifest.
//!
//! It knows no clock, socket, disk, thread or random source, and not how its effects are carried out: a `consensus_core::Node`
//! drives it.
#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

mod certificate;
mod checkpoint;
mod client;
mod config;
mod digest;
mod evidence;
mod fixed;
mod history;
mod inspect;
mod keys;
mod log;
mod message;
mod mutant;
mod record;
mod replay;
mod replica;
mod request;
mod requests;
mod resend;
mod shares;
mod state;
mod statement;
mod step;
mod transfer;
mod view_change;

pub use certificate::{Committed, Prepared, Signers, Stable};
pub use client::{Answer, Client, ClientConfig, ClientError, Identity};
pub use config::{Config, Vouching};
pub use digest::Digest;
pub use evidence::Evidence;
pub use keys::{Ed25519, KeyError, Keyring, Name, Scheme, Signature};
pub use message::{
    MAX_BATCHES, MAX_CHUNKS, MAX_WINDOW, Manifest, Message, NewView, PrePrepare, Proposal, Proven, Status,
    ViewChange, Vote,
};
#[cfg(all(feature = "mutants", debug_assertions))]
pub use mutant::Mutant;
pub use record::Record;
pub use request::{Batch, MAX_REQUESTS, Request, SIGNATURE_BYTES};
pub use state::Pbft;
pub use statement::{ASK_BYTES, Ask, Kind, STATEMENT_BYTES, Sequence, Statement, View};
pub use step::Timer;
