//! The clauses of `spec.md` that are not about crashes; those are in `exhaustive.rs`.

use crate::common::{Cluster, Envelope, n, proposal};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, ConfigError, Members, Node, NodeConfig, NodeError, Offence, Refusal, Reply, Time,
};
use floodset::{Config, FloodSet, Message};
use std::time::Duration;

fn config() -> Config {
    Config { round_ms: 10, ..Config::default() }
}

fn group(size: u64, config: Config) -> Cluster<FloodSet> {
    Cluster::with(size, config, false, 1)
}

fn flood(round: u64, estimate: &'static str, is_early: bool) -> Message {
    Message::Flood { round, estimate: Bytes::from_static(estimate.as_bytes()), is_early }
}

/// Node 1 of so many, alone with what the test tells it.
fn alone(size: u64, config: Config) -> Cluster<FloodSet> {
    let mut cluster = group(size, config);
    (2..=size).for_each(|id| cluster.crash(n(id)));
    cluster
}

fn tell(cluster: &mut Cluster<FloodSet>, from: u64, message: Message) {
    cluster.deliver(Envelope { from: n(from), to: n(1), message });
}

/// What node 1 says at the end of its round.
fn next_round(cluster: &mut Cluster<FloodSet>) -> Vec<Message> {
    cluster.wire.clear();
    cluster.now += Duration::from_millis(10);
    cluster.handle(n(1), consensus_core::Event::Tick);
    cluster.wire.drain(..).map(|envelope| envelope.message).collect()
}

// tests [F2]
#[test]
fn who_hears_of_a_beginning_begins() {
    let mut cluster = group(3, config());
    cluster.now = Time::from_millis(5);
    cluster.propose(n(2), 1, b"b");
    cluster.run_for_ms(100);
    assert!((1..=3).all(|id| cluster.diary(n(id)) == [(1, Bytes::from_static(b"b"))]));
    // Who begins later than others by less than a round's slack is waited for, and hears what came early.
    let mut cluster = alone(3, config());
    tell(&mut cluster, 2, flood(1, "b", false));
    tell(&mut cluster, 2, flood(2, "a", false));
    assert_eq!(next_round(&mut cluster), [flood(2, "b", false), flood(2, "b", false)], "not yet");
    assert_eq!(next_round(&mut cluster), [flood(3, "a", true), flood(3, "a", true)]);
}

// tests [F1] [F3]
#[test]
fn what_comes_after_its_round_is_not_counted() {
    let mut cluster = alone(3, config());
    cluster.propose(n(1), 1, b"b");
    next_round(&mut cluster);
    tell(&mut cluster, 2, flood(1, "a", false));
    next_round(&mut cluster);
    next_round(&mut cluster);
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"b"))]);
}

// tests [F5] [F6]
#[test]
fn without_crashes_two_rounds_and_their_messages_are_all() {
    for size in 2..=7 {
        let mut cluster = group(size, config());
        for id in 1..=size {
            cluster.propose(n(id), id, if id == size { b"a" } else { b"b" });
        }
        let mut messages = cluster.wire.len();
        cluster.settle();
        for id in 1..=size {
            cluster.now = Time::from_millis(10);
            cluster.handle(n(id), consensus_core::Event::Tick);
        }
        messages += cluster.wire.len();
        cluster.settle();
        assert!((1..=size).all(|id| cluster.diary(n(id)) == [(1, Bytes::from_static(b"a"))]), "n = {size}");
        assert!((1..=size).all(|id| cluster.nodes[&n(id)].algorithm().decided_in() == Some(2)));
        assert_eq!(messages as u64, 2 * size * (size - 1));
        assert_eq!((cluster.wire.len(), cluster.next_deadline()), (0, None), "and it is over");
    }
}

