//! Testing the tester: `cargo test -p conformance --features mutants`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use conformance::mutants::hunt;

/// Every planted bug must be found, and by a property that speaks of it.
#[test]
fn every_planted_bug_is_found() {
    let report = hunt(0, 2, |caught| println!("{caught}")).unwrap();
    assert_eq!(report.survivors(), 0, "{report:#?}");
}
