//! The state that is replicated: every version of every key, in memory.
//!
//! **Intuition.** The store is a diary. A *revision* counts the requests that wrote something; all writes of one request share
//! it and are told apart by a *sub-revision*. Nothing is overwritten: each key has a `History` of versions, and a delete
//! is a version without a value. So a read can look at any moment since the last compaction, which is what forgets.
//!
//! **Invariants.**
//! - An empty store is at revision 1. A request that writes nothing takes no revision.
//! - A history is never empty, and its versions ascend strictly by (revision, sub-revision).
//! - `timeline` holds one entry per version that is newer than the last compaction, in the order of writing; compaction
//!   walks it, and so costs as much as there is to forget and not as much as is kept.
//! - Equal requests in equal order give equal states, equal replies and equal snapshots: no clock, no chance, no iteration
//!   over an unordered map.

mod history;
mod range;
mod snapshot;
mod txn;

use crate::proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader,
};
use crate::proto::mvccpb::KeyValue;
use bytes::Bytes;
use history::{History, Version};
pub(crate) use range::KeyRange;
pub use snapshot::SnapshotError;
pub(crate) use snapshot::{Copying, Moment};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
pub(crate) use txn::{has_puts, is_read_only};

/// The revision of a store that nobody has written to.
pub const FIRST_REVISION: i64 = 1;

/// What a version costs in memory beside its key and value, roughly: the counters, two shared slices, a place in a tree.
const VERSION_OVERHEAD_BYTES: u64 = 128;

/// Why a well-formed request cannot be carried out in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The revision was forgotten.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision has not happened yet.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The value or lease of a missing key was to be kept.
    #[error("key not found")]
    KeyNotFound,
    /// A transaction that was to be read-only writes.
    #[error("a read-only transaction cannot write")]
    ReadOnly,
}

/// Every version of every key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    revision: i64,
    compacted: i64,
    keys: BTreeMap<Bytes, History>,
    timeline: VecDeque<(i64, Bytes)>,
    size_bytes: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            revision: FIRST_REVISION,
            compacted: 0,
            keys: BTreeMap::new(),
            timeline: VecDeque::new(),
            size_bytes: 0,
        }
    }
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The revision of the last write.
    #[must_use]
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// The oldest revision that can be read; 0 if nothing was ever compacted.
    #[must_use]
    pub const fn compact_revision(&self) -> i64 {
        self.compacted
    }

    /// Roughly how much memory all versions take, in bytes.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many keys have a history; deleted ones count until they are compacted away.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Reads.
    ///
    /// # Errors
    /// If the revision was compacted or lies in the future.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        self.check_revision(request.revision)?;
        Ok(range::run(self, request, self.revision))
    }

    /// Writes one key.
    ///
    /// # Errors
    /// If the value or lease of a missing key is to be kept.
    pub fn put(&mut self, request: &PutRequest) -> Result<PutResponse, StoreError> {
        self.check_put(request)?;
        let mut writing = Writing::begin(self);
        let response = writing.put(request);
        writing.finish();
        Ok(response)
    }

    /// Deletes keys.
    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let mut writing = Writing::begin(self);
        let response = writing.delete_range(request);
        writing.finish();
        response
    }

    /// Forgets what was superseded at or before `revision`, which can still be read afterwards.
    ///
    /// # Errors
    /// If `revision` was compacted before or lies in the future.
    pub fn compact(&mut self, revision: i64) -> Result<(), StoreError> {
        if revision <= self.compacted {
            return Err(StoreError::Compacted);
        }
        if revision > self.revision {
            return Err(StoreError::FutureRevision);
        }
        self.compacted = revision;
        while self.timeline.front().is_some_and(|&(at, _)| at <= revision) {
            if let Some((_, key)) = self.timeline.pop_front() {
                self.forget(&key, revision);
            }
        }
        Ok(())
    }

    fn forget(&mut self, key: &Bytes, revision: i64) {
        // Absent if an earlier entry of the same key has found it deleted for good.
        let Some(history) = self.keys.get_mut(key) else { return };
        let before = history.cost(key);
        history.compact(revision);
        self.size_bytes = self.size_bytes - before + history.cost(key);
        if history.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Whether the state at `revision` can be read; at 0 or below it means now.
    pub(crate) fn check_revision(&self, revision: i64) -> Result<(), StoreError> {
        if revision <= 0 {
            Ok(())
        } else if revision > self.revision {
            Err(StoreError::FutureRevision)
        } else if revision < self.compacted {
            Err(StoreError::Compacted)
        } else {
            Ok(())
        }
    }

    fn check_put(&self, request: &PutRequest) -> Result<(), StoreError> {
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && self.newest(&request.key).is_none() {
            return Err(StoreError::KeyNotFound);
        }
        Ok(())
    }

    /// The key's newest version, unless it is deleted.
    fn newest(&self, key: &[u8]) -> Option<&Version> {
        self.keys.get(key)?.newest()
    }
}

