//! Learning from others what was chosen: P13 and P14.

use crate::alone::{Alone, accept, accepted, ballot, learnt, promise, unhappy, values, votes};
use crate::common::{Cluster, Envelope, n};
use consensus_core::{Event, Refusal, Role, Slot};
use multipaxos::{Ballot, Config, Learn, Message, MultiPaxos};
use std::time::Duration;

/// What it asks for, and of whom.
fn questions(alone: &mut Alone) -> Vec<(u64, u64, u64)> {
    let of = |envelope: &Envelope<Message>| {
        let Message::Learn(Learn { first, last, piece: None }) = envelope.message else { return None };
        Some((envelope.to.0, first.0, last.0))
    };
    alone.cluster.wire.iter().filter_map(of).collect()
}

fn pages_of_two() -> Config {
    Config { max_accept_values: 2, max_questions: 2, ..Config::default() }
}

fn tell(chosen: u64) -> Message {
    Message::Tell(unhappy(0, Ballot::ZERO, chosen))
}

// tests [P14]
#[test]
fn who_lacks_something_asks_several_at_once_and_keeps_what_comes() {
    let mut alone = Alone::with(3, pages_of_two(), false);
    alone.cluster.deliver(Envelope { from: n(2), to: n(1), message: tell(9) });
    assert_eq!(questions(&mut alone), [(2, 1, 2), (2, 3, 4)]);
    alone.hear(2, tell(9));
    alone.hear(3, tell(9));
    // In whatever order, and no more than was asked for; what comes early waits.
    alone.cluster.wire.clear();
    alone.cluster.deliver(Envelope { from: n(2), to: n(1), message: learnt(3, 9, &["c", "d", "x", "y"]) });
    assert_eq!((alone.decided(), alone.node().last()), (0, Slot(0)));
    assert_eq!(questions(&mut alone), [(3, 5, 6)], "whoever knows it is asked in turn");
    alone.hear(2, learnt(1, 9, &["a", "b"]));
    assert_eq!(alone.lines(), [(1, &b"a"[..]), (2, b"b"), (3, b"c"), (4, b"d")]);
    // What nobody asked for, or of somebody else, is no answer.
    alone.hear(2, learnt(5, 9, &["z"]));
    alone.hear(3, learnt(6, 9, &["z"]));
    assert_eq!((alone.decided(), alone.node().last()), (4, Slot(4)));
    // It is written down.
    alone.restart();
    assert_eq!(alone.decided(), 4);
}

// tests [P14]
#[test]
fn what_stays_unanswered_is_asked_of_somebody_else() {
    let mut alone = Alone::with(3, pages_of_two(), false);
    alone.hear(2, tell(2));
    alone.hear(3, tell(2));
    let asked = |alone: &mut Alone| questions(alone).iter().map(|(of, ..)| *of).collect::<Vec<_>>();
    let mut all = Vec::new();
    for _ in 0..6 {
        alone.cluster.wire.clear();
        alone.cluster.now += Duration::from_millis(200);
        alone.cluster.handle(n(1), Event::Tick);
        all.extend(asked(&mut alone));
    }
    assert!(all.contains(&2) && all.contains(&3), "{all:?}");
    // Who knows less than it said is asked no more; and part of an answer is asked for on.
    let mut alone = Alone::with(3, pages_of_two(), false);
    alone.hear(2, tell(2));
    alone.hear(2, learnt(1, 0, &[]));
    assert_eq!(asked(&mut alone), []);
    alone.cluster.deliver(Envelope { from: n(3), to: n(1), message: tell(2) });
    assert_eq!(questions(&mut alone), [(3, 1, 2)]);
    alone.cluster.wire.clear();
    alone.cluster.deliver(Envelope { from: n(3), to: n(1), message: learnt(1, 2, &["a"]) });
    assert_eq!(questions(&mut alone), [(3, 2, 2)]);
}

// tests [P14]
#[test]
fn what_is_known_is_told_to_whoever_asks() {
    let mut alone = Alone::with(3, pages_of_two(), false);
    alone.hear(2, accept(ballot(1, 2), 1, 3, &["a", "b", "c", "d"]));
    let mut ask = |first, last| {
        alone.hear(3, Message::Learn(Learn { first: Slot(first), last: Slot(last), piece: None }))
    };
    assert_eq!(ask(1, 9), [learnt(1, 3, &["a", "b"])]);
    assert_eq!(ask(3, 9), [learnt(3, 3, &["c"])], "what is only accepted is not told");
    assert_eq!(ask(4, 9), [learnt(4, 3, &[])]);
    assert_eq!(ask(2, 1), [learnt(2, 3, &[])]);
    assert_eq!(ask(1 << 61, 1 << 62), [learnt(1 << 61, 3, &[])]);
}

