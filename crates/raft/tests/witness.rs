//! Witnesses: the clauses R41 and R42 of `spec.md`.

use crate::common::steps::{End, WITNESS, Work, changes, changes_done_after, lose, two_and_one};
use crate::common::{Cluster, n};
use consensus_core::{Change, ConsensusAlgorithm, Event, Members, NodeId, Refusal, Role, Slot};
use raft::{Config, Content, Message, Raft, Record};
use std::collections::BTreeMap;

fn cluster() -> Cluster {
    Cluster::of(two_and_one(), Config::default(), false, 1)
}

fn last(cluster: &Cluster, id: NodeId) -> Slot {
    cluster.nodes[&id].algorithm().last().slot
}

fn other(leader: NodeId) -> NodeId {
    n(3 - leader.0)
}

/// What a node's disk holds of proposals: places, and payloads.
fn kept(cluster: &mut Cluster, id: NodeId) -> (usize, usize) {
    let records = cluster.node(id).storage().contents().records.clone();
    let mut kept = (0, 0);
    for record in records {
        let Record::Entries { entries, .. } = record else { continue };
        kept.0 += entries.iter().filter(|entry| entry.content == Content::Withheld).count();
        kept.1 += entries.iter().filter(|entry| matches!(entry.content, Content::Proposal { .. })).count();
    }
    kept
}

// tests [R41] [R42]
#[test]
fn a_witness_keeps_places_and_no_payload() {
    let mut cluster = cluster();
    let leader = cluster.elect();
    for number in 1..=5 {
        cluster.propose(leader, number, b"something long enough");
        cluster.settle();
    }
    cluster.run_for_ms(200);
    assert_eq!(cluster.nodes[&WITNESS].status().role, Role::Witness);
    assert_eq!(last(&cluster, WITNESS), last(&cluster, leader));
    assert_eq!((kept(&mut cluster, WITNESS), kept(&mut cluster, leader)), ((5, 0), (0, 5)));
    assert!(cluster.diary(WITNESS).is_empty());
    // A restart changes nothing of that.
    cluster.crash(WITNESS);
    cluster.start(WITNESS);
    cluster.run_for_ms(200);
    assert_eq!((kept(&mut cluster, WITNESS), cluster.nodes[&WITNESS].status().role), ((5, 0), Role::Witness));
}

// tests [R42]
#[test]
fn a_witness_does_not_lead_and_has_nothing_to_read() {
    let mut cluster = cluster();
    let leader = cluster.elect();
    cluster.read(WITNESS, 1);
    assert_eq!(cluster.reads_refused(WITNESS), [(1, Refusal::NotLeader { hint: Some(leader) })]);
    cluster.handle(leader, Event::Transfer { to: Some(WITNESS) });
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.diary(leader).len()), (vec![leader], 1));
    cluster.crash(n(1));
    cluster.crash(n(2));
    cluster.run_for_ms(10_000);
    assert_eq!(cluster.leaders(), []);
    let all = Members::of([n(1)]).with_witnesses([n(1)]);
    assert!(Raft::validate(&Config::default(), &all).is_err(), "nobody could lead");
}

// tests [R41]
#[test]
fn a_witness_knows_nothing_that_a_full_voter_in_sync_lacks() {
    let mut cluster = cluster();
    let leader = cluster.elect();
    cluster.run_for_ms(200);
    let before = last(&cluster, WITNESS);
    cluster.isolate(other(leader));
    cluster.propose(leader, 1, b"x");
    cluster.run_for_ms(900);
    assert_eq!((last(&cluster, WITNESS), cluster.diary(leader).len()), (before, 0));
    // After a while the other is given up, and the witness takes its place.
    cluster.run_for_ms(1_500);
    assert_eq!((last(&cluster, WITNESS), cluster.diary(leader).len()), (last(&cluster, leader), 1));
    // Alone with the witness, the one that lacks something is not elected.
    cluster.heal();
    cluster.isolate(leader);
    cluster.run_for_ms(10_000);
    assert!(!cluster.leaders().contains(&other(leader)));
    cluster.heal();
    cluster.run_for_ms(5_000);
    assert_eq!(cluster.leaders(), [leader]);
}

