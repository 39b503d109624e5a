//! `conformance`: puts the algorithms of this workspace to the test.
#![allow(clippy::disallowed_methods)] // A person at a terminal wants to know how long it took.

mod cli;
mod output;

#[cfg(not(all(feature = "mutants", debug_assertions)))]
use anyhow::bail;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use cli::hash::Hash;
use cli::sim::Sim;
use conformance::Summary;
use conformance::calm;
use conformance::controls::{self, Control};
use conformance::elections::Table;
use conformance::partial;
use conformance::subjects::{self, Subject};
use output::{print, with_progress};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
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
    /// Try: conformance run --algorithm raft --seeds 2000; or --json, for a program
    Run(Run),
    /// Replay one seed, and write it down if wanted: as lines, as JSON, as a page with a space-time diagram.
    ///
    /// A run that fails can be shrunk; the smaller run has a command of its own.
    ///
    /// Try: conformance sim --algorithm raft --seed 7 --trace run.json --html run.html
    Sim(Sim),
    /// Print the fingerprints of runs, to compare builds and machines.
    Hash(Hash),
    /// Plant known bugs one by one, and require that each is found.
    Mutants(Mutants),
    /// Measure how long a group of Raft is without a leader, with messages lost.
    Elections(PerRow),
    /// Measure how long clients are not served while one node alone reaches a quorum, Raft beside Multi-Paxos.
    Partial(PerRow),
    /// Measure how many messages and writes an answer takes in calm weather, with all clocks stopped.
    ///
    /// Try: conformance calm --algorithm raft --seeds 100
    Calm(Calm),
}

#[derive(Args)]
struct Run {
    /// Which algorithm; all of them by default.
    #[arg(long, default_value = "all")]
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
    /// Run the controls too: just outside of the claims, a violation must be found.
    #[arg(long)]
    controls: bool,
    /// A plan, in TOML or JSON, that all runs follow in place of what their seeds draw.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Print the report as one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct PerRow {
    /// How many runs for each row of the table.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: u64,
}

#[derive(Args)]
struct Calm {
    /// Which algorithm; all of them by default.
    #[arg(long, default_value = "all")]
    algorithm: String,
    #[command(flatten)]
    rows: PerRow,
}

#[derive(Args)]
struct Mutants {
    /// Only bugs with this in their name.
    #[arg(long, default_value = "")]
    only: String,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> Result<ExitCode> {
    match carry_out(&Arguments::parse().command) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        // Nobody reads on. What was not said is not proven.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Does what was asked for; whether everything passed.
fn carry_out(command: &Command) -> Result<bool> {
    match command {
        Command::Run(run) => run_many(run),
        Command::Sim(sim) => cli::sim::replay(sim),
        Command::Hash(hash) => cli::hash::hashes(hash).map(|()| true),
        Command::Mutants(mutants) => hunt(mutants),
        Command::Partial(PerRow { seeds }) => {
            let table = partial::Table::measure(*seeds);
            print(&table.to_string())?;
            Ok(table.is_safe())
        }
        Command::Calm(Calm { algorithm, rows }) => {
            let table = calm::Table::measure(&chosen(algorithm)?, rows.seeds)?;
            print(&table.to_string())?;
            Ok(table.holds())
        }
        Command::Elections(PerRow { seeds }) => {
            print(&Table::measure(*seeds).to_string())?;
            Ok(true)
        }
    }
}

/// The algorithm of this name.
fn known(algorithm: &str) -> Result<&'static dyn Subject> {
    let found = subjects::ALL.iter().find(|subject| subject.name() == algorithm);
    let names = || subjects::ALL.iter().map(|subject| subject.name()).collect::<Vec<_>>().join(", ");
    found.copied().with_context(|| format!("there is no algorithm {algorithm:?}; there is: {}", names()))
}

/// The algorithm of this name, or all of them.
fn chosen(algorithm: &str) -> Result<Vec<&'static dyn Subject>> {
    Ok(if algorithm == "all" { subjects::ALL.to_vec() } else { vec![known(algorithm)?] })
}

