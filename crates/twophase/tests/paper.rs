//! The clauses of `spec.md`, one by one.

use crate::group::{BALANCE, Group, Letter, account, config, n, name, transfer};
use consensus_core::{Bytes, ClientId, NodeId, Offence, ProposalId, Refusal, Verdict};
use multipaxos::Ballot;
use std::collections::BTreeSet;
use twophase::accounts::Transfer;
use twophase::{
    Classic, Config, Envelope, Header, Message, Presumption, Record, Registered, Replicated, Transaction,
    Vote,
};

pub(crate) type Classics = Group<Classic>;
type Replicas = Group<Replicated>;

pub(crate) const COMMITTED: bool = true;
const ABORTED: bool = false;

pub(crate) fn presuming(presumption: Presumption) -> Config {
    Config { presumption, ..config() }
}

pub(crate) fn header(number: u64, coordinator: u64, nodes: &[u64]) -> Header {
    let participants = nodes.iter().map(|&node| n(node)).collect();
    Header {
        id: name(number),
        coordinator: n(coordinator),
        participants,
        reader: None,
        presumed: Presumption::Abort,
    }
}

fn prepare(number: u64, coordinator: u64, nodes: &[u64]) -> Message {
    let payload = transfer(nodes, 0).to_bytes();
    Message::Prepare(Transaction { header: header(number, coordinator, nodes), payload })
}

fn is_outcome(letter: &Letter) -> bool {
    matches!(letter.message, Message::Outcome { .. })
}

fn is_vote(letter: &Letter) -> bool {
    matches!(letter.message, Message::Vote { .. })
}

fn is_prepare(letter: &Letter) -> bool {
    matches!(letter.message, Message::Prepare(_))
}

/// Three nodes, of which 2 and 3 have promised, and have not heard from their coordinator, which is down: it takes part itself, or not.
fn in_doubt(nodes: &[u64], presumption: Presumption) -> Classics {
    let mut group = Classics::new(3, presuming(presumption));
    group.propose(n(1), name(1), &transfer(nodes, 0));
    while group.wire.iter().filter(|letter| is_vote(letter)).count() < 2 {
        assert!(group.act());
    }
    group.crash(n(1));
    group
}

// tests [T1]
#[test]
fn any_node_coordinates_transactions_of_any_nodes() {
    let mut group = Classics::new(3, config());
    // Three at a time, by three coordinators, one of which takes no part.
    group.propose(n(1), name(1), &transfer(&[1, 2, 3], 0));
    group.propose(n(2), name(2), &transfer(&[2, 3], 1));
    group.propose(n(3), name(3), &transfer(&[1, 2], 2));
    group.settle();
    for number in 1..=3 {
        assert_eq!(group.verdicts(name(number)), BTreeSet::from([COMMITTED]), "{number}");
    }
    assert_eq!([1, 2, 3].map(|node| group.balance(node, 0)), [BALANCE - 2, BALANCE + 1, BALANCE + 1]);
    assert_eq!([1, 2, 3].map(|node| group.balance(node, 1)), [BALANCE, BALANCE - 1, BALANCE + 1]);
    assert_eq!([1, 2, 3].map(|node| group.balance(node, 2)), [BALANCE - 1, BALANCE + 1, BALANCE]);
    // Nobody named: everybody.
    group.propose_bytes(n(2), name(4), Envelope::new([], transfer(&[3, 1], 3).to_bytes()).to_bytes());
    let asked = group.wire.iter().filter(|letter| is_prepare(letter)).count();
    group.settle();
    assert_eq!((asked, group.balance(1, 3)), (2, BALANCE + 1));
}

