//! A crash at every step of every role, enumerated and not sampled: after each message and each sync of a transaction one node crashes;
//! and in pairs of crashes a second one, at every later step, with either node back first. Whatever happens, no two nodes carry out
//! different verdicts, no money is made or lost, and once all are back everything is settled.

use crate::group::{BALANCE, Group, config, is_blocking, n, name, transfer};
use consensus_core::NodeId;
use std::collections::BTreeSet;
use twophase::accounts::Transfer;
use twophase::{Classic, Config, Presumption, Protocol, Replicated};

/// A crash: after so many actions, of whom.
type Crash = (usize, NodeId);

/// A transaction to be tried, and where it is proposed.
#[derive(Clone)]
struct Trial {
    size: u64,
    config: Config,
    coordinator: NodeId,
    transfer: Transfer,
}

impl Trial {
    fn new(size: u64, coordinator: u64, nodes: &[u64], config: Config) -> Self {
        Self { size, config, coordinator: n(coordinator), transfer: transfer(nodes, 0) }
    }

    fn begin<P: Protocol>(&self) -> Group<P> {
        let mut group = Group::with(self.size, self.config.clone(), true);
        group.settle();
        group.propose(self.coordinator, name(1), &self.transfer);
        group
    }

    /// How many actions it takes undisturbed.
    fn length<P: Protocol>(&self) -> usize {
        let mut group = self.begin::<P>();
        let mut actions = 0;
        while group.act() {
            actions += 1;
        }
        assert_eq!(group.verdicts(name(1)), BTreeSet::from([true]));
        actions
    }

    /// What has become of it at the participants that are up: committed there or not.
    fn carried_out<P: Protocol>(&self, group: &Group<P>) -> BTreeSet<bool> {
        let nodes = self.transfer.participants().filter(|node| group.nodes.contains_key(node));
        nodes.map(|node| group.balance(node.0, 0) != BALANCE).collect()
    }

    fn check<P: Protocol>(&self, group: &mut Group<P>, what: &str) {
        group.run_for_ms(5_000);
        let (carried_out, told) = (self.carried_out(group), group.verdicts(name(1)));
        assert_eq!(carried_out.len(), 1, "{what}: some have committed, and some have not");
        assert!(
            told.is_empty() || told == carried_out,
            "{what}: the client was told {told:?}, {carried_out:?} came of it"
        );
        assert_eq!(group.locks(), BTreeSet::new(), "{what}: locks are left");
        assert_eq!(group.total(), BALANCE * 4 * i64::try_from(self.size).unwrap(), "{what}");
        assert!(
            group.nodes.values().all(|node| node.status().blocked.is_empty()),
            "{what}: somebody is in doubt"
        );
        assert!(group.accused.is_empty(), "{what}: {:?}", group.accused);
        // The locks are free for others, and the name is known.
        group.propose(self.coordinator, name(1), &self.transfer);
        group.run_for_ms(1_000);
        group.propose(self.coordinator, name(2), &self.transfer);
        group.run_for_ms(1_000);
        assert_eq!(group.verdicts(name(2)), BTreeSet::from([true]), "{what}: a new one is not committed");
        assert!(group.verdicts(name(1)).len() <= 1, "{what}: the client was told both");
    }
}

fn run<P: Protocol>(group: &mut Group<P>, actions: usize) {
    for _ in 0..actions {
        if !group.act() && !group.wake(group.now + std::time::Duration::from_secs(1)) {
            return;
        }
    }
}

/// Whether anybody was blocked while the node was down.
fn one_crash<P: Protocol>(trial: &Trial, (at, who): Crash) -> bool {
    let mut group = trial.begin::<P>();
    run(&mut group, at);
    group.crash(who);
    group.run_for_ms(3_000);
    let what = format!("{who} crashed after {at} actions");
    assert!(
        trial.carried_out(&group).len() <= 1 || is_blocking::<P>(),
        "{what}: some have committed, and some have not"
    );
    let mut was_blocked = false;
    for node in group.nodes.values() {
        for (_, on) in node.status().blocked {
            was_blocked = true;
            assert!(on.contains(&who), "{what}: {} waits for {on:?}", node.id());
        }
    }
    // Whoever holds a lock says that it waits.
    for (node, id) in group.locks() {
        assert!(group.blocked(node.0).iter().any(|(waiting, _)| *waiting == id), "{what}: {node} is silent");
    }
    group.start(who);
    trial.check(&mut group, &what);
    was_blocked
}

