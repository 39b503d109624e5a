//! Many groups on one host: started and stopped one by one, kept apart on the disk, fair to each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]
#![allow(clippy::disallowed_methods, reason = "a test measures time")]

use crate::support::fixed::Fixed;
use crate::support::{Notebook, free_addresses, number, soon};
use bytes::Bytes;
use consensus_core::{Decision, GroupId, InstallError, NodeId, Slot, StateMachine};
use consensus_runtime::{
    GroupConfig, Handle, Host, HostConfig, RecoveredGroup, Replicated, RequestError, Runnable, StartError,
    StopReason,
};
use raft::{Config, Raft};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A few hosts in this process.
struct Hosts {
    peers: BTreeMap<NodeId, SocketAddr>,
    dirs: Vec<TempDir>,
}

impl Hosts {
    fn new(size: usize) -> Self {
        let peers = (1..).map(NodeId).zip(free_addresses(size)).collect();
        Self { peers, dirs: (0..size).map(|_| TempDir::new().unwrap()).collect() }
    }

    fn config(&self, node: u64) -> HostConfig {
        let dir = self.dirs[usize::try_from(node).unwrap() - 1].path();
        HostConfig::new(NodeId(node), self.peers.clone(), dir)
    }

    async fn open(&self, node: u64) -> Host {
        Host::open(self.config(node)).await.unwrap()
    }

    async fn open_all(&self) -> Vec<Host> {
        let mut hosts = Vec::new();
        for node in self.peers.keys() {
            hosts.push(self.open(node.0).await);
        }
        hosts
    }

    fn raft(&self, group: u64) -> GroupConfig<Raft> {
        let mut config = GroupConfig::new(GroupId(group), self.peers.keys().copied());
        config.algorithm =
            Config { election_timeout_ms: 300, heartbeat_interval_ms: Some(40), ..Config::default() };
        config
    }

    fn fixed(&self, group: u64) -> GroupConfig<Fixed> {
        GroupConfig::new(GroupId(group), self.peers.keys().copied())
    }

