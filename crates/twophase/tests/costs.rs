//! What a transaction costs, counted: messages, records, and the syncs that somebody waits for.

use crate::group::{Group, Letter, config, n, name, transfer};
use std::collections::BTreeSet;
use std::time::Duration;
use twophase::{Classic, Config, Envelope, Presumption, Protocol, Replicated};

/// What was counted of one transaction: messages, and records.
type Cost = (usize, usize);

/// A transaction of the first `participants` nodes; the first one coordinates.
fn cost<P: Protocol>(participants: u64, size: u64, config: Config, refused: bool) -> Cost {
    let mut group = Group::<P>::new(size, config);
    let nodes: Vec<u64> = (1..=participants).collect();
    let mut wanted = transfer(&nodes, 0);
    if refused {
        // More than there is on the account of the last.
        wanted.changes.last_mut().unwrap().1 = -1_000;
    }
    group.propose(n(1), name(1), &wanted);
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([!refused]));
    (group.sent, (1..=size).map(|node| group.records(node).len()).sum())
}

const RANGE: std::ops::RangeInclusive<u64> = 2..=5;

fn presuming(presumption: Presumption) -> Config {
    Config { presumption, ..config() }
}

/// Mohan, Lindsay and Obermarck 1986, table 1, with the coordinator among the participants: of n participants n − 1 are sent PREPARE and
/// COMMIT, vote, and acknowledge, and write a promise and a commit; the coordinator writes its commit, and the end.
// tests [T6] [T10]
#[test]
fn presumed_abort_costs_what_the_paper_says() {
    for participants in RANGE {
        let others = usize::try_from(participants).unwrap() - 1;
        let of =
            |refused| cost::<Classic>(participants, participants, presuming(Presumption::Abort), refused);
        assert_eq!(of(false), (4 * others, 2 * others + 2), "n = {participants}");
        // Of an abort nothing is acknowledged. Who refuses is not told, and notes it; so does the coordinator, whose name it is not.
        assert_eq!(of(true), (2 * others + others - 1, 2 * (others - 1) + 2), "n = {participants}");
    }
}

/// The same under presumed commit: a record before anybody is asked, and no acknowledgement of a commit.
// tests [T7]
#[test]
fn presumed_commit_costs_what_the_paper_says() {
    for participants in RANGE {
        let others = usize::try_from(participants).unwrap() - 1;
        let of =
            |refused| cost::<Classic>(participants, participants, presuming(Presumption::Commit), refused);
        assert_eq!(of(false), (3 * others, 2 * others + 2), "n = {participants}");
        // Of an abort nothing but the end is written by the coordinator, after everybody else has acknowledged it.
        assert_eq!(of(true), (2 * others + 2 * (others - 1), 2 * (others - 1) + 3), "n = {participants}");
    }
}

/// Gray and Lamport 2006, §5: n participants, 2F + 1 acceptors of whom the coordinator is one, all of them asked at once.
// tests [T19] [T23]
#[test]
fn paxos_commit_costs_what_the_paper_says() {
    for faults in 0..=2_usize {
        for participants in RANGE {
            let size = 5;
            let (count, acceptors) = (usize::try_from(participants).unwrap(), 2 * faults + 1);
            let config = Config { faults: Some(faults), ..config() };
            let (messages, records) = cost::<Replicated>(participants, size, config, false);
            let others = count - 1;
            // PREPARE, outcome and acknowledgement to and from all others; a vote to each acceptor but oneself; what acceptors have, and
            // that they need not keep it.
            let registrations = count * acceptors - count.min(acceptors);
            assert_eq!(
                messages,
                3 * others + registrations + 2 * (acceptors - 1),
                "F = {faults}, n = {participants}"
            );
            // A promise and a verdict each; each acceptor what it has, and that it is over.
            assert_eq!(records, 2 * count + 2 * acceptors, "F = {faults}, n = {participants}");
        }
    }
}

