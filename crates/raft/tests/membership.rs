//! Changing the members: the clauses R34 to R40 of `spec.md`.

use crate::common::{Cluster, Envelope, n};
use consensus_core::{Change, Epoch, Members, NodeId, Offence, Refusal, Slot};
use raft::{Append, AppendReply, Ballot, Config, Content, Entry, Message, Mode, Outcome, Position};
use std::time::Duration;

fn bad_changes(cluster: &Cluster, leader: NodeId) -> Vec<u64> {
    let refusals = cluster.refusals(leader).into_iter();
    refusals.filter(|(_, reason)| matches!(reason, Refusal::BadChange(_))).map(|(number, _)| number).collect()
}

/// A group of `size` with a leader, and `spares` further nodes that are learners and have caught up.
fn with_learners(size: u64, spares: u64) -> (Cluster, NodeId) {
    with_learners_and(size, spares, Config::default())
}

fn with_learners_and(size: u64, spares: u64, config: Config) -> (Cluster, NodeId) {
    let mut cluster = Cluster::with(size, config, false, 1);
    let leader = cluster.elect();
    for id in (size + 1..=size + spares).map(n) {
        cluster.join(id);
        cluster.reconfigure(leader, 100 + id.0, Change::AddLearner(id));
        cluster.run_for_ms(200);
    }
    assert_eq!(cluster.leaders(), [leader]);
    (cluster, leader)
}

fn voters(cluster: &Cluster, id: NodeId) -> Vec<u64> {
    cluster.members_of(id).voters().iter().map(|node| node.0).collect()
}

/// Loses everything to and from all but these.
fn only(cluster: &mut Cluster, connected: &[NodeId]) {
    cluster.heal();
    let all: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    for id in all.into_iter().filter(|id| !connected.contains(id)) {
        cluster.isolate(id);
    }
}

fn peer_mode(cluster: &Cluster, leader: NodeId, id: NodeId) -> Option<(Slot, Mode)> {
    let peers: Vec<_> = cluster.nodes[&leader].algorithm().peers().collect();
    peers.iter().find(|peer| peer.id == id).map(|peer| (peer.matched, peer.mode))
}

// tests [R36] [R30]
#[test]
fn a_learner_follows_and_counts_nowhere() {
    let (mut cluster, leader) = with_learners(3, 2);
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    assert_eq!((cluster.diary(n(4)).len(), cluster.diary(n(5)).len()), (1, 1));
    assert_eq!(cluster.changes_done(leader), [104, 105]);
    // The leader and two learners are no quorum.
    only(&mut cluster, &[leader, n(4), n(5)]);
    cluster.propose(leader, 2, b"y");
    cluster.settle();
    assert_eq!(cluster.diary(leader).len(), 1);
    // Nor do they elect, nor seek election.
    cluster.run_for_ms(10_000);
    assert!(cluster.leaders().iter().all(|id| id.0 <= 3));
    assert!(!cluster.leaders().contains(&leader), "without a quorum of voters it steps down");
    let term = cluster.nodes[&n(4)].status().epoch;
    only(&mut cluster, &[n(4), n(5)]);
    cluster.run_for_ms(10_000);
    assert_eq!(cluster.nodes[&n(4)].status().epoch, term);
}

// tests [R36]
#[test]
fn a_learner_that_has_caught_up_is_given_a_vote() {
    let (mut cluster, leader) = with_learners(3, 1);
    cluster.reconfigure(leader, 1, Change::AddVoter(n(4)));
    cluster.settle();
    assert_eq!(cluster.changes_done(leader).last(), Some(&1));
    assert_eq!(voters(&cluster, leader), [1, 2, 3, 4]);
    // A quorum of four is three.
    let other = cluster.others(leader)[0];
    only(&mut cluster, &[leader, other]);
    cluster.propose(leader, 2, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(leader).len(), 0);
    only(&mut cluster, &[leader, other, n(4)]);
    cluster.run_for_ms(300);
    assert_eq!(cluster.diary(leader).len(), 1);
}

