//! Raft on real sockets and disks: three replicas in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]
#![allow(clippy::disallowed_methods, reason = "a test measures time")]

use crate::support::{Cluster, Notebook, number, soon};
use bytes::Bytes;
use consensus_core::NodeId;
use consensus_runtime::{Handle, Replica, Replicated, RequestError};
use raft::{Config, Raft};
use std::time::{Duration, Instant};

fn quick() -> Cluster<Raft> {
    Cluster::new(3, Config { election_timeout_ms: 200, heartbeat_interval_ms: Some(30), ..Config::default() })
}

/// The index of the leader that all of these agree on.
async fn leader_of(handles: &[Handle<Raft>]) -> usize {
    soon(async {
        loop {
            let leaders: Vec<_> = handles.iter().map(|handle| handle.status().leader).collect();
            if let Some(leader) = leaders[0].filter(|_| leaders.iter().all(|other| *other == leaders[0]))
                && let Some(index) = handles.iter().position(|handle| handle.node() == leader)
            {
                return index;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Proposes until it is acknowledged; how many attempts it took.
async fn insist(handle: &Handle<Raft>, payload: &Bytes) -> u64 {
    for attempt in 1.. {
        match soon(handle.propose(payload.clone())).await {
            Ok(_) => return attempt,
            Err(RequestError::LeaderLost) => {}
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[tokio::test]
async fn three_replicas_elect_agree_and_read() {
    let cluster = quick();
    let handles = cluster.start_all().await;
    for (index, handle) in handles.iter().enumerate() {
        // At once: the request waits for the election.
        let payload = Bytes::from(format!("{index}"));
        let applied = soon(handle.propose(payload.clone())).await.unwrap();
        assert_eq!(number(&applied.reply), index as u64 + 1);
        for reader in &handles {
            assert!(soon(reader.barrier()).await.unwrap() >= applied.slot);
            assert!(reader.applied() >= applied.slot);
            assert_eq!(number(&soon(reader.read(payload.clone())).await.unwrap()), 1);
        }
    }
}

#[tokio::test]
async fn the_group_goes_on_without_its_leader_and_takes_it_back() {
    let cluster = quick();
    let mut handles = cluster.start_all().await;
    let first = Bytes::from_static(b"first");
    insist(&handles[0], &first).await;
    let old = leader_of(&handles).await;
    let fallen = handles.remove(old);
    let began = Instant::now();
    fallen.kill().await;
    let second = Bytes::from_static(b"second");
    for handle in &handles {
        insist(handle, &second).await;
        assert!(number(&soon(handle.read(first.clone())).await.unwrap()) >= 1);
    }
    assert!(began.elapsed() < Duration::from_secs(3), "service took {:?} to resume", began.elapsed());
    assert_ne!(handles[leader_of(&handles).await].node(), fallen.node());

    let back = cluster.start(fallen.node().0).await;
    assert!(number(&soon(back.read(second)).await.unwrap()) >= 2);
    assert!(number(&soon(back.read(first)).await.unwrap()) >= 1);
}

#[tokio::test]
async fn a_minority_answers_no_reads_and_takes_no_writes() {
    let cluster = quick();
    let mut handles = cluster.start_all().await;
    insist(&handles[0], &"kept".into()).await;
    let leader = handles.remove(leader_of(&handles).await);
    for handle in &handles {
        soon(handle.kill()).await;
    }
    assert!(tokio::time::timeout(Duration::from_millis(600), leader.barrier()).await.is_err());
    let write = leader.propose("lost".into());
    assert!(!matches!(tokio::time::timeout(Duration::from_millis(300), write).await, Ok(Ok(_))));
    assert_eq!(number(&soon(leader.query("lost".into())).await.unwrap()), 0);
    let second = cluster.start(handles[0].node().0).await;
    assert_eq!(number(&soon(second.read("kept".into())).await.unwrap()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_all_crash_at_once_under_load() {
    let cluster = quick();
    for round in 0..3_u64 {
        let handles = cluster.start_all().await;
        let writers: Vec<_> = (0..12_u64)
            .map(|writer| {
                let handle = handles[usize::try_from(writer % 3).unwrap()].clone();
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for count in 0.. {
                        let payload = Bytes::from(format!("{round}/{writer}/{count}"));
                        match handle.propose(payload.clone()).await {
                            Ok(_) => acknowledged.push(payload),
                            Err(RequestError::LeaderLost) => {}
                            Err(_) => break,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        leader_of(&handles).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        for handle in &handles {
            handle.kill().await;
        }
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(soon(writer).await.unwrap());
        }
        assert!(acknowledged.len() > 20, "only {} were acknowledged", acknowledged.len());
        let handles = cluster.start_all().await;
        soon(handles[1].barrier()).await.unwrap();
        for payload in acknowledged {
            let count = number(&soon(handles[1].query(payload.clone())).await.unwrap());
            assert_eq!(count, 1, "{payload:?} was acknowledged once");
        }
        for handle in &handles {
            handle.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_replica_that_was_away_for_long_is_brought_back_by_a_snapshot() {
    let cluster = quick();
    let mut configs: Vec<_> = (1..=3).map(|node| cluster.config(node)).collect();
    for config in &mut configs {
        config.compact_after_bytes = 20_000;
        config.algorithm.retained_entries = 10;
    }
    let mut handles = Vec::new();
    for config in &configs {
        handles.push(Replica::start(config.clone(), Notebook::default()).await.unwrap());
    }
    let away = (leader_of(&handles).await + 1) % 3;
    handles[away].kill().await;
    let writer = &handles[(away + 1) % 3];
    for index in 0..200_u64 {
        insist(writer, &format!("{index}").repeat(100).into()).await;
    }
    let last: Bytes = "199".repeat(100).into();
    handles[away] = Replica::start(configs[away].clone(), Notebook::default()).await.unwrap();
    assert_eq!(number(&soon(handles[away].read(last)).await.unwrap()), 1);
    assert_eq!(number(&soon(handles[away].query("0".repeat(100).into())).await.unwrap()), 1);
    insist(&handles[away], &"and on".into()).await;
    assert_eq!(handles[away].node(), NodeId(away as u64 + 1));
}

#[tokio::test]
async fn an_idle_group_hardly_wakes() {
    let cluster = Cluster::<Raft>::new(3, Config::default());
    let handles = cluster.start_all().await;
    let leader = leader_of(&handles).await;
    soon(handles[leader].barrier()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before: Vec<_> = handles.iter().map(|handle| handle.metrics().bursts).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (index, handle) in handles.iter().enumerate() {
        let bursts = handle.metrics().bursts - before[index];
        // The leader: ten heartbeats and two answers to each; a follower: ten heartbeats, and an alarm that moves on.
        assert!(bursts <= if index == leader { 40 } else { 25 }, "{bursts} wake-ups in a second of idleness");
    }
}
