//! What a commit costs in messages, and in time.

use crate::common::Cluster;
use multipaxos::{Config, MultiPaxos};

const PROPOSALS: u64 = 20;

fn group(size: u64, eager_commit: bool) -> Cluster<MultiPaxos> {
    let mut cluster = Cluster::with(size, Config { eager_commit, ..Config::default() }, false, 1);
    cluster.elect();
    cluster.settle();
    cluster
}

/// Messages per proposal in a group of `size`, one proposal at a time; time stands still, so that no heartbeat counts.
fn messages_per_commit(size: u64, eager_commit: bool) -> u64 {
    let mut cluster = group(size, eager_commit);
    let leader = cluster.leaders()[0];
    let mut delivered = 0;
    for number in 1..=PROPOSALS {
        cluster.propose(leader, number, b"command");
        while let Some(envelope) = cluster.wire.pop_front() {
            delivered += 1;
            cluster.deliver(envelope);
        }
        assert_eq!(cluster.diary(leader).len() as u64, number);
    }
    assert_eq!(delivered % PROPOSALS, 0, "every proposal costs the same");
    delivered / PROPOSALS
}

#[test]
fn a_commit_costs_an_accept_and_an_answer_per_follower() {
    for size in [3, 5, 7, 9] {
        assert_eq!(messages_per_commit(size, false), 2 * (size - 1));
    }
}

/// Followers that are told at once what was chosen cost one message more each.
// tests [P12]
#[test]
fn news_of_what_was_chosen_costs_one_message_per_follower() {
    for size in [3, 5, 7, 9] {
        assert_eq!(messages_per_commit(size, true), 3 * (size - 1));
    }
}

/// One round trip: everything that is on the wire is delivered, and then the answers.
// tests [P1]
#[test]
fn a_commit_takes_one_round_trip() {
    for size in [3, 5, 7, 9] {
        let mut cluster = group(size, true);
        let leader = cluster.leaders()[0];
        cluster.propose(leader, 1, b"command");
        for trip in 1..=2 {
            assert_eq!(cluster.diary(leader).len(), 0);
            for envelope in std::mem::take(&mut cluster.wire) {
                assert_eq!(envelope.from == leader, trip == 1);
                cluster.deliver(envelope);
            }
        }
        assert_eq!(cluster.diary(leader).len(), 1);
    }
}
