//! Whose directory it is, segments that come and go, groups side by side, a full disk.

use crate::support::{Dice, FaultyDisk};
use consensus_core::{Bytes, ClusterId, GroupId, NodeId, Slot, Storage as _, StorageError, WriteSeq};
use consensus_wal::{Batch, FileDisk, FrameSeq, Identity, Journal, JournalConfig, RecoveredRaw, SoloStorage};
use std::collections::BTreeMap;

const US: Identity = Identity { cluster: ClusterId(7), node: NodeId(1) };

fn config() -> JournalConfig {
    JournalConfig { segment_bytes: 4096, zero_ahead_bytes: 0, ..JournalConfig::default() }
}

type Opened = (Journal<FaultyDisk>, BTreeMap<GroupId, RecoveredRaw>);

fn open(disk: &FaultyDisk) -> Opened {
    Journal::open(disk.clone(), config(), US).unwrap()
}

fn refusal(disk: &FaultyDisk, identity: Identity) -> String {
    match Journal::open(disk.clone(), config(), identity) {
        Err(error @ StorageError::Foreign { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused_and_says_whose_it_is() {
    let disk = FaultyDisk::default();
    drop(open(&disk));
    for other in [Identity { node: NodeId(2), ..US }, Identity { cluster: ClusterId(8), ..US }] {
        let message = refusal(&disk, other);
        assert!(message.contains("it belongs to node 1 of cluster 7"), "{message}");
        assert!(message.contains("choose another directory"), "{message}");
    }
}

#[test]
fn a_newer_format_is_refused_and_says_so() {
    let disk = FaultyDisk::default();
    drop(open(&disk));
    for name in ["identity", "0000000000000001.seg"] {
        let mut image = disk.image();
        let bytes = image.get_mut(name).unwrap();
        bytes[8] = 2;
        // As a newer program would: the places of version and checksum are fixed for ever.
        let seed = if name == "identity" { 0 } else { seed_of(US, 0) };
        let mut hasher = crc32fast::Hasher::new_with_initial(seed);
        hasher.update(&bytes[..52]);
        bytes[52..56].copy_from_slice(&hasher.finalize().to_le_bytes());
        let message = refusal(&FaultyDisk::of_image(&image), US);
        assert!(message.starts_with(name) && message.contains("format version 2"), "{message}");
        assert!(message.contains("start a newer program"), "{message}");
    }
}

fn seed_of(identity: Identity, salt: u64) -> u32 {
    let numbers = [identity.cluster.0, identity.node.0, salt];
    crc32fast::hash(&numbers.map(u64::to_le_bytes).concat())
}

#[test]
fn a_journal_without_identity_is_refused() {
    let disk = FaultyDisk::default();
    let (mut journal, _) = open(&disk);
    let mut batch = Batch::new();
    batch.append_bytes(GroupId(0), b"record");
    journal.write(&mut batch).unwrap();
    let mut image = disk.image();
    image.remove("identity");
    let message = refusal(&FaultyDisk::of_image(&image), US);
    assert!(message.contains("no identity file says whose"), "{message}");
}

#[test]
fn it_reopens_after_compaction() {
    let disk = FaultyDisk::default();
    let mut dice = Dice::new(3);
    for boot in 0..20 {
        let (mut journal, groups) = open(&disk);
        if boot > 0 {
            let group = &groups[&GroupId(0)];
            assert_eq!(group.snapshot, Some((Slot(boot - 1), Bytes::from(format!("state {}", boot - 1)))));
            assert_eq!(group.records.len(), 3);
        }
        let mut batch = Batch::new();
        for _ in 0..20 {
            batch.append_bytes(GroupId(0), &dice.bytes(300));
            journal.write(&mut batch).unwrap();
        }
        let state = Bytes::from(format!("state {boot}"));
        batch.checkpoint_bytes(GroupId(0), Slot(boot), &state, &["a".into(), "b".into()]);
        batch.append_bytes(GroupId(0), b"c");
        journal.write(&mut batch).unwrap();
        assert!(journal.segment_count() <= 4, "{} segments are kept", journal.segment_count());
    }
    let names = disk.names();
    assert!(
        !names.contains(&"0000000000000001.seg".to_owned()),
        "the first segment is still there: {names:?}"
    );
    assert_eq!(names.iter().filter(|name| name.ends_with(".snap")).count(), 1, "{names:?}");
}

#[test]
fn a_slow_group_does_not_keep_segments_for_ever() {
    let disk = FaultyDisk::default();
    let config = JournalConfig { retained_bytes: 20_000, ..config() };
    let (mut journal, _) = Journal::open(disk.clone(), config.clone(), US).unwrap();
    let (mut batch, mut dice) = (Batch::new(), Dice::new(4));
    batch.append_bytes(GroupId(1), b"slow, never a checkpoint");
    batch.checkpoint_bytes(GroupId(2), Slot(5), &"slow, with a snapshot".into(), &["tail".into()]);
    for round in 0..400 {
        batch.append_bytes(GroupId(0), &dice.bytes(500));
        if round % 20 == 0 {
            batch.checkpoint_bytes(GroupId(0), Slot(round), &Bytes::new(), &[]);
        }
        journal.write(&mut batch).unwrap();
        assert!(journal.retained_bytes() < 40_000, "{} bytes are kept", journal.retained_bytes());
    }
    let (_, groups) = Journal::open(disk.clone(), config, US).unwrap();
    assert_eq!(groups[&GroupId(1)].records[0].bytes, "slow, never a checkpoint");
    assert_eq!(groups[&GroupId(1)].snapshot, None);
    assert_eq!(groups[&GroupId(2)].snapshot, Some((Slot(5), "slow, with a snapshot".into())));
    assert_eq!(groups[&GroupId(2)].records[0].bytes, "tail");
}

#[test]
fn a_group_is_read_back_as_it_was_recovered_whatever_the_others_write() {
    let disk = FaultyDisk::default();
    let config = JournalConfig { retained_bytes: 20_000, ..config() };
    let (mut journal, _) = Journal::open(disk.clone(), config.clone(), US).unwrap();
    let (mut batch, mut dice) = (Batch::new(), Dice::new(6));
    batch.append_bytes(GroupId(1), b"the slow one");
    for round in 0..200_u64 {
        let group = GroupId(2 + dice.below(3));
        match dice.below(8) {
            0 => batch.checkpoint_bytes(group, Slot(round), &dice.bytes(90).into(), &["tail".into()]),
            1 => batch.replace_bytes(group, &["instead of all that".into()]),
            _ => batch.append_bytes(group, &dice.bytes(300)),
        }
        journal.write(&mut batch).unwrap();
        if round % 10 == 9 {
            let (_, recovered) =
                Journal::open(FaultyDisk::of_image(&disk.image()), config.clone(), US).unwrap();
            for (group, raw) in recovered {
                assert_eq!(journal.read_group(group).unwrap(), raw, "{group} in round {round}");
            }
        }
    }
    assert_eq!(journal.read_group(GroupId(1)).unwrap().records[0].bytes, "the slow one");
    assert_eq!(journal.read_group(GroupId(9)).unwrap(), RecoveredRaw::default());
}

#[test]
fn a_group_that_is_replaced_keeps_nothing_of_what_it_had() {
    let disk = FaultyDisk::default();
    let (mut journal, _) = open(&disk);
    let mut batch = Batch::new();
    batch.checkpoint_bytes(GroupId(1), Slot(9), &"state".into(), &["tail".into()]);
    journal.write(&mut batch).unwrap();
    batch.replace_bytes(GroupId(1), &["what is left".into()]);
    journal.write(&mut batch).unwrap();
    let (_, groups) = open(&disk);
    assert_eq!(groups[&GroupId(1)].snapshot, None);
    let records: Vec<_> = groups[&GroupId(1)].records.iter().map(|record| record.bytes.clone()).collect();
    assert_eq!(records, ["what is left"]);
    assert!(!disk.names().iter().any(|name| name.ends_with(".snap")), "{:?}", disk.names());
}

#[test]
fn a_record_larger_than_a_segment_works() {
    let disk = FaultyDisk::default();
    let (mut journal, _) = open(&disk);
    let (mut batch, mut dice) = (Batch::new(), Dice::new(5));
    let records: Vec<Vec<u8>> = [10, 100_000, 20, 4096, 70_000].map(|length| dice.bytes(length)).into();
    for record in &records {
        batch.append_bytes(GroupId(0), record);
        journal.write(&mut batch).unwrap();
    }
    let (_, groups) = open(&disk);
    let found: Vec<&[u8]> = groups[&GroupId(0)].records.iter().map(|record| &*record.bytes).collect();
    assert_eq!(found, records);
}

#[test]
fn a_commit_is_one_write_and_one_sync() {
    let disk = FaultyDisk::default();
    let config = JournalConfig { segment_bytes: 1 << 20, zero_ahead_bytes: 1 << 16, ..config() };
    let (mut journal, _) = Journal::open(disk.clone(), config, US).unwrap();
    assert!(journal.prepare().unwrap());
    assert!(!journal.prepare().unwrap(), "there is nothing more to prepare");
    let (writes, syncs) = disk.writes_and_syncs();
    let mut batch = Batch::new();
    assert_eq!(journal.write(&mut batch).unwrap(), FrameSeq(0), "an empty batch is not written");
    for number in 1..=10 {
        for group in 0..5 {
            batch.append(GroupId(group), &number);
        }
        assert_eq!(journal.write(&mut batch).unwrap(), FrameSeq(number));
        assert!(batch.is_empty());
    }
    assert_eq!(disk.writes_and_syncs(), (writes + 10, syncs + 10));
}

#[test]
fn a_full_disk_is_named_and_final() {
    let disk = FaultyDisk::default();
    let mut solo = SoloStorage::<_, Vec<u8>>::open(disk.clone(), config(), US, GroupId(0)).unwrap();
    solo.append(WriteSeq(1), vec![1; 100]);
    assert!(solo.is_pending());
    solo.commit().unwrap();
    disk.set_room(Some(1000));
    solo.append(WriteSeq(2), vec![2; 2000]);
    let error = solo.commit().unwrap_err();
    let message = error.to_string();
    assert!(message.contains("0000000000000001.seg") && message.contains("no storage space"), "{message}");
    disk.set_room(None);
    solo.append(WriteSeq(3), vec![3]);
    assert_eq!(solo.commit(), Err(error.clone()), "no second attempt: nobody knows what is on the disk");
    assert_eq!(solo.durable(), Err(error));
    let again = SoloStorage::<_, Vec<u8>>::open(disk, config(), US, GroupId(0)).unwrap().recover().unwrap();
    assert_eq!(again.records, [vec![1; 100]]);
}

#[test]
fn a_second_user_of_a_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = FileDisk::open_dir(directory.path()).unwrap();
    let message = FileDisk::open_dir(directory.path()).unwrap_err().to_string();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert!(message.contains("stop that one, or choose another directory"), "{message}");
    drop(first);
    FileDisk::open_dir(directory.path()).unwrap();
}

#[test]
fn batches_and_journals_can_change_threads() {
    fn send<T: Send>() {}
    send::<Batch>();
    send::<Journal<FileDisk>>();
    send::<SoloStorage<FileDisk, std::rc::Rc<u8>>>();
}

#[test]
fn a_note_is_kept_beside_the_journal_and_read_without_opening_it() {
    let disk = FaultyDisk::default();
    assert_eq!(Journal::peek(disk.clone()).unwrap(), None, "nobody's yet");
    let (mut journal, _) = open(&disk);
    assert_eq!(journal.note(), None);
    assert_eq!(Journal::peek(disk.clone()).unwrap(), Some((US, None)));
    for note in ["first", "", "third, in place of the others"] {
        journal.keep(note.into()).unwrap();
        assert_eq!(journal.note().unwrap(), note);
        let (again, _) = open(&disk);
        assert_eq!(again.note().unwrap(), note);
        assert_eq!(Journal::peek(disk.clone()).unwrap(), Some((US, Some(note.into()))));
    }
    assert!(!disk.names().contains(&"note.new".to_owned()), "{:?}", disk.names());
    disk.set_room(Some(1));
    assert!(journal.keep("no room".into()).is_err());
    assert!(journal.failure().is_some(), "an error is for ever");
    disk.set_room(None);
    assert_eq!(open(&disk).0.note().unwrap(), "third, in place of the others");
}
