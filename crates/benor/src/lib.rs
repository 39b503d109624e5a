//! Ben-Or's randomized agreement on one bit, as a deterministic state machine under the trait of `consensus-core`: [`BenOr`] where
//! nodes crash and come back, [`Byzantine`] where some of them lie; and a replicated log without a leader that is made of it, [`Log`]. The
//! clauses that they keep (B1 to B13, L1 to L15) are in `spec.md` beside this crate's manifest.
//!
//! It knows no clock, socket, disk, thread or random source, and not how its effects are carried out: a `consensus_core::Node` drives
//! it.
#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod coin;
mod config;
pub mod log;
mod message;
#[cfg(feature = "mmr")]
pub mod mmr;
mod model;
mod mutant;
mod past;
mod record;
mod rounds;
mod state;
mod step;
mod votes;

pub use config::Config;
pub use log::Log;
pub use message::{Casts, Decided, Message, Proposal, Report, Standing};
#[cfg(feature = "mmr")]
pub use mmr::Mmr;
pub use model::{Crashes, Lies, Model, Thresholds};
#[cfg(all(feature = "mutants", debug_assertions))]
pub use mutant::Mutant;
pub use record::Record;
pub use state::Agreement;
pub use step::Timer;

/// Agreement on one bit among nodes that crash and come back: n > 2f.
pub type BenOr = Agreement<Crashes>;
/// Agreement on one bit among nodes of which some may lie: n > 5t.
pub type Byzantine = Agreement<Lies>;
