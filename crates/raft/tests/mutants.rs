//! Planted bugs that no random run shows, each with the schedule in which it does: `cargo xtask mutants` runs them beside its
//! hunts. The same schedule without the bug must go well.

use crate::common::slow::bring_up;
use crate::common::steps::{End, Work, lose};
use crate::common::{Cluster, Disk, Envelope, n};
use consensus_core::{Bytes, Change, Epoch, Event, Members, NodeId, Slot};
use raft::{AppendReply, Ballot, Chunk, Config, Digest, Message, Mutant, Outcome, Position};
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
            let is_vote = matches!(envelope.message, Message::Vote(_));
            let is_refused = matches!(&envelope.message, Message::PreVoteReply(reply) if !reply.granted);
            if is_refused || (is_vote && late.is_empty()) {
                late.push(envelope);
            } else if !is_vote {
                cluster.deliver(envelope);
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

/// Whether a leader answers a read with what it knew before another was elected, because of an echo that is older than the read.
fn answers_by_an_older_echo(mutant: Option<Mutant>) -> bool {
    let mut cluster = cluster(3, mutant);
    let old = cluster.elect();
    let asked_at = cluster.now;
    cluster.read(old, 1);
    // The others echo the probe, and the answers are late.
    let probes: Vec<_> = cluster.wire.drain(..).collect();
    probes.into_iter().for_each(|probe| cluster.deliver(probe));
    let late: Vec<_> = cluster.wire.drain(..).collect();
    assert!(late.iter().all(|echo| echo.to == old) && !late.is_empty());
    // They elect another, which serves, while the clock of the old leader stands still.
    cluster.isolate(old);
    let new = cluster.succeed(old);
    cluster.propose(new, 1, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(new).len(), 1);
    cluster.now = asked_at;
    cluster.read(old, 2);
    late.into_iter().for_each(|echo| cluster.deliver(echo));
    let served: Vec<_> = cluster.reads_ready(old).iter().map(|&(read, _)| read).collect();
    assert!(served.contains(&1), "what was asked before may be answered");
    served.contains(&2)
}

/// An echo proves that the leader led when its probe left, and no later (etcd 20418).
#[test]
fn a_read_that_uses_an_earlier_probe_is_found() {
    assert!(!answers_by_an_older_echo(None));
    assert!(answers_by_an_older_echo(Some(Mutant::ReadProbeReused)));
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

/// Whether leadership moves at once though something was proposed in the same burst.
fn moves_behind_a_proposal(mutant: Option<Mutant>) -> bool {
    let mut cluster = cluster(3, mutant);
    let leader = cluster.elect();
    let to = cluster.others(leader)[0];
    cluster.propose_and_transfer(leader, 1, b"x", to);
    cluster.settle();
    cluster.leaders() == [to]
}

/// In the end another election mends it, and somebody else may win that: only the operator is told nothing.
#[test]
fn a_call_before_what_is_pending_is_found() {
    assert!(moves_behind_a_proposal(None));
    assert!(!moves_behind_a_proposal(Some(Mutant::CalledBeforeThePending)));
}

/// Whether a member keeps its term when somebody speaks of one that leaves the group hardly any.
fn doubts_a_far_term(mutant: Option<Mutant>) -> bool {
    let mut cluster = cluster(3, mutant);
    let leader = cluster.elect();
    let others = cluster.others(leader);
    let ballot = Ballot { term: Epoch((1 << 62) - 1), last: Position { term: Epoch(1), slot: Slot(1) } };
    cluster.deliver(Envelope { from: others[0], to: others[1], message: Message::CalledVote(ballot) });
    cluster.nodes[&others[1]].status().epoch < Epoch(1 << 32)
}

/// No bit flips so in a simulated run.
#[test]
fn a_term_of_the_far_future_that_is_believed_is_found() {
    assert!(doubts_a_far_term(None));
    assert!(!doubts_a_far_term(Some(Mutant::FarTermBelieved)));
}

/// Whether a leader that is being removed tells witnesses what nobody who stays has.
fn tells_witnesses_what_leaves_with_it(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, ..Config::default() };
    let members = Members::of((1..=4).map(n)).with_witnesses([n(3), n(4)]);
    let mut cluster = Cluster::of(members, config, false, 1);
    let leader = cluster.elect();
    cluster.run_for_ms(300);
    cluster.reconfigure(leader, 1, Change::Remove(leader));
    cluster.wire.clear();
    cluster.isolate(n(3 - leader.0));
    let before = cluster.nodes[&n(3)].algorithm().last();
    cluster.propose(leader, 2, b"x");
    cluster.run_for_ms(6_000);
    cluster.nodes[&n(3)].algorithm().last() > before
}

/// Two witnesses of three voters would be enough to commit it.
#[test]
fn trust_in_who_is_removed_is_found() {
    assert!(!tells_witnesses_what_leaves_with_it(None));
    assert!(tells_witnesses_what_leaves_with_it(Some(Mutant::WitnessTrustsRemoved)));
}

/// Whether a witness that was away while it was removed and came back catches up.
fn a_witness_comes_back(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, max_append_entries: 1, ..Config::default() };
    let members = Members::of((1..=4).map(n)).with_witnesses([n(4)]);
    let mut cluster = Cluster::of(members, config, false, 1);
    let leader = cluster.elect();
    cluster.run_for_ms(300);
    cluster.crash(n(4));
    cluster.reconfigure(leader, 1, Change::Remove(n(4)));
    cluster.run_for_ms(300);
    for number in 2..=9 {
        cluster.propose(leader, number, b"x");
        cluster.reconfigure(leader, 10 * number, Change::AddLearner(n(5)));
        cluster.run_for_ms(50);
        cluster.reconfigure(leader, 10 * number + 1, Change::Remove(n(5)));
        cluster.run_for_ms(50);
    }
    cluster.reconfigure(leader, 100, Change::AddWitness(n(4)));
    // Only the witness would take snapshots so soon.
    cluster.compact_after_bytes = 1;
    cluster.start(n(4));
    cluster.run_for_ms(3_000);
    let last = cluster.nodes[&leader].algorithm().last();
    cluster.nodes[&n(4)].algorithm().last() == last
}

