//! The way out: one queue and one connection per peer.
//!
//! The core loop encodes into a burst buffer of each peer and, at the end of the burst, writes it to the socket itself: one
//! system call, no other task woken. Only what the socket does not take at once goes to the queue, which the peer's
//! [`crate::dial`] task drains. What finds no connection or no room is dropped and counted: protocols send again.
//!
//! Invariant: bytes reach a socket in the order in which they were encoded, and never from the middle of a frame: a
//! connection starts with an empty queue, and ends with it.

use crate::address::PeerAddress;
use crate::frame::{self, Forward, ForwardReply, Kind};
use crate::metrics::add;
use crate::roster::Roster;
use crate::shared::Shared;
use consensus_core::wire::WireError;
use consensus_core::{GroupId, Members, Network, NodeId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A queue above this is given back once it is empty.
const KEPT_BYTES: usize = 1 << 20;

/// What the core loop and the peer's dial task share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    /// Where it may be found; tried in turn. At least one.
    pub(crate) addresses: Vec<PeerAddress>,
    /// Something is left for the dial task: a queue, or a connection that broke.
    pub(crate) backlog: Notify,
    /// The peer has just dialled us, so it is there: an attempt is worth while.
    pub(crate) seen: Notify,
    up: AtomicBool,
    queued: AtomicUsize,
    state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
struct LinkState {
    stream: Option<Arc<TcpStream>>,
    /// What the socket did not take yet, from `sent` on.
    queue: Vec<u8>,
    sent: usize,
}

impl Link {
    pub(crate) fn new(peer: NodeId, addresses: Vec<PeerAddress>) -> Self {
        Self {
            peer,
            addresses,
            backlog: Notify::new(),
            seen: Notify::new(),
            up: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// Frames go out on `stream` from now on.
    pub(crate) fn connect(&self, stream: Arc<TcpStream>) {
        let mut state = self.lock();
        *state = LinkState { stream: Some(stream), ..LinkState::default() };
        self.queued.store(0, Ordering::Relaxed);
        self.up.store(true, Ordering::Release);
    }

    /// The connection is gone, and what waited for it.
    pub(crate) fn disconnect(&self) {
        let mut state = self.lock();
        self.up.store(false, Ordering::Release);
        self.queued.store(0, Ordering::Relaxed);
        *state = LinkState::default();
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Writes as much of the queue as the socket takes. True if nothing is left.
    pub(crate) fn drain(&self, shared: &Shared) -> io::Result<bool> {
        let mut state = self.lock();
        let LinkState { stream, queue, sent } = &mut *state;
        let Some(stream) = stream else { return Err(io::ErrorKind::NotConnected.into()) };
        *sent += write_some(stream, queue.get(*sent..).unwrap_or_default(), shared)?;
        self.queued.store(queue.len() - *sent, Ordering::Relaxed);
        if *sent < queue.len() {
            return Ok(false);
        }
        queue.clear();
        queue.shrink_to(KEPT_BYTES);
        *sent = 0;
        Ok(true)
    }

    /// Sends a burst, at once if nothing waits before it. `burst` is empty afterwards.
    fn transmit(&self, burst: &mut Vec<u8>, shared: &Shared) {
        let mut state = self.lock();
        let LinkState { stream, queue, sent } = &mut *state;
        if let Some(stream) = stream {
            let waiting = queue.len() > *sent;
            let written = if waiting { Ok(0) } else { write_some(stream, burst, shared) };
            match written {
                Ok(written) if written == burst.len() => {}
                Ok(written) => {
                    queue.extend_from_slice(burst.get(written..).unwrap_or_default());
                    self.queued.store(queue.len() - *sent, Ordering::Relaxed);
                    if !waiting {
                        self.backlog.notify_one();
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "writing to a peer failed");
                    self.up.store(false, Ordering::Release);
                    *state = LinkState::default();
                    self.backlog.notify_one();
                }
            }
        }
        burst.clear();
        burst.shrink_to(KEPT_BYTES);
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until the socket takes no more; how much it took.
fn write_some(stream: &TcpStream, bytes: &[u8], shared: &Shared) -> io::Result<usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.try_write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                written += count;
                add(&shared.metrics.socket_writes, 1);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    add(&shared.metrics.bytes_sent, written);
    Ok(written)
}

/// What the core loop needs of its way out beyond the messages of the algorithm.
pub(crate) trait Outgoing<M>: Network<M> {
    /// Whether there is a connection to `peer`.
    fn is_up(&self, peer: NodeId) -> bool;
    /// Queues a client's request for `to`. False if it was dropped: it will certainly not arrive.
    fn forward(&mut self, to: NodeId, forward: Forward) -> bool;
    /// Queues the answer to such a request. False if it was dropped.
    fn reply(&mut self, to: NodeId, reply: ForwardReply) -> bool;
    /// The end of a burst: what is queued leaves.
    fn transmit(&mut self);
    /// These are the members from now on.
    fn follow(&mut self, members: &Members);
}

/// The outbox of one group.
#[derive(Debug)]
pub(crate) struct PeerNetwork {
    me: NodeId,
    group: GroupId,
    most_queued: usize,
    roster: Arc<Roster>,
    /// The links of the roster, as of its generation `seen`.
    routes: BTreeMap<NodeId, Route>,
    seen: u64,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Route {
    link: Arc<Link>,
    /// What this burst has for the peer.
    burst: Vec<u8>,
}

impl PeerNetwork {
    pub(crate) fn new(
        me: NodeId,
        group: GroupId,
        most_queued: usize,
        roster: Arc<Roster>,
        shared: Arc<Shared>,
    ) -> Self {
        // Older than any generation: the first message looks.
        let (routes, seen) = (BTreeMap::new(), 0);
        Self { me, group, most_queued, roster, routes, seen, shared }
    }

    /// Takes over the links of the roster, if they have changed.
    fn look_at_roster(&mut self) {
        let generation = self.roster.generation();
        if generation == self.seen {
            return;
        }
        self.seen = generation;
        let links = self.roster.links();
        self.routes.retain(|peer, route| links.get(peer).is_some_and(|link| Arc::ptr_eq(link, &route.link)));
        for (peer, link) in links {
            self.routes.entry(peer).or_insert_with(|| Route { link, burst: Vec::new() });
        }
    }

    /// Encodes a frame for `peer`. False if it was dropped: it will certainly not arrive.
    fn post<T: Serialize>(&mut self, peer: NodeId, kind: Kind, body: &T) -> bool {
        let posted = self.try_post(peer, kind, body);
        let counter =
            if posted { &self.shared.metrics.frames_sent } else { &self.shared.metrics.frames_dropped };
        add(counter, 1);
        posted
    }

    fn try_post<T: Serialize>(&mut self, peer: NodeId, kind: Kind, body: &T) -> bool {
        self.look_at_roster();
        let Some(route) = self.routes.get_mut(&peer) else { return false };
        if !route.link.is_up() {
            return false;
        }
        let before = route.burst.len();
        match frame::write(&mut route.burst, kind, self.group, self.me, body) {
            Ok(_) => {}
            Err(error @ (WireError::TooLong { .. } | WireError::Malformed(_) | WireError::Trailing(_))) => {
                tracing::error!(%peer, %error, "a frame is over the bound: the algorithm must cut its batches");
                return false;
            }
            Err(error) => {
                tracing::error!(%peer, %error, "a frame cannot be encoded");
                return false;
            }
        }
        if route.link.queued.load(Ordering::Relaxed) + route.burst.len() > self.most_queued {
            route.burst.truncate(before);
            return false;
        }
        true
    }
}

impl<M: Serialize> Outgoing<M> for PeerNetwork {
    fn is_up(&self, peer: NodeId) -> bool {
        match self.routes.get(&peer) {
            Some(route) => route.link.is_up(),
            None => self.roster.link(peer).is_some_and(|link| link.is_up()),
        }
    }

    fn forward(&mut self, to: NodeId, forward: Forward) -> bool {
        self.post(to, Kind::Forward, &forward)
    }

    fn reply(&mut self, to: NodeId, reply: ForwardReply) -> bool {
        self.post(to, Kind::ForwardReply, &reply)
    }

    /// Hands every burst to its socket.
    fn transmit(&mut self) {
        self.look_at_roster();
        for route in self.routes.values_mut() {
            if !route.burst.is_empty() {
                route.link.transmit(&mut route.burst, &self.shared);
            }
        }
    }

    fn follow(&mut self, members: &Members) {
        self.roster.follow(members);
    }
}

/// The end of a burst is the core loop's to say ([`Outgoing::transmit`]): it still has replies to put into it.
impl<M: Serialize> Network<M> for PeerNetwork {
    fn send(&mut self, to: NodeId, message: M) {
        self.post(to, Kind::Message, &message);
    }
}
