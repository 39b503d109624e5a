//! Damage is refused with the file and the offset, and never makes a journal silently short.

use crate::support::{Dice, FaultyDisk};
use consensus_core::{Bytes, ClusterId, GroupId, NodeId, Slot, StorageError};
use consensus_wal::{Batch, Identity, Journal, JournalConfig, RecoveredRaw};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::collections::BTreeMap;

const US: Identity = Identity { cluster: ClusterId(7), node: NodeId(1) };
const GROUP: GroupId = GroupId(0);

type Image = BTreeMap<String, Vec<u8>>;
type Groups = BTreeMap<GroupId, RecoveredRaw>;

fn config() -> JournalConfig {
    JournalConfig { segment_bytes: 4096, zero_ahead_bytes: 1024, ..JournalConfig::default() }
}

fn open(disk: &FaultyDisk) -> Result<(Journal<FaultyDisk>, Groups), StorageError> {
    Journal::open(disk.clone(), config(), US)
}

fn reopen(image: &Image) -> Result<Groups, StorageError> {
    open(&FaultyDisk::of_image(image)).map(|(_, groups)| groups)
}

/// A journal of some segments, a snapshot, a note and zeros ahead, and what it holds.
fn sample() -> (Image, Groups) {
    let disk = FaultyDisk::default();
    let (mut journal, _) = open(&disk).unwrap();
    let (mut batch, mut dice) = (Batch::new(), Dice::new(1));
    for number in 0..24 {
        batch.append_bytes(GroupId(number % 2), &dice.bytes(150 + number * 9));
        batch.append_bytes(GroupId(2), &dice.bytes(30));
        if number == 20 {
            batch.checkpoint_bytes(GroupId(1), Slot(4), &dice.bytes(700).into(), &[dice.bytes(40).into()]);
        }
        journal.write(&mut batch).unwrap();
    }
    journal.keep(Bytes::from_static(b"a few bytes")).unwrap();
    assert!(journal.segment_count() > 1);
    drop(journal);
    let image = disk.image();
    let groups = reopen(&image).unwrap();
    (image, groups)
}