/// Syncs one after the other until the client is told: what makes the latency on a slow disk.
fn rounds<P: Protocol>(size: u64, config: Config) -> (usize, usize) {
    let mut group = Group::<P>::with(size, config, true);
    group.settle();
    let nodes: Vec<u64> = (1..=size).collect();
    group.propose(n(1), name(1), &transfer(&nodes, 0));
    let (mut delays, mut syncs) = (0, 0);
    while group.verdicts(name(1)).is_empty() {
        let letters: Vec<Letter> = group.wire.drain(..).collect();
        if letters.is_empty() {
            syncs += 1;
            let disks: Vec<_> = std::mem::take(&mut group.unsynced).into_iter().collect();
            for id in disks {
                group.nodes.get_mut(&id).unwrap().storage().sync();
                group.handle(id, consensus_core::Event::Written);
            }
        } else {
            delays += 1;
            letters.into_iter().for_each(|letter| group.say(letter.from, letter.to, letter.message));
        }
        assert!(delays + syncs < 50);
    }
    (delays, syncs)
}

/// Message delays, and syncs in a row, until the client of a coordinator that takes part is told.
// tests [T3] [T4]
#[test]
fn the_client_waits_for_so_many_rounds() {
    assert_eq!(rounds::<Classic>(3, presuming(Presumption::Abort)), (2, 2));
    assert_eq!(rounds::<Classic>(3, presuming(Presumption::Commit)), (2, 3));
    assert_eq!(rounds::<Replicated>(3, config()), (3, 2));
}

/// A reader writes nothing, and hears nothing more than the question.
// tests [T8]
#[test]
fn a_reader_costs_two_messages_and_writes_nothing() {
    let mut group = Group::<Classic>::new(3, config());
    let mut wanted = transfer(&[1, 2, 3], 0);
    wanted.changes[0].1 = -1;
    wanted.changes[2].1 = 0;
    let envelope = Envelope::new(wanted.participants(), wanted.to_bytes()).with_reader(n(3));
    group.propose_bytes(n(1), name(1), envelope.to_bytes());
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([true]));
    assert_eq!(group.sent, 4 + 2);
    assert!(group.records(3).is_empty());
}

/// How long participants keep their locks after their coordinator has died, for good or until it is back, having done so many actions.
/// Messages take no time and disks none: what is left is the protocol's own waiting.
fn held<P: Protocol>(config: Config, actions: usize, back: Duration) -> Duration {
    let mut group = Group::<P>::with(3, config, true);
    group.settle();
    group.propose(n(1), name(1), &transfer(&[2, 3], 0));
    for _ in 0..actions {
        group.act();
    }
    group.crash(n(1));
    let died = group.now;
    loop {
        group.settle();
        if group.locks().is_empty() {
            return group.now.since(died);
        }
        let is_down = !group.nodes.contains_key(&n(1));
        if !group.wake(if is_down { died + back } else { died + back * 2 }) {
            assert!(is_down, "after {actions} actions: they are never freed");
            group.now = died + back;
            group.start(n(1));
        }
    }
}

/// Of each step of a transaction, how long its participants keep their locks if its coordinator dies there.
fn held_at_each_step<P: Protocol>(config: &Config, back: Duration) -> Vec<Duration> {
    let mut whole = Group::<P>::with(3, config.clone(), true);
    whole.settle();
    whole.propose(n(1), name(1), &transfer(&[2, 3], 0));
    let steps = std::iter::from_fn(|| whole.act().then_some(())).count();
    (0..=steps).map(|actions| held::<P>(config.clone(), actions, back)).collect()
}

// tests [T13] [T24]
#[test]
fn two_phase_commit_waits_for_its_coordinator_and_paxos_commit_does_not() {
    let (soon, late) = (Duration::from_secs(2), Duration::from_secs(60));
    let longest = |steps: &[Duration]| steps.iter().max().copied().unwrap();
    for presumption in [Presumption::Abort, Presumption::Commit] {
        for back in [soon, late] {
            let steps = held_at_each_step::<Classic>(&presuming(presumption), back);
            assert!(
                longest(&steps) >= back,
                "{presumption:?}: there is a step at which nobody else knows: {steps:?}"
            );
            assert!(steps.iter().any(|held| held.is_zero()), "{presumption:?}: {steps:?}");
        }
    }
    let steps = held_at_each_step::<Replicated>(&config(), soon);
    assert_eq!(
        steps,
        held_at_each_step::<Replicated>(&config(), late),
        "whether it comes back makes no difference"
    );
    // It asks twice, and leads a ballot, or two if another does at the same time.
    assert!(longest(&steps) <= Duration::from_millis(20 * 16), "{steps:?}");
    // Without spare acceptors it is two-phase commit.
    let alone = Config { faults: Some(0), ..config() };
    assert!(longest(&held_at_each_step::<Replicated>(&alone, soon)) >= soon);
}