// tests [T1]
#[test]
fn what_is_no_envelope_or_too_much_is_refused() {
    let mut group = Classics::new(2, Config { max_open: 1, max_payload_bytes: 200, ..config() });
    group.propose_bytes(n(1), name(1), Bytes::from_static(&[255, 255]));
    group.propose_bytes(n(1), name(2), Envelope::new([n(1), n(9)], Bytes::new()).to_bytes());
    group.propose_bytes(
        n(1),
        name(3),
        Envelope::new([n(1), n(2)], Bytes::new()).with_reader(n(7)).to_bytes(),
    );
    group.propose_bytes(n(1), name(4), Bytes::from(vec![0; 201]));
    group.crash(n(2));
    group.propose(n(1), name(5), &transfer(&[1, 2], 0));
    group.propose(n(1), name(6), &transfer(&[1, 2], 1));
    let reasons: Vec<_> = group.refused.iter().map(|(_, id, reason)| (id.sequence, reason.clone())).collect();
    assert_eq!(
        reasons,
        [
            (1, Refusal::Unsupported),
            (2, Refusal::Unsupported),
            (3, Refusal::Unsupported),
            (4, Refusal::TooLarge),
            (6, Refusal::Busy)
        ]
    );
}

// tests [T2]
#[test]
fn a_participant_keeps_what_it_has_promised_and_refuses_what_is_kept_for_others() {
    let mut group = Classics::new(2, config());
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    group.act();
    group.act();
    assert_eq!(group.nodes[&n(1)].machine().holder(0), Some(name(1)));
    // No-wait: who finds the lock taken says NO.
    group.propose(n(1), name(2), &transfer(&[1, 2], 0));
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([COMMITTED]));
    assert_eq!(group.verdicts(name(2)), BTreeSet::from([ABORTED]));
    assert_eq!(group.locks(), BTreeSet::new());
    // Who has said NO says it again, though the lock is free by now.
    group.say(n(1), n(2), prepare(2, 1, &[1, 2]));
    let said = group.wire.iter().map(|letter| &letter.message).next_back();
    let vote = Some(&Message::Vote { id: name(2), vote: Vote::No });
    assert!(said == vote || said.is_none() && group.locks().is_empty(), "{said:?}");
}

// tests [T3]
#[test]
fn the_promise_is_durable_before_yes_leaves_and_each_participant_counts_once() {
    let mut group = Classics::with(3, config(), true);
    group.settle();
    group.say(n(1), n(2), prepare(1, 1, &[1, 2, 3]));
    assert!(!group.wire.iter().any(is_vote), "it leaves before the promise is on disk");
    group.settle();
    let Some(Record::Prepared(promise)) = group.records(2).first().cloned() else { panic!("no promise") };
    assert_eq!(
        (promise.header, promise.payload),
        (header(1, 1, &[1, 2, 3]), transfer(&[1, 2, 3], 0).to_bytes())
    );
    // A YES that comes twice is one.
    let mut group = Classics::new(3, config());
    group.propose(n(1), name(2), &transfer(&[1, 2, 3], 1));
    group.wire.clear();
    for _ in 0..3 {
        group.say(n(2), n(1), Message::Vote { id: name(2), vote: Vote::Yes });
    }
    assert!(group.told.is_empty());
    group.say(n(3), n(1), Message::Vote { id: name(2), vote: Vote::Yes });
    assert_eq!(group.verdicts(name(2)), BTreeSet::from([COMMITTED]));
}

// tests [T4]
#[test]
fn nobody_hears_of_a_commit_that_is_not_durable() {
    let mut group = Classics::with(2, config(), true);
    group.settle();
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    group.unsynced.clear();
    group.say(n(2), n(1), Message::Vote { id: name(1), vote: Vote::Yes });
    assert!(group.told.is_empty() && !group.wire.iter().any(is_outcome));
    assert_eq!(group.balance(1, 0), BALANCE, "it is not carried out either");
    group.unsynced.insert(n(1));
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([COMMITTED]));
}

// tests [T5]
#[test]
fn one_no_aborts_and_so_does_silence() {
    let mut group = Classics::new(3, config());
    let mut wanted = transfer(&[1, 2, 3], 0);
    wanted.changes[1].1 = -1_000;
    group.propose(n(1), name(1), &wanted);
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([ABORTED]));
    assert_eq!(group.locks(), BTreeSet::new());
    group.crash(n(3));
    group.propose(n(1), name(2), &transfer(&[1, 2, 3], 0));
    group.run_for_ms(399);
    assert!(group.verdicts(name(2)).is_empty());
    group.run_for_ms(20);
    assert_eq!(group.verdicts(name(2)), BTreeSet::from([ABORTED]));
    // A vote that comes too late changes nothing.
    group.say(n(3), n(1), Message::Vote { id: name(2), vote: Vote::Yes });
    group.run_for_ms(100);
    assert_eq!((group.verdicts(name(2)), group.locks()), (BTreeSet::from([ABORTED]), BTreeSet::new()));
}

