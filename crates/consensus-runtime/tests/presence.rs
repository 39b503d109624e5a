//! Who is taken for present: a peer that answers, and for a group one on which it runs. Connections go through a relay that can
//! swallow what it should pass on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]
#![allow(clippy::disallowed_methods, reason = "a test measures time")]

use crate::support::fixed::Fixed;
use crate::support::{Notebook, free_addresses, soon, within};
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Epoch, GroupId, Guarantees, In, Input, Members, NodeId, Out,
    RestoreError, Role, Slot, Status,
};
use consensus_runtime::{GroupConfig, Handle, Host, HostConfig, Replicated};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BOUND_MS: u64 = 200;

/// Says nothing and does nothing: its leader is whoever it does not suspect, so that a test can see whom it suspects. It sets no
/// timer.
struct Watcher {
    members: Members,
    suspected: BTreeMap<NodeId, u64>,
    changes: u64,
}

impl ConsensusAlgorithm for Watcher {
    const NAME: &'static str = "watcher";
    const GUARANTEES: Guarantees = Fixed::GUARANTEES;
    type Config = ();
    type Message = ();
    type Record = ();
    type Timer = ();

    fn validate(_config: &(), _members: &Members) -> Result<(), ConfigError> {
        Ok(())
    }

    fn restore(boot: Boot<Self>, _out: &mut Out<Self>) -> Result<Self, RestoreError> {
        Ok(Self { members: boot.members, suspected: BTreeMap::new(), changes: 0 })
    }

    fn step(&mut self, _now: consensus_core::Time, input: In<Self>, _out: &mut Out<Self>) {
        if let Input::Suspect { peer, suspected } = input {
            self.changes += 1;
            self.suspected.insert(peer, u64::from(suspected));
        }
    }

    fn status(&self) -> Status {
        let leader = self.suspected.iter().find(|(_, suspected)| **suspected == 0).map(|(&peer, _)| peer);
        Status {
            role: Role::Peer,
            leader,
            epoch: Epoch(self.changes),
            decided: Slot::ZERO,
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }
}

/// Passes on what comes, or swallows it.
struct Relay {
    address: SocketAddr,
    swallows: Arc<AtomicBool>,
}

impl Relay {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, swallows) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let shared = Arc::clone(&swallows);
        tokio::spawn(async move {
            while let Ok((dialler, _)) = listener.accept().await {
                // The greeting is answered on the same connection; frames go one way only.
                let Ok(target) = TcpStream::connect(target).await else { continue };
                let ((dialler_in, dialler_out), (target_in, target_out)) =
                    (dialler.into_split(), target.into_split());
                tokio::spawn(pass(dialler_in, target_out, Arc::clone(&shared)));
                tokio::spawn(pass(target_in, dialler_out, Arc::default()));
            }
        });
        Self { address, swallows }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    swallows: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if !swallows.load(SeqCst) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Two hosts whose ways to each other can be cut, each for itself.
struct Pair {
    real: BTreeMap<NodeId, SocketAddr>,
    /// The way to node 1, and the way to node 2.
    ways: [Relay; 2],
    dirs: [TempDir; 2],
}

impl Pair {
    async fn new() -> Self {
        let real: BTreeMap<_, _> = (1..).map(NodeId).zip(free_addresses(2)).collect();
        let ways = [Relay::to(real[&NodeId(1)]).await, Relay::to(real[&NodeId(2)]).await];
        Self { real, ways, dirs: [TempDir::new().unwrap(), TempDir::new().unwrap()] }
    }

