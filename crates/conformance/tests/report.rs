//! The verdict: as tables, as JSON, and to a reader who goes away.

use conformance::controls::{Control, Expectation};
use conformance::{Options, SuiteReport, Summary, Tuning, check};
use consensus_sim::{Act, Plan, Property, Stream};
use own_algorithm::{Config, FixedLeader, Flaw};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

fn report(flaw: Flaw, seeds: u64) -> SuiteReport {
    let tune = move |_: &mut Stream, _: &mut Plan| Tuning {
        config: Config { flaw },
        patience: Duration::from_secs(2),
    };
    check(&Options::<FixedLeader> { seeds: 0..seeds, jobs: 2, replay: "replay --seed".into(), tune: &tune })
        .unwrap()
}

#[test]
fn json_comes_back_as_it_was_and_says_what_the_tables_say() {
    let reports = [report(Flaw::None, 40), report(Flaw::AckEarlyAndAcceptGaps, 60)];
    let summary = Summary::of(&reports);
    assert_eq!(Summary::from_json(&summary.to_json().unwrap()).unwrap(), summary);
    let (passed, failed) = (reports[0].passed() + reports[1].passed(), reports[1].failed());
    assert!(failed > 0 && summary.failed == failed && summary.passed == passed);
    let tables = summary.to_string();
    assert!(tables.ends_with(&format!("\n{passed} passed, {failed} failed")), "{tables}");
    for line in &summary.algorithms[1].failures {
        assert!(tables.contains(&format!("  replay: replay --seed {}", line.seed)), "{tables}");
    }
}

#[test]
fn controls_are_in_the_document_and_byzantine_acts_are_told_if_there_were_any() {
    let mut report = report(Flaw::None, 1);
    let name = Act::Tamper.name();
    assert!(!Summary::of(core::slice::from_ref(&report)).to_string().contains(name));
    report.counts.byzantine.runs = 1;
    let found = Some((3, Property::Agreement));
    let blind = Control {
        name: "a blind one".into(),
        expectation: Expectation::Violation(&[Property::Agreement]),
        budget: 5,
        found: None,
        detail: String::new(),
    };
    let seeing = Control { found, ..blind.clone() };
    let summary = Summary::of(&[report]).with_controls(&[blind, seeing]);
    assert!(summary.to_string().contains(name));
    assert_eq!(Summary::from_json(&summary.to_json().unwrap()).unwrap(), summary);
    let told: Vec<_> = summary.controls.iter().map(|line| (line.holds, line.seed)).collect();
    assert_eq!(told, [(false, None), (true, Some(3))]);
}

/// What was not looked at to the end has not passed.
#[test]
fn a_run_that_failed_says_nothing_of_other_properties() {
    let failing = report(Flaw::AckEarlyAndAcceptGaps, 60);
    let summary = Summary::of(&[failing]);
    let total = &summary.algorithms[0];
    for line in &total.properties {
        assert_eq!(line.passed + line.failed, line.runs, "{line:?}");
        assert!(line.passed <= total.passed, "{line:?}");
    }
    assert_eq!(total.properties.iter().map(|line| line.failed).sum::<u64>(), total.failed);
    let of = |name| total.properties.iter().find(|line| line.property == name).unwrap();
    assert_eq!(of("exactly once").runs, total.passed);
    assert!(of("determinism").runs < total.runs / 10, "only every sixteenth seed is run twice");
}

#[test]
fn the_report_tells_what_a_decision_costs_and_how_long_service_was_gone() {
    let summary = Summary::of(&[report(Flaw::None, 40)]);
    let total = &summary.algorithms[0];
    let recovery = total.recovery.unwrap();
    assert!(recovery.samples >= 40 && recovery.p50 > 0 && recovery.p50 <= recovery.worst, "{recovery:?}");
    assert!(recovery.worst < 10_000_000_000 && recovery.worst_seed < 40, "{recovery:?}");
    // Every decision takes a record on a majority, and a message each way to whoever else holds it.
    assert!(
        total.decisions > 1_000 && total.messages > total.decisions && total.durable_writes > total.decisions
    );
    assert!(total.disk_syncs <= total.durable_writes && total.message_bytes > 10 * total.messages);
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_conformance"))
}

#[test]
fn the_program_prints_one_document() {
    let output = program().args(["run", "--algorithm", "raft", "--seeds", "5", "--json"]).output().unwrap();
    assert!(output.status.success());
    let summary = Summary::from_json(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    assert_eq!((summary.passed, summary.failed, summary.algorithms[0].algorithm.as_str()), (5, 0, "raft"));
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(progress.lines().count(), 1, "no bar without a terminal: {progress}");
}

#[test]
fn an_unknown_algorithm_is_refused_with_the_names_that_there_are() {
    let output = program().args(["run", "--algorithm", "paxis"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("\"paxis\"") && said.contains("raft"), "{said}");
}

#[test]
fn a_reader_who_goes_away_is_the_end_and_no_panic() {
    let mut child = program()
        .args(["run", "--seeds", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said: Vec<String> =
        BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("panicked")), "{said:?}");
}
