//! What the handle, the core loop and the transport see of each other.

use crate::metrics::Metrics;
use consensus_core::{NodeId, Slot, Status};
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;

/// What an observer may know of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What the algorithm says of itself.
    pub status: Status,
    /// The last slot that the state machine has seen.
    pub applied: Slot,
}

/// Why a replica has stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// [`crate::Handle::shutdown`], or the last handle was dropped.
    #[error("it was shut down")]
    Shutdown,
    /// [`crate::Handle::kill`].
    #[error("it was killed")]
    Killed,
    /// The node was removed from its group, for good: it must not come back under this id.
    #[error(
        "this node was removed from its group; remove its directory, and let it join anew as another member"
    )]
    Removed,
    /// It cannot go on: its disk failed, or a defect was caught before it could do harm. A new start is safe once the cause
    /// is removed.
    #[error("{0}")]
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) metrics: Metrics,
    pub(crate) applied: AtomicU64,
    pub(crate) view: watch::Sender<View>,
    asked: watch::Sender<Option<StopReason>>,
    stopped: watch::Sender<Option<StopReason>>,
}

impl Shared {
    pub(crate) fn new(node: NodeId, view: View) -> Self {
        Self {
            node,
            metrics: Metrics::default(),
            applied: AtomicU64::new(view.applied.0),
            view: watch::Sender::new(view),
            asked: watch::Sender::new(None),
            stopped: watch::Sender::new(None),
        }
    }

    /// The first wish to stop is the one that counts.
    pub(crate) fn ask_to_stop(&self, reason: StopReason) {
        self.asked.send_if_modified(|asked| {
            let first = asked.is_none();
            if first {
                *asked = Some(reason);
            }
            first
        });
    }

    /// A receiver that sees the wish to stop.
    pub(crate) fn stop_wishes(&self) -> watch::Receiver<Option<StopReason>> {
        self.asked.subscribe()
    }

    /// Everything is gone: tells all who wait for it.
    pub(crate) fn note_stopped(&self, reason: StopReason) {
        self.ask_to_stop(reason.clone());
        self.stopped.send_replace(Some(reason));
    }

    /// The reason, also while the replica is still on its way down.
    pub(crate) fn reason_so_far(&self) -> StopReason {
        let stopped = self.stopped.borrow().clone();
        stopped.or_else(|| self.asked.borrow().clone()).unwrap_or(StopReason::Shutdown)
    }

    pub(crate) async fn stopped(&self) -> StopReason {
        let mut receiver = self.stopped.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(StopReason::Shutdown),
            // `self` holds the sender, so the channel is open for as long as anybody asks.
            Err(_) => StopReason::Shutdown,
        }
    }
}