// tests [T6]
#[test]
fn a_coordinator_that_knows_nothing_says_abort_and_means_it() {
    let mut group = in_doubt(&[2, 3], Presumption::Abort);
    assert_eq!(group.locks().len(), 2);
    group.start(n(1));
    group.run_for_ms(200);
    assert_eq!((group.locks(), group.balance(2, 0)), (BTreeSet::new(), BALANCE));
    // The client has heard nothing and asks again: the name is gone, also after a restart.
    for _ in 0..2 {
        group.propose(n(1), name(1), &transfer(&[2, 3], 0));
        group.run_for_ms(200);
        assert_eq!(group.refused.pop().unwrap().2, Refusal::Settled { verdict: Verdict::Abort });
        group.crash(n(1));
        group.start(n(1));
    }
    assert_eq!((group.balance(2, 0), group.balance(3, 0)), (BALANCE, BALANCE));
}

// tests [T7]
#[test]
fn under_presumed_commit_a_beginning_without_an_end_is_aborted_and_nothing_is_a_commit() {
    let mut group = in_doubt(&[2, 3], Presumption::Commit);
    group.start(n(1));
    group.run_for_ms(200);
    assert_eq!((group.locks(), group.balance(2, 0)), (BTreeSet::new(), BALANCE));
    assert!(
        matches!(group.records(1)[..], [Record::Begun(_), Record::Ended { .. }]),
        "all have acknowledged"
    );
    // A commit that was forgotten is presumed: nobody acknowledges it.
    let asked = Header { presumed: Presumption::Commit, ..header(5, 1, &[2, 3]) };
    group.say(n(2), n(1), Message::Inquire(asked));
    let answer = group.wire.pop_back().unwrap().message;
    assert_eq!(answer, Message::Outcome { id: name(5), commit: true });
    // Nobody is asked before the beginning is on disk.
    let mut group = Group::<Classic>::with(2, presuming(Presumption::Commit), true);
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    assert!(group.wire.is_empty());
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([COMMITTED]));
}

// tests [T9]
#[test]
fn the_only_participant_decides_and_its_coordinator_does_not() {
    let mut group = Classics::new(2, config());
    let deposit = Transfer { changes: vec![(account(2, 0), 5)] };
    group.propose(n(1), name(1), &deposit);
    group.settle();
    assert_eq!((group.verdicts(name(1)), group.balance(2, 0)), (BTreeSet::from([COMMITTED]), BALANCE + 5));
    assert_eq!(group.sent, 2);
    assert!(matches!(group.records(2)[..], [Record::Committed { .. }]) && group.records(1).is_empty());
    // The answer is lost, and so is whoever gave it: the coordinator waits, and says on whom.
    group.propose(n(1), name(2), &deposit);
    group.act();
    while !group.wire.iter().any(is_outcome) {
        assert!(group.act());
    }
    group.wire.clear();
    group.crash(n(2));
    group.run_for_ms(5_000);
    assert!(!group.told.iter().any(|&(node, id, _)| node == n(1) && id == name(2)));
    assert_eq!(group.blocked(1), [(name(2), vec![n(2)])]);
    group.start(n(2));
    group.run_for_ms(500);
    assert_eq!((group.verdicts(name(2)), group.balance(2, 0)), (BTreeSet::from([COMMITTED]), BALANCE + 10));
}

// tests [T10]
#[test]
fn a_commit_is_told_until_all_have_acknowledged_it() {
    let mut group = Classics::new(3, config());
    group.propose(n(1), name(1), &transfer(&[1, 2, 3], 0));
    while !group.wire.iter().any(is_outcome) {
        assert!(group.act());
    }
    group.lose(|letter| letter.to == n(3));
    group.crash(n(3));
    group.run_for_ms(1_000);
    let ended =
        |group: &mut Classics| group.records(1).iter().any(|record| matches!(record, Record::Ended { .. }));
    assert!(!ended(&mut group));
    group.crash(n(1));
    group.start(n(1));
    group.start(n(3));
    group.run_for_ms(1_000);
    assert!(ended(&mut group));
    assert_eq!(group.balance(3, 0), BALANCE + 1);
}

