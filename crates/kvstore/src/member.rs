//! One running member: a replica of the group, and the server that clients talk to.

use crate::machine::{KvMachine, SharedStore};
use crate::profile::{self, Profile, ReplicaOptions, Running};
use crate::proto::etcdserverpb::Member as MemberEntry;
use crate::server::{Api, ServerConfig};
use consensus_core::NodeId;
use consensus_runtime::{Replicated, StartError};
use std::collections::BTreeMap;
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
    /// The URLs at which clients reach the members, for `member list`. Who is not here is listed without; our own entry
    /// defaults to where we listen.
    pub client_urls: BTreeMap<NodeId, String>,
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
    /// The replica does not start.
    #[error(transparent)]
    Replica(#[from] StartError),
}

/// A running member.
pub struct Member {
    client_address: SocketAddr,
    replica: Running,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    stop_server: oneshot::Sender<()>,
}

impl Member {
    /// Starts the replica, then serves clients.
    ///
    /// # Errors
    /// An address is taken, the configuration cannot work, or the data directory is damaged, locked or somebody else's.
    pub async fn start(config: MemberConfig) -> Result<Self, MemberError> {
        // First, so that a taken port is told before a data directory is touched.
        let listener = listen(config.listen_client).await?;
        let client_address = listener.local_addr().unwrap_or(config.listen_client);
        let store = SharedStore::new();
        let machine = KvMachine::new(store.clone());
        let server = server_config(&config, client_address);
        let replica = profile::start(config.profile, config.replica, machine).await?;
        let api = Api::new(server, Arc::clone(&replica.group), store);
        let (stop_server, stopped) = oneshot::channel();
        let server = tokio::spawn(api.serve(listener, async {
            // A dropped sender is a wish to stop as well.
            let _ = stopped.await;
        }));
        Ok(Self { client_address, replica, server, stop_server })
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
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            reason = self.replica.lifecycle.stopped() => reason.to_string(),
            ended = &mut self.server => match ended {
                Ok(Ok(())) => "the server for clients has ended".into(),
                Ok(Err(error)) => format!("the server for clients failed: {error}"),
                Err(error) => format!("the server for clients failed: {error}"),
            },
        }
    }

    /// Lets requests under way finish, makes everything durable, and stops.
    pub async fn shutdown(mut self) {
        let _ = self.stop_server.send(());
        if tokio::time::timeout(GRACE, &mut self.server).await.is_err() {
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

fn server_config(config: &MemberConfig, client_address: SocketAddr) -> ServerConfig {
    let mut urls = config.client_urls.clone();
    urls.entry(config.replica.node).or_insert_with(|| format!("http://{client_address}"));
    let members = config.replica.members.iter().map(|(node, address)| MemberEntry {
        id: node.0,
        name: node.to_string(),
        peer_ur_ls: vec![format!("http://{address}")],
        client_ur_ls: urls.get(node).cloned().into_iter().collect(),
        is_learner: false,
    });
    ServerConfig {
        cluster: config.replica.cluster,
        member: config.replica.node,
        members: members.collect(),
        quota_bytes: config.quota_bytes,
    }
}
