//! The tests of this crate, in one program: what they share is built once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;
mod cost;
mod heartbeat;
mod hostile;
mod lease;
mod lies;
mod membership;
#[cfg(all(feature = "mutants", debug_assertions))]
mod mutants;
mod newcomer;
mod notes;
mod paper;
mod quiescence;
mod schedules;
mod snapshot;
mod transcript;
mod transfer;
mod witness;
