//! Replicas of Raft, seen through their reports.

use super::{Cluster, Notebook, soon};
use bytes::Bytes;
use consensus_core::Role;
use consensus_runtime::{Handle, PeerReport, Replica, ReplicaConfig, Replicated, Report, RequestError};
use raft::{Config, Raft};
use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(10);

/// Asks until the answer is right.
pub async fn until(handle: &Handle<Raft>, is_right: impl Fn(&Report) -> bool) -> Report {
    soon(async {
        loop {
            let report = handle.report().await.unwrap();
            if is_right(&report) {
                return report;
            }
            tokio::time::sleep(MOMENT).await;
        }
    })
    .await
}

/// Where the leader is among them, once they have one and it feeds everybody.
pub async fn leader(handles: &[Handle<Raft>]) -> usize {
    soon(async {
        loop {
            for (index, handle) in handles.iter().enumerate() {
                let report = handle.report().await.unwrap();
                let last = report.inspection.last;
                let feeds =
                    |peer: &PeerReport| peer.progress.is_some_and(|progress| progress.matched == last);
                if report.status.role == Role::Leader && report.peers.iter().all(feeds) {
                    return index;
                }
            }
            tokio::time::sleep(MOMENT).await;
        }
    })
    .await
}

pub async fn write(handle: &Handle<Raft>, count: usize) {
    for _ in 0..count {
        loop {
            match soon(handle.propose(Bytes::from_static(&[7; 200]))).await {
                Ok(_) => break,
                Err(RequestError::LeaderLost) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub fn quick() -> Config {
    Config { election_timeout_ms: 500, retained_entries: 10, ..Config::default() }
}

fn config(cluster: &Cluster<Raft>, node: u64) -> ReplicaConfig<Raft> {
    ReplicaConfig { compact_after_bytes: 10_000, suspect_after_ms: 300, ..cluster.config(node) }
}

pub async fn start(cluster: &Cluster<Raft>, node: u64) -> Handle<Raft> {
    Replica::start(config(cluster, node), Notebook::default()).await.unwrap()
}

pub async fn start_all(cluster: &Cluster<Raft>) -> Vec<Handle<Raft>> {
    let mut handles = Vec::new();
    for node in 1..=3 {
        handles.push(start(cluster, node).await);
    }
    handles
}
