//! `conformance`: puts the algorithms of this workspace to the test.
#![allow(clippy::disallowed_methods)] // A person at a terminal wants to know how long it took.

mod output;

#[cfg(not(feature = "mutants"))]
use anyhow::bail;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use conformance::subjects::{self, Subject};
use conformance::{Summary, page, plans};
use consensus_sim::Format;
use output::{print, said, with_progress};
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
    /// Try: conformance run --algorithm raft --seeds 2000; or --json, for a program
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
    /// A plan, in TOML or JSON, that all runs follow in place of what their seeds draw.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Print the report as one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Sim {
    /// Which algorithm.
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
    let passed = match Arguments::parse().command {
        Command::Run(run) => run_many(&run)?,
        Command::Sim(sim) => replay(&sim)?,
        Command::Mutants(mutants) => hunt(&mutants)?,
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The algorithm of this name.
fn known(algorithm: &str) -> Result<&'static dyn Subject> {
    let found = subjects::ALL.iter().find(|subject| subject.name() == algorithm);
    let names = || subjects::ALL.iter().map(|subject| subject.name()).collect::<Vec<_>>().join(", ");
    found.copied().with_context(|| format!("there is no algorithm {algorithm:?}; there is: {}", names()))
}

/// The subjects, under the plan in this file if one is named, with a word on what of it they do not claim to survive.
fn under_plan(subjects: &[&'static dyn Subject], path: Option<&Path>) -> Result<Vec<Box<dyn Subject>>> {
    let Some(path) = path else { return Ok(subjects.iter().map(|subject| subject.boxed()).collect()) };
    let plan = plans::load(path)?;
    for subject in subjects {
        let beyond = subject.beyond_claims(&plan)?;
        if !beyond.is_empty() {
            let beyond = beyond.join(", ");
            eprintln!("{}: beyond what it claims, and therefore left out or bent: {beyond}", subject.name());
        }
    }
    Ok(subjects.iter().map(|subject| subject.under(&plan, path)).collect())
}

fn run_many(run: &Run) -> Result<bool> {
    let chosen: Vec<&dyn Subject> =
        if run.algorithm == "all" { subjects::ALL.to_vec() } else { vec![known(&run.algorithm)?] };
    let planned = under_plan(&chosen, run.plan.as_deref())?;
    let seeds = run.start..run.start.saturating_add(run.seeds);
    let mut reports = Vec::new();
    for subject in &planned {
        let began = Instant::now();
        let report = with_progress(subject.name(), run.seeds, |watch| {
            subject.check(seeds.clone(), run.jobs, watch).with_context(|| subject.name())
        })?;
        eprintln!("{}: {} seeds in {:.1} s", subject.name(), report.runs, began.elapsed().as_secs_f64());
        reports.push(report);
    }
    let summary = Summary::of(&reports);
    let text = if run.json { summary.to_json()? } else { summary.to_string() };
    Ok(said(print(&text), summary.failed == 0)?)
}

fn replay(sim: &Sim) -> Result<bool> {
    let chosen = under_plan(&[known(&sim.algorithm)?], sim.plan.as_deref())?;
    let Some(subject) = chosen.first() else { return Ok(false) };
    if let Some(format) = &sim.print_plan {
        let format = Format::named(format)
            .with_context(|| format!("a plan is printed as toml or as json, not as {format:?}"))?;
        print!("{}", subject.plan_of(sim.seed)?.print(format)?);
        return Ok(true);
    }
    let is_json = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let json = sim.trace.as_ref().filter(|path| is_json(path));
    let lines = sim.trace.as_ref().filter(|path| !is_json(path));
    let mut told = Vec::new();
    let report = if json.is_some() || sim.html.is_some() {
        let (report, run) = subject.record_seed(sim.seed, lines.is_some())?;
        if let Some(path) = json {
            write(path, &run.to_json()?)?;
            told.push(format!("{} events in {}", run.events.len(), path.display()));
        }
        if let Some(path) = &sim.html {
            write(path, &page::render(&run)?)?;
            told.push(format!("a page of the run in {}", path.display()));
        }
        report
    } else {
        subject.run_seed(sim.seed, lines.is_some())?
    };
    if let Some(path) = lines {
        let mut text = report.lines.join("\n");
        text.push('\n');
        write(path, &text)?;
        told.push(format!("{} lines in {}", report.lines.len(), path.display()));
    }
    told.push(format!("seed {}: {} events, hash {:016x}", sim.seed, report.events, report.hash));
    told.push(format!("{:?}", report.counts));
    told.push(match &report.failure {
        Some(failure) => format!("FAILED: {failure}\n0 passed, 1 failed"),
        None => "1 passed, 0 failed".into(),
    });
    Ok(said(print(&told.join("\n")), report.failure.is_none())?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(feature = "mutants")]
fn hunt(mutants: &Mutants) -> Result<bool> {
    use conformance::mutants::{HuntReport, RAFT_BY_SCHEDULE, head, hunts};
    let began = Instant::now();
    let mut report = HuntReport::default();
    let mut tell = || -> Result<()> {
        print(&head())?;
        for caught in hunts(&mutants.only, mutants.start, mutants.jobs) {
            let caught = caught?;
            print(&caught.to_string())?;
            report.catches.push(caught);
        }
        for mutant in RAFT_BY_SCHEDULE {
            print(&format!("{:<26} by schedule: crates/raft/tests/mutants.rs", format!("{mutant:?}")))?;
        }
        let survivors = report.survivors();
        print(&format!("\n{} passed, {survivors} failed", report.catches.len() - survivors))?;
        eprintln!("{:.1} s", began.elapsed().as_secs_f64());
        Ok(())
    };
    match tell() {
        // Nobody reads on: the hunts that are left are not worth their time, and nothing is proven.
        Err(error) => Ok(said(error.downcast().map(Err)?, false)?),
        Ok(()) => Ok(report.survivors() == 0),
    }
}

#[cfg(not(feature = "mutants"))]
fn hunt(mutants: &Mutants) -> Result<bool> {
    let _ = (&mutants.only, mutants.start, mutants.jobs);
    bail!("this build cannot plant bugs; use: cargo run -p conformance --features mutants -- mutants")
}
