//! One running member: a replica of the group, the server that clients talk to, and the steward of its members.

use crate::join::JoinError;
use crate::machine::{KvMachine, SharedStore};
use crate::members::{Founder, Row, SharedMembers};
use crate::profile::{self, Profile, ReplicaOptions, Running};
use crate::server::{Api, ServerConfig};
use crate::steward::{Conflict, Identity, Steward};
use consensus_core::NodeId;
use consensus_runtime::{PeerAddress, Replicated, StartError, StopReason};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long requests under way may take when the member is asked to stop.
const GRACE: Duration = Duration::from_secs(2);

/// What a member is made from.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// What clients are promised, hence which protocol runs.
    pub profile: Profile,
    /// The replica.
    pub replica: ReplicaOptions,
    /// Where to listen for clients; port 0 takes any free one.
    pub listen_client: SocketAddr,
    /// The name that `member list` shows; `n` and the id by default.
    pub name: Option<String>,
    /// The URLs at which clients reach this member, as `member list` shows them; where we listen by default.
    pub client_urls: Vec<String>,
    /// Writes are refused once the store is larger than this, in bytes.
    pub quota_bytes: u64,
}

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// The address for clients cannot be listened at.
    #[error("cannot listen for clients at {address}: {cause}; {advice}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        cause: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// No protocol is built in for the profile.
    #[error("profile {profile} is not built in yet: {reason}; use --profile cp")]
    Profile {
        /// The profile.
        profile: Profile,
        /// What is missing.
        reason: &'static str,
    },
    /// The members' keys are missing, or do not fit together.
    #[error("{0}")]
    Keys(String),
    /// The cluster does not want it, or not like this.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The replica does not start.
    #[error(transparent)]
    Replica(#[from] StartError),
}

/// Why a member has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// It is no member any more.
    #[error(
        "it was removed from the cluster; remove its data directory, and let it join anew as another member"
    )]
    Removed,
    /// It cannot go on.
    #[error("{0}")]
    Failed(String),
}

/// A running member.
pub struct Member {
    client_address: SocketAddr,
    replica: Running,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    steward: JoinHandle<Conflict>,
    stop_server: oneshot::Sender<()>,
}

impl Member {
    /// Starts the replica, then serves clients.
    ///
    /// # Errors
    /// An address is taken, the configuration cannot work, the data directory is damaged, locked or somebody else's, or the
    /// cluster knows another directory of this member.
    pub async fn start(config: MemberConfig) -> Result<Self, MemberError> {
        // First, so that a taken port is told before a data directory is touched.
        let listener = listen(config.listen_client).await?;
        let client_address = listener.local_addr().unwrap_or(config.listen_client);
        let (store, members) = (SharedStore::new(), members(&config, client_address));
        let machine = KvMachine::new(store.clone(), members.clone());
        let (server, me, founders) =
            (server_config(&config), identity(&config, client_address), founders(&config.replica));
        let replica = profile::start(config.profile, config.replica, machine).await?;
        let (group, lifecycle) = (Arc::clone(&replica.group), Arc::clone(&replica.lifecycle));
        let steward =
            Steward { me, founders, group: Arc::clone(&group), lifecycle, members: members.clone() };
        let steward = tokio::spawn(steward.run());
        let (stop_server, stopped) = oneshot::channel();
        let server = tokio::spawn(Api::new(server, group, store, members).serve(listener, async {
            // A dropped sender is a wish to stop as well.
            let _ = stopped.await;
        }));
        Ok(Self { client_address, replica, server, steward, stop_server })
    }

    /// Where clients are served.
    #[must_use]
    pub const fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// The replica.
    #[must_use]
    pub fn group(&self) -> &dyn Replicated {
        self.replica.group.as_ref()
    }

    /// Waits until the member cannot go on, and says why.
    pub async fn ended(&mut self) -> Ended {
        tokio::select! {
            reason = self.replica.lifecycle.stopped() => {
                if reason == StopReason::Removed { Ended::Removed } else { Ended::Failed(reason.to_string()) }
            }
            ended = &mut self.server => Ended::Failed(match ended {
                Ok(Ok(())) => "the server for clients has ended".into(),
                Ok(Err(error)) => format!("the server for clients failed: {error}"),
                Err(error) => format!("the server for clients failed: {error}"),
            }),
            ended = &mut self.steward => Ended::Failed(match ended {
                Ok(conflict) => conflict.to_string(),
                Err(error) => format!("the steward of the members failed: {error}"),
            }),
        }
    }

    /// Lets requests under way finish, makes everything durable, and stops.
    pub async fn shutdown(mut self) {
        self.steward.abort();
        let _ = self.stop_server.send(());
        if !self.server.is_finished() && tokio::time::timeout(GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
        self.replica.lifecycle.shutdown().await;
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, MemberError> {
    TcpListener::bind(address).await.map_err(|cause| {
        let advice = if cause.kind() == std::io::ErrorKind::AddrInUse {
            "another process has the port: stop it, or choose another one with --listen-client"
        } else {
            "choose an address of this machine and a port above 1023 with --listen-client"
        };
        MemberError::Listen { address, cause, advice }
    })
}

fn members(config: &MemberConfig, client_address: SocketAddr) -> SharedMembers {
    if !config.replica.algorithm.has_fixed_members() {
        return SharedMembers::new();
    }
    let me = identity(config, client_address);
    let row = |(&id, peer): (&NodeId, &PeerAddress)| {
        let known = (id == me.id).then(|| me.clone());
        let (name, client_urls) = known.map_or((id.to_string(), Vec::new()), |me| (me.name, me.client_urls));
        (id, Row { name, client_urls, peers: vec![peer.clone()], ..Row::default() })
    };
    SharedMembers::fixed(config.replica.members.iter().map(row).collect())
}

fn founders(replica: &ReplicaOptions) -> Vec<Founder> {
    let founder =
        |(&id, peer): (&NodeId, &PeerAddress)| Founder { id, name: id.to_string(), peer: peer.clone() };
    if replica.joins { Vec::new() } else { replica.members.iter().map(founder).collect() }
}

fn identity(config: &MemberConfig, client_address: SocketAddr) -> Identity {
    let id = config.replica.node;
    let mut client_urls = config.client_urls.clone();
    if client_urls.is_empty() {
        client_urls.push(format!("http://{client_address}"));
    }
    Identity { id, name: config.name.clone().unwrap_or_else(|| id.to_string()), client_urls }
}

fn server_config(config: &MemberConfig) -> ServerConfig {
    ServerConfig {
        cluster: config.replica.cluster,
        member: config.replica.node,
        quota_bytes: config.quota_bytes,
        // The successor is called for one election timeout; its election takes another one at most, normally.
        transfer_timeout: 3 * Duration::from_millis(config.replica.election_timeout_ms),
    }
}
