//! The way in: accepts connections, settles who dials, and turns bytes into events for the core loop.

use crate::Runnable;
use crate::dial::prepare;
use crate::frame::{self, Forward, ForwardReply, Frame, FrameError, Introduction, Kind};
use crate::handshake::{self, Hello, Verdict};
use crate::metrics::add;
use crate::request::{FromPeer, Inbound};
use crate::roster::Roster;
use crate::shared::Shared;
use crate::visit::{self, Visitor};
use bytes::BytesMut;
use consensus_core::wire::{self, MAX_FRAME_BYTES};
use consensus_core::{ClusterId, GroupId, NodeId};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument;

/// The most connections at once, greetings under way included, is this many times the peers.
const CONNECTIONS_PER_MEMBER: usize = 8;
/// How much is read from a socket at once.
const READ_BYTES: usize = 64 << 10;
/// After an error of `accept` that concerns the process (no more file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection needs to know.
pub(crate) struct Reception<A: Runnable> {
    pub(crate) cluster: ClusterId,
    pub(crate) me: NodeId,
    pub(crate) group: GroupId,
    pub(crate) algorithm: A::Config,
    pub(crate) incoming_bytes: usize,
    pub(crate) roster: Arc<Roster>,
    pub(crate) visitors: mpsc::Sender<Visitor>,
    pub(crate) inbox: mpsc::Sender<Inbound<A::Message>>,
    pub(crate) shared: Arc<Shared>,
}