    async fn raft_on_all(&self, hosts: &[Host], group: u64) -> Vec<Handle<Raft>> {
        let mut handles = Vec::new();
        for host in hosts {
            handles.push(host.start_group(self.raft(group), Notebook::default()).await.unwrap());
        }
        handles
    }
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

async fn count(handle: &impl Replicated, payload: &Bytes) -> u64 {
    number(&soon(handle.read(payload.clone())).await.unwrap())
}

fn resting(host: &Host) -> Vec<u64> {
    host.recovered_groups().into_iter().map(|found| found.group.0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_two_algorithms_share_hosts_and_see_nothing_of_each_other() {
    let cluster = Hosts::new(3);
    let hosts = cluster.open_all().await;
    let mut groups = Vec::new();
    for group in 1..=5 {
        groups.push(cluster.raft_on_all(&hosts, group).await);
    }
    let mut fixed = Vec::new();
    for host in &hosts {
        fixed.push(host.start_group(cluster.fixed(9), Notebook::default()).await.unwrap());
    }
    for (number, handles) in groups.iter().enumerate() {
        let payload = Bytes::from(format!("of {number}"));
        for handle in handles {
            insist(handle, &payload).await;
        }
    }
    soon(fixed[1].propose("of 0".into())).await.unwrap();
    for (number, handles) in groups.iter().enumerate() {
        for other in 0..groups.len() {
            let payload = Bytes::from(format!("of {other}"));
            let found = count(&handles[2], &payload).await;
            assert!(
                if other == number { found >= 3 } else { found == 0 },
                "{number} sees {found} of {other}"
            );
        }
    }
    assert_eq!(count(&fixed[2], &"of 0".into()).await, 1);
    // One connection each way, whatever the number of groups.
    assert_eq!(hosts.iter().map(|host| host.metrics().connections_made).sum::<u64>(), 6);
}

#[tokio::test]
async fn a_frame_covers_the_records_of_all_groups_that_are_ready() {
    let cluster = Hosts::new(1);
    let mut config = cluster.config(1);
    config.lanes = 1;
    let host = Host::open(config).await.unwrap();
    let mut handles = Vec::new();
    for group in 1..=50 {
        handles.push(host.start_group(cluster.fixed(group), Notebook::default()).await.unwrap());
    }
    let before = host.metrics();
    let writes = handles.iter().map(|handle| handle.propose("x".into()));
    for written in futures_of(writes).await {
        written.unwrap();
    }
    let after = host.metrics();
    assert_eq!(after.journal_records - before.journal_records, 50);
    let commits = after.journal_commits - before.journal_commits;
    assert!(commits <= 5, "{commits} commits for one write of each of 50 groups");
}

/// All of them at once, on this task.
async fn futures_of<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in pending.iter_mut().filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *output = Some(value);
            }
        }
        if pending.iter().all(|(_, output)| output.is_some()) {
            return std::task::Poll::Ready(
                pending.iter_mut().filter_map(|(_, output)| output.take()).collect(),
            );
        }
        std::task::Poll::Pending
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_stop_and_start_again_one_by_one() {
    let cluster = Hosts::new(1);
    let host = cluster.open(1).await;
    let start = async |group| host.start_group(cluster.raft(group), Notebook::default()).await.unwrap();
    let (one, two) = (start(1).await, start(2).await);
    let (first, second): (Bytes, Bytes) = ("first".into(), "second".into());
    for handle in [&one, &two] {
        insist(handle, &first).await;
    }
    assert_eq!(soon(one.shutdown()).await, StopReason::Shutdown);
    assert_eq!(resting(&host), [1]);
    let refused = one.propose(second.clone()).await;
    assert!(matches!(refused, Err(RequestError::Stopped(_))), "{refused:?}");
    insist(&two, &second).await;

    for round in 1..=3 {
        let again = start(1).await;
        assert_eq!(resting(&host), [0; 0]);
        assert_eq!(count(&again, &first).await, round, "it was read back from the journal");
        insist(&again, &first).await;
        if round == 2 {
            again.kill().await
        } else {
            again.shutdown().await
        };
    }
    assert_eq!(count(&two, &second).await, 1);
    assert_eq!(soon(host.shutdown()).await, StopReason::Shutdown);
    assert_eq!(soon(two.stopped()).await, StopReason::Shutdown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_started_stays_on_the_disk_untouched() {
    let cluster = Hosts::new(1);
    let host = cluster.open(1).await;
    for group in [3, 4] {
        let handle = host.start_group(cluster.raft(group), Notebook::default()).await.unwrap();
        insist(&handle, &"kept".into()).await;
    }
    let silent = host.start_group(cluster.fixed(7), Notebook::default()).await.unwrap();
    soon(silent.barrier()).await.unwrap();
    soon(host.shutdown()).await;

    let host = cluster.open(1).await;
    let raft = |group| RecoveredGroup { group: GroupId(group), algorithm: "raft".into() };
    assert_eq!(host.recovered_groups(), [raft(3), raft(4)], "who never wrote is not there");
    // Much is written beside them.
    let mut config = cluster.fixed(5);
    config.compact_after_bytes = 100_000;
    let busy = host.start_group(config, Notebook::default()).await.unwrap();
    for _ in 0..50 {
        soon(busy.propose(vec![7; 10_000].into())).await.unwrap();
    }
    soon(host.shutdown()).await;

    let host = cluster.open(1).await;
    assert_eq!(resting(&host), [3, 4, 5]);
    for group in [3, 4] {
        let handle = host.start_group(cluster.raft(group), Notebook::default()).await.unwrap();
        assert_eq!(count(&handle, &"kept".into()).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_removed_leaves_nothing_and_never_comes_back() {
    let cluster = Hosts::new(1);
    let host = cluster.open(1).await;
    let mut config = cluster.raft(1);
    config.compact_after_bytes = 1_000;
    let handle = host.start_group(config, Notebook::default()).await.unwrap();
    let secret: Bytes = "to be forgotten".repeat(50).into();
    for _ in 0..10 {
        insist(&handle, &secret).await;
    }
    let text = |error: StartError| error.to_string();
    assert!(text(soon(host.remove_group(GroupId(1))).await.unwrap_err()).contains("it runs here already"));
    soon(handle.shutdown()).await;
    soon(host.remove_group(GroupId(1))).await.unwrap();
    assert_eq!(resting(&host), [0; 0]);
    let snapshots = || {
        let names =
            std::fs::read_dir(cluster.dirs[0].path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".snap")).count()
    };
    assert_eq!(snapshots(), 0);

    let mut host = host;
    for _ in 0..2 {
        let refused = host.start_group(cluster.raft(1), Notebook::default()).await.unwrap_err();
        assert!(text(refused).contains("was removed from this node for good"));
        let refused = soon(host.remove_group(GroupId(1))).await.unwrap_err();
        assert!(matches!(refused, StartError::Group { group: GroupId(1), .. }), "{refused}");
        soon(host.shutdown()).await;
        host = cluster.open(1).await;
    }
    assert!(text(soon(host.remove_group(GroupId(8))).await.unwrap_err()).contains("not on the disk"));
}

#[tokio::test]
async fn wrong_starts_of_groups_say_what_to_do() {
    let cluster = Hosts::new(2);
    let host = cluster.open(1).await;
    let handle = host.start_group(cluster.fixed(1), Notebook::default()).await.unwrap();
    soon(handle.propose("x".into())).await.unwrap();
    let text = async |config| host.start_group(config, Notebook::default()).await.unwrap_err().to_string();

    let twice = text(cluster.fixed(1)).await;
    assert!(twice.contains("g1") && twice.contains("it runs here already"), "{twice}");
    let zero = text(cluster.fixed(0)).await;
    assert!(zero.contains("number the groups from 1"), "{zero}");
    let mut strange = cluster.fixed(2);
    strange.members = consensus_core::Members::of([NodeId(1), NodeId(5)]);
    let strange = text(strange).await;
    assert!(strange.contains("no address of n5"), "{strange}");

    soon(handle.shutdown()).await;
    let other = host.start_group(cluster.raft(1), Notebook::default()).await.unwrap_err().to_string();
    assert!(other.contains("fixed wrote it") && other.contains("raft cannot read that"), "{other}");
    // A refusal leaves the group where it was, for this host and for the next.
    soon(host.shutdown()).await;
    let host = cluster.open(1).await;
    let other = host.start_group(cluster.raft(1), Notebook::default()).await.unwrap_err().to_string();
    assert!(other.contains("fixed wrote it"), "{other}");
    let handle = host.start_group(cluster.fixed(1), Notebook::default()).await.unwrap();
    assert_eq!(count(&handle, &"x".into()).await, 1);
    soon(host.shutdown()).await;
    let late = host.start_group(cluster.fixed(3), Notebook::default()).await.unwrap_err().to_string();
    assert!(late.contains("stopping"), "{late}");
}

#[tokio::test]
async fn wrong_hosts_say_what_to_do() {
    let cluster = Hosts::new(2);
    let text = async |config: HostConfig| Host::open(config).await.unwrap_err().to_string();
    let zero = text(HostConfig { node: NodeId(0), ..cluster.config(1) }).await;
    assert!(zero.contains("number the members from 1"), "{zero}");
    let lanes = text(HostConfig { lanes: 0, ..cluster.config(1) }).await;
    assert!(lanes.contains("lanes"), "{lanes}");
    let grain = text(HostConfig { timer_grain_ms: 60_000, ..cluster.config(1) }).await;
    assert!(grain.contains("timer_grain_ms"), "{grain}");

    let host = cluster.open(1).await;
    let mut config = cluster.config(2);
    config.data_dir = cluster.dirs[0].path().into();
    let locked = text(config.clone()).await;
    assert!(locked.contains("stop that one, or choose another directory"), "{locked}");
    soon(host.shutdown()).await;
    let foreign = text(config).await;
    assert!(foreign.contains("it belongs to node 1"), "{foreign}");
}

#[tokio::test]
async fn a_host_ends_when_nobody_holds_it_or_its_groups() {
    let cluster = Hosts::new(1);
    let host = cluster.open(1).await;
    let handle = host.start_group(cluster.fixed(1), Notebook::default()).await.unwrap();
    drop(host);
    soon(handle.propose("a group keeps its host".into())).await.unwrap();
    drop(handle);
    // The directory's lock and the port are free again.
    soon(async {
        while Host::open(cluster.config(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits in `apply` for as long as somebody holds the lock; panics when told to.
#[derive(Clone, Default)]
struct Moody(Arc<Mutex<()>>);

impl StateMachine for Moody {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        assert_ne!(decision.payload, "panic", "as it was told");
        drop(self.0.lock().unwrap());
        Bytes::new()
    }
    fn query(&self, _request: &Bytes) -> Bytes {
        Bytes::new()
    }
    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }
    fn install(&mut self, _through: Slot, _snapshot: Bytes) -> Result<(), InstallError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_group_that_panics_ends_alone() {
    let cluster = Hosts::new(1);
    let host = cluster.open(1).await;
    let defective = host.start_group(cluster.fixed(1), Moody::default()).await.unwrap();
    let other = host.start_group(cluster.fixed(2), Notebook::default()).await.unwrap();
    let result = soon(defective.propose("panic".into())).await;
    assert!(matches!(result, Err(RequestError::Stopped(_))), "{result:?}");
    let StopReason::Failed(reason) = soon(defective.stopped()).await else { panic!("it must fail") };
    assert!(reason.contains("as it was told"), "{reason}");
    soon(other.propose("x".into())).await.unwrap();
    assert_eq!(resting(&host), [1], "what it wrote is still there");
}

/// A thousand proposals in flight, for as long as somebody keeps them.
fn load<A: Runnable>(handle: &Handle<A>, size: usize) -> tokio::task::JoinSet<()> {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (handle, payload) = (handle.clone(), Bytes::from(vec![1; size]));
        clients.spawn(async move { while handle.propose(payload.clone()).await.is_ok() {} });
    }
    clients
}

/// How long the slowest of many writes took.
async fn slowest(handle: &Handle<Fixed>) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..30 {
        let began = Instant::now();
        // On a machine that does something else, too, a connection may come and go: that is slow, and no more.
        while let Err(error) = soon(handle.propose("x".into())).await {
            assert_eq!(error, RequestError::LeaderLost);
        }
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_group_does_not_starve_the_others() {
    let cluster = Hosts::new(2);
    let mut hosts = Vec::new();
    for node in [1, 2] {
        hosts.push(Host::open(HostConfig { lanes: 1, ..cluster.config(node) }).await.unwrap());
    }
    let start = async |group: u64| {
        let mut handles = Vec::new();
        for host in &hosts {
            let mut config = cluster.fixed(group);
            config.compact_after_bytes = 1 << 20;
            handles.push(host.start_group(config, Moody::default()).await.unwrap());
        }
        handles
    };
    let (busy, quiet) = (start(1).await, start(2).await);
    let clients = load(&busy[0], 4_000);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let applied = busy[0].applied();
    // Through the follower, so that both directions of the connection are shared too.
    let slowest = slowest(&quiet[1]).await;
    assert!(busy[0].applied().0 > applied.0 + 1_000, "the busy group was not busy");
    assert!(slowest < Duration::from_secs(1), "a write of the quiet group took {slowest:?}");
    drop(clients);
}

/// What one group does not take must neither block the connection that it shares, nor fill it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_group_that_is_stuck_does_not_block_the_others() {
    let cluster = Hosts::new(3);
    let (mut hosts, mut busy, mut quiet, mut moods) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for node in 1..=3 {
        let mut config = HostConfig { lanes: 1, ..cluster.config(node) };
        config.limits.incoming_bytes = 1 << 20;
        let (host, moody) = (Host::open(config).await.unwrap(), Moody::default());
        let group = GroupConfig { own_thread: true, ..cluster.raft(1) };
        busy.push(host.start_group(group, moody.clone()).await.unwrap());
        quiet.push(host.start_group(cluster.fixed(2), Notebook::default()).await.unwrap());
        moods.push(moody);
        hosts.push(host);
    }
    insist(&busy[0], &"elected".into()).await;
    let leader = busy[0].status().leader.unwrap();
    let at = busy.iter().position(|handle| handle.node() != leader && handle.node() != NodeId(1)).unwrap();
    let leader = busy.iter().find(|handle| handle.node() == leader).unwrap();
    soon(quiet[at].propose("connected".into())).await.unwrap();
    let clients = {
        let _held = moods[at].0.lock().unwrap();
        let clients = load(leader, 4_000);
        let slowest = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                soon(async {
                    while busy[at].metrics().frames_refused == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
                .await;
                slowest(&quiet[at]).await
            })
        });
        assert!(slowest < Duration::from_secs(1), "a write of the quiet group took {slowest:?}");
        clients
    };
    drop(clients);
    let reached = leader.applied();
    soon(async {
        while busy[at].applied() < reached {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