// tests [R41] [R42]
#[test]
fn of_two_and_one_each_may_be_lost_at_every_step() {
    for work in [Work::Writes, Work::Elections] {
        for victim in (1..=3).map(n) {
            for (steps, order) in (0..150).flat_map(|steps| (0..8).map(move |order| (steps, order))) {
                let end = lose(work, victim, steps, order, &Config::default());
                assert_eq!(end, End::Serves, "{work:?}: {victim} after {steps} steps in order {order}");
            }
        }
    }
}

/// How often what came of losing each.
type Ends = BTreeMap<(NodeId, End), u32>;

fn lose_each(work: Work, victims: u64, most_steps: usize) -> Ends {
    let mut ends = Ends::new();
    for victim in (1..=victims).map(n) {
        for steps in (0..most_steps as u64).step_by(2) {
            for order in 0..4 {
                let end = lose(work, victim, steps, order, &Config::default());
                assert_ne!(end, End::Fails, "{work:?}: {victim} after {steps} steps in order {order}");
                *ends.entry((victim, end)).or_insert(0) += 1;
            }
        }
    }
    ends
}

// tests [R41] [R42] [R38]
#[test]
fn each_may_be_lost_at_every_step_of_changes() {
    assert!((0..4).all(|order| changes_done_after(350, order) == changes().len()), "the steps are too few");
    let ends = lose_each(Work::Changes, 5, 350);
    // For a while the group is one replica and one witness, who both are needed.
    let waits: Vec<NodeId> = ends.keys().filter(|(_, end)| *end == End::Waits).map(|(id, _)| *id).collect();
    assert_eq!(waits, [n(4), n(5)], "{ends:?}");
}

// tests [R41] [R42] [R23]
#[test]
fn each_may_be_lost_at_every_step_of_a_snapshot() {
    let ends = lose_each(Work::Snapshots, 3, 400);
    // While the other replica is far behind, the group lives by the first one's disk.
    let waits: Vec<NodeId> = ends.keys().filter(|(_, end)| *end == End::Waits).map(|(id, _)| *id).collect();
    assert_eq!(waits, [n(1)], "{ends:?}");
}

// tests [R42] [R23]
#[test]
fn a_witness_behind_the_log_gets_a_snapshot_without_state() {
    let config = Config { retained_entries: 0, ..Config::default() };
    let mut cluster = Cluster::of(two_and_one(), config, false, 1);
    cluster.compact_after_bytes = 200;
    for id in (1..=3).map(n) {
        cluster.crash(id);
        cluster.start(id);
    }
    let leader = cluster.elect();
    cluster.crash(WITNESS);
    for number in 1..=30 {
        cluster.propose(leader, number, b"some bytes to be compacted");
        cluster.settle();
    }
    cluster.start(WITNESS);
    cluster.run_for_ms(500);
    assert_eq!(last(&cluster, WITNESS), last(&cluster, leader));
    // Its own log is cut too, and a restart comes back from that.
    for number in 31..=90 {
        cluster.propose(leader, number, b"some bytes to be compacted");
        cluster.settle();
    }
    cluster.run_for_ms(200);
    let contents = cluster.node(WITNESS).storage().contents().clone();
    let (through, bytes) = contents.snapshot.unwrap();
    assert!(through > Slot(30) && bytes.is_empty(), "{through}");
    cluster.crash(WITNESS);
    cluster.start(WITNESS);
    cluster.crash(other(leader));
    cluster.run_for_ms(3_000);
    cluster.propose(leader, 91, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(leader).len(), 91, "with the witness it is a quorum");
}

