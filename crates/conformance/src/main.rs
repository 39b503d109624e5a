//! `conformance`: puts the algorithms of this workspace to the test.
#![allow(clippy::disallowed_methods)] // A person at a terminal wants to know how long it took.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use conformance::{Options, check, page, plans, record_seed, run_seed, subjects};
use consensus_sim::{Format, Plan};
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
    /// A plan, in TOML or JSON, that all runs follow in place of what their seeds draw.
    #[arg(long)]
    plan: Option<PathBuf>,
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
    /// A plan, in TOML or JSON, that the run follows in place of what its seed draws.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Print the plan that the run would follow, as toml or json, and do not run.
    #[arg(long, value_name = "FORMAT")]
    print_plan: Option<String>,
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

/// The plan in this file, if one is named, with a word on what of it the algorithm does not claim to survive.
fn planned(path: Option<&PathBuf>) -> Result<Option<Plan>> {
    let Some(path) = path else { return Ok(None) };
    let plan = plans::load(path)?;
    let beyond = plans::beyond_claims::<raft::Raft>(&plan)?;
    if !beyond.is_empty() {
        eprintln!("beyond what the algorithm claims, and therefore left out or bent: {}", beyond.join(", "));
    }
    Ok(Some(plan))
}

/// The command that replays a seed, up to the seed's number.
fn replay_command(algorithm: &str, plan: Option<&PathBuf>) -> String {
    let plan = plan.map(|path| format!(" --plan '{}'", path.display())).unwrap_or_default();
    format!("cargo xtask sim --algorithm {algorithm}{plan} --seed")
}

fn run_many(run: &Run) -> Result<bool> {
    known(&run.algorithm)?;
    let began = Instant::now();
    let report = check(&Options::<raft::Raft> {
        seeds: run.start..run.start.saturating_add(run.seeds),
        jobs: run.jobs,
        replay: replay_command(&run.algorithm, run.plan.as_ref()),
        tune: &plans::with_plan(planned(run.plan.as_ref())?, &subjects::raft),
    })?;
    eprintln!("{} seeds in {:.1} s", report.runs, began.elapsed().as_secs_f64());
    println!("{report}");
    Ok(report.failed() == 0)
}

fn replay(sim: &Sim) -> Result<bool> {
    known(&sim.algorithm)?;
    let tune = plans::with_plan(planned(sim.plan.as_ref())?, &subjects::raft);
    if let Some(format) = &sim.print_plan {
        let Some(format) = Format::named(format) else {
            bail!("a plan is printed as toml or as json, not as {format:?}")
        };
        print!("{}", plans::plan_of::<raft::Raft>(sim.seed, &tune)?.print(format)?);
        return Ok(true);
    }
    let is_json = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let json = sim.trace.as_ref().filter(|path| is_json(path));
    let lines = sim.trace.as_ref().filter(|path| !is_json(path));
    let report = if json.is_some() || sim.html.is_some() {
        let command = format!("{} {}", replay_command(&sim.algorithm, sim.plan.as_ref()), sim.seed);
        let (report, run) = record_seed::<raft::Raft>(sim.seed, &tune, lines.is_some(), &command)?;
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
        run_seed::<raft::Raft>(sim.seed, &tune, lines.is_some())?
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
