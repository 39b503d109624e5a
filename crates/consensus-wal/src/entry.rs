//! What a frame's payload holds: entries of any groups, one behind the other.
//!
//! ```text
//! record:      1, group u64, length u32, that many bytes
//! checkpoint:  2, group u64, length u32 of what follows: through u64, frame u64, ordinal u32, count u32,
//!              then `count` times: length u32, that many bytes
//! ```
//!
//! A checkpoint's snapshot is the file of that frame and ordinal; frame zero means "the frame that this entry is in", and
//! the largest number means that there is none (a group without a snapshot that was written anew).

use crate::plate::{u32_at, u64_at};
use consensus_core::{GroupId, Slot};
use serde::Serialize;

const RECORD: u8 = 1;
const CHECKPOINT: u8 = 2;
const HEAD_BYTES: usize = 13;
const CHECKPOINT_BYTES: usize = 24;

/// Which file a snapshot is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotRef {
    /// The frame it came with; zero for the frame that the entry is in.
    pub(crate) frame: u64,
    /// Its number within that frame.
    pub(crate) ordinal: u32,
}

impl SnapshotRef {
    /// No snapshot.
    pub(crate) const NONE: Self = Self { frame: u64::MAX, ordinal: 0 };

    /// What this reference means in an entry of `frame`.
    pub(crate) fn within(self, frame: u64) -> Option<Self> {
        match self.frame {
            0 => Some(Self { frame, ..self }),
            u64::MAX => None,
            _ => Some(self),
        }
    }
}

/// One entry of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// One more record of a group.
    Record { group: GroupId, bytes: &'a [u8] },
    /// Replaces all that the group wrote before.
    Checkpoint { group: GroupId, through: Slot, snapshot: SnapshotRef, tail: Tail<'a> },
}

/// The records of a checkpoint: checked, not yet cut apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail<'a> {
    rest: &'a [u8],
}

/// Reads a payload entry by entry; ends after the first malformed one.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    rest: &'a [u8],
}

/// An entry that no version of this program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Appends a record, written by `fill` behind what the buffer holds.
pub(crate) fn push_record(buffer: &mut Vec<u8>, group: GroupId, fill: impl FnOnce(&mut Vec<u8>)) {
    buffer.push(RECORD);
    buffer.extend_from_slice(&group.0.to_le_bytes());
    push_sized(buffer, fill);
}

/// Appends a checkpoint.
pub(crate) fn push_checkpoint<T>(
    buffer: &mut Vec<u8>,
    group: GroupId,
    through: Slot,
    snapshot: SnapshotRef,
    tail: &[T],
    mut fill: impl FnMut(&T, &mut Vec<u8>),
) {
    buffer.push(CHECKPOINT);
    buffer.extend_from_slice(&group.0.to_le_bytes());
    push_sized(buffer, |buffer| {
        buffer.extend_from_slice(&through.0.to_le_bytes());
        buffer.extend_from_slice(&snapshot.frame.to_le_bytes());
        buffer.extend_from_slice(&snapshot.ordinal.to_le_bytes());
        buffer.extend_from_slice(&saturated(tail.len()));
        for record in tail {
            push_sized(buffer, |buffer| fill(record, buffer));
        }
    });
}

/// Encodes a record behind what the buffer holds.
pub(crate) fn encode<R: Serialize>(record: &R, buffer: &mut Vec<u8>) {
    consensus_core::wire::encode_into(record, buffer);
}

fn push_sized(buffer: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    fill(buffer);
    let length = saturated(buffer.len() - at - 4);
    if let Some(place) = buffer.get_mut(at..at + 4) {
        place.copy_from_slice(&length);
    }
}

/// A length that does not fit belongs to a batch over [`crate::MAX_FRAME_BYTES`], which is refused as a whole.
fn saturated(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

impl Entry<'_> {
    /// The bytes that it takes in a payload.
    pub(crate) const fn encoded_bytes(&self) -> u64 {
        match self {
            Self::Record { bytes, .. } => (HEAD_BYTES + bytes.len()) as u64,
            Self::Checkpoint { tail, .. } => (HEAD_BYTES + CHECKPOINT_BYTES + tail.rest.len()) as u64,
        }
    }
}

