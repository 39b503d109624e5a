//! The suite on the sound algorithm: this is all that an author of another one has to write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use conformance::{Options, Tuning, check, run_seed};
use consensus_sim::{Mark, Plan, Stream};
use own_algorithm::{Config, FixedLeader, Flaw};
use std::time::Duration;

/// How each run is configured: draw small limits from the stream, so that each is met, and say how soon clients must be served
/// once the faults are over. This algorithm has no limits to draw.
fn tune(_draw: &mut Stream, _plan: &mut Plan) -> Tuning<Config> {
    Tuning { config: Config { flaw: Flaw::None }, patience: Duration::from_secs(2) }
}

#[test]
fn it_keeps_its_promises() {
    let options = Options::<FixedLeader> {
        seeds: 0..100,
        jobs: 2,
        replay: "cargo run -p own-algorithm --example replay --".into(),
        tune: &tune,
    };
    let report = check(&options).unwrap();
    assert_eq!((report.passed(), report.failed()), (100, 0), "{report}");

    // Runs without faults prove nothing: each class must be met, and the moments that this algorithm can be caught at.
    let counts = report.counts;
    let happened = [counts.lost, counts.duplicated, counts.partitions, counts.crashes, counts.power_losses];
    let done = [counts.restarts, counts.decisions, counts.unknown, counts.syncs];
    assert!(happened.into_iter().chain(done).all(|count| count > 10), "{report}");
    let moments = [Mark::LeaderCrash, Mark::CrashDuringWrite, Mark::TailLost, Mark::CrashInRecovery];
    assert!(moments.into_iter().all(|mark| report.marks.get(mark) > 0), "{report}");
    assert_eq!(counts.left_out, 0, "who may block until a certain node is back claims nothing of a core");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed, trace| run_seed::<FixedLeader>(seed, &tune, trace).unwrap();
    for seed in 0..10 {
        let (first, second) = (run(seed, false), run(seed, true));
        assert_eq!((first.hash, first.events), (second.hash, second.events), "keeping lines changes nothing");
        assert_ne!(first.hash, run(seed + 1, false).hash);
        assert_eq!(second.lines, run(seed, true).lines);
        assert!(second.lines.len() > 100 && first.lines.is_empty());
    }
}
