//! What no correct node says, one lie at a time: P21 and P31. All at once they are in `hostile.rs`.

use crate::alone::{Alone, accept, accepted, ballot, heartbeat, prepare, promise, unhappy, values, votes};
use crate::common::{Cluster, Envelope, n};
use consensus_core::{ConsensusAlgorithm, Event, NodeId, Offence, Priority, Role, Slot};
use multipaxos::{Ballot, Config, Learn, Message, MultiPaxos, Preempted, Promise, Value, Values};

/// The last round that anybody leads.
const LAST_ROUND: u64 = 1 << 46;
const JUMP: u64 = 1 << 32;

const FAR: Offence = Offence::Impossible("its ballot is far in the future");

/// Three nodes, of which one leads; a liar, and another.
fn group() -> (Cluster<MultiPaxos>, NodeId, NodeId, NodeId) {
    let mut cluster = Cluster::<MultiPaxos>::new(3);
    let leader = cluster.elect();
    let [liar, other] = cluster.others(leader)[..] else { panic!() };
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    cluster.wire.clear();
    (cluster, leader, liar, other)
}

fn tell(cluster: &mut Cluster<MultiPaxos>, from: NodeId, to: NodeId, message: Message) {
    cluster.deliver(Envelope { from, to, message });
}

fn promised(cluster: &Cluster<MultiPaxos>, id: NodeId) -> u64 {
    cluster.nodes[&id].algorithm().promised().round
}

fn preempted(ballot: Ballot) -> Message {
    Message::Preempted(Preempted { configuration: 1, ballot, chosen: Slot::ZERO })
}

fn serves(cluster: &mut Cluster<MultiPaxos>) -> bool {
    cluster.settle();
    cluster.run_for_ms(10_000);
    let [leader] = cluster.leaders()[..] else { return false };
    let before = cluster.diary(leader).len();
    cluster.propose(leader, 77, b"served");
    cluster.run_for_ms(200);
    cluster.diary(leader).len() > before
}

// tests [P21]
#[test]
fn a_ballot_from_the_far_future_is_not_believed_and_its_sender_is_named() {
    let (mut cluster, leader, liar, other) = group();
    let far = ballot(JUMP + 100, liar.0);
    for to in [leader, other] {
        for lie in [prepare(far, 1), accept(far, 9, 0, &["a"]), heartbeat(far, 9, 0, 1)] {
            tell(&mut cluster, liar, to, lie);
        }
    }
    assert!(promised(&cluster, other) < 100 && cluster.leaders() == [leader]);
    assert_eq!(cluster.accusations.len(), 6);
    assert!(cluster.accusations.iter().all(|(_, peer, offence)| *peer == liar && *offence == FAR));
    assert!(serves(&mut cluster));
}

// tests [P21]
#[test]
fn answers_with_a_far_ballot_move_a_node_by_a_step() {
    for lie in [preempted(ballot(LAST_ROUND, 9)), Message::Tell(unhappy(0, ballot(LAST_ROUND, 9), 0))] {
        let (mut cluster, leader, liar, other) = group();
        for to in [leader, other] {
            tell(&mut cluster, liar, to, lie.clone());
        }
        assert_eq!(cluster.accusations.len(), 2);
        assert!(cluster.accusations.iter().all(|(_, peer, offence)| *peer == liar && *offence == FAR));
        cluster.crash(leader);
        assert!(serves(&mut cluster));
        let round = promised(&cluster, other);
        assert!((JUMP..2 * JUMP).contains(&round), "{round}");
    }
}

// tests [P21]
#[test]
fn members_who_were_told_different_lies_meet_again() {
    let (mut cluster, leader, liar, other) = group();
    cluster.crash(liar);
    // Each is believed, and one more makes a step that nobody else would believe at once.
    for steps in 1..=3 {
        tell(&mut cluster, liar, other, heartbeat(ballot(steps * JUMP, liar.0), 1, 0, 1));
    }
    assert_eq!(promised(&cluster, other), 3 * JUMP);
    assert!(serves(&mut cluster));
    assert!(promised(&cluster, leader) > 3 * JUMP);
}

// tests [P21]
#[test]
fn who_knows_no_ballot_believes_one_that_leaves_room_for_more() {
    let mut alone = Alone::new(3, false);
    assert_eq!(alone.hear(2, prepare(ballot(LAST_ROUND / 2 + 1, 2), 1)), []);
    assert_eq!((alone.node().promised(), alone.cluster.accusations.len()), (Ballot::ZERO, 1));
    // An old group takes newcomers in.
    alone.hear(2, prepare(ballot(LAST_ROUND / 2, 2), 1));
    assert_eq!(alone.node().promised(), ballot(LAST_ROUND / 2, 2));
}

