//! A state machine, a disk and a cluster for the tests.

pub mod broken_disk;
pub mod fixed;
pub mod scrape;
pub mod seen;

use bytes::Bytes;
use consensus_core::{Decision, InstallError, NodeId, Slot, StateMachine, wire};
use consensus_runtime::{Handle, Replica, ReplicaConfig, Runnable};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tempfile::TempDir;

/// Keeps every payload in order. A reply is the count so far; a query is "how often was this applied?".
#[derive(Default)]
pub struct Notebook(Vec<Bytes>);

impl StateMachine for Notebook {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        self.0.push(decision.payload.clone());
        Bytes::copy_from_slice(&(self.0.len() as u64).to_le_bytes())
    }

    fn query(&self, request: &Bytes) -> Bytes {
        let count = self.0.iter().filter(|payload| *payload == request).count() as u64;
        Bytes::copy_from_slice(&count.to_le_bytes())
    }

    fn snapshot(&self) -> Bytes {
        wire::encode(&self.0).into()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        self.0 = wire::decode(&snapshot, snapshot.len()).map_err(|error| InstallError(error.to_string()))?;
        Ok(())
    }
}

pub fn number(bytes: &Bytes) -> u64 {
    u64::from_le_bytes(bytes[..].try_into().expect("eight bytes"))
}

/// Addresses that were free a moment ago.
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

/// A few replicas of one group in this process.
pub struct Cluster<A: Runnable> {
    pub members: BTreeMap<NodeId, SocketAddr>,
    pub dirs: Vec<TempDir>,
    pub algorithm: A::Config,
}

impl<A: Runnable> Cluster<A> {
    pub fn new(size: usize, algorithm: A::Config) -> Self {
        let members = (1..).map(NodeId).zip(free_addresses(size)).collect();
        let dirs = (0..size).map(|_| TempDir::new().unwrap()).collect();
        Self { members, dirs, algorithm }
    }

    pub fn config(&self, node: u64) -> ReplicaConfig<A> {
        let dir = self.dirs[usize::try_from(node).unwrap() - 1].path();
        let mut config = ReplicaConfig::new(NodeId(node), self.members.clone(), dir);
        config.algorithm = self.algorithm.clone();
        config
    }

    pub async fn start(&self, node: u64) -> Handle<A> {
        Replica::start(self.config(node), Notebook::default()).await.expect("it starts")
    }

    pub async fn start_all(&self) -> Vec<Handle<A>> {
        let mut handles = Vec::new();
        for node in self.members.keys() {
            handles.push(self.start(node.0).await);
        }
        handles
    }
}

/// Fails the test instead of hanging it.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    within(Duration::from_secs(10), future).await
}

pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.expect("it took too long")
}
