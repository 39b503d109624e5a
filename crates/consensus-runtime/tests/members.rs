//! Nodes that come, move, and go while their group runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

use crate::support::{Cluster, Notebook, free_addresses, number, soon, within};
use bytes::Bytes;
use consensus_core::{Change, ClusterId, NodeId, Refusal};
use consensus_runtime::{
    EnquiryError, Handle, Host, PeerAddress, Peers, Replica, ReplicaConfig, Replicated, RequestError,
    StartError, StopReason, enquire, remembered,
};
use raft::{Config, Raft};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;

/// A group of its own: others may have had our ports before.
fn quick(size: usize) -> (Cluster<Raft>, ClusterId) {
    let config = Config { election_timeout_ms: 300, heartbeat_interval_ms: Some(40), ..Config::default() };
    let cluster = Cluster::new(size, config);
    let number = u64::from(cluster.members[&NodeId(1)].port());
    (cluster, ClusterId(number << 20 | u64::from(std::process::id() % 1000)))
}

struct Group {
    cluster: Cluster<Raft>,
    id: ClusterId,
    handles: BTreeMap<NodeId, Handle<Raft>>,
    peers: Peers,
    spare: Vec<TempDir>,
}

impl Group {
    async fn start(size: usize) -> Self {
        let (cluster, id) = quick(size);
        let addresses =
            cluster.members.iter().map(|(&node, &address)| (node, vec![address.into()])).collect();
        let unused_from = NodeId(size as u64 + 1);
        let peers = Peers { revision: 1, addresses, unused_from };
        let mut group = Self { cluster, id, handles: BTreeMap::new(), peers, spare: Vec::new() };
        for node in 1..=size as u64 {
            let config = group.config(node);
            group.start_with(config).await;
        }
        group.tell().await;
        group
    }

    fn config(&self, node: u64) -> ReplicaConfig<Raft> {
        ReplicaConfig { cluster: self.id, ..self.cluster.config(node) }
    }

    async fn start_with(&mut self, config: ReplicaConfig<Raft>) {
        let node = config.node;
        let handle = Replica::start(config, Notebook::default()).await.unwrap();
        self.handles.insert(node, handle);
    }

    fn handle(&self, node: u64) -> &Handle<Raft> {
        &self.handles[&NodeId(node)]
    }

    /// The application of each node learns of the peers, sooner or later.
    async fn tell(&mut self) {
        self.peers.revision += 1;
        for handle in self.handles.values() {
            drop(soon(host(handle).set_peers(self.peers.clone())).await);
        }
    }

    /// A new node with a directory of its own, as the application would let it in.
    async fn join(&mut self) -> u64 {
        let node = self.peers.unused_from.0;
        let address = free_addresses(1)[0];
        self.peers.unused_from = NodeId(node + 1);
        self.peers.addresses.insert(NodeId(node), vec![address.into()]);
        self.tell().await;
        self.reconfigure(Change::AddLearner(NodeId(node))).await;
        self.spare.push(TempDir::new().unwrap());
        let config = self.newcomer(node, address);
        self.start_with(config).await;
        self.tell().await;
        node
    }

    fn newcomer(&self, node: u64, address: SocketAddr) -> ReplicaConfig<Raft> {
        let known = self.peers.addresses.iter().map(|(&node, list)| (node, list[0].clone()));
        let mut config = ReplicaConfig::new(NodeId(node), known, self.spare.last().unwrap().path());
        (config.cluster, config.joins) = (self.id, true);
        config.algorithm = self.cluster.algorithm.clone();
        assert_eq!(config.listen, address);
        config
    }