impl<'a> Entries<'a> {
    pub(crate) const fn of(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    fn parse(&mut self) -> Result<Entry<'a>, Malformed> {
        let (head, rest) =
            self.rest.split_first_chunk::<HEAD_BYTES>().ok_or(Malformed("an entry ends within its head"))?;
        let group = GroupId(u64_at(head, 1));
        let (body, rest) = rest
            .split_at_checked(u32_at(head, 9) as usize)
            .ok_or(Malformed("an entry is longer than its frame"))?;
        self.rest = rest;
        match head.first() {
            Some(&RECORD) => Ok(Entry::Record { group, bytes: body }),
            Some(&CHECKPOINT) => parse_checkpoint(group, body),
            _ => Err(Malformed("an entry of an unknown kind")),
        }
    }
}

fn parse_checkpoint(group: GroupId, body: &[u8]) -> Result<Entry<'_>, Malformed> {
    let (head, rest) =
        body.split_first_chunk::<CHECKPOINT_BYTES>().ok_or(Malformed("a checkpoint ends within its head"))?;
    let through = Slot(u64_at(head, 0));
    let snapshot = SnapshotRef { frame: u64_at(head, 8), ordinal: u32_at(head, 16) };
    let tail = Tail { rest };
    let count = u32_at(head, 20) as usize;
    let mut seen = 0;
    let mut walk = rest;
    while !walk.is_empty() {
        let (_, further) =
            split_sized(walk).ok_or(Malformed("a checkpoint's record is longer than its entry"))?;
        walk = further;
        seen += 1;
    }
    if seen != count {
        return Err(Malformed("a checkpoint holds more or fewer records than it says"));
    }
    Ok(Entry::Checkpoint { group, through, snapshot, tail })
}

fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = self.parse();
        if parsed.is_err() {
            self.rest = &[];
        }
        Some(parsed)
    }
}

impl<'a> Iterator for Tail<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let (record, rest) = split_sized(self.rest)?;
        self.rest = rest;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn arbitrary_bytes_are_read_to_an_end(bytes: Vec<u8>) -> bool {
            Entries::of(&bytes).count() <= bytes.len()
        }

        fn what_is_pushed_is_read_back(group: u64, record: Vec<u8>, through: u64, tail: Vec<Vec<u8>>) -> bool {
            let (group, through) = (GroupId(group), Slot(through));
            let snapshot = SnapshotRef { frame: 0, ordinal: 3 };
            let mut buffer = Vec::new();
            push_record(&mut buffer, group, |buffer| buffer.extend_from_slice(&record));
            push_checkpoint(&mut buffer, group, through, snapshot, &tail, |record, buffer| {
                buffer.extend_from_slice(record);
            });
            let bytes: u64 = Entries::of(&buffer).flatten().map(|entry| entry.encoded_bytes()).sum();
            let found: Vec<_> = Entries::of(&buffer).collect();
            let Some(Ok(Entry::Checkpoint { group: of, through: to, snapshot: at, tail: kept })) = found.get(1) else {
                return false;
            };
            found.len() == 2
                && bytes == buffer.len() as u64
                && found.first() == Some(&Ok(Entry::Record { group, bytes: &record }))
                && (*of, *to, *at) == (group, through, snapshot)
                && Iterator::eq(*kept, tail.iter().map(Vec::as_slice))
        }

        fn a_piece_of_a_payload_is_malformed_or_shorter(record: Vec<u8>, cut: usize) -> bool {
            let mut buffer = Vec::new();
            push_checkpoint(&mut buffer, GroupId(1), Slot(1), SnapshotRef::NONE, &[record], |record, buffer| {
                buffer.extend_from_slice(record);
            });
            buffer.truncate(cut % buffer.len());
            buffer.is_empty() || Entries::of(&buffer).any(|entry| entry.is_err())
        }
    }

    #[test]
    fn lengths_and_counts_are_not_trusted() {
        let mut huge = vec![RECORD];
        huge.extend_from_slice(&[0; 8]);
        huge.extend_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Entries::of(&huge).next(), Some(Err(Malformed("an entry is longer than its frame"))));
        let mut buffer = Vec::new();
        push_checkpoint::<()>(&mut buffer, GroupId(1), Slot(1), SnapshotRef::NONE, &[], |(), _| ());
        let last = buffer.len() - 1;
        buffer[last] = 0xFF;
        let said = Malformed("a checkpoint holds more or fewer records than it says");
        assert_eq!(Entries::of(&buffer).next(), Some(Err(said)));
        assert_eq!(Entries::of(&[9; 13]).next(), Some(Err(Malformed("an entry is longer than its frame"))));
        assert_eq!(Entries::of(&[0; 13]).next(), Some(Err(Malformed("an entry of an unknown kind"))));
    }
}
