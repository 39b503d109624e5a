//! Quorums that need not be majorities (Howard, Malkhi and Spiegelman 2016).

use crate::common::{Cluster, Diary, Envelope, n};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{ConsensusAlgorithm, Members, Node, NodeConfig, NodeError, Offence, Slot, Time};
use multipaxos::{Ballot, Config, Message, MultiPaxos, Prepare, Sizes};

fn sized(promises: usize, acceptances: usize) -> Config {
    Config { quorums: Some(Sizes { promises, acceptances }), ..Config::default() }
}

// tests [S10] [P4]
#[test]
fn two_of_five_choose_where_four_must_promise() {
    let mut cluster = Cluster::<MultiPaxos>::with(5, sized(4, 2), false, 1);
    let leader = cluster.elect();
    cluster.settle();
    let [other, rest @ ..] = &cluster.others(leader)[..] else { panic!() };
    for &node in rest {
        cluster.isolate(node);
    }
    for number in 1..=3 {
        cluster.propose(leader, number, b"x");
        cluster.settle();
        assert_eq!(
            (cluster.diary(leader).len(), cluster.diary(*other).len()),
            (number as usize, number as usize)
        );
    }
    // A read asks as many as choose.
    cluster.read(leader, 1);
    cluster.settle();
    assert_eq!(cluster.reads_ready(leader), [(1, Slot(3))]);
    // Two are enough to go on, however long, and too few to begin anew.
    cluster.run_for_ms(10_000);
    assert_eq!(cluster.leaders(), [leader]);
    cluster.crash(leader);
    cluster.run_for_ms(10_000);
    assert_eq!(cluster.leaders(), []);
    // With four that are left somebody leads, and has everything.
    cluster.heal();
    let leader = cluster.elect();
    cluster.propose(leader, 9, b"y");
    cluster.run_for_ms(500);
    assert_eq!(cluster.diary(leader).len(), 4);
}

/// The other way round: three of four choose, and two promise. What a leader of few promises has not heard of was not chosen.
// tests [S10] [P3]
#[test]
fn few_promises_suffice_where_many_must_choose() {
    for seed in 0..20 {
        let mut cluster = Cluster::<MultiPaxos>::with(4, sized(2, 3), false, seed);
        let leader = cluster.elect();
        for number in 1..=3 {
            cluster.propose(leader, number, b"x");
            cluster.settle();
        }
        cluster.crash(leader);
        let next = cluster.elect();
        cluster.propose(next, 4, b"x");
        cluster.run_for_ms(500);
        assert!(cluster.others(leader).iter().all(|&node| cluster.diary(node).len() == 4), "seed {seed}");
    }
}

// tests [S10]
#[test]
fn quorums_that_may_miss_each_other_are_refused() {
    let members = Members::of((1..=5).map(n));
    for (promises, acceptances) in [(3, 2), (2, 3), (1, 4), (0, 5), (5, 0), (6, 1), (1, 6)] {
        let refused = MultiPaxos::validate(&sized(promises, acceptances), &members);
        assert!(refused.is_err_and(|error| error.field == "quorums"), "{promises} and {acceptances}");
        let mut config = NodeConfig::<MultiPaxos>::new(n(1), members.clone(), 1);
        config.algorithm = sized(promises, acceptances);
        let disk = MemoryStorage::default();
        let opened = Node::open(config, Time::ZERO, Outbox::default(), disk, Diary::default());
        assert!(matches!(opened.map(|_| ()), Err(NodeError::Config(_))));
    }
    for (promises, acceptances) in [(4, 2), (2, 4), (3, 3), (5, 1), (1, 5)] {
        assert!(MultiPaxos::validate(&sized(promises, acceptances), &members).is_ok());
    }
}

// tests [P31]
#[test]
fn nobody_is_promised_anything_who_counts_on_other_quorums() {
    let mut cluster = Cluster::<MultiPaxos>::with(5, sized(4, 2), false, 1);
    let ballot = Ballot { round: 9, node: n(2) };
    let prepare = Prepare { configuration: 1, ballot, from: Slot(1), promises: 3, called_by: None };
    cluster.deliver(Envelope { from: n(2), to: n(1), message: Message::Prepare(prepare) });
    assert_eq!((cluster.wire.len(), cluster.nodes[&n(1)].algorithm().promised()), (0, Ballot::ZERO));
    let offence = Offence::Impossible("it counts on other quorums");
    assert_eq!(cluster.accusations, [(n(1), n(2), offence)]);
}
