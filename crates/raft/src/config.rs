//! What can be set, its bounds and its defaults.

use alloc::format;
use consensus_core::wire::MAX_FRAME_BYTES;
use consensus_core::{ConfigError, MAX_MEMBERS, Members, lease};
use core::time::Duration;

/// Room in a frame beside the payloads: the envelope, and the heads of the entries.
const FRAME_MARGIN_BYTES: usize = 64 << 10;
/// The most entries in one message or record, whatever is configured: a peer cannot make us allocate more.
pub const MAX_BATCH_ENTRIES: usize = 1 << 16;

/// The configuration of one node. All nodes of a group should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// T, in milliseconds: a follower that has not heard its leader for between T and 1.5 T seeks election, and a leader
    /// that has not heard a quorum for T steps down. Several times the slowest round trip.
    pub election_timeout_ms: u64,
    /// The interval between heartbeats, in milliseconds; less than half of T. `None`: a tenth of T. A group that has nothing
    /// to do stretches it, up to a quarter of T.
    pub heartbeat_interval_ms: Option<u64>,
    /// Pre-vote, check-quorum, and the refusal of votes while a leader is heard. It is one switch because each of these
    /// without the others is known to livelock or to let a returning node disrupt its group. Off only for experiments.
    pub stable_leadership: bool,
    /// Leases: a leader that a quorum has just heard answers reads at once. `None`: every read asks a quorum. The number is a
    /// promise that you make: of any span of time every node's clock counts neither that many millionths more nor less,
    /// granularity and steps included, from 1 to 500,000. A quartz is off by less than 200; a clock that stands still while its
    /// machine is suspended is off by everything, and reads may then be stale. Needs `stable_leadership`.
    pub lease_drift_ppm: Option<u32>,
    /// After how many milliseconds without work a group rests: it sets no timer and sends nothing. `None`: never. While it
    /// rests, only failure detectors notice that a node is gone: set this only where [`consensus_core::Event::Suspect`] tells
    /// each node, within a bounded time, whom it cannot hear, and whom it can again. Needs `stable_leadership`.
    pub quiesce_after_ms: Option<u64>,
    /// Whether idle followers are told at once that the commit index advanced; otherwise the next append or heartbeat does.
    pub eager_commit: bool,
    /// The longest payload of one proposal, in bytes.
    pub max_payload_bytes: usize,
    /// An append or a record holds at most this many bytes of entries (a single longer entry travels alone).
    pub max_append_bytes: usize,
    /// An append or a record holds at most this many entries.
    pub max_append_entries: usize,
    /// The most appends in flight to one follower.
    pub max_in_flight_appends: usize,
    /// No further append is sent to a follower with at least this many bytes of entries in flight.
    pub max_in_flight_bytes: usize,
    /// The most proposals that a leader holds before they are committed; more are refused with `Busy`.
    pub max_uncommitted_entries: usize,
    /// The same in bytes.
    pub max_uncommitted_bytes: usize,
    /// A learner that lacks at most this many entries of the log, and answers, has caught up and may be given a vote.
    pub promotion_lag_entries: usize,
    /// The most reads that wait at one node; more are refused with `Busy`.
    pub max_pending_reads: usize,
    /// The size of a piece of a snapshot on its way to a follower, in bytes.
    pub snapshot_chunk_bytes: usize,
    /// The most bytes of a snapshot in flight to one follower. How many it is depends on how fast they are answered.
    pub max_in_flight_snapshot_bytes: usize,
    /// The largest snapshot that is accepted from a leader, in bytes. It is assembled in memory.
    pub max_snapshot_bytes: u64,
    /// How many entries behind a snapshot stay in the log, for followers that are a little behind.
    pub retained_entries: usize,
    /// The same in bytes; the smaller bound holds.
    pub retained_bytes: usize,
    /// How many bytes of entries a leader keeps behind a snapshot that it is sending, so that whoever receives it can go on
    /// from there. If more follow before it has arrived, the next snapshot is sent after it.
    pub retained_bytes_while_sending: usize,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_timeout_ms: 1_000,
            heartbeat_interval_ms: None,
            stable_leadership: true,
            lease_drift_ppm: None,
            quiesce_after_ms: None,
            eager_commit: true,
            max_payload_bytes: 2 << 20,
            max_append_bytes: 1 << 20,
            max_append_entries: 4_096,
            max_in_flight_appends: 256,
            max_in_flight_bytes: 16 << 20,
            max_uncommitted_entries: 1 << 16,
            max_uncommitted_bytes: 64 << 20,
            promotion_lag_entries: 4_096,
            max_pending_reads: 1 << 16,
            snapshot_chunk_bytes: 256 << 10,
            max_in_flight_snapshot_bytes: 4 << 20,
            max_snapshot_bytes: 1 << 30,
            retained_entries: 4_096,
            retained_bytes: 8 << 20,
            retained_bytes_while_sending: 64 << 20,
            #[cfg(all(feature = "mutants", debug_assertions))]
            mutant: None,
        }
    }
}

