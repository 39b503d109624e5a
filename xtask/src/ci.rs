//! What continuous integration runs beside the tests.

use crate::run::{cargo, output, succeed};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Seeds of the simulator that every change must pass, of every algorithm.
const SEEDS: &str = "400";
/// More of those whose runs are short: where everybody signs, a run takes ten times as long.
const SHORT: &[&str] = &["raft", "multipaxos", "synod", "benor", "benor-byzantine", "floodset"];
const MORE_SEEDS: &str = "1600";
/// Seeds whose fingerprints must not depend on the build.
const HASHED_SEEDS: &str = "60";

/// What lets a build plant bugs. All simulated runs here are of one such build: each build takes longer than its runs. The programs are
/// chosen by their names, not by their packages, so that they share what is built.
const PLANTS: &str = "conformance/mutants";

/// Formatting, lints, documentation, the bench, a build without `std`, the planted bugs, a fixed budget of simulated runs, and the controls.
///
/// # Errors
/// The first check that fails.
pub fn run() -> Result<()> {
    succeed(cargo()?.args(["fmt", "--all", "--check"]))?;
    // With everything that is compiled at all: a feature only adds.
    let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--features", PLANTS];
    succeed(cargo()?.args(lint).args(["--", "-D", "warnings"]))?;
    succeed(
        cargo()?.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // The measurements live in a workspace of their own: a change here must not leave them behind.
    let bench = ["check", "--quiet", "--manifest-path", "bench/Cargo.toml", "--all-targets", "--locked"];
    succeed(cargo()?.args(bench))?;
    without_std()?;
    mutants(&[])?;
    let planted = ["test", "--quiet", "--features", PLANTS, "--test", "planted"];
    succeed(cargo()?.args(planted))?;
    same_in_release()?;
    for algorithm in SHORT {
        planting(&["run", "--algorithm", algorithm, "--start", SEEDS, "--seeds", MORE_SEEDS])?;
    }
    planting(&["run", "--algorithm", "all", "--seeds", SEEDS, "--controls"])
}

/// Raft and all below it link without `std`, as far as the host can show: a program has but one panic handler, and `std` brings
/// one. The check proves itself on a tree in which one library asks for `std`.
///
/// # Errors
/// If something brings `std`, or if that would not be noticed.
fn without_std() -> Result<()> {
    let build = |features: &str| -> Result<Command> {
        let mut command = cargo()?;
        command.args(["build", "--quiet", "--locked", "--package", "without-std", "--features", features]);
        command.env("CARGO_PROFILE_DEV_PANIC", "abort");
        Ok(command)
    };
    succeed(&mut build("bare")?)?;
    let spoilt = build("bare,spoilt")?.output().context("cannot start cargo")?;
    let says_why = String::from_utf8_lossy(&spoilt.stderr).contains("`panic_impl`");
    if spoilt.status.success() || !says_why {
        bail!("a library that brings `std` was not noticed: the check without `std` shows nothing");
    }
    Ok(())
}

/// The same seeds give the same runs, byte for byte, with the optimisations of a release and without, and when run again.
///
/// # Errors
/// If a fingerprint differs, or a build fails.
fn same_in_release() -> Result<()> {
    let hashes = |profile: &str| {
        let build = ["run", "--quiet", "--locked", "--bin", "conformance", "--profile", profile];
        let mut command = cargo()?;
        // That bugs can be planted must change nothing either; a release refuses to.
        let features: &[&str] = if profile == "dev" { &["--features", PLANTS, "--"] } else { &["--"] };
        // The optimisations of a release, without those that take a second pass over everything.
        command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        output(command.args(build).args(features).args(["hash", "--seeds", HASHED_SEEDS]))
    };
    let (dev, again, release) = (hashes("dev")?, hashes("dev")?, hashes("release")?);
    if dev.lines().count().to_string() != HASHED_SEEDS {
        bail!("{HASHED_SEEDS} fingerprints were asked for, and these came:\n{dev}");
    }
    for (line, (again, release)) in dev.lines().zip(again.lines().zip(release.lines())) {
        if line != again || line != release {
            bail!("a seed gives different runs:\n{line} in dev\n{again} in dev again\n{release} in release");
        }
    }
    Ok(())
}

/// The conformance program with these words.
///
/// # Errors
/// If a property is violated.
pub fn conformance(words: &[&str]) -> Result<()> {
    succeed(cargo()?.args(["run", "--quiet", "--bin", "conformance", "--"]).args(words))
}

/// One simulated run. A build that can plant bugs is made only if one is to be planted.
///
/// # Errors
/// If a property is violated.
pub fn sim(words: &[&str]) -> Result<()> {
    if words.iter().all(|word| *word != "--mutant" && !word.starts_with("--mutant=")) {
        return conformance(words);
    }
    planting(words)
}

/// The conformance program, built so that it can plant bugs.
fn planting(words: &[&str]) -> Result<()> {
    let build = ["run", "--quiet", "--locked", "--bin", "conformance", "--features", PLANTS, "--"];
    succeed(cargo()?.args(build).args(words))
}

/// The conformance program, built so that it can plant bugs, hunting them; then the bugs that have a schedule of their own.
///
/// # Errors
/// If a planted bug survives.
pub fn mutants(words: &[&str]) -> Result<()> {
    planting(&[&["mutants"], words].concat())?;
    let mut by_schedule = cargo()?;
    by_schedule.args(["test", "--quiet", "--test", "suite"]);
    for package in ["raft", "multipaxos", "pbft", "benor", "floodset"] {
        by_schedule.args(["--package", package, "--features", &format!("{package}/mutants")]);
    }
    succeed(by_schedule.args(["--", "mutants::"]))
}
