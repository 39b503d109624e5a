//! What a node tells a person who looks for the cause of something: what has happened to it, and where it stands.

use crate::common::{Cluster, n};
use consensus_core::{Change, Epoch, Inspection, NodeId, Note, Slot};
use raft::{Config, Mode};

fn notes(cluster: &mut Cluster, id: NodeId) -> Vec<Note> {
    cluster.node(id).notes().collect()
}

fn inspect(cluster: &Cluster, id: NodeId) -> Inspection {
    use consensus_core::ConsensusAlgorithm;
    cluster.nodes[&id].algorithm().inspect()
}

fn queue(inspection: &Inspection, name: &str) -> Option<usize> {
    inspection.queues.iter().find(|(of, _)| *of == name).map(|(_, length)| *length)
}

#[test]
fn elections_and_their_ends_are_told_with_their_reasons() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let term = cluster.nodes[&leader].status().epoch;
    let why = "no leader is known to be alive";
    let won = [Note::ElectionStarted { epoch: Epoch::ZERO, why }, Note::ElectionWon { epoch: term }];
    assert_eq!(notes(&mut cluster, leader), won);
    cluster.run_for_ms(5_000);
    assert_eq!(notes(&mut cluster, leader), [], "nothing happens, and nothing is told");

    // Cut off, it steps down and tries to be elected again and again, which is told once; the others elect another.
    cluster.isolate(leader);
    let others = cluster.others(leader);
    for &other in &others {
        drop(notes(&mut cluster, other));
    }
    cluster.run_for_ms(10_000);
    let told = notes(&mut cluster, leader);
    let [Note::SteppedDown { epoch, why }, Note::ElectionStarted { .. }] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((epoch, why), (term, "no quorum has answered for an election timeout"));
    let successor = others.into_iter().find(|other| cluster.leaders().contains(other)).unwrap();
    let told = notes(&mut cluster, successor);
    let [Note::ElectionStarted { why, .. }, Note::ElectionWon { .. }] = told[..] else { panic!("{told:?}") };
    assert_eq!(why, "the leader was not heard for an election timeout");

    cluster.heal();
    cluster.run_for_ms(2_000);
    let epoch = cluster.nodes[&successor].status().epoch;
    assert_eq!(notes(&mut cluster, leader), [Note::ElectionLost { epoch, why: "a later term has begun" }]);

    // Cut off and back before anybody else was elected: the pre-candidate hears of the leader of its own term.
    let away = *cluster.others(successor).first().unwrap();
    drop(notes(&mut cluster, away));
    cluster.isolate(away);
    cluster.run_for_ms(2_000);
    cluster.heal();
    cluster.run_for_ms(1_000);
    let told = notes(&mut cluster, away);
    let [Note::ElectionStarted { .. }, lost] = told[..] else { panic!("{told:?}") };
    assert_eq!(lost, Note::ElectionLost { epoch, why: "another node leads" });
}

#[test]
fn a_leader_that_hears_of_a_later_term_says_so() {
    let mut cluster = Cluster::with(3, Config { stable_leadership: false, ..Config::default() }, false, 1);
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.isolate(away);
    cluster.run_for_ms(5_000);
    drop(notes(&mut cluster, leader));
    cluster.heal();
    cluster.run_for_ms(1_000);
    let told = notes(&mut cluster, leader);
    assert!(
        matches!(told.first(), Some(Note::SteppedDown { why: "a later term has begun", .. })),
        "{told:?}"
    );
}

#[test]
fn changes_of_members_are_told_when_they_begin_and_end() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    drop(notes(&mut cluster, leader));
    cluster.join(n(4));
    let slot = inspect(&cluster, leader).last.next();
    cluster.reconfigure(leader, 1, Change::AddLearner(n(4)));
    assert_eq!(notes(&mut cluster, leader), [Note::ChangeBegun { slot }]);
    cluster.settle();
    assert_eq!(notes(&mut cluster, leader), [Note::ChangeDone { slot }]);
    // The leader itself is removed.
    cluster.reconfigure(leader, 2, Change::Remove(leader));
    cluster.settle();
    let told = notes(&mut cluster, leader);
    assert!(
        matches!(
            told[..],
            [
                Note::ChangeBegun { .. },
                Note::ChangeDone { .. },
                Note::SteppedDown { why: "it has no vote any more", .. }
            ]
        ),
        "{told:?}"
    );
}

#[test]
fn a_follower_that_lags_and_catches_up_by_a_snapshot_is_seen_on_the_way() {
    let config = Config { retained_entries: 4, snapshot_chunk_bytes: 64, ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    cluster.compact_after_bytes = 500;
    for id in 1..=3 {
        cluster.crash(n(id));
        cluster.start(n(id));
    }
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    drop(notes(&mut cluster, leader));
    for number in 1..=60 {
        cluster.propose(leader, number, b"0123456789");
        cluster.settle();
    }
    let told = notes(&mut cluster, leader);
    let taken = told.iter().filter(|note| matches!(note, Note::SnapshotTaken { .. })).count();
    assert!(taken > 0, "{told:?}");
    let shown = inspect(&cluster, leader);
    assert!(
        shown.first > Slot(1) && shown.snapshot >= shown.first && shown.durable == shown.last,
        "{shown:?}"
    );
    let peer =
        |cluster: &Cluster| *inspect(cluster, leader).peers.iter().find(|peer| peer.id == away).unwrap();
    assert!(peer(&cluster).matched < shown.first, "it lags");

    cluster.start(away);
    // Until the first piece is on its way.
    while peer(&cluster).mode != Mode::Snapshot {
        cluster.now += std::time::Duration::from_millis(20);
        cluster.handle(leader, consensus_core::Event::Tick);
        if let Some(envelope) = cluster.wire.pop_front() {
            cluster.deliver(envelope);
        }
    }
    cluster.run_for_ms(2_000);
    let after = peer(&cluster);
    assert_eq!((after.mode, after.matched, after.in_flight), (Mode::Replicate, shown.last, 0));
    let through = shown.snapshot;
    let told = notes(&mut cluster, leader);
    assert_eq!(told, [Note::SnapshotSending { to: away, through }, Note::SnapshotSent { to: away }]);
    let told = notes(&mut cluster, away);
    assert_eq!(told.last(), Some(&Note::SnapshotInstalled { through }));
    assert_eq!(inspect(&cluster, away).snapshot, through);
}

#[test]
fn what_waits_is_counted() {
    let mut cluster = Cluster::with(3, Config::default(), true, 1);
    for _ in 0..30 {
        cluster.run_for_ms(100);
        (1..=3).for_each(|id| cluster.sync(n(id)));
    }
    let [leader] = cluster.leaders()[..] else { panic!("nobody leads") };
    let shown = inspect(&cluster, leader);
    assert_eq!(queue(&shown, "uncommitted entries"), Some(0), "{shown:?}");
    for number in 1..=3 {
        cluster.propose(leader, number, b"0123456789");
    }
    cluster.read(leader, 1);
    let shown = inspect(&cluster, leader);
    let names = ["uncommitted entries", "unwritten batches", "reads"];
    assert_eq!(names.map(|name| queue(&shown, name)), [Some(3), Some(3), Some(1)], "{shown:?}");
    assert!(queue(&shown, "uncommitted bytes") > Some(30));
    assert!(shown.durable < shown.last && shown.peers.iter().all(|peer| peer.in_flight == 3));
    let follower = cluster.others(leader)[0];
    assert_eq!(inspect(&cluster, follower).peers, []);
}
