//! The plans that come with the suite, each of them run; and what a person who writes one gets wrong.

use conformance::plans::{beyond_claims, load, plan_of, with_plan};
use conformance::{Options, SuiteReport, check, subjects};
use consensus_sim::{Format, Plan};
use std::fs;
use std::path::{Path, PathBuf};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans").join(name)
}

fn run(name: &str, seeds: u64) -> SuiteReport {
    let plan = load(&shipped(name)).unwrap();
    assert_eq!(beyond_claims::<raft::Raft>(&plan).unwrap(), Vec::<String>::new(), "{name}");
    let report = check(&Options::<raft::Raft> {
        seeds: 0..seeds,
        jobs: 2,
        replay: format!("cargo xtask sim --algorithm raft --plan crates/conformance/plans/{name} --seed"),
        tune: &with_plan(Some(plan), &subjects::raft),
    })
    .unwrap();
    assert_eq!(report.failed(), 0, "{name}: {report}");
    report
}

#[test]
fn a_lan_of_three() {
    let counts = run("lan.toml", 8).counts;
    assert!(counts.crashes > 20 && counts.decisions > 2_000, "{counts:?}");
    assert_eq!((counts.partitions, counts.forwarded), (0, 0));
}

#[test]
fn five_sites_over_a_wan() {
    let counts = run("wan.toml", 6).counts;
    assert!(counts.lost_in_bursts > 5 && counts.partitions > 10 && counts.decisions > 200, "{counts:?}");
    assert!(counts.forwarded > 100, "n5 reaches Europe's first site through others: {counts:?}");
}

#[test]
fn a_tree_of_weak_links() {
    let counts = run("iot.toml", 6).counts;
    assert!(counts.lost_in_bursts > 20 && counts.forwarded > 1_000 && counts.pauses > 10, "{counts:?}");
}

#[test]
fn a_partially_synchronous_network() {
    let counts = run("partial-synchrony.toml", 10).counts;
    assert_eq!(counts.stabilisations, 10);
    assert!(counts.lost > 1_000 && counts.crashes > 20 && counts.pauses > 20, "{counts:?}");
}

#[test]
fn every_shipped_plan_is_run_above_and_reads_back_in_both_formats() {
    let mut names = Vec::new();
    for file in fs::read_dir(shipped("")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md") {
            continue;
        }
        let plan = load(&path).unwrap();
        for format in [Format::Toml, Format::Json] {
            assert_eq!(Plan::parse(&plan.print(format).unwrap(), format).as_ref(), Ok(&plan));
        }
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort_unstable();
    assert_eq!(names, ["iot.toml", "lan.toml", "partial-synchrony.toml", "wan.toml"]);
}

#[test]
fn the_printed_plan_of_a_seed_gives_the_same_run() {
    for seed in [7, 12, 15] {
        let drawn = plan_of::<raft::Raft>(&seed.into(), &subjects::raft).unwrap();
        let again = Plan::parse(&drawn.print(Format::Toml).unwrap(), Format::Toml).unwrap();
        let run = |plan| {
            conformance::run_seed::<raft::Raft>(seed, &with_plan(plan, &subjects::raft), false).unwrap()
        };
        assert_eq!(run(None).hash, run(Some(again)).hash);
        assert_ne!(run(None).hash, run(Some(Plan::calm(3))).hash);
    }
}

#[test]
fn a_bad_file_is_refused_by_file_and_field() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, field) in [
        ("unknown.toml", "[network]\nlos = \"1%\"", "unknown field `los`"),
        ("none.json", "{\"nodes\": 0}", "nodes: 0 is not within"),
        ("plan.yaml", "nodes: 3", "must end in .toml or .json"),
        ("missing.toml", "", "cannot read"),
    ] {
        let path = folder.path().join(name);
        if name != "missing.toml" {
            fs::write(&path, text).unwrap();
        }
        let said = load(&path).unwrap_err().to_string();
        assert!(said.contains(name) && said.contains(field), "{said}");
    }
}
