//! The frames between peers.
//!
//! ```text
//! offset  0   length of everything behind this field, 4 bytes little-endian, at most MAX_FRAME_BYTES
//! offset  4   CRC-32 of everything behind this field, 4 bytes little-endian
//! offset  8   format version, 1 byte
//! offset  9   kind, 1 byte: 1 protocol message, 2 forwarded request, 3 answer to a forwarded request, 4 notice,
//!             5 question of an enquirer, 6 answer to it
//! offset 10   group, 8 bytes little-endian; zero for what is not of groups: notices, questions and their answers
//! offset 18   sender, 8 bytes little-endian
//! offset 26   body (postcard)
//! ```
//!
//! A length is believed only as far as the bound, and nothing is reserved for it: the buffer grows with what arrives. The
//! checksum is there because TCP's own misses one damaged segment in some ten thousand, and a flipped bit in a vote or an
//! entry is nothing that a protocol for crashes survives.

use crate::request::Ask;
use bytes::Bytes;
use consensus_core::wire::{self, FORMAT_VERSION, MAX_FRAME_BYTES, WireError};
use consensus_core::{GroupId, NodeId, Outcome, ProposalId, Refusal, Slot};
use serde::{Deserialize, Serialize};

const LENGTH_BYTES: usize = 4;
const CHECKED_FROM: usize = 8;
/// Where the body begins.
pub(crate) const HEADER_BYTES: usize = 26;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Message = 1,
    Forward = 2,
    ForwardReply = 3,
    Notice = 4,
    Question = 5,
    Answer = 6,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Message),
            2 => Some(Self::Forward),
            3 => Some(Self::ForwardReply),
            4 => Some(Self::Notice),
            5 => Some(Self::Question),
            6 => Some(Self::Answer),
            _ => None,
        }
    }
}

/// A request of the sender's client, for the leader to take up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forward {
    /// Names this attempt; the answer repeats it.
    pub(crate) attempt: u64,
    pub(crate) id: ProposalId,
    pub(crate) ask: Ask,
}

/// What became of a [`Forward`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForwardReply {
    pub(crate) attempt: u64,
    pub(crate) id: ProposalId,
    pub(crate) result: Result<Settled, Refusal>,
}

/// A proposal that was decided and applied at the replica that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    pub(crate) slot: Slot,
    pub(crate) outcome: WireOutcome,
}

/// [`Outcome`] as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireOutcome {
    Applied(Bytes),
    Aborted(Bytes),
    Opened(u64),
    Noop,
    Stale,
    Expired,
}

impl From<Outcome> for WireOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied(reply) => Self::Applied(reply),
            Outcome::Aborted(reply) => Self::Aborted(reply),
            Outcome::Opened(client) => Self::Opened(client.to_bits()),
            Outcome::Noop => Self::Noop,
            Outcome::Stale => Self::Stale,
            Outcome::Expired => Self::Expired,
        }
    }
}

/// Bytes that no correct peer of this version sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {length} bytes, where {least} to {most} are allowed")]
    Length { length: usize, least: usize, most: usize },
    #[error("a frame whose checksum is wrong: it was damaged on the way")]
    Checksum,
    #[error("a frame of format version {0}, and this program knows {known}: run the same release on all nodes", known = FORMAT_VERSION)]
    Version(u8),
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("a frame in the name of {claimed} on the connection of {owner}")]
    Sender { claimed: NodeId, owner: NodeId },
    #[error("a frame body that does not decode: {0}")]
    Body(#[from] WireError),
    #[error("a notice that no correct peer sends: {0}")]
    Notice(&'static str),
}

/// One frame in a buffer, checked up to its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) group: GroupId,
    pub(crate) sender: NodeId,
    pub(crate) body: &'a [u8],
}

/// Appends a frame to `buffer`, and returns its size.
///
/// # Errors
/// The body is over the bound; `buffer` is as before.
pub(crate) fn write<T: Serialize>(
    buffer: &mut Vec<u8>,
    kind: Kind,
    group: GroupId,
    sender: NodeId,
    body: &T,
) -> Result<usize, WireError> {
    let start = buffer.len();
    let mut header = [0; HEADER_BYTES];
    header[8] = FORMAT_VERSION;
    header[9] = kind as u8;
    header[10..18].copy_from_slice(&group.0.to_le_bytes());
    header[18..26].copy_from_slice(&sender.0.to_le_bytes());
    buffer.extend_from_slice(&header);
    wire::encode_into(body, buffer);
    let size = buffer.len() - start;
    let length = size - LENGTH_BYTES;
    let field = match u32::try_from(length) {
        Ok(field) if length <= MAX_FRAME_BYTES => field,
        Ok(_) | Err(_) => {
            buffer.truncate(start);
            return Err(WireError::TooLong { length, limit: MAX_FRAME_BYTES });
        }
    };
    let crc = crc32fast::hash(&buffer[start + CHECKED_FROM..]);
    buffer[start..start + LENGTH_BYTES].copy_from_slice(&field.to_le_bytes());
    buffer[start + LENGTH_BYTES..start + CHECKED_FROM].copy_from_slice(&crc.to_le_bytes());
    Ok(size)
}

