//! Handing leadership over, and wishes to lead: the clauses R32 and R33 of `spec.md`.

use crate::common::{Cluster, Envelope, n};
use consensus_core::{Epoch, Event, NodeId, Priority, Refusal, Slot, Time};
use raft::{Ballot, Config, Message, Position};
use std::time::Duration;

const T: u64 = 1_000;

fn transfer(cluster: &mut Cluster, at: NodeId, to: Option<NodeId>) {
    cluster.handle(at, Event::Transfer { to });
}

fn wish(cluster: &mut Cluster, id: NodeId, priority: Priority) {
    cluster.handle(id, Event::Priority(priority));
}

fn is_call(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::TimeoutNow { .. })
}

/// Lets time pass up to the leader's next heartbeat; only the leader wakes.
fn next_heartbeat(cluster: &mut Cluster, leader: NodeId) {
    cluster.now += Duration::from_millis(101);
    cluster.handle(leader, Event::Tick);
}

// tests [R32]
#[test]
fn the_successor_leads_at_once_and_with_the_whole_log() {
    for size in [2, 3, 5] {
        let mut cluster = Cluster::new(size);
        let leader = cluster.elect();
        let to = *cluster.others(leader).last().unwrap();
        let term = cluster.nodes[&leader].status().epoch;
        cluster.propose(leader, 1, b"x");
        let before = cluster.now;
        transfer(&mut cluster, leader, Some(to));
        cluster.settle();
        assert_eq!((cluster.leaders(), cluster.now), (vec![to], before), "no timeout was waited for");
        assert_eq!(cluster.nodes[&to].status().epoch, Epoch(term.0 + 1));
        cluster.run_for_ms(100);
        for id in cluster.members.clone().iter() {
            assert_eq!(cluster.diary(id).len(), 1);
        }
    }
}

// tests [R32]
#[test]
fn a_successor_gets_what_was_proposed_in_the_same_burst_before_it_is_called() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let to = cluster.others(leader)[0];
    let before = cluster.now;
    cluster.propose_and_transfer(leader, 1, b"x", to);
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.now), (vec![to], before), "no timeout was waited for");
    cluster.run_for_ms(100);
    assert_eq!(cluster.diary(to).len(), 1);
}

// tests [R32]
#[test]
fn a_successor_that_lags_is_brought_up_to_date_first() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let to = cluster.others(leader)[0];
    cluster.isolate(to);
    for number in 1..=20 {
        cluster.propose(leader, number, b"x");
        cluster.settle();
    }
    transfer(&mut cluster, leader, Some(to));
    cluster.settle();
    assert_eq!(cluster.leaders(), [leader]);
    cluster.heal();
    cluster.run_for_ms(250);
    assert_eq!(cluster.leaders(), [to]);
    cluster.propose(to, 21, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(to).len(), 21);
}

// tests [R32]
#[test]
fn no_proposals_are_taken_meanwhile_and_a_hand_over_is_given_up_in_time() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let gone = cluster.others(leader)[0];
    cluster.crash(gone);
    transfer(&mut cluster, leader, Some(gone));
    cluster.propose(leader, 1, b"x");
    cluster.read(leader, 1);
    cluster.settle();
    assert_eq!(cluster.refusals(leader), [(1, Refusal::Busy)]);
    assert_eq!(cluster.reads_ready(leader).len(), 1, "reads go on");
    // Asked again for the same node, the time does not begin anew.
    cluster.run_for_ms(T / 2);
    transfer(&mut cluster, leader, Some(gone));
    cluster.run_for_ms(T / 2 + 101);
    assert_eq!(cluster.leaders(), [leader]);
    cluster.propose(leader, 2, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(leader).len(), 1, "it takes proposals again");
}

