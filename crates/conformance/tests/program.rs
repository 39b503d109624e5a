//! The program: its flags, its fingerprints, and a reader that goes away.

use conformance::{Recorded, run_seed, subjects};
use std::io::Read;
use std::process::{Command, Output, Stdio};

fn conformance(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(words).output().unwrap()
}

#[test]
fn a_bad_flag_is_told_what_is_wrong_with_it() {
    let cases = [
        (vec!["--only", "crush:1"], "no class of faults \"crush\"; there are: partition"),
        (vec!["--only", "crash"], "\"crash\" is no class with its numbers"),
        (vec!["--only", "crash:7-3"], "\"7-3\" (of crash) is neither a number"),
        (vec!["--set", "nodes"], "\"nodes\" sets nothing"),
        (vec!["--set", "nodes=0"], "nodes=0 is not possible: it takes a number from 1 to 64"),
        (vec!["--set", "knots=1"], "no setting \"knots\"; there are: nodes"),
        (vec!["--algorithm", "rift"], "no algorithm \"rift\""),
    ];
    for (flags, problem) in cases {
        let output = conformance(&[&["sim", "--seed", "1"], flags.as_slice()].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(problem), "{flags:?}: {said}");
    }
}

#[test]
fn the_recording_carries_the_whole_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    let flags = ["sim", "--seed", "3", "--only", "crash:0;loss:", "--set", "nodes=3;faults_for_us=200000"];
    let output = conformance(&[&flags[..], &["--trace", path.to_str().unwrap()]].concat());
    assert!(output.status.success());
    let run = Recorded::from_json(&std::fs::read_to_string(path).unwrap()).unwrap();
    let command = "cargo xtask sim --algorithm raft --seed 3 --only 'crash:0;loss:' --set 'nodes=3;faults_for_us=200000'";
    assert_eq!((run.replay.as_str(), run.nodes), (command, 3));
}

#[test]
fn the_fingerprints_are_those_of_the_library() {
    let output = conformance(&["hash", "--start", "5", "--seeds", "3"]);
    let expected: String = (5..8)
        .map(|seed| {
            let report = run_seed::<raft::Raft>(seed, &subjects::raft, false).unwrap();
            format!("{seed} {} {:016x}\n", report.events, report.hash)
        })
        .collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_reader_that_goes_away_is_the_end_and_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(["hash", "--seeds", "50"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(said, "");
}