/// The group of [`two_and_one`] with nodes 4 and 5 beside it, the leader, and the other replica.
fn with_spares() -> (Cluster, NodeId, NodeId) {
    let mut cluster = cluster();
    let leader = cluster.elect();
    cluster.join(n(4));
    cluster.join(n(5));
    cluster.propose(leader, 1, b"x");
    cluster.run_for_ms(200);
    (cluster, leader, other(leader))
}

fn change(cluster: &mut Cluster, at: NodeId, number: u64, change: Change) {
    cluster.reconfigure(at, number, change);
    cluster.run_for_ms(300);
    assert_eq!(cluster.changes_done(at).last(), Some(&number), "{:?}", cluster.refusals(at));
}

fn bad_changes(cluster: &Cluster, at: NodeId) -> Vec<u64> {
    let refusals = cluster.refusals(at).into_iter();
    refusals.filter(|(_, reason)| matches!(reason, Refusal::BadChange(_))).map(|(number, _)| number).collect()
}

// tests [R42] [R36]
#[test]
fn witnesses_come_and_go_and_replicas_beside_them() {
    let (mut cluster, leader, other) = with_spares();
    // Another witness for the first.
    change(&mut cluster, leader, 10, Change::AddWitness(n(4)));
    change(&mut cluster, leader, 11, Change::Remove(WITNESS));
    assert_eq!(cluster.members_of(leader), Members::of([n(1), n(2), n(4)]).with_witnesses([n(4)]));
    assert_eq!((cluster.nodes[&n(4)].status().role, kept(&mut cluster, n(4))), (Role::Witness, (1, 0)));
    // Another replica for the one that is gone.
    cluster.crash(other);
    // As long as it may be in sync, the witness is told of nothing.
    cluster.run_for_ms(2_500);
    change(&mut cluster, leader, 12, Change::AddLearner(n(5)));
    change(&mut cluster, leader, 13, Change::AddVoter(n(5)));
    change(&mut cluster, leader, 14, Change::Remove(other));
    cluster.crash(leader);
    cluster.run_for_ms(5_000);
    assert_eq!(cluster.leaders(), [n(5)]);
    cluster.propose(n(5), 2, b"y");
    cluster.settle();
    assert_eq!(cluster.diary(n(5)).len(), 2);
    // A group without witnesses gets one.
    let mut plain = Cluster::new(2);
    let leader = plain.elect();
    plain.join(n(3));
    change(&mut plain, leader, 1, Change::AddWitness(n(3)));
    plain.crash(other_of_two(leader));
    plain.propose(leader, 2, b"x");
    plain.run_for_ms(3_000);
    assert_eq!(plain.diary(leader).len(), 1);
}

fn other_of_two(leader: NodeId) -> NodeId {
    n(3 - leader.0)
}

// tests [R38] [R42]
#[test]
fn who_leaves_stays_a_witness_until_it_has_left() {
    let (mut cluster, leader, other) = with_spares();
    cluster.isolate(other);
    cluster.reconfigure(leader, 10, Change::Replace(vec![n(1), n(2)]));
    let members = cluster.members_of(leader);
    assert_eq!((members.outgoing().len(), members.witnesses()), (3, &[WITNESS][..]));
    cluster.propose(leader, 2, b"y");
    cluster.run_for_ms(500);
    cluster.heal();
    cluster.run_for_ms(500);
    assert_eq!((cluster.changes_done(leader).last(), cluster.diary(other).len()), (Some(&10), 2));
    assert_eq!(kept(&mut cluster, WITNESS).1, 0, "it was sent no payload");
}

