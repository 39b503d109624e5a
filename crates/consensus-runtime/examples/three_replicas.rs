//! Three replicas of Raft in one process, over sockets and disks. Two READMEs show what follows.
//!
//! `cargo run -p consensus-runtime --example three_replicas`
#![allow(missing_docs, unreachable_pub, reason = "a test calls it with other ports")]

use bytes::Bytes;
use consensus_core::{Decision, InstallError, NodeId, Slot, StateMachine};
use consensus_runtime::{Replica, ReplicaConfig, Replicated};
use raft::Raft;
use std::collections::BTreeMap;
use std::net::SocketAddr;

#[derive(Default)]
struct Sum(u64);
impl StateMachine for Sum {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        self.0 += decision.payload.len() as u64;
        self.snapshot()
    }
    fn query(&self, _: &Bytes) -> Bytes {
        self.snapshot()
    }
    fn snapshot(&self) -> Bytes {
        self.0.to_le_bytes().to_vec().into()
    }
    fn install(&mut self, _: Slot, state: Bytes) -> Result<(), InstallError> {
        self.0 = u64::from_le_bytes(state[..].try_into().map_err(|_| InstallError("not a sum".into()))?);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let members = [(NodeId(1), address(7001)), (NodeId(2), address(7002)), (NodeId(3), address(7003))];
    serve(members.into(), "data").await
}

pub async fn serve(
    members: BTreeMap<NodeId, SocketAddr>,
    data: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut replicas = Vec::new();
    for &node in members.keys() {
        let config = ReplicaConfig::<Raft>::new(node, members.clone(), format!("{data}/{node}"));
        replicas.push(Replica::start(config, Sum::default()).await?);
    }
    // Any replica takes any request: it finds the leader by itself.
    let applied = replicas[0].propose(Bytes::from_static(b"seven!!")).await?;
    for replica in &replicas {
        // Linearizable: it sees everything that was acknowledged anywhere before the call.
        assert_eq!(replica.read(Bytes::new()).await?, applied.reply);
    }
    for replica in replicas {
        replica.shutdown().await;
    }
    Ok(())
}
