//! Every class of faults must happen, and every moment worth meeting: what never comes proves nothing.

use conformance::{Options, check, marks, subjects};
use consensus_sim::Mark;

#[test]
fn every_class_of_faults_and_every_mark_is_met_in_300_seeds() {
    let report = check(&Options::<raft::Raft> {
        seeds: 0..300,
        jobs: 2,
        replay: "cargo xtask sim --algorithm raft --seed".into(),
        tune: &subjects::raft,
    })
    .unwrap();
    assert_eq!(report.failed(), 0, "{report}");
    let unhit: Vec<&str> =
        marks(&report.counts).into_iter().filter(|&(_, count)| count == 0).map(|(name, _)| name).collect();
    assert!(unhit.is_empty(), "never happened: {unhit:?}\n{report}");
    let unmet: Vec<Mark> =
        report.marks.iter().filter(|&(_, count)| count == 0).map(|(mark, _)| mark).collect();
    assert!(unmet.is_empty(), "never met: {unmet:?}\n{report}");
}
