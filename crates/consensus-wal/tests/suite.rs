//! The tests of this crate, in one program: what they share is built once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod behaviour;
mod crash;
mod damage;
mod real_directory;
mod support;
