//! What it looks like when something is wrong: each mistake that is planted in the algorithm is found, by its property.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use conformance::{Options, Tuning, check, check_until_failure, run_recipe, run_seed};
use consensus_sim::{Plan, Property, Stream};
use own_algorithm::{Config, FixedLeader, Flaw};
use std::time::Duration;

fn tuned(flaw: Flaw) -> Tuning<Config> {
    Tuning { config: Config { flaw }, patience: Duration::from_secs(2) }
}

/// The property that fails first on the lowest seed, of 200.
fn caught(flaw: Flaw) -> Option<Property> {
    let tune = move |_: &mut Stream, _: &mut Plan| tuned(flaw);
    let options = Options::<FixedLeader> { seeds: 0..200, jobs: 1, replay: String::new(), tune: &tune };
    check_until_failure(&options).unwrap().map(|failed| failed.failure.property)
}

/// A failure names the property, the seed, what happened, and the command that does it again.
#[test]
fn a_failure_tells_how_to_see_it_again() {
    let tune = |_: &mut Stream, _: &mut Plan| tuned(Flaw::AckEarlyAndAcceptGaps);
    let replay = "cargo run -p own-algorithm --example replay -- '{}'";
    let options = Options::<FixedLeader> { seeds: 0..60, jobs: 2, replay: replay.into(), tune: &tune };
    let report = check(&options).unwrap();
    let text = report.to_string();
    println!("{text}");
    let failed = report.failures.first().expect("the mistake shows within 60 seeds");
    let seed = failed.recipe.seed;
    assert!(text.contains(&format!("FAILED fixed-leader seed {seed}: {}", failed.failure.property)));
    assert!(text.contains(&format!("replay: {}", failed.recipe.command(replay))));
    let shrunk = failed.shrunk.as_ref().expect("the first failures are shrunk");
    assert!(text.contains(&format!("replay: {}", shrunk.recipe.command(replay))));
    assert!(text.ends_with(&format!("\n{} passed, {} failed", report.passed(), report.failed())));
    // The same seed fails in the same way, whenever and wherever it is run.
    let again = run_recipe::<FixedLeader>(&failed.recipe, &tune, true).unwrap();
    assert_eq!(again.failure.as_ref(), Some(&failed.failure));
    assert!(again.lines.len() > 10, "the trace tells what led to it");
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
    let failure = run_seed::<FixedLeader>(1, &tune, false).unwrap().failure.unwrap();
    assert_eq!(failure.property, Property::Invariant);
    // What it said, and where.
    let said = ["more is durable than there is", "own-algorithm/src/"];
    assert!(said.iter().all(|words| failure.detail.contains(words)), "{}", failure.detail);
}
