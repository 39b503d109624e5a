//! What the handle, the lane and the transport see of each other.

use crate::lane::Bell;
use crate::metrics::GroupMetrics;
use consensus_core::{Epoch, GroupId, Members, NodeId, Role, Slot, Status};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use tokio::sync::{Notify, watch};

/// What an observer may know of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What the algorithm says of itself.
    pub status: Status,
    /// The last slot that the state machine has seen.
    pub applied: Slot,
}

impl View {
    /// What can be said before the node is open.
    fn unknown(members: Members) -> Self {
        let (role, leader, epoch, decided) = (Role::Follower, None, Epoch::ZERO, Slot::ZERO);
        let status = Status { role, leader, epoch, decided, members, blocked: Vec::new() };
        Self { status, applied: Slot::ZERO }
    }
}

/// Why a replica, or a host, has stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// It was asked to, or the last handle was dropped.
    #[error("it was shut down")]
    Shutdown,
    /// It was told to stop as a crash would.
    #[error("it was killed")]
    Killed,
    /// The node was removed from its cluster, for good: it must not come back under this id.
    #[error(
        "this node was removed from its cluster; remove its directory, and let it join anew as another member"
    )]
    Removed,
    /// It cannot go on: its disk failed, or a defect was caught before it could do harm. A new start is safe once the cause
    /// is removed.
    #[error("{0}")]
    Failed(String),
}

/// The end of something that runs: who asked for it first, and whether it is complete.
#[derive(Debug, Default)]
pub(crate) struct End {
    asked: OnceLock<StopReason>,
    complete: OnceLock<StopReason>,
    news: Notify,
}

impl End {
    /// The first wish is the one that counts; true if this is it.
    pub(crate) fn ask(&self, reason: StopReason) -> bool {
        let is_first = self.asked.set(reason).is_ok();
        if is_first {
            self.news.notify_waiters();
        }
        is_first
    }

    /// The wish, if there is one.
    pub(crate) fn asked(&self) -> Option<StopReason> {
        self.asked.get().cloned()
    }

    /// Everything is gone: tells all who wait for it.
    pub(crate) fn complete(&self, reason: StopReason) {
        self.ask(reason.clone());
        // It happens once.
        drop(self.complete.set(reason));
        self.news.notify_waiters();
    }

    /// The reason, also while it is still on its way down.
    pub(crate) fn reason_so_far(&self) -> StopReason {
        self.complete.get().or(self.asked.get()).cloned().unwrap_or(StopReason::Shutdown)
    }

    /// Waits for the wish.
    pub(crate) async fn wish(&self) -> StopReason {
        self.when(&self.asked).await
    }

    /// Waits until everything is gone.
    pub(crate) async fn completed(&self) -> StopReason {
        self.when(&self.complete).await
    }

    async fn when(&self, reason: &OnceLock<StopReason>) -> StopReason {
        loop {
            // Whatever happens from here on is noticed.
            let news = self.news.notified();
            if let Some(reason) = reason.get() {
                return reason.clone();
            }
            news.await;
        }
    }
}

/// One group.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
    pub(crate) metrics: GroupMetrics,
    pub(crate) applied: AtomicU64,
    pub(crate) view: watch::Sender<View>,
    pub(crate) bell: Bell,
    pub(crate) end: End,
}

impl Shared {
    pub(crate) fn new(node: NodeId, group: GroupId, members: Members, bell: Bell) -> Self {
        Self {
            node,
            group,
            metrics: GroupMetrics::default(),
            applied: AtomicU64::new(0),
            view: watch::Sender::new(View::unknown(members)),
            bell,
            end: End::default(),
        }
    }

    /// The first wish to stop is the one that counts.
    pub(crate) fn ask_to_stop(&self, reason: StopReason) {
        if self.end.ask(reason) {
            self.bell.ring();
        }
    }
}
