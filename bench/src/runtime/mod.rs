//! Whole replicas in one process: three nodes or more, a network of function calls or channels, storage in memory, empty commands.
//!
//! What is left is what a runtime costs: tasks, channels, wake-ups, and the protocol itself. Every client waits for its
//! acknowledgement before it writes again. At the end of each measurement all state machines must have counted exactly
//! what was acknowledged: who loses a write or applies one twice does not get a figure.

mod ours;
mod peer;

use crate::Rounds;
use crate::process::process_cpu_time;
use crate::stats::{Spread, number, ratio};
use crate::table;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

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
    /// How many replicas, one measurement for each number; openraft runs with three.
    #[arg(long, global = true, value_delimiter = ',', default_value = "3", value_name = "N,…")]
    nodes: Vec<u64>,
    /// Only these sides.
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAME,…")]
    side: Vec<Side>,
}

/// Whose runtime, and which of our algorithms.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// This workspace's, with Raft.
    Raft,
    /// This workspace's, with Multi-Paxos.
    Multipaxos,
    /// This workspace's, with the log that nobody leads.
    Benor,
    /// openraft's.
    Openraft,
}

impl Side {
    const ALL: [Self; 4] = [Self::Raft, Self::Multipaxos, Self::Benor, Self::Openraft];

    const fn name(self) -> &'static str {
        match self {
            Self::Raft => "ours (raft)",
            Self::Multipaxos => "ours (multipaxos)",
            Self::Benor => "ours (benor-log)",
            Self::Openraft => "openraft 0.10.0-alpha.37",
        }
    }

    /// Whether it is measured with so many replicas.
    const fn runs_with(self, nodes: u64) -> bool {
        match self {
            Self::Raft | Self::Multipaxos | Self::Benor => true,
            Self::Openraft => nodes == 3,
        }
    }
}

/// What each of the state machines has counted.
type Counts = Vec<Arc<AtomicU64>>;

/// A replica that takes writes, as a client sees it.
trait Writer: Clone + Send + Sync + 'static {
    /// Has one empty command decided, applied and acknowledged.
    fn write(&self) -> impl Future<Output = Result<()>> + Send;
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    writes_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us_per_write: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    nodes: u64,
    clients: u32,
    contestant: &'static str,
    writes_per_s: Spread,
    p50_us: Spread,
    p99_us: Spread,
    /// Ours divided by this one: above 1, we are faster.
    ours_to_this: Option<f64>,
    cpu_us_per_write: Spread,
}

/// Runs all rounds and prints the table.
pub(crate) fn run(rounds: &Rounds, options: &Options) -> Result<serde_json::Value> {
    ensure!(options.writers.iter().all(|&clients| (1..=16_000).contains(&clients)), "1 to 16,000 clients");
    ensure!(options.nodes.iter().all(|nodes| (1..=15).contains(nodes)), "1 to 15 replicas");
    let mut lines = Vec::new();
    for &nodes in &options.nodes {
        let mut sides = Side::ALL.to_vec();
        sides
            .retain(|side| side.runs_with(nodes) && (options.side.is_empty() || options.side.contains(side)));
        for &clients in &options.writers {
            let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); sides.len()];
            for round in 0..rounds.rounds {
                let mut turn: Vec<_> = sides.iter().zip(&mut samples).collect();
                // Every other round runs backwards: nobody always follows the other.
                if round % 2 == 1 {
                    turn.reverse();
                }
                for (side, samples) in turn {
                    let sample = measure(*side, nodes, clients, options, rounds.seconds);
                    samples.push(
                        sample.with_context(|| {
                            format!("{}, {nodes} replicas, {clients} clients", side.name())
                        })?,
                    );
                }
            }
            lines.extend(summarise((nodes, clients), &sides, &samples));
        }
    }
    print(&lines, rounds, options);
    Ok(serde_json::to_value(&lines)?)
}

fn measure(side: Side, nodes: u64, clients: u32, options: &Options, seconds: f64) -> Result<Sample> {
    let pool = |workers: usize, name: &str| {
        Builder::new_multi_thread().worker_threads(workers).thread_name(name).enable_all().build()
    };
    let servers = pool(options.server_workers.into(), "servers")?;
    let generator = pool(1, "clients")?;
    let every = options.snapshot_every;
    let sample = match side {
        Side::Raft => ours::measure::<raft::Raft>(&servers, nodes, every, |writers, counts| {
            drive(&generator, writers, counts, clients, seconds)
        }),
        Side::Multipaxos => {
            ours::measure::<multipaxos::MultiPaxos>(&servers, nodes, every, |writers, counts| {
                drive(&generator, writers, counts, clients, seconds)
            })
        }
        Side::Benor => ours::measure::<benor::Log>(&servers, nodes, every, |writers, counts| {
            drive(&generator, writers, counts, clients, seconds)
        }),
        Side::Openraft => {
            let (group, counts) = servers.block_on(peer::start(every))?;
            let sample = drive(&generator, &[group.leader()], &counts, clients, seconds);
            servers.block_on(group.stop())?;
            sample
        }
    };
    generator.shutdown_timeout(PATIENCE);
    servers.shutdown_timeout(PATIENCE);
    sample
}

