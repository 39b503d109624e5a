//! What strangers and broken peers may send: each is refused in words, and none does harm.
//!
//! The bytes are made here by hand, from the layouts that the crate documents, so that a change of layout is noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

use crate::support::fixed::{Fixed, FixedConfig, LEADER};
use crate::support::{Cluster, Notebook, number, soon};
use consensus_core::wire::MAX_FRAME_BYTES;
use consensus_core::{ClusterId, NodeId};
use consensus_runtime::{Handle, HostReading, Replica, Replicated};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VERSION: u8 = 1;
const GROUP: u64 = 1;
/// What the tests' algorithm says to ask for its first entry.
const WANT: &[u8] = &[0, 1];

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn hello(version: u8, cluster: u64, from: u64, to: u64) -> Vec<u8> {
    let mut bytes = b"agreemnt".to_vec();
    bytes.push(version);
    for number in [cluster, from, to] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    sealed(bytes)
}

fn frame(version: u8, kind: u8, sender: u64, body: &[u8]) -> Vec<u8> {
    frame_for(GROUP, version, kind, sender, body)
}

fn frame_for(group: u64, version: u8, kind: u8, sender: u64, body: &[u8]) -> Vec<u8> {
    let mut checked = vec![version, kind];
    checked.extend_from_slice(&group.to_le_bytes());
    checked.extend_from_slice(&sender.to_le_bytes());
    checked.extend_from_slice(body);
    let mut bytes = u32::try_from(checked.len() + 4).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&checked).to_le_bytes());
    bytes.extend_from_slice(&checked);
    bytes
}

/// The verdict of the other side's answer.
async fn greet(address: SocketAddr, hello: &[u8]) -> (TcpStream, Option<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut answer = [0; 14];
    match soon(stream.read_exact(&mut answer)).await {
        Ok(_) => {
            assert_eq!(answer[..9], *b"agreemnt\x01");
            assert_eq!(answer[10..], crc32fast::hash(&answer[..10]).to_le_bytes());
            (stream, Some(answer[9]))
        }
        Err(_) => (stream, None),
    }
}

/// Sends bytes as node 2 would, after a proper greeting, and waits until the other side hangs up.
async fn send_as_peer(address: SocketAddr, bytes: &[u8]) -> bool {
    let (mut stream, verdict) = greet(address, &hello(VERSION, 1, 2, 1)).await;
    assert_eq!(verdict, Some(0));
    drop(stream.write_all(bytes).await);
    matches!(soon(stream.read(&mut [0; 1])).await, Ok(0) | Err(_))
}

async fn leader() -> (Cluster<Fixed>, Handle<Fixed>, SocketAddr) {
    let cluster = Cluster::new(2, FixedConfig::default());
    let handle = cluster.start(1).await;
    let address = cluster.members[&LEADER];
    (cluster, handle, address)
}

fn host(handle: &Handle<Fixed>) -> HostReading {
    handle.host().unwrap().metrics()
}

#[tokio::test]
async fn strangers_are_told_why_they_are_refused() {
    let (_cluster, handle, address) = leader().await;
    let rows = [
        (hello(VERSION, 1, 2, 1), 0),
        (hello(VERSION + 1, 1, 2, 1), 1),
        (hello(VERSION, 9, 2, 1), 2),
        (hello(VERSION, 1, 2, 3), 3),
        (hello(VERSION, 1, 7, 1), 4),
        (hello(VERSION, 1, 1, 1), 4),
        (hello(VERSION, 1, 0, 1), 4),
        (hello(VERSION, 1, 2, 0), 3),
        (vec![b'x'; 37], 5),
    ];
    for (hello, expected) in &rows {
        assert_eq!(greet(address, hello).await.1, Some(*expected), "{hello:?}");
    }
    assert_eq!(host(&handle).handshakes_refused, rows.len() as u64 - 1);
    soon(handle.propose("still here".into())).await.unwrap();
}

#[tokio::test]
async fn a_peer_of_another_cluster_stays_out() {
    let (cluster, handle, _) = leader().await;
    let mut config = cluster.config(2);
    config.cluster = ClusterId(2);
    let foreigner = Replica::start::<Fixed, _>(config, Notebook::default()).await.unwrap();
    soon(async {
        while host(&handle).handshakes_refused == 0 || host(&foreigner).handshakes_refused == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    soon(handle.propose("mine".into())).await.unwrap();
    assert_eq!(foreigner.applied().0, 0);
}

#[tokio::test]
async fn malformed_frames_close_their_connection_and_nothing_else() {
    let (_cluster, handle, address) = leader().await;
    let good = frame(VERSION, 1, 2, WANT);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut oversized = good.clone();
    oversized[..4].copy_from_slice(&u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_le_bytes());
    let bad = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 100],
        vec![0; 100],
        flipped,
        oversized,
        frame(VERSION + 1, 1, 2, WANT),
        frame(VERSION, 9, 2, WANT),
        frame(VERSION, 1, 1, WANT),
        // An address without a port, a list that is longer than it is, and what only enquirers say.
        frame_for(0, VERSION, 4, 2, &[4, 1, 1, b'x']),
        frame_for(0, VERSION, 4, 2, &[4, 0xff, 0xff, 0xff, 0x7f]),
        frame_for(0, VERSION, 5, 2, &[0]),
        frame_for(0, VERSION, 6, 2, &[0]),
    ];
    for bytes in &bad {
        assert!(send_as_peer(address, bytes).await, "{bytes:?}");
        // What came before it counts, what comes behind it does not.
        let mut mixed = good.clone();
        mixed.extend_from_slice(bytes);
        mixed.extend_from_slice(&good);
        assert!(send_as_peer(address, &mixed).await, "{bytes:?}");
    }
    assert_eq!(host(&handle).frames_malformed, 2 * bad.len() as u64);
    assert_eq!(handle.metrics().frames_received, bad.len() as u64);
    soon(handle.propose("still here".into())).await.unwrap();
    assert_eq!(number(&soon(handle.read("still here".into())).await.unwrap()), 1);
}

