//! Hostile input, searched for by coverage: one function of bytes for each target, which the programs in `fuzz_targets/` hand to
//! the engine. Each takes its input for a plan, carries it out against the real code, and panics if something is not as it must be.
//!
//! - [`pbft`]: a group one of whose replicas signs whatever it likes.
//! - [`crashes`]: the protocols whose nodes do not lie, told lies.
//! - [`decode`]: bytes as messages, as records and as snapshots.
//! - [`journal`]: a directory that was damaged.
//! - [`frames`]: bytes from a connection.
#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

pub mod crashes;
pub mod decode;
pub mod frames;
mod group;
pub mod journal;
pub mod pbft;
mod plan;

#[path = "../../crates/multipaxos/tests/common/mod.rs"]
mod common;
#[path = "../../crates/consensus-wal/tests/support/mod.rs"]
#[allow(dead_code, missing_docs)]
mod disk;
