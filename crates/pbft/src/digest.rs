//! Digests: SHA-256 over a label and the bytes.

use alloc::vec::Vec;
use consensus_core::wire;
use core::fmt;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What names a batch, a state or a message: 32 bytes that nobody finds a second preimage of.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(#[serde(with = "crate::fixed")] pub [u8; 32]);

impl Digest {
    pub(crate) const LOWEST: Self = Self([0; 32]);
    pub(crate) const HIGHEST: Self = Self([u8::MAX; 32]);

    /// The digest of `bytes`; equal bytes under another label have another digest.
    #[must_use]
    pub fn of(label: &[u8], bytes: &[u8]) -> Self {
        Self::of_two(label, bytes, &[])
    }

    /// The digest of `head`, which has a fixed length, and `tail`.
    pub(crate) fn of_two(label: &[u8], head: &[u8], tail: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update((label.len() as u64).to_le_bytes());
        hash.update(label);
        hash.update(head);
        hash.update(tail);
        Self(hash.finalize().into())
    }

    /// The digest of everything that this names, and of `next` behind it.
    pub(crate) fn then(self, next: Self) -> Self {
        Self::of_two(b"then", &self.0, &next.0)
    }

    /// The digest of a value's encoding, which is written into `buffer`.
    pub(crate) fn of_value<T: Serialize>(label: &[u8], value: &T) -> Self {
        let mut buffer = Vec::new();
        wire::encode_into(value, &mut buffer);
        Self::of(label, &buffer)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}
