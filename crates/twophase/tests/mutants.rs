//! Planted bugs that no random run shows, each with the schedule in which it does: `cargo xtask mutants` runs them beside its hunts. The
//! same schedule without the bug must go well.

use crate::group::{BALANCE, Group, Letter, account, config, n, name, transfer};
use consensus_core::{NodeId, Refusal, Verdict};
use multipaxos::Ballot;
use std::collections::BTreeSet;
use std::time::Duration;
use twophase::accounts::Transfer;
use twophase::{
    Classic, Config, Envelope, Header, Message, Mutant, Presumption, Record, Replicated, Transaction, Vote,
};

fn with(size: u64, mutant: Option<Mutant>) -> Group<Classic> {
    Group::new(size, Config { mutant, ..config() })
}

/// Takes the messages to this node off the wire.
fn intercept(group: &mut Group<Classic>, to: NodeId) -> Vec<Letter> {
    let (those, others) = group.wire.drain(..).partition(|letter: &Letter| letter.to == to);
    let taken: Vec<Letter> = those;
    let left: Vec<Letter> = others;
    group.wire.extend(left);
    taken
}

fn deliver(group: &mut Group<Classic>, letters: Vec<Letter>) {
    letters.into_iter().for_each(|letter| group.say(letter.from, letter.to, letter.message));
}

/// Whether a participant keeps its promise, though its state machine would not give it again: an operator has emptied the account.
fn keeps_its_promise(mutant: Option<Mutant>) -> bool {
    let mut group = with(3, mutant);
    group.propose(n(1), name(1), &transfer(&[2, 3], 0));
    while group.verdicts(name(1)).is_empty() {
        assert!(group.act());
    }
    group.wire.clear();
    group.crash(n(2));
    group.balance = 0;
    group.start(n(2));
    group.run_for_ms(1_000);
    group.records(2).contains(&Record::Settled { id: name(1), commit: true })
}

#[test]
fn a_promise_that_is_judged_again_is_found() {
    assert!(keeps_its_promise(None));
    assert!(!keeps_its_promise(Some(Mutant::JudgesAgain)));
}

/// Whether a question that comes again after the verdict locks nothing.
fn stays_settled(mutant: Option<Mutant>) -> bool {
    let mut group = with(2, mutant);
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    let question = group.wire.front().cloned().unwrap();
    group.settle();
    deliver(&mut group, vec![question]);
    group.locks().is_empty()
}

#[test]
fn a_question_that_resurrects_what_is_settled_is_found() {
    assert!(stays_settled(None));
    assert!(!stays_settled(Some(Mutant::VerdictsForgotten)));
}

/// A peer says that it will not vote, and then the question comes: what do the three hold?
fn says_abort_and_means_it(mutant: Option<Mutant>) -> bool {
    let mut group = with(3, mutant);
    group.propose(n(1), name(1), &transfer(&[2, 3], 0));
    let late = intercept(&mut group, n(3));
    while !group.wire.iter().any(|letter| letter.to == n(1)) {
        assert!(group.act());
    }
    let vote = intercept(&mut group, n(1));
    assert_eq!(vote.len(), 1);
    group.cut.insert((n(2), n(1)));
    group.cut.insert((n(1), n(3)));
    group.run_for_ms(200);
    assert!(group.locks().is_empty(), "node 2 was told that it is aborted");
    group.cut.clear();
    deliver(&mut group, late);
    deliver(&mut group, vote);
    group.run_for_ms(1_000);
    group.verdicts(name(1)) == BTreeSet::from([false]) && group.total() == 3 * 400
}

#[test]
fn an_abort_without_a_tombstone_is_found() {
    assert!(says_abort_and_means_it(None));
    assert!(!says_abort_and_means_it(Some(Mutant::NoTombstone)));
    assert!(!says_abort_and_means_it(Some(Mutant::AnswersAbortUnfenced)));
}

/// Whether a question that is overtaken by its answer locks nothing.
fn remembers_an_early_abort(mutant: Option<Mutant>) -> bool {
    let mut group = with(3, mutant);
    let mut wanted = transfer(&[1, 2, 3], 0);
    wanted.changes[1].1 = -1_000;
    group.propose(n(1), name(1), &wanted);
    let late = intercept(&mut group, n(3));
    group.settle();
    group.crash(n(1));
    deliver(&mut group, late);
    group.locks().is_empty()
}

