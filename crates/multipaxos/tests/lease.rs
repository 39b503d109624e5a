//! Leases: the clauses P32 to P36 of `spec.md`.

use crate::common::{self, Envelope, n};
use consensus_core::{Event, Members, NodeId, Priority, ReadId, Role, Slot};
use multipaxos::{Accept, Ballot, Config, Message, MultiPaxos, Prepare, Sizes, Value};
use std::time::Duration;

type Cluster = common::Cluster<MultiPaxos>;

const T: u64 = 1_000;
const HEARTBEAT: u64 = 100;
/// Clocks that may be off by a quarter: a lease of 600 ms.
const DRIFT_PPM: u32 = 250_000;
const LEASE: u64 = T * 3 / 5;

fn config() -> Config {
    Config { lease_drift_ppm: Some(DRIFT_PPM), ..Config::default() }
}

/// A leader of a group that has just spoken to all others, and heard them.
fn led_with(size: u64, config: Config) -> (Cluster, NodeId) {
    let mut cluster = Cluster::with(size, config, false, 1);
    let leader = cluster.elect();
    cluster.run_for_ms(3 * T);
    beat(&mut cluster, leader);
    cluster.settle();
    (cluster, leader)
}

fn led(size: u64) -> (Cluster, NodeId) {
    led_with(size, config())
}

/// Lets time pass up to the leader's next heartbeat; nobody else wakes.
fn beat(cluster: &mut Cluster, leader: NodeId) {
    pass(cluster, HEARTBEAT);
    cluster.handle(leader, Event::Tick);
}

fn pass(cluster: &mut Cluster, ms: u64) {
    cluster.now += Duration::from_millis(ms);
}

fn is_served_at_once(cluster: &mut Cluster, leader: NodeId, read: u64) -> bool {
    cluster.read(leader, read);
    cluster.reads_ready(leader).iter().any(|(id, _)| *id == read)
}

fn promised(cluster: &Cluster, node: NodeId) -> Ballot {
    cluster.nodes[&node].algorithm().promised()
}

/// `from` asks `to` to promise a ballot above all that it knows of.
fn prepare(cluster: &Cluster, from: NodeId, to: NodeId, called_by: Option<Ballot>) -> Prepare {
    let configuration = cluster.nodes[&to].algorithm().configuration();
    let (number, promises) = (configuration.number, configuration.promises);
    let ballot = promised(cluster, to).next(from);
    Prepare { configuration: number, ballot, from: Slot(1), promises, called_by }
}

/// What comes of it: whether it was promised, and whether anything was said at all.
fn asked(cluster: &mut Cluster, from: NodeId, to: NodeId, prepare: Prepare) -> (bool, bool) {
    cluster.wire.clear();
    cluster.deliver(Envelope { from, to, message: Message::Prepare(prepare) });
    let said: Vec<_> = cluster.wire.drain(..).map(|envelope| envelope.message).collect();
    let is_promised = said
        .iter()
        .any(|message| matches!(message, Message::Promise(promise) if promise.ballot == prepare.ballot));
    (is_promised, !said.is_empty())
}

fn is_promised(cluster: &mut Cluster, from: NodeId, to: NodeId, called_by: Option<Ballot>) -> bool {
    let prepare = prepare(cluster, from, to, called_by);
    asked(cluster, from, to, prepare).0
}

// tests [P32]
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
        assert_eq!(cluster.reads_ready(follower), [(2, Slot(1))]);
        let last = *cluster.others(leader).last().unwrap();
        cluster.crash(last);
        cluster.run_for_ms(5 * T);
        assert!(is_served_at_once(&mut cluster, leader, 3));
    }
}

// tests [P32]
#[test]
fn without_a_bound_on_clocks_a_quorum_is_asked() {
    let (mut cluster, leader) = led_with(3, Config::default());
    assert!(!is_served_at_once(&mut cluster, leader, 1) && !cluster.wire.is_empty());
    let [voter, rival] = cluster.others(leader)[..] else { panic!() };
    assert!(is_promised(&mut cluster, rival, voter, None), "and nobody is bound");
}

// tests [P27]
#[test]
fn who_is_told_where_to_read_hears_at_once_that_it_may() {
    let (mut cluster, leader) = led_with(3, Config { eager_commit: false, ..config() });
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    let [reader, other] = cluster.others(leader)[..] else { panic!() };
    cluster.read(reader, 2);
    cluster.settle();
    assert_eq!(cluster.reads_ready(reader), [(2, Slot(1))], "no heartbeat was needed");
    assert!(cluster.diary(other).is_empty(), "whoever does not ask waits for one");
}

