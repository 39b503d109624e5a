//! The tests of this crate, in one program: what they share is built once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod checkpoint;
mod client;
mod clients;
mod common;
mod cost;
mod history;
mod hostile;
mod lies;
#[cfg(all(feature = "mutants", debug_assertions))]
mod mutants;
mod named;
mod paper;
mod resend;
mod signed;
mod view_change;
