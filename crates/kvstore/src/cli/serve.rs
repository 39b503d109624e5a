//! `kvstore serve`: one member in this process.

use super::{DEFAULT_CLIENT, MemberFlags, address, announce, by_number, interrupted, numbered};
use anyhow::Context;
use clap::Args;
use consensus_core::{ClusterId, NodeId};
use kvstore::member::{Member, MemberConfig};
use kvstore::profile::ReplicaOptions;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example, one of three on one machine:\n  \
    kvstore serve --id 1 --peers 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003 --listen-client 127.0.0.1:2379 --data data/1")]
pub(super) struct Serve {
    /// The number of this member, one of those in --peers
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// All members, this one included, with the addresses at which they listen for each other
    #[arg(long, value_name = "ID=HOST:PORT,…", value_delimiter = ',', required = true, value_parser = peer)]
    peers: Vec<(u64, SocketAddr)>,
    /// Where to listen for clients
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_CLIENT, value_parser = address)]
    listen_client: SocketAddr,
    /// Where to listen for peers, if not at this member's own entry in --peers
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    listen_peer: Option<SocketAddr>,
    /// The directory of this member's data; made if it does not exist
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The URLs at which clients reach the members, shown by `member list`; this member's own defaults to --listen-client
    #[arg(long, value_name = "ID=URL,…", value_delimiter = ',', value_parser = client_url)]
    peer_clients: Vec<(u64, String)>,
    #[command(flatten)]
    member: MemberFlags,
}

fn peer(text: &str) -> Result<(u64, SocketAddr), String> {
    let (id, rest) = numbered(text)?;
    Ok((id, address(rest)?))
}

fn client_url(text: &str) -> Result<(u64, String), String> {
    let (id, url) = numbered(text)?;
    if url.starts_with("http://") {
        Ok((id, url.to_owned()))
    } else {
        Err("give a URL, as in 1=http://127.0.0.1:2379".into())
    }
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.config()?;
        let data = config.replica.data_dir.display().to_string();
        let (id, peers) = (config.replica.node.0, config.replica.listen_peer);
        let mut member = Member::start(config)
            .await
            .with_context(|| format!("member {id} does not start (data in {data})"))?;
        let clients = member.client_address();
        announce(&format!(
            "kvstore: member {id} is ready: clients at http://{clients}, peers at {peers}, data in {data}
"
        ));
        tokio::select! {
            reason = member.failed() => anyhow::bail!("member {id} has stopped: {reason}"),
            wish = interrupted() => wish?,
        }
        member.shutdown().await;
        Ok(())
    }

    fn config(self) -> anyhow::Result<MemberConfig> {
        let peers = by_number("--peers", &self.peers)?;
        let Some(&own) = peers.get(&self.id) else {
            anyhow::bail!("--id {} is not among --peers: add {}=HOST:PORT to it", self.id, self.id);
        };
        let client_urls = by_number("--peer-clients", &self.peer_clients)?;
        if let Some(stranger) = client_urls.keys().find(|id| !peers.contains_key(id)) {
            anyhow::bail!("--peer-clients names member {stranger}, which is not among --peers");
        }
        Ok(MemberConfig {
            profile: self.member.profile,
            replica: ReplicaOptions {
                cluster: ClusterId(self.member.cluster_id),
                node: NodeId(self.id),
                members: peers.into_iter().map(|(id, address)| (NodeId(id), address)).collect(),
                listen_peer: self.listen_peer.unwrap_or(own),
                data_dir: self.data,
                election_timeout_ms: self.member.election_timeout_ms,
                heartbeat_interval_ms: self.member.heartbeat_interval_ms,
                snapshot_after_bytes: self.member.snapshot_after_bytes,
            },
            listen_client: self.listen_client,
            client_urls: client_urls.into_iter().map(|(id, url)| (NodeId(id), url)).collect(),
            quota_bytes: self.member.quota_bytes,
        })
    }
}