fn run_many(run: &Run) -> Result<bool> {
    let seeds = run.start..run.start.saturating_add(run.seeds);
    let mut reports = Vec::new();
    for drawn in chosen(&run.algorithm)? {
        let planned = cli::plan::under(drawn, run.plan.as_deref())?;
        let subject = planned.as_deref().unwrap_or(drawn);
        let began = Instant::now();
        let report = with_progress(subject.name(), run.seeds, |watch| {
            subject.check(seeds.clone(), run.jobs, watch).with_context(|| subject.name())
        })?;
        eprintln!("{}: {} seeds in {:.1} s", subject.name(), report.runs, began.elapsed().as_secs_f64());
        reports.push(report);
    }
    let controls = if run.controls { run_controls(run)? } else { Vec::new() };
    let held = controls.iter().all(Control::holds);
    let summary = Summary::of(&reports).with_controls(&controls);
    let text = if run.json { summary.to_json()? } else { summary.to_string() };
    match print(&text) {
        // The verdict is known, whether or not anybody reads on.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(summary.failed == 0 && held),
    }
}

/// What comes of the controls of the chosen algorithms; told as they end, unless a document is to hold them.
fn run_controls(run: &Run) -> Result<Vec<Control>> {
    if !controls::has_any(&run.algorithm) {
        return Ok(Vec::new());
    }
    if run.json {
        return Ok(controls::of(&run.algorithm, run.jobs, |_| {})?);
    }
    print(&controls::head())?;
    let mut told = Ok(());
    let controls = controls::of(&run.algorithm, run.jobs, |control| {
        let line = print(&control.to_string());
        if told.is_ok() {
            told = line;
        }
    })?;
    told?;
    let missed = controls.iter().filter(|control| !control.holds()).count();
    print(&format!("\n{} controls held, {missed} failed\n", controls.len() - missed))?;
    Ok(controls)
}

#[cfg(all(feature = "mutants", debug_assertions))]
fn hunt(mutants: &Mutants) -> Result<bool> {
    use conformance::mutants::{
        BENOR_BY_SCHEDULE, BENOR_MMR_BY_SCHEDULE, FLOODSET_BY_SCHEDULE, MULTIPAXOS_BY_SCHEDULE,
        PBFT_BY_SCHEDULE, RAFT_BY_SCHEDULE, TWOPHASE_BY_SCHEDULE,
    };
    use conformance::mutants::{head, hunt_all};
    let began = Instant::now();
    print(&head())?;
    let report = hunt_all(&mutants.only, mutants.start, mutants.jobs, |caught| {
        // Whoever reads no further is told at the end.
        let _ = print(&caught.to_string());
    })?;
    let schedules = RAFT_BY_SCHEDULE.iter().map(|mutant| ("raft", format!("{mutant:?}")));
    let log = MULTIPAXOS_BY_SCHEDULE.iter().map(|mutant| ("multipaxos", format!("{mutant:?}")));
    let coins = BENOR_BY_SCHEDULE.iter().map(|mutant| ("benor", format!("{mutant:?}")));
    let rounds = FLOODSET_BY_SCHEDULE.iter().map(|mutant| ("floodset", format!("{mutant:?}")));
    let views = PBFT_BY_SCHEDULE.iter().map(|mutant| ("pbft", format!("{mutant:?}")));
    let promises = TWOPHASE_BY_SCHEDULE.iter().map(|mutant| ("twophase", format!("{mutant:?}")));
    let hidden = BENOR_MMR_BY_SCHEDULE.iter().map(|mutant| ("benor", format!("{mutant:?}")));
    let coins = coins.chain(hidden);
    for (algorithm, mutant) in schedules.chain(log).chain(coins).chain(rounds).chain(views).chain(promises) {
        print(&format!("{algorithm:<15} {mutant:<26} by schedule: crates/{algorithm}/tests/mutants.rs"))?;
    }
    let survivors = report.survivors();
    print(&format!("\n{} passed, {survivors} failed", report.catches.len() - survivors))?;
    eprintln!("{:.1} s", began.elapsed().as_secs_f64());
    Ok(survivors == 0)
}

#[cfg(not(all(feature = "mutants", debug_assertions)))]
fn hunt(mutants: &Mutants) -> Result<bool> {
    let _ = (&mutants.only, mutants.start, mutants.jobs);
    bail!("this build has no debug assertions, and plants no bugs; use: cargo run -p conformance -- mutants")
}