// tests [P21]
#[test]
fn nobody_leads_beyond_the_last_ballot() {
    let mut alone = Alone::new(3, false);
    let mut told = LAST_ROUND / 2;
    while told < LAST_ROUND {
        alone.hear(2, heartbeat(ballot(told, 2), 1, 0, 1));
        told = (told + JUMP).min(LAST_ROUND);
    }
    alone.hear(2, heartbeat(ballot(LAST_ROUND, 2), 1, 0, 1));
    assert_eq!((alone.node().promised().round, alone.cluster.accusations.len()), (LAST_ROUND, 0));
    let call = Message::Call { ballot: ballot(LAST_ROUND, 2) };
    assert_eq!(alone.hear(2, call), [Message::Declined { ballot: ballot(LAST_ROUND, 2) }]);
    for _ in 0..100 {
        assert_eq!(alone.wait(100), []);
    }
    assert_eq!(alone.role(), Role::Follower);
}

// tests [P31]
#[test]
fn what_is_malformed_is_refused_at_the_door() {
    let own = ballot(3, 2);
    let page = |ballot, votes, next| {
        Message::Promise(Box::new(Promise { ballot, from: Slot(1), chosen: Slot(4), votes, next }))
    };
    let lies = [
        prepare(ballot(3, 3), 1),
        prepare(ballot(0, 2), 1),
        prepare(ballot(LAST_ROUND + 1, 2), 1),
        prepare(own, 0),
        prepare(own, u64::MAX),
        accept(own, 0, 0, &["a"]),
        accept(own, 1, 0, &[]),
        accept(own, u64::MAX, 0, &["a"]),
        accept(ballot(3, 9), 1, 0, &["a"]),
        heartbeat(own, 0, 0, 1),
        heartbeat(own, 1, u64::MAX, 1),
        accepted(own, 5, 3, 0, 1),
        accepted(own, 0, 3, 0, 1),
        accepted(own, 1, u64::MAX, 0, 1),
        // Of slots that are chosen nothing is told, nor of votes in the ballot that is promised, nor of any twice.
        page(own, vec![votes(4, ballot(1, 1), &["a"])], None),
        page(own, vec![votes(5, own, &["a"])], None),
        page(own, vec![votes(5, ballot(9, 9), &["a"])], None),
        page(own, vec![votes(5, ballot(1, 1), &["a", "b"]), votes(6, ballot(1, 1), &["b"])], None),
        page(own, vec![votes(5, ballot(1, 1), &[])], None),
        page(own, vec![votes(u64::MAX, ballot(1, 1), &["a"])], None),
        // A page leads on to what follows it.
        page(own, vec![votes(5, ballot(1, 1), &["a"])], Some(Slot(5))),
        page(own, Vec::new(), Some(Slot(5))),
        Message::Resigned { ballot: ballot(3, 3) },
        Message::Call { ballot: ballot(3, 3) },
        Message::Declined { ballot: Ballot::ZERO },
        Message::Learn(Learn { first: Slot(0), last: Slot(1), piece: None }),
        Message::Learnt(multipaxos::Learnt { first: Slot(1), chosen: Slot(1), values: values(&["a", "b"]) }),
        Message::Tell(unhappy(1, Ballot::ZERO, u64::MAX)),
    ];
    let mut alone = Alone::new(3, false);
    for (number, lie) in lies.into_iter().enumerate() {
        assert!(MultiPaxos::screen(&Config::default(), n(2), &lie).is_err(), "{lie:?}");
        assert_eq!(alone.hear(2, lie.clone()), [], "{lie:?}");
        assert_eq!(alone.cluster.accusations.len(), number + 1, "{lie:?}");
    }
    assert!(alone.cluster.accusations.iter().all(|(_, peer, _)| *peer == n(2)));
    assert_eq!((alone.node().promised(), alone.node().last()), (Ballot::ZERO, Slot::ZERO));
    // A stop-sign as far as numbers go.
    let next = alone.node().configuration().clone();
    let stop: Values = [Value::Stop(Box::new(next))].into_iter().collect();
    let Message::Accept(mut last) = accept(own, u64::MAX, 0, &["a"]) else { panic!() };
    last.values = stop;
    assert!(Message::Accept(last).check(n(2)).is_err());
    // Nobody speaks for us, nor is anybody zero.
    alone.hear(1, accept(ballot(3, 1), 1, 0, &["a"]));
    alone.hear(0, Message::Ask(multipaxos::Ask { round: 1 }));
    assert!(alone.cluster.accusations.iter().skip(28).all(|(_, _, offence)| *offence == Offence::Stranger));
    assert_eq!(alone.cluster.accusations.len(), 30);
}

