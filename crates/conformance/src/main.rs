//! `conformance`: puts the algorithms of this workspace to the test.
#![allow(clippy::disallowed_methods)] // A person at a terminal wants to know how long it took.

mod cli;
mod output;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use cli::hash::Hash;
use cli::sim::Sim;
use conformance::{Options, check, subjects};
use output::print;
use std::io::{self, ErrorKind};
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
    /// A run that fails can be shrunk; the smaller run has a command of its own.
    ///
    /// Try: conformance sim --algorithm raft --seed 7 --trace run.json --html run.html
    Sim(Sim),
    /// Print the fingerprints of runs, to compare builds and machines.
    Hash(Hash),
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
    }
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
    print(&report.to_string())?;
    Ok(report.failed() == 0)
}

#[cfg(feature = "mutants")]
fn hunt(mutants: &Mutants) -> Result<bool> {
    use conformance::mutants::{RAFT_BY_SCHEDULE, head, hunt};
    print(&head())?;
    let mut heard = Ok(());
    let report = hunt(mutants.start, mutants.jobs, |caught| {
        if heard.is_ok() {
            heard = print(&caught.to_string());
        }
    })?;
    heard?;
    for mutant in RAFT_BY_SCHEDULE {
        print(&format!("{:<26} by schedule: crates/raft/tests/mutants.rs", format!("{mutant:?}")))?;
    }
    let survivors = report.survivors();
    print(&format!("\n{} passed, {survivors} failed", report.catches.len() - survivors))?;
    Ok(survivors == 0)
}

#[cfg(not(feature = "mutants"))]
fn hunt(mutants: &Mutants) -> Result<bool> {
    let _ = (mutants.start, mutants.jobs);
    bail!("this build cannot plant bugs; use: cargo run -p conformance --features mutants -- mutants")
}
