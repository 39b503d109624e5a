//! From what clients are promised to the protocol that keeps the promise. No other file names a concrete protocol.

use crate::join;
use crate::keys::{KEY_BYTES, Keys, Secret};
use crate::machine::KvMachine;
use crate::member::MemberError;
use async_trait::async_trait;
use benor::Log;
use consensus_core::{ClusterId, Faults, NodeId, wire};
use consensus_runtime::{
    Enquiry, Handle, Host, PeerAddress, Peers, Replica, ReplicaConfig, Replicated, RequestError, Runnable,
    StopReason, remembered,
};
use multipaxos::MultiPaxos;
use pbft::{Ed25519, Keyring, Pbft, Vouching};
use raft::Raft;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What a request may take beside two elections, in milliseconds.
const REQUEST_MS: u64 = 5_000;
/// A peer is suspected after an election timeout of silence, but not sooner than this, in milliseconds.
const LEAST_SUSPECT_MS: u64 = 50;

/// The largest quota of a store, in bytes. It is looked at before a write, so a store may exceed it by what is under way.
pub const MAX_QUOTA_BYTES: u64 = 3 << 30;
/// A snapshot of the largest store must reach a follower, or it could never catch up.
const MAX_SNAPSHOT_BYTES: u64 = MAX_QUOTA_BYTES + (1 << 30);

/// What clients are promised, in the terms of the CAP theorem: what gives way while the network is cut in two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Linearizable reads and writes; the side without a majority refuses.
    #[default]
    Cp,
    /// All-or-nothing on every replica; blocks while one is away.
    Ca,
    /// Every side accepts; they converge later.
    Ap,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cp => "cp",
            Self::Ca => "ca",
            Self::Ap => "ap",
        })
    }
}

/// The protocol that keeps the promise of [`Profile::Cp`]. All members of a cluster run the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Raft.
    #[default]
    Raft,
    /// Multi-Paxos: a leader also where only one node still reaches a quorum.
    MultiPaxos,
    /// PBFT: some of the members may lie. A client that asks one member trusts that one; one that asks all and believes what f+1 say
    /// alike trusts none.
    Pbft,
    /// A log without a leader: nobody's end is a gap in the service. Its members stay those that founded it.
    BenOr,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raft, Self::MultiPaxos, Self::Pbft, Self::BenOr];

    /// Whether the members are who they are for good, each with a key.
    #[must_use]
    pub const fn has_fixed_members(self) -> bool {
        match self {
            Self::Raft | Self::MultiPaxos | Self::BenOr => false,
            Self::Pbft => true,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raft => "raft",
            Self::MultiPaxos => "multipaxos",
            Self::Pbft => "pbft",
            Self::BenOr => "benor",
        })
    }
}

/// What a replica is made from, whatever the protocol.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// The cluster; not zero.
    pub cluster: ClusterId,
    /// Who we are.
    pub node: NodeId,
    /// The founders with the addresses at which they listen for each other; or, if we join, whom to dial.
    pub members: BTreeMap<NodeId, PeerAddress>,
    /// Whether the cluster has been there before us, and has added us.
    pub joins: bool,
    /// Which of all who may come under this id; zero draws a number with the first start.
    pub incarnation: u64,
    /// Where we listen for peers.
    pub listen_peer: SocketAddr,
    /// The directory of the journal.
    pub data_dir: PathBuf,
    /// The protocol, where the profile leaves a choice.
    pub algorithm: Algorithm,
    /// What the members sign with, where some may lie.
    pub keys: Option<Keys>,
    /// After how long without a leader an election begins, or without progress a view change, in milliseconds.
    pub election_timeout_ms: u64,
    /// How often a leader shows that it lives, in milliseconds; `None`: as the protocol has it.
    pub heartbeat_interval_ms: Option<u64>,
    /// A snapshot replaces the log once it has grown by this many bytes, and by as much as the last snapshot had. With PBFT the same
    /// at all members.
    pub snapshot_after_bytes: u64,
}

/// A running replica, its protocol forgotten.
pub struct Running {
    /// To use it.
    pub group: Arc<dyn Replicated>,
    /// To see to it.
    pub lifecycle: Arc<dyn Lifecycle>,
}

