//! Fuzzing without anything to install: the instrumentation that `cargo fuzz` would ask of a nightly compiler is one that the stable
//! one has too, as long as no sanitizer is asked for. The code is almost free of `unsafe`, so that none is missed.

use crate::run::{self, cargo, output, succeed};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Counters of edges, which input went where, and what was compared with what.
const INSTRUMENTATION: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// The programs of the workspace `fuzz`.
const TARGETS: [&str; 5] = ["pbft_step", "crashes", "decode", "journal", "frames"];
/// An input that takes longer than this, in seconds, is a finding.
const SLOW_SECONDS: &str = "20";
/// The longest plan, in bytes; they are as long from the start.
const LENGTHS: [&str; 2] = ["-max_len=4096", "-len_control=0"];
/// How the engine ends when it has found something.
const FOUND: i32 = 77;

/// What to search, and for how long.
#[derive(clap::Args)]
pub struct Options {
    /// The target; all of them, one after the other, if none is named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// How long each target searches.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Search for nothing new: run what is kept in `fuzz/seeds`, and nothing else.
    #[arg(long)]
    replay: bool,
    /// Run this input alone, as a finding is looked at.
    #[arg(long, requires = "target", conflicts_with = "replay", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Plant this bug of PBFT, and require that `pbft_step` finds it.
    #[arg(long, conflicts_with_all = ["target", "replay", "input"], value_name = "NAME")]
    mutant: Option<String>,
    /// Passed on to the engine, as in `-- -use_value_profile=1`.
    #[arg(last = true)]
    engine: Vec<String>,
}

/// Builds the targets and runs them.
///
/// # Errors
/// Something is missing that the build needs, or an input was found that breaks something.
pub fn run(options: &Options) -> Result<()> {
    let host = ready()?;
    let root = run::root()?.join("fuzz");
    if let Some(mutant) = &options.mutant {
        return hunt(mutant, &host, &root, options);
    }
    let wanted = |name: &str| options.target.as_deref().is_none_or(|target| target == name);
    for name in TARGETS.into_iter().filter(|name| wanted(name)) {
        let program = build(name, "", &host, &root)?;
        search(&program, name, &root, options)?;
    }
    Ok(())
}

/// What we build for, if all is there that the build needs.
fn ready() -> Result<String> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let answers = Command::new(&compiler).arg("--version").output().is_ok_and(|found| found.status.success());
    if !answers {
        bail!(
            "fuzzing needs a C++ compiler for the engine, and {} is none: install one (on Debian the package g++), or name \
             one in CXX",
            compiler.display()
        );
    }
    let version =
        output(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it builds for")
}

/// What we build for is named, so that what only runs while something is built is not instrumented.
fn build(name: &str, feature: &str, host: &str, root: &Path) -> Result<PathBuf> {
    let mut command = cargo()?;
    command.args(["build", "--quiet", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    command.args(["--target-dir", "fuzz/target", "--target", host, "--bin", name, "--features", feature]);
    // The separator of the variable that is split at nothing else.
    command.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}"));
    succeed(&mut command)?;
    Ok(root.join("target").join(host).join("release").join(name))
}

/// A target that finds no bug where there is one shows nothing where it finds none.
fn hunt(mutant: &str, host: &str, root: &Path, options: &Options) -> Result<()> {
    let program = build("pbft_step", "mutants", host, root)?;
    let mut command = engine(&program, "mutants", root, options)?;
    command.arg(format!("-max_total_time={}", options.seconds)).env("FUZZ_MUTANT", mutant);
    command.args([root.join("corpus/mutants"), root.join("seeds/pbft_step")]);
    match command.status().context("cannot start what was built")?.code() {
        Some(FOUND) => {
            println!("{mutant} is found");
            Ok(())
        }
        Some(0) => bail!("{mutant} is not found within {} seconds", options.seconds),
        code => bail!("the engine ended otherwise: {code:?}"),
    }
}

fn search(program: &Path, name: &str, root: &Path, options: &Options) -> Result<()> {
    let seeds = root.join("seeds").join(name);
    let mut command = engine(program, name, root, options)?;
    match &options.input {
        Some(input) => drop(command.arg(input)),
        None if options.replay => drop(command.arg("-runs=0").arg(seeds)),
        None => {
            command.arg(format!("-max_total_time={}", options.seconds)).arg("-print_final_stats=1");
            command.args([root.join("corpus").join(name), seeds]);
        }
    }
    succeed(&mut command).with_context(|| {
        format!(
            "{name} found something, unless the engine says otherwise above; run it again with `cargo xtask fuzz {name} \
             --input FILE`, and keep the file in fuzz/seeds/{name} once it is put right"
        )
    })
}

/// The engine, and where it puts what it finds.
fn engine(program: &Path, name: &str, root: &Path, options: &Options) -> Result<Command> {
    for folder in ["corpus", "artifacts"].map(|folder| root.join(folder).join(name)) {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut prefix = OsStr::new("-artifact_prefix=").to_owned();
    prefix.push(root.join("artifacts").join(name).join(""));
    let mut command = Command::new(program);
    command.arg(prefix).arg(format!("-timeout={SLOW_SECONDS}")).args(LENGTHS).args(&options.engine);
    Ok(command)
}