    /// Changes the members through anybody, again and again while that may help.
    async fn reconfigure(&self, change: Change) {
        within(Duration::from_secs(20), async {
            for handle in self.handles.values().cycle() {
                match handle.reconfigure(change.clone()).await {
                    Ok(_) => return,
                    Err(RequestError::Refused(Refusal::BadChange(reason))) => {
                        let text = reason.to_string();
                        // It was done by an attempt whose answer was lost.
                        if text.contains("already") || text.contains("is not a member") {
                            return;
                        }
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        })
        .await;
    }

    async fn remove(&mut self, node: u64) {
        self.reconfigure(Change::Remove(NodeId(node))).await;
        self.peers.addresses.remove(&NodeId(node));
        self.tell().await;
    }

    async fn write(&self, payload: &'static str) {
        within(Duration::from_secs(20), async {
            for handle in self.handles.values().cycle() {
                if handle.propose(payload.into()).await.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn lead(&self, node: u64) {
        within(Duration::from_secs(20), async {
            while self.handle(node).status().leader != Some(NodeId(node)) {
                drop(self.handle(node).transfer(Some(NodeId(node))).await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

fn host(handle: &Handle<Raft>) -> &Host {
    handle.host().unwrap()
}

async fn knows(handle: &Handle<Raft>, payload: &'static str) -> bool {
    number(&within(Duration::from_secs(20), handle.read(payload.into())).await.unwrap()) >= 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_is_replaced_by_a_newcomer() {
    let mut group = Group::start(3).await;
    group.write("first").await;
    for old in 1..=3 {
        let new = group.join().await;
        group.reconfigure(Change::AddVoter(NodeId(new))).await;
        // The first one to go is asked to lead, so that a leader is removed too.
        group.lead(old).await;
        let removed = group.handle(old).clone();
        group.remove(old).await;
        assert_eq!(soon(removed.stopped()).await, StopReason::Removed, "{old}");
        group.handles.remove(&NodeId(old));
        group.write("and on").await;
        assert!(knows(group.handle(new), "first").await);
    }
    for handle in group.handles.values() {
        assert!(knows(handle, "and on").await);
        let is_told = |voters: &[NodeId]| voters == [4, 5, 6].map(NodeId);
        soon(handle.watch_status().wait_for(|view| is_told(view.status.members.voters()))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_catches_up_with_a_leader_that_it_does_not_know() {
    let mut group = Group::start(3).await;
    group.write("first").await;
    soon(group.handle(3).kill()).await;
    group.handles.remove(&NodeId(3));
    let four = group.join().await;
    group.reconfigure(Change::AddVoter(NodeId(four))).await;
    group.lead(four).await;
    group.remove(1).await;
    soon(group.handle(1).stopped()).await;
    group.handles.remove(&NodeId(1));
    group.write("while away").await;
    // It knows of one, two and three; only two and four are there, and four leads.
    let config = group.config(3);
    group.start_with(config).await;
    assert!(knows(group.handle(3), "while away").await);
    assert_eq!(group.handle(3).status().leader, Some(NodeId(four)));
    // What an observer is shown comes right behind the answers.
    let mut view = group.handle(3).watch_status();
    let is_told = |voters: &[NodeId]| voters == [2, 3, 4].map(NodeId);
    soon(view.wait_for(|view| is_told(view.status.members.voters()))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_remembered_and_a_node_may_move() {
    let mut group = Group::start(2).await;
    let three = group.join().await;
    group.reconfigure(Change::AddVoter(NodeId(three))).await;
    group.write("first").await;
    let incarnations: Vec<u64> = group.handles.values().map(|handle| host(handle).incarnation()).collect();
    assert!(incarnations.iter().all(|&drawn| drawn != 0));
    for handle in std::mem::take(&mut group.handles).into_values() {
        assert_eq!(soon(handle.shutdown()).await, StopReason::Shutdown);
    }
    // Nothing but the directories tells who the others are; and the third comes back somewhere else.
    let moved = free_addresses(1)[0];
    for node in 1..=3 {
        let mut config = if node < 3 {
            group.config(node)
        } else {
            let address = group.peers.addresses[&NodeId(3)][0].as_socket().unwrap();
            group.newcomer(node, address)
        };
        let known = remembered(&config.data_dir).await.unwrap().unwrap();
        assert_eq!((known.cluster, known.node, known.peers), (group.id, NodeId(node), group.peers.clone()));
        config.members.clear();
        config.joins = true;
        if node == 3 {
            config.listen = moved;
        }
        group.start_with(config).await;
    }
    group.write("second").await;
    let again: Vec<u64> = group.handles.values().map(|handle| host(handle).incarnation()).collect();
    assert_eq!(again, incarnations, "it is the same node");
    assert_eq!(group.handle(3).applied().0, 0, "nobody finds it");
    group.peers.addresses.insert(NodeId(3), vec!["nowhere.invalid:1".parse().unwrap(), moved.into()]);
    group.tell().await;
    assert!(knows(group.handle(3), "second").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_while_away_is_told_and_does_not_come_back() {
    let mut group = Group::start(3).await;
    group.write("first").await;
    soon(group.handle(3).kill()).await;
    group.handles.remove(&NodeId(3));
    group.remove(3).await;
    group.write("second").await;
    for _ in 0..2 {
        // Its directory knows nothing of it, but the others do.
        match Replica::start(group.config(3), Notebook::default()).await {
            Ok(back) => assert_eq!(soon(back.stopped()).await, StopReason::Removed),
            // They were quicker than its start.
            Err(error) => assert!(matches!(error, StartError::Removed { node: NodeId(3), .. }), "{error}"),
        }
    }
    // Who has read of its own removal does not even start.
    let last = group.handle(2).clone();
    group.peers.addresses.remove(&NodeId(2));
    group.peers.revision += 1;
    drop(soon(host(&last).set_peers(group.peers.clone())).await);
    assert_eq!(soon(last.stopped()).await, StopReason::Removed);
    let refused = Replica::start(group.config(2), Notebook::default()).await.unwrap_err();
    assert!(matches!(refused, StartError::Removed { node: NodeId(2), .. }), "{refused}");
    assert!(refused.to_string().contains("let it join anew"), "{refused}");
}

#[tokio::test]
async fn what_is_remembered_is_checked() {
    let (cluster, id) = quick(1);
    let config = ReplicaConfig { cluster: id, ..cluster.config(1) };
    let directory = config.data_dir.clone();
    assert_eq!(remembered(directory.join("none")).await.unwrap(), None);
    assert!(!directory.join("none").exists());
    let handle = Replica::start(config.clone(), Notebook::default()).await.unwrap();
    assert!(remembered(&directory).await.unwrap_err().to_string().contains("another process"));
    soon(handle.propose("x".into())).await.unwrap();
    soon(handle.shutdown()).await;
    let addresses = BTreeMap::from([(NodeId(1), vec![config.listen.into()])]);
    let told = Peers { addresses, ..Peers::default() };
    assert_eq!(remembered(&directory).await.unwrap().unwrap().peers, told, "as the first start was told");
    let note = directory.join("note");
    let bytes = std::fs::read(&note).unwrap();
    let refused = async |what: &str| {
        let error = Replica::start(config.clone(), Notebook::default()).await.unwrap_err().to_string();
        assert!(error.contains(note.to_str().unwrap()) && error.contains(what), "{error}");
        assert!(error.contains("restore this directory from a copy"), "{error}");
    };
    for place in [0, 30, 63, 64, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        std::fs::write(&note, damaged).unwrap();
        refused("is damaged at byte").await;
        assert!(remembered(&directory).await.is_err());
    }
    std::fs::remove_file(&note).unwrap();
    refused("there is a journal, but not the note").await;
    std::fs::write(&note, bytes).unwrap();
    // What a later start is told of the members at birth changes nothing.
    let mut other = config.clone();
    other.members.insert(NodeId(9), free_addresses(1)[0].into());
    let handle = Replica::start(other, Notebook::default()).await.unwrap();
    soon(handle.propose("y".into())).await.unwrap();
    assert_eq!(handle.status().members.voters(), [NodeId(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_node_yet_may_ask() {
    let (cluster, id) = quick(1);
    let config = ReplicaConfig { cluster: id, ..cluster.config(1) };
    let address: PeerAddress = config.listen.into();
    let handle = Replica::start(config, Notebook::default()).await.unwrap();
    let mut enquiries = host(&handle).take_enquiries().unwrap();
    assert!(host(&handle).take_enquiries().is_none(), "they are somebody's already");
    let answers = tokio::spawn(async move {
        for _ in 0..2 {
            let enquiry = enquiries.recv().await.unwrap();
            let answer = [b"you said ", &enquiry.question[..]].concat();
            enquiry.answer(answer.into());
        }
        // The third is sent away.
        drop(enquiries.recv().await.unwrap());
        enquiries
    });
    for question in ["who am I?".into(), Bytes::from(vec![b'?'; 200_000])] {
        let answer = soon(enquire(&address, id, question.clone())).await.unwrap();
        assert_eq!(answer, [b"you said ", &question[..]].concat());
    }
    let unanswered = |result| matches!(result, Err(EnquiryError::Unanswered { .. }));
    assert!(unanswered(soon(enquire(&address, id, Bytes::new())).await));
    assert!(unanswered(soon(enquire(&address, id, vec![0; 300_000].into())).await));
    let enquiries = answers.await.unwrap();
    let stranger = soon(enquire(&address, ClusterId(id.0 + 1), Bytes::new())).await;
    assert!(matches!(stranger, Err(EnquiryError::Cluster { .. })), "{stranger:?}");
    let nobody = free_addresses(1)[0].into();
    assert!(unanswered(soon(enquire(&nobody, id, Bytes::new())).await));
    // A crowd that nobody attends to is bounded, and harms nobody.
    let crowd: Vec<_> = (0..40)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move { enquire(&address, id, "?".into()).await })
        })
        .collect();
    soon(handle.propose("still here".into())).await.unwrap();
    drop(enquiries);
    for enquirer in crowd {
        assert!(unanswered(within(Duration::from_secs(20), enquirer).await.unwrap()));
    }
}
