//! Leases: the clauses R43 to R47 of `spec.md`.

use crate::common::{Cluster, Envelope, n};
use consensus_core::{Epoch, Event, Members, NodeId, ReadId, Role, Slot, Time};
use raft::{Ballot, BallotReply, Config, Message};
use std::time::Duration;

const T: u64 = 1_000;
/// Clocks that may be off by a quarter: a lease of 600 ms.
const DRIFT_PPM: u32 = 250_000;
const LEASE: u64 = T * 3 / 5;

fn config() -> Config {
    Config { lease_drift_ppm: Some(DRIFT_PPM), ..Config::default() }
}

/// A leader of a group of this size that has just spoken to all others, and heard them.
fn led(size: u64) -> (Cluster, NodeId) {
    led_with(size, config())
}

fn led_with(size: u64, config: Config) -> (Cluster, NodeId) {
    let mut cluster = Cluster::with(size, config, false, 1);
    let leader = cluster.elect();
    cluster.run_for_ms(3 * T);
    beat(&mut cluster, leader);
    cluster.settle();
    (cluster, leader)
}

/// Lets time pass up to the leader's next heartbeat; nobody else wakes.
fn beat(cluster: &mut Cluster, leader: NodeId) {
    cluster.now += Duration::from_millis(251);
    cluster.handle(leader, Event::Tick);
}

fn pass(cluster: &mut Cluster, ms: u64) {
    cluster.now += Duration::from_millis(ms);
}

fn is_served_at_once(cluster: &mut Cluster, leader: NodeId, read: u64) -> bool {
    cluster.read(leader, read);
    cluster.reads_ready(leader).iter().any(|(id, _)| *id == read)
}

fn vote_of(cluster: &mut Cluster, voter: NodeId, from: NodeId, message: Message) -> Option<bool> {
    cluster.wire.clear();
    cluster.deliver(Envelope { from, to: voter, message });
    let mut said = cluster.wire.drain(..).map(|envelope| envelope.message);
    said.find_map(|message| {
        let (Message::VoteReply(reply) | Message::PreVoteReply(reply)) = message else { return None };
        Some(reply.granted)
    })
}

fn ballot(cluster: &Cluster, of: NodeId, ahead: u64) -> Ballot {
    let node = &cluster.nodes[&of];
    Ballot { term: Epoch(node.status().epoch.0 + ahead), last: node.algorithm().last() }
}

// tests [R43]
#[test]
fn a_leader_that_a_quorum_has_heard_answers_at_once() {
    for size in [3, 5] {
        let (mut cluster, leader) = led(size);
        cluster.propose(leader, 1, b"x");
        cluster.settle();
        assert!(is_served_at_once(&mut cluster, leader, 1) && cluster.wire.is_empty(), "nobody is asked");
        // Also its followers' questions, and also when a minority is gone.
        let follower = cluster.others(leader)[0];
        cluster.read(follower, 2);
        let question = cluster.wire.pop_front().unwrap();
        cluster.deliver(question);
        assert_eq!(cluster.wire.len(), 1, "nobody is asked");
        cluster.settle();
        assert_eq!(cluster.reads_ready(follower), [(2, Slot(2))]);
        let last = *cluster.others(leader).last().unwrap();
        cluster.crash(last);
        cluster.run_for_ms(5 * T);
        assert!(is_served_at_once(&mut cluster, leader, 3));
    }
}

// tests [R20]
#[test]
fn who_is_told_where_to_read_hears_at_once_that_it_may() {
    let (mut cluster, leader) = led_with(3, Config { eager_commit: false, ..config() });
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    let [reader, other] = cluster.others(leader)[..] else { panic!() };
    cluster.read(reader, 2);
    cluster.settle();
    assert_eq!(cluster.reads_ready(reader), [(2, Slot(2))], "no heartbeat was needed");
    assert!(cluster.diary(other).is_empty(), "whoever does not ask waits for one");
}

// tests [R43]
#[test]
fn a_lease_ends_with_the_time_for_which_the_slowest_of_a_quorum_is_bound() {
    let (mut cluster, leader) = led(5);
    let others = cluster.others(leader);
    // Two of four answer the next heartbeat: with the leader that is a quorum.
    cluster.crash(others[2]);
    cluster.crash(others[3]);
    beat(&mut cluster, leader);
    // The answers take their time. What counts is when the heartbeat left.
    pass(&mut cluster, 200);
    cluster.settle();
    pass(&mut cluster, LEASE - 201);
    assert!(is_served_at_once(&mut cluster, leader, 1));
    pass(&mut cluster, 1);
    assert!(!is_served_at_once(&mut cluster, leader, 2) && !cluster.wire.is_empty(), "others are asked");
    // The question was a probe, too.
    cluster.settle();
    assert!(is_served_at_once(&mut cluster, leader, 3));
    // One follower alone supports nothing.
    cluster.crash(others[1]);
    beat(&mut cluster, leader);
    cluster.settle();
    pass(&mut cluster, LEASE - 251);
    assert!(!is_served_at_once(&mut cluster, leader, 4));
}

