//! The tests of this crate, in one program: the simulator is built once for each algorithm, not once for each file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod atomic_commit;
mod byzantine;
mod calm;
mod controls;
mod convergence;
mod core;
mod elections;
mod hunt;
mod leases;
mod local_reads;
mod lockstep;
mod marks;
mod one_shot;
mod partial;
mod plans;
mod program;
mod raft;
mod recipe;
mod recorded;
mod regressions;
mod report;
mod rest;
mod shrink;
mod synchrony;
mod toy_byzantine;
