//! The versions of one key.

use super::VERSION_OVERHEAD_BYTES;
use crate::proto::mvccpb::KeyValue;
use bytes::Bytes;

/// One version: a value, or the fact that the key was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The revision that wrote it.
    pub(super) revision: i64,
    /// Its place among the writes of that revision.
    pub(super) sub: u32,
    /// The revision at which the key came into being; 0 in a tombstone.
    pub(super) create: i64,
    /// How often the key was written since then; 0 in a tombstone.
    pub(super) version: i64,
    /// The lease; 0 for none.
    pub(super) lease: i64,
    /// `None`: the key was deleted.
    pub(super) value: Option<Bytes>,
}

impl Version {
    pub(super) const fn tombstone(revision: i64, sub: u32) -> Self {
        Self { revision, sub, create: 0, version: 0, lease: 0, value: None }
    }

    pub(super) fn key_value(&self, key: &Bytes, keys_only: bool) -> KeyValue {
        KeyValue {
            key: key.clone(),
            create_revision: self.create,
            mod_revision: self.revision,
            version: self.version,
            value: if keys_only { Bytes::new() } else { self.value.clone().unwrap_or_default() },
            lease: self.lease,
        }
    }

    /// What it takes of the store's size, in bytes.
    pub(super) fn cost(&self, key: &[u8]) -> u64 {
        let value = self.value.as_ref().map_or(0, Bytes::len);
        (key.len() + value) as u64 + VERSION_OVERHEAD_BYTES
    }
}

/// All versions that are kept, oldest first; never empty inside a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    versions: Vec<Version>,
}

impl History {
    pub(super) fn push(&mut self, version: Version) {
        self.versions.push(version);
    }

    pub(super) fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The versions at or before `revision`.
    pub(super) fn through(&self, revision: i64) -> &[Version] {
        let end = self.versions.partition_point(|version| version.revision <= revision);
        self.versions.get(..end).unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The newest version, unless it is a tombstone.
    pub(super) fn newest(&self) -> Option<&Version> {
        self.versions.last().filter(|version| version.value.is_some())
    }

    /// The newest version at or before `revision`, unless it is a tombstone.
    pub(super) fn at(&self, revision: i64) -> Option<&Version> {
        self.through(revision).last().filter(|version| version.value.is_some())
    }

    /// Drops all versions that nobody can read who reads at `revision` or later.
    pub(super) fn compact(&mut self, revision: i64) {
        let end = self.versions.partition_point(|version| version.revision <= revision);
        let Some(newest) = end.checked_sub(1) else { return };
        let deleted = self.versions.get(newest).is_some_and(|version| version.value.is_none());
        self.versions.drain(..if deleted { end } else { newest });
    }

    pub(super) fn cost(&self, key: &[u8]) -> u64 {
        self.versions.iter().map(|version| version.cost(key)).sum()
    }
}
