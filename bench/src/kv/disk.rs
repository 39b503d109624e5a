//! What the disk itself can do: the yardstick beside every durable figure.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_millis(500);
/// The file is filled with zeros beforehand, as journals are: to grow a file costs a second write for its size.
const FILE_BYTES: usize = 4 << 20;
/// More than any disk that really syncs can do one after the other.
const NOT_A_DISK_PER_S: f64 = 100_000.0;

/// Durable writes of `bytes` per second, one after the other and each behind the last, in one file in `directory`.
pub(crate) fn durable_writes_per_s(directory: &Path, bytes: usize) -> Result<f64> {
    fs::create_dir_all(directory).with_context(|| format!("could not create {}", directory.display()))?;
    let path = directory.join(format!("probe-{}", std::process::id()));
    let result = probe(&path, bytes);
    // The figure stands whether or not the file could be removed.
    let _ = fs::remove_file(&path);
    result
}

fn probe(path: &Path, bytes: usize) -> Result<f64> {
    let file = File::create(path).with_context(|| format!("could not create {}", path.display()))?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let block = vec![0x5a; bytes.min(FILE_BYTES)];
    let (start, mut count, mut place) = (Instant::now(), 0u32, 0);
    while start.elapsed() < LENGTH {
        if place + block.len() > FILE_BYTES {
            place = 0;
        }
        file.write_all_at(&block, place as u64)?;
        file.sync_data()?;
        place += block.len();
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// A warning if that cannot be a disk.
pub(crate) fn doubt(writes_per_s: f64) -> Option<&'static str> {
    (writes_per_s > NOT_A_DISK_PER_S).then_some(
        "This is faster than any disk syncs: the directory is probably in memory. Give a real disk with --directory.",
    )
}
