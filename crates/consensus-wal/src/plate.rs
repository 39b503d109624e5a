//! The 64 bytes that every file of the journal starts with: what it is, whose, and in which format.
//!
//! The first 12 bytes, the checksum and the end mark keep their places in every later format, so that an old program can
//! tell a newer file from a damaged one.
//!
//! ```text
//! offset  0   what it is, 8 bytes          offset 52   CRC-32 of bytes 0..52, seeded
//! offset  8   format version, u32          offset 56   end mark, 8 bytes
//! offset 12   five numbers, u64 each
//! ```
//!
//! All numbers are little-endian.

use crate::FORMAT_VERSION;

/// Bytes of a plate.
pub(crate) const PLATE_BYTES: usize = 64;
const CRC_AT: usize = 52;
const END_MARK: [u8; 8] = *b"endplate";

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whose directory this is: cluster, node, salt.
    Identity,
    /// Frames: cluster, node, first frame, floor.
    Segment,
    /// A snapshot: group, through, length, checksum of the body, frame that refers to it (the ordinal is in the name).
    Snapshot,
    /// A note of the caller's: cluster, node, length, checksum of the body.
    Note,
}

impl Kind {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Identity => *b"walident",
            Self::Segment => *b"walsegmt",
            Self::Snapshot => *b"walsnaps",
            Self::Note => *b"walnotes",
        }
    }
}

/// Why bytes are not the expected plate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlateError {
    /// Its end was never written: a crash came in between.
    Unfinished,
    /// It was written and is no longer what was written.
    Damaged,
    /// It is intact, and newer than this program.
    Newer(u32),
}

/// Encodes a plate.
pub(crate) fn encode(kind: Kind, seed: u32, numbers: [u64; 5]) -> [u8; PLATE_BYTES] {
    let mut bytes = Vec::with_capacity(PLATE_BYTES);
    bytes.extend_from_slice(&kind.magic());
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&checksum(seed, &bytes).to_le_bytes());
    bytes.extend_from_slice(&END_MARK);
    let mut plate = [0; PLATE_BYTES];
    plate.copy_from_slice(&bytes);
    plate
}

/// Decodes a plate of this kind.
pub(crate) fn decode(kind: Kind, seed: u32, bytes: &[u8]) -> Result<[u64; 5], PlateError> {
    let Some(plate) = bytes.first_chunk::<PLATE_BYTES>() else { return Err(PlateError::Unfinished) };
    if plate.last() == Some(&0) {
        return Err(PlateError::Unfinished);
    }
    let (covered, rest) = plate.split_at(CRC_AT);
    let (crc, mark) = rest.split_at(4);
    if crc != checksum(seed, covered).to_le_bytes() || mark != END_MARK || !covered.starts_with(&kind.magic())
    {
        return Err(PlateError::Damaged);
    }
    let version = u32_at(covered, 8);
    if version > FORMAT_VERSION {
        return Err(PlateError::Newer(version));
    }
    Ok([12, 20, 28, 36, 44].map(|at| u64_at(covered, at)))
}

/// CRC-32 that continues from `seed`.
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The number at `offset`; zero where the bytes end.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let chunk = bytes.get(offset..).and_then(<[u8]>::first_chunk::<4>);
    chunk.map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// The number at `offset`; zero where the bytes end.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let chunk = bytes.get(offset..).and_then(<[u8]>::first_chunk::<8>);
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn a_plate_is_read_back(seed: u32, first: (u64, u64), rest: (u64, u64, u64)) -> bool {
            let numbers = [first.0, first.1, rest.0, rest.1, rest.2];
            let plate = encode(Kind::Segment, seed, numbers);
            decode(Kind::Segment, seed, &plate) == Ok(numbers)
                && decode(Kind::Identity, seed, &plate) == Err(PlateError::Damaged)
                && decode(Kind::Segment, seed ^ 1, &plate) == Err(PlateError::Damaged)
        }

        fn arbitrary_bytes_are_no_plate(bytes: Vec<u8>) -> bool {
            decode(Kind::Snapshot, 0, &bytes).is_err()
        }
    }

    #[test]
    fn a_plate_that_was_cut_short_is_told_from_a_damaged_one() {
        let whole = encode(Kind::Segment, 1, [1, 2, 3, 4, 5]);
        for place in 0..PLATE_BYTES {
            let mut cut = whole;
            cut[place..].fill(0);
            assert_eq!(decode(Kind::Segment, 1, &cut), Err(PlateError::Unfinished));
            assert_eq!(decode(Kind::Segment, 1, &whole[..place]), Err(PlateError::Unfinished));
            let mut damaged = whole;
            damaged[place] ^= 4;
            assert_eq!(decode(Kind::Segment, 1, &damaged), Err(PlateError::Damaged), "byte {place}");
        }
    }
}
