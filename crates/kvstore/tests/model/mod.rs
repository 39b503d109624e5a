//! Random requests, and a model of the store that keeps nothing but a list of all writes ever made.
#![allow(dead_code, clippy::wildcard_enum_match_arm, reason = "each test binary uses its part")]

use bytes::Bytes;
use kvstore::command::{Command, Reply};
use kvstore::error::ApiError;
use kvstore::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kvstore::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use kvstore::proto::etcdserverpb::request_op::Request;
use kvstore::proto::etcdserverpb::response_op::Response;
use kvstore::proto::etcdserverpb::*;
use kvstore::proto::mvccpb::KeyValue;
use kvstore::store::StoreError;
use kvstore::validate;
use proptest::prelude::*;
use std::collections::BTreeSet;

pub(crate) struct Write {
    revision: i64,
    create: i64,
    version: i64,
    key: Bytes,
    value: Option<Bytes>,
    lease: i64,
}

pub(crate) struct Model {
    writes: Vec<Write>,
    pub(crate) revision: i64,
    compacted: i64,
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

fn within(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        _ => key >= from && key < end,
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { writes: Vec::new(), revision: 1, compacted: 0 }
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Result<Reply, StoreError> {
        match command {
            Command::Put(r) => {
                self.check(&Request::RequestPut(r.clone()))?;
                let reply = self.put(r, self.revision + 1);
                self.revision += 1;
                Ok(Reply::Put(reply))
            }
            Command::DeleteRange(r) => {
                let mut reply = self.delete(r, self.revision + 1);
                self.settle();
                reply.header = header(self.revision);
                Ok(Reply::DeleteRange(reply))
            }
            Command::Range(r) => {
                self.check(&Request::RequestRange(r.clone()))?;
                Ok(Reply::Range(self.range(r, self.revision)))
            }
            Command::Txn(r) => {
                let branch = self.branch(r);
                self.check_txn(r)?;
                let reply = self.txn(r, &branch, self.revision + 1, &mut 0);
                self.settle();
                Ok(Reply::Txn(reply))
            }
            Command::Members(command) => panic!("{command:?} is nothing for the store"),
            Command::Compact(r) => {
                if r.revision <= self.compacted {
                    return Err(StoreError::Compacted);
                } else if r.revision > self.revision {
                    return Err(StoreError::FutureRevision);
                }
                self.compacted = r.revision;
                Ok(Reply::Compact(CompactionResponse { header: header(self.revision) }))
            }
        }
    }

    fn settle(&mut self) {
        self.revision = self.writes.last().map_or(1, |w| w.revision);
    }

    fn last(&self, key: &[u8], revision: i64) -> Option<&Write> {
        let last = self.writes.iter().rev().find(|w| w.key == key && w.revision <= revision)?;
        last.value.is_some().then_some(last)
    }

    fn keys(&self, from: &[u8], end: &[u8]) -> BTreeSet<Bytes> {
        self.writes.iter().map(|w| w.key.clone()).filter(|key| within(key, from, end)).collect()
    }

    fn key_value(w: &Write) -> KeyValue {
        KeyValue {
            key: w.key.clone(),
            create_revision: w.create,
            mod_revision: w.revision,
            version: w.version,
            value: w.value.clone().unwrap(),
            lease: w.lease,
        }
    }

    fn put(&mut self, r: &PutRequest, revision: i64) -> PutResponse {
        let old = self.last(&r.key, i64::MAX).map(Self::key_value);
        let (create, version) = old.as_ref().map_or((revision, 1), |o| (o.create_revision, o.version + 1));
        let mut value = r.value.clone();
        let mut lease = r.lease;
        if let Some(old) = &old {
            value = if r.ignore_value { old.value.clone() } else { value };
            lease = if r.ignore_lease { old.lease } else { lease };
        }
        self.writes.push(Write { revision, create, version, key: r.key.clone(), value: Some(value), lease });
        PutResponse { header: header(revision), prev_kv: old.filter(|_| r.prev_kv) }
    }

    fn delete(&mut self, r: &DeleteRangeRequest, revision: i64) -> DeleteRangeResponse {
        let mut reply = DeleteRangeResponse::default();
        for key in self.keys(&r.key, &r.range_end) {
            let Some(old) = self.last(&key, i64::MAX).map(Self::key_value) else { continue };
            reply.deleted += 1;
            if r.prev_kv {
                reply.prev_kvs.push(old);
            }
            self.writes.push(Write { revision, create: 0, version: 0, key, value: None, lease: 0 });
        }
        reply
    }

    fn range(&self, r: &RangeRequest, current: i64) -> RangeResponse {
        let at = if r.revision > 0 { r.revision } else { i64::MAX };
        let keys = self.keys(&r.key, &r.range_end);
        let mut kvs: Vec<KeyValue> =
            keys.iter().filter_map(|k| self.last(k, at)).map(Self::key_value).collect();
        let count = kvs.len() as i64;
        if r.count_only {
            return RangeResponse { header: header(current), kvs: vec![], more: false, count };
        }
        kvs.retain(|kv| r.min_mod_revision == 0 || kv.mod_revision >= r.min_mod_revision);
        kvs.retain(|kv| r.max_mod_revision == 0 || kv.mod_revision <= r.max_mod_revision);
        kvs.retain(|kv| r.min_create_revision == 0 || kv.create_revision >= r.min_create_revision);
        kvs.retain(|kv| r.max_create_revision == 0 || kv.create_revision <= r.max_create_revision);
        let descend = r.sort_order() == SortOrder::Descend;
        let by = |kv: &KeyValue| match r.sort_target() {
            SortTarget::Key => (kv.key.clone(), 0),
            SortTarget::Value => (kv.value.clone(), 0),
            SortTarget::Version => (Bytes::new(), kv.version),
            SortTarget::Create => (Bytes::new(), kv.create_revision),
            SortTarget::Mod => (Bytes::new(), kv.mod_revision),
        };
        if descend {
            kvs.sort_by_key(|kv| std::cmp::Reverse(by(kv)));
        } else {
            kvs.sort_by_key(by);
        }
        let more = r.limit > 0 && kvs.len() as i64 > r.limit;
        if more {
            kvs.truncate(r.limit as usize);
        }
        if r.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        RangeResponse { header: header(current), kvs, more, count }
    }

    fn holds(&self, c: &Compare) -> bool {
        let one = |kv: Option<KeyValue>| {
            let missing = kv.is_none();
            let kv = kv.unwrap_or_default();
            let ordering = match c.target_union.clone().unwrap() {
                TargetUnion::Version(v) => kv.version.cmp(&v),
                TargetUnion::CreateRevision(v) => kv.create_revision.cmp(&v),
                TargetUnion::ModRevision(v) => kv.mod_revision.cmp(&v),
                TargetUnion::Lease(v) => kv.lease.cmp(&v),
                TargetUnion::Value(_) if missing => return false,
                TargetUnion::Value(v) => kv.value.cmp(&v),
            };
            match c.result() {
                CompareResult::Equal => ordering.is_eq(),
                CompareResult::NotEqual => ordering.is_ne(),
                CompareResult::Greater => ordering.is_gt(),
                CompareResult::Less => ordering.is_lt(),
            }
        };
        let newest = |key: &Bytes| self.last(key, i64::MAX).map(Self::key_value);
        let found: Vec<_> = self.keys(&c.key, &c.range_end).iter().filter_map(newest).collect();
        if found.is_empty() { one(None) } else { found.into_iter().all(|kv| one(Some(kv))) }
    }

    /// The outcomes of all comparisons along the way, outermost first.
    fn branch(&self, r: &TxnRequest) -> Vec<bool> {
        let ok = r.compare.iter().all(|c| self.holds(c));
        let mut path = vec![ok];
        for op in if ok { &r.success } else { &r.failure } {
            if let Some(Request::RequestTxn(inner)) = &op.request {
                path.extend(self.branch(inner));
            }
        }
        path
    }

    /// Every put of the path, then every read.
    fn check_txn(&self, r: &TxnRequest) -> Result<(), StoreError> {
        let mut path = vec![];
        self.collect(r, &mut path);
        path.sort_by_key(|request| matches!(request, Request::RequestRange(_)));
        path.iter().try_for_each(|request| self.check(request))
    }

    fn collect(&self, r: &TxnRequest, path: &mut Vec<Request>) {
        let ok = r.compare.iter().all(|c| self.holds(c));
        for op in if ok { &r.success } else { &r.failure } {
            match op.request.as_ref().unwrap() {
                Request::RequestTxn(inner) => self.collect(inner, path),
                other => path.push(other.clone()),
            }
        }
    }

    fn check(&self, request: &Request) -> Result<(), StoreError> {
        match request {
            Request::RequestPut(r) => {
                let missing = self.last(&r.key, i64::MAX).is_none();
                if missing && (r.ignore_value || r.ignore_lease) {
                    Err(StoreError::KeyNotFound)
                } else {
                    Ok(())
                }
            }
            Request::RequestRange(r) if r.revision > self.revision => Err(StoreError::FutureRevision),
            Request::RequestRange(r) if r.revision > 0 && r.revision < self.compacted => {
                Err(StoreError::Compacted)
            }
            Request::RequestRange(_) | Request::RequestDeleteRange(_) | Request::RequestTxn(_) => Ok(()),
        }
    }

    fn txn(&mut self, r: &TxnRequest, path: &[bool], revision: i64, place: &mut usize) -> TxnResponse {
        let succeeded = path[*place];
        *place += 1;
        let mut responses = vec![];
        for op in if succeeded { &r.success } else { &r.failure } {
            let response = match op.request.as_ref().unwrap() {
                Request::RequestPut(r) => Response::ResponsePut(self.put(r, revision)),
                Request::RequestDeleteRange(r) => {
                    let mut reply = self.delete(r, revision);
                    reply.header = header(self.now(revision));
                    Response::ResponseDeleteRange(reply)
                }
                Request::RequestRange(r) => Response::ResponseRange(self.range(r, self.now(revision))),
                Request::RequestTxn(r) => Response::ResponseTxn(self.txn(r, path, revision, place)),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        TxnResponse { header: header(self.now(revision)), succeeded, responses }
    }

    /// Whether the transaction under way has written yet decides what revision a reply names.
    fn now(&self, revision: i64) -> i64 {
        if self.writes.last().is_some_and(|w| w.revision == revision) { revision } else { self.revision }
    }
}

/// The command as it would be without leases, which the store keeps but the server refuses as long as none can be granted.
pub(crate) fn without_leases(command: &Command) -> Command {
    fn strip(op: &mut RequestOp) {
        match op.request.as_mut() {
            Some(Request::RequestPut(r)) => r.lease = 0,
            Some(Request::RequestTxn(r)) => r.success.iter_mut().chain(&mut r.failure).for_each(strip),
            _ => {}
        }
    }
    let mut command = command.clone();
    match &mut command {
        Command::Put(r) => r.lease = 0,
        Command::Txn(r) => r.success.iter_mut().chain(&mut r.failure).for_each(strip),
        _ => {}
    }
    command
}

pub(crate) fn validated(command: &Command) -> Result<(), ApiError> {
    match command {
        Command::Put(r) => validate::put(r),
        Command::DeleteRange(r) => validate::delete_range(r),
        Command::Txn(r) => validate::txn(r),
        Command::Range(r) => validate::range(r),
        Command::Compact(_) | Command::Members(_) => Ok(()),
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        12 => prop::sample::select(vec!["a", "b", "c", "d", "ab", "b\0", "\u{7f}"]).prop_map(Bytes::from),
        1 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(b"\0")),
        1 => Just(Bytes::from_static(b"\xff")),
    ]
}

fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => Just(Bytes::new()),
        2 => Just(Bytes::from_static(b"\0")),
        4 => prop::sample::select(vec!["b", "c", "z", "a"]).prop_map(Bytes::from),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "2", "x"]).prop_map(Bytes::from)
}

