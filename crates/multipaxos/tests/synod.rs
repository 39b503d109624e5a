//! Single-decree Paxos: one test per clause of `spec.md`, S1 to S11.

use crate::common::{self, Cluster, Envelope, n, proposal};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, Event, Members, Node, NodeConfig, NodeError, NodeId, Offence, Refusal, Slot, Storage, Time,
    WriteSeq,
};
use multipaxos::synod::{Acceptor, Answer, Config, Learner, Message, Proposer, Record, Value, Vote};
use multipaxos::{Ballot, Sizes, Synod};
use std::time::Duration;

const fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round, node: NodeId(node) }
}

fn value(text: &'static str) -> Value {
    Value { id: proposal(text.len() as u64), payload: Bytes::from_static(text.as_bytes()) }
}

fn vote(round: u64, node: u64, text: &'static str) -> Vote<Value> {
    Vote { ballot: ballot(round, node), value: value(text) }
}

fn group(size: u64, hold: bool) -> Cluster<Synod> {
    Cluster::with(size, Config::default(), hold, 1)
}

/// What node 1 says to that.
fn hear(cluster: &mut Cluster<Synod>, from: u64, message: Message) -> Vec<Message> {
    cluster.wire.clear();
    cluster.deliver(Envelope { from: n(from), to: n(1), message });
    said(cluster)
}

fn said(cluster: &mut Cluster<Synod>) -> Vec<Message> {
    cluster.wire.drain(..).map(|envelope| envelope.message).collect()
}

/// Node 1 of so many, alone with what the test tells it.
fn alone(size: u64, hold: bool) -> Cluster<Synod> {
    let mut cluster = group(size, hold);
    (2..=size).for_each(|id| cluster.crash(n(id)));
    cluster
}

fn restart(cluster: &mut Cluster<Synod>) {
    cluster.wire.clear();
    cluster.crash(n(1));
    cluster.start(n(1));
}

/// What node 1 says when so much time has passed.
fn wait(cluster: &mut Cluster<Synod>, ms: u64) -> Vec<Message> {
    cluster.wire.clear();
    cluster.now += Duration::from_millis(ms);
    cluster.handle(n(1), Event::Tick);
    said(cluster)
}

// tests [S1]
#[test]
fn a_ballot_is_durable_before_anybody_hears_of_it_and_never_led_again() {
    let mut cluster = alone(3, true);
    cluster.propose(n(1), 1, b"a");
    assert_eq!(said(&mut cluster), [], "the ballot is not on disk");
    cluster.sync(n(1));
    assert_eq!(said(&mut cluster), [Message::Prepare(ballot(1, 1)), Message::Prepare(ballot(1, 1))]);
    restart(&mut cluster);
    wait(&mut cluster, 150);
    cluster.sync(n(1));
    assert_eq!(said(&mut cluster)[0], Message::Prepare(ballot(2, 1)), "a crash does not bring a ballot back");
}

// tests [S2]
#[test]
fn a_promise_is_durable_and_tells_what_was_accepted() {
    let mut cluster = alone(3, true);
    assert_eq!(hear(&mut cluster, 2, Message::Prepare(ballot(2, 2))), [], "it is not on disk");
    cluster.sync(n(1));
    assert_eq!(said(&mut cluster), [Message::Promise { ballot: ballot(2, 2), vote: None }]);
    assert_eq!(hear(&mut cluster, 3, Message::Prepare(ballot(1, 3))), [Message::Preempted(ballot(2, 2))]);
    restart(&mut cluster);
    assert_eq!(hear(&mut cluster, 3, Message::Prepare(ballot(1, 3))), [Message::Preempted(ballot(2, 2))]);
    hear(&mut cluster, 2, Message::Accept(vote(2, 2, "a")));
    cluster.sync(n(1));
    hear(&mut cluster, 3, Message::Prepare(ballot(2, 3)));
    cluster.sync(n(1));
    let told = Message::Promise { ballot: ballot(2, 3), vote: Some(vote(2, 2, "a")) };
    assert!(said(&mut cluster).contains(&told), "the node decides who comes first in a round");
    assert_eq!(hear(&mut cluster, 3, Message::Prepare(ballot(2, 3))), [told], "it may be told again");
}

