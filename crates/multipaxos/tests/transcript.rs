//! Golden runs: what is said, word for word, and what is written, so that a change of the protocol shows.
//!
//! `PAXOS_BLESS=1 cargo test -p multipaxos --test suite transcript` writes them anew.

use crate::common::Cluster;
use consensus_core::{Event, NodeId};
use multipaxos::MultiPaxos;
use std::fmt::Write;

/// Delivers everything in order and writes it down.
fn settle(cluster: &mut Cluster<MultiPaxos>, transcript: &mut String) {
    while let Some(envelope) = cluster.wire.pop_front() {
        writeln!(transcript, "  {} -> {} {:?}", envelope.from, envelope.to, envelope.message).unwrap();
        cluster.deliver(envelope);
    }
}

fn tick_next(cluster: &mut Cluster<MultiPaxos>, transcript: &mut String) {
    let (at, id) = cluster.next_deadline().unwrap();
    cluster.now = at;
    cluster.handle(id, Event::Tick);
    writeln!(transcript, "{id} wakes at {at}").unwrap();
    settle(cluster, transcript);
}

fn lead(cluster: &mut Cluster<MultiPaxos>, transcript: &mut String) -> NodeId {
    while cluster.leaders().is_empty() {
        tick_next(cluster, transcript);
    }
    let leader = cluster.leaders()[0];
    writeln!(transcript, "{leader} leads").unwrap();
    leader
}

fn write_disks(cluster: &mut Cluster<MultiPaxos>, transcript: &mut String) {
    let up: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    for id in up {
        let records = cluster.node(id).storage().contents().records.clone();
        writeln!(transcript, "the disk of {id}").unwrap();
        for record in records {
            writeln!(transcript, "  {record:?}").unwrap();
        }
    }
}

fn compare(name: &str, transcript: &str) {
    let path = format!("{}/tests/transcripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("PAXOS_BLESS").is_some() {
        std::fs::write(&path, transcript).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(transcript, golden, "the run differs from {path}");
}

#[test]
fn one_ballot_and_one_choice() {
    let mut cluster = Cluster::<MultiPaxos>::new(3);
    let mut transcript = String::from("One ballot, one proposal, one read at a follower.\n\n");
    let leader = lead(&mut cluster, &mut transcript);
    writeln!(transcript, "a client proposes").unwrap();
    cluster.propose(leader, 1, b"a");
    settle(&mut cluster, &mut transcript);
    let follower = cluster.others(leader)[0];
    writeln!(transcript, "a client reads at {follower}").unwrap();
    cluster.read(follower, 1);
    settle(&mut cluster, &mut transcript);
    write_disks(&mut cluster, &mut transcript);
    compare("ballot_and_choice", &transcript);
}

#[test]
fn what_one_had_accepted_is_proposed_anew() {
    // The leader dies when one of two followers has accepted slot 2, and nobody slot 1. The next one is told of it in phase 1.
    let mut cluster = Cluster::<MultiPaxos>::new(3);
    let first = lead(&mut cluster, &mut String::new());
    cluster.settle();
    let witness = cluster.others(first)[0];
    cluster.propose(first, 1, b"lost");
    cluster.wire.clear();
    cluster.propose(first, 2, b"kept");
    let kept = cluster.wire.iter().find(|envelope| envelope.to == witness).cloned().unwrap();
    cluster.deliver(kept);
    cluster.crash(first);
    cluster.wire.clear();
    let mut transcript =
        String::from("A leader dies; what one node accepted of it is proposed anew, behind a no-op.\n\n");
    let second = lead(&mut cluster, &mut transcript);
    assert_eq!(cluster.diary(second).len(), 1);
    write_disks(&mut cluster, &mut transcript);
    compare("proposed_anew", &transcript);
}