#[test]
fn an_abort_that_is_overtaken_and_dropped_is_found() {
    assert!(remembers_an_early_abort(None));
    assert!(!remembers_an_early_abort(Some(Mutant::AbortBeforePrepareDropped)));
}

/// Whether what the reader has read is still so when all others hold their locks: another transaction changes it in between, and
/// something else that the first one changes later.
fn reads_at_one_moment(mutant: Option<Mutant>) -> bool {
    let mut group = with(3, mutant);
    let look = Transfer { changes: vec![(account(1, 0), -1), (account(2, 0), 1), (account(3, 0), 0)] };
    let envelope = Envelope::new(look.participants(), look.to_bytes()).with_reader(n(3));
    group.propose_bytes(n(1), name(1), envelope.to_bytes());
    let late = intercept(&mut group, n(2));
    let is_asked = group.wire.iter().any(|letter| letter.to == n(3));
    group.settle();
    group.propose(n(2), name(2), &transfer(&[2, 3], 0));
    group.settle();
    assert_eq!(group.verdicts(name(2)), BTreeSet::from([true]));
    deliver(&mut group, late);
    group.settle();
    let commits = group.verdicts(name(1)) == BTreeSet::from([true]);
    // It has read before the second one, and written after it.
    !(commits && is_asked)
}

#[test]
fn a_reader_that_is_asked_too_early_is_found() {
    assert!(reads_at_one_moment(None));
    assert!(!reads_at_one_moment(Some(Mutant::ReaderAskedFirst)));
}

/// What a client is told of a committed transaction by the node that has only read for it.
fn says_commit(mutant: Option<Mutant>) -> bool {
    let mut group = with(3, mutant);
    let look = Transfer { changes: vec![(account(1, 0), -1), (account(2, 0), 1), (account(3, 0), 0)] };
    let envelope = Envelope::new(look.participants(), look.to_bytes()).with_reader(n(3)).to_bytes();
    group.propose_bytes(n(1), name(1), envelope.clone());
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([true]));
    group.propose_bytes(n(3), name(1), envelope);
    group.settle();
    group.refused.pop().unwrap().2 == Refusal::Settled { verdict: Verdict::Commit }
}

// tests [T8]
#[test]
fn a_reader_that_has_a_verdict_of_its_own_is_found() {
    assert!(says_commit(None));
    assert!(!says_commit(Some(Mutant::ReaderRemembersAbort)));
}

/// Two coordinators of one name: what are their clients told?
fn is_told_one_thing(mutant: Option<Mutant>) -> bool {
    let mut group = with(4, mutant);
    group.propose(n(1), name(1), &transfer(&[3, 4], 0));
    group.act();
    group.act();
    // The votes for the first coordinator are lost, and it gives up.
    group.lose(|letter| matches!(letter.message, Message::Vote { vote: Vote::Yes, .. }));
    group.propose(n(2), name(1), &transfer(&[3, 4], 0));
    for node in [3, 4] {
        group.cut.insert((n(node), n(1)));
    }
    group.run_for_ms(2_000);
    group.verdicts(name(1)).len() <= 1
}

#[test]
fn two_coordinators_that_are_not_told_of_each_other_are_found() {
    assert!(is_told_one_thing(None));
    assert!(!is_told_one_thing(Some(Mutant::CoordinatorsNotTold)));
}

/// Whether an acceptor that has forgotten a verdict keeps out of the ballots of whoever is still in doubt. A minority may hold votes of a
/// ballot that came to nothing: with its word and that of one that starts anew, an abort becomes a commit.
fn keeps_out(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, remembered_per_client: 1, ..config() };
    let mut group = Group::<Replicated>::new(3, config);
    for number in 1..=3 {
        group.propose(n(1), name(number), &transfer(&[2, 3], 0));
        group.settle();
    }
    let participants = vec![n(2), n(3)];
    let (id, presumed) = (name(1), Presumption::Abort);
    let header = Header { id, coordinator: n(1), participants, reader: None, presumed };
    group.say(n(3), n(1), Message::Query { header, ballot: Ballot { round: 1, node: n(3) } });
    group.wire.is_empty()
}

