//! The way to a peer: one connection for the frames of all groups.
//!
//! Groups encode their frames into one burst per peer; at the end of a round their lane writes it to the socket itself: one
//! system call, no other task woken. Only what the socket does not take at once goes to the [`Backlog`], which the peer's
//! [`crate::dial`] task drains, turn by turn. What finds no connection or no room is dropped and counted: protocols send again.
//!
//! Invariant: bytes reach a socket in whole frames, and those of one group in the order in which they were encoded: a connection
//! starts with nothing waiting, and what waits ends with it.

use crate::address::PeerAddress;
use crate::backlog::Backlog;
use crate::frame::{self, Kind};
use crate::metrics::{HostMetrics, add};
use crate::presence::Presence;
use consensus_core::wire::WireError;
use consensus_core::{GroupId, NodeId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// A buffer above this is given back once it is empty.
const KEPT_BYTES: usize = 256 << 10;
/// A burst that has grown to this does not wait for the end of the round.
const LONG_BURST_BYTES: usize = 256 << 10;

/// The links of a host at one time.
pub(crate) type Table = BTreeMap<NodeId, Arc<Link>>;

/// The links of a host, as they come and go.
#[derive(Debug, Default)]
pub(crate) struct Links {
    table: Mutex<Arc<Table>>,
    /// Counts the tables.
    version: AtomicU64,
}

/// The links as somebody who looks often saw them last.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    version: u64,
    table: Arc<Table>,
}

/// What the groups, the lanes and the peer's dial task share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    /// Where it listens, as far as is known: tried in turn.
    pub(crate) addresses: watch::Sender<Vec<PeerAddress>>,
    /// Something is left for the dial task: a backlog, or a connection that broke.
    pub(crate) backlog: Notify,
    /// The peer has just dialled us, so it is there: an attempt is worth while.
    pub(crate) seen: Notify,
    pub(crate) presence: Presence,
    me: NodeId,
    /// The most bytes that wait.
    most_waiting: usize,
    metrics: Arc<HostMetrics>,
    is_up: AtomicBool,
    has_burst: AtomicBool,
    state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
struct LinkState {
    stream: Option<Arc<TcpStream>>,
    /// What this round has for the peer.
    burst: Vec<u8>,
    /// What is being written, from `sent` on.
    current: Vec<u8>,
    sent: usize,
    waiting: Backlog,
}

