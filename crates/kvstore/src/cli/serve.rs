//! `kvstore serve`: one member in this process.

use super::{DEFAULT_CLIENT, MemberFlags, address, announce, by_number, interrupted, numbered};
use anyhow::Context;
use clap::Args;
use consensus_core::{ClusterId, NodeId};
use consensus_runtime::{PeerAddress, Remembered, remembered};
use kvstore::join;
use kvstore::keys::{KEY_BYTES, Keys, Secret, key};
use kvstore::member::{Member, MemberConfig};
use kvstore::members::{MAX_NAME_BYTES, address_of, addresses_of};
use kvstore::profile::ReplicaOptions;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Examples, on one machine. One of three founders of a cluster:\n  \
    kvstore serve --id 1 --peers 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003 --listen-client 127.0.0.1:2379 --data data/1\n\
    A newcomer, after etcdctl member add four --peer-urls=http://127.0.0.1:7004:\n  \
    kvstore serve --join 127.0.0.1:7001,127.0.0.1:7002 --advertise-peer 127.0.0.1:7004 --listen-client 127.0.0.1:2382 --data data/4\n\
    Again, with a data directory that was used before:\n  \
    kvstore serve --listen-client 127.0.0.1:2382 --data data/4")]
pub(super) struct Serve {
    /// The number of this member, one of those in --peers; whoever joins is told
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: Option<u64>,
    /// The founders of a new cluster, this one included, with the addresses at which they listen for each other
    #[arg(long, value_name = "ID=HOST:PORT,…", value_delimiter = ',', value_parser = peer)]
    peers: Vec<(u64, PeerAddress)>,
    /// Join a cluster that runs, after `etcdctl member add`: any of its members, which are asked who this one is
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', conflicts_with = "peers", value_parser = peer_address)]
    join: Vec<PeerAddress>,
    /// Where peers reach this member, as given to `etcdctl member add`
    #[arg(long, value_name = "HOST:PORT", value_parser = peer_address)]
    advertise_peer: Option<PeerAddress>,
    /// Where to listen for clients
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_CLIENT, value_parser = address)]
    listen_client: SocketAddr,
    /// Where to listen for peers, if not where they reach this member
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    listen_peer: Option<SocketAddr>,
    /// The directory of this member's data; made if it does not exist. One that was used before remembers the cluster
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The name of this member, shown by `member list` [default: n and its number]
    #[arg(long, env = "ETCD_NAME", value_parser = name)]
    name: Option<String>,
    /// The URLs at which clients reach this member, shown by `member list` [default: --listen-client]
    #[arg(long, value_name = "URL,…", value_delimiter = ',', value_parser = client_url)]
    advertise_client: Vec<String>,
    /// The file with this member's secret key, where some members may lie (`kvstore key new` makes one)
    #[arg(long, value_name = "FILE", requires = "member_keys")]
    secret_key: Option<PathBuf>,
    /// The public keys of all members, this one included
    #[arg(long, value_name = "ID=KEY,…", value_delimiter = ',', value_parser = member_key, requires = "secret_key")]
    member_keys: Vec<(u64, [u8; KEY_BYTES])>,
    #[command(flatten)]
    printed: Printed,
    #[command(flatten)]
    member: MemberFlags,
}

/// What `etcdctl member add` prints for the newcomer.
#[derive(Args)]
#[command(next_help_heading = "Instead of --join and --advertise-peer, as printed by `etcdctl member add`")]
struct Printed {
    /// The members, the newcomer included
    #[arg(long, env = "ETCD_INITIAL_CLUSTER", value_name = "NAME=URL,…", value_delimiter = ',', value_parser = named_url)]
    initial_cluster: Vec<PeerAddress>,
    /// Only `existing`: a new cluster begins with --id and --peers
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", value_parser = existing)]
    initial_cluster_state: Option<()>,
    /// Where peers reach the newcomer
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", value_name = "URL,…", value_delimiter = ',', value_parser = peer_url)]
    initial_advertise_peer_urls: Vec<PeerAddress>,
}

