//! `conformance sim`: one run, to look at.

use crate::output::print;
#[cfg(not(all(feature = "mutants", debug_assertions)))]
use anyhow::bail;
use anyhow::{Context, Result};
use clap::Args;
use conformance::subjects::Subject;
use conformance::{MAX_RUNS, Recipe, Shrunk, page};
use consensus_sim::{Format, Mask, Overrides, Report};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct Sim {
    /// Which algorithm.
    #[arg(long, default_value = "raft")]
    algorithm: String,
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// Which faults are carried out: classes with numbers, as in 'crash:0,3-5;loss:'. A class that is not named has all of its
    /// faults; one without numbers has none.
    #[arg(long, value_name = "MASK", default_value = "")]
    only: Mask,
    /// What of the plan is set otherwise, as in 'nodes=3;clients=1;operations=20'.
    #[arg(long, value_name = "SETTINGS", default_value = "")]
    set: Overrides,
    /// If the run fails, shrink it: find a smaller run that fails in the same way.
    #[arg(long)]
    shrink: bool,
    /// The most runs that shrinking takes.
    #[arg(long, value_name = "RUNS", default_value_t = MAX_RUNS)]
    shrink_runs: u64,
    /// Plant this bug: one of those that `conformance mutants` lists.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
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

/// Does the run; whether it passed.
pub(crate) fn replay(sim: &Sim) -> Result<bool> {
    let sound = crate::known(&sim.algorithm)?;
    let sick = sim.mutant.as_deref().map(|name| planted(&sim.algorithm, name)).transpose()?;
    let drawn = sick.as_deref().unwrap_or(sound);
    let planned = super::plan::under(drawn, sim.plan.as_deref())?;
    let subject = planned.as_deref().unwrap_or(drawn);
    let command = command(sim);
    let mut recipe = Recipe { seed: sim.seed, mask: sim.only.clone(), overrides: sim.set.clone() };
    if let Some(format) = &sim.print_plan {
        let format = Format::named(format)
            .with_context(|| format!("a plan is printed as toml or as json, not as {format:?}"))?;
        print(subject.plan_of(&recipe)?.print(format)?.trim_end())?;
        return Ok(true);
    }
    if sim.shrink {
        match subject.shrink(&recipe, sim.shrink_runs)? {
            Some(shrunk) => {
                print(&told(&shrunk, &command))?;
                recipe = shrunk.recipe;
            }
            None => print("nothing to shrink: the run passes")?,
        }
    }
    let report = run(sim, &recipe, subject, &recipe.command(&command))?;
    print(&format!("seed {}: {} events, hash {:016x}", sim.seed, report.events, report.hash))?;
    print(&format!("{:?}", report.counts))?;
    print(&faults(&report))?;
    match &report.failure {
        Some(failure) => print(&format!("FAILED: {failure}\n0 passed, 1 failed"))?,
        None => print("1 passed, 0 failed")?,
    }
    Ok(report.failure.is_none())
}

/// The command that does such a run again, up to the seed's number.
fn command(sim: &Sim) -> String {
    let mutant = sim.mutant.as_ref().map(|name| format!(" --mutant {name}")).unwrap_or_default();
    let plan = sim.plan.as_ref().map(|path| format!(" --plan '{}'", path.display())).unwrap_or_default();
    format!("cargo xtask sim --algorithm {}{mutant}{plan} --seed", sim.algorithm)
}

fn told(shrunk: &Shrunk, command: &str) -> String {
    let Shrunk { recipe, property: _, detail: _, faults_before, faults, runs } = shrunk;
    let command = recipe.command(command);
    format!("shrunk from {faults_before} faults to {faults}, in {runs} runs\nreplay: {command}")
}

/// The run, written down where that is wanted.
fn run(sim: &Sim, recipe: &Recipe, subject: &dyn Subject, command: &str) -> Result<Report> {
    let is_json = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let json = sim.trace.as_ref().filter(|path| is_json(path));
    let lines = sim.trace.as_ref().filter(|path| !is_json(path));
    let report = if json.is_some() || sim.html.is_some() {
        let (report, run) = subject.record(recipe, lines.is_some(), command)?;
        if let Some(path) = json {
            write(path, &run.to_json()?)?;
            print(&format!("{} events in {}", run.events.len(), path.display()))?;
        }
        if let Some(path) = &sim.html {
            write(path, &page::render(&run)?)?;
            print(&format!("a page of the run in {}", path.display()))?;
        }
        report
    } else {
        subject.run(recipe, lines.is_some())?
    };
    if let Some(path) = lines {
        let mut text = report.lines.join("\n");
        text.push('\n');
        write(path, &text)?;
        print(&format!("{} lines in {}", report.lines.len(), path.display()))?;
    }
    Ok(report)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How many faults of which class there were.
fn faults(report: &Report) -> String {
    let met = report.faults.iter().filter(|(_, tally)| tally.met > 0);
    let classes: Vec<String> =
        met.map(|(class, tally)| format!("{class} {} of {}", tally.carried_out, tally.met)).collect();
    format!("{} faults carried out: {}", report.faults.carried_out(), classes.join(", "))
}

#[cfg(all(feature = "mutants", debug_assertions))]
fn planted(algorithm: &str, name: &str) -> Result<Box<dyn Subject>> {
    use conformance::mutants::{named, names};
    let hunt = named(algorithm, name).with_context(|| {
        format!(
            "there is no bug {name:?} to plant in {algorithm}; there are: {}",
            names(algorithm).join(", ")
        )
    })?;
    Ok(hunt.planted())
}

#[cfg(not(all(feature = "mutants", debug_assertions)))]
fn planted(_algorithm: &str, name: &str) -> Result<Box<dyn Subject>> {
    bail!(
        "this build has no debug assertions, and plants no bugs such as {name:?}; use: cargo run -p conformance -- sim"
    )
}
