//! The whole store as bytes, and back. Equal stores give equal bytes.
//!
//! ```text
//! 1 byte    format version
//! 8 bytes   revision            8 bytes   compacted revision          8 bytes   number of keys
//! per key, ascending:
//!   4 bytes length, the key     4 bytes   number of versions
//!   per version, oldest first:
//!     8 revision   4 sub-revision   8 create   8 version   8 lease   1 tag: 0 deleted, 1 value   [4 length, the value]
//! 4 bytes   CRC-32 of everything before
//! ```
//! Numbers are little-endian. Nothing of this is trusted when it is read: neither a length, nor an order, nor a revision.

use super::history::{History, Version};
use super::{FIRST_REVISION, Store};
use bytes::{Buf, BufMut, Bytes};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

const FORMAT_VERSION: u8 = 1;
const DELETED: u8 = 0;
const VALUE: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// Bytes that are not a snapshot of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Written by another version of this program.
    #[error("it has format version {0}, and this program knows {FORMAT_VERSION}")]
    Version(u8),
    /// Not what was written.
    #[error("its checksum does not match: it is damaged")]
    Checksum,
    /// Intact, and yet no state that a store can be in.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

/// What there is to be said of a state that was there at some revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    revision: i64,
    compacted: i64,
    size_bytes: u64,
    keys: u64,
}

/// A snapshot in the making.
#[derive(Debug)]
pub(crate) struct Copying {
    moment: Moment,
    out: Vec<u8>,
    /// Where it begins in that.
    start: usize,
    /// The last key that was copied.
    last: Option<Bytes>,
}

impl Moment {
    /// Begins a copy behind what is in `out`.
    pub(crate) fn copy_behind(self, mut out: Vec<u8>) -> Copying {
        let start = out.len();
        out.reserve(usize::try_from(self.size_bytes).unwrap_or(0));
        out.put_u8(FORMAT_VERSION);
        out.put_i64_le(self.revision);
        out.put_i64_le(self.compacted);
        out.put_u64_le(self.keys);
        Copying { moment: self, out, start, last: None }
    }
}

impl Copying {
    /// The snapshot, once everything is copied.
    pub(crate) fn finish(self) -> Bytes {
        let Self { mut out, start, .. } = self;
        let checksum = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.put_u32_le(checksum);
        out.into()
    }
}

impl Store {
    /// The whole state as bytes.
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        self.snapshot_behind(Vec::new())
    }

    /// The same, behind what is in `out`.
    pub(crate) fn snapshot_behind(&self, out: Vec<u8>) -> Bytes {
        let mut copying = self.moment().copy_behind(out);
        while self.copy_more(&mut copying, usize::MAX) {}
        copying.finish()
    }

    /// What there is to be copied of the present state.
    pub(crate) fn moment(&self) -> Moment {
        let Self { revision, compacted, size_bytes, .. } = *self;
        Moment { revision, compacted, size_bytes, keys: self.keys.len() as u64 }
    }

    /// Copies some more keys of a state that was here, so many bytes or one key; whether there are more. Every version of then is still
    /// here, if nothing was compacted since.
    pub(crate) fn copy_more(&self, copying: &mut Copying, bytes: usize) -> bool {
        let Copying { moment, out, last, .. } = copying;
        let end = out.len().saturating_add(bytes);
        let from = last.take().map_or(Bound::Unbounded, Bound::Excluded);
        for (key, history) in self.keys.range((from, Bound::Unbounded)) {
            let versions = history.through(moment.revision);
            // Otherwise the key is younger.
            if !versions.is_empty() {
                put_slice(out, key);
                put_length(out, versions.len());
                versions.iter().for_each(|version| put_version(out, version));
            }
            if out.len() >= end {
                *last = Some(key.clone());
                return true;
            }
        }
        false
    }

    /// The store that [`Store::snapshot`] was taken of.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        match bytes.first() {
            None => return Err(SnapshotError::Malformed("it is empty")),
            Some(&FORMAT_VERSION) => {}
            Some(&other) => return Err(SnapshotError::Version(other)),
        }
        let end = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(SnapshotError::Checksum)?;
        let (content, mut checksum) = bytes.split_at(end);
        if checksum.get_u32_le() != crc32fast::hash(content) {
            return Err(SnapshotError::Checksum);
        }
        Reader { rest: content.get(1..).unwrap_or_default() }.store().map_err(SnapshotError::Malformed)
    }

    /// A digest of all versions at or before `revision`: equal on all members that have compacted equally.
    #[must_use]
    pub fn hash(&self, revision: i64) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = Vec::new();
        for (key, history) in &self.keys {
            for version in history.versions().iter().take_while(|version| version.revision <= revision) {
                buffer.clear();
                put_slice(&mut buffer, key);
                put_version(&mut buffer, version);
                hasher.update(&buffer);
            }
        }
        hasher.finalize()
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    // Requests are bounded far below 4 GiB, and so are keys, values and what one key can gather in memory.
    out.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
}

