//! The store against a model that keeps a list of all writes and forgets nothing.

use crate::model;
use crate::model::Model;
use bytes::Bytes;
use consensus_core::{Decision, Slot, StateMachine, Verdict};
use kvstore::command::{Command, Reason, Reply};
use kvstore::machine::{KvMachine, SharedStore};
use kvstore::members::{MemberTable, SharedMembers};
use kvstore::proto::etcdserverpb::{CompactionRequest, PutRequest};
use kvstore::store::Store;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(commands in prop::collection::vec(model::command(), 1..60)) {
        let mut store = Store::new();
        let mut model = Model::new();
        for command in commands {
            if model::validated(&model::without_leases(&command)).is_err() {
                continue;
            }
            let before = store.clone();
            let expected = model.apply(&command).unwrap_or_else(|error| Reply::Refused(Reason::Store(error)));
            let reply = command.apply(&mut store, &mut MemberTable::default());
            prop_assert_eq!(&reply, &expected, "{:?}", command);
            prop_assert_eq!(store.revision(), model.revision);
            if matches!(reply, Reply::Refused(_)) {
                prop_assert!(store == before, "a refused command changed the store");
            }
        }
        let bytes = store.snapshot();
        let restored = Store::from_snapshot(&bytes).unwrap();
        prop_assert!(restored == store);
        prop_assert_eq!(restored.snapshot(), bytes);
        prop_assert_eq!(restored.hash(i64::MAX), store.hash(i64::MAX));
    }

    /// Compactions are among what comes after.
    #[test]
    fn a_state_that_is_held_fast_stays_what_it_was(
        commands in prop::collection::vec(model::command(), 1..60), place: prop::sample::Index,
    ) {
        let mut machine = KvMachine::new(SharedStore::new(), SharedMembers::new());
        let commands: Vec<_> = commands.iter().filter(|command| model::validated(command).is_ok()).collect();
        let place = place.index(commands.len().max(1));
        let (mut expected, mut frozen) = (Bytes::new(), None);
        for (number, command) in commands.iter().enumerate() {
            if number == place {
                (expected, frozen) = (machine.snapshot(), machine.freeze());
            }
            let (slot, payload) = (Slot(number as u64 + 1), command.encode());
            machine.apply(Decision { slot, id: None, verdict: Verdict::Commit, payload: &payload });
        }
        if let Some(frozen) = frozen {
            let written = frozen(b"front".to_vec()).unwrap();
            prop_assert_eq!(&written[..5], b"front");
            prop_assert_eq!(&written[5..], &expected[..]);
        }
    }

    #[test]
    fn a_damaged_snapshot_is_refused(
        commands in prop::collection::vec(model::command(), 1..20), place: prop::sample::Index, bit in 0..8u8,
    ) {
        let mut store = Store::new();
        for command in commands.iter().filter(|command| model::validated(command).is_ok()) {
            command.apply(&mut store, &mut MemberTable::default());
        }
        let good = store.snapshot().to_vec();
        let mut bytes = good.clone();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(Store::from_snapshot(&bytes).is_err());
        prop_assert!(Store::from_snapshot(&good[..place]).is_err());
    }

    #[test]
    fn bytes_with_a_valid_checksum_are_hostile_still(content in prop::collection::vec(0u8..4, 0..200)) {
        let mut bytes = vec![1];
        bytes.extend(content);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        if let Ok(store) = Store::from_snapshot(&bytes) {
            prop_assert_eq!(store.snapshot(), bytes);
        }
    }
}

fn carry_out(machine: &mut KvMachine, command: &Command) {
    let payload = command.encode();
    machine.apply(Decision { slot: Slot(1), id: None, verdict: Verdict::Commit, payload: &payload });
}

fn put(key: u64, bytes: usize) -> Command {
    let (key, value) = (format!("key {key:05}").into(), vec![7; bytes].into());
    Command::Put(PutRequest { key, value, ..PutRequest::default() })
}

/// A snapshot of many parts, copied while others write, and take away.
#[test]
fn a_large_state_is_copied_while_the_store_goes_on() {
    for compacts_after in [1, 20, 1_000] {
        let mut machine = KvMachine::new(SharedStore::new(), SharedMembers::new());
        (0..600).for_each(|key| carry_out(&mut machine, &put(key % 300 * 2, 10_000)));
        let (expected, frozen) = (machine.snapshot(), machine.freeze().unwrap());
        let copying = std::thread::spawn(move || frozen(Vec::new()));
        for number in 0..200 {
            carry_out(&mut machine, &put(number * 3, 100));
            if number == compacts_after {
                let revision = 500;
                carry_out(
                    &mut machine,
                    &Command::Compact(CompactionRequest { revision, ..Default::default() }),
                );
            }
        }
        let copied = copying.join().unwrap().unwrap();
        assert!(copied == expected, "{compacts_after}");
        assert!(expected.len() > 5_000_000 && machine.snapshot() != expected);
    }
}

#[test]
fn a_state_that_was_replaced_is_not_copied() {
    let mut machine = KvMachine::new(SharedStore::new(), SharedMembers::new());
    let other = machine.snapshot();
    carry_out(&mut machine, &put(1, 1));
    let (before, after) = (machine.freeze().unwrap(), machine.freeze().unwrap());
    machine.install(Slot(9), other.clone()).unwrap();
    assert_eq!(before(Vec::new()), None);
    // Nor by whoever takes something away.
    carry_out(&mut machine, &put(2, 1));
    carry_out(&mut machine, &Command::Compact(CompactionRequest { revision: 2, ..Default::default() }));
    assert_eq!(after(Vec::new()), None);
    let (expected, held) = (machine.snapshot(), machine.freeze().unwrap());
    assert_eq!(held(Vec::new()), Some(expected));
}
