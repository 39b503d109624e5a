//! Whole servers: three processes each (PBFT: four), every acknowledged write synced on a majority, all on one disk.

mod cluster;
pub(crate) mod disk;
mod gap;
mod grpc;
mod load;
mod servers;

use crate::Rounds;
use crate::stats::{Spread, number, ratio};
use crate::table;
use anyhow::{Context, Result, bail};
use clap::Args;
use cluster::{Cluster, Server};
use load::{Load, Operation, Sample};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// What `kv` measures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of kv")]
pub(crate) struct Options {
    /// Clients in a closed loop, one measurement for each number.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,64,256", value_name = "N,…")]
    clients: Vec<usize>,
    /// What the clients do.
    #[arg(long, global = true, value_delimiter = ',', default_value = "put,get", value_name = "NAME,…")]
    operations: Vec<Operation>,
    /// HTTP/2 connections to each endpoint.
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    /// Bytes of each value.
    #[arg(long, global = true, default_value_t = 256, value_name = "BYTES")]
    value: u32,
    /// Trials of the write gap after `kill -9` of the leader; 0 leaves it out.
    #[arg(long, global = true, default_value_t = 3, value_name = "N")]
    gap_trials: u32,
    /// Measure only these servers.
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<servers::Name>,
    /// The server of this workspace; built with `cargo build --release` if not given.
    #[arg(long, global = true, value_name = "FILE")]
    kvstore: Option<PathBuf>,
    /// Where the servers (and the replicas of `atomic`) keep their data: on a real disk, not in memory. Default: the target directory.
    #[arg(long, global = true, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print the process ids of the servers, for a profiler.
    #[arg(long, global = true)]
    pids: bool,
}

impl Options {
    /// Where what is durable is kept.
    pub(crate) fn root(&self) -> Result<PathBuf> {
        match &self.directory {
            Some(directory) => Ok(directory.clone()),
            None => Ok(servers::target_directory()?.join("bench-data")),
        }
    }
}

/// Everything that was measured of one server.
#[derive(Debug, Serialize)]
struct Measured {
    server: &'static str,
    loads: Vec<LoadRounds>,
    /// Per round: the sum over the members, and the largest member, in bytes.
    peak_memory: Vec<(u64, u64)>,
    write_gap_s: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct LoadRounds {
    operation: Operation,
    clients: usize,
    rounds: Vec<Sample>,
}

/// Runs all rounds and prints the tables.
pub(crate) fn run(rounds: &Rounds, options: &Options) -> Result<serde_json::Value> {
    let servers = servers::find(&options.only, options.kvstore.as_deref())?;
    let root = options.root()?;
    let writes_per_s = disk::durable_writes_per_s(&root, options.value as usize)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let mut measured: Vec<Measured> =
        servers.iter().map(|server| Measured::nothing(server, options)).collect();
    let ended = LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = all(&servers, &root, rounds, options, &mut measured) => ended,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    });
    // What was measured until something failed cost minutes, and is told first.
    print_heading(rounds, options, &root, writes_per_s);
    if ended.is_err() {
        println!("**Not all rounds were run**: what stands here was measured before something failed.");
    }
    print_loads(&measured);
    print_rest(&measured, options);
    ended?;
    Ok(serde_json::json!({ "disk_durable_writes_per_s": writes_per_s, "servers": measured }))
}

impl Measured {
    /// Of this server, yet.
    fn nothing(server: &Server, options: &Options) -> Self {
        let clients =
            |&operation: &Operation| options.clients.iter().map(move |&clients| (operation, clients));
        let loads = options.operations.iter().flat_map(clients);
        Self {
            server: server.name,
            loads: loads
                .map(|(operation, clients)| LoadRounds { operation, clients, rounds: Vec::new() })
                .collect(),
            peak_memory: Vec::new(),
            write_gap_s: Vec::new(),
        }
    }
}

async fn all(
    servers: &[Server],
    root: &Path,
    rounds: &Rounds,
    options: &Options,
    measured: &mut [Measured],
) -> Result<()> {
    for round in 1..=rounds.rounds {
        for (server, measured) in servers.iter().zip(&mut *measured) {
            eprintln!("round {round} of {}: {}", rounds.rounds, server.name);
            one_round(server, root, rounds, options, measured)
                .await
                .with_context(|| format!("{}, round {round}", server.name))?;
        }
    }
    for trial in 1..=options.gap_trials {
        for (server, measured) in servers.iter().zip(&mut *measured) {
            eprintln!("write gap {trial} of {}: {}", options.gap_trials, server.name);
            let gap = gap::trial(server, root, options.value as usize)
                .await
                .with_context(|| format!("{}, write gap {trial}", server.name))?;
            measured.write_gap_s.push(gap);
        }
    }
    Ok(())
}