// tests [R42] [R36]
#[test]
fn changes_that_a_witness_makes_senseless_are_refused() {
    let (mut cluster, leader, other) = with_spares();
    change(&mut cluster, leader, 10, Change::AddLearner(n(4)));
    let senseless = [
        // Whoever has a part keeps it.
        Change::AddWitness(other),
        Change::AddWitness(leader),
        Change::AddWitness(WITNESS),
        Change::AddWitness(n(4)),
        Change::AddVoter(WITNESS),
        Change::AddLearner(WITNESS),
        Change::AddWitness(n(0)),
        // Nobody could lead.
        Change::Replace(vec![WITNESS]),
    ];
    for (number, change) in (20..).zip(senseless) {
        cluster.reconfigure(leader, number, change);
    }
    assert_eq!(bad_changes(&cluster, leader), (20..28).collect::<Vec<_>>());
    // Two witnesses answer, and are a quorum of three; but none of them can be told of what no other replica has.
    change(&mut cluster, leader, 11, Change::AddWitness(n(5)));
    cluster.crash(other);
    cluster.run_for_ms(2_500);
    cluster.reconfigure(leader, 30, Change::Remove(leader));
    assert_eq!(bad_changes(&cluster, leader).last(), Some(&30));
    cluster.start(other);
    cluster.run_for_ms(500);
    change(&mut cluster, leader, 31, Change::Remove(leader));
}

// tests [R41] [R37]
#[test]
fn what_only_a_leader_has_that_is_removed_is_not_told_to_witnesses() {
    let (mut cluster, leader, other) = with_spares();
    change(&mut cluster, leader, 10, Change::AddWitness(n(4)));
    cluster.reconfigure(leader, 11, Change::Remove(leader));
    cluster.wire.clear();
    cluster.isolate(other);
    cluster.propose(leader, 2, b"y");
    let before = last(&cluster, WITNESS);
    // Two witnesses of three voters would be enough to commit it, and nobody who stays would have it.
    cluster.run_for_ms(6_000);
    assert_eq!(
        (cluster.diary(leader).len(), last(&cluster, WITNESS), last(&cluster, n(4))),
        (1, before, before)
    );
    cluster.heal();
    cluster.run_for_ms(3_000);
    assert_eq!((cluster.leaders(), cluster.diary(other).len()), (vec![other], 2));
}

// tests [R42]
#[test]
fn a_newcomer_that_does_not_know_yet_that_it_is_a_witness_serves_no_read() {
    let (mut cluster, leader, _) = with_spares();
    cluster.reconfigure(leader, 10, Change::AddWitness(n(4)));
    // It is asked for its place in the log, and hears nothing more of the leader.
    while let Some(envelope) = cluster.wire.pop_front() {
        let is_told = matches!(&envelope.message, Message::Append(append) if !append.entries.is_empty());
        if envelope.to != n(4) || !is_told {
            cluster.deliver(envelope);
        }
    }
    assert_eq!(cluster.nodes[&n(4)].status().leader, Some(leader));
    cluster.read(n(4), 1);
    cluster.run_for_ms(500);
    assert_eq!(cluster.reads_ready(n(4)), []);
    assert_eq!(cluster.reads_refused(n(4)), [(1, Refusal::NotLeader { hint: None })]);
}

// tests [R42]
#[test]
fn nobody_changes_its_part_by_leaving_and_coming_back() {
    let (mut cluster, leader, other) = with_spares();
    change(&mut cluster, leader, 10, Change::AddLearner(n(4)));
    change(&mut cluster, leader, 11, Change::AddVoter(n(4)));
    // A replica as a witness.
    change(&mut cluster, leader, 12, Change::Remove(other));
    cluster.reconfigure(leader, 13, Change::AddWitness(other));
    cluster.run_for_ms(500);
    let (held, records) = (last(&cluster, other), kept(&mut cluster, other));
    cluster.propose(leader, 2, b"y");
    cluster.run_for_ms(3_000);
    assert_eq!((last(&cluster, other), kept(&mut cluster, other)), (held, records));
    change(&mut cluster, leader, 14, Change::Remove(other));
    // A witness as a replica.
    change(&mut cluster, leader, 15, Change::Remove(WITNESS));
    cluster.reconfigure(leader, 16, Change::AddLearner(WITNESS));
    cluster.run_for_ms(500);
    cluster.reconfigure(leader, 17, Change::AddVoter(WITNESS));
    assert_eq!(bad_changes(&cluster, leader), [17], "it never catches up");
    assert!(cluster.accusations.is_empty());
}
