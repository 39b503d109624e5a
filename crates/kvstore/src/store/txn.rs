//! Transactions: compare first, then carry out one branch.
//!
//! All comparisons, those of nested transactions too, look at the state before the transaction; so the path through it is
//! known, and everything that can fail has failed, before the first write.

use super::history::Version;
use super::{KeyRange, Store, StoreError, Writing, header, range};
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::response_op::Response;
use crate::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, ResponseOp, TxnRequest, TxnResponse,
};
use std::cmp::Ordering;

/// Whether neither branch can write.
pub(crate) fn is_read_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(Request::RequestRange(_)) | None => true,
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => false,
        Some(Request::RequestTxn(inner)) => is_read_only(inner),
    })
}

/// Whether a branch can make the store grow.
pub(crate) fn has_puts(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => false,
        Some(Request::RequestTxn(inner)) => has_puts(inner),
    })
}

impl Store {
    /// Carries a transaction out.
    ///
    /// # Errors
    /// If one of its operations cannot be carried out; then nothing is.
    pub fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, StoreError> {
        let plan = Plan::new(self, request)?;
        let mut stage = Stage::Writing(Writing::begin(self));
        let response = plan.run(&mut stage)?;
        if let Stage::Writing(writing) = stage {
            writing.finish();
        }
        Ok(response)
    }

    /// Carries out a transaction that only reads.
    ///
    /// # Errors
    /// If the branch that is taken writes, or reads a revision that is not there.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, StoreError> {
        Plan::new(self, request)?.run(&mut Stage::Reading(self))
    }

    pub(super) fn holds(&self, compare: &Compare) -> bool {
        let mut found = KeyRange::new(&compare.key, &compare.range_end)
            .iter(&self.keys)
            .filter_map(|(_, history)| history.newest())
            .peekable();
        // A range without keys counts as one missing key.
        if found.peek().is_none() {
            return compare_version(compare, None);
        }
        found.all(|version| compare_version(compare, Some(version)))
    }
}

/// A missing key reads as zeros; its value compares with nothing.
fn compare_version(compare: &Compare, version: Option<&Version>) -> bool {
    let given = compare.target_union.as_ref();
    let ordering = match compare.target() {
        CompareTarget::Version => {
            let given = if let Some(TargetUnion::Version(v)) = given { *v } else { 0 };
            version.map_or(0, |v| v.version).cmp(&given)
        }
        CompareTarget::Create => {
            let given = if let Some(TargetUnion::CreateRevision(v)) = given { *v } else { 0 };
            version.map_or(0, |v| v.create).cmp(&given)
        }
        CompareTarget::Mod => {
            let given = if let Some(TargetUnion::ModRevision(v)) = given { *v } else { 0 };
            version.map_or(0, |v| v.revision).cmp(&given)
        }
        CompareTarget::Lease => {
            let given = if let Some(TargetUnion::Lease(v)) = given { *v } else { 0 };
            version.map_or(0, |v| v.lease).cmp(&given)
        }
        CompareTarget::Value => {
            let Some(stored) = version.and_then(|v| v.value.as_deref()) else { return false };
            let given = if let Some(TargetUnion::Value(v)) = given { v.as_ref() } else { &[] };
            stored.cmp(given)
        }
    };
    match compare.result() {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::NotEqual => ordering != Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
    }
}

/// The branch that is taken, with everything in it checked.
struct Plan<'r> {
    succeeded: bool,
    steps: Vec<Step<'r>>,
}

enum Step<'r> {
    Range(&'r RangeRequest),
    Put(&'r PutRequest),
    DeleteRange(&'r DeleteRangeRequest),
    Txn(Plan<'r>),
}

impl<'r> Plan<'r> {
    fn new(store: &Store, request: &'r TxnRequest) -> Result<Self, StoreError> {
        let plan = Self::path(store, request);
        // All writes are checked before all reads: which of two errors is told is part of the protocol.
        plan.check(&|step| if let Step::Put(request) = step { store.check_put(request) } else { Ok(()) })?;
        plan.check(&|step| {
            if let Step::Range(r) = step { store.check_revision(r.revision) } else { Ok(()) }
        })?;
        Ok(plan)
    }

    fn path(store: &Store, request: &'r TxnRequest) -> Self {
        let succeeded = request.compare.iter().all(|compare| store.holds(compare));
        let branch = if succeeded { &request.success } else { &request.failure };
        Self { succeeded, steps: branch.iter().filter_map(|op| Step::new(store, op)).collect() }
    }

    fn check(&self, test: &impl Fn(&Step<'r>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Txn(plan) => plan.check(test),
            Step::Range(_) | Step::Put(_) | Step::DeleteRange(_) => test(step),
        })
    }

    fn run(&self, stage: &mut Stage<'_>) -> Result<TxnResponse, StoreError> {
        let mut responses = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let response = match step {
                Step::Range(request) => Response::ResponseRange(stage.range(request)),
                Step::Put(request) => Response::ResponsePut(stage.put(request)?),
                Step::DeleteRange(request) => Response::ResponseDeleteRange(stage.delete_range(request)?),
                Step::Txn(plan) => Response::ResponseTxn(plan.run(stage)?),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: Some(header(stage.revision())), succeeded: self.succeeded, responses })
    }
}

impl<'r> Step<'r> {
    /// `None`: an operation without content, which validation does not let in.
    fn new(store: &Store, op: &'r RequestOp) -> Option<Self> {
        Some(match op.request.as_ref()? {
            Request::RequestRange(request) => Self::Range(request),
            Request::RequestPut(request) => Self::Put(request),
            Request::RequestDeleteRange(request) => Self::DeleteRange(request),
            Request::RequestTxn(request) => Self::Txn(Plan::path(store, request)),
        })
    }
}

/// Where a plan is carried out.
enum Stage<'s> {
    Reading(&'s Store),
    Writing(Writing<'s>),
}

impl Stage<'_> {
    const fn revision(&self) -> i64 {
        match self {
            Self::Reading(store) => store.revision,
            Self::Writing(writing) => writing.current(),
        }
    }

    fn range(&self, request: &RangeRequest) -> RangeResponse {
        let store: &Store = match self {
            Self::Reading(store) => store,
            Self::Writing(writing) => writing.store,
        };
        range::run(store, request, self.revision())
    }

    fn put(&mut self, request: &PutRequest) -> Result<PutResponse, StoreError> {
        match self {
            Self::Reading(_) => Err(StoreError::ReadOnly),
            Self::Writing(writing) => Ok(writing.put(request)),
        }
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> Result<DeleteRangeResponse, StoreError> {
        match self {
            Self::Reading(_) => Err(StoreError::ReadOnly),
            Self::Writing(writing) => Ok(writing.delete_range(request)),
        }
    }
}