/// Mostly "now"; otherwise any, whether it exists or not.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 4 => 1..40i64]
}

fn bound() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0), 2 => 1..30i64]
}

prop_compose! {
    fn put()(key in key(), value in value(), prev_kv: bool, ignore in 0..12, leases in 0..6i64, with_lease: bool)
        -> PutRequest {
        let lease = if with_lease && leases == 5 { 7 } else { 0 };
        PutRequest {
            key, lease, prev_kv,
            value: if ignore < 2 && value != "x" { Bytes::new() } else { value },
            ignore_value: ignore < 2,
            ignore_lease: ignore == 2,
        }
    }
}

prop_compose! {
    fn delete()(key in key(), range_end in range_end(), prev_kv: bool) -> DeleteRangeRequest {
        DeleteRangeRequest { key, range_end, prev_kv }
    }
}

prop_compose! {
    fn range()(
        key in key(), range_end in range_end(), limit in prop_oneof![Just(0), -1..4i64], revision in revision(),
        (sort_order, sort_target) in (0..3, 0..5), serializable: bool, keys_only: bool, count in 0..5,
        bounds in (bound(), bound(), bound(), bound()),
    ) -> RangeRequest {
        RangeRequest {
            key, range_end, limit, revision, sort_order, serializable, keys_only,
            // What no order with another target than the key means is left to the server.
            sort_target: if sort_order == 0 { 0 } else { sort_target },
            count_only: count == 0,
            min_mod_revision: bounds.0, max_mod_revision: bounds.1,
            min_create_revision: bounds.2, max_create_revision: bounds.3,
        }
    }
}

