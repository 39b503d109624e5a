//! A directory of the journal that was damaged after it was written: it is refused, or what is found in it is what was there after
//! some write, whole, and it can be written on.

use crate::disk::FaultyDisk;
use crate::plan::Plan;
use bytes::Bytes;
use consensus_core::{ClusterId, GroupId, NodeId, Slot, StorageError};
use consensus_wal::{Batch, Identity, Journal, JournalConfig, RecoveredRaw};
use std::collections::BTreeMap;

const US: Identity = Identity { cluster: ClusterId(7), node: NodeId(1) };
/// So many writes at most before the damage.
const WRITES: usize = 24;
const GROUPS: usize = 3;

type Image = BTreeMap<String, Vec<u8>>;
/// Of each group that has anything its snapshot and its records.
type Contents = BTreeMap<GroupId, (Option<(Slot, Bytes)>, Vec<Bytes>)>;
type Opened = (Journal<FaultyDisk>, BTreeMap<GroupId, RecoveredRaw>);

fn open(disk: &FaultyDisk) -> Result<Opened, StorageError> {
    let config = JournalConfig {
        segment_bytes: 4096,
        zero_ahead_bytes: 1024,
        retained_bytes: 1 << 13,
        ..JournalConfig::default()
    };
    Journal::open(disk.clone(), config, US)
}

fn contents(groups: &BTreeMap<GroupId, RecoveredRaw>) -> Contents {
    let of = |raw: &RecoveredRaw| {
        let records: Vec<Bytes> = raw.records.iter().map(|record| record.bytes.clone()).collect();
        (raw.snapshot.clone(), records)
    };
    let of = groups.iter().map(|(&group, raw)| (group, of(raw)));
    of.filter(|(_, (snapshot, records))| snapshot.is_some() || !records.is_empty()).collect()
}

/// Carries out a plan: a journal is written, its directory is damaged, and it is opened again.
pub fn run(input: &[u8]) {
    let mut plan = Plan::new(input);
    let disk = FaultyDisk::default();
    let mut states = vec![Contents::new()];
    let mut images = Vec::new();
    write(&mut plan, &disk, &mut states, &mut images);
    let mut image = disk.image();
    let damages = plan.below(4);
    for _ in 0..damages {
        damage(&mut plan, &mut image, &images);
    }
    let disk = FaultyDisk::of_image(&image);
    match open(&disk) {
        Ok((journal, groups)) => {
            let found = contents(&groups);
            let last = states.len() - 1;
            let place = states.iter().rposition(|state| *state == found);
            assert!(place.is_some(), "it was never so: {found:?}");
            assert!(damages > 0 || place == Some(last), "something is lost, and nothing was damaged");
            go_on(journal, &disk, found);
        }
        Err(error) => {
            assert!(damages > 0, "an undamaged directory is refused: {error}");
            assert_eq!(disk.image(), image, "a directory that is refused is left as it was");
        }
    }
}

/// Writes what the plan says, opening the journal anew now and then.
fn write(plan: &mut Plan<'_>, disk: &FaultyDisk, states: &mut Vec<Contents>, images: &mut Vec<Image>) {
    let (mut journal, _) = open(disk).expect("an empty directory opens");
    let mut state = Contents::new();
    for number in 0..1 + plan.below(WRITES) {
        let mut batch = Batch::new();
        let group = GroupId(plan.below(GROUPS) as u64);
        let (length, fill) = (plan.below(1024), plan.byte());
        let record = Bytes::from(vec![fill; length]);
        let held = state.entry(group).or_default();
        if plan.once_in(6) {
            let (slot, tail) = (Slot(number as u64), Bytes::from(vec![fill; length / 8]));
            batch.checkpoint_bytes(group, slot, &record, std::slice::from_ref(&tail));
            *held = (Some((slot, record)), vec![tail]);
        } else {
            batch.append_bytes(group, &record);
            held.1.push(record);
        }
        journal.write(&mut batch).expect("the disk is sound");
        states.push(state.clone());
        match plan.below(8) {
            0 => journal.keep(vec![fill; length].into()).expect("the disk is sound"),
            1 => {
                drop(journal);
                let (opened, groups) = open(disk).expect("a sound directory opens");
                assert_eq!(contents(&groups), state, "what was written is not what is found");
                journal = opened;
            }
            2 => images.push(disk.image()),
            _ => {}
        }
    }
}

fn damage(plan: &mut Plan<'_>, image: &mut Image, images: &[Image]) {
    let names: Vec<String> = image.keys().cloned().collect();
    let (Some(name), Some(other)) = (plan.pick(&names).cloned(), plan.pick(&names).cloned()) else { return };
    let older = plan.pick(images).and_then(|image| image.get(&name)).cloned();
    let copy = image[&other].clone();
    let Some(bytes) = image.get_mut(&name) else { return };
    let (place, count) = (plan.below(bytes.len()), 1 + plan.below(600));
    let range = place..(place + count).min(bytes.len());
    match plan.below(10) {
        0 | 1 => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << (count % 8)),
        2 => bytes[range].fill(0),
        3 => bytes.truncate(place),
        4 => bytes.extend(vec![if count % 2 == 0 { 0 } else { 7 }; count]),
        5 => {
            let piece: Vec<u8> = copy.iter().copied().skip(place).take(count).collect();
            let to = plan.below(bytes.len());
            bytes.iter_mut().skip(to).zip(piece).for_each(|(byte, new)| *byte = new);
        }
        6 => drop(image.remove(&name)),
        7 => {
            let moved = bytes.clone();
            image.insert(other, moved);
        }
        8 => bytes.extend(copy),
        _ => *bytes = older.unwrap_or_default(),
    }
}

/// What opened can be written on, and is found again with what was added.
fn go_on(mut journal: Journal<FaultyDisk>, disk: &FaultyDisk, mut expected: Contents) {
    let (group, record) = (GroupId(0), Bytes::from_static(b"one more"));
    let mut batch = Batch::new();
    batch.append_bytes(group, &record);
    journal.write(&mut batch).expect("what opened can be written on");
    drop(journal);
    expected.entry(group).or_default().1.push(record);
    let (_, groups) = open(disk).expect("what was written on opens again");
    assert_eq!(contents(&groups), expected, "what was written on is not what is found");
}