fn peer_address(text: &str) -> Result<PeerAddress, String> {
    text.parse().map_err(|error: consensus_runtime::AddressError| error.to_string())
}

fn peer(text: &str) -> Result<(u64, PeerAddress), String> {
    let (id, rest) = numbered(text)?;
    Ok((id, peer_address(rest)?))
}

pub(super) fn member_key(text: &str) -> Result<(u64, [u8; KEY_BYTES]), String> {
    let (id, rest) = numbered(text)?;
    let key = key(rest).ok_or_else(|| format!("{rest:?} is no public key: `kvstore key new` prints one"))?;
    Ok((id, key))
}

fn peer_url(text: &str) -> Result<PeerAddress, String> {
    address_of(text).ok_or_else(|| "give http://HOST:PORT; peers are reached in the clear".into())
}

fn named_url(text: &str) -> Result<PeerAddress, String> {
    peer_url(text.split_once('=').ok_or("write NAME=URL, as `etcdctl member add` does")?.1)
}

fn existing(text: &str) -> Result<(), String> {
    if text == "existing" { Ok(()) } else { Err("a new cluster begins with --id and --peers".into()) }
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_NAME_BYTES).contains(&text.len());
    if fits { Ok(text.into()) } else { Err(format!("give 1 to {MAX_NAME_BYTES} bytes")) }
}

fn client_url(url: &str) -> Result<String, String> {
    let is_url = address_of(url).is_some();
    if is_url { Ok(url.into()) } else { Err("give a URL, as in http://127.0.0.1:2379".into()) }
}