// tests [P32]
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
    // One acceptor alone supports nothing.
    cluster.crash(others[1]);
    beat(&mut cluster, leader);
    cluster.settle();
    pass(&mut cluster, LEASE - HEARTBEAT);
    assert!(!is_served_at_once(&mut cluster, leader, 4));
}

// tests [P32]
#[test]
fn as_many_must_be_bound_as_choose_a_value() {
    for (acceptances, alive) in [(2, 1), (4, 3)] {
        let quorums = Some(Sizes { promises: 6 - acceptances, acceptances });
        let (mut cluster, leader) = led_with(5, Config { quorums, ..config() });
        for &id in cluster.others(leader).iter().skip(alive) {
            cluster.crash(id);
        }
        pass(&mut cluster, LEASE);
        cluster.handle(leader, Event::Tick);
        cluster.settle();
        assert!(is_served_at_once(&mut cluster, leader, 1), "{acceptances} heard it");
        let one_more = cluster.others(leader)[0];
        cluster.crash(one_more);
        pass(&mut cluster, LEASE);
        cluster.handle(leader, Event::Tick);
        cluster.settle();
        assert!(!is_served_at_once(&mut cluster, leader, 2), "one less than {acceptances} heard it");
    }
}

// tests [P32]
#[test]
fn a_lease_goes_on_while_proposals_come_between_heartbeats() {
    let (mut cluster, leader) = led(3);
    for number in 1..=100 {
        cluster.propose(leader, number, b"x");
        cluster.run_for_ms(20);
        assert!(is_served_at_once(&mut cluster, leader, number));
    }
}

// tests [P32]
#[test]
fn no_lease_before_what_was_accepted_before_is_chosen_and_none_before_the_first_echo() {
    let (mut cluster, leader) = led(3);
    let [heir, other] = cluster.others(leader)[..] else { panic!() };
    // It is accepted by one, and whether it is chosen is not known to anybody.
    cluster.cut.insert((leader, other));
    cluster.propose(leader, 1, b"x");
    let accept = cluster.wire.pop_front().unwrap();
    assert!(matches!(accept.message, Message::Accept(_)) && accept.to == heir);
    cluster.deliver(accept);
    cluster.crash(leader);
    cluster.wire.clear();
    cluster.handle(other, Event::Priority(Priority::Never));
    // Up to the very message that makes the heir lead.
    for _ in 0..100 {
        if cluster.leaders() == [heir] {
            break;
        }
        if let Some(envelope) = cluster.wire.pop_front() {
            cluster.deliver(envelope);
            continue;
        }
        let (at, id) = cluster.next_deadline().unwrap();
        cluster.now = cluster.now.max(at);
        cluster.handle(id, Event::Tick);
    }
    assert!(!is_served_at_once(&mut cluster, heir, 1), "nobody echoed anything");
    // Heartbeats alone are echoed.
    let is_kept = |envelope: &Envelope<Message>| !matches!(envelope.message, Message::Accept(_));
    cluster.wire.retain(is_kept);
    cluster.settle();
    assert_eq!(cluster.reads_ready(heir), [], "what was accepted before is not known to be chosen");
    beat(&mut cluster, heir);
    cluster.settle();
    assert_eq!(cluster.reads_ready(heir), [(1, Slot(1))]);
    assert!(is_served_at_once(&mut cluster, heir, 2));
}

// tests [P32]
#[test]
fn a_node_alone_needs_no_clock() {
    let mut cluster = Cluster::with(1, config(), false, 1);
    cluster.run_for_ms(T);
    pass(&mut cluster, 100 * T);
    assert!(is_served_at_once(&mut cluster, n(1), 1));
}

// tests [P32]
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

// tests [P33]
#[test]
fn who_heard_a_leader_promises_nobody_else_a_ballot() {
    let (mut cluster, leader) = led(3);
    let [voter, rival] = cluster.others(leader)[..] else { panic!() };
    let plea = prepare(&cluster, rival, voter, None);
    let before = promised(&cluster, voter);
    assert_eq!(asked(&mut cluster, rival, voter, plea), (false, false), "and it says nothing");
    assert_eq!(promised(&cluster, voter), before);
    pass(&mut cluster, T - 1);
    assert_eq!(asked(&mut cluster, rival, voter, plea), (false, false));
    pass(&mut cluster, 1);
    assert_eq!(asked(&mut cluster, rival, voter, plea), (true, true));
    assert_eq!(asked(&mut cluster, rival, voter, plea), (true, true), "what was promised may be told again");
}