fn names_place(error: &StorageError, name: &str) -> bool {
    match error {
        StorageError::Corrupt { place, .. } | StorageError::Foreign { place, .. } => place == name,
        StorageError::Io { .. } => false,
        other => panic!("{other}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_or_hits_nothing() {
    let (image, groups) = sample();
    let (mut refused, mut harmless) = (0, 0);
    for (name, bytes) in &image {
        let last_used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        for place in 0..bytes.len() {
            let mut damaged = image.clone();
            damaged.get_mut(name).unwrap()[place] ^= 1 << (place % 8);
            match reopen(&damaged) {
                Err(error) => {
                    assert!(names_place(&error, name), "{name} at {place}: {error}");
                    refused += 1;
                }
                Ok(found) => {
                    assert_eq!(found, groups, "{name} at {place}: something else was recovered");
                    assert!(place > last_used, "{name} at {place} is in use, and the damage was not noticed");
                    harmless += 1;
                }
            }
        }
    }
    assert!(refused > 9000 && harmless > 500, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_damaged_frame_is_named_by_its_offset() {
    let (image, _) = sample();
    let name = "0000000000000001.seg";
    let mut damaged = image;
    damaged.get_mut(name).unwrap()[100] ^= 1;
    let message = reopen(&damaged).unwrap_err().to_string();
    assert!(message.starts_with("0000000000000001.seg is damaged at byte 64: "), "{message}");
    assert!(message.contains("restore this directory from a copy"), "{message}");
}

#[test]
fn a_frame_that_is_gone_is_noticed_by_a_later_one() {
    let (image, _) = sample();
    for (name, bytes) in image.iter().filter(|(name, _)| name.ends_with(".seg")) {
        let marks = |place: &usize| bytes[*place..].starts_with(b"walf");
        let headers: Vec<usize> = (0..bytes.len()).filter(marks).map(|mark| mark - 20).collect();
        for pair in headers.windows(2) {
            for gone in [pair[0]..pair[1], pair[0]..pair[0] + 24, pair[0] + 24..pair[1]] {
                let mut damaged = image.clone();
                damaged.get_mut(name).unwrap()[gone].fill(0);
                match reopen(&damaged) {
                    Err(StorageError::Corrupt { place, offset, .. }) => {
                        assert_eq!((&place, offset), (name, pair[0] as u64));
                    }
                    other => panic!("{name} at {}: {other:?}", pair[0]),
                }
            }
        }
    }
}

#[test]
fn a_missing_or_shortened_file_is_refused() {
    let (image, _) = sample();
    for name in image.keys() {
        let mut missing = image.clone();
        missing.remove(name);
        let newest = image.keys().rfind(|name| name.ends_with(".seg")) == Some(name);
        // Nothing else speaks of the newest segment, or of the note.
        assert!(newest || name == "note" || reopen(&missing).is_err(), "{name} is not missed");
        let mut shortened = image.clone();
        let used = shortened[name].iter().rposition(|&byte| byte != 0).unwrap();
        shortened.get_mut(name).unwrap().truncate(used / 2);
        assert!(newest || reopen(&shortened).is_err(), "the rest of {name} is not missed");
    }
}

#[test]
fn swapped_files_are_refused() {
    let (image, _) = sample();
    let segments: Vec<&String> = image.keys().filter(|name| name.ends_with(".seg")).collect();
    let mut swapped = image.clone();
    swapped.insert(segments[0].clone(), image[segments[1]].clone());
    swapped.insert(segments[1].clone(), image[segments[0]].clone());
    assert!(matches!(reopen(&swapped), Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_refused_directory_is_left_as_it_was() {
    let (mut image, _) = sample();
    image.get_mut("0000000000000001.seg").unwrap()[100] ^= 1;
    image.insert("00000000000000ff-00000000.snap".into(), vec![1, 2, 3]);
    let disk = FaultyDisk::of_image(&image);
    assert!(open(&disk).is_err());
    assert_eq!(disk.image(), image);
}

#[test]
fn a_torn_tail_is_cut_and_written_over() {
    let (image, groups) = sample();
    let newest = image.keys().rfind(|name| name.ends_with(".seg")).unwrap();
    let used = image[newest].iter().rposition(|&byte| byte != 0).unwrap();
    for cut in [1, 20, 31] {
        let mut torn = image.clone();
        // The last frame's end is missing, and stale bytes stand further on.
        let bytes = torn.get_mut(newest).unwrap();
        bytes[used + 1 - cut..=used].fill(0);
        bytes.truncate(used + 300);
        bytes.extend([7; 40]);
        let disk = FaultyDisk::of_image(&torn);
        let (mut journal, found) = open(&disk).unwrap();
        let count = |groups: &Groups| groups.values().map(|group| group.records.len()).sum::<usize>();
        assert_eq!(count(&found), count(&groups) - 2, "exactly the torn frame is gone");
        let mut batch = Batch::new();
        batch.append_bytes(GROUP, b"new");
        journal.write(&mut batch).unwrap();
        let again = reopen(&disk.image()).unwrap();
        assert_eq!(count(&again), count(&groups) - 1);
        assert_eq!(again[&GROUP].records.last().unwrap().bytes, "new");
    }
}

#[derive(Clone, Debug)]
struct Directory(Image);

impl Arbitrary for Directory {
    /// Names of every kind; contents that are random, or a piece of a true file with some bytes changed.
    fn arbitrary(g: &mut Gen) -> Self {
        let (sample, _) = sample();
        let mut dice = Dice::new(u64::arbitrary(g));
        let mut image = if bool::arbitrary(g) { sample.clone() } else { Image::new() };
        let mut names: Vec<String> = sample.keys().cloned().collect();
        names.extend(
            [
                "identity.new",
                "note.new",
                "x.seg",
                "zzzzzzzzzzzzzzzz.seg",
                "ffffffffffffffff.seg",
                "-.snap",
                "é",
            ]
            .map(Into::into),
        );
        names.push("ffffffffffffffff-ffffffff.snap".into());
        let originals: Vec<&Vec<u8>> = sample.values().collect();
        for _ in 0..dice.below(4) {
            let name = names[dice.below(names.len() as u64) as usize].clone();
            let mut bytes = originals[dice.below(originals.len() as u64) as usize].clone();
            match dice.below(4) {
                0 => bytes = dice.bytes(bytes.len() as u64),
                1 => bytes.truncate(dice.below(bytes.len() as u64) as usize),
                2 => bytes.extend([7; 300]),
                _ => bytes.clear(),
            }
            for _ in 0..dice.below(4).min(bytes.len() as u64) {
                let place = dice.below(bytes.len() as u64) as usize;
                bytes[place] = dice.next() as u8;
            }
            image.insert(name, bytes);
        }
        Self(image)
    }
}

#[test]
fn no_directory_makes_it_panic_and_what_opens_can_be_used() {
    fn holds(Directory(image): Directory) -> bool {
        let disk = FaultyDisk::of_image(&image);
        let Ok((mut journal, before)) = open(&disk) else { return true };
        let mut batch = Batch::new();
        batch.append_bytes(GROUP, b"one more");
        journal.write(&mut batch).unwrap();
        let after = reopen(&disk.image()).unwrap();
        let records = |groups: &Groups| groups.get(&GROUP).map_or(0, |group| group.records.len());
        records(&after) == records(&before) + 1
    }
    QuickCheck::new().tests(2000).quickcheck(holds as fn(Directory) -> bool);
}

#[test]
fn a_record_of_another_program_names_its_place() {
    let disk = FaultyDisk::default();
    let (mut journal, _) = open(&disk).unwrap();
    let mut batch = Batch::new();
    batch.append(GROUP, &"a text");
    journal.write(&mut batch).unwrap();
    let mut groups = reopen(&disk.image()).unwrap();
    let error = groups.remove(&GROUP).unwrap().decode::<bool>().unwrap_err();
    assert!(names_place(&error, "0000000000000001.seg"), "{error}");
    assert!(error.to_string().contains("at byte 64"), "{error}");
}

#[test]
fn an_empty_snapshot_and_an_empty_record_are_kept() {
    let disk = FaultyDisk::default();
    let (mut journal, _) = open(&disk).unwrap();
    let mut batch = Batch::new();
    batch.checkpoint_bytes(GROUP, Slot(1), &Bytes::new(), &[Bytes::new()]);
    batch.append_bytes(GROUP, b"");
    journal.write(&mut batch).unwrap();
    let group = reopen(&disk.image()).unwrap().remove(&GROUP).unwrap();
    assert_eq!(group.snapshot, Some((Slot(1), Bytes::new())));
    assert_eq!(group.records.len(), 2);
}
