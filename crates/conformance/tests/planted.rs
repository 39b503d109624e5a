//! The program itself on planted bugs: what it prints can be pasted, and fails in the same way
//! (`cargo test -p conformance --test planted`).
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use conformance::mutants::{
    BENOR, BENOR_BY_SCHEDULE, BENOR_BYZANTINE, BENOR_LOG, BENOR_MMR, BENOR_MMR_BY_SCHEDULE, PBFT,
    PBFT_BY_SCHEDULE,
};
use conformance::mutants::{LEASES, MULTIPAXOS, MULTIPAXOS_BY_SCHEDULE, RAFT, RAFT_BY_SCHEDULE, SYNOD};
use conformance::mutants::{PAXOS_COMMIT, TWOPHASE, TWOPHASE_BY_SCHEDULE};
use std::process::Command;

struct Said {
    text: String,
    passed: bool,
}

fn conformance(words: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_conformance")).args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    Said { text, passed: output.status.success() }
}

/// As a shell splits it: at spaces, but not between quotes.
fn words(line: &str) -> Vec<String> {
    let quoted = |(place, part): (usize, &str)| -> Vec<String> {
        if place % 2 == 1 { vec![part.into()] } else { part.split_whitespace().map(Into::into).collect() }
    };
    line.split('\'').enumerate().flat_map(quoted).collect()
}

impl Said {
    /// The line that begins so, without its beginning.
    fn line(&self, beginning: &str) -> &str {
        let found = self.text.lines().find_map(|line| line.strip_prefix(beginning));
        found.unwrap_or_else(|| panic!("no line begins with {beginning:?}:\n{}", self.text))
    }

    /// The property that failed.
    fn property(&self) -> &str {
        self.line("FAILED: ").split_once(" failed at ").unwrap().0
    }

    /// How many faults were carried out.
    fn faults(&self) -> u64 {
        let line = self.text.lines().find(|line| line.contains(" faults carried out: ")).unwrap();
        line.split_once(' ').unwrap().0.parse().unwrap()
    }
}

/// The lowest seed on which the bug shows as what it is, in a run with enough faults for a quarter to mean something.
fn first_failure(mutant: &str, property: &str) -> (String, Said) {
    (0..200)
        .map(|seed: u64| {
            let seed = seed.to_string();
            let said = conformance(&["sim", "--mutant", mutant, "--seed", &seed]);
            (seed, said)
        })
        .find(|(_, said)| !said.passed && said.property() == property && said.faults() >= 30)
        .unwrap_or_else(|| panic!("{mutant} never fails with {property}"))
}

fn the_printed_command_fails_likewise(mutant: &str, property: &str) {
    let (seed, whole) = first_failure(mutant, property);
    let shrunk = conformance(&["sim", "--mutant", mutant, "--seed", &seed, "--shrink"]);
    let command = words(shrunk.line("replay: cargo xtask "));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    assert!(command.contains(&"--seed") && command.contains(&mutant), "{}", shrunk.text);
    let pasted = conformance(&command);
    assert!(!pasted.passed);
    assert_eq!((pasted.property(), shrunk.property()), (property, property), "{}", pasted.text);
    assert_eq!(pasted.line("seed "), shrunk.line("seed "), "the same run, by its hash");
    assert!(
        pasted.faults() * 4 <= whole.faults(),
        "{} of {}\n{}",
        pasted.faults(),
        whole.faults(),
        pasted.text
    );
}

#[test]
fn a_lost_term_is_shrunk() {
    the_printed_command_fails_likewise("TermNotPersisted", "recovery after a crash");
}

#[test]
fn a_stale_read_is_shrunk() {
    the_printed_command_fails_likewise("ReadBeforeOwnCommit", "linearizability");
}

#[test]
fn a_group_that_stands_still_is_shrunk() {
    the_printed_command_fails_likewise("RefusalNamesWrongSlot", "progress after healing");
}

#[test]
fn a_second_vote_is_shrunk() {
    the_printed_command_fails_likewise("VoteTwice", "one leader per epoch");
}

#[test]
fn a_panic_is_shrunk() {
    the_printed_command_fails_likewise("CommitUnverified", "invariants");
}

#[test]
fn a_bug_that_there_is_not_is_named() {
    let said = conformance(&["sim", "--mutant", "VoteThrice", "--seed", "1"]);
    assert!(
        !said.passed && said.text.contains("no bug \"VoteThrice\" to plant in raft; there are: "),
        "{}",
        said.text
    );
}

#[test]
fn every_bug_is_hunted_or_has_a_schedule() {
    for mutant in raft::Mutant::ALL {
        let hunted = RAFT.iter().map(|hunt| hunt.mutant).chain(RAFT_BY_SCHEDULE.iter().copied());
        assert_eq!(hunted.filter(|hunted| hunted == mutant).count(), 1, "{mutant:?}");
    }
    for mutant in benor::Mutant::ALL {
        let hunted =
            BENOR.iter().map(|hunt| hunt.mutant).chain(BENOR_BYZANTINE.iter().map(|hunt| hunt.mutant));
        let hunted = hunted.chain(BENOR_LOG.iter().map(|hunt| hunt.mutant));
        let hunted = hunted.chain(BENOR_BY_SCHEDULE.iter().copied());
        assert_eq!(hunted.filter(|hunted| hunted == mutant).count(), 1, "{mutant:?}");
    }
    for mutant in benor::mmr::Mutant::ALL {
        let hunted = BENOR_MMR.iter().map(|hunt| hunt.mutant).chain(BENOR_MMR_BY_SCHEDULE.iter().copied());
        assert_eq!(hunted.filter(|hunted| hunted == mutant).count(), 1, "{mutant:?}");
    }
    for mutant in twophase::Mutant::ALL {
        let hunted =
            TWOPHASE.iter().map(|hunt| hunt.mutant).chain(PAXOS_COMMIT.iter().map(|hunt| hunt.mutant));
        let hunted = hunted.chain(TWOPHASE_BY_SCHEDULE.iter().copied());
        assert_eq!(hunted.filter(|hunted| hunted == mutant).count(), 1, "{mutant:?}");
    }
    for mutant in pbft::Mutant::ALL {
        let hunted = PBFT.iter().map(|hunt| hunt.mutant).chain(PBFT_BY_SCHEDULE.iter().copied());
        assert_eq!(hunted.filter(|hunted| hunted == mutant).count(), 1, "{mutant:?}");
    }
    for mutant in multipaxos::Mutant::ALL {
        let log = MULTIPAXOS.iter().map(|hunt| hunt.mutant).chain(LEASES.iter().map(|hunt| hunt.mutant));
        let log = log.chain(MULTIPAXOS_BY_SCHEDULE.iter().copied()).filter(|hunted| hunted == mutant).count();
        let one_value = SYNOD.iter().filter(|hunt| hunt.mutant == *mutant).count();
        assert!(log <= 1 && one_value <= 1 && log + one_value > 0, "{mutant:?}");
    }
}
