//! Replicas of one process on the in-process network, with memory for a disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

use crate::support::{Notebook, number, soon};
use bytes::Bytes;
use consensus_core::{Change, NodeId};
use consensus_runtime::{Handle, LocalNetwork, Replica, ReplicaConfig, Replicated, RequestError, StartError};
use raft::{Config, Raft};
use std::time::Duration;

fn config(node: u64) -> ReplicaConfig<Raft> {
    let algorithm = Config { election_timeout_ms: 200, heartbeat_interval_ms: Some(30), ..Config::default() };
    ReplicaConfig { algorithm, ..ReplicaConfig::local(NodeId(node), (1..=3).map(NodeId)) }
}

async fn start(network: &LocalNetwork<Raft>, node: u64) -> Handle<Raft> {
    Replica::start_local(config(node), network, Notebook::default()).await.unwrap()
}

async fn insist(handle: &Handle<Raft>, payload: &Bytes) {
    loop {
        match soon(handle.propose(payload.clone())).await {
            Ok(_) => return,
            Err(RequestError::LeaderLost) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_agree_whoever_is_asked_and_outlive_their_leader() {
    let network = LocalNetwork::new();
    let mut handles = Vec::new();
    for node in 1..=3 {
        handles.push(start(&network, node).await);
    }
    for (index, handle) in handles.iter().enumerate() {
        // At once: the request waits for the election, and followers forward it.
        let payload = Bytes::from(format!("{index}"));
        let applied = soon(handle.propose(payload.clone())).await.unwrap();
        assert_eq!(number(&applied.reply), index as u64 + 1);
        for reader in &handles {
            assert_eq!(number(&soon(reader.read(payload.clone())).await.unwrap()), 1);
        }
    }
    let leader = handles[0].status().leader.unwrap();
    let at = handles.iter().position(|handle| handle.node() == leader).unwrap();
    let fallen = handles.remove(at);
    soon(fallen.kill()).await;
    let after = Bytes::from_static(b"after");
    for handle in &handles {
        insist(handle, &after).await;
        assert!(number(&soon(handle.read(after.clone())).await.unwrap()) >= 1);
        assert_ne!(handle.status().leader, Some(leader));
    }
}

#[tokio::test]
async fn a_member_that_forgot_its_promises_does_not_come_back() {
    let network = LocalNetwork::new();
    let handle = start(&network, 1).await;
    soon(handle.shutdown()).await;
    let again = Replica::start_local(config(1), &network, Notebook::default()).await;
    assert!(matches!(again, Err(StartError::Config { field: "node", .. })), "{again:?}");
}

#[tokio::test]
async fn without_a_majority_nothing_is_acknowledged() {
    let network = LocalNetwork::new();
    let alone = start(&network, 1).await;
    let payload = Bytes::from_static(b"lonely");
    let waited = tokio::time::timeout(Duration::from_millis(600), alone.propose(payload.clone())).await;
    assert!(waited.is_err(), "{waited:?}");
    // The second member makes it a majority.
    let _second = start(&network, 2).await;
    insist(&alone, &payload).await;
    assert!(number(&soon(alone.read(payload)).await.unwrap()) >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_joins_and_a_founder_leaves() {
    let network = LocalNetwork::new();
    let mut handles = Vec::new();
    for node in 1..=3 {
        handles.push(start(&network, node).await);
    }
    insist(&handles[0], &"first".into()).await;
    let newcomer = ReplicaConfig { joins: true, ..config(4) };
    handles.push(Replica::start_local(newcomer, &network, Notebook::default()).await.unwrap());
    for change in [Change::AddLearner(NodeId(4)), Change::AddVoter(NodeId(4)), Change::Remove(NodeId(1))] {
        soon(async {
            while handles[1].reconfigure(change.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
    insist(&handles[3], &"second".into()).await;
    for handle in &handles[1..] {
        assert_eq!(number(&soon(handle.read("second".into())).await.unwrap()), 1);
    }
}