// tests [R36]
#[test]
fn a_learner_that_lags_is_not() {
    let config = Config { promotion_lag_entries: 3, ..Config::default() };
    let (mut cluster, leader) = with_learners_and(3, 1, config);
    only(&mut cluster, &(1..=3).map(n).collect::<Vec<_>>());
    for number in 1..=4 {
        cluster.propose(leader, number, b"x");
        cluster.settle();
    }
    cluster.reconfigure(leader, 10, Change::AddVoter(n(4)));
    // It holds everything, but was not heard for long.
    cluster.heal();
    cluster.run_for_ms(300);
    cluster.crash(n(4));
    cluster.run_for_ms(2_100);
    cluster.reconfigure(leader, 11, Change::AddVoter(n(4)));
    assert_eq!(bad_changes(&cluster, leader), [10, 11]);
    cluster.start(n(4));
    cluster.run_for_ms(300);
    cluster.reconfigure(leader, 12, Change::AddVoter(n(4)));
    cluster.settle();
    assert_eq!(voters(&cluster, n(4)), [1, 2, 3, 4]);
}

// tests [R36]
#[test]
fn changes_that_make_no_sense_are_refused() {
    let (mut cluster, leader) = with_learners(3, 1);
    let senseless = [
        Change::AddLearner(n(0)),
        Change::AddLearner(n(2)),
        Change::AddLearner(n(4)),
        Change::AddVoter(n(2)),
        Change::AddVoter(n(9)),
        Change::AddVoter(n(0)),
        Change::Remove(n(9)),
        Change::Remove(n(0)),
        Change::Replace(vec![]),
        Change::Replace(vec![n(0)]),
        Change::Replace(vec![n(1), n(4), n(4)]),
        Change::Replace(vec![n(3), n(2), n(1)]),
        Change::Replace(vec![n(1), n(2), n(9)]),
        Change::Replace((1..2_000).map(n).collect()),
    ];
    let count = senseless.len() as u64;
    for (number, change) in (1..).zip(senseless) {
        cluster.reconfigure(leader, number, change);
    }
    assert_eq!(bad_changes(&cluster, leader), (1..=count).collect::<Vec<_>>());
    let mut single = Cluster::new(1);
    single.elect();
    single.reconfigure(n(1), 1, Change::Remove(n(1)));
    assert_eq!(bad_changes(&single, n(1)), [1], "nobody would be left");
}

// tests [R36]
#[test]
fn a_change_that_would_leave_too_few_who_answer_is_refused() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let [gone, other] = cluster.others(leader)[..] else { panic!() };
    cluster.crash(gone);
    cluster.run_for_ms(2_500);
    cluster.reconfigure(leader, 1, Change::Remove(other));
    assert_eq!(bad_changes(&cluster, leader), [1]);
    cluster.reconfigure(leader, 2, Change::Remove(gone));
    cluster.settle();
    assert_eq!(cluster.changes_done(leader), [2]);
}

// tests [R35]
#[test]
fn one_change_at_a_time_and_none_before_the_own_term() {
    let (mut cluster, leader) = with_learners(3, 2);
    only(&mut cluster, &[leader]);
    cluster.reconfigure(leader, 1, Change::AddVoter(n(4)));
    cluster.reconfigure(leader, 2, Change::AddVoter(n(5)));
    cluster.reconfigure(n(4), 3, Change::AddVoter(n(5)));
    assert_eq!(bad_changes(&cluster, leader), [2]);
    assert!(matches!(cluster.refusals(n(4))[..], [(3, Refusal::NotLeader { hint: Some(_) })]));
    // Another leads; before its no-op is committed it changes nothing.
    let others = cluster.others(leader);
    only(&mut cluster, &others);
    while cluster.leaders().iter().all(|&id| id == leader) {
        let (at, id) = cluster.next_deadline().unwrap();
        cluster.now = at;
        cluster.handle(id, consensus_core::Event::Tick);
        while let Some(envelope) = cluster.wire.pop_front() {
            // Appends are held back.
            if !matches!(envelope.message, Message::Append(_)) {
                cluster.deliver(envelope);
            }
        }
    }
    let next = *cluster.leaders().iter().find(|&&id| id != leader).unwrap();
    cluster.reconfigure(next, 4, Change::AddLearner(n(6)));
    assert_eq!(bad_changes(&cluster, next), [4]);
    cluster.run_for_ms(300);
    cluster.reconfigure(next, 5, Change::AddLearner(n(6)));
    cluster.settle();
    assert_eq!(cluster.changes_done(next).last(), Some(&5));
}