/// What the clients have seen so far.
struct Seen {
    done: AtomicU64,
    stop: AtomicBool,
    /// Microseconds of each write, while it is measured.
    latencies: Mutex<Option<Histogram<u64>>>,
}

impl Seen {
    fn latencies(&self) -> std::sync::MutexGuard<'_, Option<Histogram<u64>>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One client: a write after the other.
    async fn client<W: Writer>(self: Arc<Self>, writer: W) -> Result<()> {
        while !self.stop.load(Relaxed) {
            let began = Instant::now();
            writer.write().await?;
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.done.fetch_add(1, Relaxed);
            if let Some(latencies) = self.latencies().as_mut() {
                latencies.saturating_record(us);
            }
        }
        Ok(())
    }
}

/// The closed loop, seen from a window in its middle; the clients are spread evenly over `writers`.
fn drive<W: Writer>(
    generator: &Runtime,
    writers: &[W],
    counts: &Counts,
    clients: u32,
    seconds: f64,
) -> Result<Sample> {
    generator.block_on(async {
        let seen = Arc::new(Seen {
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            latencies: Mutex::new(None),
        });
        let mut tasks = JoinSet::new();
        for (_, writer) in (0..clients).zip(writers.iter().cycle()) {
            tasks.spawn(Arc::clone(&seen).client(writer.clone()));
        }
        tokio::time::sleep(Duration::from_secs_f64(seconds / 5.0)).await;
        *seen.latencies() = Some(Histogram::new_with_bounds(1, 60_000_000, 3)?);
        let (before, cpu, start) = (seen.done.load(Relaxed), process_cpu_time(), Instant::now());
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let (writes, cpu) = (seen.done.load(Relaxed) - before, process_cpu_time().saturating_sub(cpu));
        let elapsed = start.elapsed();
        let latencies = seen.latencies().take();
        seen.stop.store(true, Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        all_have(counts, seen.done.load(Relaxed)).await?;
        ensure!(writes > 0, "nothing was acknowledged in {seconds} s");
        let quantile = |part| latencies.as_ref().map_or(0.0, |seen| seen.value_at_quantile(part) as f64);
        Ok(Sample {
            writes_per_s: writes as f64 / elapsed.as_secs_f64(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
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

fn summarise((nodes, clients): (u64, u32), sides: &[Side], samples: &[Vec<Sample>]) -> Vec<Line> {
    let each =
        |samples: &[Sample], value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<f64>>();
    let spread = |samples: &[Sample], value| Spread::of(&each(samples, value));
    let rates = |samples: &[Sample]| each(samples, |sample| sample.writes_per_s);
    let ours = sides.iter().zip(samples).find(|(side, _)| **side == Side::Raft).map(|(_, s)| rates(s));
    let line = |(side, samples): (&Side, &Vec<Sample>)| Line {
        nodes,
        clients,
        contestant: side.name(),
        writes_per_s: Spread::of(&rates(samples)),
        p50_us: spread(samples, |sample| sample.p50_us),
        p99_us: spread(samples, |sample| sample.p99_us),
        ours_to_this: ours
            .as_ref()
            .filter(|_| *side != Side::Raft)
            .and_then(|ours| ratio(ours, &rates(samples))),
        cpu_us_per_write: spread(samples, |sample| sample.cpu_us_per_write),
    };
    sides.iter().zip(samples).map(line).collect()
}

fn print(lines: &[Line], rounds: &Rounds, options: &Options) {
    println!(
        "\nRuntimes: n replicas in one process, in-process network, storage in memory (nothing is durable), empty commands, closed loop at the leader (benor-log: at all)."
    );
    println!(
        "{} rounds of {} s each, contestants alternating; median (min–max). {} worker threads for the replicas, 1 for the clients; a snapshot every {} commands; CPU: the whole process, clients included.",
        rounds.rounds, rounds.seconds, options.server_workers, options.snapshot_every
    );
    let mut rows = table::Table::new(&[
        "n",
        "clients",
        "contestant",
        "writes / s",
        "raft / this",
        "p50 µs",
        "p99 µs",
        "CPU µs / write",
    ]);
    for line in lines {
        rows.row([
            line.nodes.to_string(),
            number(line.clients.into(), 0),
            line.contestant.to_owned(),
            line.writes_per_s.show(0),
            table::optional(line.ours_to_this, |ratio| format!("{ratio:.2}×")),
            number(line.p50_us.median, 0),
            number(line.p99_us.median, 0),
            line.cpu_us_per_write.show(2),
        ]);
    }
    rows.print();
}

#[cfg(test)]
mod tests {
    use super::{Options, Side, measure};

    #[test]
    fn all_sides_count_everywhere_exactly_what_was_acknowledged() {
        let options = Options {
            writers: Vec::new(),
            server_workers: 2,
            snapshot_every: 500,
            nodes: Vec::new(),
            side: Vec::new(),
        };
        for side in Side::ALL {
            for clients in [1, 64] {
                // Fails if a replica has counted more or less.
                let sample = measure(side, 3, clients, &options, 0.2).unwrap();
                assert!(sample.writes_per_s > 0.0 && sample.cpu_us_per_write > 0.0, "{side:?}: {sample:?}");
            }
        }
    }
}
