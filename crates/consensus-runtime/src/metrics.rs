//! Counters that anybody may read at any time. They are independent of each other: no reader may conclude from one to
//! another.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    (
        $(#[$live_doc:meta])* live $live:ident;
        $(#[$reading_doc:meta])* reading $reading:ident;
        $($(#[doc = $doc:literal])+ $name:ident,)*
    ) => {
        $(#[$live_doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $live {
            $(pub(crate) $name: AtomicU64,)*
        }

        $(#[$reading_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $reading {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl $live {
            /// Reads every counter.
            pub(crate) fn read(&self) -> $reading {
                $reading { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl $reading {
            /// Every counter by name, for an exporter.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                self.described().map(|(name, _, value)| (name, value))
            }

            /// Adds what another one has done, for a sum over several.
            pub const fn absorb(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }

            /// Every counter by name, with what it counts.
            pub(crate) fn described(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// The counters of a group.
    live GroupMetrics;
    /// What a group's replica has done since it started.
    reading MetricsReading;

    /// Frames handed over for peers.
    frames_sent,
    /// Frames that were dropped because the peer was not connected, or too much waited for it.
    frames_dropped,
    /// Frames received from peers.
    frames_received,
    /// Frames received from peers and not understood: the peer runs another algorithm, or another version of it.
    frames_malformed,
    /// Frames received from peers and dropped, because too much waited to be handled.
    frames_refused,
    /// Bursts that were handled.
    bursts,
    /// Events in those bursts.
    events,
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
    /// Elections that this node has begun.
    elections_started,
    /// Elections that this node has won.
    elections_won,
    /// Times that this node has ceased to lead.
    step_downs,
    /// Changes of members that this node has completed as the leader.
    changes_done,
    /// Snapshots that were taken of the state machine.
    snapshots_taken,
    /// Snapshots that this node has begun to send to a peer.
    snapshots_sent,
    /// Snapshots of a peer that have replaced the state here.
    snapshots_installed,
    /// Accusations against peers.
    accusations,
}

counters! {
    /// The counters of a host.
    live HostMetrics;
    /// What a host has done since it was opened, for all its groups.
    reading HostReading;

    /// Bytes handed to the sockets of peers.
    bytes_sent,
    /// Writes to the sockets of peers.
    socket_writes,
    /// Bytes received from peers.
    bytes_received,
    /// Reads from the sockets of peers that brought something.
    socket_reads,
    /// Connections to peers that were made.
    connections_made,
    /// Connections to peers that were lost.
    connections_lost,
    /// Connections from others that were refused in the handshake.
    handshakes_refused,
    /// Connections that were closed because of a frame that no correct peer sends.
    frames_malformed,
    /// Frames that were dropped because their group is not (yet, or any more) here.
    frames_unknown,
    /// Peers that have fallen silent, or did not hear us any more.
    suspicions,
    /// Rounds of the lanes: one wake-up each.
    rounds,
    /// Writes to the journal, each with one sync.
    journal_commits,
    /// Records in those writes.
    journal_records,
    /// Bytes in those writes.
    journal_bytes,
}

pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Relaxed);
}
