//! What can be set, its bounds and its defaults.

use super::message::{MAX_BATCH_ENTRIES, MAX_OPEN_BATCHES, MAX_WINDOW};
use alloc::format;
use consensus_core::wire::MAX_FRAME_BYTES;
use consensus_core::{ConfigError, Members};

/// Room in a frame beside the payloads: the envelope, and the heads of the entries.
const FRAME_MARGIN_BYTES: usize = 64 << 10;

/// The configuration of one node. All nodes of a group must have the same `coin_key` and `common_rounds`, or they only toss coins of
/// their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a node that waits for anything waits before it says again where it stands, and asks the others where they do, in
    /// milliseconds; some times the slowest round trip. A wait that is too short costs messages, and batches that are not offered
    /// yet; nothing else.
    pub retry_ms: u64,
    /// What the common coins are made from. Whoever knows it, and orders the messages by it, can make an instance take `common_rounds`
    /// rounds, and no more.
    pub coin_key: u64,
    /// In how many rounds of each instance everybody tosses the same coin. In later rounds, each its own.
    pub common_rounds: u64,
    /// How many instances are under way at once while all of them decide batches.
    pub max_instances: u64,
    /// How many batches of one node are given to the others before they are decided.
    pub max_open_batches: u64,
    /// The longest payload of one proposal, in bytes.
    pub max_payload_bytes: usize,
    /// A batch, or a page of what was decided, holds at most this many bytes (a single longer proposal or batch travels alone).
    pub max_batch_bytes: usize,
    /// The same in proposals.
    pub max_batch_entries: usize,
    /// The most proposals that wait at a node for a batch; more are refused with `Busy`.
    pub max_queued_entries: usize,
    /// The same in bytes.
    pub max_queued_bytes: usize,
    /// The most reads that wait at one node; more are refused with `Busy`.
    pub max_pending_reads: usize,
    /// The size of a piece of a snapshot on its way, in bytes.
    pub snapshot_piece_bytes: usize,
    /// The largest snapshot that is taken over, in bytes. It is assembled in memory.
    pub max_snapshot_bytes: u64,
    /// How many slots behind a snapshot stay in memory, for nodes that are a little behind.
    pub retained_slots: u64,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retry_ms: 50,
            coin_key: 0,
            common_rounds: 16,
            max_instances: 8,
            max_open_batches: 8,
            max_payload_bytes: 2 << 20,
            max_batch_bytes: 1 << 20,
            max_batch_entries: 4_096,
            max_queued_entries: 1 << 16,
            max_queued_bytes: 64 << 20,
            max_pending_reads: 1 << 16,
            snapshot_piece_bytes: 256 << 10,
            max_snapshot_bytes: 1 << 30,
            retained_slots: 4_096,
            #[cfg(all(feature = "mutants", debug_assertions))]
            mutant: None,
        }
    }
}

impl Config {
    /// Whether this can work.
    ///
    /// # Errors
    /// Names the first field that is out of bounds.
    pub fn validate(&self, members: &Members) -> Result<(), ConfigError> {
        let (retry_ms, common_rounds) = (self.retry_ms, self.common_rounds);
        crate::Config { retry_ms, common_rounds, ..crate::Config::default() }.validate(members)?;
        let refuse = |field, problem: &str| Err(ConfigError::new(field, problem));
        if !members.witnesses().is_empty() {
            return refuse("members", "whoever votes holds what it votes for: leave the witnesses out");
        }
        for (field, value, most) in [
            ("max_instances", self.max_instances, MAX_WINDOW),
            ("max_open_batches", self.max_open_batches, MAX_OPEN_BATCHES),
            ("max_batch_entries", self.max_batch_entries as u64, MAX_BATCH_ENTRIES as u64),
            ("max_payload_bytes", self.max_payload_bytes as u64, u64::MAX),
            ("max_batch_bytes", self.max_batch_bytes as u64, u64::MAX),
            ("max_queued_entries", self.max_queued_entries as u64, u64::MAX),
            ("max_queued_bytes", self.max_queued_bytes as u64, u64::MAX),
            ("max_pending_reads", self.max_pending_reads as u64, u64::MAX),
        ] {
            if value == 0 || value > most {
                return Err(ConfigError::new(field, format!("it must lie within 1..={most}")));
            }
        }
        let frame = MAX_FRAME_BYTES - FRAME_MARGIN_BYTES;
        if self.max_batch_bytes.saturating_add(self.max_payload_bytes).saturating_mul(2) > frame {
            let problem =
                format!("twice this and max_payload_bytes must be at most {frame}, or no frame holds a page");
            return Err(ConfigError::new("max_batch_bytes", problem));
        }
        if self.snapshot_piece_bytes == 0 || self.snapshot_piece_bytes > frame {
            return Err(ConfigError::new("snapshot_piece_bytes", format!("it must lie within 1..={frame}")));
        }
        Ok(())
    }
}