// tests [R32]
#[test]
fn a_hand_over_to_itself_or_to_a_stranger_changes_nothing() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let [other, gone] = cluster.others(leader)[..] else { panic!() };
    transfer(&mut cluster, leader, Some(n(77)));
    transfer(&mut cluster, leader, Some(leader));
    transfer(&mut cluster, other, None);
    transfer(&mut cluster, other, Some(other));
    cluster.settle();
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.refusals(leader)), (vec![leader], vec![]));
    // Asked for itself, the leader leads on though it was about to hand over.
    cluster.crash(gone);
    transfer(&mut cluster, leader, Some(gone));
    transfer(&mut cluster, leader, Some(leader));
    cluster.propose(leader, 2, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(leader).len(), 2);
}

// tests [R32]
#[test]
fn asked_for_nobody_it_calls_whoever_holds_most() {
    let mut cluster = Cluster::new(5);
    let leader = cluster.elect();
    let others = cluster.others(leader);
    cluster.isolate(others[0]);
    cluster.crash(others[1]);
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    transfer(&mut cluster, leader, None);
    cluster.settle();
    let successor = cluster.leaders().into_iter().find(|&id| id != leader);
    assert_eq!(successor, Some(others[2]), "the first of those who hold everything");
}

// tests [R32]
#[test]
fn a_call_that_is_lost_is_repeated_and_a_late_one_is_ignored() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let [to, other] = cluster.others(leader)[..] else { panic!() };
    transfer(&mut cluster, leader, Some(to));
    assert_eq!(cluster.wire.iter().filter(|envelope| is_call(envelope)).count(), 1);
    let late = cluster.wire.drain(..).find(is_call).unwrap();
    next_heartbeat(&mut cluster, leader);
    cluster.settle();
    assert_eq!(cluster.leaders(), [to]);
    cluster.run_for_ms(200);
    // The call of a leader that leads no more, to somebody who leads, and to somebody who follows another.
    cluster.deliver(late.clone());
    cluster.deliver(Envelope { to: other, ..late });
    // Not even the right term makes it right, if it is not the leader who calls.
    let term = cluster.nodes[&to].status().epoch;
    cluster.deliver(Envelope { from: leader, to: other, message: Message::TimeoutNow { term } });
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.nodes[&to].status().epoch), (vec![to], term));
}

// tests [R32] [R1] [R2]
#[test]
fn a_called_candidate_is_judged_as_any_other() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"x");
    cluster.run_for_ms(100);
    let [from, voter] = cluster.others(leader)[..] else { panic!() };
    let term = Epoch(cluster.nodes[&leader].status().epoch.0 + 1);
    let ask = |cluster: &mut Cluster, from, last| {
        cluster.deliver(Envelope { from, to: voter, message: Message::CalledVote(Ballot { term, last }) });
        let Message::VoteReply(reply) = cluster.wire.pop_back().unwrap().message else { panic!("no answer") };
        reply.granted
    };
    let whole = cluster.nodes[&leader].algorithm().last();
    assert!(
        !ask(&mut cluster, from, Position { slot: Slot(whole.slot.0 - 1), ..whole }),
        "it lacks an entry"
    );
    assert!(ask(&mut cluster, from, whole), "the leader is heard, and that does not count");
    assert!(!ask(&mut cluster, leader, whole), "the vote of this term is given");
}

// tests [R32] [R19]
#[test]
fn a_read_during_a_hand_over_is_not_stale() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let to = cluster.others(leader)[0];
    transfer(&mut cluster, leader, Some(to));
    // The call arrives; from then on nothing reaches the old leader.
    while let Some(envelope) = cluster.wire.pop_front() {
        if envelope.to != leader {
            cluster.deliver(envelope);
        }
    }
    assert_eq!(cluster.leaders().len(), 2);
    cluster.propose(to, 1, b"new");
    cluster.wire.retain(|envelope| envelope.to != leader);
    cluster.read(leader, 1);
    // Whatever the others answer to the old leader's probe, it confirms nothing.
    cluster.settle();
    cluster.run_for_ms(200);
    assert_eq!(cluster.reads_ready(leader), []);
    assert_eq!(cluster.reads_refused(leader).len(), 1);
}

