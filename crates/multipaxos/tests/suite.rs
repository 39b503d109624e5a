//! The tests of this crate, in one program: what they share is built once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod alone;
mod catch_up;
mod common;
mod cost;
mod election;
mod flexible;
mod hostile;
mod lease;
mod lies;
#[cfg(all(feature = "mutants", debug_assertions))]
mod mutants;
mod newcomer;
mod paper;
mod reconfiguration;
mod snapshot;
mod synod;
mod transcript;
