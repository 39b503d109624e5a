//! The suite on an algorithm of one's own (`toy/mod.rs`): it passes, and each mistake that is planted in it is found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod toy;

use conformance::{Options, Tuning, check, check_until_failure, run_seed};
use consensus_sim::{Plan, Property, Stream};
use std::time::Duration;
use toy::{Config, Flaw, Toy};

fn tuned(flaw: Flaw) -> Tuning<Config> {
    Tuning { config: Config { flaw }, patience: Duration::from_secs(2) }
}

/// The property that fails first on the lowest seed, of 200.
fn caught(flaw: Flaw) -> Option<Property> {
    let tune = move |_: &mut Stream, _: &mut Plan| tuned(flaw);
    let options = Options::<Toy> { seeds: 0..200, jobs: 1, replay: String::new(), tune: &tune };
    check_until_failure(&options).unwrap().map(|failed| failed.failure.property)
}

#[test]
fn a_sound_algorithm_passes() {
    let options = Options::<Toy> {
        seeds: 0..100,
        jobs: 2,
        replay: "replay".into(),
        tune: &|_: &mut Stream, _: &mut Plan| tuned(Flaw::None),
    };
    let report = check(&options).unwrap();
    assert_eq!((report.passed(), report.failed()), (100, 0), "{report}");
    let counts = report.counts;
    let happened = [
        counts.lost,
        counts.duplicated,
        counts.partitions,
        counts.crashes,
        counts.power_losses,
        counts.restarts,
        counts.decisions,
        counts.unknown,
        counts.syncs,
    ];
    assert!(happened.iter().all(|&count| count > 10), "runs without faults prove nothing: {report}");
    assert_eq!(counts.left_out, 0, "who may block until a certain node is back claims nothing of a core");
    assert!(report.to_string().ends_with("\n100 passed, 0 failed"), "{report}");
}

#[test]
fn an_acknowledgement_before_the_disk_is_found() {
    // The leader believes that a restarted follower still has what it lost, and never sends it again.
    let property = caught(Flaw::AckEarly).unwrap();
    assert!(matches!(property, Property::Durability | Property::Progress), "{property}");
    // A follower that fills the hole with what comes next decides differently.
    assert_eq!(caught(Flaw::AckEarlyAndAcceptGaps), Some(Property::Agreement));
}

#[test]
fn made_up_decisions_are_found() {
    let property = caught(Flaw::DecideOwn).unwrap();
    assert!(matches!(property, Property::Integrity | Property::Agreement), "{property}");
}

#[test]
fn silence_is_found() {
    assert_eq!(caught(Flaw::Mute), Some(Property::Progress));
}

#[test]
fn two_leaders_are_found() {
    assert_eq!(caught(Flaw::TwoLeaders), Some(Property::OneLeader));
}

#[test]
fn commands_that_take_effect_twice_are_found() {
    let property = caught(Flaw::Repeat).unwrap();
    assert!(
        matches!(
            property,
            Property::Agreement | Property::Integrity | Property::Durability | Property::Progress
        ),
        "{property}"
    );
}

#[test]
fn a_panic_is_a_finding() {
    let tune = |_: &mut Stream, _: &mut Plan| tuned(Flaw::BrokenInvariant);
    let failure = run_seed::<Toy>(1, &tune, false).unwrap().failure.unwrap();
    assert_eq!(failure.property, Property::Invariant);
    assert!(failure.detail.contains("more is durable than there is"), "{}", failure.detail);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed, trace| {
        run_seed::<Toy>(seed, &|_: &mut Stream, _: &mut Plan| tuned(Flaw::None), trace).unwrap()
    };
    for seed in 0..10 {
        let (first, second) = (run(seed, false), run(seed, true));
        assert_eq!((first.hash, first.events), (second.hash, second.events), "keeping lines changes nothing");
        assert_ne!(first.hash, run(seed + 1, false).hash);
        assert_eq!(second.lines, run(seed, true).lines);
        assert!(second.lines.len() > 100 && first.lines.is_empty());
    }
}
