//! What a client is told when something goes wrong. Client libraries know these errors by their exact text, so the texts and
//! the gRPC codes are those of the public protocol.

use crate::command::Reason;
use crate::members::MemberRefusal;
use crate::store::StoreError;
use consensus_core::{BadChange, Refusal};
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
    /// Another member has one of the addresses.
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    /// Addresses that are none.
    #[error("etcdserver: given member URLs are invalid")]
    BadMemberUrls,
    /// Peers are not reached with encryption.
    #[error("kvstore: peers are reached in the clear: give http://HOST:PORT")]
    EncryptedPeerUrl,
    /// It has a vote already.
    #[error("etcdserver: can only promote a learner member")]
    MemberNotLearner,
    /// It lacks too much, or does not answer.
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// One at a time.
    #[error("etcdserver: too many learner members in cluster")]
    TooManyLearners,
    /// The group would stand still, or has not settled yet.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    /// Nobody would be left.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// Another data directory has the member's id.
    #[error("kvstore: the member has been started before, with another data directory")]
    MemberClaimed,
    /// A bound is reached.
    #[error("kvstore: there are too many members")]
    TooManyMembers,
    /// Only the leader can do this.
    #[error("etcdserver: not leader")]
    NotLeader,
    /// It cannot lead.
    #[error("etcdserver: bad leader transferee")]
    BadTransferee,
    /// Leadership did not move in time.
    #[error("etcdserver: request timed out, leader transfer took too long")]
    TransferTimeout,
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
            | Self::RequestTooLarge
            | Self::BadMemberUrls
            | Self::EncryptedPeerUrl => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision => Code::OutOfRange,
            Self::NoSpace | Self::TooManyRequests | Self::TooManyMembers => Code::ResourceExhausted,
            Self::NoLeader
            | Self::LeaderChanged
            | Self::Timeout
            | Self::Stopped
            | Self::Unhealthy
            | Self::TransferTimeout => Code::Unavailable,
            Self::LeaseNotFound | Self::MemberNotFound => Code::NotFound,
            Self::NotLeader
            | Self::BadTransferee
            | Self::PeerUrlExists
            | Self::MemberClaimed
            | Self::MemberNotLearner
            | Self::LearnerNotReady
            | Self::TooManyLearners
            | Self::NotEnoughStarted => Code::FailedPrecondition,
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
            Reason::Members(refusal) => refusal.into(),
            Reason::Malformed => Self::Incompatible,
        }
    }
}

impl From<MemberRefusal> for ApiError {
    fn from(refusal: MemberRefusal) -> Self {
        match refusal {
            MemberRefusal::NotFound | MemberRefusal::Removed => Self::MemberNotFound,
            MemberRefusal::AddressTaken => Self::PeerUrlExists,
            MemberRefusal::TooManyLearners => Self::TooManyLearners,
            // Whoever began the cluster, or was added last, is not ready yet.
            MemberRefusal::NotFounded | MemberRefusal::Unsettled => Self::Unhealthy,
            MemberRefusal::TooMuch => Self::TooManyMembers,
            MemberRefusal::Claimed => Self::MemberClaimed,
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
            Refusal::BadChange(reason) => reason.into(),
            Refusal::Unsupported => Self::Unsupported,
            _ => Self::Timeout,
        }
    }
}

impl From<BadChange> for ApiError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow")]
    fn from(reason: BadChange) -> Self {
        match reason {
            BadChange::UnderWay | BadChange::TooSoon | BadChange::NoQuorum => Self::Unhealthy,
            BadChange::LagsBehind(_) => Self::LearnerNotReady,
            BadChange::NobodyLeft => Self::NotEnoughStarted,
            _ => Self::Unsupported,
        }
    }
}
