//! The store against a model that keeps a list of all writes and forgets nothing.

use crate::model;
use crate::model::Model;
use kvstore::command::{Reason, Reply};
use kvstore::members::MemberTable;
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
