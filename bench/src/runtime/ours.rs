//! `consensus-runtime` on its in-process network.

use super::{Counts, PATIENCE, Writer};
use anyhow::{Context, Result, ensure};
use consensus_core::{Bytes, Decision, InstallError, NodeId, Slot, StateMachine};
use consensus_runtime::{Handle, LocalNetwork, Replica, ReplicaConfig, Replicated};
use raft::Raft;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What the gate counts for an empty command.
const COMMAND_BYTES: u64 = 32;

/// Three replicas.
pub(super) struct Group(Vec<Handle<Raft>>);

/// Counts.
struct Counter(Arc<AtomicU64>);

impl StateMachine for Counter {
    fn apply(&mut self, _decision: Decision<'_>) -> Bytes {
        self.0.fetch_add(1, Relaxed);
        Bytes::new()
    }

    fn query(&self, _request: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Bytes {
        self.0.load(Relaxed).to_le_bytes().to_vec().into()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        let bytes = snapshot.first_chunk().ok_or_else(|| InstallError("it is too short".into()))?;
        self.0.store(u64::from_le_bytes(*bytes), Relaxed);
        Ok(())
    }
}

/// Starts three replicas and waits until one leads.
pub(super) async fn start(snapshot_every: u32) -> Result<(Group, Counts)> {
    let (network, counts) = (LocalNetwork::<Raft>::new(), Counts::default());
    let mut handles = Vec::new();
    for (id, count) in (1..).map(NodeId).zip(&counts) {
        let config = ReplicaConfig {
            compact_after_bytes: u64::from(snapshot_every) * COMMAND_BYTES,
            check_invariants: false,
            ..ReplicaConfig::local(id, (1..=3).map(NodeId))
        };
        let machine = Counter(Arc::clone(count));
        handles.push(Replica::start_local(config, &network, machine).await?);
    }
    let began = Instant::now();
    loop {
        let leaders: Vec<_> = handles.iter().map(|handle| handle.status().leader).collect();
        if leaders.iter().all(|leader| leader.is_some() && Some(leader) == leaders.first()) {
            return Ok((Group(handles), counts));
        }
        ensure!(began.elapsed() < PATIENCE, "no leader was elected: {leaders:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Group {
    /// The replica that leads.
    pub(super) fn leader(&self) -> Result<Handle<Raft>> {
        let leads = |handle: &&Handle<Raft>| handle.status().leader == Some(handle.node());
        self.0.iter().find(leads).cloned().context("nobody leads")
    }

    /// Stops all of them.
    pub(super) async fn stop(self) {
        for handle in self.0 {
            handle.shutdown().await;
        }
    }
}

impl Writer for Handle<Raft> {
    async fn write(&self) -> Result<()> {
        self.propose(Bytes::new()).await?;
        Ok(())
    }
}
