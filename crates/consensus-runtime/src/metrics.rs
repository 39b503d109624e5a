//! Counters that anybody may read at any time. They are independent of each other: no reader may conclude from one to
//! another.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a replica has done since it started.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// The counters of [`Metrics`] at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct MetricsReading {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Metrics {
            /// Reads every counter.
            #[must_use]
            pub fn read(&self) -> MetricsReading {
                MetricsReading { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl MetricsReading {
            /// Every counter by name, for an exporter.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Frames handed to the sockets of peers.
    frames_sent,
    /// Bytes handed to the sockets of peers.
    bytes_sent,
    /// Writes to the sockets of peers.
    socket_writes,
    /// Frames that were dropped because the peer was not connected or its queue was full.
    frames_dropped,
    /// Frames received from peers.
    frames_received,
    /// Bytes received from peers.
    bytes_received,
    /// Connections to peers that were made.
    connections_made,
    /// Connections to peers that were lost.
    connections_lost,
    /// Connections from others that were refused in the handshake.
    handshakes_refused,
    /// Connections that were closed because of a frame that no correct peer sends.
    frames_malformed,
    /// Bursts that the core loop has handled: one wake-up each.
    bursts,
    /// Events in those bursts.
    events,
    /// Writes to the journal, each with one sync.
    journal_commits,
    /// Records in those writes.
    journal_records,
    /// Bytes in those writes.
    journal_bytes,
    /// Proposals of our own clients.
    proposals,
    /// Proposals that were forwarded to another node.
    proposals_forwarded,
    /// Proposals of other nodes' clients that were forwarded to us.
    proposals_adopted,
    /// Read barriers and linearizable reads of our own clients.
    reads,
    /// Rounds that served those reads: reads of one burst share one.
    read_rounds,
    /// Requests that failed or timed out.
    requests_failed,
    /// Changes of leader that were noticed.
    leader_changes,
    /// Accusations against peers.
    accusations,
}

pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Relaxed);
}