// tests [R43]
#[test]
fn a_lease_goes_on_while_entries_take_the_place_of_heartbeats() {
    let (mut cluster, leader) = led(3);
    for number in 1..=100 {
        cluster.propose(leader, number, b"x");
        cluster.run_for_ms(20);
        assert!(is_served_at_once(&mut cluster, leader, number));
    }
}

// tests [R43]
#[test]
fn no_lease_without_an_entry_of_the_own_term_and_none_before_the_first_echo() {
    let mut cluster = Cluster::with(3, config(), true, 1);
    let all: Vec<NodeId> = cluster.members.iter().collect();
    let work = |cluster: &mut Cluster| {
        for &id in &all {
            cluster.sync(id);
        }
        cluster.settle();
    };
    while cluster.leaders().is_empty() {
        let (at, id) = cluster.next_deadline().unwrap();
        cluster.now = at;
        cluster.handle(id, Event::Tick);
        cluster.settle();
        work(&mut cluster);
    }
    // The clock has barely begun: what was never heard must not pass for heard at its beginning.
    assert!(cluster.now < Time::ZERO + Duration::from_millis(LEASE));
    let leader = cluster.leaders()[0];
    assert!(!is_served_at_once(&mut cluster, leader, 1));
    // Echoed, but its own no-op is on no disk.
    beat(&mut cluster, leader);
    cluster.settle();
    assert_eq!(cluster.reads_ready(leader), []);
    work(&mut cluster);
    work(&mut cluster);
    assert_eq!(cluster.reads_ready(leader), [(1, Slot(1))]);
}

// tests [R43]
#[test]
fn a_node_alone_needs_no_clock() {
    let mut cluster = Cluster::with(1, config(), false, 1);
    cluster.run_for_ms(T);
    pass(&mut cluster, 100 * T);
    assert!(is_served_at_once(&mut cluster, n(1), 1));
}

// tests [R43]
#[test]
fn learners_support_no_lease() {
    let members = Members::of([n(1), n(2), n(3)]).with_learners([n(4), n(5)]);
    let mut cluster = Cluster::of(members, config(), false, 1);
    let leader = cluster.elect();
    for voter in [1, 2, 3].map(n).into_iter().filter(|&id| id != leader) {
        cluster.crash(voter);
    }
    pass(&mut cluster, LEASE);
    cluster.handle(leader, Event::Tick);
    cluster.settle();
    assert!(!is_served_at_once(&mut cluster, leader, 1));
}

// tests [R44]
#[test]
fn nobody_is_elected_within_the_time_for_which_a_quorum_is_bound() {
    let (mut cluster, leader) = led(3);
    let heard = cluster.now;
    let [voter, rival] = cluster.others(leader)[..] else { panic!() };
    cluster.isolate(leader);
    for follower in [voter, rival] {
        cluster.handle(follower, Event::Suspect { peer: leader, suspected: true });
    }
    let plea = ballot(&cluster, rival, 3);
    assert_eq!(vote_of(&mut cluster, voter, rival, Message::PreVote(plea)), Some(false));
    assert_eq!(vote_of(&mut cluster, voter, rival, Message::Vote(plea)), None);
    // The suspicion is remembered: election is sought right after the promise.
    let due = cluster.nodes[&voter].deadline().unwrap();
    let bound = heard + Duration::from_millis(T);
    assert!((bound..=bound + Duration::from_millis(T / 10)).contains(&due), "{due}");
    let until = bound.since(cluster.now).as_millis() as u64;
    cluster.run_for_ms(until - 1);
    assert_eq!(cluster.leaders(), [leader]);
    cluster.run_for_ms(T / 10 + T / 2);
    assert!(cluster.leaders().iter().any(|&id| id != leader), "then it goes fast");
}

// tests [R44]
#[test]
fn a_term_learnt_since_does_not_free_a_vote() {
    let (mut cluster, leader) = led(3);
    let [voter, rival] = cluster.others(leader)[..] else { panic!() };
    // A late answer to a question of long ago tells of a later term.
    let later = Epoch(cluster.nodes[&voter].status().epoch.0 + 5);
    let answer = Message::PreVoteReply(BallotReply { term: later, granted: false });
    cluster.deliver(Envelope { from: rival, to: voter, message: answer });
    assert_eq!(cluster.nodes[&voter].status().epoch, later);
    let plea = Message::Vote(Ballot { term: later, ..ballot(&cluster, rival, 0) });
    assert_ne!(vote_of(&mut cluster, voter, rival, plea.clone()), Some(true));
    pass(&mut cluster, T);
    assert_eq!(vote_of(&mut cluster, voter, rival, plea.clone()), Some(true));
    assert_eq!(
        vote_of(&mut cluster, voter, rival, plea),
        Some(true),
        "a vote that was given may be told again"
    );
}

