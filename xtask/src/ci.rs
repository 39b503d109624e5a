//! What continuous integration runs beside the tests.

use crate::run::{cargo, output, succeed};
use anyhow::{Result, bail};

/// Seeds of the simulator that every change must pass.
pub const CONFORMANCE_SEEDS: &str = "2000";
/// Seeds whose fingerprints must not depend on the build.
const HASHED_SEEDS: &str = "60";

/// Formatting, lints, documentation, the bench, the planted bugs, a fixed budget of simulated runs, and the controls.
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
    let planted = ["test", "--quiet", "--package", "conformance", "--features", "mutants"];
    succeed(cargo()?.args(planted).args(["--test", "planted", "--test", "elections"]))?;
    same_in_release()?;
    conformance(&["run", "--algorithm", "raft", "--seeds", CONFORMANCE_SEEDS, "--controls"])
}

/// The same seeds give the same runs, byte for byte, with the optimisations of a release and without, and when run again.
///
/// # Errors
/// If a fingerprint differs, or a build fails.
fn same_in_release() -> Result<()> {
    let hashes = |profile: &str| {
        let build = ["run", "--quiet", "--locked", "--package", "conformance", "--profile", profile, "--"];
        output(cargo()?.args(build).args(["hash", "--seeds", HASHED_SEEDS]))
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
