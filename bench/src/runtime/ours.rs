//! `consensus-runtime` on its in-process network.

use super::{Counts, PATIENCE, Sample, Writer};
use anyhow::{Result, ensure};
use consensus_core::{Bytes, Decision, InstallError, NodeId, Role, Slot, StateMachine};
use consensus_runtime::{Handle, LocalNetwork, Replica, ReplicaConfig, Replicated, Runnable};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What the gate counts for an empty command.
const COMMAND_BYTES: u64 = 32;

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

/// Starts `nodes` replicas, waits until they take writes, has `drive` do them, and stops them.
pub(super) fn measure<A: Runnable<Config: Default>>(
    servers: &Runtime,
    nodes: u64,
    snapshot_every: u32,
    drive: impl FnOnce(&[Handle<A>], &Counts) -> Result<Sample>,
) -> Result<Sample> {
    let counts: Counts = (0..nodes).map(|_| Arc::default()).collect();
    let handles = servers.block_on(start::<A>(nodes, snapshot_every, &counts))?;
    let leads = |handle: &Handle<A>| handle.status().leader == Some(handle.node());
    let leader = handles.iter().find(|handle| leads(handle));
    // Where nobody leads, all take writes.
    let sample = drive(leader.map_or(&handles[..], std::slice::from_ref), &counts);
    servers.block_on(async {
        for handle in handles {
            handle.shutdown().await;
        }
    });
    sample
}

/// Starts the replicas and waits until one leads, or nobody needs to.
async fn start<A: Runnable<Config: Default>>(
    nodes: u64,
    snapshot_every: u32,
    counts: &Counts,
) -> Result<Vec<Handle<A>>> {
    let network = LocalNetwork::<A>::new();
    let mut handles = Vec::new();
    for (id, count) in (1..).map(NodeId).zip(counts) {
        let config = ReplicaConfig {
            compact_after_bytes: u64::from(snapshot_every) * COMMAND_BYTES,
            check_invariants: false,
            ..ReplicaConfig::local(id, (1..=nodes).map(NodeId))
        };
        let machine = Counter(Arc::clone(count));
        handles.push(Replica::start_local(config, &network, machine).await?);
    }
    let began = Instant::now();
    loop {
        let leaders: Vec<_> = handles.iter().map(|handle| handle.status().leader).collect();
        let agree = leaders.iter().all(|leader| leader.is_some() && Some(leader) == leaders.first());
        if agree || handles.iter().all(|handle| handle.status().role == Role::Peer) {
            return Ok(handles);
        }
        ensure!(began.elapsed() < PATIENCE, "no leader was elected: {leaders:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl<A: Runnable> Writer for Handle<A> {
    async fn write(&self) -> Result<()> {
        self.propose(Bytes::new()).await?;
        Ok(())
    }
}