// tests [R34]
#[test]
fn members_hold_as_soon_as_they_are_in_the_log() {
    let (mut cluster, leader) = with_learners(2, 1);
    only(&mut cluster, &[leader]);
    cluster.reconfigure(leader, 1, Change::AddVoter(n(3)));
    assert_eq!(voters(&cluster, leader), [1, 2, 3], "it is not committed");
    assert_eq!(cluster.node(leader).take_members().unwrap().voter_count(), 3, "drivers are told");
    // Two of three are a quorum already, though one of the old two is away.
    only(&mut cluster, &[leader, n(3)]);
    cluster.run_for_ms(300);
    assert_eq!(cluster.changes_done(leader).last(), Some(&1));
}

// tests [R34]
#[test]
fn members_that_are_cut_off_hold_no_longer() {
    let (mut cluster, leader) = with_learners(3, 1);
    only(&mut cluster, &[leader]);
    cluster.reconfigure(leader, 1, Change::AddVoter(n(4)));
    cluster.settle();
    assert_eq!(voters(&cluster, leader), [1, 2, 3, 4]);
    let others = cluster.others(leader);
    only(&mut cluster, &others);
    cluster.run_for_ms(5_000);
    let next = *cluster.leaders().iter().find(|&&id| id != leader).unwrap();
    cluster.propose(next, 2, b"x");
    cluster.settle();
    assert_eq!(voters(&cluster, next), [1, 2, 3]);
    assert_eq!(voters(&cluster, leader), [1, 2, 3, 4]);
    cluster.node(leader).take_members();
    cluster.heal();
    cluster.run_for_ms(500);
    assert_eq!(voters(&cluster, leader), [1, 2, 3]);
    assert_eq!(cluster.node(leader).take_members().map(|members| members.voter_count()), Some(3));
    assert!(cluster.refusals(leader).contains(&(1, Refusal::Interrupted)));
}

// tests [R34] [R25]
#[test]
fn a_restart_brings_the_members_back() {
    let (mut cluster, leader) = with_learners(3, 1);
    cluster.reconfigure(leader, 1, Change::AddVoter(n(4)));
    cluster.run_for_ms(200);
    for id in (1..=4).map(n) {
        cluster.crash(id);
        cluster.start(id);
        assert_eq!(voters(&cluster, id), [1, 2, 3, 4]);
        assert_eq!(cluster.node(id).take_members().map(|members| members.voter_count()), Some(4));
    }
    cluster.elect();
}

