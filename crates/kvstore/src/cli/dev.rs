//! `kvstore dev`: a whole cluster in this process, to try things out.

use super::{DEFAULT_CLIENT, MemberFlags, address, announce, interrupted};
use anyhow::Context;
use clap::Args;
use consensus_core::{ClusterId, NodeId};
use consensus_runtime::PeerAddress;
use futures::future::{join_all, select_all};
use kvstore::keys::{Keys, Secret};
use kvstore::member::{Member, MemberConfig};
use kvstore::profile::{ReplicaOptions, public_key};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Where data directories go that nobody named.
const DATA_ROOT: &str = "data";

#[derive(Args)]
pub(super) struct Dev {
    /// How many replicas
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    replicas: u64,
    /// The directory of the data, kept for the next start [default: a new one below ./data, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the first replica listens for clients; the others take the next ports
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_CLIENT, value_parser = address)]
    listen_client: SocketAddr,
    #[command(flatten)]
    member: MemberFlags,
}

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (data, _temporary) = match &self.data {
            Some(data) => (data.clone(), None),
            None => {
                let directory = temporary_directory()?;
                (directory.path().to_owned(), Some(directory))
            }
        };
        let mut members = Vec::new();
        for config in self.configs(&data)? {
            let node = config.replica.node.0;
            members
                .push(Member::start(config).await.with_context(|| format!("replica {node} does not start"))?);
        }
        await_leader(&members).await?;
        self.announce(&members, &data);
        let failure = {
            let failures = members.iter_mut().map(|member| Box::pin(member.ended()));
            tokio::select! {
                (reason, index, _) = select_all(failures) => Some(format!("replica {} has stopped: {reason}", index + 1)),
                wish = interrupted() => { wish?; None }
            }
        };
        join_all(members.into_iter().map(Member::shutdown)).await;
        failure.map_or(Ok(()), |reason| Err(anyhow::anyhow!(reason)))
    }

    fn configs(&self, data: &Path) -> anyhow::Result<Vec<MemberConfig>> {
        let addresses = free_addresses(self.replicas)?;
        let peers: BTreeMap<NodeId, PeerAddress> =
            (1..).map(NodeId).zip(addresses.iter().copied().map(PeerAddress::from)).collect();
        let clients: BTreeMap<NodeId, SocketAddr> = (1..=self.replicas)
            .map(|id| Ok((NodeId(id), self.client_address(id)?)))
            .collect::<anyhow::Result<_>>()?;
        let mut keys = self.keys(data)?;
        let configs = (1..).map(NodeId).zip(addresses).map(|(node, listen_peer)| MemberConfig {
            profile: self.member.profile,
            replica: ReplicaOptions {
                cluster: ClusterId(self.member.cluster_id),
                node,
                members: peers.clone(),
                joins: false,
                incarnation: 0,
                listen_peer,
                data_dir: data.join(node.0.to_string()),
                algorithm: self.member.algorithm,
                keys: keys.remove(&node),
                election_timeout_ms: self.member.election_timeout_ms,
                heartbeat_interval_ms: self.member.heartbeat_interval_ms,
                snapshot_after_bytes: self.member.snapshot_after_bytes,
            },
            listen_client: clients.get(&node).copied().unwrap_or(self.listen_client),
            name: None,
            client_urls: Vec::new(),
            quota_bytes: self.member.quota_bytes,
        });
        Ok(configs.collect())
    }

    /// Where members may lie each has a key, which is kept with the data.
    fn keys(&self, data: &Path) -> anyhow::Result<BTreeMap<NodeId, Keys>> {
        if !self.member.algorithm.has_fixed_members() {
            return Ok(BTreeMap::new());
        }
        std::fs::create_dir_all(data).with_context(|| format!("{} cannot be made", data.display()))?;
        let mut secrets = BTreeMap::new();
        for id in 1..=self.replicas {
            let file = data.join(format!("{id}.key"));
            let secret = if file.exists() { Secret::read(&file)? } else { Secret::generate(&file)? };
            secrets.insert(NodeId(id), secret);
        }
        let public: BTreeMap<_, _> = secrets.iter().map(|(&id, secret)| (id, public_key(secret))).collect();
        Ok(secrets.into_iter().map(|(id, secret)| (id, Keys { secret, public: public.clone() })).collect())
    }

    /// The next port for each further replica; any free one for all if the first was given as 0.
    fn client_address(&self, id: u64) -> anyhow::Result<SocketAddr> {
        let first = self.listen_client.port();
        let port = if first == 0 {
            Some(0)
        } else {
            u16::try_from(id - 1).ok().and_then(|further| first.checked_add(further))
        };
        let port = port.with_context(|| {
            format!(
                "--listen-client {}: no {} ports follow; choose a lower one",
                self.listen_client,
                self.replicas - 1
            )
        })?;
        Ok(SocketAddr::new(self.listen_client.ip(), port))
    }

    fn announce(&self, members: &[Member], data: &Path) {
        let endpoints: Vec<String> =
            members.iter().map(|member| member.client_address().to_string()).collect();
        let endpoints = endpoints.join(",");
        let kept = if self.data.is_some() { "kept" } else { "removed at the end; keep it with --data DIR" };
        announce(&format!(
            "kvstore: {} replicas are ready at {endpoints}\n\
             data: {} ({kept})\n\
             try:  ETCDCTL_API=3 etcdctl --endpoints={endpoints} put hello world\n\
             or:   kvstore put hello world --endpoints {endpoints}\n\
             stop: Ctrl-C\n",
            members.len(),
            data.display(),
        ));
    }
}

fn temporary_directory() -> anyhow::Result<tempfile::TempDir> {
    std::fs::create_dir_all(DATA_ROOT)
        .and_then(|()| tempfile::Builder::new().prefix("dev-").tempdir_in(DATA_ROOT))
        .with_context(|| format!("cannot make a directory below ./{DATA_ROOT}: name one with --data DIR"))
}

/// Peers meet at free ports of the loopback interface: nobody else needs to know them. They are held until all are found.
fn free_addresses(count: u64) -> anyhow::Result<Vec<SocketAddr>> {
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>();
    let addresses = held.and_then(|held| held.iter().map(TcpListener::local_addr).collect());
    addresses.context("no free port on the loopback interface")
}

async fn await_leader(members: &[Member]) -> anyhow::Result<()> {
    let Some(first) = members.first() else { return Ok(()) };
    first.group().barrier().await.context("the replicas found no leader")?;
    Ok(())
}
