//! What a commit costs in messages.

use crate::common::Cluster;
use raft::Config;

const PROPOSALS: u64 = 20;

/// Messages per proposal in a group of `size`, one proposal at a time; time stands still, so that no heartbeat counts.
fn messages_per_commit(size: u64, eager_commit: bool) -> u64 {
    let config = Config { eager_commit, ..Config::default() };
    let mut cluster = Cluster::with(size, config, false, 1);
    let leader = cluster.elect();
    cluster.settle();
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
fn a_commit_costs_an_append_and_an_answer_per_follower() {
    for size in [3, 5, 7, 9] {
        assert_eq!(messages_per_commit(size, false), 2 * (size - 1));
    }
}

/// Followers that are told at once of the commit index cost one message more each.
#[test]
fn news_of_the_commit_index_costs_one_message_per_follower() {
    for size in [3, 5, 7, 9] {
        assert_eq!(messages_per_commit(size, true), 3 * (size - 1));
    }
}