// tests [P14] [P9]
#[test]
fn who_was_away_for_long_catches_up_while_it_accepts_what_is_new() {
    let config =
        Config { max_accept_values: 4, max_ahead_values: 64, max_open_values: 8, ..Config::default() };
    let mut cluster = Cluster::<MultiPaxos>::with(5, config, false, 1);
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    for number in 1..=300 {
        cluster.propose(leader, number, b"x");
        cluster.settle();
    }
    cluster.crash(leader);
    let leader = cluster.elect();
    cluster.start(away);
    cluster.run_for_ms(500);
    assert_eq!(cluster.diary(away).len(), 300, "of a leader in whose ballot none of it was proposed");
    cluster.propose(leader, 301, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(away).len(), 301);
}

/// The incident: one node told in phase 1 that a slot is chosen, and was gone before it told the value. The leader did not know it
/// and proposed nothing there; all who had accepted the value were with it, and none of them knew. It led on for ever, and chose
/// nothing.
// tests [P13]
#[test]
fn a_leader_that_nobody_tells_the_past_begins_anew() {
    let mut alone = Alone::new(3, false);
    alone.hear(3, accept(ballot(1, 3), 1, 0, &["a"]));
    let own = alone.candidate(Ballot::ZERO);
    alone.hear(2, promise(own, 1, 1, Vec::new()));
    assert_eq!(alone.role(), Role::Leader);
    // Node 2 is gone for good. Node 3 has forgotten what it knew, follows, and answers.
    alone.propose(1, b"b");
    for _ in 0..21 {
        alone.wait(100);
        alone.hear(3, accepted(own, 2, 2, 0, 1));
    }
    assert_eq!((alone.role(), alone.decided()), (Role::Follower, 0));
    assert_eq!(alone.cluster.refusals(n(1)), [(1, Refusal::Interrupted)]);
    // Those who accepted it tell of it now.
    let own = alone.candidate(Ballot::ZERO);
    alone.hear(3, promise(own, 1, 0, vec![votes(1, ballot(1, 3), &["a"])]));
    alone.hear(3, accepted(own, 1, 2, 0, 1));
    assert_eq!(alone.lines()[0], (1, &b"a"[..]));
}

// tests [P13]
#[test]
fn a_leader_that_is_told_the_past_bit_by_bit_leads_on() {
    let config = Config { max_accept_values: 1, max_questions: 1, ..Config::default() };
    let mut alone = Alone::with(3, config, false);
    let own = alone.candidate(Ballot::ZERO);
    alone.hear(2, promise(own, 1, 30, Vec::new()));
    for slot in 1..=30 {
        alone.wait(100);
        alone.wait(100);
        alone.hear(3, accepted(own, 31, 30, 0, 1));
        alone.hear(2, learnt(slot, 30, &["a"]));
        assert_eq!((alone.role(), alone.decided()), (Role::Leader, slot));
    }
}

/// Node 1 leads ballot (1, 1), which node 2 follows; a snapshot or values that a higher ballot chose among the other three reach
/// it. Slot 2 is "mine" in its ballot, as node 2 knows, and "theirs" is chosen there.
fn overtaken() -> Cluster<MultiPaxos> {
    let config = Config { retained_values: 0, ..Config::default() };
    let mut cluster = Cluster::<MultiPaxos>::with(5, config, false, 1);
    cluster.compact_after_bytes = 40;
    (1..=5).map(n).for_each(|id| cluster.crash(id));
    (1..=2).map(n).for_each(|id| cluster.start(id));
    // Node 2 was told by node 3 what slot 1 holds.
    for message in [tell(1), learnt(1, 1, &["first"])] {
        cluster.deliver(Envelope { from: n(3), to: n(2), message });
    }
    // Node 1 is led to ask, and promised a ballot; node 3 knows slot 1 to be chosen.
    let round = loop {
        let (at, id) = cluster.next_deadline().unwrap();
        cluster.now = at;
        cluster.handle(id, Event::Tick);
        let asked = cluster.wire.iter().find_map(|envelope| {
            let Message::Ask(ask) = envelope.message else { return None };
            (envelope.from == n(1) && envelope.to == n(3)).then_some(ask.round)
        });
        cluster.wire.clear();
        if let Some(round) = asked {
            break round;
        }
    };
    for from in (2..=5).map(n) {
        let message = Message::Tell(unhappy(round, Ballot::ZERO, 0));
        cluster.deliver(Envelope { from, to: n(1), message });
    }
    let own = cluster.nodes[&n(1)].algorithm().promised();
    cluster.deliver(Envelope { from: n(3), to: n(1), message: promise(own, 1, 1, Vec::new()) });
    cluster.settle();
    assert_eq!(cluster.leaders(), [n(1)]);
    cluster.propose(n(1), 1, b"mine");
    cluster.settle();
    assert_eq!(cluster.nodes[&n(2)].algorithm().accepted_in(Slot(2)), Some(own));
    cluster
}

