//! One frame is what one sync makes durable.
//!
//! ```text
//! offset  0   CRC-32 of bytes 4..24, seeded with the segment's identity
//! offset  4   CRC-32 of everything from byte 24 to the end of the frame
//! offset  8   sequence, u64
//! offset 16   length of the payload, u32
//! offset 20   header mark, 4 bytes, none of them zero
//! offset 24   payload, then zeros, then one end mark; the whole is a multiple of 32 bytes
//! ```
//!
//! Frames start at multiples of 32, so a header never lies across two sectors: a crash leaves it whole or absent. Both
//! marks come last in what they end, and the space held zeros before, so a missing end shows as a zero.

use crate::MAX_FRAME_BYTES;
use crate::plate::{checksum, u32_at, u64_at};

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 24;
/// Frames start at multiples of this.
pub(crate) const ALIGNMENT: usize = 32;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
const HEADER_MARK: [u8; 4] = *b"walf";
const END_MARK: u8 = 0xA5;

/// A header whose checksum holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) sequence: u64,
    pub(crate) payload_bytes: usize,
    body_crc: u32,
}

impl Header {
    /// Bytes from the first of this frame to the first of the next.
    pub(crate) const fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes)
    }

    /// Whether `frame`, header included, is whole and intact.
    pub(crate) fn holds(&self, frame: &[u8]) -> bool {
        frame.len() == self.frame_bytes()
            && frame.get(HEADER_BYTES..).is_some_and(|body| checksum(0, body) == self.body_crc)
    }
}

/// The bytes that a frame with this payload takes.
pub(crate) const fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes + 1).next_multiple_of(ALIGNMENT)
}

/// Makes a frame of `buffer`, whose first [`HEADER_BYTES`] are reserved and whose rest is the payload.
pub(crate) fn seal(buffer: &mut Vec<u8>, seed: u32, sequence: u64) {
    let payload_bytes = buffer.len().saturating_sub(HEADER_BYTES);
    buffer.resize(frame_bytes(payload_bytes), 0);
    if let Some(end) = buffer.last_mut() {
        *end = END_MARK;
    }
    let Some((header, body)) = buffer.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    header[4..8].copy_from_slice(&checksum(0, body).to_le_bytes());
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..20].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    header[20..24].copy_from_slice(&HEADER_MARK);
    let crc = checksum(seed, &header[4..]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Reads a header; `None` unless it is intact and of the segment that `seed` stands for.
pub(crate) fn parse(bytes: &[u8], seed: u32) -> Option<Header> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let covered = header.get(4..)?;
    if !header.ends_with(&HEADER_MARK) || u32_at(header, 0) != checksum(seed, covered) {
        return None;
    }
    let payload_bytes = u32_at(header, 16) as usize;
    let sequence = u64_at(header, 8);
    let plausible = payload_bytes <= MAX_FRAME_BYTES && sequence < u64::MAX;
    plausible.then(|| Header { sequence, payload_bytes, body_crc: u32_at(header, 4) })
}

/// Whether the last byte of a header is there, so that all of it was written once.
pub(crate) fn is_header_written(bytes: &[u8]) -> bool {
    bytes.get(HEADER_BYTES - 1).is_some_and(|&last| last != 0)
}

/// Whether no sector of the frame at `offset` is missing: each holds something besides the zeros that were there before,
/// and the last byte is there. Such a frame was written as a whole, and if it does not hold, it was damaged later.
pub(crate) fn is_written(offset: u64, frame: &[u8], frame_bytes: usize) -> bool {
    if frame.len() < frame_bytes || frame.last() == Some(&0) {
        return false;
    }
    let lead = (SECTOR_BYTES - (offset % SECTOR_BYTES as u64) as usize).min(frame.len());
    let (first, rest) = frame.split_at(lead);
    !is_zero(first) && rest.chunks(SECTOR_BYTES).all(|sector| !is_zero(sector))
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (head, words, tail) = (bytes.len() % 16, bytes.chunks_exact(16), bytes.chunks_exact(16).remainder());
    debug_assert_eq!(head, tail.len());
    words.into_iter().all(|word| word == [0; 16]) && tail.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn sealed(payload: &[u8], seed: u32, sequence: u64) -> Vec<u8> {
        let mut buffer = vec![0; HEADER_BYTES];
        buffer.extend_from_slice(payload);
        seal(&mut buffer, seed, sequence);
        buffer
    }

    quickcheck! {
        fn arbitrary_bytes_are_no_header(bytes: Vec<u8>, seed: u32) -> bool {
            parse(&bytes, seed).is_none()
        }

        fn a_sealed_frame_holds(payload: Vec<u8>, seed: u32, sequence: u64) -> bool {
            let sequence = sequence.min(u64::MAX - 1);
            let frame = sealed(&payload, seed, sequence);
            parse(&frame, seed).is_some_and(|header| {
                header.sequence == sequence
                    && header.payload_bytes == payload.len()
                    && header.frame_bytes() == frame.len()
                    && header.holds(&frame)
                    && is_header_written(&frame)
            })
        }

        fn a_frame_of_another_segment_does_not_pass(payload: Vec<u8>, seed: u32) -> bool {
            parse(&sealed(&payload, seed, 1), seed ^ 1).is_none()
        }

        fn a_beginning_of_a_frame_is_not_taken_for_written(payload: Vec<u8>, cut: usize) -> bool {
            let mut frame = sealed(&payload, 0, 1);
            let length = frame.len();
            let cut = cut % length;
            if let Some(lost) = frame.get_mut(cut..) {
                lost.fill(0);
            }
            !is_written(0, &frame, length)
        }
    }

    #[test]
    fn a_lost_sector_is_noticed_wherever_the_frame_starts() {
        let whole = sealed(&[1; 3000], 0, 1);
        for start in (0..SECTOR_BYTES).step_by(ALIGNMENT) {
            assert!(is_written(start as u64, &whole, whole.len()));
            for sector in 0..(start + whole.len()).div_ceil(SECTOR_BYTES) {
                let mut frame = whole.clone();
                let from = (sector * SECTOR_BYTES).saturating_sub(start);
                let to = ((sector + 1) * SECTOR_BYTES - start).min(frame.len());
                frame[from..to].fill(0);
                assert!(!is_written(start as u64, &frame, whole.len()), "start {start}, sector {sector}");
            }
        }
    }
}
