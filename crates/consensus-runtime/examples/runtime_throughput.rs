//! Three replicas of Raft in one process, on loopback sockets and a real disk: acknowledged proposals and linearizable reads
//! per second for 1, 64 and 256 clients, spread over all replicas.
//!
//! Each replica has a tokio runtime of its own with THREADS workers, as if it were a process.
//!
//! `cargo run --release -p consensus-runtime --example runtime_throughput -- [SECONDS] [THREADS] [DIRECTORY]`
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement: it reads the clock, and stops at the first failure"
)]

use bytes::Bytes;
use consensus_core::{Decision, InstallError, NodeId, Slot, StateMachine};
use consensus_runtime::{Handle, PeerAddress, Replica, ReplicaConfig, Replicated};
use raft::Raft;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// Counts, so that the runtime is what is measured.
#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    fn apply(&mut self, _decision: Decision<'_>) -> Bytes {
        self.0 += 1;
        Bytes::new()
    }
    fn query(&self, _request: &Bytes) -> Bytes {
        self.snapshot()
    }
    fn snapshot(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_le_bytes())
    }
    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        let bytes = snapshot[..].try_into().map_err(|_| InstallError("not eight bytes".into()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

type Member = (Runtime, Handle<Raft>);

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().map_or(3, |text| text.parse().expect("a number of seconds"));
    let threads: usize = args.next().map_or(1, |text| text.parse().expect("a number of threads"));
    let directory = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::TempDir::new_in(directory).unwrap();
    let members = start(&directory, threads);
    let [(runtime, first), ..] = &members[..] else { return };
    runtime.block_on(async {
        first.propose(Bytes::new()).await.unwrap();
        println!(
            "{:<8} {:>8} {:>12} {:>10} {:>10} {:>10}",
            "what", "clients", "per second", "p50 µs", "p99 µs", "CPU µs"
        );
        for what in ["propose", "barrier"] {
            for clients in [1, 64, 256] {
                measure(what, clients, Duration::from_secs(seconds), &members).await;
            }
        }
        for (_, handle) in &members {
            println!("{} {:?}", handle.node(), handle.metrics());
            handle.shutdown().await;
        }
    });
}

fn start(directory: &tempfile::TempDir, threads: usize) -> Vec<Member> {
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap());
    let members: BTreeMap<NodeId, PeerAddress> =
        (1..).map(NodeId).zip(addresses.map(PeerAddress::from)).collect();
    drop(listeners);
    let begin = |&node: &NodeId| {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        let mut config =
            ReplicaConfig::<Raft>::new(node, members.clone(), directory.path().join(node.to_string()));
        config.check_invariants = false;
        let handle = runtime.block_on(Replica::start(config, Counter::default())).unwrap();
        (runtime, handle)
    };
    members.keys().map(begin).collect()
}

async fn measure(what: &'static str, clients: usize, span: Duration, members: &[Member]) {
    let (cpu, end) = (cpu_micros(), Instant::now() + span);
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (runtime, handle) = &members[client % members.len()];
            let handle = handle.clone();
            runtime.spawn(async move {
                let payload = Bytes::from(vec![b'x'; 256]);
                let mut micros = Vec::new();
                loop {
                    let began = Instant::now();
                    if began >= end {
                        return micros;
                    }
                    if what == "propose" {
                        handle.propose(payload.clone()).await.unwrap();
                    } else {
                        handle.barrier().await.unwrap();
                    }
                    micros.push(began.elapsed().as_micros());
                }
            })
        })
        .collect();
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await.unwrap());
    }
    micros.sort_unstable();
    let quantile = |part: usize| micros[(micros.len() * part / 100).min(micros.len() - 1)];
    let rate = micros.len() as f64 / span.as_secs_f64();
    let cpu = (cpu_micros() - cpu) / micros.len() as u64;
    println!("{what:<8} {clients:>8} {rate:>12.0} {:>10} {:>10} {cpu:>10}", quantile(50), quantile(99));
}

/// What this process has spent so far on all cores (Linux; zero elsewhere).
fn cpu_micros() -> u64 {
    const TICK_MICROS: u64 = 10_000;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK_MICROS
}
