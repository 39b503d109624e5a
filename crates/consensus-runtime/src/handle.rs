//! The door through which an application uses its replica.

use crate::book::{Book, Peers};
use crate::journal::Keeper;
use crate::metrics::{MetricsReading, add};
use crate::replicated::{Applied, Replicated, RequestError};
use crate::request::{Answer, Ask, Charge, Gauge, Inbound, Read};
use crate::roster::Roster;
use crate::shared::{Shared, View};
use crate::visit::Visitor;
use crate::{Runnable, StopReason};
use async_trait::async_trait;
use bytes::Bytes;
use consensus_core::{Change, Members, NodeId, Refusal, Slot, Status};
use std::sync::atomic::Ordering::Acquire;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

/// The longest proposal that can be forwarded: a frame, less its head. Algorithms have lower bounds of their own.
const MAX_REQUEST_BYTES: usize = consensus_core::wire::MAX_FRAME_BYTES - 1024;

/// A running replica. Clones stand for the same replica; when the last one is dropped, the replica shuts down.
pub struct Handle<A: Runnable> {
    inbox: mpsc::Sender<Inbound<A::Message>>,
    shared: Arc<Shared>,
    gauge: Arc<Gauge>,
    request_timeout: Duration,
    ground: Option<Arc<Ground>>,
    _lifeline: Arc<Lifeline>,
}

/// What a replica on sockets and a disk stands on; one in memory has none of it.
pub(crate) struct Ground {
    pub(crate) incarnation: u64,
    pub(crate) birth: Members,
    pub(crate) roster: Arc<Roster>,
    /// One at a time: the note on the disk is never older than what was told before.
    pub(crate) keeper: Mutex<Keeper>,
    pub(crate) visitors: std::sync::Mutex<Option<mpsc::Receiver<Visitor>>>,
}

/// Ends the replica when the last handle goes.
struct Lifeline(Arc<Shared>);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.ask_to_stop(StopReason::Shutdown);
    }
}

impl<A: Runnable> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self {
            inbox: self.inbox.clone(),
            shared: Arc::clone(&self.shared),
            gauge: Arc::clone(&self.gauge),
            request_timeout: self.request_timeout,
            ground: self.ground.clone(),
            _lifeline: Arc::clone(&self._lifeline),
        }
    }
}

impl<A: Runnable> std::fmt::Debug for Handle<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

impl<A: Runnable> Handle<A> {
    pub(crate) fn new(
        inbox: mpsc::Sender<Inbound<A::Message>>,
        shared: Arc<Shared>,
        gauge: Arc<Gauge>,
        request_timeout: Duration,
        ground: Option<Ground>,
    ) -> Self {
        let _lifeline = Arc::new(Lifeline(Arc::clone(&shared)));
        Self { inbox, shared, gauge, request_timeout, ground: ground.map(Arc::new), _lifeline }
    }

    /// Who we are.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// What the state machine says now, without asking anybody: it may lag behind the group.
    ///
    /// # Errors
    /// Too much is under way, or the node has stopped.
    pub async fn query(&self, request: Bytes) -> Result<Bytes, RequestError> {
        let (answer, reply) = Answer::new(self.charge(request.len())?);
        self.ask(Inbound::Query { request, answer }, reply).await
    }