/// It goes through a time in which it was no member.
#[test]
fn a_snapshot_of_who_is_no_member_is_found() {
    assert!(a_witness_comes_back(None));
    assert!(!a_witness_comes_back(Some(Mutant::StrangersCompact)));
}

/// Whether a follower installs a snapshot that is not what its digest says.
fn installs_what_rotted(mutant: Option<Mutant>) -> bool {
    let mut cluster = cluster(3, mutant);
    let (through, members) = (Position { term: Epoch(1), slot: Slot(7) }, cluster.members.clone());
    // What the gate writes: an empty table of sessions, and one line of the diary. Another line was meant.
    let (right, rotten) =
        (b"\x01\x02\0\0\0\0\0\0\0\0\0\x01\x07\x01x", b"\x01\x02\0\0\0\0\0\0\0\0\0\x01\x07\x01y");
    let chunk = Chunk {
        term: Epoch(1),
        through,
        digest: Digest::of(through, &members, right),
        members,
        total: rotten.len() as u64,
        offset: 0,
        data: Bytes::from_static(rotten),
    };
    let message = Message::Snapshot(Box::new(chunk));
    cluster.deliver(Envelope { from: n(2), to: n(1), message });
    !cluster.diary(n(1)).is_empty()
}

/// What a sender's memory lost is not handed on.
#[test]
fn an_unchecked_snapshot_is_found() {
    assert!(!installs_what_rotted(None));
    assert!(installs_what_rotted(Some(Mutant::SnapshotUnchecked)));
}

/// Whether heartbeats come in time, and nobody seeks election, while a large snapshot crosses a slow link.
fn leads_on_beside_a_snapshot(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, ..Config::default() };
    let seen = bring_up(3_000_000, 1_000_000, Duration::from_millis(2), config);
    !seen.was_disturbed && seen.slowest_heartbeat < Duration::from_millis(500)
}

/// A whole snapshot in the way of everything else.
#[test]
fn a_snapshot_in_one_burst_is_found() {
    assert!(leads_on_beside_a_snapshot(None));
    assert!(!leads_on_beside_a_snapshot(Some(Mutant::SnapshotInOneBurst)));
}

