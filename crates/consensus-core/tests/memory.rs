//! The storage in memory: what it loses in a crash, and what it keeps.

use consensus_core::memory::MemoryStorage;
use consensus_core::{Bytes, Recovered, Slot, Storage, WriteSeq};

#[test]
fn a_crash_loses_what_was_not_synced_and_nothing_else() {
    let mut disk = MemoryStorage::held();
    disk.append(WriteSeq(1), 'a');
    disk.append(WriteSeq(2), 'b');
    assert_eq!(disk.durable(), Ok(WriteSeq::ZERO));
    disk.sync();
    disk.append(WriteSeq(3), 'c');
    assert_eq!(disk.durable(), Ok(WriteSeq(2)));
    let mut disk = disk.crash();
    assert_eq!(disk.recover(), Ok(Recovered { snapshot: None, records: vec!['a', 'b'] }));
    assert_eq!(disk.durable(), Ok(WriteSeq::ZERO), "writes are counted anew");
}

#[test]
fn a_checkpoint_replaces_everything_before_it_at_once() {
    let mut disk = MemoryStorage::held();
    disk.append(WriteSeq(1), 'a');
    disk.sync();
    let snapshot = Bytes::from_static(b"snapshot");
    disk.checkpoint(WriteSeq(2), Slot(7), snapshot.clone(), vec!['t']);
    assert_eq!(disk.contents().records, ['a']);
    disk.sync();
    disk.append(WriteSeq(3), 'b');
    disk.sync();
    let expected = Recovered { snapshot: Some((Slot(7), snapshot)), records: vec!['t', 'b'] };
    assert_eq!(disk.crash().recover(), Ok(expected));
}

#[test]
fn a_disk_that_was_handed_over_without_a_crash_starts_its_numbers_anew_too() {
    let mut disk = MemoryStorage::held();
    disk.append(WriteSeq(1), 'a');
    disk.sync();
    disk.append(WriteSeq(2), 'b');
    assert_eq!(disk.recover().unwrap().records, ['a']);
    disk.append(WriteSeq(1), 'c');
    assert_eq!(disk.durable(), Ok(WriteSeq::ZERO), "the new write one is not durable because an old one was");
    disk.sync();
    assert_eq!(disk.contents().records, ['a', 'c'], "what the last boot had queued is gone");
}

#[test]
fn by_default_every_write_is_durable_at_once() {
    let mut disk = MemoryStorage::default();
    disk.append(WriteSeq(1), 'a');
    assert_eq!(disk.durable(), Ok(WriteSeq(1)));
}
