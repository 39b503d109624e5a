//! The runtime's own promises, shown with an algorithm that is too simple to hide behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

use crate::support::broken_disk::{BreakableDisk, Switch};
use crate::support::fixed::{Fixed, FixedConfig, LEADER};
use crate::support::{Cluster, Notebook, number, soon, within};
use bytes::Bytes;
use consensus_core::{Change, ClusterId, NodeId, Refusal};
use consensus_runtime::{Replica, Replicated, RequestError, StartError, StopReason};
use consensus_wal::FileDisk;
use std::time::Duration;

fn calm(size: usize) -> Cluster<Fixed> {
    Cluster::new(size, FixedConfig::default())
}

#[tokio::test]
async fn a_single_replica_decides_reads_and_remembers() {
    let cluster = calm(1);
    let handle = cluster.start(1).await;
    let applied = soon(handle.propose("a".into())).await.unwrap();
    assert_eq!((applied.slot.0, number(&applied.reply)), (1, 1));
    assert_eq!(soon(handle.barrier()).await.unwrap().0, 1);
    assert_eq!(number(&soon(handle.read("a".into())).await.unwrap()), 1);
    assert_eq!(number(&soon(handle.query("b".into())).await.unwrap()), 0);
    assert_eq!(handle.applied().0, 1);
    assert_eq!(soon(handle.shutdown()).await, StopReason::Shutdown);
    let refused = soon(handle.propose("late".into())).await;
    assert!(matches!(refused, Err(RequestError::Stopped(_))), "{refused:?}");

    let again = cluster.start(1).await;
    assert_eq!(number(&soon(again.read("a".into())).await.unwrap()), 1);
    assert_eq!(number(&soon(again.read("late".into())).await.unwrap()), 0);
    soon(again.shutdown()).await;
}

#[tokio::test]
async fn every_replica_takes_proposals_and_reads() {
    let cluster = calm(3);
    let handles = cluster.start_all().await;
    for (index, handle) in handles.iter().enumerate() {
        let payload = Bytes::from(format!("from {index}"));
        let applied = soon(handle.propose(payload.clone())).await.unwrap();
        assert_eq!(applied.slot.0, index as u64 + 1);
        // Our own write is visible here without a barrier.
        assert!(handle.applied() >= applied.slot);
        for reader in &handles {
            assert_eq!(number(&soon(reader.read(payload.clone())).await.unwrap()), 1);
        }
    }
    assert!(handles[1].metrics().proposals_forwarded >= 1);
    assert_eq!(handles[0].metrics().proposals_adopted, 2);
}