// tests [T11]
#[test]
fn what_comes_twice_or_in_another_order_is_carried_out_once() {
    let mut group = Classics::new(2, config());
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    let mut seen = Vec::new();
    while let Some(letter) = group.wire.front().cloned() {
        seen.push(letter);
        group.act();
    }
    assert_eq!(group.balance(2, 0), BALANCE + 1);
    for letter in seen.iter().chain(seen.iter().rev()) {
        group.say(letter.from, letter.to, letter.message.clone());
    }
    group.run_for_ms(500);
    assert_eq!(
        (group.balance(1, 0), group.balance(2, 0), group.locks()),
        (BALANCE - 1, BALANCE + 1, BTreeSet::new())
    );
    // An abort that overtakes its question: nothing is locked when that comes.
    group.say(n(1), n(2), Message::Outcome { id: name(2), commit: false });
    group.say(n(1), n(2), prepare(2, 1, &[1, 2]));
    assert_eq!(group.locks(), BTreeSet::new());
    let last = group.wire.pop_back().unwrap().message;
    assert_eq!(last, Message::Vote { id: name(2), vote: Vote::No });
    assert!(group.accused.is_empty(), "{:?}", group.accused);
}

// tests [T12]
#[test]
fn whatever_is_lost_is_said_again() {
    let kinds: [fn(&Letter) -> bool; 4] =
        [is_prepare, is_vote, is_outcome, |letter| matches!(letter.message, Message::Acknowledge { .. })];
    for (kind, is_lost) in kinds.into_iter().enumerate() {
        let mut group = Classics::new(3, config());
        group.propose(n(1), name(1), &transfer(&[1, 2, 3], 0));
        let mut lost = 0;
        for _ in 0..100 {
            // The first two of a kind are lost.
            if lost < 2 && group.wire.front().is_some_and(is_lost) {
                group.wire.pop_front();
                lost += 1;
            } else if !group.act() {
                group.wake(group.now + std::time::Duration::from_secs(1));
            }
        }
        assert_eq!((lost, group.verdicts(name(1))), (2, BTreeSet::from([COMMITTED])), "kind {kind}");
        assert_eq!((group.balance(3, 0), group.locks()), (BALANCE + 1, BTreeSet::new()), "kind {kind}");
        assert!(matches!(group.records(1).last(), Some(Record::Ended { .. })), "kind {kind}");
    }
}

// tests [T13]
#[test]
fn peers_that_have_all_promised_wait_and_say_on_whom() {
    let mut group = in_doubt(&[2, 3], Presumption::Abort);
    group.run_for_ms(30_000);
    for node in [2, 3] {
        assert_eq!(group.blocked(node), [(name(1), vec![n(1)])], "the other one has said that it waits too");
    }
    assert_eq!(group.locks().len(), 2);
    group.crash(n(3));
    group.start(n(3));
    group.run_for_ms(1_000);
    assert_eq!(group.locks().len(), 2, "a restart decides nothing");
}

// tests [T13]
#[test]
fn a_peer_that_has_not_voted_never_will_and_that_is_an_abort() {
    let mut group = Classics::new(3, config());
    group.propose(n(1), name(1), &transfer(&[2, 3], 0));
    group.lose(|letter| letter.to == n(3));
    group.act();
    group.crash(n(1));
    group.run_for_ms(500);
    assert_eq!((group.locks(), group.blocked(2)), (BTreeSet::new(), Vec::new()));
    assert_eq!(group.records(3), [Record::Aborted { id: name(1) }]);
    // It keeps its word, restarts or not.
    group.crash(n(3));
    group.start(n(3));
    group.say(n(1), n(3), prepare(1, 1, &[2, 3]));
    let last = group.wire.pop_back().unwrap().message;
    assert_eq!((last, group.locks()), (Message::Vote { id: name(1), vote: Vote::No }, BTreeSet::new()));
}