#[test]
fn an_acceptor_that_has_forgotten_is_kept_out() {
    assert!(keeps_out(None));
    assert!(!keeps_out(Some(Mutant::ForgottenTakesPart)));
}

/// Whether a client is told what others must agree with: of two participants one acceptor alone has the votes. It leads a ballot, and is
/// cut off with what it proposes; the other acceptors have no votes, and it is aborted.
fn tells_what_is_chosen(mutant: Option<Mutant>) -> bool {
    let mut group = Group::<Replicated>::new(5, Config { mutant, faults: Some(1), ..config() });
    for (participant, acceptor) in [(4, 2), (4, 3), (5, 2), (5, 3)] {
        group.cut.insert((n(participant), n(acceptor)));
    }
    group.propose(n(1), name(1), &transfer(&[4, 5], 0));
    group.settle();
    group.crash(n(1));
    for node in [4, 5] {
        group.cut.insert((n(node), n(1)));
    }
    group.start(n(1));
    while !group.wire.iter().any(|letter| matches!(letter.message, Message::Propose { .. })) {
        assert!(group.act() || group.wake(group.now + Duration::from_secs(1)));
    }
    group.lose(|letter| letter.from == n(1));
    group.propose(n(1), name(1), &transfer(&[4, 5], 0));
    let told = group.refused.pop().map(|(.., reason)| reason);
    group.crash(n(1));
    group.cut.clear();
    group.run_for_ms(3_000);
    assert_eq!((group.balance(4, 0), group.locks()), (BALANCE, BTreeSet::new()), "it is aborted");
    told != Some(Refusal::Settled { verdict: Verdict::Commit })
}

// tests [T20]
#[test]
fn a_client_that_is_told_what_is_not_chosen_is_found() {
    assert!(tells_what_is_chosen(None));
    assert!(!tells_what_is_chosen(Some(Mutant::TellsWhatIsProposed)));
}

/// Whether what the only participant has aborted, coordinator besides, stays so: what is presumed says nothing of it, and after a crash
/// its state machine would agree.
fn stays_aborted(mutant: Option<Mutant>) -> bool {
    let config = Config { mutant, presumption: Presumption::Commit, ..config() };
    let mut group = Group::<Classic>::new(2, config);
    let much = Transfer::between(account(1, 0), account(1, 1), 1_000);
    group.propose(n(1), name(1), &much);
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([false]));
    group.crash(n(1));
    group.balance = 10_000;
    group.start(n(1));
    group.propose(n(1), name(1), &much);
    group.settle();
    group.verdicts(name(1)) == BTreeSet::from([false])
}

// tests [T9]
#[test]
fn an_abort_of_the_only_participant_that_is_not_written_is_found() {
    assert!(stays_aborted(None));
    assert!(!stays_aborted(Some(Mutant::SoleAbortNotWritten)));
}

/// Whether an abort that comes before the promise is on disk is carried out only when no crash can undo it. If one did, the
/// participant could promise the same to another coordinator of that name, who commits.
fn aborts_for_good(mutant: Option<Mutant>) -> bool {
    let mut group = Group::<Classic>::with(4, Config { mutant, ..config() }, true);
    let participants = vec![n(3), n(4)];
    let (id, presumed) = (name(1), Presumption::Abort);
    let header = Header { id, coordinator: n(1), participants, reader: None, presumed };
    let payload = transfer(&[3, 4], 0).to_bytes();
    group.say(n(1), n(3), Message::Prepare(Transaction { header, payload }));
    assert_eq!(group.locks(), BTreeSet::from([(n(3), id)]));
    group.say(n(1), n(3), Message::Outcome { id, commit: false });
    let waits = group.locks() == BTreeSet::from([(n(3), id)]);
    group.settle();
    assert_eq!(group.locks(), BTreeSet::new());
    waits
}

// tests [T15]
#[test]
fn an_abort_that_a_crash_may_undo_is_found() {
    assert!(aborts_for_good(None));
    assert!(!aborts_for_good(Some(Mutant::AbortBeforeFence)));
}
