//! What is checked of a request before anything is done with it. What passes here, every member can carry out or refuse
//! alike.

use crate::error::ApiError;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use crate::store::KeyRange;
use std::collections::BTreeSet;

/// The largest request, encoded, in bytes: 1.5 MiB, as clients know it.
pub const MAX_REQUEST_BYTES: usize = 3 << 19;
/// The most comparisons, and the most operations of a branch, in one transaction; nested ones share it.
pub const MAX_TXN_OPS: usize = 128;
/// How deep transactions may be nested. The protobuf decoder gives up at 100 messages, two per level, and a reply nests
/// a little deeper than its request.
pub const MAX_TXN_DEPTH: usize = 32;

/// Checks a read.
///
/// # Errors
/// Names what is wrong with it.
pub fn range(request: &RangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(ApiError::InvalidSortOption);
    }
    Ok(())
}

/// Checks a write.
///
/// # Errors
/// Names what is wrong with it.
pub fn put(request: &PutRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(ApiError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ApiError::LeaseProvided);
    }
    // Leases cannot be granted yet, so none exists.
    if request.lease != 0 {
        return Err(ApiError::LeaseNotFound);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// Names what is wrong with it.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() { Err(ApiError::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction and everything in it.
///
/// # Errors
/// Names what is wrong with it.
pub fn txn(request: &TxnRequest) -> Result<(), ApiError> {
    check_txn(request, MAX_TXN_OPS, MAX_TXN_DEPTH)?;
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

fn check_txn(request: &TxnRequest, ops_left: usize, depth_left: usize) -> Result<(), ApiError> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    let ops_left = ops_left.checked_sub(ops).ok_or(ApiError::TooManyOps)?;
    let depth_left = depth_left.checked_sub(1).ok_or(ApiError::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(ApiError::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => check_txn(request, ops_left, depth_left)?,
            None => return Err(ApiError::EmptyKey),
        }
    }
    Ok(())
}

/// What a branch may write. A key must not be put twice, nor be put and deleted, by what may happen in one run.
#[derive(Default)]
struct Writes<'r> {
    puts: BTreeSet<&'r [u8]>,
    deletes: Vec<KeyRange<'r>>,
}

impl<'r> Writes<'r> {
    fn of(branch: &'r [RequestOp]) -> Result<Self, ApiError> {
        let mut writes = Self::default();
        for op in branch {
            // etcd lets a branch empty everything from a key on and put there: its operations happen in their order.
            if let Some(Request::RequestDeleteRange(request)) = &op.request
                && request.range_end.as_ref() != [0]
            {
                writes.deletes.push(KeyRange::new(&request.key, &request.range_end));
            }
        }
        for op in branch {
            if let Some(Request::RequestTxn(request)) = &op.request {
                writes.add_nested(Self::of(&request.success)?, Self::of(&request.failure)?)?;
            }
        }
        for op in branch {
            if let Some(Request::RequestPut(request)) = &op.request {
                writes.add_put(&request.key)?;
            }
        }
        Ok(writes)
    }

    fn add_put(&mut self, key: &'r [u8]) -> Result<(), ApiError> {
        if self.deletes.iter().any(|range| range.contains(key)) || !self.puts.insert(key) {
            return Err(ApiError::DuplicateKey);
        }
        Ok(())
    }