// tests [R45]
#[test]
fn who_restarts_is_bound_as_if_it_had_just_heard_a_leader() {
    let (mut cluster, leader) = led(3);
    let [voter, rival] = cluster.others(leader)[..] else { panic!() };
    cluster.isolate(leader);
    for follower in [voter, rival] {
        cluster.crash(follower);
        cluster.start(follower);
    }
    let restart = cluster.now;
    let plea = ballot(&cluster, rival, 1);
    assert_eq!(vote_of(&mut cluster, voter, rival, Message::PreVote(plea)), Some(false));
    assert!(cluster.nodes[&voter].deadline().unwrap() >= restart + Duration::from_millis(T));
    cluster.run_for_ms(T - 1);
    assert_eq!(cluster.leaders(), [leader]);
    cluster.run_for_ms(T + 1);
    assert!(cluster.leaders().iter().any(|&id| id != leader), "within 2 T of the restart");
}

// tests [R45]
#[test]
fn who_never_knew_a_term_has_promised_nothing() {
    let mut cluster = Cluster::with(3, config(), false, 1);
    cluster.run_for_ms(T / 2);
    assert_eq!(cluster.leaders().len(), 1, "a new group is not kept waiting");
}

// tests [R46]
#[test]
fn who_has_called_a_successor_holds_no_lease_any_more() {
    let (mut cluster, leader) = led(3);
    let to = cluster.others(leader)[0];
    assert!(is_served_at_once(&mut cluster, leader, 1));
    cluster.handle(leader, Event::Transfer { to: Some(to) });
    let call = cluster.wire.pop_front().unwrap();
    assert!(matches!(call.message, Message::TimeoutNow { .. }));
    assert!(!is_served_at_once(&mut cluster, leader, 2));
    // No call arrives, the hand-over is given up, and the leader goes on.
    cluster.cut.insert((leader, to));
    cluster.run_for_ms(T + T / 2);
    cluster.heal();
    cluster.run_for_ms(T);
    assert_eq!(cluster.leaders(), [leader]);
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    assert!(!is_served_at_once(&mut cluster, leader, 3), "not even a new one");
    cluster.settle();
    // Then the first call comes after all.
    cluster.isolate(leader);
    cluster.deliver(call);
    cluster.settle();
    assert!(cluster.leaders().contains(&to), "whoever was called is elected in spite of all promises");
    // A lease is a matter of one term.
    cluster.heal();
    cluster.run_for_ms(T);
    assert_eq!(cluster.leaders(), [to]);
    assert!(is_served_at_once(&mut cluster, to, 4));
}

// tests [R47]
#[test]
fn a_lease_is_judged_when_the_burst_ends() {
    let (mut cluster, leader) = led(3);
    let (arrived, ended) = (cluster.now, cluster.now + Duration::from_millis(LEASE));
    let node = cluster.node(leader);
    node.push(arrived, Event::Read(ReadId(1))).unwrap();
    node.flush(ended).unwrap();
    cluster.handle(leader, Event::Written);
    assert_eq!(cluster.reads_ready(leader), [], "by then somebody else may lead");
    cluster.settle();
    assert_eq!(cluster.reads_ready(leader).len(), 1);
}

// tests [R43]
#[test]
fn leases_that_would_promise_nothing_are_refused() {
    let members = Members::of([n(1)]);
    let refused = |config: Config| config.validate(&members).unwrap_err();
    for drift in [0, 500_001, u32::MAX] {
        let error = refused(Config { lease_drift_ppm: Some(drift), ..Config::default() });
        assert_eq!(error.field, "lease_drift_ppm");
    }
    let error = refused(Config { stable_leadership: false, ..config() });
    assert_eq!(error.field, "lease_drift_ppm");
    assert_eq!(config().validate(&members), Ok(()));
    let longest = Config { election_timeout_ms: 1 << 32, lease_drift_ppm: Some(1), ..Config::default() };
    assert_eq!(longest.validate(&members), Ok(()));
}

// tests [R43] [R44]
#[test]
fn a_leader_cut_off_never_answers_once_another_may_lead() {
    // The leader's clock is the slowest allowed, the others' the fastest.
    let (mut cluster, leader) = led(3);
    let (slow, fast) = (1_000_000 - u64::from(DRIFT_PPM), 1_000_000 + u64::from(DRIFT_PPM));
    cluster.isolate(leader);
    let began = cluster.now;
    let at = |micros: u64, rate: u64| began + Duration::from_nanos(micros * rate / 1_000);
    let mut read = 0;
    for micros in (0..2 * T * 1_000).step_by(100) {
        for id in cluster.others(leader) {
            cluster.now = at(micros, fast);
            cluster.handle(id, Event::Tick);
        }
        cluster.settle();
        let is_replaced =
            cluster.others(leader).iter().any(|id| cluster.nodes[id].status().role == Role::Leader);
        read += 1;
        cluster.now = at(micros, slow);
        let served = is_served_at_once(&mut cluster, leader, read);
        assert!(!(served && is_replaced), "stale after {micros} us");
        cluster.wire.clear();
        if is_replaced {
            return;
        }
    }
    panic!("nobody was elected");
}
