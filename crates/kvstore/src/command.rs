//! What stands in the log, and what the state machine replies: requests and responses of the public protocol behind two bytes;
//! and what we say about the members, of which the public protocol knows only the outcome.
//!
//! ```text
//! 1 byte   format version
//! 1 byte   a command's kind; or of a reply the kind, or REFUSED plus the reason
//! rest     the request or response in protobuf, about members in postcard; nothing in a refusal
//! ```
//! A command is validated before it is proposed; when it is applied it is decoded again as hostile bytes, and whatever cannot
//! be decoded leaves the state alone on all members alike.

use crate::members::{MemberCommand, MemberRefusal, MemberReply, MemberTable};
use crate::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use crate::store::{Store, StoreError};
use bytes::{BufMut, Bytes};
use consensus_core::wire;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

const FORMAT_VERSION: u8 = 1;
const HEADER_BYTES: usize = 2;

const PUT: u8 = 1;
const DELETE_RANGE: u8 = 2;
const TXN: u8 = 3;
const COMPACT: u8 = 4;
const RANGE: u8 = 5;
const MEMBERS: u8 = 6;
/// Added to the code of the reason.
const REFUSED: u8 = 128;
/// Where the codes of refusals about members begin.
const MEMBER_REFUSALS: u8 = 64;

/// A request that the state machine carries out.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Write one key.
    Put(PutRequest),
    /// Delete keys.
    DeleteRange(DeleteRangeRequest),
    /// Compare, then carry out a branch.
    Txn(TxnRequest),
    /// Forget old versions.
    Compact(CompactionRequest),
    /// Read. It takes a place in the log only where the protocol knows no cheaper read.
    Range(RangeRequest),
    /// Say something about the members.
    Members(MemberCommand),
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To [`Command::Put`].
    Put(PutResponse),
    /// To [`Command::DeleteRange`].
    DeleteRange(DeleteRangeResponse),
    /// To [`Command::Txn`].
    Txn(TxnResponse),
    /// To [`Command::Compact`].
    Compact(CompactionResponse),
    /// To [`Command::Range`].
    Range(RangeResponse),
    /// To [`Command::Members`].
    Members(MemberReply),
    /// It could not be carried out, and nothing was changed.
    Refused(Reason),
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The state of the store forbids it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The members as they are forbid it.
    #[error(transparent)]
    Members(#[from] MemberRefusal),
    /// The bytes in the log are no command of this version.
    #[error("the command cannot be decoded")]
    Malformed,
}

/// Bytes that are not a command or reply of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a command or reply of format version {FORMAT_VERSION}")]
pub struct CodecError;

impl Command {
    /// For the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Put(request) => frame(PUT, request),
            Self::DeleteRange(request) => frame(DELETE_RANGE, request),
            Self::Txn(request) => frame(TXN, request),
            Self::Compact(request) => frame(COMPACT, request),
            Self::Range(request) => frame(RANGE, request),
            Self::Members(command) => plain_frame(MEMBERS, command),
        }
    }

    /// From the log.
    ///
    /// # Errors
    /// If the bytes are anything else than [`Command::encode`] makes.
    pub fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        let (kind, body) = open(bytes)?;
        Ok(match kind {
            PUT => Self::Put(message(body)?),
            DELETE_RANGE => Self::DeleteRange(message(body)?),
            TXN => Self::Txn(message(body)?),
            COMPACT => Self::Compact(message(body)?),
            RANGE => Self::Range(message(body)?),
            MEMBERS => Self::Members(plain(&body)?),
            _ => return Err(CodecError),
        })
    }

    /// Carries it out.
    pub fn apply(&self, store: &mut Store, members: &mut MemberTable) -> Reply {
        let reply = match self {
            Self::Members(command) => {
                return members
                    .apply(command)
                    .map_or_else(|refusal| Reply::Refused(refusal.into()), Reply::Members);
            }
            Self::Put(request) => store.put(request).map(Reply::Put),
            Self::DeleteRange(request) => Ok(Reply::DeleteRange(store.delete_range(request))),
            Self::Txn(request) => store.txn(request).map(Reply::Txn),
            Self::Compact(request) => store.compact(request.revision).map(|()| {
                let header = ResponseHeader { revision: store.revision(), ..ResponseHeader::default() };
                Reply::Compact(CompactionResponse { header: Some(header) })
            }),
            Self::Range(request) => store.range(request).map(Reply::Range),
        };
        reply.unwrap_or_else(|error| Reply::Refused(error.into()))
    }
}

impl Reply {
    /// For whoever proposed the command.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Put(response) => frame(PUT, response),
            Self::DeleteRange(response) => frame(DELETE_RANGE, response),
            Self::Txn(response) => frame(TXN, response),
            Self::Compact(response) => frame(COMPACT, response),
            Self::Range(response) => frame(RANGE, response),
            Self::Members(reply) => plain_frame(MEMBERS, reply),
            Self::Refused(reason) => Bytes::copy_from_slice(&[FORMAT_VERSION, REFUSED + reason.code()]),
        }
    }

    /// What [`Reply::encode`] made.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        let (kind, body) = open(bytes)?;
        Ok(match kind {
            PUT => Self::Put(message(body)?),
            DELETE_RANGE => Self::DeleteRange(message(body)?),
            TXN => Self::Txn(message(body)?),
            COMPACT => Self::Compact(message(body)?),
            RANGE => Self::Range(message(body)?),
            MEMBERS => Self::Members(plain(&body)?),
            _ => Self::Refused(kind.checked_sub(REFUSED).and_then(Reason::from_code).ok_or(CodecError)?),
        })
    }
}