// tests [S3]
#[test]
fn accepting_promises_too() {
    let mut cluster = alone(3, true);
    assert_eq!(hear(&mut cluster, 3, Message::Accept(vote(5, 3, "a"))), [], "it is not on disk");
    cluster.sync(n(1));
    assert_eq!(said(&mut cluster), [Message::Accepted(vote(5, 3, "a")), Message::Accepted(vote(5, 3, "a"))]);
    // It has promised nothing to anybody, and is bound by what it accepted.
    let refused = [Message::Preempted(ballot(5, 3))];
    assert_eq!(hear(&mut cluster, 2, Message::Accept(vote(4, 2, "b"))), refused);
    assert_eq!(hear(&mut cluster, 2, Message::Prepare(ballot(4, 2))), refused);
    restart(&mut cluster);
    hear(&mut cluster, 2, Message::Accept(vote(4, 2, "b")));
    assert_eq!(cluster.nodes[&n(1)].algorithm().vote(), Some(&vote(5, 3, "a")));
}

/// Brooker (2021): read literally, *Paxos Made Simple* chooses two values on this schedule.
// tests [S3]
#[test]
fn an_acceptor_that_skipped_phase_one_is_bound_all_the_same() {
    let mut acceptors = [(); 3].map(|()| Acceptor::default());
    let [low, high] = [ballot(1, 1), ballot(2, 2)];
    assert_eq!(acceptors.each_mut().map(|a| a.prepare(low)), [Answer::Fresh; 3]);
    // Ballot 2 is promised by the first two, and accepted by the last two.
    acceptors[0].prepare(high);
    acceptors[1].prepare(high);
    acceptors[1].accept(high, "b");
    acceptors[2].accept(high, "b");
    // Ballot 1 comes late. The third has promised ballot 2 to nobody.
    assert_eq!(acceptors[2].accept(low, "a"), Answer::Refused(high));
}

// tests [S4]
#[test]
fn promises_count_once_and_for_their_ballot() {
    let mut cluster = alone(5, true);
    cluster.propose(n(1), 1, b"own");
    cluster.sync(n(1));
    let promise = |round| Message::Promise { ballot: ballot(round, 1), vote: None };
    for (from, message) in
        [(2, promise(1)), (2, promise(1)), (3, promise(2)), (4, Message::Preempted(ballot(1, 1)))]
    {
        assert_eq!(hear(&mut cluster, from, message), []);
    }
    let asked = hear(&mut cluster, 5, promise(1));
    assert_eq!(asked.len(), 4, "two and itself: phase 2 begins");
    // Our own promise counts when it is on disk, and not before.
    let mut proposer = Proposer::<u8>::new(ballot(1, 1));
    proposer.on_promise(n(2), ballot(1, 1), None);
    assert_eq!(proposer.propose(&[n(1), n(2), n(3)], 2, Some(&7)), None);
    proposer.on_promise(n(9), ballot(1, 1), None);
    assert_eq!(proposer.propose(&[n(1), n(2), n(3)], 2, Some(&7)), None, "a stranger has no vote");
    proposer.on_promise(n(1), ballot(1, 1), None);
    assert_eq!(proposer.propose(&[n(1), n(2), n(3)], 2, Some(&7)), Some(7));
}

// tests [S5]
#[test]
fn the_value_of_the_highest_ballot_is_proposed() {
    let mut cluster = alone(5, false);
    cluster.propose(n(1), 1, b"own");
    let promise = |vote| Message::Promise { ballot: ballot(9, 1), vote: Some(vote) };
    hear(&mut cluster, 2, Message::Preempted(ballot(8, 2)));
    cluster.run_for_ms(200);
    // Neither the larger value, nor the last that is told of, nor its own.
    hear(&mut cluster, 2, promise(vote(2, 3, "3")));
    let asked = hear(&mut cluster, 3, promise(vote(1, 2, "999")));
    assert_eq!(asked[0], Message::Accept(Vote { ballot: ballot(9, 1), value: value("3") }));
    // One value per ballot, whatever is told later.
    assert_eq!(hear(&mut cluster, 4, promise(vote(7, 2, "late"))), []);
}

// tests [S6]
#[test]
fn a_choice_takes_a_quorum_in_one_ballot() {
    let mut learner = Learner::default();
    let told = |learner: &mut Learner<_>, from, vote| learner.on_accepted(n(from), vote, 3);
    assert_eq!(told(&mut learner, 1, vote(1, 1, "a")), None);
    assert_eq!(told(&mut learner, 2, vote(1, 1, "a")), None);
    assert_eq!(told(&mut learner, 2, vote(1, 1, "a")), None, "once each");
    assert_eq!(told(&mut learner, 3, vote(2, 2, "a")), None, "the same value in another ballot");
    assert_eq!(told(&mut learner, 1, vote(2, 2, "a")), None);
    assert_eq!(told(&mut learner, 4, vote(1, 1, "a")), None, "of 1, the vote in ballot 2 is known");
    assert_eq!(told(&mut learner, 2, vote(2, 2, "a")), Some(value("a")));
}