// tests [T13]
#[test]
fn a_peer_that_knows_the_verdict_tells_it() {
    let mut group = Classics::new(3, config());
    group.propose(n(1), name(1), &transfer(&[2, 3], 0));
    while !group.wire.iter().any(is_outcome) {
        assert!(group.act());
    }
    group.lose(|letter| letter.to == n(3));
    group.settle();
    group.crash(n(1));
    assert_eq!(group.locks().len(), 1);
    group.run_for_ms(500);
    assert_eq!((group.balance(3, 0), group.locks()), (BALANCE + 1, BTreeSet::new()));
}

// tests [T14]
#[test]
fn what_was_settled_long_ago_is_not_begun_again() {
    let mut group = Classics::new(2, Config { remembered_per_client: 2, ..config() });
    for number in 1..=4 {
        group.propose(n(1), name(number), &transfer(&[1, 2], 0));
        group.settle();
    }
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    assert_eq!(group.refused.pop(), Some((n(1), name(1), Refusal::Interrupted)));
    // Nor voted for, in the name of another coordinator; nor taken for an abort.
    group.say(n(1), n(2), prepare(1, 1, &[1, 2]));
    assert_eq!(group.wire.pop_back().unwrap().message, Message::Vote { id: name(1), vote: Vote::Forgotten });
    group.say(n(1), n(2), Message::Inquire(header(1, 2, &[1, 2])));
    assert_eq!((group.balance(2, 0), group.locks()), (BALANCE + 4, BTreeSet::new()));
}

// tests [T14]
#[test]
fn a_snapshot_keeps_promises_verdicts_and_names() {
    let mut group = Classics::new(3, config());
    group.compact_after_slots = 3;
    for id in 1..=3 {
        group.crash(n(id));
        group.start(n(id));
    }
    // Promised at 2 and 3, and the coordinator is cut off.
    group.propose(n(1), name(1), &transfer(&[2, 3], 0));
    while group.wire.iter().filter(|letter| is_vote(letter)).count() < 2 {
        assert!(group.act());
    }
    group.crash(n(1));
    for number in 2..=9 {
        group.propose(n(2), name(number), &transfer(&[2, 3], 1));
        group.settle();
    }
    let records = group.records(2);
    assert!(matches!(records.first(), Some(Record::Past(_))), "{records:?}");
    for id in [2, 3] {
        group.crash(n(id));
        group.start(n(id));
    }
    assert_eq!((group.balance(2, 1), group.balance(3, 1)), (BALANCE - 8, BALANCE + 8));
    assert_eq!(group.locks().len(), 2, "promises outlive a snapshot");
    group.propose(n(2), name(5), &transfer(&[2, 3], 1));
    assert_eq!(group.refused.pop().unwrap().2, Refusal::Settled { verdict: Verdict::Commit });
    group.start(n(1));
    group.run_for_ms(500);
    assert_eq!((group.locks(), group.total()), (BTreeSet::new(), BALANCE * 12));
}

// tests [T15]
#[test]
fn of_two_coordinators_of_one_name_one_at_most_commits() {
    let mut group = Classics::new(4, config());
    let wanted = transfer(&[3, 4], 0);
    group.propose(n(1), name(1), &wanted);
    group.propose(n(2), name(1), &wanted);
    group.run_for_ms(2_000);
    let verdicts = group.verdicts(name(1));
    assert!(verdicts.len() <= 1, "{verdicts:?}");
    let moved = [3, 4].map(|node| group.balance(node, 0) != BALANCE);
    assert!(moved == [true, true] || moved == [false, false]);
    assert_eq!((group.locks(), group.total()), (BTreeSet::new(), BALANCE * 16));
    let (_, _, reason) = group.refused.first().expect("the second one is sent to the first");
    assert!(matches!(reason, Refusal::NotLeader { hint: Some(_) } | Refusal::Settled { .. }), "{reason:?}");
    assert!(group.accused.is_empty(), "it is the client that errs: {:?}", group.accused);
    // After the first one has committed, the second is told so.
    group.propose(n(1), name(2), &wanted);
    group.settle();
    group.refused.clear();
    group.propose(n(2), name(2), &wanted);
    group.settle();
    assert_eq!(group.refused.pop().unwrap().2, Refusal::Settled { verdict: Verdict::Commit });
    assert_eq!(group.balance(4, 0) - BALANCE, i64::from(moved[0]) + 1);
    // A participant sends a client to whom it has promised.
    group.say(n(1), n(3), prepare(3, 1, &[3, 4]));
    group.propose(n(3), name(3), &wanted);
    assert_eq!(group.refused.pop().unwrap().2, Refusal::NotLeader { hint: Some(n(1)) });
}