#[tokio::test]
async fn a_burst_shares_writes_and_read_rounds() {
    let cluster = calm(1);
    let handle = cluster.start(1).await;
    let mut tasks = Vec::new();
    for index in 0..200_u64 {
        let handle = handle.clone();
        tasks.push(tokio::spawn(async move {
            handle.propose(Bytes::from(index.to_string())).await.unwrap();
            handle.barrier().await.unwrap()
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    let (metrics, host) = (handle.metrics(), handle.host().unwrap().metrics());
    assert_eq!((metrics.proposals, metrics.reads, host.journal_records), (200, 200, 200));
    assert!(host.journal_commits < 100, "{} commits for 200 proposals", host.journal_commits);
    assert!(metrics.read_rounds < 100, "{} rounds for 200 reads", metrics.read_rounds);
}

#[tokio::test]
async fn cancelled_requests_leave_all_well() {
    let cluster = calm(3);
    let handles = cluster.start_all().await;
    for index in 0..50_u64 {
        let handle = &handles[usize::try_from(index % 3).unwrap()];
        let (proposal, barrier) = (handle.propose(Bytes::from(format!("{index}"))), handle.barrier());
        drop(tokio::time::timeout(Duration::from_micros(index * 10), proposal).await);
        drop(tokio::time::timeout(Duration::from_micros(index * 10), barrier).await);
    }
    for handle in &handles {
        soon(handle.propose("after".into())).await.unwrap();
    }
    assert_eq!(number(&soon(handles[2].read("after".into())).await.unwrap()), 3);
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_acknowledged() {
    let cluster = calm(3);
    let mut handles = cluster.start_all().await;
    for round in 0..3_u64 {
        for index in 0..20_u64 {
            let handle = &handles[usize::try_from(index % 3).unwrap()];
            soon(handle.propose(Bytes::from(format!("{round}-{index}")))).await.unwrap();
        }
        for handle in &handles {
            assert_eq!(soon(handle.kill()).await, StopReason::Killed);
        }
        handles = cluster.start_all().await;
        for index in 0..20_u64 {
            let payload = Bytes::from(format!("{round}-{index}"));
            assert_eq!(number(&soon(handles[2].read(payload)).await.unwrap()), 1);
        }
    }
}

#[tokio::test]
async fn losing_the_leader_fails_what_was_forwarded_to_it_at_once() {
    let cluster = Cluster::<Fixed>::new(2, FixedConfig { mute: true, ..FixedConfig::default() });
    let handles = cluster.start_all().await;
    let follower = handles[1].clone();
    let waiting = tokio::spawn(async move { follower.propose("never".into()).await });
    soon(async {
        while handles[0].metrics().proposals_adopted == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!waiting.is_finished());
    handles[0].kill().await;
    let result = within(Duration::from_secs(1), waiting).await.unwrap();
    assert_eq!(result, Err(RequestError::LeaderLost));
}

#[tokio::test]
async fn a_proposal_waits_for_a_leader_and_gives_up_in_time() {
    let cluster = calm(2);
    let mut config = cluster.config(2);
    config.request_timeout_ms = 300;
    let follower = Replica::start(config, Notebook::default()).await.unwrap();
    assert_eq!(soon(follower.propose("x".into())).await, Err(RequestError::NoLeader));
    assert_eq!(soon(follower.barrier()).await, Err(RequestError::TimedOut));
    let early = follower.clone();
    let waiting = tokio::spawn(async move {
        loop {
            if let Ok(applied) = early.propose("y".into()).await {
                return applied;
            }
        }
    });
    let _leader = cluster.start(1).await;
    soon(waiting).await.unwrap();
    assert_eq!(
        number(&soon(follower.read("x".into())).await.unwrap()),
        0,
        "a refused proposal has no effect"
    );
}

#[tokio::test]
async fn a_lost_read_is_asked_for_again() {
    let cluster = Cluster::<Fixed>::new(2, FixedConfig { lose_first_read: true, ..FixedConfig::default() });
    let _leader = cluster.start(1).await;
    let mut config = cluster.config(2);
    config.read_retry_ms = 50;
    let follower = Replica::start(config, Notebook::default()).await.unwrap();
    soon(follower.propose("connected".into())).await.unwrap();
    soon(follower.barrier()).await.unwrap();
    assert_eq!(follower.metrics().read_rounds, 2);
}

#[tokio::test]
async fn a_broken_disk_stops_the_node_and_says_so() {
    let cluster = calm(1);
    let switch = Switch::new();
    let inner = FileDisk::open_dir(cluster.dirs[0].path()).unwrap();
    let disk = BreakableDisk { inner, switch: switch.clone() };
    let handle = Replica::start_on(cluster.config(1), disk, Notebook::default()).await.unwrap();
    soon(handle.propose("kept".into())).await.unwrap();
    switch.break_it();
    let result = soon(handle.propose("lost".into())).await;
    let Err(RequestError::Stopped(reason)) = result else { panic!("{result:?}") };
    assert!(reason.contains("the disk is on fire"), "{reason}");
    let StopReason::Failed(reason) = soon(handle.stopped()).await else { panic!("it must fail") };
    assert!(reason.contains("the disk is on fire"), "{reason}");

    let again = cluster.start(1).await;
    assert_eq!(number(&soon(again.read("kept".into())).await.unwrap()), 1);
}

#[tokio::test]
async fn bounds_are_kept() {
    let cluster = Cluster::<Fixed>::new(1, FixedConfig { mute: true, ..FixedConfig::default() });
    let mut config = cluster.config(1);
    config.limits.requests = 2;
    config.request_timeout_ms = 400;
    let handle = Replica::start(config, Notebook::default()).await.unwrap();
    let held: Vec<_> = (0..2)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.propose("x".into()).await })
        })
        .collect();
    soon(async {
        while handle.metrics().proposals < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(handle.propose("y".into()).await, Err(RequestError::Refused(Refusal::Busy)));
    for task in held {
        assert_eq!(soon(task).await.unwrap(), Err(RequestError::TimedOut));
    }
    assert_eq!(
        soon(handle.propose("z".into())).await,
        Err(RequestError::TimedOut),
        "the room was given back"
    );
}

#[tokio::test]
async fn what_the_algorithm_does_not_offer_is_refused_through_every_replica() {
    let cluster = calm(2);
    let handles = cluster.start_all().await;
    for handle in &handles {
        let result = soon(handle.reconfigure(Change::Remove(NodeId(2)))).await;
        assert_eq!(result, Err(RequestError::Refused(Refusal::Unsupported)));
    }
}

#[tokio::test]
async fn a_replica_ends_with_its_last_handle() {
    let cluster = calm(1);
    let handle = cluster.start(1).await;
    let watch = handle.watch_status();
    drop(handle);
    // The directory's lock and the port are free again.
    soon(async {
        while Replica::start::<Fixed, _>(cluster.config(1), Notebook::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(watch.borrow().status.leader, Some(LEADER));
}

#[tokio::test]
async fn wrong_starts_say_what_to_do() {
    let cluster = calm(3);
    let running = cluster.start(1).await;
    let other = tempfile::TempDir::new().unwrap();
    let start = async |config| Replica::start::<Fixed, _>(config, Notebook::default()).await.unwrap_err();

    let mut config = cluster.config(1);
    config.data_dir = other.path().into();
    let error = start(config).await;
    assert!(matches!(error, StartError::Listen { .. }));
    let text = error.to_string();
    assert!(text.contains(&cluster.members[&LEADER].to_string()) && text.contains("another port"), "{text}");

    soon(running.shutdown()).await;
    let mut config = cluster.config(1);
    config.cluster = ClusterId(99);
    let error = start(config).await;
    assert!(matches!(error, StartError::Storage(_)), "{error}");

    let mut config = cluster.config(2);
    config.data_dir = cluster.dirs[0].path().into();
    let error = start(config).await;
    assert!(matches!(error, StartError::Storage(_)), "{error}");

    let mut config = cluster.config(2);
    config.node = NodeId(9);
    let text = start(config).await.to_string();
    assert!(text.contains("n9 is not among the members"), "{text}");
}