// tests [S6]
#[test]
fn the_own_acceptance_counts_when_it_is_durable() {
    let mut cluster = alone(3, true);
    hear(&mut cluster, 2, Message::Accept(vote(1, 2, "a")));
    hear(&mut cluster, 2, Message::Accepted(vote(1, 2, "a")));
    assert_eq!(cluster.nodes[&n(1)].status().decided, Slot(0), "one of three, and one that may be forgotten");
    cluster.sync(n(1));
    assert_eq!(cluster.nodes[&n(1)].status().decided, Slot(1));
    cluster.sync(n(1));
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"a"))]);
}

// tests [S7]
#[test]
fn whoever_is_overtaken_waits_and_goes_higher() {
    for seed in 0..20 {
        let mut cluster = Cluster::<Synod>::with(3, Config::default(), false, seed);
        (2..=3).for_each(|id| cluster.crash(n(id)));
        cluster.propose(n(1), 1, b"a");
        hear(&mut cluster, 2, Message::Preempted(ballot(6, 2)));
        assert_eq!(
            cluster.nodes[&n(1)].algorithm().promised(),
            ballot(1, 1),
            "it promised nothing to node 2"
        );
        assert_eq!(wait(&mut cluster, 49), [], "not before the shortest wait");
        assert_eq!(wait(&mut cluster, 101)[0], Message::Prepare(ballot(7, 1)));
    }
    // All begin at once, and one of them gets through.
    for seed in 0..50 {
        let mut cluster = Cluster::<Synod>::with(5, Config::default(), false, seed);
        for id in 1..=5 {
            cluster.propose(n(id), id, b"x");
        }
        cluster.run_for_ms(1_000);
        assert!((1..=5).all(|id| cluster.diary(n(id)).len() == 1), "seed {seed}");
    }
}

// tests [S8]
#[test]
fn the_choice_is_told_to_whoever_asks() {
    let mut cluster = group(3, false);
    cluster.isolate(n(3));
    cluster.propose(n(1), 1, b"a");
    cluster.settle();
    assert_eq!((cluster.diary(n(1)).len(), cluster.diary(n(3)).len()), (1, 0));
    for message in [Message::Prepare(ballot(9, 2)), Message::Accept(vote(9, 2, "b")), Message::Learn] {
        let [Message::Chosen(chosen)] = &hear(&mut cluster, 2, message)[..] else { panic!() };
        assert_eq!(chosen.payload, "a");
    }
    // Who wants something else is told too.
    cluster.heal();
    cluster.propose(n(3), 9, b"something else");
    cluster.settle();
    assert_eq!(cluster.diary(n(3)), [(1, Bytes::from_static(b"a"))]);
    cluster.propose(n(3), 10, b"late");
    assert_eq!(cluster.refusals(n(3)), [(10, Refusal::Busy)]);
}

// tests [S8]
#[test]
fn who_has_heard_of_anything_wants_to_know_the_end() {
    let mut cluster = group(3, false);
    cluster.propose(n(1), 1, b"a");
    // All hear of the ballot; then the node that leads it is gone, and one acceptor has accepted.
    let accept = Message::Accept(Vote { ballot: ballot(1, 1), value: value("a") });
    cluster.settle();
    let mut cluster = group(3, false);
    cluster.deliver(Envelope { from: n(1), to: n(2), message: Message::Prepare(ballot(1, 1)) });
    cluster.deliver(Envelope { from: n(1), to: n(2), message: accept });
    cluster.deliver(Envelope { from: n(1), to: n(3), message: Message::Prepare(ballot(1, 1)) });
    cluster.crash(n(1));
    cluster.wire.clear();
    cluster.run_for_ms(2_000);
    assert_eq!(cluster.diary(n(3)), [(1, Bytes::from_static(b"a"))], "the acceptor led a ballot for it");
}

// tests [S9]
#[test]
fn a_restart_goes_on_where_it_was() {
    let mut cluster = alone(3, false);
    cluster.propose(n(1), 1, b"a");
    restart(&mut cluster);
    assert_eq!(wait(&mut cluster, 150)[0], Message::Prepare(ballot(2, 1)), "the proposal goes on");
    hear(&mut cluster, 2, Message::Chosen(value("b")));
    restart(&mut cluster);
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"b"))]);
    assert_eq!(cluster.next_deadline(), None);
}

