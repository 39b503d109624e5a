//! The rules of the store, one by one. The property tests compare it with a model and with a real etcd.

use super::*;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::response_op::Response;
use crate::proto::etcdserverpb::{Compare, RequestOp, TxnRequest};

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

fn get(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

fn delete(key: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.unwrap().revision
}

/// (create, mod, version, lease) of a key.
fn counters(store: &Store, key: &'static str) -> Option<(i64, i64, i64, i64)> {
    let kvs = store.range(&get(key)).unwrap().kvs;
    kvs.first().map(|kv| (kv.create_revision, kv.mod_revision, kv.version, kv.lease))
}

#[test]
fn an_empty_store_is_at_revision_one_and_only_writes_move_it() {
    let mut store = Store::new();
    assert_eq!(revision(store.range(&get("a")).unwrap().header), 1);
    assert_eq!(revision(store.delete_range(&delete("a")).header), 1);
    assert_eq!(revision(store.txn(&TxnRequest::default()).unwrap().header), 1);
    assert_eq!(revision(store.put(&put("a", "1")).unwrap().header), 2);
    assert_eq!(revision(store.delete_range(&delete("a")).header), 3);
    assert_eq!(revision(store.delete_range(&delete("a")).header), 3);
}

#[test]
fn the_version_starts_again_after_a_delete() {
    let mut store = Store::new();
    store.put(&put("a", "1")).unwrap();
    store.put(&put("a", "2")).unwrap();
    assert_eq!(counters(&store, "a"), Some((2, 3, 2, 0)));
    store.delete_range(&delete("a"));
    assert_eq!(counters(&store, "a"), None);
    store.put(&put("a", "3")).unwrap();
    assert_eq!(counters(&store, "a"), Some((5, 5, 1, 0)));
}

#[test]
fn a_put_keeps_what_it_is_told_to_keep() {
    let mut store = Store::new();
    let keep_value = PutRequest { ignore_value: true, lease: 9, ..put("a", "") };
    assert_eq!(store.put(&keep_value), Err(StoreError::KeyNotFound));
    store.put(&PutRequest { lease: 5, ..put("a", "1") }).unwrap();
    let kept = store.put(&PutRequest { prev_kv: true, ..keep_value }).unwrap().prev_kv.unwrap();
    assert_eq!((kept.lease, kept.version), (5, 1));
    let found = &store.range(&get("a")).unwrap().kvs[0];
    assert_eq!((found.value.as_ref(), found.lease), (&b"1"[..], 9));
    store.put(&PutRequest { ignore_lease: true, ..put("a", "2") }).unwrap();
    assert_eq!(counters(&store, "a"), Some((2, 4, 3, 9)));
    store.put(&put("a", "3")).unwrap();
    assert_eq!(counters(&store, "a"), Some((2, 5, 4, 0)), "lease 0 detaches");
}

#[test]
fn a_transaction_is_one_revision_and_sees_its_own_writes() {
    let mut store = Store::new();
    store.put(&put("a", "1")).unwrap();
    let before = RangeRequest { revision: 2, ..get("a") };
    let everything = DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), prev_kv: true };
    let request = TxnRequest {
        success: vec![
            op(Request::RequestRange(get("a"))),
            op(Request::RequestDeleteRange(everything)),
            op(Request::RequestPut(put("a", "2"))),
            op(Request::RequestPut(put("b", "3"))),
            op(Request::RequestRange(get("a"))),
            op(Request::RequestRange(before)),
        ],
        ..TxnRequest::default()
    };
    let done = store.txn(&request).unwrap();
    assert_eq!((revision(done.header), store.revision()), (3, 3));
    let values: Vec<_> = done
        .responses
        .iter()
        .filter_map(|response| match response.response.as_ref().unwrap() {
            Response::ResponseRange(range) => Some(range.kvs[0].value.as_ref()),
            Response::ResponsePut(_) | Response::ResponseDeleteRange(_) | Response::ResponseTxn(_) => None,
        })
        .collect();
    assert_eq!(values, [b"1", b"2", b"1"]);
    assert_eq!(counters(&store, "a"), Some((3, 3, 1, 0)), "deleted and made again in one revision");
    assert_eq!(counters(&store, "b"), Some((3, 3, 1, 0)));
}

#[test]
fn a_transaction_that_cannot_be_carried_out_changes_nothing() {
    let mut store = Store::new();
    let future = RangeRequest { revision: 99, ..get("a") };
    let success = vec![op(Request::RequestPut(put("a", "1"))), op(Request::RequestRange(future))];
    let untouched = store.clone();
    assert_eq!(store.txn(&TxnRequest { success, ..TxnRequest::default() }), Err(StoreError::FutureRevision));
    assert_eq!(store, untouched);
}

