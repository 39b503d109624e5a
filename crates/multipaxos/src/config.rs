//! What can be set, its bounds and its defaults.

use crate::quorums::{self, Sizes};
use crate::value::MAX_BATCH_VALUES;
use alloc::format;
use consensus_core::wire::MAX_FRAME_BYTES;
use consensus_core::{ConfigError, Members, lease};
use core::time::Duration;

/// Room in a frame beside the payloads: the envelope, and the heads of the values.
const FRAME_MARGIN_BYTES: usize = 64 << 10;

/// The most proposals that may be open at a leader, whatever is configured: what lies further ahead is made up.
pub(crate) const MAX_OPEN_VALUES: usize = 1 << 22;

/// The configuration of one node. All nodes of a group should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// T, in milliseconds: a node that has not heard a leader for between T and 1.5 T asks the others how they fare, and a
    /// leader that has not heard a quorum for T resigns. Several times the slowest round trip.
    pub election_timeout_ms: u64,
    /// The interval between heartbeats, in milliseconds; less than half of T.
    pub heartbeat_interval_ms: u64,
    /// How large quorums are; `None`: majorities. For the group at its birth it must be the same at all nodes, and stays what it
    /// is; members that come later decide by what the leader of their change is configured with.
    pub quorums: Option<Sizes>,
    /// Whether a node asks the others how they fare before it leads a ballot. Off only for experiments: ballots then overtake
    /// each other, and nodes that hear little depose leaders that hear enough.
    pub ask_first: bool,
    /// Leases: a leader that a quorum has just heard answers reads at once. `None`: every read asks a quorum. The number is a
    /// promise that you make: of any span of time every node's clock counts neither that many millionths more nor less,
    /// granularity and steps included, from 1 to 500,000. A quartz is off by less than 200; a clock that stands still while its
    /// machine is suspended is off by everything, and reads may then be stale.
    pub lease_drift_ppm: Option<u32>,
    /// Whether idle nodes are told at once what was chosen; otherwise the next accept or heartbeat does.
    pub eager_commit: bool,
    /// The longest payload of one proposal, in bytes.
    pub max_payload_bytes: usize,
    /// An accept, a promise, a page or a record holds at most this many bytes of values (a single longer value travels alone).
    pub max_accept_bytes: usize,
    /// The same in values.
    pub max_accept_values: usize,
    /// The most accepts in flight to one node.
    pub max_in_flight_accepts: usize,
    /// No further accept is sent to a node with at least this many bytes of values in flight.
    pub max_in_flight_bytes: usize,
    /// The most proposals that a leader holds before they are chosen; more are refused with `Busy`.
    pub max_open_values: usize,
    /// The same in bytes.
    pub max_open_bytes: usize,
    /// An acceptor accepts no slot that is further than this ahead of what it knows to be chosen.
    pub max_ahead_values: u64,
    /// Nor more bytes than these.
    pub max_ahead_bytes: usize,
    /// A learner that lacks at most this many slots, and answers, has caught up and may be given a vote.
    pub promotion_lag_values: usize,
    /// The most reads that wait at one node; more are refused with `Busy`.
    pub max_pending_reads: usize,
    /// The most questions that a node that lacks something asks at once.
    pub max_questions: usize,
    /// The size of a piece of a snapshot on its way, in bytes.
    pub snapshot_piece_bytes: usize,
    /// The largest snapshot that is taken over, in bytes. It is assembled in memory.
    pub max_snapshot_bytes: u64,
    /// How many values behind a snapshot stay in the log, for nodes that are a little behind.
    pub retained_values: usize,
    /// The same in bytes; the smaller bound holds.
    pub retained_bytes: usize,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_timeout_ms: 1_000,
            heartbeat_interval_ms: 100,
            quorums: None,
            ask_first: true,
            lease_drift_ppm: None,
            eager_commit: true,
            max_payload_bytes: 2 << 20,
            max_accept_bytes: 1 << 20,
            max_accept_values: 4_096,
            max_in_flight_accepts: 256,
            max_in_flight_bytes: 16 << 20,
            max_open_values: 1 << 16,
            max_open_bytes: 64 << 20,
            max_ahead_values: 1 << 18,
            max_ahead_bytes: 256 << 20,
            promotion_lag_values: 4_096,
            max_pending_reads: 1 << 16,
            max_questions: 4,
            snapshot_piece_bytes: 256 << 10,
            max_snapshot_bytes: 1 << 30,
            retained_values: 4_096,
            retained_bytes: 8 << 20,
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
        // [P42] Who joins knows no members.
        if *members != Members::default() {
            quorums::validate(self.quorums, members)?;
        }
        let refuse = |field, problem: &str| Err(ConfigError::new(field, problem));
        if self.heartbeat_interval_ms == 0 {
            return refuse("heartbeat_interval_ms", "it must be at least 1");
        }
        // The first timeout after a boot is drawn from [heartbeat, T/2).
        if self.election_timeout_ms / 2 <= self.heartbeat_interval_ms {
            return refuse("election_timeout_ms", "it must be more than twice heartbeat_interval_ms");
        }
        if self.election_timeout_ms > 1 << 32 {
            return refuse("election_timeout_ms", "it must be below 2^32 (seven weeks)");
        }
        lease::validate_drift(self.lease_drift_ppm)?;
        if self.max_accept_values == 0 || self.max_accept_values > MAX_BATCH_VALUES {
            let problem = format!("it must lie within 1..={MAX_BATCH_VALUES}");
            return Err(ConfigError::new("max_accept_values", problem));
        }
        let frame = MAX_FRAME_BYTES - FRAME_MARGIN_BYTES;
        if self.max_accept_bytes.saturating_add(self.max_payload_bytes) > frame {
            let problem =
                format!("together with max_payload_bytes it must be at most {frame}, or no frame holds it");
            return Err(ConfigError::new("max_accept_bytes", problem));
        }
        if self.snapshot_piece_bytes == 0 || self.snapshot_piece_bytes > frame {
            let problem = format!("it must lie within 1..={frame}");
            return Err(ConfigError::new("snapshot_piece_bytes", problem));
        }
        if self.max_open_values > MAX_OPEN_VALUES {
            return refuse("max_open_values", "it must be at most 2^22");
        }
        if self.max_ahead_values < self.max_open_values as u64 {
            return refuse("max_ahead_values", "it must be at least max_open_values");
        }
        if self.max_ahead_bytes < self.max_open_bytes {
            return refuse("max_ahead_bytes", "it must be at least max_open_bytes");
        }
        for (field, value) in [
            ("max_payload_bytes", self.max_payload_bytes),
            ("max_accept_bytes", self.max_accept_bytes),
            ("max_in_flight_accepts", self.max_in_flight_accepts),
            ("max_in_flight_bytes", self.max_in_flight_bytes),
            ("max_open_values", self.max_open_values),
            ("max_open_bytes", self.max_open_bytes),
            ("max_pending_reads", self.max_pending_reads),
            ("max_questions", self.max_questions),
        ] {
            if value == 0 {
                return refuse(field, "it must be at least 1");
            }
        }
        Ok(())
    }

    /// How many promises, and how many acceptances, are a quorum of so many voters. [S10]
    pub(crate) fn quorums_for(&self, voters: usize) -> (usize, usize) {
        self.or_too_small(quorums::quorums(self.quorums, voters), voters)
    }

    pub(crate) const fn election_timeout(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms)
    }

    pub(crate) const fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }
}
