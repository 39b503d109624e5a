//! The gRPC side: what a client asks is checked, brought before the group or answered from this member's store, and the
//! reply gets its header.
//!
//! **Invariants.**
//! - Nothing is proposed that the store could not carry out or refuse alike on every member.
//! - A read that is not `serializable` is answered only after a barrier; a `serializable` one asks nobody.
//! - No lock on the store is held across an await.

mod absent;
mod cluster;
mod http;
mod kv;
mod maintenance;

use crate::command::{Command, Reply};
use crate::council::{self, Council};
use crate::error::ApiError;
use crate::machine::SharedStore;
use crate::members::SharedMembers;
use crate::proto::etcdserverpb::ResponseHeader;
use crate::proto::etcdserverpb::cluster_server::ClusterServer;
use crate::proto::etcdserverpb::kv_server::KvServer;
use crate::proto::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::validate::MAX_REQUEST_BYTES;
use consensus_core::{ClusterId, NodeId};
use consensus_runtime::Replicated;
use std::future::Future;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Room for what a request carries beside its limit; what is larger than both is not even decoded.
const REQUEST_OVERHEAD_BYTES: usize = 512 << 10;
/// The most requests in flight on one connection; the group's own limits bound their sum.
const MAX_STREAMS: u32 = 4096;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What a server is made from.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The cluster; not zero.
    pub cluster: ClusterId,
    /// The member that serves; not zero.
    pub member: NodeId,
    /// Writes are refused once the store is larger than this, in bytes.
    pub quota_bytes: u64,
    /// How long a hand-over of leadership may take.
    pub transfer_timeout: Duration,
}

/// One member's services. Clones share everything.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    config: ServerConfig,
    group: Arc<dyn Replicated>,
    store: SharedStore,
    council: Council,
}

impl Api {
    /// Serves `store` and `members`, which the state machine of `group` writes.
    #[must_use]
    pub fn new(
        config: ServerConfig,
        group: Arc<dyn Replicated>,
        store: SharedStore,
        members: SharedMembers,
    ) -> Self {
        let council = Council::new(Arc::clone(&group), members);
        Self(Arc::new(Inner { config, group, store, council }))
    }

    /// Serves clients on `listener` until `shutdown` completes, then lets requests under way finish.
    ///
    /// # Errors
    /// If the transport fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let limit = MAX_REQUEST_BYTES + REQUEST_OVERHEAD_BYTES;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let grpc = Routes::new(KvServer::new(self.clone()).max_decoding_message_size(limit))
            .add_service(MaintenanceServer::new(self.clone()).max_decoding_message_size(limit))
            .add_service(ClusterServer::new(self.clone()).max_decoding_message_size(limit));
        let routes = http::add_to(absent::add_to(grpc), self);
        Server::builder()
            .accept_http1(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, shutdown)
            .await
    }

    /// The whole header of a reply, given the part that the store knows.
    fn header(&self, known: Option<ResponseHeader>) -> Option<ResponseHeader> {
        let revision = match known {
            Some(header) => header.revision,
            None => self.0.store.read().revision(),
        };
        Some(ResponseHeader {
            cluster_id: self.0.config.cluster.0,
            member_id: self.0.config.member.0,
            revision,
            // Clients take zero for "no header". A read served before the first election has nothing better to say.
            raft_term: self.0.group.status().epoch.0.max(1),
        })
    }

    /// Has a command decided and applied, here too; under its client's number, if it has one.
    async fn propose(&self, command: Command, number: Option<NonZeroU64>) -> Result<Reply, ApiError> {
        council::propose(self.0.group.as_ref(), command, number).await
    }

    /// Refuses what would make a store grow that is too large already.
    fn check_quota(&self) -> Result<(), ApiError> {
        if self.is_over_quota() { Err(ApiError::NoSpace) } else { Ok(()) }
    }

    fn is_over_quota(&self) -> bool {
        self.0.store.read().size_bytes() > self.0.config.quota_bytes
    }

    /// Waits until this member's store holds everything that was acknowledged before.
    async fn barrier(&self) -> Result<(), ApiError> {
        self.0.group.barrier().await?;
        Ok(())
    }
}