/// What two messages of this sender bring upon it.
fn accused_of(messages: &[(u64, Message)]) -> Vec<(NodeId, Offence)> {
    let mut group = Classics::new(3, config());
    // Node 1 waits for the vote of node 2.
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    group.wire.clear();
    for (to, message) in messages {
        group.say(n(3), n(*to), message.clone());
    }
    assert_eq!(group.verdicts(name(1)), BTreeSet::new());
    assert_eq!(group.total(), BALANCE * 12);
    group.accused.into_iter().map(|(_, peer, offence)| (peer, offence)).collect()
}

// tests [T16]
#[test]
fn lies_are_accused_by_name_and_change_nothing() {
    let of = |to, message| accused_of(&[(to, message)]);
    let unsorted = Transaction { header: header(2, 3, &[2, 1]), payload: Bytes::new() };
    let empty = Transaction { header: header(2, 3, &[]), payload: Bytes::new() };
    let lies = [
        (1, Message::Vote { id: name(1), vote: Vote::No }),
        (1, Message::Vote { id: name(1), vote: Vote::Yes }),
        (1, Message::Outcome { id: name(1), commit: true }),
        (2, prepare(2, 1, &[2, 3])),
        (2, Message::Prepare(unsorted)),
        (2, Message::Prepare(empty)),
        (2, prepare(2, 3, &[1, 3])),
        (2, prepare(2, 3, &[2, 9])),
        (1, Message::Inquire(header(1, 1, &[1, 2]))),
        (2, Message::Query { header: header(2, 3, &[1, 2]), ballot: Ballot { round: u64::MAX, node: n(3) } }),
        (2, Message::Query { header: header(2, 3, &[1, 2]), ballot: Ballot { round: 1, node: n(1) } }),
        (
            2,
            Message::Propose {
                header: header(2, 3, &[1, 2]),
                ballot: Ballot { round: 1, node: n(3) },
                prepared: vec![n(3)],
            },
        ),
        (
            2,
            Message::Promised {
                id: name(1),
                ballot: Ballot { round: 1, node: n(2) },
                votes: vec![Registered {
                    participant: n(1),
                    ballot: Ballot { round: 1, node: n(2) },
                    prepared: true,
                }],
            },
        ),
        (2, Message::Accepted { id: name(1), ballot: Ballot { round: u64::MAX, node: n(3) } }),
    ];
    for (to, lie) in lies {
        let accused = of(to, lie.clone());
        assert!(matches!(accused[..], [(peer, _)] if peer == n(3)), "{lie:?}: {accused:?}");
    }
    // One name for two transactions of one coordinator.
    let accused = accused_of(&[(2, prepare(2, 3, &[2, 3])), (2, prepare(2, 3, &[1, 2, 3]))]);
    assert_eq!(accused, [(n(3), Offence::Equivocation("two transactions under one name"))]);
    // A verdict of nobody's, and one on what is not known: neither carried out nor acknowledged.
    assert!(of(2, Message::Outcome { id: name(8), commit: true }).is_empty());
    let stranger = {
        let mut group = Classics::new(2, config());
        group.say(n(9), n(1), Message::Acknowledge { id: name(1) });
        group.accused
    };
    assert_eq!(stranger, [(n(1), n(9), Offence::Stranger)]);
}

// tests [T16]
#[test]
fn a_verdict_comes_from_somebody_who_has_a_part_in_it() {
    let mut group = Classics::new(4, config());
    group.say(n(1), n(2), prepare(1, 1, &[2, 3]));
    group.say(n(4), n(2), Message::Outcome { id: name(1), commit: true });
    group.say(n(4), n(2), Message::InDoubt { id: name(1) });
    assert_eq!(group.accused.len(), 2);
    assert_eq!((group.balance(2, 0), group.locks().len()), (BALANCE, 1));
}