/// Reads the frame at the start of `bytes` and says how many bytes it takes; `None` if it is not all there yet.
///
/// # Errors
/// No correct peer sends this; nothing behind it can be trusted.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((length, _)) = take_u32(bytes) else { return Ok(None) };
    let length = length as usize;
    let (least, most) = (HEADER_BYTES - LENGTH_BYTES, MAX_FRAME_BYTES);
    if length < least || length > most {
        return Err(FrameError::Length { length, least, most });
    }
    let size = LENGTH_BYTES + length;
    let Some(frame) = bytes.get(..size) else { return Ok(None) };
    let Some((header, body)) = frame.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    // The version comes first: another version may have another checksum, and its user is to be told what to do.
    let version = header[8];
    if version != FORMAT_VERSION {
        return Err(FrameError::Version(version));
    }
    let expected = take_u32(&header[LENGTH_BYTES..]).map(|(crc, _)| crc);
    if expected != Some(crc32fast::hash(&frame[CHECKED_FROM..])) {
        return Err(FrameError::Checksum);
    }
    let kind = Kind::from_byte(header[9]).ok_or(FrameError::Kind(header[9]))?;
    let number = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(Some((Frame { kind, group: GroupId(number(10)), sender: NodeId(number(18)), body }, size)))
}

/// A frame that was written here or has been checked: where it ends, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) group: GroupId,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    /// What it carries; `None` for a kind that [`read`] does not let through.
    pub(crate) fn content(&self) -> Option<(Kind, &'a [u8])> {
        let (header, body) = self.bytes.split_first_chunk::<HEADER_BYTES>()?;
        Some((Kind::from_byte(header[9])?, body))
    }
}

/// Cuts whole frames apart that were written here or have been checked; ends where they do.
pub(crate) fn split(mut bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let (length, _) = take_u32(bytes)?;
        let (frame, rest) = bytes.split_at_checked(LENGTH_BYTES + length as usize)?;
        bytes = rest;
        let group = frame.get(10..18)?.first_chunk().map(|bytes| GroupId(u64::from_le_bytes(*bytes)))?;
        Some(Piece { group, bytes: frame })
    })
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (field, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*field), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::ClientId;
    use proptest::prelude::*;

    fn forward(payload: Vec<u8>) -> Forward {
        let id = ProposalId::new(ClientId::anonymous(7), 9);
        Forward { attempt: 3, id, ask: Ask::Propose(payload.into()) }
    }

    fn frame_of(payload: Vec<u8>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Forward, GroupId(5), NodeId(2), &forward(payload)).expect("it fits");
        bytes
    }

    #[test]
    fn the_layout_is_what_the_header_says() {
        let bytes = frame_of(b"abc".to_vec());
        assert_eq!(bytes[..4], u32::try_from(bytes.len() - 4).unwrap().to_le_bytes());
        assert_eq!(bytes[4..8], crc32fast::hash(&bytes[8..]).to_le_bytes());
        assert_eq!(bytes[8..10], [1, 2]);
        assert_eq!(bytes[10..18], 5_u64.to_le_bytes());
        assert_eq!(bytes[18..26], 2_u64.to_le_bytes());
        assert_eq!(bytes[26..], [3, 7, 9, 0, 3, b'a', b'b', b'c']);
    }

    #[test]
    fn a_body_over_the_bound_leaves_the_buffer_as_it_was() {
        let mut bytes = b"before".to_vec();
        let huge = forward(vec![0; MAX_FRAME_BYTES]);
        let result = write(&mut bytes, Kind::Forward, GroupId(1), NodeId(1), &huge);
        assert!(matches!(result, Err(WireError::TooLong { .. })), "{result:?}");
        assert_eq!(bytes, b"before");
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_anything_arrives() {
        let length = u32::MAX.to_le_bytes();
        let result = read(&length);
        assert!(matches!(result, Err(FrameError::Length { .. })), "{result:?}");
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = frame_of(Vec::new());
        bytes[8] = 2;
        assert_eq!(read(&bytes), Err(FrameError::Version(2)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5)) {
            let mut bytes: Vec<u8> = payloads.iter().cloned().flat_map(frame_of).collect();
            bytes.extend_from_slice(&[1, 0]); // the start of one more
            let mut rest = &bytes[..];
            for payload in payloads {
                let (frame, size) = read(rest).unwrap().unwrap();
                prop_assert_eq!((frame.kind, frame.group, frame.sender), (Kind::Forward, GroupId(5), NodeId(2)));
                prop_assert_eq!(wire::decode::<Forward>(frame.body, MAX_FRAME_BYTES).unwrap(), forward(payload));
                rest = &rest[size..];
            }
            prop_assert_eq!(read(rest), Ok(None));
        }

        #[test]
        fn frames_are_cut_apart_where_they_end(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5)) {
            let frames: Vec<_> = payloads.into_iter().map(frame_of).collect();
            let mut bytes = frames.concat();
            bytes.extend_from_slice(&[9, 0, 0, 0]); // the start of one more
            let pieces: Vec<_> = split(&bytes).collect();
            prop_assert!(pieces.iter().map(|piece| piece.bytes).eq(frames.iter().map(Vec::as_slice)));
            for piece in pieces {
                let (frame, _) = read(piece.bytes).unwrap().unwrap();
                prop_assert_eq!((piece.group, piece.content()), (frame.group, Some((frame.kind, frame.body))));
            }
        }

        #[test]
        fn a_truncated_frame_is_awaited(payload in prop::collection::vec(any::<u8>(), 0..100), cut in any::<prop::sample::Index>()) {
            let bytes = frame_of(payload);
            prop_assert_eq!(read(&bytes[..cut.index(bytes.len())]), Ok(None));
        }

        #[test]
        fn a_flipped_bit_is_never_taken_for_a_frame(payload in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>()) {
            let mut bytes = frame_of(payload);
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let result = read(&bytes);
            prop_assert!(!matches!(result, Ok(Some(_))), "{:?}", result);
        }

        #[test]
        fn garbage_harms_nobody(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = wire::decode::<Forward>(&bytes, MAX_FRAME_BYTES);
            let _ = wire::decode::<ForwardReply>(&bytes, MAX_FRAME_BYTES);
        }
    }
}
