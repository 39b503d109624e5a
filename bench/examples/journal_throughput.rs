//! How many durable commits a second a directory takes: `journal_throughput [DIRECTORY] [SECONDS]`.
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use consensus_core::{ClusterId, GroupId, NodeId};
use consensus_wal::{Batch, FileDisk, Identity, Journal, JournalConfig};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RECORD_BYTES: usize = 256;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| "target/throughput".into()));
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    println!("zeros ahead    batch   commits/s   records/s    p50 µs    p99 µs    max µs");
    for zero_ahead_bytes in [0, 1 << 20] {
        for records in [1, 16, 256] {
            measure(&directory, zero_ahead_bytes, records, Duration::from_secs(seconds))?;
        }
    }
    Ok(())
}

fn measure(directory: &Path, zero_ahead_bytes: u64, records: u32, span: Duration) -> anyhow::Result<()> {
    let directory = directory.join(format!("{zero_ahead_bytes}-{records}"));
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let config = JournalConfig { zero_ahead_bytes, ..JournalConfig::default() };
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1) };
    let (mut journal, _) = Journal::open(FileDisk::open_dir(&directory)?, config, identity)?;
    let mut batch = Batch::new();
    let mut micros = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < span {
        let start = Instant::now();
        for _ in 0..records {
            batch.append_bytes(GroupId(1), &[7; RECORD_BYTES]);
        }
        journal.write(&mut batch)?;
        micros.push(start.elapsed().as_micros());
    }
    let rate = micros.len() as f64 / begin.elapsed().as_secs_f64();
    micros.sort_unstable();
    let at = |part: usize| micros.get(micros.len() * part / 1000).copied().unwrap_or_default();
    let longest = micros.last().copied().unwrap_or_default();
    println!(
        "{:>11}   {records:>6}   {rate:>9.0}   {:>9.0}   {:>7}   {:>7}   {longest:>7}",
        format!("{} KiB", zero_ahead_bytes >> 10),
        rate * f64::from(records),
        at(500),
        at(990),
    );
    drop(journal);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