/// Who leads first after the leader is gone, over several seeds.
fn successors(wishes: [Priority; 2]) -> [u64; 2] {
    let mut led = [0, 0];
    for seed in 1..=20 {
        let mut cluster = Cluster::with(3, Config::default(), false, seed);
        let leader = cluster.elect();
        let others = cluster.others(leader);
        for (&id, wished) in others.iter().zip(wishes) {
            wish(&mut cluster, id, wished);
        }
        cluster.crash(leader);
        let before = cluster.now;
        let next = cluster.elect();
        assert!(cluster.now <= before + Duration::from_millis(4 * T), "it takes {}", cluster.now);
        led[usize::from(next == others[1])] += 1;
    }
    led
}

// tests [R33]
#[test]
fn a_wish_moves_timeouts_within_bounds() {
    let [normal, low] = successors([Priority::Normal, Priority::Low]);
    assert_eq!((normal, low), (20, 0));
    let [high, normal] = successors([Priority::High, Priority::Normal]);
    assert!(high > normal && normal > 0, "{high} {normal}");
    // Nobody wishes to lead: somebody must, but not soon.
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    for id in cluster.others(leader) {
        wish(&mut cluster, id, Priority::Never);
    }
    cluster.crash(leader);
    cluster.run_for_ms(3 * T);
    assert!(cluster.leaders().is_empty());
    cluster.run_for_ms(2 * T);
    assert_eq!(cluster.leaders().len(), 1);
}

// tests [R33]
#[test]
fn a_wish_said_again_postpones_nothing() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let others = cluster.others(leader);
    cluster.crash(leader);
    for _ in 0..40 {
        others.iter().for_each(|&id| wish(&mut cluster, id, Priority::Low));
        cluster.run_for_ms(100);
    }
    assert_eq!(cluster.leaders().len(), 1);
}

// tests [R33]
#[test]
fn who_never_wishes_to_lead_hands_over_and_declines() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let [first, second] = cluster.others(leader)[..] else { panic!() };
    wish(&mut cluster, first, Priority::Never);
    // The first declines, the second takes over.
    wish(&mut cluster, leader, Priority::Never);
    cluster.settle();
    assert_eq!(cluster.leaders(), [second]);
    // When nobody wants to, the leader leads on, and serves.
    wish(&mut cluster, second, Priority::Never);
    cluster.run_for_ms(3 * T);
    assert_eq!(cluster.leaders(), [second]);
    cluster.propose(second, 1, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(second).len(), 1);
    // An operator's wish is declined too, and costs no more than an answer.
    transfer(&mut cluster, second, Some(first));
    cluster.settle();
    cluster.propose(second, 2, b"x");
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.diary(second).len()), (vec![second], 2));
    // As soon as somebody is willing, it is asked.
    wish(&mut cluster, first, Priority::Normal);
    cluster.run_for_ms(T + 1);
    assert_eq!(cluster.leaders(), [first]);
}

// tests [R33] [R1] [R2]
#[test]
fn a_wish_touches_no_vote() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    let [candidate, voter] = cluster.others(leader)[..] else { panic!() };
    wish(&mut cluster, voter, Priority::High);
    wish(&mut cluster, candidate, Priority::Low);
    cluster.crash(leader);
    cluster.now = cluster.now.max(Time::ZERO) + Duration::from_millis(T);
    let term = Epoch(cluster.nodes[&voter].status().epoch.0 + 1);
    let last = cluster.nodes[&candidate].algorithm().last();
    cluster.deliver(Envelope { from: candidate, to: voter, message: Message::Vote(Ballot { term, last }) });
    assert!(
        cluster
            .wire
            .iter()
            .any(|envelope| matches!(&envelope.message, Message::VoteReply(reply) if reply.granted))
    );
}
