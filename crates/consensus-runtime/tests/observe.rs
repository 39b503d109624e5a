//! What can be seen of a running replica from outside: reports and metrics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

use crate::support::fixed::Fixed;
use crate::support::scrape::Scrape;
use crate::support::seen::{leader, quick, start, start_all, until, write};
use crate::support::{Cluster, Notebook, free_addresses, soon};
use consensus_core::{Feeding, GroupId, NodeId, Slot};
use consensus_runtime::{
    GroupConfig, Host, HostConfig, LocalNetwork, PeerReport, Replica, ReplicaConfig, Replicated, Report,
    RequestError,
};
use prometheus_client::registry::Registry;
use raft::Raft;
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;

fn peer(report: &Report, id: NodeId) -> PeerReport {
    report.peers.iter().find(|peer| peer.id == id).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_shows_who_is_away_who_lags_and_who_catches_up_by_a_snapshot() {
    let cluster = Cluster::<Raft>::new(3, quick());
    let mut handles = start_all(&cluster).await;
    let leads = leader(&handles).await;
    let (away, stays) = ((leads + 1) % 3, (leads + 2) % 3);
    let [away_id, stays_id] = [away, stays].map(|index| handles[index].node());

    let links = |report: &Report| report.peers.iter().map(|peer| peer.link.unwrap()).collect::<Vec<_>>();
    let report = until(&handles[leads], |report| links(report).iter().all(|link| link.runs_group)).await;
    for link in links(&report) {
        assert!(link.is_connected && link.is_there && link.round_trip.is_some(), "{link:?}");
        assert!(link.silent_for < Duration::from_millis(300), "{link:?}");
    }
    assert_eq!((report.node, report.group, report.algorithm), (handles[leads].node(), GroupId(1), "raft"));
    assert_eq!(report.status.leader, Some(report.node));

    handles[away].kill().await;
    write(&handles[leads], 150).await;
    let report = until(&handles[leads], |report| {
        !peer(report, away_id).link.unwrap().is_connected
            && peer(report, stays_id).progress.unwrap().matched == report.inspection.last
    })
    .await;
    let (gone, there) = (peer(&report, away_id), peer(&report, stays_id));
    assert!(!gone.link.unwrap().is_there && there.link.unwrap().is_there);
    assert!(gone.progress.unwrap().matched < report.inspection.first, "it lags: {gone:?}");
    let inspection = &report.inspection;
    assert!(inspection.snapshot >= inspection.first && inspection.first > Slot(1), "{inspection:?}");
    assert!(report.applied > Slot(150) && report.metrics.snapshots_taken > 0);
    let text = report.to_string();
    assert!(text.contains(&format!("{} leads", report.node)) && text.contains("away, heard"), "{text}");

    handles[away] = start(&cluster, away_id.0).await;
    let report = until(&handles[leads], |report| {
        peer(report, away_id).progress.is_some_and(|progress| progress.matched == report.inspection.last)
    })
    .await;
    let back = peer(&report, away_id);
    assert_eq!(back.progress.unwrap().mode, Feeding::Replicate);
    assert!(report.metrics.snapshots_sent >= 1, "{:?}", report.metrics);
    let of_follower = handles[away].report().await.unwrap();
    assert_eq!(of_follower.metrics.snapshots_installed, 1);
    assert!(of_follower.inspection.snapshot > Slot(0), "{:?}", of_follower.inspection);
    assert!(of_follower.peers.iter().all(|peer| peer.progress.is_none()), "it feeds nobody");

    soon(handles[away].shutdown()).await;
    assert!(matches!(handles[away].report().await, Err(RequestError::Stopped(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_parse_and_move_and_are_of_one_node() {
    let cluster = Cluster::<Raft>::new(3, quick());
    let handles = start_all(&cluster).await;
    let leads = leader(&handles).await;
    let registries: Vec<Registry> = handles
        .iter()
        .map(|handle| {
            let mut registry = Registry::default();
            handle.register(&mut registry);
            registry
        })
        .collect();
    let scrape = || registries.iter().map(Scrape::of).collect::<Vec<_>>();
    let before = scrape();
    write(&handles[leads], 50).await;
    let after = scrape();
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let moved = |name: &str| after.get(name) - before.get(name);
        assert_eq!(after.fallen(before), [""; 0]);
        let own = if index == leads { 50.0 } else { 0.0 };
        assert_eq!(moved("consensus_group_proposals_total"), own, "of node {index}");
        assert!(moved("consensus_host_bytes_sent_total") > 0.0);
        let writes = moved("consensus_host_journal_write_seconds_count");
        // The journal goes on between the two readings, and a follower may be behind by a few writes.
        let commits = moved("consensus_host_journal_commits_total");
        assert!(writes > 10.0 && (writes - commits).abs() <= 2.0, "{writes} of {commits}");
        let within = |bound: &str| {
            after.get(&format!("consensus_host_journal_write_seconds_bucket{{le=\"{bound}\"}}"))
        };
        assert!(within("0.001") <= within("0.016") && within("0.016") <= within("+Inf"));
        let role = if index == leads { "leader" } else { "follower" };
        assert_eq!(after.get(&format!("consensus_groups{{role=\"{role}\"}}")), 1.0);
        assert_eq!(after.get("consensus_groups_without_leader"), 0.0);
        let of_leader = handles[leads].node().0 as f64;
        assert_eq!(after.get("consensus_group_leader{group=\"1\"}"), of_leader);
        let others = (0..3).filter(|other| *other != index).map(|other| handles[other].node().0);
        for peer in others {
            assert_eq!(after.get(&format!("consensus_peer_there{{peer=\"{peer}\"}}")), 1.0);
            assert!(after.get(&format!("consensus_peer_round_trip_seconds{{peer=\"{peer}\"}}")) > 0.0);
        }
    }
    let elections: f64 = after.iter().map(|scrape| scrape.get("consensus_group_elections_won_total")).sum();
    assert!(elections >= 1.0);
}

#[tokio::test]
async fn counters_of_groups_outlive_them_and_rows_are_bounded() {
    let dir = TempDir::new().unwrap();
    let peers = BTreeMap::from([(NodeId(1), free_addresses(1)[0])]);
    let host = Host::open(HostConfig::new(NodeId(1), peers, dir.path())).await.unwrap();
    let mut registry = Registry::default();
    host.register(&mut registry);
    let mut handles = Vec::new();
    for group in 1..=70 {
        let config = GroupConfig::<Fixed>::new(GroupId(group), [NodeId(1)]);
        handles.push(host.start_group(config, Notebook::default()).await.unwrap());
        soon(handles[handles.len() - 1].propose("x".into())).await.unwrap();
    }
    let before = Scrape::of(&registry);
    assert_eq!(before.get("consensus_group_proposals_total"), 70.0);
    let rows = before.0.keys().filter(|name| name.starts_with("consensus_group_applied{"));
    assert_eq!(rows.count(), 64, "a server of metrics must not be flooded");

    for handle in handles.drain(..40) {
        soon(handle.shutdown()).await;
    }
    let after = Scrape::of(&registry);
    assert_eq!(after.fallen(&before), [""; 0]);
    assert_eq!(after.get("consensus_group_proposals_total"), 70.0);
    let config = GroupConfig::<Fixed>::new(GroupId(1), [NodeId(1)]);
    let again = host.start_group(config, Notebook::default()).await.unwrap();
    soon(again.propose("y".into())).await.unwrap();
    assert_eq!(Scrape::of(&registry).get("consensus_group_proposals_total"), 71.0);
}

#[tokio::test]
async fn a_replica_in_memory_has_a_report_and_metrics_too() {
    let network = LocalNetwork::<Raft>::new();
    let config = ReplicaConfig::local(NodeId(1), [NodeId(1), NodeId(2)]);
    let handle = Replica::start_local(config, &network, Notebook::default()).await.unwrap();
    let report = soon(handle.report()).await.unwrap();
    assert_eq!(report.peers, [PeerReport { id: NodeId(2), link: None, progress: None }]);
    let mut registry = Registry::default();
    handle.register(&mut registry);
    let scrape = Scrape::of(&registry);
    assert_eq!(scrape.get("consensus_groups_without_leader"), 1.0);
    assert!(scrape.0.keys().all(|name| !name.starts_with("consensus_host")), "it has none");
}
