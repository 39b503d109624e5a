//! Segment files: names, plates, and a window that reads them without trusting a length.

use crate::disk::DiskFile;
use crate::frame;
use crate::journal::Identity;
use crate::plate::{self, Kind, PLATE_BYTES, PlateError};
use crate::volume::Handle;
use consensus_core::StorageError;

const SUFFIX: &str = ".seg";
const WINDOW_BYTES: usize = 1 << 20;

/// Whose frames these are: mixed into every checksum, so that bytes of another journal never pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) identity: Identity,
    pub(crate) salt: u64,
}

/// What a segment's plate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentPlate {
    pub(crate) first: u64,
    /// The oldest frame that any group needed when this segment was begun.
    pub(crate) floor: u64,
}

impl Owner {
    /// The seed of everything that is not within one segment.
    pub(crate) fn seed(&self) -> u32 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.identity.cluster.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.identity.node.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.salt.to_le_bytes());
        plate::checksum(0, &bytes)
    }

    /// The seed of the frames of one segment.
    pub(crate) fn segment_seed(&self, first: u64) -> u32 {
        plate::checksum(self.seed(), &first.to_le_bytes())
    }

    pub(crate) fn encode(&self, segment: SegmentPlate) -> [u8; PLATE_BYTES] {
        let Identity { cluster, node } = self.identity;
        plate::encode(Kind::Segment, self.seed(), [cluster.0, node.0, segment.first, segment.floor, 0])
    }

    pub(crate) fn decode(&self, first: u64, bytes: &[u8]) -> Result<SegmentPlate, PlateError> {
        let [cluster, node, named, floor, _] = plate::decode(Kind::Segment, self.seed(), bytes)?;
        let Identity { cluster: our_cluster, node: our_node } = self.identity;
        let ours = cluster == our_cluster.0 && node == our_node.0;
        if !ours || named != first || floor > first {
            return Err(PlateError::Damaged);
        }
        Ok(SegmentPlate { first, floor })
    }
}

/// The name of the segment whose first frame is `first`.
pub(crate) fn name(first: u64) -> String {
    format!("{first:016x}{SUFFIX}")
}

/// The first frame of the segment of this name; `None` if it is not a segment's.
pub(crate) fn parse_name(file: &str) -> Option<u64> {
    parse_hex(file.strip_suffix(SUFFIX)?)
}

/// Exactly 16 lower-case hexadecimal digits, as we write them.
pub(crate) fn parse_hex(digits: &str) -> Option<u64> {
    let ours = digits.len() == 16 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    ours.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// Reads a file piece by piece, never more than it has.
pub(crate) struct Window<'a, F> {
    handle: &'a Handle<F>,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a, F: DiskFile> Window<'a, F> {
    pub(crate) fn over(handle: &'a Handle<F>) -> Result<Self, StorageError> {
        let length = handle.len()?;
        Ok(Self { handle, length, start: 0, bytes: Vec::new() })
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `offset` on: `wanted` of them, or fewer where the file ends.
    pub(crate) fn at(&mut self, offset: u64, wanted: usize) -> Result<&[u8], StorageError> {
        let remaining = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = wanted.min(remaining);
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + wanted as u64 > end {
            self.bytes.resize(wanted.max(WINDOW_BYTES).min(remaining), 0);
            self.start = offset;
            self.handle.read_at(offset, &mut self.bytes)?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from.saturating_add(wanted)).unwrap_or_default())
    }

    /// Where the last byte at or after `from` is that is not zero.
    pub(crate) fn last_used(&mut self, from: u64) -> Result<Option<u64>, StorageError> {
        let mut last = None;
        let mut offset = from;
        while offset < self.length {
            let chunk = self.at(offset, WINDOW_BYTES)?;
            if !frame::is_zero(chunk) {
                last = chunk.iter().rposition(|&byte| byte != 0).map(|place| offset + place as u64);
            }
            offset += WINDOW_BYTES as u64;
        }
        Ok(last)
    }
}
