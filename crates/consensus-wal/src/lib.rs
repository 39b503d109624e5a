//! An append-only, checksummed, segmented journal on real or simulated disks.

mod disk;

pub use disk::{Disk, DiskFile};
