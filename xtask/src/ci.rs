//! What continuous integration runs beside the tests.

use crate::run::{cargo, output, succeed};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Seeds of the simulator that every change must pass, of every algorithm.
const SEEDS: &str = "120";
/// More of those whose runs are short: where everybody signs, a run takes ten times as long.
const SHORT: &[&str] = &["raft", "multipaxos", "benor", "twophase", "paxos-commit"];
const MORE_SEEDS: &str = "240";
/// Seeds whose fingerprints must not depend on the build.
const HASHED_SEEDS: &str = "60";

/// Formatting, lints, documentation, a build without `std`, the bugs that are hunted by seeds, and a fixed budget of simulated runs. In full
/// also the bench and a release, which take minutes to check and to build.
///
/// # Errors
/// The first check that fails.
pub fn run(is_full: bool) -> Result<()> {
    succeed(cargo()?.args(["fmt", "--all", "--check"]))?;
    let lint = ["clippy", "--workspace", "--all-targets", "--locked"];
    succeed(cargo()?.args(lint).args(["--", "-D", "warnings"]))?;
    succeed(
        cargo()?.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if is_full {
        // The measurements live in a workspace of their own: a change here must not leave them behind.
        let bench =
            ["check", "--quiet", "--manifest-path", "bench/Cargo.toml", "--tests", "--examples", "--locked"];
        // What both workspaces need was checked for the lints.
        succeed(cargo()?.args(bench).args(["--target-dir", "target"]))?;
    }
    without_std()?;
    // The bugs that have schedules of their own are found by the tests, and so are the controls.
    conformance(&["mutants"])?;
    same_again(is_full)?;
    for algorithm in SHORT {
        conformance(&["run", "--algorithm", algorithm, "--start", SEEDS, "--seeds", MORE_SEEDS])?;
    }
    conformance(&["run", "--algorithm", "all", "--seeds", SEEDS])
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

/// The same seeds give the same runs, byte for byte, when run again; in full also in a release.
///
/// # Errors
/// If a fingerprint differs, or a build fails.
fn same_again(is_full: bool) -> Result<()> {
    let hashes = |profile: &str| {
        let build = ["run", "--quiet", "--locked", "--bin", "conformance", "--profile", profile];
        let mut command = cargo()?;
        // A release is without debug assertions, overflow checks and planted bugs. All of its optimisations would take minutes more.
        let lighter = [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "1")];
        command.envs(lighter.map(|(name, value)| (format!("CARGO_PROFILE_RELEASE_{name}"), value)));
        output(command.args(build).args(["--", "hash", "--seeds", HASHED_SEEDS]))
    };
    let dev = hashes("dev")?;
    if dev.lines().count().to_string() != HASHED_SEEDS {
        bail!("{HASHED_SEEDS} fingerprints were asked for, and these came:\n{dev}");
    }
    for profile in ["dev", "release"].into_iter().take(1 + usize::from(is_full)) {
        let again = hashes(profile)?;
        if let Some((line, other)) = dev.lines().zip(again.lines()).find(|(line, other)| line != other) {
            bail!("a seed gives different runs:\n{line} in dev\n{other} in {profile}, afterwards");
        }
    }
    Ok(())
}

/// The conformance program with these words. It is chosen by its name, not by its package, so that it shares what is built.
///
/// # Errors
/// If a property is violated, or a planted bug survives.
pub fn conformance(words: &[&str]) -> Result<()> {
    succeed(cargo()?.args(["run", "--quiet", "--locked", "--bin", "conformance", "--"]).args(words))
}

/// The planted bugs: those that are hunted by seeds, then those that have a schedule of their own.
///
/// # Errors
/// If a planted bug survives.
pub fn mutants(words: &[&str]) -> Result<()> {
    conformance(&[&["mutants"], words].concat())?;
    succeed(cargo()?.args(["test", "--quiet", "--locked", "--test", "suite", "--", "mutants::"]))
}
