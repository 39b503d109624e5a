//! Planted bugs that no random run shows, each with the schedule in which it does: `cargo xtask mutants` runs them beside its
//! hunts. The same schedule without the bug must go well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Cluster, Disk, Envelope, n};
use consensus_core::{Change, Event, Members, NodeId, Slot};
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

/// Whether a leader answers a read at once although another was elected, by the vote of a node that learnt of the later term
/// after it had heard the leader again.
fn answers_beside_a_successor(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, lease_drift_ppm: Some(1_000), ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    let old = cluster.elect();
    cluster.run_for_ms(1_000);
    // Its next check of the quorum finds these answers, so that it leads on for a while.
    cluster.propose(old, 1, b"x");
    cluster.settle();
    cluster.isolate(old);
    // Both others seek election. The request for a vote is late, and so is the answer that tells the second of the first's term.
    let mut late = Vec::new();
    while late.len() < 2 {
        let (at, id) = cluster.next_deadline().unwrap();
        cluster.now = cluster.now.max(at);
        cluster.handle(id, Event::Tick);
        while let Some(envelope) = cluster.wire.pop_front() {
            match &envelope.message {
                Message::Vote(_) if late.is_empty() => late.push(envelope),
                Message::PreVoteReply(reply) if !reply.granted => late.push(envelope),
                Message::Vote(_) => {}
                _ => cluster.deliver(envelope),
            }
        }
    }
    // The old leader is back before they arrive, and the second hears it.
    let (first, second) = (late[0].from, late[0].to);
    cluster.heal();
    cluster.isolate(first);
    cluster.now += Duration::from_millis(100);
    cluster.handle(old, Event::Tick);
    cluster.settle();
    cluster.isolate(old);
    cluster.cut.retain(|link| *link != (second, first));
    for envelope in late.into_iter().rev() {
        cluster.deliver(envelope);
    }
    cluster.settle();
    cluster.read(old, 1);
    cluster.leaders().contains(&first) && !cluster.reads_ready(old).is_empty()
}

/// A promise to a leader is not bound to the term in which it was made.
#[test]
fn a_promise_that_ends_with_its_term_is_found() {
    assert!(!answers_beside_a_successor(None));
    assert!(answers_beside_a_successor(Some(Mutant::PromiseEndsWithTerm)));
}

/// Whether a learner that could not be reached for a while gets what it missed, in a group that rests when it can.
fn feeds_a_learner_that_was_away(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, quiesce_after_ms: Some(100), ..Config::default() };
    let members = Members::of((1..=3).map(n)).with_learners([n(4)]);
    let mut cluster = Cluster::of(members, config, false, 1);
    let leader = cluster.elect();
    cluster.isolate(n(4));
    cluster.propose(leader, 1, b"x");
    cluster.run_for_ms(10_000);
    cluster.heal();
    cluster.run_for_ms(10_000);
    !cluster.diary(n(4)).is_empty()
}

/// Others than voters ask for nothing, and wake nobody.
#[test]
fn rest_without_those_who_are_silent_is_found() {
    assert!(feeds_a_learner_that_was_away(None));
    assert!(!feeds_a_learner_that_was_away(Some(Mutant::RestWithoutTheSilent)));
}

/// Whether a group at rest gets a new leader when the detectors tell that the old one is gone, and nobody asks for anything.
fn replaces_a_leader_that_died_at_rest(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, quiesce_after_ms: Some(100), ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    let leader = cluster.elect();
    cluster.run_for_ms(5_000);
    assert_eq!(cluster.next_deadline(), None, "it rests");
    cluster.crash(leader);
    for other in cluster.others(leader) {
        cluster.handle(other, Event::Suspect { peer: leader, suspected: true });
    }
    cluster.run_for_ms(3_000);
    !cluster.leaders().is_empty()
}

/// The first client would wake somebody, and hide it.
#[test]
fn a_suspicion_slept_through_is_found() {
    assert!(replaces_a_leader_that_died_at_rest(None));
    assert!(!replaces_a_leader_that_died_at_rest(Some(Mutant::SuspicionSleptThrough)));
}
