//! Testing the tester: `cargo test -p conformance --test suite -- --ignored`.

use conformance::mutants::{HuntReport, hunts};

/// Every planted bug must be found, and by a property that speaks of it.
#[test]
#[ignore = "it takes minutes, and `cargo xtask mutants` does it"]
fn every_planted_bug_is_found() {
    let mut report = HuntReport::default();
    for caught in hunts("", 0, 2) {
        let caught = caught.unwrap();
        println!("{caught}");
        report.catches.push(caught);
    }
    assert_eq!(report.survivors(), 0, "{report:#?}");
}
