//! The suite on atomic commitment: two-phase commit blocks where it may and says so, Paxos Commit does not, and both keep their promises.
//! The mistakes that are planted in them are hunted by `conformance mutants`.

use crate::hunt::passed_in_a_storm;
use conformance::SuiteReport;
use conformance::subjects::{ALL, Subject};
use consensus_sim::{AtomicMeasures, Measures};
use std::time::Duration;

fn storms(name: &str, seeds: u64) -> (SuiteReport, AtomicMeasures) {
    let subject: &dyn Subject = *ALL.iter().find(|subject| subject.name() == name).unwrap();
    let report = subject.check(0..seeds, 2, &|_| {}).unwrap();
    eprintln!("{report}");
    let Measures::AtomicCommit(measures) = report.measures else { panic!("{report}") };
    passed_in_a_storm(&report);
    assert!(measures.committed > 1_000 && measures.aborted > 1_000, "{report}");
    (report, measures)
}

#[test]
fn two_phase_commit_keeps_its_promises_and_blocks() {
    let (report, measures) = storms("twophase", 200);
    assert!(measures.blockings > 100 && measures.longest > Duration::from_secs(1), "{report}");
}

#[test]
fn paxos_commit_keeps_its_promises_and_does_not_block() {
    // After the storm of each run a node dies on which others wait, if any; nobody may wait for it for longer than the patience.
    storms("paxos-commit", 200);
}
