//! The tests of this crate, in one program: what they share is built once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../multipaxos/tests/common/mod.rs"]
mod common;
mod hostile;
mod log;
#[cfg(feature = "mmr")]
mod mmr;
#[cfg(feature = "mmr")]
mod mmr_coin;
#[cfg(all(feature = "mmr", feature = "mutants", debug_assertions))]
mod mmr_mutants;
#[cfg(all(feature = "mutants", debug_assertions))]
mod mutants;
mod paper;
