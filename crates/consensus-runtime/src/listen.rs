//! The way in: accepts connections, settles who dials, and brings frames to the doors of their groups.

use crate::contacts::Stay;
use crate::credit::{Account, Credit};
use crate::dial::prepare;
use crate::door::Door;
use crate::enquiry;
use crate::frame::{self, FrameError, Kind};
use crate::handshake::{self, Hello, Verdict};
use crate::host::Inner;
use crate::link::Link;
use crate::metrics::add;
use bytes::BytesMut;
use consensus_core::{GroupId, NodeId};
use rustc_hash::FxHashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::Instrument;

/// The most connections at once, greetings under way included, is this many times the peers.
const CONNECTIONS_PER_PEER: usize = 8;
/// How much is read from a socket at once.
const READ_BYTES: usize = 64 << 10;
/// After an error of `accept` that concerns the process (no more file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers at our address.
#[derive(Clone)]
pub(crate) struct Reception(pub(crate) Arc<Inner>);

impl Reception {
    /// Runs until it is aborted; every connection ends with it.
    pub(crate) async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let most = self.0.contacts.most_connections(CONNECTIONS_PER_PEER);
            tokio::select! {
                accepted = listener.accept(), if connections.len() < most => match accepted {
                    Ok((stream, address)) => {
                        connections.spawn(self.clone().serve(stream, address).in_current_span());
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

    /// Lets a peer in. Who is no node, and has a question, needs no more than a welcome.
    fn admit(&self, hello: Hello) -> Result<Option<Stay>, Verdict> {
        let host = &self.0;
        if hello.cluster != host.config.cluster {
            Err(Verdict::Cluster)
        } else if hello == Hello::of_enquirer(host.config.cluster) {
            if host.enquiries.capacity() > 0 { Ok(None) } else { Err(Verdict::Busy) }
        } else if hello.to != host.config.node {
            Err(Verdict::NotMe)
        } else {
            host.contacts.admit(hello.from, || host.registry.standing(hello.from)).map(Some)
        }
    }

    async fn serve(self, mut stream: TcpStream, address: SocketAddr) {
        let greeted = match prepare(&stream) {
            Ok(()) => handshake::receive(&mut stream, |hello| self.admit(hello)).await,
            Err(error) => Err(error.into()),
        };
        let stay = match greeted {
            Ok(Some(stay)) => stay,
            Ok(None) => return enquiry::receive(&mut stream, &self.0.enquiries).await,
            Err(error) => {
                add(&self.0.metrics.handshakes_refused, 1);
                tracing::warn!(%address, %error, "refused a connection");
                return;
            }
        };
        let (host, link) = (&self.0, &stay.link);
        let from = link.peer;
        tracing::info!(peer = %from, %address, "a peer connected");
        let visit = host.on_visit(link);
        let ended = tokio::select! {
            ended = self.read_from(link, visit, &mut stream) => ended,
            () = host.contacts.removal(from) => Err(Broken::Removed),
        };
        match ended {
            Err(Broken::Removed) => {
                tracing::info!(peer = %from, "closed the connection of a node that was removed")
            }
            Ok(()) => tracing::debug!(peer = %from, "a peer closed its connection"),
            Err(Broken::Io(error)) => tracing::debug!(peer = %from, %error, "a peer's connection broke"),
            Err(Broken::Frame(error)) => {
                add(&host.metrics.frames_malformed, 1);
                tracing::warn!(peer = %from, %error, "closed a peer's connection");
            }
        }
        host.on_visit_over(link, visit);
    }

    async fn read_from(&self, link: &Arc<Link>, visit: u64, stream: &mut TcpStream) -> Result<(), Broken> {
        let host = &self.0;
        let credit = Credit::new(host.config.limits.incoming_bytes);
        let mut lines = Lines { link: Arc::clone(link), visit, credit, lines: FxHashMap::default() };
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
                buffer.reserve(READ_BYTES);
            }
            let count = stream.read_buf(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            add(&host.metrics.bytes_received, count);
            add(&host.metrics.socket_reads, 1);
            link.presence.hear(host.clock.now());
            // What came intact before a bad frame is handled all the same.
            let (sound, end) = check(link.peer, &buffer);
            lines.deliver(host, buffer.get(..sound).unwrap_or_default()).await?;
            end?;
            buffer = keep(buffer, sound);
        }
    }
}

/// How many bytes of whole and sound frames there are, and what is wrong with what follows, if anything is.
fn check(from: NodeId, bytes: &[u8]) -> (usize, Result<(), FrameError>) {
    let mut sound = 0;
    loop {
        match frame::read(bytes.get(sound..).unwrap_or_default()) {
            Ok(None) => return (sound, Ok(())),
            Ok(Some((frame, _))) if frame.sender != from => {
                return (sound, Err(FrameError::Sender { claimed: frame.sender, owner: from }));
            }
            Ok(Some((_, size))) => sound += size,
            Err(error) => return (sound, Err(error)),
        }
    }
}

/// The groups that a connection brings frames for.
struct Lines {
    link: Arc<Link>,
    visit: u64,
    credit: Arc<Credit>,
    /// Peers name groups, but only those that are here are kept: nobody chooses what collides.
    lines: FxHashMap<GroupId, Line>,
}

#[derive(Default)]
struct Line {
    /// The version of the registry in which the door was looked up.
    version: Option<u64>,
    door: Option<Arc<dyn Door>>,
    account: Account,
}

impl Lines {
    /// Hands sound frames to their groups, those that follow each other for one group together.
    async fn deliver(&mut self, host: &Inner, frames: &[u8]) -> Result<(), FrameError> {
        let (mut rest, from, credit) = (frames, self.link.peer, Arc::clone(&self.credit));
        while let Some(group) = frame::split(rest).next().map(|piece| piece.group) {
            let run = frame::split(rest).take_while(|piece| piece.group == group);
            let (count, size) =
                run.fold((0, 0), |(count, size), piece| (count + 1, size + piece.bytes.len()));
            let Some((run, others)) = rest.split_at_checked(size) else { break };
            rest = others;
            if group == GroupId::ZERO {
                self.read_notices(host, run)?;
                continue;
            }
            let Some((door, account)) = self.door(host, group) else {
                tracing::debug!(peer = %from, %group, "frames for a group that is not here");
                add(&host.metrics.frames_unknown, count);
                continue;
            };
            match credit.await_hold(account, run.len()).await {
                Some(held) => door.receive(from, run, held),
                None => add(&door.shared().metrics.frames_refused, count),
            }
        }
        Ok(())
    }

    fn read_notices(&self, host: &Inner, frames: &[u8]) -> Result<(), FrameError> {
        for piece in frame::split(frames) {
            match piece.content() {
                Some((Kind::Notice, body)) => host.on_notice(&self.link, self.visit, body)?,
                Some((Kind::Question | Kind::Answer, _)) => {
                    return Err(FrameError::Notice("no node asks another one questions"));
                }
                Some((Kind::Message | Kind::Forward | Kind::ForwardReply, _)) | None => {
                    return Err(FrameError::Notice("group zero is nobody's"));
                }
            }
        }
        Ok(())
    }

    /// Where what comes for a group enters. Nothing is remembered of groups that are not here: peers name them.
    fn door(&mut self, host: &Inner, group: GroupId) -> Option<(Arc<dyn Door>, &mut Account)> {
        let version = host.registry.version();
        if self.lines.get(&group).is_none_or(|line| line.version != Some(version)) {
            match host.registry.door(group) {
                None => drop(self.lines.remove(&group)),
                door @ Some(_) => {
                    let line = self.lines.entry(group).or_default();
                    (line.version, line.door) = (Some(version), door);
                }
            }
        }
        let line = self.lines.get_mut(&group)?;
        Some((line.door.clone()?, &mut line.account))
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
    /// The peer was removed for good.
    Removed,
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
