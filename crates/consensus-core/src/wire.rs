//! The codec: serde in postcard, with bounds. Bytes from a peer or a disk are hostile until they are decoded.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The version that every frame and file starts with. It rises when an old program could not read a new frame.
pub const FORMAT_VERSION: u8 = 1;

/// The longest frame that a peer may send, in bytes: one client request at its limit (1.5 MiB, as etcd) with room for a
/// batch beside it. Snapshots travel in chunks below this.
pub const MAX_FRAME_BYTES: usize = 8 << 20;

/// Bytes that do not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Longer than the bound.
    #[error("{length} bytes are more than the {limit} that are allowed")]
    TooLong {
        /// What was there.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Not an encoding of the expected type.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A correct encoding, followed by something else.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
}

/// Encodes `value` behind what `buffer` already holds.
#[expect(
    clippy::expect_used,
    reason = "a growing vector never fills up, and plain data knows the length of its sequences"
)]
pub fn encode_into<T: Serialize>(value: &T, buffer: &mut Vec<u8>) {
    let taken = core::mem::take(buffer);
    *buffer = postcard::to_extend(value, taken).expect("plain data encodes into a growing vector");
}

/// Encodes `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut buffer = Vec::new();
    encode_into(value, &mut buffer);
    buffer
}

/// For `#[serde(deserialize_with = "wire::at_most::<MAX, _, _>")]`: a vector that is refused as soon as it is longer than
/// `MAX`. A bound on a frame's bytes is none on its entries: where an entry takes one byte on the wire and a hundred in
/// memory, a frame at its limit would fill nearly a gigabyte.
///
/// # Errors
/// If an element is malformed or there are more than `MAX`.
pub fn at_most<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct AtMost<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} elements")
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Vec<T>, S::Error> {
            // The length is only claimed, so it reserves little.
            let mut elements = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(MAX).min(64));
            while let Some(element) = seq.next_element()? {
                if elements.len() == MAX {
                    return Err(S::Error::invalid_length(MAX + 1, &self));
                }
                elements.push(element);
            }
            Ok(elements)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

/// Decodes exactly one value of at most `limit` bytes.
///
/// # Errors
/// If there are more bytes than `limit`, if they are malformed, or if something follows.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLong { length: bytes.len(), limit });
    }
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(WireError::Trailing(rest.len())),
        Err(error) => Err(WireError::Malformed(describe(&error))),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow")]
fn describe(error: &postcard::Error) -> &'static str {
    match error {
        postcard::Error::DeserializeUnexpectedEnd => "it ends too early",
        postcard::Error::DeserializeBadVarint => "a number is out of range",
        postcard::Error::DeserializeBadBool => "a truth value is neither 0 nor 1",
        postcard::Error::DeserializeBadUtf8 => "a text is not UTF-8",
        postcard::Error::DeserializeBadOption => "an option is neither 0 nor 1",
        postcard::Error::DeserializeBadEnum => "an unknown variant",
        _ => "not an encoding of the expected type",
    }
}
