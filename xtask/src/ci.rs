//! What continuous integration runs beside the tests.

use crate::run::{cargo, succeed};
use anyhow::Result;

/// Seeds of the simulator that every change must pass.
pub const CONFORMANCE_SEEDS: &str = "2000";

/// Formatting, lints, documentation, the bench, the planted bugs, and a fixed budget of simulated runs.
///
/// # Errors
/// The first check that fails.
pub fn run() -> Result<()> {
    succeed(cargo()?.args(["fmt", "--all", "--check"]))?;
    succeed(cargo()?.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    succeed(
        cargo()?.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // The measurements live in a workspace of their own: a change here must not leave them behind.
    let bench = ["check", "--quiet", "--manifest-path", "bench/Cargo.toml", "--all-targets", "--locked"];
    succeed(cargo()?.args(bench))?;
    mutants(&[])?;
    conformance(&["run", "--algorithm", "raft", "--seeds", CONFORMANCE_SEEDS])
}

/// The conformance program with these words.
///
/// # Errors
/// If a property is violated.
pub fn conformance(words: &[&str]) -> Result<()> {
    succeed(cargo()?.args(["run", "--quiet", "--package", "conformance", "--"]).args(words))
}

/// One simulated run. A build that can plant bugs is made only if one is to be planted.
///
/// # Errors
/// If a property is violated.
pub fn sim(words: &[&str]) -> Result<()> {
    if words.iter().all(|word| *word != "--mutant" && !word.starts_with("--mutant=")) {
        return conformance(words);
    }
    let build = ["run", "--quiet", "--package", "conformance", "--features", "mutants", "--"];
    succeed(cargo()?.args(build).args(words))
}

/// The conformance program, built so that it can plant bugs, hunting them; then the bugs that have a schedule of their own.
///
/// # Errors
/// If a planted bug survives.
pub fn mutants(words: &[&str]) -> Result<()> {
    let build = ["run", "--quiet", "--package", "conformance", "--features", "mutants", "--", "mutants"];
    succeed(cargo()?.args(build).args(words))?;
    succeed(cargo()?.args([
        "test",
        "--quiet",
        "--package",
        "raft",
        "--features",
        "mutants",
        "--test",
        "mutants",
    ]))
}