impl Links {
    /// Those that there are now.
    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.lock())
    }

    pub(crate) fn get(&self, peer: NodeId) -> Option<Arc<Link>> {
        self.lock().get(&peer).map(Arc::clone)
    }

    /// These there are from now on.
    pub(crate) fn replace(&self, table: Table) {
        *self.lock() = Arc::new(table);
        self.version.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Table>> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Routes {
    /// Those that there are now.
    pub(crate) fn look(&mut self, links: &Links) -> &Table {
        let version = links.version.load(Ordering::Acquire);
        if self.version != version {
            *self = Self { version, table: links.table() };
        }
        &self.table
    }

    /// The end of a round: what was posted leaves.
    pub(crate) fn transmit(&mut self, links: &Links) {
        for link in self.look(links).values().filter(|link| link.has_burst.load(Ordering::Acquire)) {
            link.transmit();
        }
    }
}

impl Link {
    pub(crate) fn new(
        me: NodeId,
        peer: NodeId,
        addresses: Vec<PeerAddress>,
        most_waiting: usize,
        metrics: Arc<HostMetrics>,
    ) -> Self {
        Self {
            peer,
            addresses: watch::Sender::new(addresses),
            backlog: Notify::new(),
            seen: Notify::new(),
            presence: Presence::default(),
            me,
            most_waiting,
            metrics,
            is_up: AtomicBool::new(false),
            has_burst: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The peer listens there from now on.
    pub(crate) fn relocate(&self, addresses: Vec<PeerAddress>) {
        self.addresses.send_if_modified(|known| {
            let is_news = *known != addresses;
            *known = addresses;
            is_news
        });
    }

    /// Frames go out on `stream` from now on.
    pub(crate) fn connect(&self, stream: Arc<TcpStream>) {
        *self.lock() = LinkState { stream: Some(stream), ..LinkState::default() };
        self.is_up.store(true, Ordering::Release);
    }

    /// The connection is gone, and what waited for it.
    pub(crate) fn disconnect(&self) {
        self.let_go(&mut self.lock());
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// How much waits to be sent.
    pub(crate) fn queued_bytes(&self) -> usize {
        let state = self.lock();
        state.burst.len() + (state.current.len() - state.sent) + state.waiting.bytes()
    }

    /// Encodes a frame, to leave at the end of the round. False if it was dropped: it will certainly not arrive.
    pub(crate) fn post<T: Serialize>(&self, kind: Kind, group: GroupId, body: &T) -> bool {
        if !self.is_up() {
            return false;
        }
        let mut state = self.lock();
        let LinkState { stream: Some(_), burst, waiting, .. } = &mut *state else { return false };
        let before = burst.len();
        let size = match frame::write(burst, kind, group, self.me, body) {
            Ok(size) => size,
            Err(error @ (WireError::TooLong { .. } | WireError::Malformed(_) | WireError::Trailing(_))) => {
                tracing::error!(peer = %self.peer, %group, %error, "a frame is over the bound: the algorithm must cut its batches");
                return false;
            }
            Err(error) => {
                tracing::error!(peer = %self.peer, %group, %error, "a frame cannot be encoded");
                return false;
            }
        };
        if !waiting.admits(group, size, self.most_waiting) {
            burst.truncate(before);
            return false;
        }
        if burst.len() >= LONG_BURST_BYTES {
            self.write_burst(&mut state);
        } else {
            self.has_burst.store(true, Ordering::Release);
        }
        true
    }

    /// Writes as much of what waits as the socket takes. True if nothing is left.
    pub(crate) fn drain(&self) -> io::Result<bool> {
        let mut state = self.lock();
        let LinkState { stream: Some(stream), current, sent, waiting, .. } = &mut *state else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        loop {
            if *sent == current.len() {
                current.clear();
                *sent = 0;
                if !waiting.next(current) {
                    current.shrink_to(KEPT_BYTES);
                    return Ok(true);
                }
            }
            *sent += self.write_some(stream, current.get(*sent..).unwrap_or_default())?;
            if *sent < current.len() {
                return Ok(false);
            }
        }
    }

    /// What was posted leaves.
    pub(crate) fn transmit(&self) {
        self.write_burst(&mut self.lock());
    }

    /// Writes the burst, at once if nothing waits before it. It is empty afterwards.
    fn write_burst(&self, state: &mut LinkState) {
        self.has_burst.store(false, Ordering::Release);
        let LinkState { stream, burst, current, sent, waiting } = &mut *state;
        let Some(stream) = stream else { return burst.clear() };
        let is_clear = *sent == current.len() && waiting.is_empty();
        let written = if is_clear { self.write_some(stream, burst) } else { Ok(0) };
        match written {
            Ok(written) if written < burst.len() => {
                // The frame that was cut goes on; those behind it wait for their turns.
                let ends = frame::split(burst).scan(0, |end, piece| {
                    *end += piece.bytes.len();
                    Some(*end)
                });
                let end = if written == 0 { Some(0) } else { ends.into_iter().find(|&end| end >= written) };
                let end = end.unwrap_or(burst.len());
                if is_clear {
                    current.clear();
                    current.extend_from_slice(burst.get(written..end).unwrap_or_default());
                    *sent = 0;
                }
                waiting.push(burst.get(end..).unwrap_or_default());
                if is_clear {
                    self.backlog.notify_one();
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "writing to a peer failed");
                return self.let_go(state);
            }
        }
        state.burst.clear();
        state.burst.shrink_to(KEPT_BYTES);
    }

    fn let_go(&self, state: &mut LinkState) {
        self.is_up.store(false, Ordering::Release);
        self.has_burst.store(false, Ordering::Release);
        *state = LinkState::default();
        self.backlog.notify_one();
    }

    /// Writes until the socket takes no more; how much it took.
    fn write_some(&self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match stream.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    add(&self.metrics.socket_writes, 1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        add(&self.metrics.bytes_sent, written);
        Ok(written)
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
