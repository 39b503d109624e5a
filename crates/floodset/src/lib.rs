//! FloodSet, the agreement of synchronous networks, as a deterministic state machine under the trait of `consensus-core`. The clauses that
//! it keeps (F1 to F9) are in `spec.md` beside this crate's manifest.
//!
//! It knows no clock, socket, disk, thread or random source, and not how its effects are carried out: a `consensus_core::Node` drives
//! it.
#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

mod config;
mod message;
mod mutant;
mod rounds;
mod step;

pub use config::Config;
pub use message::Message;
#[cfg(all(feature = "mutants", debug_assertions))]
pub use mutant::Mutant;
pub use rounds::FloodSet;
pub use step::Timer;
