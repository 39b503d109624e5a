//! One task per peer: dials its addresses in turn, greets, hands the connection to the [`Link`], drains its queue, and dials
//! again.

use crate::address::PeerAddress;
use crate::handshake::{self, HandshakeError, Hello, Verdict};
use crate::host::Inner;
use crate::link::Link;
use crate::metrics::add;
use crate::shared::StopReason;
use rand::TryRng;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that held for this long makes the next attempt a fresh start.
const HELD: Duration = Duration::from_secs(1);
/// A connection whose bytes are not acknowledged for this long is given up: the network between may have come back in the
/// meantime, while TCP would wait for its next, ever later, attempt.
const UNACKNOWLEDGED_MS: u32 = 2_000;

/// Everything that the task needs.
pub(crate) struct Dialler {
    pub(crate) link: Arc<Link>,
    pub(crate) host: Arc<Inner>,
}

impl Dialler {
    /// Runs until it is aborted.
    pub(crate) async fn run(self) {
        let Self { link, host } = self;
        let hello = Hello { cluster: host.config.cluster, from: host.config.node, to: link.peer };
        let mut pause = SHORTEST_PAUSE;
        let mut complained = String::new();
        let mut known = link.addresses.subscribe();
        loop {
            let addresses = known.borrow_and_update().clone();
            let connected = tokio::select! {
                connected = connect(&addresses, hello) => connected,
                // We hold the sender, so the channel is open.
                _ = known.changed() => continue,
            };
            match connected {
                Ok((stream, address)) => {
                    let began = Instant::now();
                    add(&host.metrics.connections_made, 1);
                    tracing::info!(peer = %link.peer, %address, "connected to a peer");
                    host.on_connected(&link, Arc::clone(&stream));
                    let cause = carry(&link, &stream, address, &mut known).await;
                    host.on_disconnected(&link);
                    add(&host.metrics.connections_lost, 1);
                    tracing::warn!(peer = %link.peer, %cause, "lost the connection to a peer; dialling again");
                    complained.clear();
                    if began.elapsed() >= HELD {
                        pause = SHORTEST_PAUSE;
                    }
                }
                Err((HandshakeError::TurnedDown(Verdict::Removed), address)) => {
                    tracing::error!(peer = %link.peer, %address, "a peer says that this node was removed");
                    host.end.ask(StopReason::Removed);
                }
                Err((error, address)) => {
                    // Once per cause: a peer that is down for a day is one line.
                    let text = error.to_string();
                    if text != complained {
                        tracing::warn!(peer = %link.peer, %address, error = %text, "cannot connect to a peer; trying again");
                        complained = text;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = link.seen.notified() => {}
                // We hold the sender, so the channel is open.
                _ = known.changed() => pause = SHORTEST_PAUSE,
            }
        }
    }
}

/// The first of the addresses at which the peer answers; otherwise why the last one, or one that tells more, did not.
async fn connect(
    addresses: &[PeerAddress],
    hello: Hello,
) -> Result<(Arc<TcpStream>, &PeerAddress), (HandshakeError, &PeerAddress)> {
    let mut failure = None;
    for address in addresses {
        let error = match open(address, hello).await {
            Ok(stream) => return Ok((Arc::new(stream), address)),
            Err(error) => error,
        };
        if matches!(error, HandshakeError::TurnedDown(Verdict::Removed)) {
            return Err((error, address));
        }
        failure = Some((error, address));
    }
    match failure {
        Some(failure) => Err(failure),
        // It has not told yet where it listens.
        None => std::future::pending().await,
    }
}

/// Dials and greets.
pub(crate) async fn open(address: &PeerAddress, hello: Hello) -> Result<TcpStream, HandshakeError> {
    let dialled = tokio::time::timeout(handshake::PATIENCE, TcpStream::connect(address.as_str())).await;
    let mut stream = dialled.map_err(|_| HandshakeError::Silence)??;
    prepare(&stream)?;
    handshake::greet(&mut stream, hello).await?;
    Ok(stream)
}

/// The socket options that every connection between peers has.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

/// Serves one connection until it breaks, or the peer listens elsewhere; returns why.
async fn carry(
    link: &Link,
    stream: &TcpStream,
    address: &PeerAddress,
    known: &mut watch::Receiver<Vec<PeerAddress>>,
) -> io::Error {
    loop {
        tokio::select! {
            // We hold the sender, so the channel is open.
            _ = known.changed() => if !known.borrow_and_update().contains(address) {
                return io::Error::new(io::ErrorKind::AddrNotAvailable, "the peer listens elsewhere now");
            },
            () = link.backlog.notified() => loop {
                match link.drain() {
                    Ok(true) => break,
                    Ok(false) => {
                        if let Err(error) = stream.writable().await {
                            return error;
                        }
                    }
                    Err(error) => return error,
                }
            },
            // The other side never sends anything: to be readable is to be closed, or to be somebody else.
            ready = stream.readable() => match ready.and_then(|()| stream.try_read(&mut [0; 1])) {
                Ok(0) => return io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection"),
                Ok(_) => return io::Error::new(io::ErrorKind::InvalidData, "the peer sent bytes where it must not"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return error,
            },
        }
    }
}

/// Between half of `pause` and all of it, so that nodes that failed together do not try again together.
fn jittered(pause: Duration) -> Duration {
    let random = rand::rngs::SysRng.try_next_u32().unwrap_or(u32::MAX / 2);
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}
