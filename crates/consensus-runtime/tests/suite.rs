//! The tests of this crate, in one program: the runtime is built once for each algorithm, not once for each file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod events;
mod host;
mod hostile;
mod kill;
mod local;
mod members;
mod observe;
mod presence;
mod raft;
mod readme;
mod runtime;
mod support;