// tests [T17]
#[test]
fn what_is_in_doubt_is_reserved_again_and_keeps_no_node_from_starting() {
    let mut group = in_doubt(&[1, 2, 3], Presumption::Abort);
    group.crash(n(2));
    group.start(n(2));
    assert_eq!(group.nodes[&n(2)].machine().holder(0), Some(name(1)));
    group.propose(n(2), name(2), &transfer(&[2, 3], 1));
    group.settle();
    assert_eq!(group.verdicts(name(2)), BTreeSet::from([COMMITTED]), "it works on meanwhile");
    group.start(n(1));
    group.run_for_ms(500);
    assert_eq!(group.locks(), BTreeSet::new());
}

// tests [T17]
#[test]
fn records_that_do_not_fit_together_keep_a_node_from_starting() {
    use consensus_core::memory::{MemoryStorage, Outbox};
    use consensus_core::{Members, Node, NodeConfig, Storage, Time, WriteSeq};
    let promise = Record::Prepared(Transaction { header: header(1, 1, &[1, 2]), payload: Bytes::new() });
    let settled = Record::Settled { id: name(1), commit: true };
    let registered = |participant, round| Record::Registered {
        header: header(1, 1, &[1, 2]),
        promised: Ballot { round: 1, node: n(1) },
        votes: vec![Registered {
            participant: n(participant),
            ballot: Ballot { round, node: n(1) },
            prepared: true,
        }],
    };
    let begun = Record::Begun(header(1, 2, &[1, 2]));
    let carried = Record::Carried { id: name(1), commit: true, payload: Bytes::new() };
    for (records, starts) in [
        (vec![begun.clone()], true),
        (vec![Record::Begun(header(1, 2, &[2, 1]))], false),
        (vec![begun, carried.clone()], false),
        (vec![carried, promise.clone()], false),
        (vec![Record::Aborted { id: name(1) }, promise.clone()], false),
        (vec![registered(2, 1)], true),
        (vec![registered(3, 1)], false),
        (vec![registered(2, 2)], false),
        (vec![promise.clone(), settled.clone()], true),
        (vec![settled.clone()], false),
        (vec![promise.clone(), promise.clone()], false),
        (vec![promise, settled.clone(), settled], false),
    ] {
        let mut disk = MemoryStorage::<Record>::default();
        for (seq, record) in (1..).zip(records) {
            disk.append(WriteSeq(seq), record);
        }
        let config = NodeConfig::<twophase::TwoPhase>::new(n(2), Members::of([n(1), n(2)]), 1);
        let accounts = twophase::accounts::Accounts::new(n(2), 1, 1);
        assert_eq!(Node::open(config, Time::ZERO, Outbox::default(), disk, accounts).is_ok(), starts);
    }
}

// tests [T18]
#[test]
fn acceptors_are_the_coordinator_and_those_that_follow() {
    let mut group = Replicas::new(5, Config { faults: Some(1), ..config() });
    group.propose(n(4), name(1), &transfer(&[1, 2], 0));
    let mut asked = BTreeSet::new();
    while let Some(letter) = group.wire.front() {
        if matches!(letter.message, Message::Register(_)) {
            asked.insert(letter.to);
        }
        group.act();
    }
    // Node 1 is one of them, and tells itself.
    assert_eq!(asked, BTreeSet::from([n(4), n(5), n(1)]));
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([COMMITTED]));
}

// tests [T20]
#[test]
fn a_no_is_durable_and_ends_it_though_nothing_is_chosen() {
    let mut group = Replicas::with(3, config(), true);
    group.settle();
    let mut wanted = transfer(&[1, 2, 3], 0);
    wanted.changes[1].1 = -1_000;
    group.propose(n(1), name(1), &wanted);
    while !group.wire.iter().any(is_vote) {
        assert!(group.act());
    }
    group.crash(n(2));
    group.start(n(2));
    assert_eq!(group.records(2), [Record::Aborted { id: name(1) }]);
    group.run_for_ms(2_000);
    assert_eq!((group.verdicts(name(1)), group.locks()), (BTreeSet::from([ABORTED]), BTreeSet::new()));
}

