//! Honest tables: the workspace beside its peers, measured in the same run, as ratios.
//!
//! `bench core` compares the protocol cores in memory, `bench runtime` whole replicas in one process, `bench groups` many groups
//! beside one, `bench kv` whole servers with fsync on one disk, `bench sim` measures the simulator, `bench byzantine` what it costs that
//! replicas may lie, and `bench atomic` what it costs that all of several nodes carry something out or none. See the README for what is
//! measured and how to read it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark stands on the operating system: it reads the clock and starts processes"
)]

mod alloc;
mod atomic;
mod byzantine;
mod core;
mod groups;
mod kv;
mod process;
mod programs;
mod runtime;
mod sim;
mod stats;
mod table;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// Measure this workspace beside its peers, in alternating rounds of the same run.
#[derive(Parser, Debug)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    rounds: Rounds,
    #[command(flatten)]
    core: core::Options,
    #[command(flatten)]
    kv: kv::Options,
    #[command(flatten)]
    groups: groups::Options,
    #[command(flatten)]
    runtime: runtime::Options,
    #[command(flatten)]
    sim: sim::Options,
    #[command(flatten)]
    byzantine: byzantine::Options,
    #[command(flatten)]
    atomic: atomic::Options,
    /// Also write everything that was measured into this file.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand, Clone, Copy, Debug, PartialEq)]
enum What {
    /// Protocol cores in memory: ours, raft-rs, omnipaxos and a bare append loop.
    Core,
    /// Three replicas in one process, in memory: consensus-runtime and openraft.
    Runtime,
    /// A thousand groups on three hosts: idle, and busy beside one.
    Groups,
    /// Three server processes with fsync: kvstore and etcd.
    Kv,
    /// The simulator: a bare heap of events, the default swarm, an idle and a busy cluster, worker processes.
    Sim,
    /// PBFT with real signatures, in memory, beside Raft: the price of Byzantine safety.
    Byzantine,
    /// Two-phase commit and Paxos Commit: in memory, with fsync, and while a coordinator is down.
    Atomic,
    /// All of these.
    All,
}

#[derive(Args, Clone, Debug)]
struct Rounds {
    /// Rounds per contestant; they alternate.
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of each single measurement.
    #[arg(long, global = true, default_value_t = 2.0)]
    seconds: f64,
    /// A rough look: one round of 0.3 s or 1 s (kv, groups).
    #[arg(long, global = true)]
    quick: bool,
}

impl Rounds {
    fn or_quick(&self, seconds: f64) -> Self {
        if self.quick { Self { rounds: 1, seconds, quick: true } } else { self.clone() }
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    anyhow::ensure!(
        cli.rounds.seconds.is_finite() && (0.01..=3600.0).contains(&cli.rounds.seconds),
        "--seconds must lie between 0.01 and 3600"
    );
    let what = cli.what.unwrap_or(What::All);
    let mut measured = serde_json::Map::new();
    if matches!(what, What::Core | What::All) {
        measured.insert("core".into(), core::run(&cli.rounds.or_quick(0.3), &cli.core)?);
    }
    if matches!(what, What::Runtime | What::All) {
        measured.insert("runtime".into(), runtime::run(&cli.rounds.or_quick(0.3), &cli.runtime)?);
    }
    if matches!(what, What::Groups | What::All) {
        measured.insert("groups".into(), groups::run(&cli.rounds.or_quick(1.0), &cli.groups)?);
    }
    if matches!(what, What::Kv | What::All) {
        measured.insert("kv".into(), kv::run(&cli.rounds.or_quick(1.0), &cli.kv)?);
    }
    if matches!(what, What::Sim | What::All) {
        measured.insert("sim".into(), sim::run(&cli.rounds.or_quick(0.3), &cli.sim)?);
    }
    if matches!(what, What::Byzantine | What::All) {
        measured.insert("byzantine".into(), byzantine::run(&cli.rounds.or_quick(0.3), &cli.byzantine)?);
    }
    if matches!(what, What::Atomic | What::All) {
        let root = cli.kv.root()?;
        measured.insert("atomic".into(), atomic::run(&cli.rounds.or_quick(0.3), &cli.atomic, &root)?);
    }
    if let Some(path) = cli.json {
        std::fs::write(&path, serde_json::to_string_pretty(&measured)?)
            .with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}
