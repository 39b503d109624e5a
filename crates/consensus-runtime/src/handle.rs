//! The door through which an application uses its replica.

use crate::census::Census;
use crate::host::Host;
use crate::mailbox::Mailbox;
use crate::metrics::{MetricsReading, add};
use crate::replicated::{Applied, Replicated, RequestError};
use crate::report::{Report, Statement};
use crate::request::{Answer, Ask, Charge, Gauge, Inbound, Read};
use crate::shared::{Shared, View};
use crate::{Runnable, StopReason, exposition};
use async_trait::async_trait;
use bytes::Bytes;
use consensus_core::{Change, Faults, NodeId, Refusal, Slot, Status};
use prometheus_client::registry::Registry;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// The longest proposal that can be forwarded: a frame, less its head. Algorithms have lower bounds of their own.
const MAX_REQUEST_BYTES: usize = consensus_core::wire::MAX_FRAME_BYTES - 1024;

/// The most inspections at once.
const MOST_INSPECTIONS: usize = 16;

/// A running replica. Clones stand for the same replica; when the last one is dropped, the replica shuts down.
pub struct Handle<A: Runnable> {
    mailbox: Arc<Mailbox<A::Message>>,
    shared: Arc<Shared>,
    gauge: Arc<Gauge>,
    /// Those who look for the cause of something: they need an answer just when nobody else gets one.
    inspections: Arc<Gauge>,
    request_timeout: Duration,
    host: Option<Host>,
    _lifeline: Arc<Lifeline>,
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
            mailbox: Arc::clone(&self.mailbox),
            shared: Arc::clone(&self.shared),
            gauge: Arc::clone(&self.gauge),
            inspections: Arc::clone(&self.inspections),
            request_timeout: self.request_timeout,
            host: self.host.clone(),
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
        mailbox: Arc<Mailbox<A::Message>>,
        gauge: Arc<Gauge>,
        request_timeout: Duration,
        host: Option<Host>,
    ) -> Self {
        let shared = Arc::clone(&mailbox.shared);
        let _lifeline = Arc::new(Lifeline(Arc::clone(&shared)));
        let inspections = Gauge::new(MOST_INSPECTIONS, 0);
        Self { mailbox, shared, gauge, inspections, request_timeout, host, _lifeline }
    }

    /// Who we are.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// The host on which it runs; none in memory.
    #[must_use]
    pub const fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// What the state machine says now, without asking anybody: it may lag behind the group.
    ///
    /// # Errors
    /// Too much is under way, or the node has stopped.
    pub async fn query(&self, request: Bytes) -> Result<Bytes, RequestError> {
        let (answer, reply) = Answer::new(self.charge(request.len())?);
        self.ask(Inbound::Query { request, answer }, reply).await
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

    /// Stops gracefully: requests under way are told, and everything written is durable when it returns; threads and sockets are
    /// gone too if it was started as a [`crate::Replica`]. Returns the reason for which the replica really stopped.
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
        self.shared.end.completed().await
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
        if !self.mailbox.push(inbound) {
            return Err(self.why_stopped());
        }
        let result = reply.await.unwrap_or_else(|_| Err(self.why_stopped()));
        if result.is_err() {
            add(&self.shared.metrics.requests_failed, 1);
        }
        result
    }

    fn why_stopped(&self) -> RequestError {
        RequestError::Stopped(self.shared.end.reason_so_far().to_string())
    }

    async fn decide(&self, ask: Ask, number: Option<u64>) -> Result<Applied, RequestError> {
        if ask.size() > MAX_REQUEST_BYTES {
            return Err(RequestError::Refused(Refusal::TooLarge));
        }
        let (answer, reply) = Answer::new(self.charge(ask.size())?);
        self.ask(Inbound::Propose { ask, number, answer }, reply).await
    }
}

#[async_trait]
impl<A: Runnable> Replicated for Handle<A> {
    async fn propose(&self, payload: Bytes) -> Result<Applied, RequestError> {
        self.decide(Ask::Propose(payload), None).await
    }

    async fn propose_numbered(&self, number: NonZeroU64, payload: Bytes) -> Result<Applied, RequestError> {
        // Elsewhere it would be carried out by each who is asked.
        if !matches!(A::GUARANTEES.faults, Faults::Byzantine) {
            return Err(RequestError::Refused(Refusal::Unsupported));
        }
        self.decide(Ask::Propose(payload), Some(number.get())).await
    }

    async fn barrier(&self) -> Result<Slot, RequestError> {
        let (answer, reply) = Answer::new(self.charge(0)?);
        self.ask(Inbound::Read(Read::Barrier(answer)), reply).await
    }

    async fn read(&self, request: Bytes) -> Result<Bytes, RequestError> {
        let (answer, reply) = Answer::new(self.charge(request.len())?);
        self.ask(Inbound::Read(Read::Query { request, answer }), reply).await
    }

    async fn report(&self) -> Result<Report, RequestError> {
        let charge = self.inspections.charge(0).ok_or(RequestError::Refused(Refusal::Busy))?;
        let (answer, reply) = Answer::new(charge);
        let statement = self.ask(Inbound::Inspect { answer }, reply).await?;
        let (node, group) = (self.shared.node, self.shared.group);
        let host = self.host.as_ref().map(|host| &*host.inner);
        let peers = statement.peers(node, group, host);
        let Statement { algorithm, status, applied, inspection } = statement;
        let (requests, request_bytes) = self.gauge.under_way();
        let metrics = self.metrics();
        Ok(Report {
            node,
            group,
            algorithm,
            status,
            applied,
            inspection,
            requests,
            request_bytes,
            peers,
            metrics,
        })
    }

    fn register(&self, registry: &mut Registry) {
        match &self.host {
            Some(host) => host.register(registry),
            None => exposition::register(registry, Arc::new(Census::of(&self.shared)), None),
        }
    }

    fn status(&self) -> Status {
        self.shared.view.borrow().status.clone()
    }

    fn applied(&self) -> Slot {
        Slot(self.shared.applied.load(Acquire))
    }

    async fn reconfigure(&self, change: Change) -> Result<Applied, RequestError> {
        self.decide(Ask::Reconfigure(change), None).await
    }

    async fn transfer(&self, to: Option<NodeId>) -> Result<(), RequestError> {
        let mut view = self.watch_status();
        let old = view.borrow_and_update().status.leader;
        if to.is_some() && to == old {
            return Ok(());
        }
        if !self.mailbox.push(Inbound::Transfer { to }) {
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
