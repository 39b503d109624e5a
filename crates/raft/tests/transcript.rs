//! Golden runs: what is said, word for word, and what is written, so that a change of the protocol shows.
//!
//! `RAFT_BLESS=1 cargo test -p raft --test suite transcript` writes them anew.

use crate::common::{Cluster, n};
use consensus_core::Event;
use std::fmt::Write;

/// Delivers everything in order and writes it down.
fn settle(cluster: &mut Cluster, transcript: &mut String) {
    while let Some(envelope) = cluster.wire.pop_front() {
        writeln!(transcript, "  {} -> {} {:?}", envelope.from, envelope.to, envelope.message).unwrap();
        cluster.deliver(envelope);
    }
}

fn tick_next(cluster: &mut Cluster, transcript: &mut String) {
    let (at, id) = cluster.next_deadline().unwrap();
    cluster.now = at;
    cluster.handle(id, Event::Tick);
    writeln!(transcript, "{id} wakes at {at}").unwrap();
    settle(cluster, transcript);
}

fn compare(name: &str, transcript: &str) {
    let path = format!("{}/tests/transcripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("RAFT_BLESS").is_some() {
        std::fs::write(&path, transcript).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(transcript, golden, "the run differs from {path}");
}

#[test]
fn one_election_and_one_replication() {
    let mut cluster = Cluster::new(3);
    let mut transcript = String::from("One election, one proposal, one read at a follower.\n\n");
    while cluster.leaders().is_empty() {
        tick_next(&mut cluster, &mut transcript);
    }
    let leader = cluster.leaders()[0];
    writeln!(transcript, "{leader} leads; a client proposes").unwrap();
    cluster.propose(leader, 1, b"a");
    settle(&mut cluster, &mut transcript);
    let follower = cluster.others(leader)[0];
    writeln!(transcript, "a client reads at {follower}").unwrap();
    cluster.read(follower, 1);
    settle(&mut cluster, &mut transcript);
    for id in 1..=3 {
        let records = cluster.node(n(id)).storage().contents().records.clone();
        writeln!(transcript, "the disk of n{id}").unwrap();
        for record in records {
            writeln!(transcript, "  {record:?}").unwrap();
        }
    }
    compare("election_and_replication", &transcript);
}

#[test]
fn a_second_snapshot_while_the_first_is_on_its_way() {
    // The incident: the log was cut again while a follower received an older snapshot. Its acknowledgement lay before the
    // new start of the log, so the leader took it for unfinished for good.
    let config = raft::Config { retained_entries: 0, ..raft::Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    cluster.compact_after_bytes = 60;
    for id in 1..=3 {
        cluster.crash(n(id));
        cluster.start(n(id));
    }
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.isolate(away);
    for number in 1..=8 {
        cluster.propose(leader, number, b"x");
        cluster.settle();
    }
    cluster.heal();
    let mut transcript = String::from("The log is cut again while the first snapshot is on its way.\n\n");
    cluster.now += std::time::Duration::from_millis(101);
    cluster.handle(leader, Event::Tick);
    // The first piece is under way; meanwhile the log moves on without the follower.
    let held: Vec<_> = cluster.wire.iter().filter(|e| e.to == away).cloned().collect();
    cluster.wire.retain(|envelope| envelope.to != away);
    cluster.isolate(away);
    cluster.settle();
    for number in 9..=16 {
        cluster.propose(leader, number, b"x");
        cluster.settle();
    }
    cluster.heal();
    cluster.wire.extend(held);
    settle(&mut cluster, &mut transcript);
    for _ in 0..12 {
        tick_next(&mut cluster, &mut transcript);
    }
    assert_eq!(cluster.nodes[&away].status().decided, cluster.nodes[&leader].status().decided);
    compare("second_snapshot", &transcript);
}
