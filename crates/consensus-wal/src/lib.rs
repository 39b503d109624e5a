//! An append-only, checksummed, segmented journal on real or simulated disks.
//!
//! Many groups share one [`Journal`]; everything that is pending becomes durable with one write and one sync. A [`Batch`]
//! is filled on one thread while the journal writes another one elsewhere. [`SoloStorage`] is the whole of it behind the
//! [`consensus_core::Storage`] trait, for one group on one thread.
//!
//! Invariants:
//! - At most one frame is ever unsynced. So a bad frame before a good one was durable once: damage, and the journal refuses
//!   to open. A bad frame at the end is a write that a crash cut short, and is cut off, unless nothing of it is missing.
//! - Space ahead of the write position holds zeros, so bytes that a crash lost are zeros, and older bytes never follow a cut.
//! - A segment's plate names the oldest frame that any group needed when the segment was begun: a missing file is noticed.
//! - After any error of the disk the journal writes nothing more.
//!
//! The bytes are described in `design.md`.

mod batch;
mod disk;
mod entry;
mod file_disk;
mod frame;
mod identity;
mod journal;
mod note;
mod plate;
mod recover;
mod relocate;
mod replay;
mod segment;
mod snapshot;
mod solo;
mod volume;

/// Its example is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use batch::Batch;
pub use disk::{Disk, DiskFile};
pub use file_disk::{FileDisk, RealFile};
pub use journal::{FrameSeq, Identity, Journal, JournalConfig};
pub use recover::{RawRecord, RecoveredRaw};
pub use solo::SoloStorage;

/// The format that this program writes, and the newest one that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// The longest frame, hence the most that one batch may hold, in bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 30;
