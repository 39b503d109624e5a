//! What has to be done about the members without anybody asking for it, on every replica:
//!
//! - the founders are written down, once; a member that has started tells its name and where clients reach it;
//! - the replica dials where the table says that members listen, and turns away whom it no longer has;
//! - whoever leads gives newcomers the vote that they were promised, and removes what is left of a change that was cut in two;
//! - what is asked from outside is answered ([`crate::join`]).
//!
//! All of it may be done twice, or by two at once, and is tried again until it is done.

use crate::council::Council;
use crate::error::ApiError;
use crate::join::{self, Answer, Question};
use crate::members::{Founder, MemberCommand, MemberReply, MemberTable, Row, SharedMembers};
use crate::profile::Lifecycle;
use consensus_core::{NodeId, wire};
use consensus_runtime::{Enquiry, Replicated};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How often what could not be done is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// What a member tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// Sees to the members of one replica's group.
pub(crate) struct Steward {
    pub(crate) me: Identity,
    /// Those at the group's birth; nobody if this member joined later.
    pub(crate) founders: Vec<Founder>,
    pub(crate) group: Arc<dyn Replicated>,
    pub(crate) lifecycle: Arc<dyn Lifecycle>,
    pub(crate) members: SharedMembers,
}

/// Why a member must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Conflict {
    /// The id belongs to another data directory.
    #[error(
        "another data directory has been used for this member before: bring that back; or, if it is lost, remove the member \
         (etcdctl member remove), add a new one, and join as that one"
    )]
    Claimed,
}

impl Steward {
    /// Runs until it is aborted, or finds that this member must not go on.
    pub(crate) async fn run(self) -> Conflict {
        let mut tasks = JoinSet::new();
        if !self.members.is_fixed() {
            tasks.spawn(follow(self.members.subscribe(), Arc::clone(&self.lifecycle)));
        }
        if let Some(enquiries) = self.lifecycle.take_enquiries() {
            let council = Council::new(Arc::clone(&self.group), self.members.clone());
            tasks.spawn(receive(enquiries, council));
        }
        self.attend().await
    }

    /// Looks at the table whenever it changes, and from time to time while there is something to do.
    async fn attend(&self) -> Conflict {
        let council = Council::new(Arc::clone(&self.group), self.members.clone());
        let mut changes = self.members.subscribe();
        loop {
            let table = Arc::clone(&changes.borrow_and_update());
            let is_busy = match self.see_to(&table, &council).await {
                Ok(is_busy) => is_busy,
                Err(conflict) => return conflict,
            };
            let pause = async {
                if is_busy { tokio::time::sleep(RETRY).await } else { std::future::pending().await }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = pause => {}
            }
        }
    }

    /// One look. True if something is left to be done.
    async fn see_to(&self, table: &MemberTable, council: &Council) -> Result<bool, Conflict> {
        let mut is_busy = false;
        if self.members.is_fixed() {
            return Ok(false);
        }
        if !table.is_founded() {
            if !self.founders.is_empty() {
                is_busy = self.found(council).await.is_err();
            }
        } else if let Some(row) = table.row(self.me.id)
            && !self.is_published(row)
        {
            is_busy |= !self.publish(council).await?;
        }
        let (aspirants, orphans): (Vec<NodeId>, Vec<NodeId>) =
            (table.aspirants().collect(), table.orphans().collect());
        is_busy |= !aspirants.is_empty() || !orphans.is_empty();
        if self.group.status().leader == Some(self.me.id) {
            for id in aspirants {
                // It has not caught up yet, most likely; or it has not even started.
                if council.promote(id).await.is_ok() {
                    tracing::info!(member = %id, "the newcomer has caught up, and was given its vote");
                }
            }
            for id in orphans {
                if council.remove(id).await.is_ok() {
                    tracing::info!(member = %id, "removed what was left of an addition that was cut short");
                }
            }
        }
        Ok(is_busy)
    }

    async fn found(&self, council: &Council) -> Result<(), ApiError> {
        // The table may be empty only because the log has not been read again yet.
        self.group.barrier().await?;
        if !self.members.table().is_founded() {
            council.propose(MemberCommand::Found(self.founders.clone())).await?;
        }
        Ok(())
    }

    fn is_published(&self, row: &Row) -> bool {
        row.name == self.me.name
            && row.client_urls == self.me.client_urls
            && row.incarnation == self.lifecycle.incarnation()
    }

    /// False if it has to be tried again.
    async fn publish(&self, council: &Council) -> Result<bool, Conflict> {
        let Identity { id, name, client_urls } = self.me.clone();
        let incarnation = self.lifecycle.incarnation();
        match council.propose(MemberCommand::Publish { id, name, client_urls, incarnation }).await {
            Ok(_) => Ok(true),
            Err(ApiError::MemberClaimed) => Err(Conflict::Claimed),
            Err(error) => {
                tracing::debug!(%error, "could not tell the others of this member yet");
                Ok(false)
            }
        }
    }
}

/// The replica dials where the table says.
async fn follow(mut changes: watch::Receiver<Arc<MemberTable>>, lifecycle: Arc<dyn Lifecycle>) {
    loop {
        let table = Arc::clone(&changes.borrow_and_update());
        if table.is_founded()
            && let Err(error) = lifecycle.set_peers(table.peers()).await
        {
            // It has stopped, and says why to whoever waits for that.
            tracing::debug!(%error, "the replica follows the members no longer");
            return;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// As many at once as the runtime lets in.
async fn receive(mut enquiries: mpsc::Receiver<Enquiry>, council: Council) {
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            enquiry = enquiries.recv() => {
                let Some(enquiry) = enquiry else { return };
                let council = council.clone();
                answers.spawn(async move {
                    if let Some(question) = Question::decode(&enquiry.question) {
                        let answer = answer(&council, question).await;
                        enquiry.answer(wire::encode(&answer).into());
                    }
                });
            }
            Some(_) = answers.join_next() => {}
        }
    }
}

async fn answer(council: &Council, question: Question) -> Answer {
    match question {
        Question::Begin { id } => join::may_begin(&council.table(), id),
        Question::Claim { id, peer, incarnation } => {
            match council.propose(MemberCommand::Claim { id, peer, incarnation }).await {
                Ok(MemberReply::Id(id)) => {
                    Answer::Welcome { id, addresses: council.table().peers().addresses }
                }
                Err(ApiError::MemberClaimed) => Answer::Claimed,
                Err(ApiError::MemberNotFound) => match id {
                    Some(id) if council.table().has_removed(id) => Answer::Removed,
                    Some(_) | None => Answer::Unknown,
                },
                Ok(MemberReply::Done) | Err(_) => Answer::Later,
            }
        }
    }
}