/// A replica's end, and whom it knows.
#[async_trait]
pub trait Lifecycle: Send + Sync {
    /// Stops gracefully and returns when everything is durable and gone.
    async fn shutdown(&self) -> StopReason;
    /// Waits for the end and says why it came.
    async fn stopped(&self) -> StopReason;
    /// Says where the members listen, and who was removed.
    async fn set_peers(&self, peers: Peers) -> Result<(), RequestError>;
    /// What distinguishes this replica from one that has lost its disk.
    fn incarnation(&self) -> u64;
    /// What is asked from outside; the first call gets it.
    fn take_enquiries(&self) -> Option<mpsc::Receiver<Enquiry>>;
}

#[async_trait]
impl<A: Runnable> Lifecycle for Handle<A> {
    async fn shutdown(&self) -> StopReason {
        Self::shutdown(self).await
    }

    async fn stopped(&self) -> StopReason {
        Self::stopped(self).await
    }

    async fn set_peers(&self, peers: Peers) -> Result<(), RequestError> {
        // In memory there are no addresses.
        match self.host() {
            Some(host) => host.set_peers(peers).await,
            None => Ok(()),
        }
    }

    fn incarnation(&self) -> u64 {
        self.host().map_or(0, Host::incarnation)
    }

    fn take_enquiries(&self) -> Option<mpsc::Receiver<Enquiry>> {
        self.host()?.take_enquiries()
    }
}

/// Starts the protocol of `profile`.
///
/// # Errors
/// The profile has no protocol yet, or the replica does not start.
pub async fn start(
    profile: Profile,
    options: ReplicaOptions,
    machine: KvMachine,
) -> Result<Running, MemberError> {
    let refuse = |reason| Err(MemberError::Profile { profile, reason });
    match profile {
        Profile::Cp => match options.algorithm {
            Algorithm::Raft => run::<Raft>(raft_config(&options), options, machine).await,
            Algorithm::MultiPaxos => run::<MultiPaxos>(multipaxos_config(&options), options, machine).await,
            Algorithm::Pbft => run::<Pbft>(pbft_config(&options)?, options, machine).await,
            Algorithm::BenOr => run::<Log>(benor_config(&options), options, machine).await,
        },
        Profile::Ca => refuse("it needs atomic commitment"),
        Profile::Ap => refuse("it needs causal replication"),
    }
}

fn raft_config(options: &ReplicaOptions) -> raft::Config {
    raft::Config {
        election_timeout_ms: options.election_timeout_ms,
        heartbeat_interval_ms: options.heartbeat_interval_ms,
        max_snapshot_bytes: MAX_SNAPSHOT_BYTES,
        ..raft::Config::default()
    }
}

fn multipaxos_config(options: &ReplicaOptions) -> multipaxos::Config {
    let timeout = options.election_timeout_ms;
    multipaxos::Config {
        election_timeout_ms: timeout,
        heartbeat_interval_ms: options.heartbeat_interval_ms.unwrap_or_else(|| (timeout / 10).max(1)),
        max_snapshot_bytes: MAX_SNAPSHOT_BYTES,
        ..multipaxos::Config::default()
    }
}

fn benor_config(options: &ReplicaOptions) -> benor::log::Config {
    benor::log::Config {
        // Nobody is elected: it is only how soon what was lost is said again.
        retry_ms: (options.election_timeout_ms / 20).max(1),
        // No secret: whoever orders the messages by it makes decisions slow, and no more.
        coin_key: options.cluster.0,
        max_snapshot_bytes: MAX_SNAPSHOT_BYTES,
        ..benor::log::Config::default()
    }
}

