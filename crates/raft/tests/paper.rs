//! One test per clause of `spec.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Cluster;

#[test]
fn elects_and_replicates() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"a");
    cluster.settle();
    for id in [1, 2, 3] {
        assert_eq!(cluster.diary(common::n(id)).len(), 1);
    }
    cluster.read(leader, 1);
    let follower = cluster.others(leader)[0];
    cluster.read(follower, 2);
    cluster.settle();
    assert_eq!(cluster.reads_ready(leader).len(), 1);
    assert_eq!(cluster.reads_ready(follower).len(), 1);
    cluster.crash(leader);
    cluster.run_for_ms(2000);
    assert_eq!(cluster.leaders().len(), 1);
}
