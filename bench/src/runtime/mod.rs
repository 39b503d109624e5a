//! Whole replicas in one process: three nodes, a network of function calls or channels, storage in memory, empty commands.
//!
//! What is left is what a runtime costs: tasks, channels, wake-ups, and the protocol itself. Every client waits for its
//! acknowledgement before it writes again. At the end of each measurement all three state machines must have counted exactly
//! what was acknowledged: who loses a write or applies one twice does not get a figure.

mod ours;
mod peer;

use crate::Rounds;
use crate::process::process_cpu_time;
use crate::stats::{Spread, number, ratio};
use crate::table;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const OURS: &str = "ours (raft)";
const PEER: &str = "openraft 0.10.0-alpha.37";
/// How long the replicas may take to elect a leader, and to apply what was acknowledged.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `runtime` measures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of runtime")]
pub(crate) struct Options {
    /// Clients, each with one write in flight.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,64,1024,4096", value_name = "N,…")]
    writers: Vec<u32>,
    /// Worker threads of the replicas; the clients have one of their own.
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    server_workers: u16,
    /// Each replica snapshots after so many commands, and cuts its log.
    #[arg(long, global = true, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    snapshot_every: u32,
    /// Only this side.
    #[arg(long, global = true)]
    side: Option<Side>,
}

/// Whose runtime.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// This workspace's.
    Ours,
    /// openraft's.
    Openraft,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Ours => OURS,
            Self::Openraft => PEER,
        }
    }
}

/// What each of the three state machines has counted.
type Counts = [Arc<AtomicU64>; 3];

/// The leader of a running group, as a client sees it.
trait Writer: Clone + Send + Sync + 'static {
    /// Has one empty command decided, applied and acknowledged.
    fn write(&self) -> impl Future<Output = Result<()>> + Send;
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    writes_per_s: f64,
    cpu_us_per_write: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    clients: u32,
    contestant: &'static str,
    writes_per_s: Spread,
    /// Ours divided by this one: above 1, we are faster.
    ours_to_this: Option<f64>,
    cpu_us_per_write: Spread,
}

/// Runs all rounds and prints the table.
pub(crate) fn run(rounds: &Rounds, options: &Options) -> Result<serde_json::Value> {
    ensure!(options.writers.iter().all(|&clients| (1..=16_000).contains(&clients)), "1 to 16,000 clients");
    let mut sides = vec![Side::Ours, Side::Openraft];
    sides.retain(|side| options.side.is_none_or(|only| only == *side));
    let mut lines = Vec::new();
    for &clients in &options.writers {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); sides.len()];
        for round in 0..rounds.rounds {
            let mut turn: Vec<_> = sides.iter().zip(&mut samples).collect();
            // Every other round runs backwards: nobody always follows the other.
            if round % 2 == 1 {
                turn.reverse();
            }
            for (side, samples) in turn {
                let sample = measure(*side, clients, options, rounds.seconds);
                samples.push(sample.with_context(|| format!("{}, {clients} clients", side.name()))?);
            }
        }
        lines.extend(summarise(clients, &sides, &samples));
    }
    print(&lines, rounds, options);
    Ok(serde_json::to_value(&lines)?)
}

fn measure(side: Side, clients: u32, options: &Options, seconds: f64) -> Result<Sample> {
    let pool = |workers: usize, name: &str| {
        Builder::new_multi_thread().worker_threads(workers).thread_name(name).enable_all().build()
    };
    let servers = pool(options.server_workers.into(), "servers")?;
    let generator = pool(1, "clients")?;
    let sample = match side {
        Side::Ours => {
            let (group, counts) = servers.block_on(ours::start(options.snapshot_every))?;
            let sample = drive(&generator, group.leader()?, &counts, clients, seconds);
            servers.block_on(group.stop());
            sample
        }
        Side::Openraft => {
            let (group, counts) = servers.block_on(peer::start(options.snapshot_every))?;
            let sample = drive(&generator, group.leader(), &counts, clients, seconds);
            servers.block_on(group.stop())?;
            sample
        }
    };
    generator.shutdown_timeout(PATIENCE);
    servers.shutdown_timeout(PATIENCE);
    sample
}