/// One request that writes: all its writes share a revision, which counts only if there is at least one.
struct Writing<'a> {
    store: &'a mut Store,
    revision: i64,
    writes: u32,
}

impl<'a> Writing<'a> {
    fn begin(store: &'a mut Store) -> Self {
        let revision = store.revision + 1;
        Self { store, revision, writes: 0 }
    }

    fn finish(self) {
        if self.writes > 0 {
            self.store.revision = self.revision;
        }
    }

    /// The revision as of now: the request's own from its first write on.
    const fn current(&self) -> i64 {
        if self.writes > 0 { self.revision } else { self.store.revision }
    }

    fn put(&mut self, request: &PutRequest) -> PutResponse {
        let (revision, sub) = (self.revision, self.writes);
        let mut prev_kv = None;
        self.write(&request.key, |key, history| {
            let previous = history.newest();
            prev_kv = previous.filter(|_| request.prev_kv).map(|version| version.key_value(key, false));
            let value = match previous.filter(|_| request.ignore_value) {
                Some(kept) => kept.value.clone(),
                // The request may be a slice of something far larger, which must not live on with the key.
                None => Some(Bytes::copy_from_slice(&request.value)),
            };
            Version {
                revision,
                sub,
                create: previous.map_or(revision, |p| p.create),
                version: previous.map_or(0, |p| p.version) + 1,
                lease: previous.filter(|_| request.ignore_lease).map_or(request.lease, |p| p.lease),
                value,
            }
        });
        PutResponse { header: Some(header(self.current())), prev_kv }
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let range = KeyRange::new(&request.key, &request.range_end);
        let live: Vec<(Bytes, Option<KeyValue>)> = range
            .iter(&self.store.keys)
            .filter_map(|(key, history)| Some((key, history.newest()?)))
            .map(|(key, newest)| (key.clone(), request.prev_kv.then(|| newest.key_value(key, false))))
            .collect();
        let deleted = i64::try_from(live.len()).unwrap_or(i64::MAX);
        let mut prev_kvs = Vec::new();
        for (key, previous) in live {
            let tombstone = Version::tombstone(self.revision, self.writes);
            self.write(&key, |_, _| tombstone);
            prev_kvs.extend(previous);
        }
        DeleteRangeResponse { header: Some(header(self.current())), deleted, prev_kvs }
    }

    /// Adds the version that `next` makes of the key's history.
    fn write(&mut self, key: &[u8], next: impl FnOnce(&Bytes, &History) -> Version) {
        // One search of the tree; and one allocation per key, shared by the tree, the timeline and every reply.
        let (key, history) = match self.store.keys.entry(Bytes::copy_from_slice(key)) {
            Entry::Occupied(known) => (known.key().clone(), known.into_mut()),
            Entry::Vacant(new) => (new.key().clone(), new.insert(History::default())),
        };
        let version = next(&key, history);
        self.writes += 1;
        self.store.size_bytes += version.cost(&key);
        history.push(version);
        self.store.timeline.push_back((self.revision, key));
    }
}

/// The part of a reply's header that the store knows; the server fills in the rest.
const fn header(revision: i64) -> ResponseHeader {
    ResponseHeader { cluster_id: 0, member_id: 0, revision, raft_term: 0 }
}

#[cfg(test)]
mod tests;
