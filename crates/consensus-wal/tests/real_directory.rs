//! The journal on real files.

use consensus_core::{Bytes, ClusterId, GroupId, NodeId, Slot, Storage as _, StorageError, WriteSeq};
use consensus_wal::{FileDisk, Identity, JournalConfig, SoloStorage};

const US: Identity = Identity { cluster: ClusterId(7), node: NodeId(1) };

type Solo = SoloStorage<FileDisk, String>;

fn open(path: &std::path::Path, identity: Identity) -> Result<Solo, StorageError> {
    let config = JournalConfig { segment_bytes: 4096, zero_ahead_bytes: 512, ..JournalConfig::default() };
    Solo::open(FileDisk::open_dir(path)?, config, identity, GroupId(3))
}

#[test]
fn what_is_committed_is_recovered_and_the_rest_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    let mut solo = open(&path, US).unwrap();
    assert_eq!(solo.recover().unwrap().records.len(), 0);
    for seq in 1..=200 {
        solo.append(WriteSeq(seq), format!("record {seq}"));
        if seq % 10 == 0 {
            assert_eq!(solo.commit().unwrap(), WriteSeq(seq));
        }
        assert_eq!(solo.durable().unwrap(), WriteSeq(seq / 10 * 10));
    }
    solo.checkpoint(WriteSeq(201), Slot(9), Bytes::from_static(b"state"), vec!["kept".into()]);
    solo.append(WriteSeq(202), "after".into());
    solo.commit().unwrap();
    solo.append(WriteSeq(203), "never committed".into());
    drop(solo);
    let recovered = open(&path, US).unwrap().recover().unwrap();
    assert_eq!(recovered.snapshot, Some((Slot(9), Bytes::from_static(b"state"))));
    assert_eq!(recovered.records, ["kept", "after"]);
}
