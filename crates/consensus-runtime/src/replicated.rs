//! What a person who uses a replicated group may ask of it, whatever the algorithm.

use crate::report::Report;
use async_trait::async_trait;
use bytes::Bytes;
use consensus_core::{Change, NodeId, Refusal, Slot, Status};
use prometheus_client::registry::Registry;
use std::num::NonZeroU64;

/// A proposal that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its place in the sequence of decisions.
    pub slot: Slot,
    /// The state machine's reply.
    pub reply: Bytes,
}

/// Why a request came to nothing, or to nothing certain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The group turned it down.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node on which it waited lost its way to the leader: it may or may not have taken effect.
    #[error("the leader was lost while the request was in flight; it may or may not have taken effect")]
    LeaderLost,
    /// Nobody leads at the moment; nothing was done.
    #[error("no leader is known at the moment; nothing was done")]
    NoLeader,
    /// It took longer than the configured limit: it may or may not have taken effect.
    #[error("the request timed out; it may or may not have taken effect")]
    TimedOut,
    /// It was decided not to carry it out (atomic commitment), for everybody and for good.
    #[error("the request was aborted at {slot}")]
    Aborted {
        /// Its place in the sequence of decisions.
        slot: Slot,
        /// The state machine's reply.
        reply: Bytes,
    },
    /// It was carried out so long ago that the reply is gone.
    #[error("the reply to the request is no longer kept")]
    Forgotten,
    /// The node has stopped: on purpose, or for good because of its disk.
    #[error("the node has stopped: {0}")]
    Stopped(String),
}

/// One replica of a group, as its application sees it. Every call may be cancelled by dropping its future: the protocol is
/// never left half-stepped, and the request goes on or not as if its reply had been lost.
#[async_trait]
pub trait Replicated: Send + Sync {
    /// Has `payload` decided and applied; forwards to the leader if need be.
    async fn propose(&self, payload: Bytes) -> Result<Applied, RequestError>;

    /// The same under a number that the client has drawn at random, and gives with the same payload to whichever replicas it asks. Where
    /// nodes may lie it is carried out once, however many replicas are asked, and each of them answers: what
    /// [`consensus_core::Guarantees::replies`] of them say alike is true. Elsewhere it is refused.
    async fn propose_numbered(&self, number: NonZeroU64, payload: Bytes) -> Result<Applied, RequestError> {
        let _ = (number, payload);
        Err(RequestError::Refused(Refusal::Unsupported))
    }

    /// A linearizable read barrier: when it returns, this replica's state machine holds everything that was acknowledged
    /// anywhere before the call. Returns the slot that was waited for.
    async fn barrier(&self) -> Result<Slot, RequestError>;

    /// A linearizable read: a barrier, then the state machine's answer.
    async fn read(&self, request: Bytes) -> Result<Bytes, RequestError>;

    /// Where this replica stands, for a person who looks for the cause of something: it asks the replica alone.
    async fn report(&self) -> Result<Report, RequestError> {
        Err(RequestError::Refused(Refusal::Unsupported))
    }

    /// Enters what this replica and its host count and measure into a registry, for Prometheus.
    fn register(&self, _registry: &mut Registry) {}

    /// What this replica knows, without asking anybody.
    fn status(&self) -> Status;

    /// The last slot that this replica's state machine has seen.
    fn applied(&self) -> Slot;

    /// Changes the members.
    async fn reconfigure(&self, change: Change) -> Result<Applied, RequestError>;

    /// Hands leadership over.
    async fn transfer(&self, to: Option<NodeId>) -> Result<(), RequestError>;
}
