//! How often a leader speaks: the clauses R16 and R48 of `spec.md`.

use crate::common::{Cluster, Envelope, n};
use consensus_core::{Event, NodeId, Time};
use raft::{Config, Message};
use std::time::Duration;

const T: u64 = 1_000;

/// Lets time pass, delivers at once, and returns what was said and when.
fn overhear(cluster: &mut Cluster, ms: u64) -> Vec<(Time, Envelope)> {
    let end = cluster.now + Duration::from_millis(ms);
    let mut said = Vec::new();
    loop {
        while let Some(envelope) = cluster.wire.pop_front() {
            said.push((cluster.now, envelope.clone()));
            cluster.deliver(envelope);
        }
        let Some((at, id)) = cluster.next_deadline().filter(|&(at, _)| at <= end) else { break };
        cluster.now = cluster.now.max(at);
        cluster.handle(id, Event::Tick);
    }
    cluster.now = end;
    said
}

/// When this node was sent appends.
fn appends_to(said: &[(Time, Envelope)], node: NodeId) -> Vec<Time> {
    let is_append = |envelope: &Envelope| matches!(envelope.message, Message::Append(_));
    let to = said.iter().filter(|(_, envelope)| envelope.to == node && is_append(envelope));
    to.map(|&(at, _)| at).collect()
}

fn gaps_ms(times: &[Time]) -> Vec<u128> {
    times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
}

// tests [R16]
#[test]
fn whoever_was_just_told_something_is_sent_no_heartbeat() {
    let config = Config { eager_commit: false, ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    let leader = cluster.elect();
    let follower = cluster.others(leader)[0];
    for number in 1..=40 {
        cluster.propose(leader, number, b"x");
        let said = overhear(&mut cluster, 50);
        assert_eq!(appends_to(&said, follower).len(), 1, "the append alone, at {}", cluster.now);
    }
    assert_eq!(cluster.leaders(), [leader]);
    // Once nothing more comes, the next is an interval away.
    assert_eq!(appends_to(&overhear(&mut cluster, 49), follower).len(), 0);
    assert_eq!(appends_to(&overhear(&mut cluster, 1), follower).len(), 1);
}

// tests [R48]
#[test]
fn an_idle_leader_speaks_ever_more_rarely_and_with_work_as_often_as_before() {
    for size in [3, 5] {
        let mut cluster = Cluster::new(size);
        let leader = cluster.elect();
        let follower = cluster.others(leader)[0];
        overhear(&mut cluster, 3 * T);
        let idle = appends_to(&overhear(&mut cluster, 5 * T), follower);
        assert!(gaps_ms(&idle).iter().all(|gap| *gap == 250), "a quarter of T: {:?}", gaps_ms(&idle));
        cluster.propose(leader, 1, b"x");
        let busy = appends_to(&overhear(&mut cluster, T), follower);
        // The entry, the news that it is committed, and heartbeats that grow rare again after one interval without work.
        assert_eq!(gaps_ms(&busy)[..4], [0, 100, 100, 200]);
    }
}

// tests [R48]
#[test]
fn a_missing_answer_brings_the_interval_back_and_a_dead_follower_does_not() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let [mute, other] = cluster.others(leader)[..] else { panic!() };
    cluster.run_for_ms(3 * T);
    cluster.cut.insert((mute, leader));
    let missed = appends_to(&overhear(&mut cluster, T), other);
    assert_eq!(
        gaps_ms(&missed)[1..4],
        [100, 100, 100],
        "somebody may lack something: {:?}",
        gaps_ms(&missed)
    );
    // Who has not answered for two election timeouts is not waited for.
    cluster.run_for_ms(3 * T);
    let settled = appends_to(&overhear(&mut cluster, 2 * T), other);
    assert!(gaps_ms(&settled).iter().all(|gap| *gap == 250), "{:?}", gaps_ms(&settled));
    assert_eq!(cluster.leaders(), [leader]);
}

// tests [R48]
#[test]
fn the_interval_follows_the_election_timeout_unless_it_is_set() {
    for (set, timeout, first, longest) in [(None, 400, 40, 100), (Some(150), 400, 150, 150)] {
        let config = Config { election_timeout_ms: timeout, heartbeat_interval_ms: set, ..Config::default() };
        let mut cluster = Cluster::with(3, config, false, 1);
        let leader = cluster.elect();
        let follower = cluster.others(leader)[0];
        cluster.propose(leader, 1, b"x");
        let gaps = gaps_ms(&appends_to(&overhear(&mut cluster, 5 * timeout), follower));
        assert_eq!((gaps[1], gaps.last()), (first, Some(&longest)), "{gaps:?}");
    }
}

/// What an idle group says in a second, heartbeats and answers: 40 messages among three before the interval was stretched.
#[test]
fn an_idle_group_of_three_says_sixteen_messages_per_second() {
    for (size, expected) in [(3, 16), (5, 32)] {
        let mut cluster = Cluster::new(size);
        cluster.elect();
        cluster.run_for_ms(5 * T);
        assert_eq!(overhear(&mut cluster, 10 * T).len(), 10 * expected, "{}", n(size));
    }
}
