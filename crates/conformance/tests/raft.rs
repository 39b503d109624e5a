//! A bounded run of the suite on Raft, for every `cargo test`; `cargo xtask conformance` runs thousands.

use conformance::{Options, check, check_until_failure, run_seed, subjects};
use consensus_sim::{Plan, Stream};

#[test]
fn raft_keeps_its_promises() {
    let report = check(&Options::<raft::Raft> {
        seeds: 1_000_000..1_000_150,
        jobs: 2,
        replay: "cargo xtask sim --algorithm raft --seed".into(),
        tune: &subjects::raft,
    })
    .unwrap();
    assert_eq!(report.failed(), 0, "{report}");
    let counts = report.counts;
    let happened = [
        counts.lost,
        counts.duplicated,
        counts.partitions,
        counts.crashes,
        counts.power_losses,
        counts.installs,
        counts.unknown,
    ];
    assert!(happened.iter().all(|&count| count > 10), "runs without faults prove nothing: {report}");
    assert!(counts.leaderships > report.runs, "leaders must change: {report}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..10 {
        let run = || run_seed::<raft::Raft>(seed, &subjects::raft, true).unwrap();
        let (first, second) = (run(), run());
        assert_eq!(first.lines, second.lines);
        assert_eq!(first.hash, second.hash);
    }
}

/// Beyond the claims: without a disk that keeps its word, no crash-recovery protocol is safe, and the suite must see it.
#[test]
fn a_disk_that_lies_is_found() {
    let lying = |draw: &mut Stream, plan: &mut Plan| {
        plan.disk.lying_syncs = true;
        subjects::raft(draw, plan)
    };
    let options = Options::<raft::Raft> { seeds: 0..50, jobs: 2, replay: String::new(), tune: &lying };
    let failed = check_until_failure(&options).unwrap();
    assert!(failed.is_some(), "syncs that do nothing went unnoticed");
}