/// The connection belongs to all groups: what one of them does not understand, and what is for none of them, is dropped alone.
#[tokio::test]
async fn frames_that_nobody_understands_are_dropped_and_counted_alone() {
    let (_cluster, handle, address) = leader().await;
    let not_understood = [
        frame(VERSION, 1, 2, &[99]),
        frame(VERSION, 1, 2, &[0, 1, 77]),
        frame(VERSION, 2, 2, &[]),
        frame(VERSION, 3, 2, &[0xff; 40]),
        frame(VERSION, 5, 2, &[0]),
        frame(VERSION, 6, 2, &[0]),
    ];
    let unknown = [2, 0x7777_7777_7777, u64::MAX].map(|group| frame_for(group, VERSION, 1, 2, WANT));
    let good = frame(VERSION, 1, 2, WANT);
    let (mut stream, verdict) = greet(address, &hello(VERSION, 1, 2, 1)).await;
    assert_eq!(verdict, Some(0));
    for bytes in not_understood.iter().chain(&unknown).chain([&good]) {
        stream.write_all(bytes).await.unwrap();
    }
    soon(async {
        while handle.metrics().frames_received == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(handle.metrics().frames_malformed, not_understood.len() as u64);
    assert_eq!(host(&handle).frames_unknown, unknown.len() as u64);
    assert_eq!((handle.metrics().frames_received, host(&handle).frames_malformed), (1, 0));
    soon(handle.propose("still here".into())).await.unwrap();
}

#[tokio::test]
async fn an_enquirer_that_asks_nothing_is_sent_away() {
    let (_cluster, handle, address) = leader().await;
    let rubbish = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 100],
        frame_for(0, VERSION, 1, 0, &[0, 1]),
        frame_for(0, VERSION, 5, 0, &[0xff; 9]),
        frame_for(0, VERSION, 5, 0, &vec![0; 1 << 20]),
        // Nobody attends to it here.
        frame_for(0, VERSION, 5, 0, &[1, b'?'])[..20].to_vec(),
        Vec::new(),
    ];
    for bytes in rubbish {
        let (mut stream, verdict) = greet(address, &hello(VERSION, 1, 0, 0)).await;
        assert_eq!(verdict, Some(0));
        drop(stream.write_all(&bytes).await);
        assert!(matches!(soon(stream.read(&mut [0; 1])).await, Ok(0) | Err(_)), "{bytes:?}");
    }
    soon(handle.propose("still here".into())).await.unwrap();
}

#[tokio::test]
async fn guests_are_few_and_members_find_room_beside_them() {
    let cluster = Cluster::<raft::Raft>::new(2, raft::Config::default());
    let first = cluster.start(1).await;
    let address = cluster.members[&NodeId(1)];
    let mut guests = Vec::new();
    for node in 10..26 {
        let (mut stream, verdict) = greet(address, &hello(VERSION, 1, node, 1)).await;
        assert_eq!(verdict, Some(0), "it may be a member by an entry that is not here");
        // It says where it listens: that is dialled for as long as it stays.
        let notice = frame_for(0, VERSION, 4, node, b"\x04\x01\x0b127.0.0.1:1");
        stream.write_all(&notice).await.unwrap();
        guests.push(stream);
    }
    assert_eq!(greet(address, &hello(VERSION, 1, 26, 1)).await.1, Some(4));
    let second = cluster.start(2).await;
    soon(second.propose("through the crowd".into())).await.unwrap();
    guests.truncate(15);
    soon(async {
        while greet(address, &hello(VERSION, 1, 26, 1)).await.1 != Some(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(first.host().unwrap().metrics().frames_malformed, 0);
}

#[tokio::test]
async fn a_truncated_frame_is_forgotten_with_its_connection() {
    let (_cluster, handle, address) = leader().await;
    let whole = frame(VERSION, 1, 2, WANT);
    for length in 0..whole.len() {
        let (mut stream, verdict) = greet(address, &hello(VERSION, 1, 2, 1)).await;
        assert_eq!(verdict, Some(0));
        stream.write_all(&whole[..length]).await.unwrap();
    }
    soon(handle.propose("still here".into())).await.unwrap();
    assert_eq!(handle.metrics().frames_received, 0);
}

#[tokio::test]
async fn a_crowd_of_silent_connections_does_not_keep_a_peer_out_for_long() {
    let (cluster, leader, address) = leader().await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    let follower = cluster.start(2).await;
    soon(follower.propose("through the crowd".into())).await.unwrap();
    assert_eq!(leader.applied().0, 1);
    assert_eq!(follower.node(), NodeId(2));
}
