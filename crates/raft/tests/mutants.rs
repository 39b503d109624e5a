//! Planted bugs that no random run shows, each with the schedule in which it does: `cargo xtask mutants` runs them beside its
//! hunts. The same schedule without the bug must go well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Cluster, Disk, Envelope, n};
use consensus_core::{Change, Event, NodeId, Slot};
use raft::{AppendReply, Config, Message, Mutant, Outcome};
use std::time::Duration;

fn cluster(size: u64, mutant: Option<Mutant>) -> Cluster {
    Cluster::with(size, Config { mutant, ..Config::default() }, false, 1)
}

/// Whether a leader is elected within a minute by nodes that boot together, whose links all take one millisecond.
fn elects_in_lockstep(mutant: Option<Mutant>) -> bool {
    let mut cluster = cluster(3, mutant);
    for _ in 0..60_000 {
        cluster.now += Duration::from_millis(1);
        let in_flight = cluster.wire.len();
        for id in 1..=3 {
            cluster.handle(n(id), Event::Tick);
        }
        for _ in 0..in_flight {
            let envelope = cluster.wire.pop_front().unwrap();
            cluster.deliver(envelope);
        }
        if !cluster.leaders().is_empty() {
            return true;
        }
    }
    false
}

/// Nodes that time out together split their votes for ever.
#[test]
fn fixed_timeouts_are_found() {
    assert!(elects_in_lockstep(None));
    assert!(!elects_in_lockstep(Some(Mutant::FixedTimeouts)));
}

/// Whether proposals are decided within ten seconds after the leader has become deaf, while the others still hear it.
fn serves_despite_a_deaf_leader(mutant: Option<Mutant>) -> bool {
    let mut cluster = cluster(3, mutant);
    let deaf = cluster.elect();
    let others: Vec<NodeId> = cluster.others(deaf);
    cluster.cut.extend(others.iter().map(|&other| (other, deaf)));
    cluster.run_for_ms(10_000);
    for &other in &others {
        cluster.propose(other, other.0, b"x");
    }
    cluster.run_for_ms(1_000);
    others.iter().any(|&other| cluster.diary(other).iter().any(|(_, payload)| payload == "x"))
}

/// Heartbeats of a leader that hears nobody must not keep a quorum from electing another (dissertation §6.2).
#[test]
fn a_missing_quorum_check_is_found() {
    assert!(serves_despite_a_deaf_leader(None));
    assert!(!serves_despite_a_deaf_leader(Some(Mutant::NoCheckQuorum)));
}

/// Whether a leader takes a member that came back with an empty disk for one that holds what it once acknowledged.
fn believes_an_earlier_stay(mutant: Option<Mutant>) -> bool {
    let mut cluster = cluster(3, mutant);
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    cluster.reconfigure(leader, 2, Change::Remove(away));
    cluster.settle();
    // Only a node outside of the group may lose its disk; what it once said is still under way.
    let (term, matched) =
        (cluster.nodes[&leader].status().epoch, cluster.nodes[&leader].algorithm().last().slot);
    let outcome = Outcome::Accepted { matched };
    let late = Message::AppendReply(AppendReply { term, probe: 1, outcome });
    cluster.crash(away);
    cluster.disks.insert(away, Disk::default());
    cluster.reconfigure(leader, 3, Change::AddLearner(away));
    cluster.settle();
    cluster.deliver(Envelope { from: away, to: leader, message: late });
    let believed = cluster.nodes[&leader].algorithm().peers().find(|peer| peer.id == away).unwrap().matched;
    believed > Slot(0)
}

/// A member that comes back begins anew (raft-rs#571).
#[test]
fn an_earlier_stay_that_counts_is_found() {
    assert!(!believes_an_earlier_stay(None));
    assert!(believes_an_earlier_stay(Some(Mutant::EarlierStayCounted)));
}

/// Whether somebody who joined, compacted its log on the way and leads now can bring up a member that was away since the birth.
fn feeds_who_was_away(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, max_append_entries: 1, retained_entries: 0, ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    for number in 1..=30 {
        cluster.propose(leader, number, b"a payload of some length");
    }
    cluster.settle();
    // Only the newcomer takes snapshots so soon.
    cluster.compact_after_bytes = 100;
    cluster.join(n(4));
    cluster.reconfigure(leader, 31, Change::AddLearner(n(4)));
    cluster.run_for_ms(300);
    cluster.reconfigure(leader, 32, Change::AddVoter(n(4)));
    cluster.run_for_ms(300);
    cluster.handle(leader, Event::Transfer { to: Some(n(4)) });
    cluster.run_for_ms(300);
    assert_eq!(cluster.leaders(), [n(4)]);
    cluster.compact_after_bytes = 64 << 20;
    cluster.start(away);
    cluster.run_for_ms(2_000);
    cluster.diary(away).len() == 30
}

/// A snapshot that names no members brings nobody up.
#[test]
fn a_snapshot_without_members_is_found() {
    assert!(feeds_who_was_away(None));
    assert!(!feeds_who_was_away(Some(Mutant::SnapshotWithoutMembers)));
}