#[test]
fn nested_comparisons_look_at_the_state_before() {
    let mut store = Store::new();
    let exists = Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Version.into(),
        key: "a".into(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::Version(0)),
    };
    let nested = TxnRequest { compare: vec![exists], ..TxnRequest::default() };
    let success = vec![op(Request::RequestPut(put("a", "1"))), op(Request::RequestTxn(nested))];
    let done = store.txn(&TxnRequest { success, ..TxnRequest::default() }).unwrap();
    let Some(Response::ResponseTxn(nested)) = &done.responses[1].response else { panic!() };
    assert!(!nested.succeeded);
}

#[test]
fn a_missing_key_reads_as_zeros_and_has_no_value() {
    let store = Store::new();
    let holds = |result: CompareResult, target: CompareTarget, union| {
        let range_end = Bytes::new();
        let (result, target) = (result.into(), target.into());
        store.holds(&Compare { result, target, key: "a".into(), range_end, target_union: Some(union) })
    };
    assert!(holds(CompareResult::Equal, CompareTarget::Create, TargetUnion::CreateRevision(0)));
    assert!(holds(CompareResult::Less, CompareTarget::Mod, TargetUnion::ModRevision(1)));
    assert!(!holds(CompareResult::NotEqual, CompareTarget::Lease, TargetUnion::Lease(0)));
    for result in [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Less, CompareResult::Greater]
    {
        assert!(!holds(result, CompareTarget::Value, TargetUnion::Value("".into())));
    }
}

#[test]
fn compaction_keeps_what_can_still_be_read() {
    let mut store = Store::new();
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "1"), ("a", "3")] {
        store.put(&put(key, value)).unwrap();
    }
    store.delete_range(&delete("b"));
    store.compact(4).unwrap();
    let at = |revision| RangeRequest { revision, ..get("a") };
    assert_eq!(store.range(&at(3)), Err(StoreError::Compacted));
    assert_eq!(store.range(&at(4)).unwrap().kvs[0].value, "2");
    assert_eq!(store.range(&RangeRequest { revision: 4, ..get("b") }).unwrap().count, 1);
    assert_eq!(store.compact(4), Err(StoreError::Compacted));
    assert_eq!(store.compact(99), Err(StoreError::FutureRevision));
    store.compact(6).unwrap();
    assert_eq!(store.key_count(), 1, "nothing is left of a key that was deleted");
    assert_eq!((store.range(&at(6)).unwrap().count, store.compact_revision(), store.revision()), (1, 6, 6));
}

#[test]
fn what_is_deleted_and_compacted_takes_no_room() {
    let mut store = Store::new();
    for value in ["1", "22", "333"] {
        store.put(&put("a", value)).unwrap();
        store.put(&put("b", value)).unwrap();
    }
    let full = store.size_bytes();
    store.delete_range(&DeleteRangeRequest { range_end: "\0".into(), ..delete("a") });
    assert!(store.size_bytes() > full, "a tombstone takes room too");
    store.compact(store.revision()).unwrap();
    assert_eq!((store.size_bytes(), store.key_count()), (0, 0));
    assert!(store.timeline.is_empty());
}

#[test]
fn an_inverted_range_is_empty() {
    let mut store = Store::new();
    store.put(&put("b", "1")).unwrap();
    let inverted = RangeRequest { range_end: "a".into(), ..get("c") };
    assert_eq!(store.range(&inverted).unwrap().count, 0);
    let empty = RangeRequest { range_end: "b".into(), ..get("b") };
    assert_eq!(store.range(&empty).unwrap().count, 0);
}

#[test]
fn the_bytes_of_a_snapshot_stay_as_they_are() {
    let mut store = Store::new();
    store.put(&PutRequest { lease: 7, ..put("k", "v") }).unwrap();
    store.delete_range(&delete("k"));
    let mut expected = vec![1];
    expected.extend([3, 0, 1_i64].map(i64::to_le_bytes).concat());
    expected.extend([1, 0, 0, 0, b'k', 2, 0, 0, 0]);
    expected.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([2, 1, 7_i64].map(i64::to_le_bytes).concat());
    expected.extend([1, 1, 0, 0, 0, b'v']);
    expected.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0; 25]);
    expected.extend(crc32fast::hash(&expected).to_le_bytes());
    assert_eq!(store.snapshot(), expected);
    let mut newer = expected;
    newer[0] = 2;
    assert_eq!(Store::from_snapshot(&newer), Err(SnapshotError::Version(2)));
}
