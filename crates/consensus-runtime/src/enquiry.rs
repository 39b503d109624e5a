//! Questions from outside: a process that is no node yet (it wants to join) asks the application of a host something, through the
//! port for peers, which is all that it knows of the cluster. One connection, one question, one answer; what they mean is the
//! applications' affair.

use crate::address::PeerAddress;
use crate::dial;
use crate::frame::{self, HEADER_BYTES, Kind};
use crate::handshake::{HandshakeError, Hello, Verdict};
use bytes::Bytes;
use consensus_core::wire::{self, MAX_FRAME_BYTES};
use consensus_core::{ClusterId, GroupId, NodeId};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// The most questions that wait for the application; whoever comes then is told to come again.
pub(crate) const MAX_ENQUIRIES: usize = 16;
/// The longest question or answer.
const MAX_BYTES: usize = 256 << 10;
/// How long an enquirer has to ask its question.
const QUESTION_PATIENCE: Duration = Duration::from_secs(1);
/// How long the application may think.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// A question for the application. Dropping it sends the enquirer away without an answer.
#[derive(Debug)]
pub struct Enquiry {
    /// What is asked. Hostile until checked: anybody who reaches the port may ask.
    pub question: Bytes,
    answer: oneshot::Sender<Bytes>,
}

impl Enquiry {
    /// Gives the answer; at most 256 KiB of it arrive.
    pub fn answer(self, answer: Bytes) {
        // An enquirer that went away does not want it any more.
        drop(self.answer.send(answer));
    }
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnquiryError {
    /// Whoever answers at the address belongs to another cluster: asking again does not help.
    #[error("{address} belongs to another cluster: check the cluster id and the address")]
    Cluster {
        /// Who was asked.
        address: PeerAddress,
    },
    /// Nobody answers there at the moment.
    #[error("{address} does not answer: {cause}")]
    Unanswered {
        /// Who was asked.
        address: PeerAddress,
        /// Why not.
        cause: String,
    },
}

/// Asks the application of the host at `address` a question.
///
/// # Errors
/// It belongs to another cluster, cannot be reached, or has no answer.
pub async fn enquire(
    address: &PeerAddress,
    cluster: ClusterId,
    question: Bytes,
) -> Result<Bytes, EnquiryError> {
    let asked = async {
        let mut stream = dial::open(address, Hello::of_enquirer(cluster)).await?;
        send(&mut stream, Kind::Question, &question).await?;
        Ok::<_, HandshakeError>(read(&mut stream, Kind::Answer).await?)
    };
    let unanswered = |cause: String| EnquiryError::Unanswered { address: address.clone(), cause };
    match tokio::time::timeout(ANSWER_PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(HandshakeError::TurnedDown(Verdict::Cluster))) => {
            Err(EnquiryError::Cluster { address: address.clone() })
        }
        Ok(Err(error)) => Err(unanswered(error.to_string())),
        Err(_) => Err(unanswered("it takes too long".into())),
    }
}

/// The other side's part, after the greeting.
pub(crate) async fn receive(stream: &mut TcpStream, enquiries: &mpsc::Sender<Enquiry>) {
    let Ok(Ok(question)) = tokio::time::timeout(QUESTION_PATIENCE, read(stream, Kind::Question)).await else {
        return;
    };
    let (answer, answered) = oneshot::channel();
    if enquiries.try_send(Enquiry { question, answer }).is_err() {
        return;
    }
    if let Ok(Ok(answer)) = tokio::time::timeout(ANSWER_PATIENCE, answered).await {
        // An enquirer that went away does not want it any more.
        drop(send(stream, Kind::Answer, &answer).await);
    }
}

async fn send(stream: &mut TcpStream, kind: Kind, body: &Bytes) -> io::Result<()> {
    let mut bytes = Vec::new();
    let written = frame::write(&mut bytes, kind, GroupId::ZERO, NodeId::ZERO, body);
    if written.is_err() || bytes.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is too long"));
    }
    stream.write_all(&bytes).await
}

/// One frame, of this kind.
async fn read(stream: &mut TcpStream, kind: Kind) -> io::Result<Bytes> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    loop {
        match frame::read(&bytes).map_err(|error| invalid(error.to_string()))? {
            Some((frame, _)) if frame.kind == kind => {
                return wire::decode(frame.body, MAX_FRAME_BYTES).map_err(|error| invalid(error.to_string()));
            }
            Some(_) => return Err(invalid("it says something else".into())),
            None if bytes.len() >= MAX_BYTES => return Err(invalid("it says too much".into())),
            None => {}
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
