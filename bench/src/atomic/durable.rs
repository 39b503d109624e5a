//! Three replicas in one process, over sockets of the loopback interface and with a journal each on a real disk.

use super::Commits;
use super::load::{Client, NODES, Shape};
use anyhow::{Context, Result, ensure};
use consensus_core::{NodeId, wire};
use consensus_runtime::{Handle, Replica, ReplicaConfig, Replicated, RequestError};
use hdrhistogram::Histogram;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use twophase::Config;

/// How long the replicas may take until they have found each other, or all verdicts have arrived.
const PATIENCE: Duration = Duration::from_secs(20);
/// Above any latency, in microseconds.
const MOST_MICROS: u64 = 60_000_000;

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) decided_per_s: f64,
    /// Of those that were decided.
    pub(super) aborted: f64,
    /// Of those that were committed.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Transactions of so many clients for so long, after a warm-up of a quarter of it.
pub(super) fn measure<A: Commits>(
    config: &Config,
    shape: Shape,
    seconds: f64,
    root: &Path,
) -> Result<Sample> {
    std::fs::create_dir_all(root)?;
    let directory = tempfile::Builder::new().prefix("bench-atomic-").tempdir_in(root)?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let sample = runtime.block_on(async {
        let replicas = start::<A>(config, shape, directory.path()).await?;
        let sample = drive(&replicas, shape, seconds).await;
        for replica in &replicas {
            replica.shutdown().await;
        }
        sample
    });
    runtime.shutdown_timeout(PATIENCE);
    directory.close()?;
    sample
}

async fn start<A: Commits>(config: &Config, shape: Shape, data: &Path) -> Result<Vec<Handle<A>>> {
    let held: Vec<_> = (0..NODES).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    drop(held);
    let members: Vec<_> = (1..).map(NodeId).zip(addresses).collect();
    let mut replicas = Vec::new();
    for &(node, _) in &members {
        let config = ReplicaConfig::<A> {
            algorithm: config.clone(),
            check_invariants: false,
            ..ReplicaConfig::new(node, members.clone(), data.join(node.to_string()))
        };
        replicas.push(Replica::start(config, shape.machine(node)).await?);
    }
    Ok(replicas)
}

async fn drive<A: Commits>(replicas: &[Handle<A>], shape: Shape, seconds: f64) -> Result<Sample> {
    let mut clients: Vec<(Client, Handle<A>)> = Vec::new();
    for (number, replica) in (0..shape.clients).zip(replicas.iter().cycle()) {
        clients.push((shape.client(number, replica.node()), replica.clone()));
    }
    meet(replicas, shape).await?;
    let (stop, is_measured) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let mut loops = JoinSet::new();
    for (client, replica) in clients {
        loops.spawn(closed_loop(client, replica, Arc::clone(&stop), Arc::clone(&is_measured)));
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds / 4.0)).await;
    let began = Instant::now();
    is_measured.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    is_measured.store(false, Relaxed);
    let elapsed = began.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    let (mut latencies, mut aborted) = (Histogram::new_with_bounds(1, MOST_MICROS, 3)?, 0);
    while let Some(ended) = loops.join_next().await {
        let (of_one, aborted_of_one) = ended??;
        latencies.add(of_one)?;
        aborted += aborted_of_one;
    }
    settle(replicas, shape).await?;
    ensure!(!latencies.is_empty(), "nothing was committed in {seconds} s");
    let decided = (latencies.len() + aborted) as f64;
    let quantile = |share| latencies.value_at_quantile(share) as f64 / 1e3;
    Ok(Sample {
        decided_per_s: decided / elapsed,
        aborted: aborted as f64 / decided,
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
    })
}

/// Waits until each replica commits something with another: until then messages are lost.
async fn meet<A: Commits>(replicas: &[Handle<A>], shape: Shape) -> Result<()> {
    let began = Instant::now();
    for replica in replicas {
        let mut client = shape.spare(replica.node());
        while commit(replica, &mut client).await?.is_none() {
            ensure!(began.elapsed() < PATIENCE, "{} commits nothing", replica.node());
        }
    }
    Ok(())
}

/// One transaction: how long it took if it was committed.
async fn commit<A: Commits>(replica: &Handle<A>, client: &mut Client) -> Result<Option<Duration>> {
    let began = Instant::now();
    match replica.propose(client.next()).await {
        Ok(_) => Ok(Some(began.elapsed())),
        Err(RequestError::Aborted { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Latencies in microseconds of what was committed, and how many were aborted.
async fn closed_loop<A: Commits>(
    mut client: Client,
    replica: Handle<A>,
    stop: Arc<AtomicBool>,
    is_measured: Arc<AtomicBool>,
) -> Result<(Histogram<u64>, u64)> {
    let (mut latencies, mut aborted) = (Histogram::new_with_bounds(1, MOST_MICROS, 3)?, 0);
    while !stop.load(Relaxed) {
        let committed = commit(&replica, &mut client).await?;
        if is_measured.load(Relaxed) {
            match committed {
                Some(latency) => latencies.saturating_record(u64::try_from(latency.as_micros())?),
                None => aborted += 1,
            }
        }
    }
    Ok((latencies, aborted))
}

/// Waits until all verdicts have arrived everywhere. Whoever pays is the one who was asked, and has carried out what clients were told
/// of: money is only missing until then.
async fn settle<A: Commits>(replicas: &[Handle<A>], shape: Shape) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut total = 0;
        for replica in replicas {
            for number in 0..shape.accounts() {
                let answer = replica.query(wire::encode(&number).into()).await?;
                let balance: Option<i64> = wire::decode(&answer, answer.len())?;
                total += balance.context("an account is gone")?;
            }
        }
        if total == shape.total() {
            return Ok(());
        }
        ensure!(
            total < shape.total() && began.elapsed() < PATIENCE,
            "{total} is there, and {} was",
            shape.total()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use crate::atomic::CONTESTANTS;
    use crate::atomic::load::Shape;

    #[test]
    fn replicas_on_a_disk_commit_and_keep_the_total() {
        let directory = tempfile::tempdir().unwrap();
        for contestant in CONTESTANTS {
            let of = |clients, conflict| {
                let sample = contestant.durable(Shape { clients, conflict }, 0.2, directory.path()).unwrap();
                let is_positive = sample.decided_per_s > 0.0 && sample.p50_ms > 0.0;
                assert!(is_positive && sample.p99_ms >= sample.p50_ms, "{}: {sample:?}", contestant.name);
                sample
            };
            assert!(of(1, 0).aborted.abs() < f64::EPSILON, "{}", contestant.name);
            assert!(of(16, 50).aborted > 0.0, "{}", contestant.name);
        }
    }
}