/// PBFT as the store runs it.
///
/// # Errors
/// Keys are missing, or do not fit together.
pub fn pbft_config(options: &ReplicaOptions) -> Result<pbft::Config, MemberError> {
    let refuse = |problem: String| Err(MemberError::Keys(problem));
    let Some(Keys { secret, public }) = &options.keys else {
        let how = "members that may lie sign what they say: give --secret-key and --member-keys (kvstore key new makes keys)";
        return refuse(how.into());
    };
    if !public.keys().eq(options.members.keys()) {
        let ids = |ids: &mut dyn Iterator<Item = &NodeId>| {
            ids.map(|id| id.0.to_string()).collect::<Vec<_>>().join(", ")
        };
        let (keys, members) = (ids(&mut public.keys()), ids(&mut options.members.keys()));
        return refuse(format!("--member-keys are those of {keys}, and the members are {members}"));
    }
    let keys = Ed25519::new(options.node, secret.bytes(), public.iter().map(|(&id, &key)| (id, key)));
    let keys = keys.map_err(|error| MemberError::Keys(error.to_string()))?;
    let timeout = options.election_timeout_ms;
    Ok(pbft::Config {
        keys: Keyring::new(keys),
        group: options.cluster.0,
        view_timeout_ms: timeout,
        max_view_timeout_ms: timeout.saturating_mul(64),
        resend_interval_ms: options.heartbeat_interval_ms.unwrap_or_else(|| (timeout / 10).max(1)),
        // A view change tells of all that is above the last checkpoint.
        checkpoint_interval: 128,
        window: 256,
        snapshot_after_bytes: options.snapshot_after_bytes,
        vouching: Vouching::Named,
        ..pbft::Config::default()
    })
}

/// The public key that belongs to a secret one.
#[must_use]
pub fn public_key(secret: &Secret) -> [u8; KEY_BYTES] {
    Ed25519::public_of(secret.bytes())
}

/// What proof that a member lies says, if it proves that: what a member's `/evidence` shows.
///
/// # Errors
/// The keys cannot be used, or it proves nothing.
pub fn examine(
    proof: &[u8],
    cluster: ClusterId,
    public: &BTreeMap<NodeId, [u8; KEY_BYTES]>,
) -> Result<String, String> {
    let keys =
        Ed25519::of_public(public.iter().map(|(&id, &key)| (id, key))).map_err(|error| error.to_string())?;
    let config = pbft::Config { keys: Keyring::new(keys), group: cluster.0, ..pbft::Config::default() };
    let evidence: pbft::Evidence = wire::decode(proof, proof.len()).map_err(|error| error.to_string())?;
    if evidence.is_proven(&config) {
        Ok(evidence.to_string())
    } else {
        Err("it proves nothing: check the number of the cluster, and the keys".into())
    }
}

/// A founder whose directory is empty may have lost it: then it must not begin anew.
async fn may_begin<A: Runnable>(config: &ReplicaConfig<A>) -> Result<(), MemberError> {
    // Where members may lie, none is asked.
    let may_lie = matches!(A::GUARANTEES.faults, Faults::Byzantine);
    if may_lie || config.joins || remembered(&config.data_dir).await?.is_some() {
        return Ok(());
    }
    let others = config.members.iter().filter(|(node, _)| **node != config.node);
    let others: Vec<PeerAddress> = others.map(|(_, address)| address.clone()).collect();
    Ok(join::may_found(config.cluster, &others, config.node).await?)
}

async fn run<A: Runnable>(
    algorithm: A::Config,
    options: ReplicaOptions,
    machine: KvMachine,
) -> Result<Running, MemberError> {
    let mut config = ReplicaConfig::<A>::new(options.node, options.members, options.data_dir);
    (config.joins, config.incarnation) = (options.joins, options.incarnation);
    config.cluster = options.cluster;
    config.listen = options.listen_peer;
    config.algorithm = algorithm;
    config.request_timeout_ms = REQUEST_MS.saturating_add(options.election_timeout_ms.saturating_mul(2));
    config.read_retry_ms = options.election_timeout_ms;
    config.suspect_after_ms = options.election_timeout_ms.max(LEAST_SUSPECT_MS);
    config.compact_after_bytes = options.snapshot_after_bytes;
    config.check_invariants = false;
    config.validate()?;
    may_begin(&config).await?;
    let handle = Replica::start(config, machine).await?;
    Ok(Running { group: Arc::new(handle.clone()), lifecycle: Arc::new(handle) })
}