/// How this member comes to its cluster.
struct Origin {
    node: NodeId,
    members: BTreeMap<NodeId, PeerAddress>,
    joins: bool,
    incarnation: u64,
    /// Where to listen for peers, if not told otherwise.
    listen_peer: Option<SocketAddr>,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let data = self.data.display().to_string();
        let config = self.config().await?;
        let (id, peers) = (config.replica.node.0, config.replica.listen_peer);
        let mut member = Member::start(config)
            .await
            .with_context(|| format!("member {id} does not start (data in {data})"))?;
        let clients = member.client_address();
        announce(&format!(
            "kvstore: member {id} is ready: clients at http://{clients}, peers at {peers}, data in {data}\n"
        ));
        let ended = tokio::select! {
            ended = member.ended() => Err(anyhow::Error::new(ended).context(format!("member {id} has stopped (data in {data})"))),
            wish = interrupted() => wish,
        };
        // Also where it cannot go on: whoever asked for its removal waits for the answer.
        member.shutdown().await;
        ended
    }

    async fn config(self) -> anyhow::Result<MemberConfig> {
        if addresses_of(&self.advertise_client).is_none() && !self.advertise_client.is_empty() {
            anyhow::bail!("--advertise-client names too many URLs, or one of them twice");
        }
        let origin = self.origin().await?;
        let Some(listen_peer) = self.listen_peer.or(origin.listen_peer) else {
            anyhow::bail!("say where to listen for peers: --listen-peer HOST:PORT");
        };
        let keys = self.keys()?;
        Ok(MemberConfig {
            profile: self.member.profile,
            replica: ReplicaOptions {
                cluster: ClusterId(self.member.cluster_id),
                node: origin.node,
                members: origin.members,
                joins: origin.joins,
                incarnation: origin.incarnation,
                listen_peer,
                data_dir: self.data,
                algorithm: self.member.algorithm,
                keys,
                election_timeout_ms: self.member.election_timeout_ms,
                heartbeat_interval_ms: self.member.heartbeat_interval_ms,
                snapshot_after_bytes: self.member.snapshot_after_bytes,
            },
            listen_client: self.listen_client,
            name: self.name,
            client_urls: self.advertise_client,
            quota_bytes: self.member.quota_bytes,
        })
    }

    fn keys(&self) -> anyhow::Result<Option<Keys>> {
        let Some(file) = &self.secret_key else { return Ok(None) };
        let secret = Secret::read(file).context("--secret-key cannot be used")?;
        let public = by_number("--member-keys", &self.member_keys)?;
        Ok(Some(Keys { secret, public: public.into_iter().map(|(id, key)| (NodeId(id), key)).collect() }))
    }

    async fn origin(&self) -> anyhow::Result<Origin> {
        let peers: BTreeMap<NodeId, PeerAddress> =
            by_number("--peers", &self.peers)?.into_iter().map(|(id, peer)| (NodeId(id), peer)).collect();
        let id = self.id.map(NodeId);
        if let Some(id) = id.filter(|id| !peers.is_empty() && !peers.contains_key(id)) {
            anyhow::bail!("--id {} is not among --peers: add {}=HOST:PORT to it", id.0, id.0);
        }
        if let Some(known) = remembered(&self.data).await? {
            if known.peers.revision == 0 && peers.is_empty() && self.asked().is_empty() {
                anyhow::bail!(
                    "{} was left before this member knew its cluster, so say once more how it comes to it: with the same flags as \
                     the first time",
                    self.data.display()
                );
            }
            return Ok(self.again(known, id, peers));
        }
        match (id, self.asked()) {
            (Some(id), _) if !peers.is_empty() => {
                let listen_peer = peers.get(&id).map(PeerAddress::to_listen);
                Ok(Origin { node: id, members: peers, joins: false, incarnation: 0, listen_peer })
            }
            (None, _) if !peers.is_empty() => anyhow::bail!("--id must say which of --peers this member is"),
            (id, asked) if !asked.is_empty() => self.join(id, asked).await,
            (_, _) => anyhow::bail!(
                "{} has not been used yet, so say how this member comes to its cluster: --id and --peers begin a new one, --join \
                 (or the environment that `etcdctl member add` prints) leads to one that runs",
                self.data.display()
            ),
        }
    }

    /// A data directory that was used before remembers the cluster. What the flags say of peers is tried beside it.
    fn again(&self, known: Remembered, id: Option<NodeId>, peers: BTreeMap<NodeId, PeerAddress>) -> Origin {
        let node = id.unwrap_or(known.node);
        let own = known.peers.addresses.get(&node).and_then(|list| list.first());
        let own = self.advertise_peer.as_ref().or(peers.get(&node)).or(own);
        let listen_peer = own.map(PeerAddress::to_listen);
        Origin { node, joins: peers.is_empty(), members: peers, incarnation: 0, listen_peer }
    }

    /// Whom to ask who we are.
    fn asked(&self) -> &[PeerAddress] {
        if self.join.is_empty() { &self.printed.initial_cluster } else { &self.join }
    }

    async fn join(&self, id: Option<NodeId>, asked: &[PeerAddress]) -> anyhow::Result<Origin> {
        let listens =
            self.listen_peer.filter(|address| !address.ip().is_unspecified()).map(PeerAddress::from);
        let own = self.advertise_peer.as_ref().or(self.printed.initial_advertise_peer_urls.first());
        let Some(own) = own.or(listens.as_ref()) else {
            anyhow::bail!(
                "say where peers reach this member: --advertise-peer HOST:PORT, as given to `etcdctl member add`"
            );
        };
        let cluster = ClusterId(self.member.cluster_id);
        let welcome = join::join(cluster, asked, id, own.clone(), &self.data)
            .await
            .context("cannot join the cluster")?;
        let first = |(node, list): (NodeId, Vec<PeerAddress>)| Some((node, list.into_iter().next()?));
        Ok(Origin {
            node: welcome.id,
            members: welcome.addresses.into_iter().filter_map(first).collect(),
            joins: true,
            incarnation: welcome.incarnation,
            listen_peer: Some(own.to_listen()),
        })
    }
}
