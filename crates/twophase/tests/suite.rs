//! The tests of this crate, in one program: what they share is built once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bank;
mod costs;
mod crashes;
mod group;
mod hostile;
#[cfg(all(feature = "mutants", debug_assertions))]
mod mutants;
mod paper;
mod readers;
