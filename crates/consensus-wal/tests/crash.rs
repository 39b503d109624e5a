//! Random crashes, against a model of what must be there: exactly what was acknowledged, or that and the one batch that was
//! being written, whole.

use crate::support::{Dice, FaultyDisk};
use consensus_core::{Bytes, ClusterId, GroupId, NodeId, Slot, StorageError};
use consensus_wal::{Batch, Identity, Journal, JournalConfig, RecoveredRaw};
use std::collections::BTreeMap;

const US: Identity = Identity { cluster: ClusterId(7), node: NodeId(1) };

#[derive(Clone, Debug, Default, PartialEq)]
struct Group {
    snapshot: Option<(Slot, Bytes)>,
    records: Vec<Bytes>,
}

/// Every group, and the note.
type Model = (BTreeMap<GroupId, Group>, Option<Bytes>);

fn model_of(recovered: BTreeMap<GroupId, RecoveredRaw>, note: Option<&Bytes>) -> Model {
    let plain = |raw: RecoveredRaw| Group {
        snapshot: raw.snapshot,
        records: raw.records.into_iter().map(|record| record.bytes).collect(),
    };
    (recovered.into_iter().map(|(group, raw)| (group, plain(raw))).collect(), note.cloned())
}

/// Draws some writes, does them to the batch and to the model.
fn draw(batch: &mut Batch, (model, _): &mut Model, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        // The last group is slow: it seldom writes and never makes a checkpoint.
        let group = GroupId(if dice.below(40) == 0 { 9 } else { dice.below(3) });
        let most = [10, 300, 1500, 9000][dice.below(4) as usize];
        if group != GroupId(9) && dice.below(10) == 0 {
            let length = dice.below(most);
            let snapshot: Bytes = dice.bytes(length).into();
            let through = Slot(dice.below(1000));
            let tail: Vec<Bytes> = (0..dice.below(3)).map(|_| dice.bytes(20).into()).collect();
            batch.checkpoint_bytes(group, through, &snapshot, &tail);
            model.insert(group, Group { snapshot: Some((through, snapshot)), records: tail });
        } else {
            let length = dice.below(most);
            let record: Bytes =
                if dice.below(5) == 0 { vec![0; length as usize] } else { dice.bytes(length) }.into();
            batch.append_bytes(group, &record);
            model.entry(group).or_default().records.push(record);
        }
    }
}

/// Boots again and again; each boot writes until the power fails. Returns how many frames were acknowledged.
fn run(seed: u64, boots: u64) -> u64 {
    let dice = &mut Dice::new(seed);
    let disk = FaultyDisk::default();
    let config = JournalConfig {
        segment_bytes: [4096, 16_384][dice.below(2) as usize],
        zero_ahead_bytes: [0, 700, 4096][dice.below(3) as usize],
        retained_bytes: 40_000,
        salt: seed,
    };
    let (mut acknowledged, mut in_flight) = (Model::default(), Model::default());
    let mut frames = 0;
    for boot in 0..boots {
        disk.forget_failed_syncs(false);
        if dice.below(3) == 0 {
            disk.restart_process();
        } else {
            disk.crash(dice);
        }
        let most = [30, 120, 600][dice.below(3) as usize];
        disk.fail_after(dice.below(most));
        let Some((mut journal, recovered)) = survive(Journal::open(disk.clone(), config.clone(), US)) else {
            continue;
        };
        let found = model_of(recovered, journal.note());
        assert!(
            found == acknowledged || found == in_flight,
            "seed {seed}, boot {boot}: recovered\n{found:?}\ninstead of\n{acknowledged:?}\nor\n{in_flight:?}"
        );
        acknowledged = found;
        disk.forget_failed_syncs(dice.below(2) == 0);
        let mut batch = Batch::new();
        loop {
            in_flight = acknowledged.clone();
            if dice.below(12) == 0 {
                let length = dice.below(1500);
                let note = Bytes::from(dice.bytes(length));
                in_flight.1 = Some(note.clone());
                if survive(journal.keep(note)).is_none() {
                    assert!(journal.write(&mut batch).is_err() || batch.is_empty(), "an error is for ever");
                    break;
                }
                acknowledged = in_flight.clone();
            }
            draw(&mut batch, &mut in_flight, dice);
            if dice.below(8) == 0 && survive(journal.prepare()).is_none() {
                break;
            }
            if survive(journal.write(&mut batch)).is_none() {
                assert!(journal.write(&mut batch).is_err(), "an error is for ever");
                break;
            }
            acknowledged = in_flight.clone();
            frames += 1;
        }
    }
    frames
}

/// The only error that a crash may bring is that of the disk.
fn survive<T>(result: Result<T, StorageError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(StorageError::Io { cause, .. }) if cause == "the power is gone" => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_was_acknowledged_survives_and_nothing_else_appears() {
    let mut frames = 0;
    for seed in 0..400 {
        frames += run(seed, 30);
    }
    assert!(frames > 20_000, "only {frames} frames were written");
}