/// What nodes 1 and 2 hold for chosen in slot 2.
fn in_slot_two(cluster: &Cluster<MultiPaxos>) -> Vec<Vec<u8>> {
    let lines = (1..=2).flat_map(|id| cluster.diary(n(id)).iter());
    lines.filter(|(slot, _)| *slot == 2).map(|(_, line)| line.to_vec()).collect()
}

/// The incident: a leader lacked what was chosen before its ballot, and the node that knew it sent a snapshot that reached into the
/// slots of that ballot, in which a higher one had chosen. The leader took its own proposals there for chosen, and told its mark to
/// a follower that held them: two values were chosen.
// tests [P13]
#[test]
fn a_snapshot_of_what_a_higher_ballot_chose_makes_a_leader_resign() {
    let mut cluster = overtaken();
    // What node 3 sends: the snapshot of a group that chose something else in slot 2.
    let mut others = Cluster::<MultiPaxos>::with(1, cluster.config.clone(), false, 7);
    others.run_for_ms(1_000);
    others.compact_after_bytes = 1;
    others.crash(n(1));
    others.start(n(1));
    others.elect();
    others.propose(n(1), 8, b"first");
    others.propose(n(1), 9, b"theirs");
    others.cut.clear();
    let ask = Message::Learn(Learn { first: Slot(1), last: Slot(1), piece: None });
    others.handle(n(1), Event::Message { from: n(9), message: ask });
    let Some(Message::Piece(mut piece)) = others.wire.pop_back().map(|envelope| envelope.message) else {
        panic!()
    };
    assert_eq!(piece.through, Slot(2));
    piece.configuration = cluster.nodes[&n(1)].algorithm().configuration().clone();
    cluster.deliver(Envelope { from: n(3), to: n(1), message: Message::Piece(piece) });
    let (role, refused) = (cluster.nodes[&n(1)].status().role, cluster.refusals(n(1)));
    // If it led on, the answer to this would have it look for what is chosen, and tell node 2.
    cluster.propose(n(1), 2, b"more");
    cluster.run_for_ms(500);
    let held = in_slot_two(&cluster);
    assert!(
        !held.is_empty() && held.iter().all(|line| line == b"theirs"),
        "{:?}",
        held.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>()
    );
    assert_eq!((role, refused), (Role::Follower, vec![(1, Refusal::Interrupted)]));
}

/// A question from before it led reaches into its ballot.
// tests [P13]
#[test]
fn other_values_than_its_own_make_a_leader_resign() {
    let mine = 1_000 + u64::from(b'm');
    for (proposed, texts, leads) in [
        (true, ["first", "mine"], true),
        (true, ["first", "theirs"], false),
        (false, ["first", "mine"], false),
    ] {
        let mut alone = Alone::new(5, false);
        alone.hear(2, tell(2));
        let own = alone.candidate(Ballot::ZERO);
        alone.hear(3, promise(own, 1, 1, Vec::new()));
        alone.hear(4, promise(own, 1, 0, Vec::new()));
        if proposed {
            alone.propose(mine, b"mine");
        }
        assert_eq!(alone.role(), Role::Leader);
        alone.hear(2, learnt(1, 2, &texts));
        assert_eq!(alone.role() == Role::Leader, leads, "{texts:?}");
        let refused = if proposed && !leads { vec![(mine, Refusal::Interrupted)] } else { vec![] };
        assert_eq!(alone.cluster.refusals(n(1)), refused);
        assert_eq!(alone.lines(), [(1, texts[0].as_bytes()), (2, texts[1].as_bytes())]);
    }
}

// tests [P13] [P14]
#[test]
fn a_leader_takes_no_more_than_it_asked_for() {
    let mut cluster = overtaken();
    let more = Message::Learnt(multipaxos::Learnt {
        first: Slot(1),
        chosen: Slot(9),
        values: values(&["first", "theirs"]),
    });
    cluster.deliver(Envelope { from: n(3), to: n(1), message: more });
    assert_eq!((cluster.leaders(), cluster.nodes[&n(1)].status().decided), (vec![n(1)], Slot(1)));
    assert!(in_slot_two(&cluster).is_empty());
}
