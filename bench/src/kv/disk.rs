//! What the disk itself can do: the yardstick beside every durable figure.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_millis(500);
/// More than any disk that really syncs can do one after the other.
const NOT_A_DISK_PER_S: f64 = 100_000.0;

/// Durable appends of `bytes` per second, one after the other, to one growing file in `directory`.
pub(super) fn durable_appends_per_s(directory: &Path, bytes: usize) -> Result<f64> {
    fs::create_dir_all(directory).with_context(|| format!("could not create {}", directory.display()))?;
    let path = directory.join(format!("probe-{}", std::process::id()));
    let result = probe(&path, bytes);
    // The figure stands whether or not the file could be removed.
    let _ = fs::remove_file(&path);
    result
}

fn probe(path: &Path, bytes: usize) -> Result<f64> {
    let mut file = File::create(path).with_context(|| format!("could not create {}", path.display()))?;
    let block = vec![0x5a; bytes];
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < LENGTH {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// A warning if that cannot be a disk.
pub(super) fn doubt(appends_per_s: f64) -> Option<&'static str> {
    (appends_per_s > NOT_A_DISK_PER_S).then_some(
        "This is faster than any disk syncs: the directory is probably in memory. Give a real disk with --directory.",
    )
}
