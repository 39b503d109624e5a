//! Witnesses: the clauses R41 and R42 of `spec.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Cluster, n};
use consensus_core::{Change, ConsensusAlgorithm, Event, Members, NodeId, Refusal, Role, Slot};
use raft::{Config, Content, Raft, Record};

const WITNESS: NodeId = NodeId(3);

fn two_and_one() -> Members {
    Members::of((1..=3).map(n)).with_witnesses([WITNESS])
}

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

/// One step of a group at work: whatever comes next, the messages in some order.
fn step(cluster: &mut Cluster, number: u64, order: u64) {
    if !cluster.wire.is_empty() {
        let place = (number * order) as usize % cluster.wire.len();
        let envelope = cluster.wire.remove(place).unwrap();
        return cluster.deliver(envelope);
    }
    if let [leader] = cluster.leaders()[..]
        && number.is_multiple_of(3)
    {
        return cluster.propose(leader, number, b"x");
    }
    let (at, id) = cluster.next_deadline().unwrap();
    cluster.now = cluster.now.max(at);
    cluster.handle(id, Event::Tick);
}

fn acknowledged(cluster: &Cluster) -> Vec<u64> {
    let of = |reply: &(NodeId, consensus_core::Reply)| match &reply.1 {
        consensus_core::Reply::Done { id, .. } => Some(id.sequence),
        consensus_core::Reply::Refused { .. }
        | consensus_core::Reply::ReadReady { .. }
        | consensus_core::Reply::ReadRefused { .. } => None,
    };
    cluster.replies.iter().filter_map(of).collect()
}

/// Two replicas and a witness, of which one is lost for good after so many steps. Whether the others serve on, with everything
/// that was acknowledged.
fn survives(victim: NodeId, steps: u64, order: u64, config: &Config) -> bool {
    let mut cluster = Cluster::of(two_and_one(), config.clone(), false, steps);
    (0..steps).for_each(|number| step(&mut cluster, number, order));
    let acknowledged = acknowledged(&cluster);
    // Its disk is lost with it, and so is what it had sent, or half of that.
    cluster.crash(victim);
    cluster.disks.remove(&victim);
    let heir = n(1 + order % 3);
    cluster.wire.retain(|envelope| envelope.from != victim || (order > 3 && envelope.to == heir));
    cluster.settle();
    cluster.run_for_ms(8_000);
    let [leader] = cluster.leaders()[..] else { return false };
    cluster.propose(leader, 1_000_000, b"after");
    cluster.run_for_ms(500);
    let slots: Vec<u64> = cluster.diary(leader).iter().map(|(slot, _)| *slot).collect();
    slots.len() > acknowledged.iter().collect::<std::collections::BTreeSet<_>>().len()
        && cluster.diary(leader).last().is_some_and(|(_, payload)| payload == "after")
}

// tests [R41] [R42]
#[test]
fn of_two_and_one_each_may_be_lost_at_every_step() {
    for victim in (1..=3).map(n) {
        for (steps, order) in (0..100).flat_map(|steps| (0..8).map(move |order| (steps, order))) {
            let survives = survives(victim, steps, order, &Config::default());
            assert!(survives, "{victim} after {steps} steps in order {order}");
        }
    }
}

#[cfg(feature = "mutants")]
#[test]
fn a_witness_that_is_ahead_of_the_replicas_is_found() {
    let config = Config { mutant: Some(raft::Mutant::WitnessAhead), ..Config::default() };
    let mut schedules = (0..100).flat_map(|steps| (0..8).map(move |order| (steps, order)));
    assert!(schedules.any(|(steps, order)| (1..=2).any(|victim| !survives(
        n(victim),
        steps,
        order,
        &config
    ))));
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

// tests [R42] [R36]
#[test]
fn a_group_with_witnesses_keeps_its_members() {
    let mut cluster = cluster();
    let leader = cluster.elect();
    cluster.reconfigure(leader, 1, Change::AddLearner(n(4)));
    cluster.reconfigure(leader, 2, Change::Remove(WITNESS));
    assert!(matches!(cluster.refusals(leader)[..], [(1, Refusal::BadChange(_)), (2, Refusal::BadChange(_))]));
    let mut plain = Cluster::new(3);
    let leader = plain.elect();
    plain.reconfigure(leader, 1, Change::AddWitness(n(4)));
    assert!(matches!(plain.refusals(leader)[..], [(1, Refusal::BadChange(_))]));
}
