//! Snapshots: P15 and P16.

use crate::alone::{Alone, accept, ballot, unhappy};
use crate::common::{Cluster, Envelope, n};
use consensus_core::{Bytes, NodeId, Offence, Slot};
use multipaxos::{Ballot, Config, Learn, Message, MultiPaxos, Piece};

fn small() -> Config {
    Config { retained_values: 0, snapshot_piece_bytes: 40, ..Config::default() }
}

/// A group whose log is cut after every few proposals.
fn cutting(size: u64, config: Config, seed: u64) -> (Cluster<MultiPaxos>, NodeId) {
    let mut cluster = Cluster::<MultiPaxos>::with(size, config, false, seed);
    cluster.compact_after_bytes = 60;
    for id in (1..=size).map(n) {
        cluster.crash(id);
        cluster.start(id);
    }
    let leader = cluster.elect();
    (cluster, leader)
}

fn propose(cluster: &mut Cluster<MultiPaxos>, leader: NodeId, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        cluster.propose(leader, number, b"x");
        cluster.settle();
    }
}

// tests [P15] [P16]
#[test]
fn who_lacks_what_is_cut_off_gets_the_snapshot_in_pieces() {
    let (mut cluster, leader) = cutting(3, small(), 1);
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    propose(&mut cluster, leader, 1..=40);
    cluster.start(away);
    let (mut pieces, mut longest) = (0, 0);
    for _ in 0..100 {
        while let Some(envelope) = cluster.wire.pop_front() {
            if let Message::Piece(piece) = &envelope.message {
                (pieces, longest) = (pieces + 1, longest.max(piece.data.len()));
            }
            cluster.deliver(envelope);
        }
        let (at, id) = cluster.next_deadline().unwrap();
        cluster.now = cluster.now.max(at);
        cluster.handle(id, consensus_core::Event::Tick);
    }
    assert_eq!(cluster.diary(away), cluster.diary(leader));
    assert!(pieces > 3 && longest <= 40, "{pieces} of up to {longest} bytes");
    // Who took it over starts with it again, and serves it to others.
    cluster.crash(away);
    cluster.start(away);
    assert!(cluster.nodes[&away].status().decided >= Slot(30));
    cluster.crash(leader);
    cluster.run_for_ms(3_000);
    assert_eq!(cluster.leaders().len(), 1);
}

// tests [P15]
#[test]
fn a_tail_stays_and_votes_that_are_open_too() {
    for (retained_values, cut) in [(0, true), (1_000, false)] {
        let config = Config { retained_values, ..Config::default() };
        let (mut cluster, leader) = cutting(3, config, 1);
        propose(&mut cluster, leader, 1..=20);
        let has_first = cluster.nodes[&leader].algorithm().accepted_in(Slot(1)).is_some();
        assert_eq!(has_first, !cut);
    }
    let mut alone = Alone::with(3, small(), false);
    alone.cluster.compact_after_bytes = 1;
    alone.restart();
    alone.hear(2, accept(ballot(1, 2), 1, 0, &["a", "b", "c"]));
    alone.hear(2, accept(ballot(1, 2), 5, 2, &["e"]));
    alone.wait(1);
    let held = |alone: &Alone, slot| alone.node().accepted_in(Slot(slot));
    assert_eq!([1, 2, 3, 5].map(|slot| held(&alone, slot).is_some()), [false, false, true, true]);
    alone.restart();
    assert_eq!((alone.decided(), alone.node().promised()), (2, ballot(1, 2)));
    assert_eq!([3, 5].map(|slot| held(&alone, slot)), [Some(ballot(1, 2)); 2]);
}

// tests [P16]
#[test]
fn what_is_lost_of_a_snapshot_is_asked_for_again_and_what_came_is_kept() {
    let (mut cluster, leader) = cutting(3, small(), 1);
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    propose(&mut cluster, leader, 1..=40);
    cluster.start(away);
    let mut offsets = Vec::new();
    for turn in 0..400 {
        while let Some(envelope) = cluster.wire.pop_front() {
            if let Message::Piece(piece) = &envelope.message {
                offsets.push((piece.through, piece.offset));
                // Every second one is lost.
                if offsets.len() % 2 == 0 {
                    continue;
                }
            }
            cluster.deliver(envelope);
        }
        let (at, id) = cluster.next_deadline().unwrap();
        cluster.now = cluster.now.max(at);
        cluster.handle(id, consensus_core::Event::Tick);
        if cluster.diary(away).len() == 40 {
            break;
        }
        assert!(turn < 399, "it never arrives: {offsets:?}");
    }
    assert!(offsets.is_sorted(), "nothing that came is asked for again: {offsets:?}");
}