    /// Only one of the two branches happens: what one of them puts, the other may put too.
    fn add_nested(&mut self, success: Self, failure: Self) -> Result<(), ApiError> {
        for key in success.puts.union(&failure.puts) {
            self.add_put(key)?;
        }
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::Compare;

    fn op(request: Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    fn put_op(key: &str) -> RequestOp {
        op(Request::RequestPut(PutRequest { key: key.to_owned().into(), ..PutRequest::default() }))
    }

    fn delete_op(key: &str, range_end: &str) -> RequestOp {
        op(Request::RequestDeleteRange(DeleteRangeRequest {
            key: key.to_owned().into(),
            range_end: range_end.to_owned().into(),
            prev_kv: false,
        }))
    }

    fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        op(Request::RequestTxn(TxnRequest { compare: vec![], success, failure }))
    }

    fn check(success: Vec<RequestOp>) -> Result<(), ApiError> {
        txn(&TxnRequest { compare: vec![], success, failure: vec![] })
    }

    #[test]
    fn a_key_is_written_once() {
        assert_eq!(check(vec![put_op("a"), put_op("b")]), Ok(()));
        assert_eq!(check(vec![put_op("a"), put_op("a")]), Err(ApiError::DuplicateKey));
        assert_eq!(check(vec![put_op("b"), delete_op("a", "c")]), Err(ApiError::DuplicateKey));
        assert_eq!(check(vec![put_op("c"), delete_op("a", "c")]), Ok(()));
        assert_eq!(check(vec![delete_op("a", "\0"), put_op("c")]), Ok(()));
        assert_eq!(check(vec![delete_op("a", ""), delete_op("a", "c")]), Ok(()));
    }

    #[test]
    fn nested_transactions_count_as_both_of_their_branches() {
        assert_eq!(check(vec![nested(vec![put_op("a")], vec![put_op("a")])]), Ok(()));
        assert_eq!(check(vec![put_op("a"), nested(vec![], vec![put_op("a")])]), Err(ApiError::DuplicateKey));
        assert_eq!(
            check(vec![put_op("a"), nested(vec![delete_op("a", "")], vec![])]),
            Err(ApiError::DuplicateKey)
        );
        assert_eq!(
            check(vec![delete_op("a", ""), nested(vec![put_op("a")], vec![])]),
            Err(ApiError::DuplicateKey)
        );
        let twice = vec![nested(vec![put_op("a")], vec![]), nested(vec![], vec![put_op("a")])];
        assert_eq!(check(twice), Err(ApiError::DuplicateKey));
    }

    #[test]
    fn operations_are_bounded_over_all_levels() {
        let puts = |count: usize| (0..count).map(|i| put_op(&i.to_string())).collect::<Vec<_>>();
        assert_eq!(check(puts(MAX_TXN_OPS)), Ok(()));
        assert_eq!(check(puts(MAX_TXN_OPS + 1)), Err(ApiError::TooManyOps));
        assert_eq!(check(vec![nested(puts(MAX_TXN_OPS - 1), vec![])]), Ok(()));
        assert_eq!(check(vec![nested(puts(MAX_TXN_OPS), vec![])]), Err(ApiError::TooManyOps));
        let deep = |levels| (1..levels).fold(vec![put_op("a")], |inner, _| vec![nested(inner, vec![])]);
        assert_eq!(check(deep(MAX_TXN_DEPTH)), Ok(()));
        assert_eq!(check(deep(MAX_TXN_DEPTH + 1)), Err(ApiError::TooManyOps));
        let compare = vec![Compare { key: "a".into(), ..Compare::default() }; MAX_TXN_OPS + 1];
        let request = TxnRequest { compare, success: vec![], failure: vec![] };
        assert_eq!(txn(&request), Err(ApiError::TooManyOps));
    }

    #[test]
    fn keys_are_given_and_options_agree() {
        assert_eq!(range(&RangeRequest::default()), Err(ApiError::EmptyKey));
        assert_eq!(put(&PutRequest::default()), Err(ApiError::EmptyKey));
        assert_eq!(delete_range(&DeleteRangeRequest::default()), Err(ApiError::EmptyKey));
        assert_eq!(check(vec![RequestOp { request: None }]), Err(ApiError::EmptyKey));
        let request = TxnRequest { compare: vec![Compare::default()], success: vec![], failure: vec![] };
        assert_eq!(txn(&request), Err(ApiError::EmptyKey));
        let key = || "k".into();
        let bad_sort = RangeRequest { key: key(), sort_target: 9, ..RangeRequest::default() };
        assert_eq!(range(&bad_sort), Err(ApiError::InvalidSortOption));
        let value = PutRequest { key: key(), value: "v".into(), ignore_value: true, ..PutRequest::default() };
        assert_eq!(put(&value), Err(ApiError::ValueProvided));
        let lease = PutRequest { key: key(), lease: 1, ignore_lease: true, ..PutRequest::default() };
        assert_eq!(put(&lease), Err(ApiError::LeaseProvided));
        let unknown = PutRequest { key: key(), lease: 1, ..PutRequest::default() };
        assert_eq!(put(&unknown), Err(ApiError::LeaseNotFound));
    }
}