// tests [S9]
#[test]
fn records_that_contradict_each_other_keep_a_node_from_starting() {
    let chosen = || Record::Chosen(value("a"));
    for records in [
        vec![Record::Promised(ballot(2, 1)), Record::Promised(ballot(1, 1))],
        vec![Record::Promised(ballot(2, 1)), Record::Accepted(vote(1, 2, "a"))],
        vec![chosen(), chosen()],
    ] {
        let mut storage = MemoryStorage::default();
        for (seq, record) in (1..).map(WriteSeq).zip(records) {
            storage.append(seq, record);
        }
        let config = NodeConfig::<Synod>::new(n(1), Members::of([n(1)]), 1);
        let machine = common::Diary::default();
        let opened = Node::open(config, Time::ZERO, Outbox::default(), storage.crash(), machine);
        assert!(matches!(opened.map(|_| ()), Err(NodeError::Restore(_))));
    }
}

// tests [S10]
#[test]
fn few_acceptances_suffice_where_many_promises_are_asked_for() {
    let quorums = Some(Sizes { promises: 4, acceptances: 2 });
    let mut cluster = Cluster::<Synod>::with(5, Config { quorums, ..Config::default() }, false, 1);
    cluster.crash(n(4));
    cluster.crash(n(5));
    cluster.propose(n(1), 1, b"a");
    cluster.run_for_ms(500);
    assert_eq!(cluster.diary(n(1)), [], "three promises are too few");
    cluster.start(n(4));
    cluster.run_for_ms(2_000);
    assert!((1..=4).all(|id| cluster.diary(n(id)).len() == 1));
    let config = Config { quorums: Some(Sizes { promises: 3, acceptances: 2 }), ..Config::default() };
    let mut node = NodeConfig::<Synod>::new(n(1), cluster.members.clone(), 1);
    node.algorithm = config;
    let disk = MemoryStorage::default();
    let opened = Node::open(node, Time::ZERO, Outbox::default(), disk, common::Diary::default());
    assert!(matches!(opened.map(|_| ()), Err(NodeError::Config(error)) if error.field == "quorums"));
}

// tests [S11]
#[test]
fn impostors_and_liars_are_accused_and_ignored() {
    let mut cluster = alone(3, false);
    hear(&mut cluster, 2, Message::Accept(vote(3, 2, "a")));
    let before = (cluster.nodes[&n(1)].algorithm().promised(), vote(3, 2, "a"));
    let lies = [
        (1, Message::Prepare(ballot(9, 1))),
        (7, Message::Prepare(ballot(9, 7))),
        (2, Message::Prepare(ballot(9, 3))),
        (2, Message::Accept(vote(9, 3, "b"))),
        (2, Message::Accept(vote(3, 2, "b"))),
        (2, Message::Prepare(ballot(u64::MAX, 2))),
        (2, Message::Prepare(ballot(0, 2))),
        (3, Message::Promise { ballot: ballot(1, 1), vote: Some(vote(2, 2, "b")) }),
    ];
    let count = lies.len();
    for (from, lie) in lies {
        assert_eq!(hear(&mut cluster, from, lie), []);
    }
    assert_eq!(cluster.accusations.len(), count);
    let equivocates = |offence: &Offence| matches!(offence, Offence::Equivocation(_));
    assert_eq!(cluster.accusations.iter().filter(|(_, _, offence)| equivocates(offence)).count(), 1);
    let node = cluster.nodes[&n(1)].algorithm();
    assert_eq!((node.promised(), node.vote().unwrap()), (before.0, &before.1));
    // What is chosen does not depend on who has no vote.
    let mut cluster = Cluster::<Synod>::of(
        Members::of([n(1), n(2), n(3)]).with_learners([n(4)]),
        Config::default(),
        false,
        1,
    );
    cluster.deliver(Envelope { from: n(4), to: n(1), message: Message::Accepted(vote(1, 2, "a")) });
    cluster.deliver(Envelope { from: n(2), to: n(1), message: Message::Accepted(vote(1, 2, "a")) });
    assert_eq!(cluster.nodes[&n(1)].status().decided, Slot(0));
    cluster.handle(n(4), Event::Propose { id: proposal(1), payload: Bytes::from_static(b"x") });
    cluster.run_for_ms(500);
    assert_eq!(cluster.nodes[&n(4)].status().decided, Slot(0), "a learner leads no ballot");
}