// tests [P31] [S4]
#[test]
fn promises_count_once_each_and_of_voters_alone() {
    let mut alone = Alone::new(5, false);
    let own = alone.candidate(ballot(5, 2));
    let bare = || promise(own, 1, 0, Vec::new());
    for (from, message) in [
        (2, bare()),
        (2, bare()),
        (9, bare()),
        (3, promise(ballot(own.round - 1, 1), 1, 0, Vec::new())),
        (3, promise(ballot(own.round + 1, 1), 1, 0, Vec::new())),
        (3, promise(own, 2, 0, Vec::new())),
        (4, preempted(own)),
    ] {
        alone.hear(from, message);
        assert_eq!(alone.role(), Role::Candidate);
    }
    alone.hear(3, bare());
    assert_eq!(alone.role(), Role::Leader);
    // Once it leads, nothing that is promised changes what it proposes.
    let before = alone.node().last();
    alone.hear(4, promise(own, 1, 0, vec![votes(1, ballot(4, 2), &["late"])]));
    assert_eq!(alone.node().last(), before);
}

// tests [P31]
#[test]
fn acceptances_of_nothing_and_echoes_of_nothing_are_named() {
    let mut alone = Alone::new(3, false);
    let own = alone.lead();
    alone.propose(1, b"a");
    alone.hear(2, accepted(own, 1, 2, 0, 0));
    alone.hear(3, accepted(own, 1, 1, 0, 99));
    assert_eq!(alone.decided(), 0);
    let named: Vec<_> =
        alone.cluster.accusations.iter().map(|(_, peer, offence)| (peer.0, offence.clone())).collect();
    assert_eq!(
        named,
        [
            (2, Offence::Impossible("it accepted what was never proposed")),
            (3, Offence::Impossible("it echoes a probe that was never sent")),
        ]
    );
    // A stranger's answer counts for nothing.
    alone.hear(9, accepted(own, 1, 1, 0, 1));
    assert_eq!(alone.decided(), 0);
}

// tests [P31]
#[test]
fn strangers_overtake_veto_and_lead_nobody() {
    let (mut cluster, leader, follower, _) = group();
    let before = cluster.nodes[&follower].status();
    let stranger = n(77);
    let next = ballot(promised(&cluster, leader) + 1, 77);
    for message in [
        preempted(next),
        Message::Tell(unhappy(0, next, 0)),
        Message::Declined { ballot: next },
        Message::Resigned { ballot: next },
        Message::Call { ballot: next },
        prepare(next, 1),
        accept(next, 2, 0, &["a"]),
        heartbeat(next, 2, 0, 1),
        accepted(cluster.nodes[&leader].algorithm().promised(), 1, 1, 1, 1),
        promise(next, 1, 0, Vec::new()),
    ] {
        for to in [leader, follower] {
            tell(&mut cluster, stranger, to, message.clone());
        }
    }
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.nodes[&follower].status()), (vec![leader], before));
    let offence = Offence::Impossible("it leads without a vote");
    let named = |(_, peer, what): &(NodeId, NodeId, Offence)| *peer == stranger && *what == offence;
    assert_eq!(cluster.accusations.iter().filter(|accusation| named(accusation)).count(), 6);
    cluster.crash(leader);
    assert!(serves(&mut cluster));
}

/// Whoever tells of votes that nobody can have cast would make a new leader fill a hole without end.
// tests [P31]
#[test]
fn a_hole_that_no_leader_leaves_is_not_filled_and_who_told_of_it_is_named() {
    let mut alone = Alone::new(3, false);
    let own = alone.candidate(ballot(5, 2));
    alone.hear(2, promise(own, 1, 0, vec![votes(1 << 40, ballot(1, 2), &["far"])]));
    assert_eq!((alone.role(), alone.node().last()), (Role::Follower, Slot::ZERO));
    let offence = Offence::Impossible("it accepted what nobody can have proposed");
    assert_eq!(alone.cluster.accusations, [(n(1), n(2), offence)]);
    // Another ballot comes to something, as soon as somebody else promises first.
    let own = alone.candidate(ballot(5, 2));
    alone.hear(3, promise(own, 1, 0, Vec::new()));
    assert_eq!(alone.role(), Role::Leader);
}

// tests [P31] [P13]
#[test]
fn a_mark_that_nobody_can_tell_the_slots_of_does_not_hold_a_group_up() {
    let (mut cluster, leader, liar, _) = group();
    cluster.crash(leader);
    cluster.handle(liar, Event::Priority(Priority::Never));
    // The liar promises, and claims that a great deal is chosen.
    let mut candidate = None;
    while candidate.is_none() {
        let (at, id) = cluster.next_deadline().unwrap();
        cluster.now = cluster.now.max(at);
        cluster.handle(id, Event::Tick);
        while let Some(envelope) = cluster.wire.pop_front() {
            let Envelope { from, to, message } = envelope.clone();
            if let Message::Prepare(asked) = message
                && to == liar
            {
                candidate = Some(from);
                tell(&mut cluster, liar, from, promise(asked.ballot, asked.from.0, 1 << 30, Vec::new()));
            } else {
                cluster.deliver(envelope);
            }
        }
    }
    cluster.start(leader);
    assert!(serves(&mut cluster));
}