// tests [R34] [R24]
#[test]
fn a_snapshot_carries_the_members_at_its_end() {
    let config = Config { retained_entries: 0, ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    cluster.compact_after_bytes = 200;
    for id in (1..=3).map(n) {
        cluster.crash(id);
        cluster.start(id);
    }
    let leader = cluster.elect();
    cluster.join(n(4));
    cluster.reconfigure(leader, 1, Change::AddLearner(n(4)));
    cluster.run_for_ms(200);
    cluster.reconfigure(leader, 2, Change::AddVoter(n(4)));
    cluster.run_for_ms(200);
    // The newest members are in the log, but not in the snapshot that is taken now.
    cluster.reconfigure(leader, 3, Change::AddLearner(n(5)));
    for number in 10..30 {
        cluster.propose(leader, number, b"some bytes to be compacted");
        cluster.settle();
    }
    cluster.join(n(5));
    cluster.run_for_ms(500);
    assert_eq!(cluster.diary(n(5)).len(), cluster.diary(leader).len());
    assert_eq!(cluster.members_of(n(5)), cluster.members_of(leader));
    assert_eq!(voters(&cluster, n(5)), [1, 2, 3, 4]);
    for id in (1..=5).map(n) {
        cluster.crash(id);
        cluster.start(id);
        assert_eq!(voters(&cluster, id), [1, 2, 3, 4]);
        assert_eq!(cluster.members_of(id).learners(), [n(5)]);
    }
    cluster.elect();
}

// tests [R38] [R30]
#[test]
fn a_joint_configuration_needs_a_quorum_of_both() {
    for is_old in [true, false] {
        let (mut cluster, leader) = with_learners(3, 2);
        let others = cluster.others(leader);
        let connected = if is_old { [leader, others[0], others[1]] } else { [leader, n(4), n(5)] };
        only(&mut cluster, &connected);
        cluster.reconfigure(leader, 1, Change::Replace(vec![leader, n(4), n(5)]));
        cluster.run_for_ms(300);
        let members = cluster.members_of(leader);
        assert_eq!((members.voters().len(), members.outgoing().len()), (3, 3));
        assert!(!cluster.changes_done(leader).contains(&1));
        // Nor do these elect.
        cluster.run_for_ms(10_000);
        assert_eq!(cluster.leaders(), [], "{is_old}");
    }
}

// tests [R38]
#[test]
fn voters_are_replaced_through_a_joint_configuration() {
    let (mut cluster, leader) = with_learners(3, 3);
    let others = cluster.others(leader);
    let new = vec![leader, n(4), n(5)];
    cluster.reconfigure(leader, 1, Change::Replace(new.clone()));
    cluster.run_for_ms(300);
    // It is left by itself, and told once.
    assert_eq!(cluster.changes_done(leader).iter().filter(|&&number| number == 1).count(), 1);
    let members = cluster.members_of(leader);
    assert_eq!((members.voters(), members.outgoing()), (Members::of(new).voters(), &[][..]));
    assert_eq!(members.learners(), [n(6)]);
    // The old ones are needed no longer.
    for other in others {
        cluster.crash(other);
    }
    cluster.propose(leader, 2, b"x");
    cluster.run_for_ms(300);
    assert_eq!(cluster.diary(n(5)).len(), 1);
}

// tests [R38]
#[test]
fn the_next_leader_finishes_a_joint_change() {
    let (mut cluster, leader) = with_learners(3, 3);
    let everybody: Vec<NodeId> = (1..=6).map(n).collect();
    cluster.reconfigure(leader, 1, Change::Replace((4..=6).map(n).collect()));
    // It reaches everybody, and then the leader is gone.
    while let Some(envelope) = cluster.wire.pop_front() {
        if envelope.to != leader {
            cluster.deliver(envelope);
        }
    }
    cluster.crash(leader);
    cluster.run_for_ms(10_000);
    let next = cluster.elect();
    let members = cluster.members_of(next);
    assert!(members.outgoing().is_empty(), "{members:?}");
    assert_eq!(members.voters(), &everybody[3..]);
    assert!(members.is_voter(next));
}

// tests [R37]
#[test]
fn a_leader_that_is_removed_leads_until_that_is_committed() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let [first, second] = cluster.others(leader)[..] else { panic!() };
    // It does not count itself: with one of the two others that is no quorum of them.
    only(&mut cluster, &[leader, first]);
    cluster.reconfigure(leader, 1, Change::Remove(leader));
    cluster.propose(leader, 2, b"x");
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.diary(leader).len()), (vec![leader], 0));
    let before = cluster.now;
    cluster.heal();
    cluster.run_for_ms(201);
    assert_eq!(cluster.changes_done(leader), [1]);
    assert_eq!(cluster.diary(leader).len(), 1);
    let [next] = cluster.leaders()[..] else { panic!("{:?}", cluster.leaders()) };
    assert!([first, second].contains(&next) && cluster.now <= before + Duration::from_millis(201));
    cluster.run_for_ms(10_000);
    assert_eq!(cluster.leaders(), [next], "who is removed does not come back");
}

// tests [R40] [R6]
#[test]
fn removed_nodes_disturb_nobody() {
    let mut cluster = Cluster::new(5);
    let leader = cluster.elect();
    let removed = cluster.others(leader)[0];
    // It never learns of it.
    cluster.isolate(removed);
    cluster.reconfigure(leader, 1, Change::Remove(removed));
    cluster.run_for_ms(3_000);
    cluster.heal();
    let term = cluster.nodes[&leader].status().epoch;
    cluster.run_for_ms(10_000);
    assert_eq!((cluster.leaders(), cluster.nodes[&leader].status().epoch), (vec![leader], term));
    assert_eq!(peer_mode(&cluster, leader, removed), None, "it is fed no longer");
    assert!(cluster.accusations.is_empty());
}

// tests [R40]
#[test]
fn who_is_no_member_as_far_as_it_knows_votes_and_follows_nonetheless() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.join(n(4));
    cluster.run_for_ms(10_000);
    assert_eq!(cluster.nodes[&n(4)].status().epoch, Epoch(0), "it does not campaign");
    let last = Position { term: Epoch(7), slot: Slot(9) };
    let vote = Message::Vote(Ballot { term: Epoch(8), last });
    cluster.deliver(Envelope { from: leader, to: n(4), message: vote.clone() });
    let granted =
        |envelope: &Envelope| matches!(&envelope.message, Message::VoteReply(reply) if reply.granted);
    assert!(cluster.wire.iter().any(granted));
    cluster.wire.clear();
    // A candidate that it does not know is judged like any other.
    cluster.join(n(5));
    cluster.deliver(Envelope { from: n(4), to: n(5), message: vote });
    assert!(cluster.wire.iter().any(granted));
    // Answers of those whom nobody asked count for nothing.
    let term = cluster.nodes[&leader].status().epoch;
    let outcome = Outcome::Accepted { matched: Slot(1) };
    let reply = AppendReply { term: Epoch(term.0 + 5), probe: 1, outcome };
    cluster.deliver(Envelope { from: n(5), to: leader, message: Message::AppendReply(reply) });
    assert_eq!(cluster.nodes[&leader].status().epoch, term);
    assert!(cluster.accusations.is_empty());
}

