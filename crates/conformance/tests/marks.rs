//! Every class of faults must happen: a fault that never comes proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use conformance::{Options, check, subjects};

#[test]
fn every_class_of_faults_is_met_in_300_seeds() {
    let report = check(&Options::<raft::Raft> {
        seeds: 0..300,
        jobs: 2,
        replay: "cargo xtask sim --algorithm raft --seed".into(),
        tune: &subjects::raft,
    })
    .unwrap();
    assert_eq!(report.failed(), 0, "{report}");
    let unhit: Vec<&str> =
        report.marks().into_iter().filter(|&(_, count)| count == 0).map(|(name, _)| name).collect();
    assert!(unhit.is_empty(), "never happened: {unhit:?}\n{report}");
}
