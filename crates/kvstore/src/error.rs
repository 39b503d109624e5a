//! What a client is told when something goes wrong. Client libraries know these errors by their exact text, so the texts and
//! the gRPC codes are those of the public protocol.

use crate::command::Reason;
use crate::store::StoreError;
use consensus_core::Refusal;
use consensus_runtime::RequestError;
use tonic::{Code, Status};

/// An error of the public protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A key is empty.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// The value or lease of a missing key was to be kept.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// A value came with "keep the value".
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// A lease came with "keep the lease".
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// There is no such lease.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A transaction is too large.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// A transaction writes a key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// An unknown order or target.
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// The revision was forgotten.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision has not happened yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// The store is over its quota.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The request is over its limit.
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// Too many requests wait already.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// Nobody leads; nothing was done.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// The leader went while the request was in flight.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    /// It took too long.
    #[error("etcdserver: request timed out")]
    Timeout,
    /// The server goes down.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// There is no such member.
    #[error("etcdserver: member not found")]
    MemberNotFound,
    /// Only the leader can do this.
    #[error("etcdserver: not leader")]
    NotLeader,
    /// The replicas' programs disagree about the log's format.
    #[error("kvstore: this member's program cannot read the log: run the same version on all members")]
    Incompatible,
    /// Not all replicas could carry it out, so none did.
    #[error("kvstore: the request was aborted: not every replica could carry it out")]
    Aborted,
    /// The profile or protocol cannot do it.
    #[error("kvstore: the protocol in use does not support this request")]
    Unsupported,
}

impl ApiError {
    /// The gRPC code that clients expect beside the text.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::InvalidSortOption
            | Self::RequestTooLarge => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision => Code::OutOfRange,
            Self::NoSpace | Self::TooManyRequests => Code::ResourceExhausted,
            Self::NoLeader | Self::LeaderChanged | Self::Timeout | Self::Stopped => Code::Unavailable,
            Self::LeaseNotFound | Self::MemberNotFound => Code::NotFound,
            Self::NotLeader => Code::FailedPrecondition,
            Self::Incompatible => Code::DataLoss,
            Self::Aborted => Code::Aborted,
            Self::Unsupported => Code::Unimplemented,
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted => Self::Compacted,
            StoreError::FutureRevision => Self::FutureRevision,
            StoreError::KeyNotFound => Self::KeyNotFound,
            StoreError::ReadOnly => Self::Unsupported,
        }
    }
}

impl From<Reason> for ApiError {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Store(error) => error.into(),
            Reason::Malformed => Self::Incompatible,
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refusal) => refusal.into(),
            RequestError::NoLeader => Self::NoLeader,
            RequestError::LeaderLost => Self::LeaderChanged,
            // Either way nobody can say any more what came of it.
            RequestError::TimedOut | RequestError::Forgotten => Self::Timeout,
            RequestError::Aborted { .. } => Self::Aborted,
            RequestError::Stopped(_) => Self::Stopped,
            _ => Self::Timeout,
        }
    }
}

impl From<Refusal> for ApiError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow")]
    fn from(refusal: Refusal) -> Self {
        match refusal {
            // A definite refusal: nothing was done, and another attempt may find the leader.
            Refusal::NotLeader { .. } => Self::NoLeader,
            Refusal::Interrupted => Self::LeaderChanged,
            Refusal::Busy => Self::TooManyRequests,
            Refusal::TooLarge => Self::RequestTooLarge,
            Refusal::NotMember => Self::Stopped,
            Refusal::Unsupported | Refusal::BadChange(_) => Self::Unsupported,
            _ => Self::Timeout,
        }
    }
}