// tests [R39]
#[test]
fn what_was_said_in_an_earlier_stay_does_not_count() {
    let (mut cluster, leader) = with_learners(3, 1);
    for number in 1..=3 {
        cluster.propose(leader, number, b"x");
        cluster.settle();
    }
    // An acknowledgement that is late, while its sender is let go and comes back with nothing.
    let (term, last) =
        (cluster.nodes[&leader].status().epoch, cluster.nodes[&leader].algorithm().last().slot);
    let outcome = Outcome::Accepted { matched: last };
    let late = Message::AppendReply(AppendReply { term, probe: 1, outcome });
    cluster.reconfigure(leader, 10, Change::Remove(n(4)));
    cluster.settle();
    cluster.crash(n(4));
    cluster.reconfigure(leader, 11, Change::AddLearner(n(4)));
    cluster.settle();
    assert_eq!(peer_mode(&cluster, leader, n(4)).map(|(matched, _)| matched), Some(Slot(0)));
    cluster.deliver(Envelope { from: n(4), to: leader, message: late });
    assert_eq!(peer_mode(&cluster, leader, n(4)).map(|(matched, _)| matched), Some(Slot(0)));
    // What it says now counts.
    cluster.start(n(4));
    cluster.run_for_ms(300);
    let end = cluster.nodes[&leader].algorithm().last().slot;
    assert_eq!(peer_mode(&cluster, leader, n(4)), Some((end, Mode::Replicate)));
}

// tests [R26]
#[test]
fn members_of_whom_nobody_can_lead_are_refused() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let [from, to] = cluster.others(leader)[..] else { panic!() };
    let members = Box::new(Members::of([]).with_learners([n(1)]).into());
    let entry =
        Entry { term: Epoch(9), content: Content::Members { id: crate::common::proposal(1), members } };
    let append = Append {
        term: Epoch(9),
        prev: Position::ZERO,
        commit: Slot(0),
        probe: 0,
        entries: [entry].into_iter().collect(),
    };
    cluster.deliver(Envelope { from, to, message: Message::Append(append) });
    assert!(matches!(cluster.accusations[..], [(_, _, Offence::Malformed(_))]));
    assert_eq!(cluster.members_of(to), Members::of((1..=3).map(n)));
}

// tests [R34] [R19]
#[test]
fn what_waited_for_a_member_that_is_gone_waits_no_longer() {
    let mut cluster = Cluster::with(2, Config { max_pending_reads: 1, ..Config::default() }, false, 1);
    let leader = cluster.elect();
    let other = cluster.others(leader)[0];
    cluster.isolate(other);
    cluster.read(leader, 1);
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    assert_eq!((cluster.reads_ready(leader).len(), cluster.diary(leader).len()), (0, 0));
    cluster.reconfigure(leader, 2, Change::Remove(other));
    assert_eq!((cluster.reads_ready(leader).len(), cluster.diary(leader).len()), (1, 1));
}

// tests [R40] [R37]
#[test]
fn a_removed_leader_whose_log_is_needed_leads_again() {
    let mut cluster = Cluster::new(2);
    let leader = cluster.elect();
    let other = cluster.others(leader)[0];
    cluster.crash(other);
    cluster.reconfigure(leader, 1, Change::Remove(leader));
    // It does not hear the only voter, and steps down; its log is the longer one.
    cluster.run_for_ms(5_000);
    assert_eq!(cluster.leaders(), []);
    cluster.start(other);
    cluster.run_for_ms(5_000);
    assert_eq!(cluster.leaders(), [other]);
    assert_eq!(voters(&cluster, other), [other.0]);
    let term = cluster.nodes[&other].status().epoch;
    cluster.run_for_ms(10_000);
    assert_eq!((cluster.leaders(), cluster.nodes[&other].status().epoch), (vec![other], term));
}
