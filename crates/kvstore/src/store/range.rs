//! Which keys a request means, and what a read returns of them.

use super::history::{History, Version};
use super::{Store, header};
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::{RangeRequest, RangeResponse};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A set of keys, as (key, range_end) names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange<'a> {
    from: &'a [u8],
    to: Bound<&'a [u8]>,
}

impl<'a> KeyRange<'a> {
    /// Without an end: just `key`. An end of one zero byte: everything from `key` on. Otherwise everything from `key` up to,
    /// but without, `range_end`.
    pub(crate) const fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        let to = match range_end {
            [] => Bound::Included(key),
            [0] => Bound::Unbounded,
            _ => Bound::Excluded(range_end),
        };
        Self { from: key, to }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= self.from
            && match self.to {
                Bound::Included(last) => key <= last,
                Bound::Excluded(end) => key < end,
                Bound::Unbounded => true,
            }
    }

    /// The keys with a history, in order.
    pub(super) fn iter<'m>(
        &self,
        keys: &'m BTreeMap<Bytes, History>,
    ) -> impl Iterator<Item = (&'m Bytes, &'m History)> + use<'m> {
        // A tree refuses bounds in the wrong order with a panic; a client who asks for [b, a) means nothing.
        let to = match self.to {
            Bound::Excluded(end) if end <= self.from => Bound::Excluded(self.from),
            Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => self.to,
        };
        keys.range::<[u8], _>((Bound::Included(self.from), to))
    }
}

/// Reads as of the request's revision, which the caller has checked; `current` is the revision as of now.
pub(super) fn run(store: &Store, request: &RangeRequest, current: i64) -> RangeResponse {
    let range = KeyRange::new(&request.key, &request.range_end);
    // A transaction that reads sees its own writes, whose revision the store does not count yet.
    let revision = if request.revision > 0 { request.revision } else { i64::MAX };
    let matches = range.iter(&store.keys).filter_map(|(key, history)| Some((key, history.at(revision)?)));
    let limit = usize::try_from(request.limit).ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX);
    let mut response =
        RangeResponse { header: Some(header(current)), kvs: Vec::new(), more: false, count: 0 };
    if request.count_only {
        response.count = length(matches.count());
        return response;
    }
    let mut found: Vec<(&Bytes, &Version)> = Vec::new();
    let sorted = is_sorted_or_filtered(request);
    let mut count = 0;
    for entry in matches {
        count += 1;
        // Behind the limit only the count is of interest, unless sorting may bring a later key to the front.
        if found.len() <= limit || sorted {
            found.push(entry);
        }
    }
    response.count = length(count);
    found.retain(|(_, version)| passes(request, version));
    sort(&mut found, request);
    response.more = found.len() > limit;
    found.truncate(limit);
    response.kvs = found.iter().map(|(key, version)| version.key_value(key, request.keys_only)).collect();
    response
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn is_sorted_or_filtered(request: &RangeRequest) -> bool {
    request.sort_order() != SortOrder::None
        || request.sort_target() != SortTarget::Key
        || request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest, version: &Version) -> bool {
    let within =
        |value: i64, least: i64, most: i64| (least == 0 || value >= least) && (most == 0 || value <= most);
    within(version.revision, request.min_mod_revision, request.max_mod_revision)
        && within(version.create, request.min_create_revision, request.max_create_revision)
}

/// Keys arrive in ascending order, and the sort is stable: ties stay in the order of their keys.
fn sort(found: &mut [(&Bytes, &Version)], request: &RangeRequest) {
    let target = request.sort_target();
    let by_target = |(key_a, a): &(&Bytes, &Version), (key_b, b): &(&Bytes, &Version)| -> Ordering {
        match target {
            SortTarget::Key => key_a.cmp(key_b),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create.cmp(&b.create),
            SortTarget::Mod => a.revision.cmp(&b.revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match request.sort_order() {
        SortOrder::Descend => found.sort_by(|a, b| by_target(b, a)),
        SortOrder::None | SortOrder::Ascend if target == SortTarget::Key => {}
        SortOrder::None | SortOrder::Ascend => found.sort_by(by_target),
    }
}
