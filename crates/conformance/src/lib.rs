//! The conformance suite: what a protocol claims ([`consensus_core::Guarantees`]) is put to the test, in thousands of
//! simulated runs with faults.
//!
//! It is a library, so that the author of another algorithm can run it on theirs:
//!
//! ```no_run
//! # use consensus_core::ConsensusAlgorithm;
//! use conformance::{Options, Tuning, check};
//! use std::time::Duration;
//!
//! # fn example<Mine: ConsensusAlgorithm>() where Mine::Config: Sync {
//! let options = Options::<Mine> {
//!     seeds: 0..1_000,
//!     jobs: 2,
//!     replay: "cargo test seed_".into(),
//!     tune: &|_draw, _plan| Tuning { config: Mine::Config::default(), patience: Duration::from_secs(10) },
//! };
//! let report = check(&options).expect("the suite knows the problem");
//! assert_eq!(report.failed(), 0, "{report}");
//! # }
//! ```
//!
//! Invariants: a seed decides everything; each run is on one thread; a failure names the property, the seed and the command
//! that replays it.

pub mod calm;
mod claims;
pub mod controls;
pub mod elections;
pub mod leases;
pub mod liar;
#[cfg(all(feature = "mutants", debug_assertions))]
pub mod mutants;
pub mod page;
mod panics;
pub mod partial;
pub mod plans;
mod recipe;
mod recorded;
mod report;
mod shrink;
pub mod subjects;
mod suite;
mod summary;

pub use claims::{Claims, Unsupported, claims_of};
pub use recipe::{Recipe, RecipeError};
pub use recorded::{FORMAT, Recorded, Violation, record_recipe, record_seed};
pub use report::{FailedSeed, SuiteReport, byzantine_marks, marks};
pub use shrink::{MAX_RUNS, Shrunk, shrink};
pub use suite::{
    Options, Tune, Tuning, Watch, check, check_until_failure, check_watched, run_recipe, run_seed, shrink_run,
};
pub use summary::{ControlLine, Counted, FailureLine, PropertyLine, Recovery, Small, Summary, Total};