// tests [P33]
#[test]
fn the_leader_itself_may_lead_another_ballot_at_once() {
    let (mut cluster, leader) = led(3);
    let voter = cluster.others(leader)[0];
    assert!(is_promised(&mut cluster, leader, voter, None));
}

// tests [P33]
#[test]
fn who_leads_a_higher_ballot_is_followed_at_once_and_binds_anew() {
    let (mut cluster, leader) = led(3);
    let [voter, rival] = cluster.others(leader)[..] else { panic!() };
    let higher = promised(&cluster, voter).next(rival);
    let value = [Value::Noop].into_iter().collect();
    let accept =
        Accept { configuration: 1, ballot: higher, first: Slot(1), chosen: Slot(0), probe: 1, values: value };
    pass(&mut cluster, T - 1);
    cluster.deliver(Envelope { from: rival, to: voter, message: Message::Accept(accept) });
    assert_eq!(promised(&cluster, voter), higher);
    pass(&mut cluster, T - 1);
    assert!(!is_promised(&mut cluster, leader, voter, None));
    pass(&mut cluster, 1);
    assert!(is_promised(&mut cluster, leader, voter, None));
}

// tests [P33]
#[test]
fn nobody_leads_within_the_time_for_which_a_quorum_is_bound() {
    let (mut cluster, leader) = led(3);
    let heard = cluster.now;
    cluster.isolate(leader);
    for follower in cluster.others(leader) {
        cluster.handle(follower, Event::Suspect { peer: leader, suspected: true });
        // The suspicion is remembered: the others are asked right after the promise.
        let due = cluster.nodes[&follower].deadline().unwrap();
        let bound = heard + Duration::from_millis(T);
        assert!((bound..=bound + Duration::from_millis(T / 10)).contains(&due), "{due}");
    }
    cluster.run_for_ms(T - 1);
    assert_eq!(cluster.leaders(), [leader]);
    cluster.run_for_ms(T / 10 + T / 2);
    assert!(cluster.leaders().iter().any(|&id| id != leader), "then it goes fast");
}

// tests [P34]
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
    assert!(!is_promised(&mut cluster, rival, voter, None));
    assert!(!is_promised(&mut cluster, leader, voter, None), "nobody knows to whom");
    assert!(cluster.nodes[&voter].deadline().unwrap() >= restart + Duration::from_millis(T));
    cluster.run_for_ms(T - 1);
    assert_eq!(cluster.leaders(), [leader]);
    cluster.run_for_ms(T + 1);
    assert!(cluster.leaders().iter().any(|&id| id != leader), "within 2 T of the restart");
}

// tests [P34]
#[test]
fn who_never_promised_anything_is_free() {
    let mut cluster = Cluster::with(3, config(), false, 1);
    cluster.run_for_ms(T);
    assert_eq!(cluster.leaders().len(), 1, "a new group is not kept waiting");
}

// tests [P34] [P35]
#[test]
fn nobody_lets_go_who_forgot_what_binds_it() {
    let (mut cluster, leader) = led(3);
    let [voter, heir] = cluster.others(leader)[..] else { panic!() };
    cluster.crash(voter);
    cluster.start(voter);
    beat(&mut cluster, leader);
    cluster.settle();
    let ballot = promised(&cluster, leader);
    cluster.deliver(Envelope { from: leader, to: voter, message: Message::Resigned { ballot } });
    assert!(
        !is_promised(&mut cluster, heir, voter, Some(ballot)),
        "before the crash it may have heard another"
    );
    cluster.deliver(Envelope { from: leader, to: voter, message: Message::Call { ballot } });
    assert_eq!(promised(&cluster, voter), ballot, "nor does it lead");
    pass(&mut cluster, T);
    assert!(is_promised(&mut cluster, heir, voter, Some(ballot)));
}

/// The call that a leader sends when an operator has it hand over to `to`.
fn call(cluster: &mut Cluster, leader: NodeId, to: NodeId) -> Envelope<Message> {
    cluster.handle(leader, Event::Transfer { to: Some(to) });
    let call = cluster.wire.pop_front().unwrap();
    assert!(matches!(call.message, Message::Call { .. }));
    call
}

// tests [P35]
#[test]
fn whoever_is_called_leads_at_once() {
    let (mut cluster, leader) = led(3);
    let to = cluster.others(leader)[0];
    let call = call(&mut cluster, leader, to);
    cluster.isolate(leader);
    cluster.deliver(call);
    cluster.settle();
    assert!(cluster.leaders().contains(&to), "whoever was called leads in spite of all bonds");
}