/// A fresh cluster for each round: nobody inherits a log, and the other side does not run meanwhile.
async fn one_round(
    server: &Server,
    root: &Path,
    rounds: &Rounds,
    options: &Options,
    measured: &mut Measured,
) -> Result<()> {
    let cluster = Cluster::start(server, root).await?;
    if options.pids {
        eprintln!("  pids {:?}", cluster.pids());
    }
    load::preload(&cluster, options.value as usize).await?;
    for line in &mut measured.loads {
        let load = Load {
            clients: line.clients,
            connections_per_endpoint: usize::from(options.connections),
            value_bytes: options.value as usize,
            length: Duration::from_secs_f64(rounds.seconds),
        };
        let sample = load::run(&cluster, line.operation, load)
            .await
            .with_context(|| format!("{:?} with {} clients", line.operation, line.clients))?;
        line.rounds.push(sample);
    }
    let peaks = cluster.peak_memory()?;
    measured.peak_memory.push((peaks.iter().sum(), peaks.iter().copied().max().unwrap_or(0)));
    Ok(())
}

fn rates(line: &LoadRounds) -> Vec<f64> {
    line.rounds.iter().map(|sample| sample.per_s).collect()
}

fn median(line: &LoadRounds, value: fn(&Sample) -> f64) -> f64 {
    Spread::of(&line.rounds.iter().map(value).collect::<Vec<f64>>()).median
}

fn print_heading(rounds: &Rounds, options: &Options, root: &Path, writes_per_s: f64) {
    println!(
        "\nServers: n = 3 processes on this machine (PBFT: 4), fsync on a majority before each acknowledgement, {} B values, 10,000 keys,",
        options.value
    );
    println!(
        "clients in a closed loop round robin over all endpoints, {} connection(s) each; linearizable gets.",
        options.connections
    );
    println!(
        "{} rounds of {} s, servers alternating, fresh cluster per round; median (min–max). Data below {}.",
        rounds.rounds,
        rounds.seconds,
        root.display()
    );
    println!(
        "The disk alone: {} durable writes of {} B per s, one after the other, in a file of zeros.",
        number(writes_per_s, 0),
        options.value
    );
    if let Some(doubt) = disk::doubt(writes_per_s) {
        println!("{doubt}");
    }
}

fn print_loads(measured: &[Measured]) {
    let mut rows = table::Table::new(&[
        "operation",
        "clients",
        "server",
        "per s",
        "ours / this",
        "p50 ms",
        "p99 ms",
        "errors",
        "server CPU s / 1,000",
        "generator CPU s / 1,000",
    ]);
    let Some(first) = measured.first() else { return };
    for (place, ours) in first.loads.iter().enumerate() {
        for server in measured {
            let Some(line) = server.loads.get(place) else { continue };
            let compared = server.server != first.server && first.server == servers::OURS;
            rows.row([
                format!("{:?}", line.operation).to_lowercase(),
                line.clients.to_string(),
                server.server.to_owned(),
                Spread::of(&rates(line)).show(0),
                table::optional(compared.then(|| ratio(&rates(ours), &rates(line))).flatten(), |ratio| {
                    format!("{ratio:.2}×")
                }),
                number(median(line, |s| s.p50_ms), 2),
                number(median(line, |s| s.p99_ms), 1),
                line.rounds.iter().map(|sample| sample.errors).sum::<u64>().to_string(),
                number(median(line, |s| s.server_cpu_s_per_1000), 3),
                number(median(line, |s| s.generator_cpu_s_per_1000), 3),
            ]);
        }
    }
    rows.print();
}

fn print_rest(measured: &[Measured], options: &Options) {
    let mib = |bytes: f64| number(bytes / f64::from(1 << 20), 1);
    let mut rows = table::Table::new(&[
        "server",
        "peak memory, all members, MiB",
        "largest member, MiB",
        "write gap after kill -9 of the leader, s",
    ]);
    for server in measured {
        let peak = |pick: fn(&(u64, u64)) -> u64| {
            Spread::of(&server.peak_memory.iter().map(|peak| pick(peak) as f64).collect::<Vec<f64>>()).median
        };
        let gap = (!server.write_gap_s.is_empty()).then(|| Spread::of(&server.write_gap_s));
        rows.row([
            server.server.to_owned(),
            mib(peak(|peak| peak.0)),
            mib(peak(|peak| peak.1)),
            table::optional(gap, |gap| gap.show(3)),
        ]);
    }
    println!(
        "\nPeak resident memory after all loads of a round (median), and the write gap: {} trial(s), from the kill to the first",
        options.gap_trials
    );
    println!("acknowledgement of a write sent after it; timers: heartbeat 100 ms, election 1,000 ms.");
    rows.print();
}