prop_compose! {
    fn compare()(key in key(), ranged in 0..4, end in range_end(), result in 0..4, target in 0..5, number in 0..4i64,
        value in value()) -> Compare {
        let target_union = match CompareTarget::try_from(target).unwrap() {
            CompareTarget::Version => TargetUnion::Version(number),
            CompareTarget::Create => TargetUnion::CreateRevision(number * 3),
            CompareTarget::Mod => TargetUnion::ModRevision(number * 3),
            CompareTarget::Value => TargetUnion::Value(value),
            CompareTarget::Lease => TargetUnion::Lease(number),
        };
        let range_end = if ranged == 0 { end } else { Bytes::new() };
        Compare { result, target, key, range_end, target_union: Some(target_union) }
    }
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![
        3 => put().prop_map(Request::RequestPut),
        1 => delete().prop_map(Request::RequestDeleteRange),
        2 => range().prop_map(Request::RequestRange),
    ];
    let request = leaf.prop_recursive(3, 12, 3, |inner| {
        let op = inner.prop_map(|request| RequestOp { request: Some(request) });
        let ops = prop::collection::vec(op, 0..3);
        (prop::collection::vec(compare(), 0..2), ops.clone(), ops).prop_map(|(compare, success, failure)| {
            Request::RequestTxn(TxnRequest { compare, success, failure })
        })
    });
    let op = request.prop_map(|request| RequestOp { request: Some(request) });
    let ops = prop::collection::vec(op, 0..4);
    (prop::collection::vec(compare(), 0..3), ops.clone(), ops)
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        5 => put().prop_map(Command::Put),
        2 => delete().prop_map(Command::DeleteRange),
        6 => range().prop_map(Command::Range),
        6 => txn().prop_map(Command::Txn),
        1 => (0..30i64).prop_map(|revision| Command::Compact(CompactionRequest { revision, physical: true })),
    ]
}