impl Reason {
    fn code(self) -> u8 {
        match self {
            Self::Malformed => 0,
            Self::Store(StoreError::Compacted) => 1,
            Self::Store(StoreError::FutureRevision) => 2,
            Self::Store(StoreError::KeyNotFound) => 3,
            Self::Store(StoreError::ReadOnly) => 4,
            Self::Members(refusal) => MEMBER_REFUSALS + refusal.code(),
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Malformed,
            1 => Self::Store(StoreError::Compacted),
            2 => Self::Store(StoreError::FutureRevision),
            3 => Self::Store(StoreError::KeyNotFound),
            4 => Self::Store(StoreError::ReadOnly),
            _ => Self::Members(MemberRefusal::from_code(code.checked_sub(MEMBER_REFUSALS)?)?),
        })
    }
}

fn frame(kind: u8, body: &impl Message) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES + body.encoded_len());
    out.put_u8(FORMAT_VERSION);
    out.put_u8(kind);
    body.encode_raw(&mut out);
    out.into()
}

fn plain_frame(kind: u8, body: &impl Serialize) -> Bytes {
    let mut out = vec![FORMAT_VERSION, kind];
    wire::encode_into(body, &mut out);
    out.into()
}

fn open(bytes: &Bytes) -> Result<(u8, Bytes), CodecError> {
    match bytes.as_ref() {
        &[FORMAT_VERSION, kind, ..] => Ok((kind, bytes.slice(HEADER_BYTES..))),
        _ => Err(CodecError),
    }
}

fn plain<T: DeserializeOwned>(body: &Bytes) -> Result<T, CodecError> {
    wire::decode(body, body.len()).map_err(|_| CodecError)
}

fn message<M: Message + Default>(body: Bytes) -> Result<M, CodecError> {
    M::decode(body).map_err(|_| CodecError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::Founder;
    use consensus_core::NodeId;

    fn founder() -> Founder {
        Founder { id: NodeId(7), name: "n7".into(), peer: "h:1".parse().unwrap() }
    }

    fn commands() -> Vec<Command> {
        vec![
            Command::Put(PutRequest {
                key: "k".into(),
                value: "v".into(),
                lease: 7,
                ..PutRequest::default()
            }),
            Command::DeleteRange(DeleteRangeRequest {
                key: "k".into(),
                prev_kv: true,
                ..DeleteRangeRequest::default()
            }),
            Command::Txn(TxnRequest::default()),
            Command::Compact(CompactionRequest { revision: 9, physical: true }),
            Command::Range(RangeRequest { key: "k".into(), limit: 3, ..RangeRequest::default() }),
            Command::Members(MemberCommand::Found(vec![founder()])),
            Command::Members(MemberCommand::Release(NodeId(1 << 40))),
            Command::Members(MemberCommand::Reserve { peers: Vec::new(), wants_vote: true }),
        ]
    }

    #[test]
    fn commands_and_replies_survive_their_encoding() {
        let (mut store, mut members) = (Store::new(), MemberTable::default());
        for command in commands() {
            assert_eq!(Command::decode(&command.encode()), Ok(command.clone()));
            let reply = command.apply(&mut store, &mut members);
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
        for code in (0..5).chain(64..72) {
            let reply = Reply::Refused(Reason::from_code(code).unwrap());
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
    }

    #[test]
    fn the_bytes_of_a_put_stay_as_they_are() {
        let put = Command::Put(PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() });
        assert_eq!(put.encode().as_ref(), [1, 1, 0x0a, 1, b'k', 0x12, 1, b'v']);
        let found = Command::Members(MemberCommand::Found(vec![founder()]));
        assert_eq!(found.encode().as_ref(), b"\x01\x06\0\x01\x07\x02n7\x03h:1");
    }

    #[test]
    fn other_bytes_are_an_error() {
        for bytes in [
            &[][..],
            &[1],
            &[2, PUT],
            &[1, 0],
            &[1, 77],
            &[1, PUT, 0x0a, 200],
            &[1, REFUSED + 5],
            &[1, MEMBERS, 99],
        ] {
            assert_eq!(Command::decode(&Bytes::copy_from_slice(bytes)), Err(CodecError), "{bytes:?}");
            assert_eq!(Reply::decode(&Bytes::copy_from_slice(bytes)), Err(CodecError), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(kind in 0u8..=255, body: Vec<u8>) {
            let mut bytes = vec![FORMAT_VERSION, kind];
            bytes.extend(body);
            let bytes = Bytes::from(bytes);
            if let Ok(command) = Command::decode(&bytes) {
                let reply = command.apply(&mut Store::new(), &mut MemberTable::default());
                proptest::prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
            }
            let _ = Reply::decode(&bytes);
        }
    }
}
