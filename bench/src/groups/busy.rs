//! The same clients write to one group, and to many.

use super::cluster;
use super::{Options, PATIENCE};
use crate::Rounds;
use crate::process::process_cpu_time;
use crate::stats::Spread;
use anyhow::{Result, ensure};
use consensus_core::Bytes;
use consensus_runtime::{Handle, Replicated};
use hdrhistogram::Histogram;
use raft::Raft;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

const PAYLOAD: &[u8] = &[7; 64];

/// What was measured of so many groups.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) groups: u32,
    pub(super) writes_per_s: Spread,
    pub(super) p99_ms: Spread,
    pub(super) cpu_us_per_write: Spread,
    pub(super) writes_per_sync: Spread,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    writes_per_s: f64,
    p99_ms: f64,
    cpu_us_per_write: f64,
    writes_per_sync: f64,
}

/// One group and many, in alternating rounds.
pub(super) fn measure(rounds: &Rounds, options: &Options) -> Result<Vec<Line>> {
    let sizes = [1, options.groups];
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..rounds.rounds {
        let mut turn: Vec<_> = sizes.iter().zip(&mut samples).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (&groups, samples) in turn {
            samples.push(measure_one(groups, rounds.seconds, options)?);
        }
    }
    let line = |(&groups, samples): (&u32, &Vec<Sample>)| {
        let spread = |of: fn(&Sample) -> f64| Spread::of(&samples.iter().map(of).collect::<Vec<f64>>());
        Line {
            groups,
            writes_per_s: spread(|sample| sample.writes_per_s),
            p99_ms: spread(|sample| sample.p99_ms),
            cpu_us_per_write: spread(|sample| sample.cpu_us_per_write),
            writes_per_sync: spread(|sample| sample.writes_per_sync),
        }
    };
    Ok(sizes.iter().zip(&samples).map(line).collect())
}

fn measure_one(groups: u32, seconds: f64, options: &Options) -> Result<Sample> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let sample = runtime.block_on(async {
        let layout = options.layout(groups)?;
        let mut cluster = cluster::open(&layout).await?;
        cluster.start(groups).await?;
        cluster.elected().await?;
        let leaders = Arc::new(cluster.leaders()?);
        let syncs = || cluster.hosts.iter().map(|host| host.metrics().journal_commits).sum::<u64>();
        let load = Load::start(&leaders, options.group_clients);
        tokio::time::sleep(Duration::from_secs_f64(seconds / 4.0)).await;
        let (writes, cpu, synced, began) =
            (load.done.load(Relaxed), process_cpu_time(), syncs(), Instant::now());
        load.is_measured.store(true, Relaxed);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        load.is_measured.store(false, Relaxed);
        let writes = (load.done.load(Relaxed) - writes) as f64;
        let (cpu, synced, elapsed) = (process_cpu_time() - cpu, syncs() - synced, began.elapsed());
        let latencies = load.finish().await?;
        ensure!(writes > 0.0, "nothing was acknowledged in {seconds} s");
        cluster.stop().await?;
        Ok(Sample {
            writes_per_s: writes / elapsed.as_secs_f64(),
            p99_ms: latencies.value_at_quantile(0.99) as f64 / 1e3,
            cpu_us_per_write: cpu.as_secs_f64() * 1e6 / writes,
            // Each write is synced on three hosts.
            writes_per_sync: 3.0 * writes / synced as f64,
        })
    });
    runtime.shutdown_timeout(PATIENCE);
    sample
}

/// The closed loop: each client writes to the next group that is free of others, so to say: all groups in turn.
struct Load {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    is_measured: Arc<AtomicBool>,
    clients: JoinSet<Result<Histogram<u64>>>,
}

impl Load {
    fn start(leaders: &Arc<Vec<Handle<Raft>>>, clients: u32) -> Self {
        let (done, stop, is_measured) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Self { done, stop, is_measured, clients: JoinSet::new() };
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..clients {
            let (leaders, next) = (Arc::clone(leaders), Arc::clone(&next));
            let (done, stop, is_measured) =
                (Arc::clone(&load.done), Arc::clone(&load.stop), Arc::clone(&load.is_measured));
            load.clients.spawn(async move {
                // Microseconds, up to a minute.
                let mut latencies = Histogram::new_with_bounds(1, 60_000_000, 2)?;
                while !stop.load(Relaxed) {
                    let at = next.fetch_add(1, Relaxed) % leaders.len();
                    let Some(leader) = leaders.get(at) else { break };
                    let began = Instant::now();
                    leader.propose(Bytes::from_static(PAYLOAD)).await?;
                    done.fetch_add(1, Relaxed);
                    if is_measured.load(Relaxed) {
                        latencies.saturating_record(u64::try_from(began.elapsed().as_micros())?);
                    }
                }
                Ok(latencies)
            });
        }
        load
    }

    async fn finish(mut self) -> Result<Histogram<u64>> {
        self.stop.store(true, Relaxed);
        let mut all = Histogram::new_with_bounds(1, 60_000_000, 2)?;
        while let Some(ended) = self.clients.join_next().await {
            all.add(ended??)?;
        }
        Ok(all)
    }
}
