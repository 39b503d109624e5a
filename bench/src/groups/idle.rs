//! Groups that have nothing to do.

use super::cluster::{self, Cluster, Layout};
use crate::alloc;
use crate::process::{context_switches, process_cpu_time, resident_memory};
use anyhow::{Context, Result};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, Decision, Event, InstallError, Members, Node, NodeConfig, NodeId, Role, Slot, StateMachine, Time,
};
use raft::{Message, Raft, Record};
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// After the elections the groups are left alone for so long before they are measured.
const SETTLE: Duration = Duration::from_secs(3);

/// What was measured of one layout.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) lanes: u32,
    pub(super) grain_ms: u64,
    pub(super) started_s: f64,
    pub(super) elected_s: f64,
    pub(super) cpu_percent: f64,
    pub(super) switches_per_s: f64,
    pub(super) rounds_per_s: f64,
    pub(super) messages_per_s: f64,
    pub(super) writes_per_s: f64,
    pub(super) bytes_per_s: f64,
    pub(super) heap_per_member: f64,
    pub(super) core_leader: f64,
    pub(super) core_follower: f64,
    pub(super) rss_per_member: f64,
}

/// Everything that is counted, at one moment.
struct Reading {
    at: Instant,
    cpu: Duration,
    switches: u64,
    rounds: u64,
    messages: u64,
    writes: u64,
    bytes: u64,
}

impl Reading {
    fn of(cluster: &Cluster) -> Result<Self> {
        let hosts: Vec<_> = cluster.hosts.iter().map(|host| host.metrics()).collect();
        let groups = cluster.groups.iter().flatten();
        Ok(Self {
            at: Instant::now(),
            cpu: process_cpu_time(),
            switches: context_switches()?,
            rounds: hosts.iter().map(|host| host.rounds).sum(),
            messages: groups.map(|handle| handle.metrics().frames_sent).sum(),
            writes: hosts.iter().map(|host| host.socket_writes).sum(),
            bytes: hosts.iter().map(|host| host.bytes_sent).sum(),
        })
    }
}

/// Starts the groups, waits until they are led, and watches them do nothing.
pub(super) fn measure(layout: &Layout, seconds: f64) -> Result<Line> {
    let (core_leader, core_follower) = core_bytes()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let line = runtime.block_on(async {
        let mut cluster = cluster::open(layout).await?;
        // The connections are made before memory is measured.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (heap, rss, began) = (alloc::live(), resident_memory()?, Instant::now());
        cluster.start(layout.groups).await?;
        let started_s = began.elapsed().as_secs_f64();
        cluster.elected().await?;
        let elected_s = began.elapsed().as_secs_f64();
        tokio::time::sleep(SETTLE).await;
        let members = f64::from(layout.groups) * cluster.hosts.len() as f64;
        let heap_per_member = (alloc::live() - heap) as f64 / members;
        let rss_per_member = (resident_memory()? as f64 - rss as f64) / members;
        let before = Reading::of(&cluster)?;
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let after = Reading::of(&cluster)?;
        let elapsed = (after.at - before.at).as_secs_f64();
        let per_s = |before: u64, after: u64| (after - before) as f64 / elapsed;
        cluster.stop().await?;
        anyhow::Ok(Line {
            lanes: layout.lanes,
            grain_ms: layout.grain_ms,
            started_s,
            elected_s,
            cpu_percent: 100.0 * (after.cpu - before.cpu).as_secs_f64() / elapsed,
            switches_per_s: per_s(before.switches, after.switches),
            rounds_per_s: per_s(before.rounds, after.rounds),
            messages_per_s: per_s(before.messages, after.messages),
            writes_per_s: per_s(before.writes, after.writes),
            bytes_per_s: per_s(before.bytes, after.bytes),
            heap_per_member,
            core_leader,
            core_follower,
            rss_per_member,
        })
    });
    runtime.shutdown_timeout(super::PATIENCE);
    line
}

struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _decision: Decision<'_>) -> Bytes {
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

type CoreNode = Box<Node<Raft, Outbox<Message>, MemoryStorage<Record>, Nothing>>;

/// The bytes of a node alone, without any runtime: of a leader and of a follower of three, after the election.
fn core_bytes() -> Result<(f64, f64)> {
    let mut nodes: Vec<CoreNode> = Vec::new();
    for id in 1..=3 {
        let config = NodeConfig {
            check_invariants: false,
            ..NodeConfig::new(NodeId(id), Members::of((1..=3).map(NodeId)), id)
        };
        let node = Node::open(config, Time::ZERO, Outbox::default(), MemoryStorage::default(), Nothing)?;
        nodes.push(Box::new(node));
    }
    for millis in (0..5_000).step_by(10) {
        let now = Time::from_millis(millis);
        for (at, from) in (1..=3).map(NodeId).enumerate() {
            let node = nodes.get_mut(at).context("there are three")?;
            node.handle(now, Event::Tick)?;
            for (to, message) in std::mem::take(&mut node.network().sent) {
                let receiver = nodes.get_mut(usize::try_from(to.0 - 1)?).context("a message to nobody")?;
                receiver.handle(now, Event::Screened { from, message })?;
                receiver.replies().for_each(drop);
            }
        }
    }
    let (mut leader, mut followers) = (None, Vec::new());
    for node in nodes {
        let (role, before) = (node.status().role, alloc::live());
        drop(node);
        let bytes = (before - alloc::live()) as f64;
        if role == Role::Leader { leader = Some(bytes) } else { followers.push(bytes) }
    }
    let followers = followers.iter().sum::<f64>() / followers.len() as f64;
    Ok((leader.context("no leader was elected in five simulated seconds")?, followers))
}
