//! What reaches a group, and how much of it may be under way.

use crate::credit::Held;
use crate::frame::{Forward, ForwardReply};
use crate::replicated::{Applied, RequestError};
use crate::report::Statement;
use bytes::Bytes;
use consensus_core::{Change, Event, NodeId, Slot};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::oneshot;

/// What a group is to handle, in the order in which it came.
#[derive(Debug)]
pub(crate) enum Inbound<M> {
    /// What one read from a peer's socket brought. `held` bounds what waits, and is given back when it was handled.
    Peer { from: NodeId, frames: Vec<FromPeer<M>>, held: Held },
    /// One of our own clients asks for something to be decided, perhaps under a number that it has drawn itself.
    Propose { ask: Ask, number: Option<u64>, answer: Answer<Applied> },
    /// One of our own clients asks for a linearizable read.
    Read(Read),
    /// One of our own clients asks for what the state machine says now.
    Query { request: Bytes, answer: Answer<Bytes> },
    /// Somebody looks for the cause of something.
    Inspect { answer: Answer<Statement> },
    /// A snapshot of ours is written out.
    Snapshot(Event<M>),
    /// Somebody, perhaps a peer's client, asks for leadership to be handed over.
    Transfer { to: Option<NodeId> },
}

impl<M> Inbound<M> {
    /// How many events it brings.
    pub(crate) const fn size(&self) -> usize {
        match self {
            Self::Peer { frames, .. } => frames.len(),
            Self::Propose { .. }
            | Self::Read(_)
            | Self::Query { .. }
            | Self::Inspect { .. }
            | Self::Snapshot(_)
            | Self::Transfer { .. } => 1,
        }
    }
}

/// A frame of a peer, decoded.
#[derive(Debug)]
pub(crate) enum FromPeer<M> {
    Message(M),
    Forward(Forward),
    ForwardReply(ForwardReply),
}

/// What a client wants to be decided. It travels to the leader in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Propose(Bytes),
    Reconfigure(Change),
    Transfer(Option<NodeId>),
}

impl Ask {
    pub(crate) fn payload(&self) -> &[u8] {
        match self {
            Self::Propose(payload) => payload,
            Self::Reconfigure(_) | Self::Transfer(_) => &[],
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.payload().len()
    }
}

/// A linearizable read: a barrier, and perhaps a question to the state machine behind it.
#[derive(Debug)]
pub(crate) enum Read {
    Barrier(Answer<Slot>),
    Query { request: Bytes, answer: Answer<Bytes> },
}

impl Read {
    pub(crate) fn fail(self, error: RequestError) {
        match self {
            Self::Barrier(answer) => answer.give(Err(error)),
            Self::Query { answer, .. } => answer.give(Err(error)),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Barrier(answer) => answer.is_cancelled(),
            Self::Query { answer, .. } => answer.is_cancelled(),
        }
    }
}

/// Where the answer to a request goes. Dropping it unanswered tells the client that the node has stopped.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    sender: oneshot::Sender<Result<T, RequestError>>,
    _charge: Charge,
}

impl<T> Answer<T> {
    pub(crate) fn new(charge: Charge) -> (Self, oneshot::Receiver<Result<T, RequestError>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender, _charge: charge }, receiver)
    }

    pub(crate) fn give(self, result: Result<T, RequestError>) {
        // A client that went away does not want it any more.
        drop(self.sender.send(result));
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.sender.is_closed()
    }
}

/// How many requests, and how many bytes of them, are under way.
#[derive(Debug)]
pub(crate) struct Gauge {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    most_requests: usize,
    most_bytes: usize,
}

impl Gauge {
    pub(crate) fn new(most_requests: usize, most_bytes: usize) -> Arc<Self> {
        let (requests, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { requests, bytes, most_requests, most_bytes })
    }

    /// How many requests, and how many bytes of them, are under way.
    pub(crate) fn under_way(&self) -> (usize, usize) {
        (self.requests.load(Relaxed), self.bytes.load(Relaxed))
    }

    /// Counts one more request; `None` if that is more than the bound. A single request always fits the bound on bytes.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let requests = self.requests.fetch_add(1, Relaxed) + 1;
        let total = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        let charge = Charge { gauge: Arc::clone(self), bytes };
        let fits = requests <= self.most_requests && (total <= self.most_bytes || requests == 1);
        fits.then_some(charge)
    }
}

/// One request's share of a [`Gauge`], given back on drop.
#[derive(Debug)]
pub(crate) struct Charge {
    gauge: Arc<Gauge>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.gauge.requests.fetch_sub(1, Relaxed);
        self.gauge.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauge_refuses_beyond_its_bounds_and_recovers() {
        let gauge = Gauge::new(2, 100);
        let first = gauge.charge(500).expect("a single request always fits");
        assert!(gauge.charge(1).is_none(), "over the bytes");
        drop(first);
        let held = [gauge.charge(10), gauge.charge(10)];
        assert!(held.iter().all(Option::is_some));
        assert!(gauge.charge(0).is_none(), "over the count");
        drop(held);
        assert!(gauge.charge(100).is_some(), "everything was given back");
    }
}
