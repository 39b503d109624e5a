//! Planted bugs, and the smallest group in which one of all its runs shows each: `cargo xtask mutants` runs them beside its hunts.

use crate::exhaustive::all_runs;
use floodset::{Config, Mutant};

/// The first run of so many nodes, of which up to so many crash, that goes wrong; without the bug none does.
fn caught(n: usize, t: usize, values: u8, mutant: Mutant) -> String {
    let config = |mutant| Config { mutant, ..Config::default() };
    assert_eq!(all_runs(n, t, values, &config(None)).wrong, None);
    let wrong = all_runs(n, t, values, &config(Some(mutant))).wrong.unwrap();
    println!("{mutant:?}: {wrong}");
    wrong
}

#[test]
fn the_majority_of_what_is_received_is_found() {
    assert!(caught(3, 1, 2, Mutant::MajorityOfReceived).starts_with("they disagree"));
}

/// The lower bound of t + 1 rounds (Fischer and Lynch 1982): in t of them, one crash for each may keep two nodes apart.
#[test]
fn one_round_fewer_is_found() {
    for (n, t) in [(3, 1), (4, 2)] {
        assert!(caught(n, t, 2, Mutant::OneRoundFewer).starts_with("they disagree"), "n = {n}, t = {t}");
    }
}

#[test]
fn who_decides_before_it_tells_is_found() {
    for mutant in [Mutant::DecidesAtOnce, Mutant::SilentAtOnce] {
        assert!(caught(4, 3, 2, mutant).starts_with("they disagree"), "{mutant:?}");
    }
}

/// Whoever is early stops, and looks like one more crash to those who do not heed that it said so.
#[test]
fn who_does_not_heed_that_others_are_early_is_found() {
    assert!(caught(5, 4, 1, Mutant::EarlyUnheard).starts_with("it took longer"));
}