    async fn open(&self, node: u64) -> Host {
        let peers = BTreeMap::from([(NodeId(1), self.ways[0].address), (NodeId(2), self.ways[1].address)]);
        let mut config =
            HostConfig::new(NodeId(node), peers, self.dirs[usize::try_from(node).unwrap() - 1].path());
        config.listen = self.real[&NodeId(node)];
        config.suspect_after_ms = BOUND_MS;
        Host::open(config).await.unwrap()
    }
}

async fn start(host: &Host, group: u64) -> Handle<Watcher> {
    let config = GroupConfig::new(GroupId(group), [NodeId(1), NodeId(2)]);
    host.start_group(config, Notebook::default()).await.unwrap()
}

/// Waits until the group suspects its peer, or no longer; how long it took.
async fn becomes(handle: &Handle<Watcher>, suspected: bool) -> Duration {
    let began = Instant::now();
    let mut view = handle.watch_status();
    let seen =
        view.wait_for(|view| view.status.epoch > Epoch::ZERO && view.status.leader.is_none() == suspected);
    within(Duration::from_secs(5), seen).await.unwrap();
    began.elapsed()
}

const BOUND: Duration = Duration::from_millis(BOUND_MS);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_suspected_until_it_is_there_and_again_when_it_is_gone() {
    let pair = Pair::new().await;
    let one = pair.open(1).await;
    let groups = [start(&one, 1).await, start(&one, 2).await];
    for group in &groups {
        becomes(group, true).await;
    }
    let two = pair.open(2).await;
    let there = start(&two, 1).await;
    becomes(&groups[0], false).await;
    becomes(&there, false).await;
    assert_eq!(groups[1].status().leader, None, "the second group does not run there");
    let second = start(&two, 2).await;
    becomes(&groups[1], false).await;

    // A group that stops is gone for its group alone, and for that at once.
    soon(second.shutdown()).await;
    assert!(becomes(&groups[1], true).await < BOUND);
    assert_eq!(groups[0].status().leader, Some(NodeId(2)));

    // A process that ends is gone for all, and at once.
    soon(two.kill()).await;
    assert!(becomes(&groups[0], true).await < BOUND);
    let two = pair.open(2).await;
    let _there = start(&two, 1).await;
    becomes(&groups[0], false).await;
    assert_eq!(groups[1].status().leader, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_swallows_everything_is_noticed_at_both_ends() {
    for cut in [0, 1] {
        let pair = Pair::new().await;
        let hosts = [pair.open(1).await, pair.open(2).await];
        let groups = [start(&hosts[0], 1).await, start(&hosts[1], 1).await];
        for group in &groups {
            becomes(group, false).await;
        }
        // The connections stand, one of them leads nowhere: who is behind it hears nothing, and the other has no echo.
        pair.ways[cut].swallows.store(true, SeqCst);
        for group in &groups {
            let took = becomes(group, true).await;
            assert!(took < 3 * BOUND, "{took:?}");
        }
        assert_eq!(hosts.each_ref().map(|host| host.metrics().suspicions), [1, 1]);
        pair.ways[cut].swallows.store(false, SeqCst);
        for group in &groups {
            let took = becomes(group, false).await;
            assert!(took < 3 * BOUND, "{took:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_groups_share_one_pulse() {
    let pair = Pair::new().await;
    let hosts = [pair.open(1).await, pair.open(2).await];
    let mut groups = Vec::new();
    for group in 1..=1_000 {
        groups.push((start(&hosts[0], group).await, start(&hosts[1], group).await));
    }
    for (one, two) in &groups {
        becomes(one, false).await;
        becomes(two, false).await;
    }
    let read = || (hosts[0].metrics(), groups.iter().map(|(one, _)| one.metrics().bursts).sum::<u64>());
    let before = read();
    tokio::time::sleep(5 * BOUND).await;
    let after = read();
    assert_eq!(after.1, before.1, "no group was woken");
    let bytes = after.0.bytes_sent - before.0.bytes_sent;
    let writes = after.0.socket_writes - before.0.socket_writes;
    assert!((15..=25).contains(&writes) && bytes < 1_500, "{writes} writes, {bytes} bytes");

    // And one loss is told to all.
    soon(hosts[1].kill()).await;
    for (one, _) in &groups {
        becomes(one, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_runs_another_algorithm_is_not_there_for_the_group() {
    let pair = Pair::new().await;
    let hosts = [pair.open(1).await, pair.open(2).await];
    let watcher = [start(&hosts[0], 1).await, start(&hosts[0], 2).await];
    let fixed = GroupConfig::<Fixed>::new(GroupId(1), [NodeId(1), NodeId(2)]);
    let _fixed = hosts[1].start_group(fixed, Notebook::default()).await.unwrap();
    let _second = start(&hosts[1], 2).await;
    becomes(&watcher[1], false).await;
    assert_eq!(watcher[0].status().leader, None);
}
