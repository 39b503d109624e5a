//! `conformance`: puts the algorithms of this workspace to the test.
#![allow(clippy::disallowed_methods)] // A person at a terminal wants to know how long it took.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use conformance::{Options, check, controls, page, record_seed, run_seed, subjects};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Simulated runs with faults, and the verdict on what the algorithm claims.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds, and check every claim in each.
    ///
    /// Try: conformance run --algorithm raft --seeds 2000
    Run(Run),
    /// Replay one seed, and write it down if wanted: as lines, as JSON, as a page with a space-time diagram.
    ///
    /// Try: conformance sim --algorithm raft --seed 7 --trace run.json --html run.html
    Sim(Sim),
    /// Plant known bugs one by one, and require that each is found.
    Mutants(Mutants),
}

#[derive(Args)]
struct Run {
    /// Which algorithm: raft.
    #[arg(long, default_value = "raft")]
    algorithm: String,
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Do not run the controls just outside of the claims, where a violation must be found.
    #[arg(long)]
    skip_controls: bool,
}

#[derive(Args)]
struct Sim {
    /// Which algorithm: raft.
    #[arg(long, default_value = "raft")]
    algorithm: String,
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Where to write the trace: as JSON if the name ends in .json, otherwise as readable lines.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Where to write the run as one page that a browser shows without a network.
    #[arg(long)]
    html: Option<PathBuf>,
}

#[derive(Args)]
struct Mutants {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> Result<ExitCode> {
    let passed = match Arguments::parse().command {
        Command::Run(run) => run_many(&run)?,
        Command::Sim(sim) => replay(&sim)?,
        Command::Mutants(mutants) => hunt(&mutants)?,
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn known(algorithm: &str) -> Result<()> {
    if algorithm == "raft" {
        return Ok(());
    }
    bail!("there is no algorithm {algorithm:?}; there is: raft")
}

fn run_many(run: &Run) -> Result<bool> {
    known(&run.algorithm)?;
    let began = Instant::now();
    let report = check(&Options::<raft::Raft> {
        seeds: run.start..run.start.saturating_add(run.seeds),
        jobs: run.jobs,
        replay: "cargo xtask sim --algorithm raft --seed".into(),
        tune: &subjects::raft,
    })?;
    eprintln!("{} seeds in {:.1} s", report.runs, began.elapsed().as_secs_f64());
    let held = run.skip_controls || run_controls(run.jobs)?;
    println!("{report}");
    Ok(report.failed() == 0 && held)
}

fn run_controls(jobs: usize) -> Result<bool> {
    println!("{}", controls::head());
    let controls = controls::raft(jobs, |control| println!("{control}"))?;
    let missed = controls.iter().filter(|control| !control.holds()).count();
    println!("\n{} controls held, {missed} failed\n", controls.len() - missed);
    Ok(missed == 0)
}

fn replay(sim: &Sim) -> Result<bool> {
    known(&sim.algorithm)?;
    let is_json = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let json = sim.trace.as_ref().filter(|path| is_json(path));
    let lines = sim.trace.as_ref().filter(|path| !is_json(path));
    let report = if json.is_some() || sim.html.is_some() {
        let command = format!("cargo xtask sim --algorithm {} --seed {}", sim.algorithm, sim.seed);
        let (report, run) = record_seed::<raft::Raft>(sim.seed, &subjects::raft, lines.is_some(), &command)?;
        if let Some(path) = json {
            write(path, &run.to_json()?)?;
            println!("{} events in {}", run.events.len(), path.display());
        }
        if let Some(path) = &sim.html {
            write(path, &page::render(&run)?)?;
            println!("a page of the run in {}", path.display());
        }
        report
    } else {
        run_seed::<raft::Raft>(sim.seed, &subjects::raft, lines.is_some())?
    };
    if let Some(path) = lines {
        let mut text = report.lines.join("\n");
        text.push('\n');
        write(path, &text)?;
        println!("{} lines in {}", report.lines.len(), path.display());
    }
    println!("seed {}: {} events, hash {:016x}", sim.seed, report.events, report.hash);
    println!("{:?}", report.counts);
    match &report.failure {
        Some(failure) => println!("FAILED: {failure}\n0 passed, 1 failed"),
        None => println!("1 passed, 0 failed"),
    }
    Ok(report.failure.is_none())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(feature = "mutants")]
fn hunt(mutants: &Mutants) -> Result<bool> {
    use conformance::mutants::{RAFT_BY_SCHEDULE, head, hunt};
    println!("{}", head());
    let report = hunt(mutants.start, mutants.jobs, |caught| println!("{caught}"))?;
    for mutant in RAFT_BY_SCHEDULE {
        println!("{:<26} by schedule: crates/raft/tests/mutants.rs", format!("{mutant:?}"));
    }
    let survivors = report.survivors();
    println!("\n{} passed, {survivors} failed", report.catches.len() - survivors);
    Ok(survivors == 0)
}

#[cfg(not(feature = "mutants"))]
fn hunt(mutants: &Mutants) -> Result<bool> {
    let _ = (mutants.start, mutants.jobs);
    bail!("this build cannot plant bugs; use: cargo run -p conformance --features mutants -- mutants")
}