// tests [T21] [T22]
#[test]
fn without_its_coordinator_a_transaction_is_settled_by_whoever_waits() {
    // Both are prepared, and acceptors know: it is a commit, though the coordinator never said so.
    let mut group = Replicas::new(3, config());
    group.propose(n(1), name(1), &transfer(&[2, 3], 0));
    while !group.wire.iter().any(|letter| matches!(letter.message, Message::Accepted { .. })) {
        assert!(group.act());
    }
    group.crash(n(1));
    group.run_for_ms(2_000);
    assert_eq!((group.balance(2, 0), group.balance(3, 0)), (BALANCE - 1, BALANCE + 1));
    // One of them was never asked: nobody finds its vote, and it is an abort.
    group.start(n(1));
    group.run_for_ms(2_000);
    group.propose(n(1), name(2), &transfer(&[2, 3], 1));
    group.lose(|letter| letter.to == n(3));
    group.act();
    group.crash(n(1));
    group.run_for_ms(2_000);
    assert_eq!((group.balance(2, 1), group.locks()), (BALANCE, BTreeSet::new()));
}

// tests [T23]
#[test]
fn acceptors_forget_votes_when_everybody_knows_the_verdict() {
    let mut group = Replicas::new(3, config());
    group.propose(n(1), name(1), &transfer(&[2, 3], 0));
    group.settle();
    for node in 1..=3 {
        let queues = group.nodes[&n(node)].algorithm();
        let open = consensus_core::ConsensusAlgorithm::inspect(queues).queues;
        assert!(open.iter().all(|&(name, many)| many == 0 || name == "remembered"), "{node}: {open:?}");
        assert!(group.records(node).contains(&Record::Closed { id: name(1), commit: true }));
    }
    // Whoever asks later is told.
    let ballot = Ballot { round: 1, node: n(3) };
    group.say(n(3), n(1), Message::Query { header: header(1, 1, &[2, 3]), ballot });
    assert_eq!(group.wire.pop_back().unwrap().message, Message::Outcome { id: name(1), commit: true });
}

// tests [T24]
#[test]
fn with_too_few_acceptors_it_waits_and_says_on_whom() {
    let mut group = Replicas::new(5, config());
    group.propose(n(1), name(1), &transfer(&[4, 5], 0));
    while group.wire.iter().any(is_prepare) {
        group.act();
    }
    for id in [1, 2, 3] {
        group.crash(n(id));
    }
    group.run_for_ms(5_000);
    for node in [4, 5] {
        assert_eq!(group.blocked(node), [(name(1), vec![n(1), n(2), n(3)])]);
    }
    group.start(n(2));
    group.run_for_ms(5_000);
    assert_eq!((group.locks(), group.blocked(4)), (BTreeSet::new(), Vec::new()));
}

// tests [T14]
#[test]
fn who_has_forgotten_a_client_takes_no_name_for_a_new_one() {
    let mut group = Classics::new(2, Config { remembered_per_client: 1, remembered: 1, ..config() });
    for client in 1..=3 {
        let id = ProposalId::new(ClientId::anonymous(client), 1);
        group.propose(n(1), id, &transfer(&[1, 2], 0));
        group.settle();
    }
    // It voted for this, and forgot: a peer that asks is not told that it is aborted.
    let forgotten = Header { id: ProposalId::new(ClientId::anonymous(1), 1), ..header(1, 2, &[1, 2]) };
    group.say(n(1), n(2), Message::Inquire(forgotten.clone()));
    let said = group.wire.pop_back().map(|letter| letter.message);
    assert_eq!(said, Some(Message::Outcome { id: forgotten.id, commit: false }), "a coordinator presumes");
    group.say(n(2), n(1), Message::Inquire(Header { coordinator: n(2), ..forgotten }));
    assert!(group.wire.is_empty(), "{:?}", group.wire);
}

// tests [T2]
#[test]
fn an_abort_in_one_burst_with_its_question_leaves_no_lock() {
    use consensus_core::Event;
    let mut group = Classics::new(2, config());
    let (now, from) = (group.now, n(1));
    let node = group.nodes.get_mut(&n(2)).unwrap();
    node.push(now, Event::Message { from, message: prepare(1, 1, &[1, 2]) }).unwrap();
    node.push(now, Event::Message { from, message: Message::Outcome { id: name(1), commit: false } })
        .unwrap();
    node.flush(now).unwrap();
    assert_eq!(group.locks(), BTreeSet::new());
}