/// The closed loop, seen from a window in its middle.
fn drive<W: Writer>(
    generator: &Runtime,
    writer: W,
    counts: &Counts,
    clients: u32,
    seconds: f64,
) -> Result<Sample> {
    generator.block_on(async {
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (writer, done, stop) = (writer.clone(), Arc::clone(&done), Arc::clone(&stop));
            tasks.spawn(async move {
                while !stop.load(Relaxed) {
                    writer.write().await?;
                    done.fetch_add(1, Relaxed);
                }
                anyhow::Ok(())
            });
        }
        tokio::time::sleep(Duration::from_secs_f64(seconds / 5.0)).await;
        let (before, cpu, start) = (done.load(Relaxed), process_cpu_time(), Instant::now());
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let (writes, cpu) = (done.load(Relaxed) - before, process_cpu_time().saturating_sub(cpu));
        let elapsed = start.elapsed();
        stop.store(true, Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        all_have(counts, done.load(Relaxed)).await?;
        ensure!(writes > 0, "nothing was acknowledged in {seconds} s");
        Ok(Sample {
            writes_per_s: writes as f64 / elapsed.as_secs_f64(),
            cpu_us_per_write: cpu.as_secs_f64() * 1e6 / writes as f64,
        })
    })
}

/// Waits until every state machine has counted exactly `goal`.
async fn all_have(counts: &Counts, goal: u64) -> Result<()> {
    let began = Instant::now();
    loop {
        let seen: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
        if seen.iter().all(|&count| count == goal) {
            return Ok(());
        }
        if seen.iter().any(|&count| count > goal) || began.elapsed() > PATIENCE {
            bail!("{goal} writes were acknowledged, and the replicas have applied {seen:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn summarise(clients: u32, sides: &[Side], samples: &[Vec<Sample>]) -> Vec<Line> {
    let rates = |samples: &[Sample]| samples.iter().map(|s| s.writes_per_s).collect::<Vec<f64>>();
    let ours = sides.iter().zip(samples).find(|(side, _)| **side == Side::Ours).map(|(_, s)| rates(s));
    let line = |(side, samples): (&Side, &Vec<Sample>)| Line {
        clients,
        contestant: side.name(),
        writes_per_s: Spread::of(&rates(samples)),
        ours_to_this: ours
            .as_ref()
            .filter(|_| *side != Side::Ours)
            .and_then(|ours| ratio(ours, &rates(samples))),
        cpu_us_per_write: Spread::of(&samples.iter().map(|s| s.cpu_us_per_write).collect::<Vec<f64>>()),
    };
    sides.iter().zip(samples).map(line).collect()
}

fn print(lines: &[Line], rounds: &Rounds, options: &Options) {
    println!(
        "\nRuntimes: n = 3 in one process, in-process network, storage in memory (nothing is durable), empty commands, closed loop at the leader."
    );
    println!(
        "{} rounds of {} s each, contestants alternating; median (min–max). {} worker threads for the replicas, 1 for the clients; a snapshot every {} commands; CPU: the whole process, clients included.",
        rounds.rounds, rounds.seconds, options.server_workers, options.snapshot_every
    );
    let mut rows =
        table::Table::new(&["clients", "contestant", "writes / s", "ours / this", "CPU µs / write"]);
    for line in lines {
        rows.row([
            number(line.clients.into(), 0),
            line.contestant.to_owned(),
            line.writes_per_s.show(0),
            table::optional(line.ours_to_this, |ratio| format!("{ratio:.2}×")),
            line.cpu_us_per_write.show(2),
        ]);
    }
    rows.print();
}

#[cfg(test)]
mod tests {
    use super::{Options, Side, measure};

    #[test]
    fn both_sides_count_everywhere_exactly_what_was_acknowledged() {
        let options = Options { writers: Vec::new(), server_workers: 2, snapshot_every: 500, side: None };
        for side in [Side::Ours, Side::Openraft] {
            for clients in [1, 64] {
                // Fails if a replica has counted more or less.
                let sample = measure(side, clients, &options, 0.2).unwrap();
                assert!(sample.writes_per_s > 0.0 && sample.cpu_us_per_write > 0.0, "{side:?}: {sample:?}");
            }
        }
    }
}