fn two_crashes<P: Protocol>(trial: &Trial, first: Crash, second: Crash, is_first_back_first: bool) {
    let mut group = trial.begin::<P>();
    run(&mut group, first.0);
    group.crash(first.1);
    run(&mut group, second.0);
    group.crash(second.1);
    let (one, other) = if is_first_back_first { (first, second) } else { (second, first) };
    group.run_for_ms(700);
    group.start(one.1);
    group.run_for_ms(700);
    group.start(other.1);
    trial.check(&mut group, &format!("crashes {first:?} and {second:?}, {} back first", one.1));
}

/// Every crash; how many runs somebody was blocked in.
fn every_crash<P: Protocol>(trial: &Trial) -> usize {
    let crashes = (0..=trial.length::<P>()).flat_map(|at| (1..=trial.size).map(move |node| (at, n(node))));
    crashes.filter(|&crash| one_crash::<P>(trial, crash)).count()
}

fn every_pair<P: Protocol>(trial: &Trial) {
    let length = trial.length::<P>();
    for first in 0..=length {
        for second in 0..=length.saturating_sub(first) + 4 {
            for one in 1..=trial.size {
                for other in (1..=trial.size).filter(|&other| other != one) {
                    for is_first_back_first in [true, false] {
                        two_crashes::<P>(trial, (first, n(one)), (second, n(other)), is_first_back_first);
                    }
                }
            }
        }
    }
}

fn presuming(presumption: Presumption) -> Config {
    Config { presumption, ..config() }
}

fn tolerating(faults: usize) -> Config {
    Config { faults: Some(faults), ..config() }
}

// tests [T4] [T17]
#[test]
fn two_phase_commit_survives_a_crash_at_every_step() {
    for presumption in [Presumption::Abort, Presumption::Commit] {
        for (coordinator, nodes) in [(1, &[1, 2, 3][..]), (1, &[2, 3]), (1, &[1, 2]), (1, &[2]), (1, &[1])] {
            let trial = Trial::new(3, coordinator, nodes, presuming(presumption));
            let blocked = every_crash::<Classic>(&trial);
            // With somebody else's promise outstanding there is a moment at which its coordinator is missed.
            assert_eq!(blocked > 0, nodes != [1], "{presumption:?} {nodes:?}");
        }
    }
}

// tests [T4] [T17]
#[test]
fn two_phase_commit_survives_any_two_crashes() {
    for presumption in [Presumption::Abort, Presumption::Commit] {
        every_pair::<Classic>(&Trial::new(3, 1, &[1, 2, 3], presuming(presumption)));
        every_pair::<Classic>(&Trial::new(3, 1, &[2, 3], presuming(presumption)));
    }
}

// tests [T18] [T24]
#[test]
fn paxos_commit_is_not_blocked_by_any_crash() {
    for (size, faults, nodes) in
        [(3, 1, &[1, 2, 3][..]), (3, 1, &[2, 3]), (3, 1, &[2]), (5, 1, &[1, 2]), (5, 2, &[4, 5])]
    {
        let trial = Trial::new(size, 1, nodes, tolerating(faults));
        assert_eq!(every_crash::<Replicated>(&trial), 0, "n = {size}, F = {faults}, {nodes:?}");
    }
}

// tests [T18]
#[test]
fn paxos_commit_without_spare_acceptors_blocks_as_two_phase_commit_does() {
    let trial = Trial::new(3, 1, &[1, 2, 3], tolerating(0));
    assert!(every_crash::<Replicated>(&trial) > 0);
}

// tests [T22]
#[test]
fn paxos_commit_survives_any_two_crashes() {
    every_pair::<Replicated>(&Trial::new(3, 1, &[2, 3], tolerating(1)));
}

/// F = 2: the coordinator and another acceptor die for good, at any two steps; whoever is left decides alike.
// tests [T18] [T20]
#[test]
fn paxos_commit_outlives_its_coordinator_and_an_acceptor() {
    let trial = Trial::new(5, 1, &[3, 4, 5], tolerating(2));
    let length = trial.length::<Replicated>();
    for first in 0..=length {
        for second in 0..=length - first {
            let mut group = trial.begin::<Replicated>();
            run(&mut group, first);
            group.crash(n(1));
            run(&mut group, second);
            group.crash(n(2));
            group.run_for_ms(8_000);
            let what = format!("after {first} and {second} actions");
            assert_eq!(trial.carried_out(&group).len(), 1, "{what}");
            assert_eq!(group.locks(), BTreeSet::new(), "{what}");
            assert!(group.nodes.values().all(|node| node.status().blocked.is_empty()), "{what}");
        }
    }
}
