//! Three hosts with many groups.

use super::PATIENCE;
use anyhow::{Context, Result, ensure};
use consensus_core::{Bytes, Decision, GroupId, InstallError, NodeId, Slot, StateMachine};
use consensus_runtime::{GroupConfig, Handle, Host, HostConfig, Replicated};
use raft::Raft;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const HOSTS: u64 = 3;

/// How the hosts are laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) groups: u32,
    pub(super) lanes: u32,
    pub(super) grain_ms: u64,
    pub(super) data: Option<PathBuf>,
}

/// Running hosts.
pub(super) struct Cluster {
    pub(super) hosts: Vec<Host>,
    /// Of each group, its members.
    pub(super) groups: Vec<Vec<Handle<Raft>>>,
    directory: Option<tempfile::TempDir>,
}

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
        self.0.to_le_bytes().to_vec().into()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        let bytes = snapshot.first_chunk().ok_or_else(|| InstallError("it is too short".into()))?;
        self.0 = u64::from_le_bytes(*bytes);
        Ok(())
    }
}

/// Opens the hosts and nothing else.
pub(super) async fn open(layout: &Layout) -> Result<Cluster> {
    let parent = layout.data.clone().unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::Builder::new().prefix("bench-groups-").tempdir_in(parent)?;
    let held: Vec<_> = (0..HOSTS).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let peers: BTreeMap<_, _> = (1..).map(NodeId).zip(addresses).collect();
    drop(held);
    let mut hosts = Vec::new();
    for &node in peers.keys() {
        let config = HostConfig::new(node, peers.clone(), directory.path().join(node.to_string()));
        let (lanes, timer_grain_ms) = (layout.lanes as usize, layout.grain_ms);
        hosts.push(Host::open(HostConfig { lanes, timer_grain_ms, ..config }).await?);
    }
    Ok(Cluster { hosts, groups: Vec::new(), directory: Some(directory) })
}

impl Cluster {
    /// Starts groups with a member on every host.
    pub(super) async fn start(&mut self, groups: u32) -> Result<()> {
        for group in 1..=u64::from(groups) {
            let mut members = Vec::new();
            for host in &self.hosts {
                let config = GroupConfig {
                    check_invariants: false,
                    ..GroupConfig::new(GroupId(group), (1..=HOSTS).map(NodeId))
                };
                members.push(host.start_group(config, Counter::default()).await?);
            }
            self.groups.push(members);
        }
        Ok(())
    }

    /// Waits until all members of every group know the same leader.
    pub(super) async fn elected(&self) -> Result<()> {
        let began = Instant::now();
        for members in &self.groups {
            while !agree(members) {
                ensure!(began.elapsed() < PATIENCE, "some groups have no leader");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    }

    /// Of each group, the member that leads.
    pub(super) fn leaders(&self) -> Result<Vec<Handle<Raft>>> {
        let leader = |members: &Vec<Handle<Raft>>| {
            let leads = |handle: &&Handle<Raft>| handle.status().leader == Some(handle.node());
            members.iter().find(leads).cloned().context("a group has no leader")
        };
        self.groups.iter().map(leader).collect()
    }

    /// Stops all hosts and removes the data.
    pub(super) async fn stop(mut self) -> Result<()> {
        let mut hosts = JoinSet::new();
        for host in self.hosts.drain(..) {
            hosts.spawn(async move { host.shutdown().await });
        }
        while let Some(ended) = hosts.join_next().await {
            ended?;
        }
        self.directory.take().map_or(Ok(()), |directory| Ok(directory.close()?))
    }
}

fn agree(members: &[Handle<Raft>]) -> bool {
    let mut leaders = members.iter().map(|handle| handle.status().leader);
    let first = leaders.next().flatten();
    first.is_some() && leaders.all(|leader| leader == first)
}