impl<A: Runnable> Reception<A> {
    /// Runs until it is aborted; every connection ends with it.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let reception = self;
        let mut connections = JoinSet::new();
        loop {
            let most = reception.roster.most_connections(CONNECTIONS_PER_MEMBER);
            tokio::select! {
                accepted = listener.accept(), if connections.len() < most => match accepted {
                    Ok((stream, address)) => {
                        connections.spawn(Arc::clone(&reception).serve(stream, address).in_current_span());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    fn judge(&self, hello: Hello) -> Verdict {
        if hello.cluster != self.cluster {
            Verdict::Cluster
        } else if hello == Hello::of_visitor(self.cluster) {
            if self.visitors.capacity() > 0 { Verdict::Welcome } else { Verdict::Busy }
        } else if hello.to != self.me {
            Verdict::NotMe
        } else {
            self.roster.judge(hello.from)
        }
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream, address: SocketAddr) {
        let greeted = match prepare(&stream) {
            Ok(()) => handshake::receive(&mut stream, |hello| self.judge(hello)).await,
            Err(error) => Err(error.into()),
        };
        let from = match greeted {
            Ok(from) => from,
            Err(error) => {
                add(&self.shared.metrics.handshakes_refused, 1);
                tracing::warn!(%address, %error, "refused a connection");
                return;
            }
        };
        if from == NodeId::ZERO {
            return visit::receive(&mut stream, &self.visitors).await;
        }
        tracing::info!(peer = %from, %address, "a peer connected");
        let _presence = self.roster.enter(from);
        if let Some(link) = self.roster.link(from) {
            link.seen.notify_one();
        }
        let ended = tokio::select! {
            ended = self.read_from(from, &mut stream) => ended,
            verdict = self.dismissal(from) => Err(Broken::Dismissed(verdict)),
        };
        match ended {
            Ok(()) => tracing::debug!(peer = %from, "a peer closed its connection"),
            Err(Broken::Dismissed(verdict)) => {
                tracing::info!(peer = %from, "closed a peer's connection, for in our view: {verdict}");
            }
            Err(Broken::Io(error)) => tracing::debug!(peer = %from, %error, "a peer's connection broke"),
            Err(Broken::Frame(error)) => {
                add(&self.shared.metrics.frames_malformed, 1);
                tracing::warn!(peer = %from, %error, "closed a peer's connection");
            }
        }
        // The core loop may be gone already.
        drop(self.inbox.send(Inbound::LinkLost(from)).await);
    }

    /// Completes when this peer is no longer let in.
    async fn dismissal(&self, from: NodeId) -> Verdict {
        let mut changes = self.roster.subscribe();
        loop {
            let verdict = self.roster.judge(from);
            if verdict != Verdict::Welcome {
                return verdict;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn read_from(&self, from: NodeId, stream: &mut TcpStream) -> Result<(), Broken> {
        let credit = Arc::new(Semaphore::new(self.incoming_bytes.min(Semaphore::MAX_PERMITS)));
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
                buffer.reserve(READ_BYTES);
            }
            let count = stream.read_buf(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            add(&self.shared.metrics.bytes_received, count);
            let mut frames = Vec::new();
            let taken = self.decode(from, &buffer, &mut frames);
            // What came intact before a bad frame is handled all the same.
            if !frames.is_empty() {
                add(&self.shared.metrics.frames_received, frames.len());
                let share = buffer.len().min(self.incoming_bytes);
                let share = u32::try_from(share).unwrap_or(u32::MAX);
                let permit = Arc::clone(&credit).acquire_many_owned(share).await.ok();
                if self.inbox.send(Inbound::Peer { from, frames, permit }).await.is_err() {
                    return Ok(());
                }
            }
            buffer = keep(buffer, taken?);
        }
    }

    /// Decodes every complete frame; how many bytes they take.
    fn decode(
        &self,
        from: NodeId,
        bytes: &[u8],
        frames: &mut Vec<FromPeer<A::Message>>,
    ) -> Result<usize, FrameError> {
        let mut taken = 0;
        while let Some((frame, size)) = frame::read(bytes.get(taken..).unwrap_or_default())? {
            taken += size;
            if frame.sender != from {
                return Err(FrameError::Sender { claimed: frame.sender, owner: from });
            }
            if frame.group == self.group {
                frames.extend(self.decode_body(from, frame)?);
            } else {
                tracing::debug!(peer = %from, group = %frame.group, "a frame for a group that is not here");
            }
        }
        Ok(taken)
    }

    /// `None` for a message that was screened out: its sender may lie, but its frames are well.
    fn decode_body(
        &self,
        from: NodeId,
        frame: Frame<'_>,
    ) -> Result<Option<FromPeer<A::Message>>, FrameError> {
        Ok(match frame.kind {
            Kind::Message => {
                let message = wire::decode(frame.body, MAX_FRAME_BYTES)?;
                match A::screen(&self.algorithm, from, &message) {
                    Ok(()) => Some(FromPeer::Message(message)),
                    Err(offence) => {
                        add(&self.shared.metrics.accusations, 1);
                        tracing::warn!(peer = %from, ?offence, "dropped a message that breaks the protocol");
                        None
                    }
                }
            }
            Kind::Forward => Some(FromPeer::Forward(wire::decode::<Forward>(frame.body, MAX_FRAME_BYTES)?)),
            Kind::ForwardReply => {
                Some(FromPeer::ForwardReply(wire::decode::<ForwardReply>(frame.body, MAX_FRAME_BYTES)?))
            }
            Kind::Introduction => {
                let Introduction { addresses } = wire::decode(frame.body, MAX_FRAME_BYTES)?;
                self.roster.introduce(from, addresses);
                None
            }
            // No node asks another one questions.
            Kind::Question | Kind::Answer => return Err(FrameError::Kind(frame.kind as u8)),
        })
    }
}

/// What is left after `taken` bytes. A buffer that one large frame has swollen is given back.
fn keep(mut buffer: BytesMut, taken: usize) -> BytesMut {
    if taken < buffer.len() {
        let _ = buffer.split_to(taken);
        return buffer;
    }
    if buffer.capacity() > 4 * READ_BYTES {
        return BytesMut::with_capacity(READ_BYTES);
    }
    buffer.clear();
    buffer
}

#[derive(Debug)]
enum Broken {
    Io(io::Error),
    Frame(FrameError),
    /// We turned the peer away.
    Dismissed(Verdict),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}
