//! The tests of this crate, in one program: what they share is built once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod allocations;
mod benor_skeleton;
mod common;
mod deferred;
mod gate;
mod memory;
mod quorum;
mod sessions;
mod skeletons;
mod twophase_skeleton;
mod wire;

use common::heap::Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;
