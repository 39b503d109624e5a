//! Testing the tester: `cargo test -p conformance --features mutants`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use conformance::mutants::{Hunt, RAFT, hunt_one};

/// Every planted bug must be found, and by a property that speaks of it.
#[test]
fn every_planted_bug_is_found() {
    for hunt in RAFT {
        let Hunt { mutant, weather: _, budget } = hunt;
        let caught = hunt_one(hunt, 0, 2).unwrap();
        assert!(caught.found.is_some(), "{mutant:?} survived {budget} seeds");
    }
}