impl Config {
    /// Whether this can work.
    ///
    /// # Errors
    /// Names the field that is wrong and what would be right.
    pub fn validate(&self, members: &Members) -> Result<(), ConfigError> {
        let refuse = |field, problem: &str| Err(ConfigError::new(field, problem));
        // [R56] Who joins knows no members.
        let joins = *members == Members::default();
        if members.voter_count() == 0 && !joins {
            return refuse("members", "there is no voter; name at least one");
        }
        if members.are_too_many() {
            let problem = format!("a group has at most {MAX_MEMBERS} members; name fewer");
            return Err(ConfigError::new("members", problem));
        }
        if !members.outgoing().is_empty() {
            return refuse(
                "members",
                "a group is not born in the midst of a change; name no outgoing voters",
            );
        }
        if members.voters().iter().all(|node| members.witnesses().contains(node)) && !joins {
            return refuse(
                "members",
                "all voters are witnesses, and nobody could lead; name one that is not",
            );
        }
        if self.heartbeat_interval_ms == Some(0) {
            return refuse("heartbeat_interval_ms", "it must be at least 1");
        }
        // The first timeout after a boot is drawn from [heartbeat, T/2).
        if self.election_timeout_ms / 2 <= self.heartbeat_interval_ms.unwrap_or(1) {
            return refuse("election_timeout_ms", "it must be more than twice heartbeat_interval_ms");
        }
        if self.election_timeout_ms > 1 << 32 {
            return refuse("election_timeout_ms", "it must be below 2^32 (seven weeks)");
        }
        lease::validate_drift(self.lease_drift_ppm)?;
        if self.lease_drift_ppm.is_some() && !self.stable_leadership {
            return refuse(
                "lease_drift_ppm",
                "a lease is worth nothing without stable_leadership; set both or neither",
            );
        }
        if self.quiesce_after_ms.is_some() && !self.stable_leadership {
            return refuse(
                "quiesce_after_ms",
                "whoever wakes would disturb the others without stable_leadership; set both or neither",
            );
        }
        if self.max_append_entries == 0 || self.max_append_entries > MAX_BATCH_ENTRIES {
            let problem = format!("it must lie within 1..={MAX_BATCH_ENTRIES}");
            return Err(ConfigError::new("max_append_entries", problem));
        }
        let frame = MAX_FRAME_BYTES - FRAME_MARGIN_BYTES;
        if self.max_append_bytes.saturating_add(self.max_payload_bytes) > frame {
            let problem =
                format!("together with max_payload_bytes it must be at most {frame}, or no frame holds it");
            return Err(ConfigError::new("max_append_bytes", problem));
        }
        if self.snapshot_chunk_bytes == 0 || self.snapshot_chunk_bytes > frame {
            let problem = format!("it must lie within 1..={frame}");
            return Err(ConfigError::new("snapshot_chunk_bytes", problem));
        }
        for (field, value) in [
            ("max_payload_bytes", self.max_payload_bytes),
            ("max_append_bytes", self.max_append_bytes),
            ("max_in_flight_appends", self.max_in_flight_appends),
            ("max_in_flight_bytes", self.max_in_flight_bytes),
            ("max_uncommitted_entries", self.max_uncommitted_entries),
            ("max_uncommitted_bytes", self.max_uncommitted_bytes),
            ("max_pending_reads", self.max_pending_reads),
            ("max_in_flight_snapshot_bytes", self.max_in_flight_snapshot_bytes),
        ] {
            if value == 0 {
                return refuse(field, "it must be at least 1");
            }
        }
        Ok(())
    }

    pub(crate) const fn election_timeout(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms)
    }

    /// [R16] How often a leader speaks to each follower that it has work for.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval_ms.map_or(self.election_timeout() / 10, Duration::from_millis)
    }

    /// [R51] A piece of a snapshot that takes longer to be answered holds heartbeats up. Twice this, which is how much a window
    /// that has just been doubled may take, and a heartbeat's interval are less than an election timeout.
    pub(crate) fn longest_piece(&self) -> Duration {
        self.election_timeout().saturating_sub(self.heartbeat_interval()) / 4
    }
}
