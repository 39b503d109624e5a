//! What reads bytes of strangers and is hidden in this crate, for the fuzz targets and for nobody else.

use crate::book::Book;
use crate::frame::{self, Forward, ForwardReply, HEADER_BYTES, Kind};
use crate::handshake;
use crate::notice::Notice;
use bytes::Bytes;
use consensus_core::wire::{self, MAX_FRAME_BYTES};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::Path;

/// The first bytes on a connection, as either side reads them; and a note that tells of peers.
pub fn greet(bytes: &[u8]) {
    handshake::assert_canonical(bytes);
    if let Ok(book) = Book::decode(&Bytes::copy_from_slice(bytes), Path::new("d")) {
        assert_eq!(Book::decode(&book.encode(), Path::new("d")).as_ref(), Ok(&book));
    }
}

/// What arrives on a connection: frame after frame, each understood or refused.
pub fn receive(mut bytes: &[u8]) {
    while let Ok(Some((frame, size))) = frame::read(bytes) {
        let (whole, rest) = bytes.split_at(size);
        let pieces: Vec<_> = frame::split(whole).collect();
        assert!(matches!(pieces[..], [piece] if piece.group == frame.group && piece.bytes == whole));
        assert_eq!(pieces[0].content(), Some((frame.kind, frame.body)));
        let _ = match frame.kind {
            Kind::Message | Kind::Question | Kind::Answer => None,
            Kind::Forward => again::<Forward>(frame),
            Kind::ForwardReply => again::<ForwardReply>(frame),
            Kind::Notice => Notice::read(frame.body).ok().and_then(|_| again::<Notice>(frame)),
        };
        bytes = rest;
    }
}

/// Gives what may be a frame the length and the checksum that it would have.
pub fn seal(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// What is understood is the same when it is written and read again.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(frame: frame::Frame<'_>) -> Option<()> {
    let value: T = wire::decode(frame.body, MAX_FRAME_BYTES).ok()?;
    let mut buffer = Vec::new();
    let size = frame::write(&mut buffer, frame.kind, frame.group, frame.sender, &value);
    let read = frame::read(&buffer).map(|read| read.map(|(read, _)| (read.group, read.sender)));
    assert_eq!((size, read), (Ok(buffer.len()), Ok(Some((frame.group, frame.sender)))));
    assert_eq!(wire::decode(&buffer[HEADER_BYTES..], MAX_FRAME_BYTES).as_ref(), Ok(&value));
    Some(())
}
