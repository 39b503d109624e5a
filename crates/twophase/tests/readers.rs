//! The participant that only reads, by the clauses of `spec.md`.

use crate::group::{BALANCE, Letter, account, config, n, name, transfer};
use crate::paper::{COMMITTED, Classics, header, presuming};
use consensus_core::NodeId;
use std::collections::BTreeSet;
use twophase::accounts::Transfer;
use twophase::{Config, Envelope, Header, Message, Presumption};

// tests [T8]
#[test]
fn the_reader_is_asked_last_and_promises_nothing() {
    let mut group = Classics::new(3, config());
    let look = Transfer { changes: vec![(account(1, 0), -1), (account(2, 0), 1), (account(3, 0), 0)] };
    let envelope = Envelope::new(look.participants(), look.to_bytes()).with_reader(n(3));
    group.propose_bytes(n(1), name(1), envelope.to_bytes());
    let asked: Vec<NodeId> = group.wire.iter().map(|letter| letter.to).collect();
    assert_eq!(asked, [n(2)], "the reader is not asked while others have not locked");
    while !group.wire.iter().any(|letter| letter.from == n(3)) {
        assert!(group.act());
    }
    let others = BTreeSet::from([(n(1), name(1)), (n(2), name(1))]);
    assert_eq!(group.locks(), others, "it has looked while all others lock, and needs its own no more");
    assert!(group.records(3).is_empty());
    group.settle();
    assert_eq!((group.verdicts(name(1)), group.locks()), (BTreeSet::from([COMMITTED]), BTreeSet::new()));
    // A reader knows nothing after a restart, and does not take that for an abort.
    let reader = Header { reader: Some(n(3)), ..header(9, 1, &[1, 2, 3]) };
    group.say(n(2), n(3), Message::Inquire(reader));
    assert!(group.wire.is_empty());
}

// tests [T8]
#[test]
fn a_reader_hears_no_verdict_and_has_none_to_tell() {
    for presumption in [Presumption::Abort, Presumption::Commit] {
        let config = Config { remembered_per_client: 1, ..presuming(presumption) };
        let mut group = Classics::new(3, config);
        let look = Transfer { changes: vec![(account(1, 0), -1), (account(2, 0), 1), (account(3, 0), 0)] };
        let envelope = Envelope::new(look.participants(), look.to_bytes()).with_reader(n(3));
        group.propose_bytes(n(1), name(1), envelope.to_bytes());
        let mut question = None;
        while group.verdicts(name(1)).is_empty() {
            question = group.wire.iter().find(|letter| letter.to == n(3)).cloned().or(question);
            assert!(group.act());
        }
        assert!(!group.wire.iter().any(|letter| letter.to == n(3)), "nothing is told to the reader");
        group.settle();
        // The coordinator forgets it, and then the question comes to the reader again, which has lost what it knew.
        for number in 2..=4 {
            group.propose(n(1), name(number), &transfer(&[1, 2], 1));
            group.settle();
        }
        group.crash(n(3));
        group.start(n(3));
        let question = question.unwrap();
        group.say(question.from, question.to, question.message);
        group.run_for_ms(2_000);
        assert_eq!((group.locks(), group.blocked(3)), (BTreeSet::new(), Vec::new()));
        assert_eq!((group.balance(1, 0), group.balance(2, 0)), (BALANCE - 1, BALANCE + 1));
        assert!(group.accused.is_empty() && group.records(3).is_empty());
    }
}

/// The client asks the reader, too: it has no promise to give that would keep the first coordinator from committing, and so no say.
// tests [T8] [T15]
#[test]
fn a_reader_aborts_nothing_that_another_coordinator_may_commit() {
    for presumption in [Presumption::Abort, Presumption::Commit] {
        let mut group = Classics::new(3, presuming(presumption));
        let look = Transfer { changes: vec![(account(1, 0), -1), (account(2, 0), 1), (account(3, 0), 0)] };
        let envelope = Envelope::new(look.participants(), look.to_bytes()).with_reader(n(3)).to_bytes();
        group.propose_bytes(n(1), name(1), envelope.clone());
        while !group.wire.iter().any(|letter| letter.from == n(3)) {
            assert!(group.act());
        }
        // Its vote is on its way to the first coordinator; the others have promised to that one.
        let (vote, others): (Vec<Letter>, Vec<Letter>) =
            group.wire.drain(..).partition(|letter| letter.from == n(3));
        group.wire.extend(others);
        group.propose_bytes(n(3), name(1), envelope);
        group.settle();
        assert_eq!(group.locks(), BTreeSet::from([(n(1), name(1)), (n(2), name(1))]));
        for letter in vote {
            group.say(letter.from, letter.to, letter.message);
        }
        group.run_for_ms(2_000);
        assert_eq!(group.verdicts(name(1)), BTreeSet::from([COMMITTED]), "{presumption:?}");
        assert_eq!((group.balance(2, 0), group.locks()), (BALANCE + 1, BTreeSet::new()));
        assert!(group.accused.is_empty(), "{:?}", group.accused);
        let queues = consensus_core::ConsensusAlgorithm::inspect(group.nodes[&n(3)].algorithm()).queues;
        assert!(queues.contains(&("telling", 0)), "whoever gave up is heard: {queues:?}");
    }
}

// tests [T8]
#[test]
fn a_reader_that_coordinates_carries_the_verdict_out() {
    let mut group = Classics::new(2, config());
    let look = Transfer { changes: vec![(account(1, 0), 0), (account(2, 0), 1)] };
    let envelope = Envelope::new(look.participants(), look.to_bytes()).with_reader(n(1));
    group.propose_bytes(n(1), name(1), envelope.to_bytes());
    assert_eq!(group.locks(), BTreeSet::new(), "it looks last, too");
    group.settle();
    assert_eq!((group.verdicts(name(1)), group.locks()), (BTreeSet::from([COMMITTED]), BTreeSet::new()));
    assert_eq!(group.balance(2, 0), BALANCE + 1);
}