// tests [P15] [P16]
#[test]
fn a_snapshot_that_is_being_received_is_kept_for_the_rest_of_it() {
    let (mut cluster, leader) = cutting(3, small(), 1);
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    propose(&mut cluster, leader, 1..=20);
    cluster.isolate(away);
    let ask = |piece| Message::Learn(Learn { first: Slot(1), last: Slot(1), piece });
    let asked = |cluster: &mut Cluster<MultiPaxos>, piece| {
        cluster.cut.clear();
        cluster.deliver(Envelope { from: away, to: leader, message: ask(piece) });
        match cluster.wire.drain(..).next().map(|envelope| envelope.message) {
            Some(Message::Piece(piece)) => *piece,
            other => panic!("{other:?}"),
        }
    };
    let first = asked(&mut cluster, None);
    propose(&mut cluster, leader, 21..=40);
    let next = asked(&mut cluster, Some((first.through, 40)));
    assert_eq!((next.through, next.offset, next.total), (first.through, 40, first.total));
    // Whoever begins gets the newest.
    assert!(asked(&mut cluster, None).through > first.through);
    // When nobody asks for it any more, it goes.
    cluster.run_for_ms(3_000);
    propose(&mut cluster, leader, 41..=60);
    propose(&mut cluster, leader, 61..=80);
    assert!(asked(&mut cluster, Some((first.through, 80))).through > first.through);
}

pub(crate) fn piece(through: u64, total: u64, offset: u64, data: &'static [u8], alone: &Alone) -> Message {
    let configuration = alone.node().configuration().clone();
    let (first, through, data) = (Slot(1), Slot(through), Bytes::from_static(data));
    Message::Piece(Box::new(Piece { first, through, configuration, total, offset, data }))
}

/// Somebody who asks node 2 for what is chosen, up to slot 9.
pub(crate) fn asking(config: Config) -> Alone {
    let mut alone = Alone::with(3, config, false);
    alone.hear(2, Message::Tell(unhappy(0, Ballot::ZERO, 9)));
    alone
}

pub(crate) fn wants(said: &[Message]) -> Vec<(u64, u64)> {
    let of = |message: &Message| {
        let Message::Learn(Learn { piece: Some((through, offset)), .. }) = message else { return None };
        Some((through.0, *offset))
    };
    said.iter().filter_map(of).collect()
}

// tests [P16]
#[test]
fn pieces_follow_each_other_and_a_newer_snapshot_begins_anew() {
    let mut alone = asking(small());
    let said = alone.hear(2, piece(9, 50, 0, b"0123456789", &alone));
    assert_eq!(wants(&said), [(9, 10)]);
    // A gap is not filled with something else, and what came before is no answer.
    let said = alone.hear(2, piece(9, 50, 20, b"0123456789", &alone));
    assert_eq!(wants(&said), []);
    let said = alone.hear(2, piece(9, 50, 0, b"0123456789", &alone));
    assert_eq!(wants(&said), []);
    let said = alone.hear(2, piece(12, 60, 0, b"0123", &alone));
    assert_eq!(wants(&said), [(12, 4)]);
    // An older one does not.
    let said = alone.hear(2, piece(9, 50, 0, b"0123456789", &alone));
    assert_eq!((wants(&said), alone.decided()), (vec![], 0));
    // What was not answered is asked again.
    assert_eq!(wants(&alone.wait(300)), [(12, 4)]);
    let said = alone.hear(2, piece(12, 60, 4, b"4567", &alone));
    assert_eq!(wants(&said), [(12, 8)]);
}

// tests [P16]
#[test]
fn a_snapshot_that_is_too_long_is_refused_by_name() {
    let mut alone = asking(Config { max_snapshot_bytes: 49, ..small() });
    assert_eq!(wants(&alone.hear(2, piece(9, 50, 0, b"0123456789", &alone))), []);
    let offence = Offence::Malformed("a snapshot over the configured limit");
    assert_eq!(alone.cluster.accusations, [(n(1), n(2), offence)]);
}

// tests [P16]
#[test]
fn a_snapshot_that_nobody_has_any_more_is_given_up() {
    let mut alone = asking(small());
    alone.hear(2, piece(9, 50, 0, b"0123456789", &alone));
    let mut asked_plainly = false;
    for _ in 0..20 {
        let said = alone.wait(200);
        let is_plain = |message: &Message| matches!(message, Message::Learn(Learn { piece: None, .. }));
        asked_plainly |= said.iter().any(is_plain);
        alone.hear(2, Message::Tell(unhappy(0, Ballot::ZERO, 9)));
    }
    assert!(asked_plainly);
}
