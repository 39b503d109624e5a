//! Joining a group that exists: the clause R56 of `spec.md`.

use crate::common::{Cluster, n};
use consensus_core::{Change, ConsensusAlgorithm, Epoch, Members, Role, Slot};
use raft::{Config, Raft};

// tests [R56]
#[test]
fn who_joins_knows_nobody_and_waits_to_be_told() {
    let nobody = Members::default();
    assert_eq!(Raft::validate(&Config::default(), &nobody), Ok(()));
    assert!(
        Raft::validate(&Config::default(), &nobody.with_learners([n(1)])).is_err(),
        "no voter, yet somebody"
    );
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.join(n(4));
    cluster.run_for_ms(20_000);
    let status = cluster.nodes[&n(4)].status();
    assert_eq!((status.role, status.epoch, status.leader), (Role::Learner, Epoch::ZERO, None));
    assert_eq!(status.members, Members::default());
    cluster.reconfigure(leader, 1, Change::AddLearner(n(4)));
    cluster.run_for_ms(300);
    let told = Members::of((1..=3).map(n)).with_learners([n(4)]);
    assert_eq!(cluster.members_of(n(4)), told);
    // It knows as much after a crash, though it is configured with nobody again.
    cluster.crash(n(4));
    cluster.start(n(4));
    assert_eq!(cluster.members_of(n(4)), told);
    cluster.run_for_ms(300);
    cluster.reconfigure(leader, 2, Change::AddVoter(n(4)));
    cluster.settle();
    assert_eq!(cluster.members_of(n(4)), Members::of((1..=4).map(n)));
}

// tests [R34] [R17]
#[test]
fn machines_are_told_of_the_members_that_are_decided_and_when() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.join(n(4));
    cluster.propose(leader, 1, b"x");
    cluster.reconfigure(leader, 2, Change::AddLearner(n(4)));
    cluster.run_for_ms(300);
    cluster.reconfigure(leader, 3, Change::Replace(vec![leader, n(4)]));
    cluster.run_for_ms(300);
    let three = || Members::of((1..=3).map(n));
    let two = || Members::of([leader, n(4)]);
    let told = [(3, three().with_learners([n(4)])), (4, two().with_outgoing((1..=3).map(n))), (5, two())];
    let told = told.map(|(slot, members)| (Slot(slot), members));
    for id in [leader, n(4)] {
        assert_eq!(cluster.nodes[&id].machine().members, told);
        assert_eq!(cluster.diary(id).len(), 1, "no command, and told of as none");
    }
    // Once per boot, as for every decision.
    cluster.crash(n(4));
    cluster.start(n(4));
    cluster.run_for_ms(300);
    assert_eq!(cluster.nodes[&n(4)].machine().members, told);
}

// tests [R56] [R22]
#[test]
fn who_joins_takes_no_snapshot_before_it_knows_the_members() {
    let config = Config { max_append_entries: 1, retained_entries: 0, ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    let leader = cluster.elect();
    for number in 1..=30 {
        cluster.propose(leader, number, b"a payload of some length");
    }
    cluster.settle();
    // It holds for those who start from now on.
    cluster.compact_after_bytes = 100;
    cluster.join(n(4));
    cluster.reconfigure(leader, 100, Change::AddLearner(n(4)));
    let named_at = cluster.nodes[&leader].algorithm().last().slot;
    // Entries come one by one; it is stopped wherever it stands, and what it has on disk never leads it astray.
    let mut through = Vec::new();
    for _ in 0..40 {
        cluster.run_for_ms(20);
        cluster.crash(n(4));
        cluster.start(n(4));
        through.push(cluster.nodes[&n(4)].applied());
    }
    let taken = through.iter().copied().find(|through| *through > Slot::ZERO);
    assert!(taken.is_some_and(|through| through >= named_at), "{named_at}, {through:?}");
    for number in 31..=40 {
        cluster.propose(leader, number, b"a payload of some length");
    }
    cluster.run_for_ms(1_000);
    assert_eq!(cluster.diary(n(4)).len(), 40);
    assert_eq!(cluster.members_of(n(4)).learners(), [n(4)]);
}
