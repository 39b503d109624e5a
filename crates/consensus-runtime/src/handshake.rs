//! The first bytes on a connection: who dials whom, and whether they belong together. Two layouts that no later version
//! may change, so that an old and a new program can still tell each other why they part. Who is no node yet dials as node zero,
//! and whoever answers is the one that is meant (see [`crate::enquire`]).
//!
//! ```text
//! hello     magic 8 · format version 1 · cluster 8 · dialler 8 · whom it means to reach 8 · CRC-32 of all this 4
//! answer    magic 8 · format version 1 · verdict 1 · CRC-32 of all this 4
//! ```
//! All numbers are little-endian. After the answer [`Verdict::Welcome`] the dialler sends frames; the other side sends
//! nothing more.

use consensus_core::wire::FORMAT_VERSION;
use consensus_core::{ClusterId, NodeId};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAGIC: [u8; 8] = *b"agreemnt";
const HELLO_BYTES: usize = 37;
const ANSWER_BYTES: usize = 14;

/// How long a dialler waits to be connected, and then for the answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How long the other side waits for the greeting, which follows the connection at once. Shorter, so that a dialler outlasts
/// a crowd of silent connections before it.
const GREETING_PATIENCE: Duration = Duration::from_secs(1);

/// What a dialler says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) cluster: ClusterId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
}

/// What the other side answers. Variants are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub(crate) enum Verdict {
    #[error("welcome")]
    Welcome = 0,
    #[error("it speaks another format version: run the same release on all nodes")]
    Version = 1,
    #[error("it belongs to another cluster: check the cluster id and the peer addresses")]
    Cluster = 2,
    #[error("another node answers at this address: check the peer addresses")]
    NotMe = 3,
    #[error(
        "it does not know us as a member: add us first, and check that all nodes list the same members at the group's birth"
    )]
    Stranger = 4,
    #[error("it could not make sense of our greeting")]
    Garbled = 5,
    #[error("it knows that we were removed from the group: we must not come back under this id")]
    Removed = 6,
    #[error("it has no time for a question now")]
    Busy = 7,
}

impl Verdict {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Welcome),
            1 => Some(Self::Version),
            2 => Some(Self::Cluster),
            3 => Some(Self::NotMe),
            4 => Some(Self::Stranger),
            5 => Some(Self::Garbled),
            6 => Some(Self::Removed),
            7 => Some(Self::Busy),
            _ => None,
        }
    }
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("silence where an answer was due")]
    Silence,
    #[error("the peer turned us down: {0}")]
    TurnedDown(Verdict),
    #[error("we turned the dialler down, for in our view: {0}")]
    WeTurnDown(Verdict),
    #[error("whoever answers at this address does not speak our protocol")]
    NotOurs,
}

impl Hello {
    /// Of somebody who is no node, to whoever is there.
    pub(crate) const fn of_enquirer(cluster: ClusterId) -> Self {
        Self { cluster, from: NodeId::ZERO, to: NodeId::ZERO }
    }

    fn encode(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = FORMAT_VERSION;
        bytes[9..17].copy_from_slice(&self.cluster.0.to_le_bytes());
        bytes[17..25].copy_from_slice(&self.from.0.to_le_bytes());
        bytes[25..33].copy_from_slice(&self.to.0.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, Verdict> {
        if !is_sealed(bytes) {
            return Err(Verdict::Garbled);
        }
        if bytes[8] != FORMAT_VERSION {
            return Err(Verdict::Version);
        }
        let number = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(Self { cluster: ClusterId(number(9)), from: NodeId(number(17)), to: NodeId(number(25)) })
    }
}

fn encode_answer(verdict: Verdict) -> [u8; ANSWER_BYTES] {
    let mut bytes = [0; ANSWER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = FORMAT_VERSION;
    bytes[9] = verdict as u8;
    seal(&mut bytes);
    bytes
}

fn decode_answer(bytes: &[u8; ANSWER_BYTES]) -> Option<Verdict> {
    // The version of the answerer does not matter: if it differs, the verdict says so.
    is_sealed(bytes).then(|| Verdict::from_byte(bytes[9])).flatten()
}

fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(rest, crc)| rest.starts_with(&MAGIC) && crc32fast::hash(rest).to_le_bytes() == *crc)
}

/// Whatever is understood is what its writer would write.
#[cfg(feature = "fuzzing")]
pub(crate) fn assert_canonical(bytes: &[u8]) {
    if let Some(hello) = bytes.first_chunk() {
        let read = Hello::decode(hello);
        assert!(read.is_err() || read.map(Hello::encode) == Ok(*hello), "{read:?}");
    }
    if let Some(answer) = bytes.first_chunk() {
        // The version of whoever answers is not ours to judge.
        let read = decode_answer(answer).map(encode_answer);
        assert!(read.is_none_or(|again| again[9] == answer[9]), "{read:?}");
    }
}

/// The dialler's part.
pub(crate) async fn greet(stream: &mut TcpStream, hello: Hello) -> Result<(), HandshakeError> {
    let exchange = async {
        stream.write_all(&hello.encode()).await?;
        let mut answer = [0; ANSWER_BYTES];
        stream.read_exact(&mut answer).await?;
        Ok::<_, io::Error>(decode_answer(&answer))
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Err(_) => Err(HandshakeError::Silence),
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(None)) => Err(HandshakeError::NotOurs),
        Ok(Ok(Some(Verdict::Welcome))) => Ok(()),
        Ok(Ok(Some(verdict))) => Err(HandshakeError::TurnedDown(verdict)),
    }
}

/// The other side's part: reads the greeting, lets `admit` decide, and tells the dialler.
pub(crate) async fn receive<T>(
    stream: &mut TcpStream,
    admit: impl FnOnce(Hello) -> Result<T, Verdict>,
) -> Result<T, HandshakeError> {
    let exchange = async {
        let mut bytes = [0; HELLO_BYTES];
        stream.read_exact(&mut bytes).await?;
        let admitted = Hello::decode(&bytes).and_then(admit);
        let verdict = admitted.as_ref().err().copied().unwrap_or(Verdict::Welcome);
        stream.write_all(&encode_answer(verdict)).await?;
        Ok::<_, io::Error>(admitted)
    };
    match tokio::time::timeout(GREETING_PATIENCE, exchange).await {
        Err(_) => Err(HandshakeError::Silence),
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(admitted)) => admitted.map_err(HandshakeError::WeTurnDown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: Hello = Hello { cluster: ClusterId(3), from: NodeId(1), to: NodeId(2) };

    #[test]
    fn a_greeting_survives_the_way() {
        assert_eq!(Hello::decode(&HELLO.encode()), Ok(HELLO));
        for verdict in (0..8).filter_map(Verdict::from_byte) {
            assert_eq!(decode_answer(&encode_answer(verdict)), Some(verdict));
        }
    }

    #[test]
    fn another_version_is_told_so() {
        let mut bytes = HELLO.encode();
        bytes[8] = FORMAT_VERSION + 1;
        seal(&mut bytes);
        assert_eq!(Hello::decode(&bytes), Err(Verdict::Version));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(bit in 0..HELLO_BYTES * 8) {
            let mut bytes = HELLO.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Hello::decode(&bytes), Err(Verdict::Garbled));
        }
    }
}
