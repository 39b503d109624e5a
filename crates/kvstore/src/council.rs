//! Changing the members. A change has two halves: what only the store knows (ids, addresses) is a command, who counts is the
//! protocol's to decide. Each half is one entry of the log, and whatever is left of a change that was cut in two is put right by
//! whoever leads ([`crate::steward`]).
//!
//! A newcomer is always a learner first, also one that is to have a vote: it is given that as soon as it has caught up. So one
//! that never starts holds nobody up. (etcd 3.4 gives the vote at once.)

use crate::command::{Command, Reply};
use crate::error::ApiError;
use crate::members::{MemberCommand, MemberReply, MemberTable, Row, SharedMembers};
use crate::validate::MAX_REQUEST_BYTES;
use consensus_core::{BadChange, Change, NodeId, Refusal};
use consensus_runtime::{PeerAddress, Replicated, RequestError};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a change waits for another one that is under way.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it tries.
const RETRY: Duration = Duration::from_millis(30);

/// Changes the members of one group. Clones share everything.
#[derive(Clone)]
pub struct Council {
    group: Arc<dyn Replicated>,
    members: SharedMembers,
}

impl Council {
    /// Changes the members of `group`, whose state machine writes `members`.
    #[must_use]
    pub fn new(group: Arc<dyn Replicated>, members: SharedMembers) -> Self {
        Self { group, members }
    }

    /// The members as this replica knows them.
    #[must_use]
    pub fn table(&self) -> Arc<MemberTable> {
        self.members.table()
    }

    /// Lets a newcomer in, and returns its id.
    ///
    /// # Errors
    /// An address is taken, the last newcomer has not settled yet, or the group cannot be reached.
    pub async fn add(&self, peers: Vec<PeerAddress>, wants_vote: bool) -> Result<NodeId, ApiError> {
        let MemberReply::Id(id) = self.propose(MemberCommand::Reserve { peers, wants_vote }).await? else {
            return Err(ApiError::Incompatible);
        };
        let changed = self.change(Change::AddLearner(id)).await;
        // The protocol may have done it, though nobody could tell; it may also have been done twice.
        if self.table().row(id).is_some() {
            return Ok(id);
        }
        match changed {
            // Its reservation was forgotten in a rush of newcomers: it will be removed again.
            Ok(()) => Err(ApiError::Unhealthy),
            // It may be done yet: the reservation stays, and who asks again gets the same id.
            Err(error @ (ApiError::LeaderChanged | ApiError::Timeout | ApiError::Stopped)) => Err(error),
            Err(error) => {
                // If that comes to nothing, the reservation is forgotten when others need the room.
                drop(self.propose(MemberCommand::Release(id)).await);
                Err(error)
            }
        }
    }

    /// Lets a member go, for good.
    ///
    /// # Errors
    /// There is no such member, the others could not go on without it, or the group cannot be reached.
    pub async fn remove(&self, id: NodeId) -> Result<(), ApiError> {
        self.find(id).await?;
        let changed = self.change(Change::Remove(id)).await;
        if self.table().row(id).is_none() { Ok(()) } else { changed }
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// There is no such member, it is no learner, it has not caught up, or the group cannot be reached.
    pub async fn promote(&self, id: NodeId) -> Result<(), ApiError> {
        if !self.find(id).await?.is_learner {
            return Err(ApiError::MemberNotLearner);
        }
        let changed = self.change(Change::AddVoter(id)).await;
        if self.table().row(id).is_some_and(|row| !row.is_learner) { Ok(()) } else { changed }
    }

    /// A member listens somewhere else.
    ///
    /// # Errors
    /// There is no such member, an address is taken, or the group cannot be reached.
    pub async fn relocate(&self, id: NodeId, peers: Vec<PeerAddress>) -> Result<(), ApiError> {
        self.propose(MemberCommand::Move { id, peers }).await.map(drop)
    }

    /// Has a command about the members decided.
    ///
    /// # Errors
    /// The table forbids it, or the group cannot be reached.
    pub async fn propose(&self, command: MemberCommand) -> Result<MemberReply, ApiError> {
        self.may_change()?;
        let reply = propose(self.group.as_ref(), Command::Members(command), None).await?;
        // A member whose program pairs commands and replies differently.
        if let Reply::Members(reply) = reply { Ok(reply) } else { Err(ApiError::Incompatible) }
    }

    fn may_change(&self) -> Result<(), ApiError> {
        if self.members.is_fixed() { Err(ApiError::Unsupported) } else { Ok(()) }
    }

    /// The member, as of now.
    async fn find(&self, id: NodeId) -> Result<Row, ApiError> {
        // Whoever added it a moment ago may have asked another replica.
        self.group.barrier().await?;
        self.table().row(id).cloned().ok_or(ApiError::MemberNotFound)
    }

    /// Has the protocol change the members; waits for a change that is under way.
    async fn change(&self, change: Change) -> Result<(), ApiError> {
        self.may_change()?;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.group.reconfigure(change.clone()).await {
                Ok(_) => return Ok(()),
                Err(RequestError::Refused(Refusal::BadChange(reason)))
                    if reason.is_passing() && Instant::now() < until =>
                {
                    tokio::time::sleep(RETRY).await;
                }
                // It was done by an attempt of which nobody heard: the caller looks.
                Err(RequestError::Refused(Refusal::BadChange(BadChange::Senseless(_)))) => {
                    self.group.barrier().await?;
                    return Err(ApiError::Unhealthy);
                }
                Err(error @ (RequestError::LeaderLost | RequestError::TimedOut)) => {
                    // Whether it was done can be seen once somebody leads; if nobody does, nobody can tell.
                    drop(self.group.barrier().await);
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Has a command decided and applied, here too; under its client's number, if it has one.
pub(crate) async fn propose(
    group: &dyn Replicated,
    command: Command,
    number: Option<NonZeroU64>,
) -> Result<Reply, ApiError> {
    let payload = command.encode();
    drop(command);
    if payload.len() > MAX_REQUEST_BYTES {
        return Err(ApiError::RequestTooLarge);
    }
    let applied = match number {
        Some(number) => group.propose_numbered(number, payload).await?,
        None => group.propose(payload).await?,
    };
    match Reply::decode(&applied.reply) {
        Ok(Reply::Refused(reason)) => Err(reason.into()),
        Ok(reply) => Ok(reply),
        Err(_) => Err(ApiError::Incompatible),
    }
}