// tests [P35]
#[test]
fn a_call_lets_nobody_go_who_has_heard_of_a_higher_ballot_since() {
    let (mut cluster, leader) = led(3);
    let [voter, heir] = cluster.others(leader)[..] else { panic!() };
    let old = promised(&cluster, leader);
    let call = call(&mut cluster, leader, voter);
    cluster.deliver(call);
    cluster.settle();
    cluster.run_for_ms(T);
    assert_eq!(cluster.leaders(), [voter]);
    assert!(is_served_at_once(&mut cluster, voter, 1));
    assert!(!is_promised(&mut cluster, leader, heir, Some(old)), "that leader is not the one that called");
    let present = promised(&cluster, voter);
    assert!(is_promised(&mut cluster, leader, heir, Some(present)));
}

// tests [P35]
#[test]
fn who_has_called_a_successor_holds_no_lease_any_more() {
    let (mut cluster, leader) = led(3);
    let to = cluster.others(leader)[0];
    assert!(is_served_at_once(&mut cluster, leader, 1));
    let call = call(&mut cluster, leader, to);
    assert!(!is_served_at_once(&mut cluster, leader, 2));
    // No call arrives, the hand-over is given up, and the leader goes on.
    cluster.cut.insert((leader, to));
    cluster.run_for_ms(T - HEARTBEAT);
    cluster.heal();
    cluster.handle(leader, Event::Transfer { to: Some(leader) });
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
    assert!(cluster.leaders().contains(&to));
    // A lease is a matter of one ballot.
    cluster.heal();
    cluster.run_for_ms(T);
    assert_eq!(cluster.leaders(), [to]);
    assert!(is_served_at_once(&mut cluster, to, 4));
}

// tests [P35]
#[test]
fn who_declines_a_call_does_not_give_the_lease_back() {
    let (mut cluster, leader) = led(3);
    let to = cluster.others(leader)[0];
    cluster.handle(to, Event::Priority(Priority::Never));
    cluster.handle(leader, Event::Transfer { to: Some(to) });
    cluster.run_for_ms(T);
    assert_eq!(cluster.leaders(), [leader]);
    assert!(!is_served_at_once(&mut cluster, leader, 1));
}

// tests [P35]
#[test]
fn who_resigns_lets_everybody_go() {
    let (mut cluster, leader) = led(3);
    let [voter, rival] = cluster.others(leader)[..] else { panic!() };
    let ballot = promised(&cluster, leader);
    let earlier = Ballot { round: ballot.round - 1, node: leader };
    if earlier.round > 0 {
        cluster.deliver(Envelope { from: leader, to: voter, message: Message::Resigned { ballot: earlier } });
        assert!(!is_promised(&mut cluster, rival, voter, None), "it may lead another since");
    }
    cluster.deliver(Envelope { from: leader, to: voter, message: Message::Resigned { ballot } });
    assert!(is_promised(&mut cluster, rival, voter, None));
}

// tests [P36]
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

// tests [P32]
#[test]
fn leases_that_would_bind_nobody_are_refused() {
    let members = Members::of([n(1)]);
    let refused = |config: Config| config.validate(&members).unwrap_err();
    for drift in [0, 500_001, u32::MAX] {
        let error = refused(Config { lease_drift_ppm: Some(drift), ..Config::default() });
        assert_eq!(error.field, "lease_drift_ppm");
    }
    assert_eq!(config().validate(&members), Ok(()));
    let longest = Config { election_timeout_ms: 1 << 32, lease_drift_ppm: Some(1), ..Config::default() };
    assert_eq!(longest.validate(&members), Ok(()));
}

// tests [P32] [P33]
#[test]
fn a_leader_cut_off_never_answers_once_another_may_lead() {
    // The leader's clock is the slowest allowed, the others' the fastest.
    let (mut cluster, leader) = led(3);
    let (slow, fast) = (1_000_000 - u64::from(DRIFT_PPM), 1_000_000 + u64::from(DRIFT_PPM));
    cluster.isolate(leader);
    let began = cluster.now;
    let at = |micros: u64, rate: u64| began + Duration::from_nanos(micros * rate / 1_000);
    for (read, micros) in (1..).zip((0..2 * T * 1_000).step_by(100)) {
        for id in cluster.others(leader) {
            cluster.now = at(micros, fast);
            cluster.handle(id, Event::Tick);
        }
        cluster.settle();
        let is_replaced =
            cluster.others(leader).iter().any(|id| cluster.nodes[id].status().role == Role::Leader);
        cluster.now = at(micros, slow);
        let served = is_served_at_once(&mut cluster, leader, read);
        assert!(!(served && is_replaced), "stale after {micros} us");
        cluster.wire.clear();
        if is_replaced {
            return;
        }
    }
    panic!("nobody was promised a ballot");
}
