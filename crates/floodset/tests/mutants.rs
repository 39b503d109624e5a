//! Planted bugs, and the smallest group in which one of all its runs shows each: `cargo xtask mutants` runs them beside its hunts.

use crate::exhaustive::all_runs;
use floodset::{Config, Mutant};

/// The first run of so many nodes, of which up to so many crash, that goes wrong; without the bug none does.
fn caught(n: usize, t: usize, mutant: Mutant) -> String {
    let config = |mutant| Config { mutant, ..Config::default() };
    assert_eq!(all_runs(n, t, 2, &config(None)).wrong, None);
    let wrong = all_runs(n, t, 2, &config(Some(mutant))).wrong.unwrap();
    println!("{mutant:?}: {wrong}");
    wrong
}

#[test]
fn the_majority_of_what_is_received_is_found() {
    assert!(caught(3, 1, Mutant::MajorityOfReceived).starts_with("they disagree"));
}

/// The lower bound of t + 1 rounds (Fischer and Lynch 1982): in t of them, one crash for each may keep two nodes apart.
#[test]
fn one_round_fewer_is_found() {
    for (n, t) in [(3, 1), (4, 2)] {
        assert!(caught(n, t, Mutant::OneRoundFewer).starts_with("they disagree"), "n = {n}, t = {t}");
    }
}

#[test]
fn who_decides_before_it_tells_is_found() {
    for mutant in [Mutant::DecidesAtOnce, Mutant::SilentAtOnce] {
        assert!(caught(4, 3, mutant).starts_with("they disagree"), "{mutant:?}");
    }
}

#[test]
fn who_does_not_heed_that_others_are_early_is_found() {
    for t in 1..5 {
        let c = Config { mutant: Some(Mutant::EarlyUnheard), ..Config::default() };
        let r = all_runs(5, t, 2, &c);
        println!("n5 t{t} {} {:?}", r.count, r.wrong);
    }
}