    /// What distinguishes this node from one that has lost its disk ([`crate::ReplicaConfig::incarnation`]); zero in memory.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.ground.as_ref().map_or(0, |ground| ground.incarnation)
    }

    /// Says where the nodes of the group listen, and which were removed for good: links are made, moved and closed
    /// accordingly. It is remembered when this returns. What is older than what was said before is ignored. A replica that is
    /// told that it was removed itself stops ([`StopReason::Removed`]) and does not start again.
    ///
    /// # Errors
    /// There are more addresses than the bounds of [`Peers`] allow, or the replica has stopped.
    pub async fn set_peers(&self, peers: Peers) -> Result<(), RequestError> {
        if !peers.is_bounded() {
            return Err(RequestError::Refused(Refusal::TooLarge));
        }
        let Some(ground) = &self.ground else { return Ok(()) };
        let keeper = ground.keeper.lock().await;
        if !ground.roster.update(peers.clone()) {
            return Ok(());
        }
        let (incarnation, birth) = (ground.incarnation, ground.birth.clone());
        let is_kept = keeper.keep(Book { incarnation, birth, peers }.encode()).await;
        if ground.roster.has_removed_us() {
            self.shared.ask_to_stop(StopReason::Removed);
        }
        if is_kept { Ok(()) } else { Err(self.why_stopped()) }
    }

    /// Who asks this replica's application something from outside ([`crate::visit`]). The first call gets them; nobody else
    /// does, and nobody in memory.
    #[must_use]
    pub fn take_visitors(&self) -> Option<mpsc::Receiver<Visitor>> {
        let visitors = &self.ground.as_ref()?.visitors;
        visitors.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A view that follows the replica: status and the last applied slot, after each burst that changed them.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<View> {
        self.shared.view.subscribe()
    }

    /// Every counter.
    #[must_use]
    pub fn metrics(&self) -> MetricsReading {
        self.shared.metrics.read()
    }

    /// Stops gracefully: requests under way are told, everything written is made durable, the threads and sockets are gone
    /// when it returns. Returns the reason for which the replica really stopped.
    pub async fn shutdown(&self) -> StopReason {
        self.shared.ask_to_stop(StopReason::Shutdown);
        self.stopped().await
    }

    /// Stops as a crash would: at once, without a last flush. What was not yet durable may be lost, and nothing else.
    pub async fn kill(&self) -> StopReason {
        self.shared.ask_to_stop(StopReason::Killed);
        self.stopped().await
    }

    /// Waits until the replica has stopped, and says why.
    pub async fn stopped(&self) -> StopReason {
        self.shared.stopped().await
    }

    fn charge(&self, bytes: usize) -> Result<Charge, RequestError> {
        self.gauge.charge(bytes).ok_or_else(|| {
            add(&self.shared.metrics.requests_failed, 1);
            RequestError::Refused(Refusal::Busy)
        })
    }

    async fn ask<T>(
        &self,
        inbound: Inbound<A::Message>,
        reply: oneshot::Receiver<Result<T, RequestError>>,
    ) -> Result<T, RequestError> {
        if self.inbox.send(inbound).await.is_err() {
            return Err(self.why_stopped());
        }
        let result = reply.await.unwrap_or_else(|_| Err(self.why_stopped()));
        if result.is_err() {
            add(&self.shared.metrics.requests_failed, 1);
        }
        result
    }

    fn why_stopped(&self) -> RequestError {
        RequestError::Stopped(self.shared.reason_so_far().to_string())
    }

    async fn decide(&self, ask: Ask) -> Result<Applied, RequestError> {
        if ask.size() > MAX_REQUEST_BYTES {
            return Err(RequestError::Refused(Refusal::TooLarge));
        }
        let (answer, reply) = Answer::new(self.charge(ask.size())?);
        self.ask(Inbound::Propose { ask, answer }, reply).await
    }
}

#[async_trait]
impl<A: Runnable> Replicated for Handle<A> {
    async fn propose(&self, payload: Bytes) -> Result<Applied, RequestError> {
        self.decide(Ask::Propose(payload)).await
    }

    async fn barrier(&self) -> Result<Slot, RequestError> {
        let (answer, reply) = Answer::new(self.charge(0)?);
        self.ask(Inbound::Read(Read::Barrier(answer)), reply).await
    }

    async fn read(&self, request: Bytes) -> Result<Bytes, RequestError> {
        let (answer, reply) = Answer::new(self.charge(request.len())?);
        self.ask(Inbound::Read(Read::Query { request, answer }), reply).await
    }

    fn status(&self) -> Status {
        self.shared.view.borrow().status.clone()
    }

    fn applied(&self) -> Slot {
        Slot(self.shared.applied.load(Acquire))
    }

    async fn reconfigure(&self, change: Change) -> Result<Applied, RequestError> {
        self.decide(Ask::Reconfigure(change)).await
    }

    async fn transfer(&self, to: Option<NodeId>) -> Result<(), RequestError> {
        let mut view = self.watch_status();
        let old = view.borrow_and_update().status.leader;
        if to.is_some() && to == old {
            return Ok(());
        }
        if self.inbox.send(Inbound::Transfer { to }).await.is_err() {
            return Err(self.why_stopped());
        }
        let arrived = view.wait_for(|view| match (view.status.leader, to) {
            (Some(leader), Some(wished)) => leader == wished,
            (Some(leader), None) => Some(leader) != old,
            (None, _) => false,
        });
        match tokio::time::timeout(self.request_timeout, arrived).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.why_stopped()),
            Err(_) => Err(RequestError::TimedOut),
        }
    }
}
