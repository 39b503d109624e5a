//! The few calls of the etcd v3 API that the load needs, over bare HTTP/2.
//!
//! The generator shares its cores with the servers, so it goes without the layers of a full gRPC client (boxed bodies, a
//! buffer task, interceptors). Both sides are asked by the same bytes.

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, StatusCode};
use prost::Message;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

const FRAME_HEADER_BYTES: usize = 5;
/// No answer that is asked for here is larger.
const MAX_ANSWER_BYTES: usize = 1 << 20;
const WINDOW_BYTES: u32 = 1 << 24;

/// `etcdserverpb.ResponseHeader`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Header {
    /// Whose answer this is.
    #[prost(uint64, tag = "2")]
    pub(super) member_id: u64,
    /// The revision of the store.
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

/// `etcdserverpb.PutRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// `etcdserverpb.PutResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct PutAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
}

/// `etcdserverpb.RangeRequest` for one key; linearizable, as is the default.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Get {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) value: Bytes,
}

/// `etcdserverpb.RangeResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct GetAnswer {
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
}

/// `etcdserverpb.StatusRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct AskStatus {}

/// `etcdserverpb.StatusResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Status {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(uint64, tag = "4")]
    pub(super) leader: u64,
}

pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const GET: &str = "/etcdserverpb.KV/Range";
pub(super) const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// One HTTP/2 connection; cheap to clone, many calls may be in flight.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    authority: SocketAddr,
}

impl Connection {
    /// Connects; the connection is driven by a task of the current `LocalSet`.
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address))
            .await
            .with_context(|| format!("{address} does not take connections"))??;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake::<_, Bytes>(stream)
            .await?;
        // It ends with an error when the server is killed; the calls in flight report that.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Self { sender, authority: address })
    }

    /// One unary call.
    pub(super) async fn call<A: Message + Default>(&self, path: &str, request: &impl Message) -> Result<A> {
        let head = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(head, false)?;
        body.send_data(framed(request), true)?;
        receive(response).await
    }
}

fn framed(request: &impl Message) -> Bytes {
    let length = request.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.extend_from_slice(&request.encode_to_vec());
    frame.freeze()
}

async fn receive<A: Message + Default>(response: ResponseFuture) -> Result<A> {
    let response = response.await?;
    ensure!(response.status() == StatusCode::OK, "HTTP status {}", response.status());
    let (head, mut body) = response.into_parts();
    check_status(&head.headers)?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        ensure!(
            bytes.len() + chunk.len() <= MAX_ANSWER_BYTES,
            "an answer of more than {MAX_ANSWER_BYTES} bytes"
        );
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    if let Some(trailers) = body.trailers().await? {
        check_status(&trailers)?;
    }
    ensure!(bytes.len() >= FRAME_HEADER_BYTES, "an answer of {} bytes has no frame", bytes.len());
    Ok(A::decode(bytes.split_off(FRAME_HEADER_BYTES))?)
}

fn check_status(headers: &HeaderMap) -> Result<()> {
    match headers.get("grpc-status").map(http::HeaderValue::as_bytes) {
        None | Some(b"0") => Ok(()),
        Some(code) => {
            let text = headers.get("grpc-message").and_then(|text| text.to_str().ok()).unwrap_or("");
            bail!("gRPC status {}: {text}", String::from_utf8_lossy(code))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAME_HEADER_BYTES, Get, Put, check_status, framed};
    use http::HeaderMap;
    use prost::Message;

    #[test]
    fn a_request_is_framed_with_its_length() {
        let put = Put { key: "k".into(), value: "value".into() };
        let frame = framed(&put);
        // Field 1 and field 2, each with its length, as the public protocol has them.
        assert_eq!(&frame[..FRAME_HEADER_BYTES], [0, 0, 0, 0, 10]);
        assert_eq!(&frame[FRAME_HEADER_BYTES..], b"\x0a\x01k\x12\x05value");
        assert_eq!(Put::decode(frame.slice(FRAME_HEADER_BYTES..)).unwrap(), put);
        assert_eq!(framed(&Get { key: "k".into() }).len(), FRAME_HEADER_BYTES + 3);
    }

    #[test]
    fn only_status_zero_passes() {
        let headers = |code: &'static str| {
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())])
        };
        assert!(check_status(&HeaderMap::new()).is_ok());
        assert!(check_status(&headers("0")).is_ok());
        let refused = check_status(&headers("14")).unwrap_err().to_string();
        assert!(refused.contains("14"), "{refused}");
    }
}