// tests [F4]
#[test]
fn without_early_decisions_all_rounds_are_needed() {
    for (faults, rounds) in [(None, 4), (Some(1), 2), (Some(0), 1)] {
        let mut cluster = group(4, Config { early: false, faults, ..config() });
        (1..=4).for_each(|id| cluster.propose(n(id), id, b"a"));
        cluster.run_for_ms(10 * rounds - 1);
        assert!((1..=4).all(|id| cluster.diary(n(id)).is_empty()));
        cluster.run_for_ms(1);
        assert!((1..=4).all(|id| cluster.nodes[&n(id)].algorithm().decided_in() == Some(rounds)));
    }
}

// tests [F7]
#[test]
fn a_proposal_comes_once_and_is_not_too_long() {
    let mut cluster = alone(3, Config { max_payload_bytes: 3, ..config() });
    cluster.propose(n(1), 1, b"long");
    tell(&mut cluster, 2, flood(1, "b", false));
    cluster.propose(n(1), 2, b"a");
    cluster.propose(n(1), 3, b"a");
    assert_eq!(cluster.refusals(n(1)), [(1, Refusal::TooLarge), (3, Refusal::Busy)]);
    (0..3).for_each(|_| drop(next_round(&mut cluster)));
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"b"))], "it began with another's value");
    assert!(cluster.replies.iter().any(|(_, it)| matches!(it, Reply::Done { id, .. } if *id == proposal(2))));
    cluster.propose(n(1), 4, b"a");
    assert_eq!(cluster.refusals(n(1)).last(), Some(&(4, Refusal::Busy)));
}

// tests [F8]
#[test]
fn configurations_that_cannot_work_are_refused() {
    let open = |config: Config, members: Members| {
        let mut node = NodeConfig::<FloodSet>::new(n(1), members, 1);
        node.algorithm = config;
        let disk = MemoryStorage::default();
        let opened = Node::open(node, Time::ZERO, Outbox::default(), disk, crate::common::Diary::default());
        match opened.map(|_| ()) {
            Err(NodeError::Config(ConfigError { field, .. })) => field,
            other => panic!("{other:?}"),
        }
    };
    let voters = || Members::of([n(1), n(2), n(3)]);
    assert_eq!(open(Config { round_ms: 0, ..config() }, voters()), "round_ms");
    assert_eq!(open(Config { round_ms: u64::MAX, ..config() }, voters()), "round_ms");
    assert_eq!(open(Config { faults: Some(3), ..config() }, voters()), "faults");
    assert_eq!(open(Config { max_payload_bytes: usize::MAX, ..config() }, voters()), "max_payload_bytes");
    assert_eq!(open(config(), Members::of([]).with_learners([n(1)])), "members");
    assert_eq!(open(config(), voters().with_learners([n(4)])), "members");
    assert_eq!(open(config(), voters().with_outgoing([n(4)])), "members");
}

// tests [F9]
#[test]
fn impostors_and_liars_are_accused_and_ignored() {
    let mut cluster = alone(3, Config { max_payload_bytes: 3, ..config() });
    cluster.propose(n(1), 1, b"b");
    tell(&mut cluster, 2, flood(1, "c", false));
    let lies = [
        (1, flood(1, "a", false)),
        (7, flood(1, "a", false)),
        (2, flood(0, "a", false)),
        (2, flood(4, "a", false)),
        (2, flood(u64::MAX, "a", false)),
        (3, flood(1, "a", true)),
        (3, flood(1, "long", false)),
        (2, flood(1, "a", false)),
    ];
    let count = lies.len();
    for (from, lie) in lies {
        tell(&mut cluster, from, lie);
    }
    assert_eq!(cluster.accusations.len(), count);
    let equivocates = |(_, _, offence): &(_, _, Offence)| matches!(offence, Offence::Equivocation(_));
    assert_eq!(cluster.accusations.iter().filter(|it| equivocates(it)).count(), 1);
    assert_eq!(next_round(&mut cluster), [flood(2, "b", false), flood(2, "b", false)]);
}
