//! The tests of this crate's checkers, in one program: what they share is built once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod consistency;
mod consistency_oracle;
mod histories;
mod linearizability;