fn put_slice(out: &mut Vec<u8>, slice: &[u8]) {
    put_length(out, slice.len());
    out.put_slice(slice);
}

fn put_version(out: &mut Vec<u8>, version: &Version) {
    out.put_i64_le(version.revision);
    out.put_u32_le(version.sub);
    out.put_i64_le(version.create);
    out.put_i64_le(version.version);
    out.put_i64_le(version.lease);
    match &version.value {
        None => out.put_u8(DELETED),
        Some(value) => {
            out.put_u8(VALUE);
            put_slice(out, value);
        }
    }
}

struct Reader<'b> {
    rest: &'b [u8],
}

type Read<T> = Result<T, &'static str>;
const TOO_SHORT: &str = "it ends too early";

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Read<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Read<u8> {
        self.rest.try_get_u8().map_err(|_| TOO_SHORT)
    }

    fn u32(&mut self) -> Read<u32> {
        self.rest.try_get_u32_le().map_err(|_| TOO_SHORT)
    }

    fn i64(&mut self) -> Read<i64> {
        self.rest.try_get_i64_le().map_err(|_| TOO_SHORT)
    }

    fn slice(&mut self) -> Read<Bytes> {
        let length = usize::try_from(self.u32()?).map_err(|_| TOO_SHORT)?;
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    fn store(&mut self) -> Read<Store> {
        let mut store = Store { revision: self.i64()?, compacted: self.i64()?, ..Store::default() };
        if store.revision < FIRST_REVISION || !(0..=store.revision).contains(&store.compacted) {
            return Err("its revisions make no sense");
        }
        let keys = self.rest.try_get_u64_le().map_err(|_| TOO_SHORT)?;
        let mut timeline: Vec<(i64, u32, Bytes)> = Vec::new();
        for _ in 0..keys {
            self.key(&mut store, &mut timeline)?;
        }
        if !self.rest.is_empty() {
            return Err("something follows its end");
        }
        timeline.sort_unstable();
        if timeline.windows(2).any(|pair| matches!(pair, [(a, b, _), (c, d, _)] if (a, b) == (c, d))) {
            return Err("two writes share a revision and a sub-revision");
        }
        store.timeline =
            timeline.into_iter().map(|(revision, _, key)| (revision, key)).collect::<VecDeque<_>>();
        Ok(store)
    }

    fn key(&mut self, store: &mut Store, timeline: &mut Vec<(i64, u32, Bytes)>) -> Read<()> {
        let key = self.slice()?;
        let last: Option<&[u8]> = last_key(&store.keys);
        if key.is_empty() || last.is_some_and(|last| last >= key.as_ref()) {
            return Err("its keys are empty or out of order");
        }
        let mut history = History::default();
        for _ in 0..self.u32()? {
            let version = self.version()?;
            let order = |v: &Version| (v.revision, v.sub);
            if history.versions().last().is_some_and(|last| order(last) >= order(&version)) {
                return Err("the versions of a key are out of order");
            }
            if version.revision > store.revision || version.revision < FIRST_REVISION {
                return Err("a version is newer than the store, or older than any");
            }
            if version.revision > store.compacted {
                timeline.push((version.revision, version.sub, key.clone()));
            }
            history.push(version);
        }
        if history.is_empty() {
            return Err("a key has no version");
        }
        store.size_bytes += history.cost(&key);
        store.keys.insert(key, history);
        Ok(())
    }

    fn version(&mut self) -> Read<Version> {
        let mut version = Version {
            revision: self.i64()?,
            sub: self.u32()?,
            create: self.i64()?,
            version: self.i64()?,
            lease: self.i64()?,
            value: None,
        };
        match self.u8()? {
            DELETED if (version.create, version.version, version.lease) == (0, 0, 0) => Ok(version),
            DELETED => Err("a deleted version has more than a revision"),
            VALUE if version.create < FIRST_REVISION || version.create > version.revision => {
                Err("a version is older than its key")
            }
            VALUE if version.version < 1 => Err("a version is counted below one"),
            VALUE => {
                version.value = Some(self.slice()?);
                Ok(version)
            }
            _ => Err("a version is neither a value nor deleted"),
        }
    }
}

fn last_key(keys: &BTreeMap<Bytes, History>) -> Option<&[u8]> {
    keys.last_key_value().map(|(key, _)| key.as_ref())
}