/// Whether one replica serves on with the witness, whenever the other one is lost.
fn survives_losing_a_replica(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, ..Config::default() };
    let schedules = (0..150).flat_map(|steps| (0..8).map(move |order| (steps, order)));
    let mut losses = schedules.flat_map(|schedule| (1..=2).map(move |victim| (n(victim), schedule)));
    losses.all(|(victim, (steps, order))| lose(Work::Writes, victim, steps, order, &config) == End::Serves)
}

/// A witness that knows of what was lost with a replica votes for nobody.
#[test]
fn a_witness_that_is_ahead_of_the_replicas_is_found() {
    assert!(survives_losing_a_replica(None));
    assert!(!survives_losing_a_replica(Some(Mutant::WitnessAhead)));
}

/// Lets only these nodes wake and hear each other, and their disks sync before each step, until `done`.
fn talk(cluster: &mut Cluster, among: &[NodeId], done: impl Fn(&Cluster) -> bool) {
    cluster.wire.clear();
    for _ in 0..2_000 {
        if done(cluster) {
            return;
        }
        among.iter().for_each(|&id| cluster.sync(id));
        if let Some(envelope) = cluster.wire.pop_front() {
            if among.contains(&envelope.from) && among.contains(&envelope.to) {
                cluster.deliver(envelope);
            }
            continue;
        }
        let wakes = among.iter().filter_map(|id| Some((cluster.nodes[id].deadline()?, *id))).min();
        let (at, id) = wakes.unwrap();
        cluster.now = cluster.now.max(at);
        cluster.handle(id, Event::Tick);
    }
}

fn leads(id: NodeId, term: u64) -> impl Fn(&Cluster) -> bool {
    move |cluster| cluster.leaders().contains(&id) && cluster.nodes[&id].status().epoch >= Epoch(term)
}

fn ends_at(id: NodeId, term: u64, slot: u64) -> impl Fn(&Cluster) -> bool {
    let end = Position { term: Epoch(term), slot: Slot(slot) };
    move |cluster| cluster.nodes[&id].algorithm().last() == end
}

/// Whether two replicas and one of three witnesses elect a leader, after each replica led alone: the second has told the witness
/// of its no-op; the first began to replace that in the log of the second, and has forgotten by what.
fn serves_after_a_log_was_cut(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, max_append_entries: 1, stable_leadership: false, ..Config::default() };
    let members = Members::of((1..=5).map(n)).with_witnesses((3..=5).map(n));
    let mut cluster = Cluster::of(members, config, true, 1);
    let everybody: Vec<NodeId> = (1..=5).map(n).collect();
    let has_no_op = |cluster: &Cluster| everybody.iter().all(|&id| ends_at(id, 1, 1)(cluster));
    talk(&mut cluster, &everybody, has_no_op);
    let first = cluster.leaders()[0];
    let (second, told) = (n(3 - first.0), n(3));
    // What the first leader writes now nobody hears of.
    cluster.propose(first, 1, b"x");
    cluster.sync(first);
    talk(&mut cluster, &[second, n(4), n(5)], leads(second, 2));
    cluster.sync(second);
    talk(&mut cluster, &[second, told], ends_at(told, 2, 2));
    cluster.sync(told);
    talk(&mut cluster, &[first, n(4), n(5)], leads(first, 3));
    // Its own no-op is not on its disk, and is to arrive nowhere; what precedes it may.
    while let Some(envelope) = cluster.wire.pop_front().filter(|_| !ends_at(second, 1, 2)(&cluster)) {
        if [envelope.from, envelope.to].iter().all(|id| [first, second].contains(id)) {
            cluster.deliver(envelope);
            cluster.sync(second);
        }
    }
    for id in &everybody {
        cluster.crash(*id);
    }
    let left = [first, second, told];
    left.iter().for_each(|&id| cluster.start(id));
    talk(&mut cluster, &left, |cluster| cluster.nodes.values().any(|node| node.status().decided > Slot(2)));
    cluster.nodes.values().any(|node| node.status().decided > Slot(2))
}

/// Whoever begins to cut the logs of others must be ahead of every witness for good.
#[test]
fn a_leader_that_cuts_logs_before_its_disk_has_its_no_op_is_found() {
    assert!(serves_after_a_log_was_cut(None));
    assert!(!serves_after_a_log_was_cut(Some(Mutant::WitnessGroupFedEarly)));
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
