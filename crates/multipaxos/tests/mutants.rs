//! Planted bugs that no random run shows, each with the schedule in which it does: `cargo xtask mutants` runs them beside its
//! hunts. The same schedule without the bug must go well.

use crate::common::Cluster;
use crate::common::alone::{Alone, ballot, command, promise, votes};
use consensus_core::NodeId;
use multipaxos::{Config, Message, MultiPaxos, Mutant};

fn with(mutant: Option<Mutant>) -> Config {
    Config { mutant, ..Config::default() }
}

/// How many different moments five nodes that boot together choose for their first ballot.
fn first_moments(mutant: Option<Mutant>) -> usize {
    let cluster = Cluster::<MultiPaxos>::with(5, with(mutant), false, 1);
    let mut moments: Vec<_> = cluster.nodes.values().map(|node| node.deadline()).collect();
    moments.sort_unstable();
    moments.dedup();
    moments.len()
}

/// Whoever waits as long as all others begins a ballot with them, and most of them for nothing. [P17]
#[test]
fn fixed_timeouts_are_found() {
    assert_eq!(first_moments(None), 5);
    assert_eq!(first_moments(Some(Mutant::FixedTimeouts)), 1);
}

/// How many ballots are led in ten seconds in a chain whose leader is at one end.
fn ballots_in_a_chain(mutant: Option<Mutant>) -> u64 {
    let mut cluster = Cluster::<MultiPaxos>::with(3, with(mutant), false, 1);
    let leader = cluster.elect();
    let [_, far]: [NodeId; 2] = cluster.others(leader).try_into().unwrap();
    cluster.cut.extend([(leader, far), (far, leader)]);
    let before = cluster.nodes[&leader].algorithm().promised().round;
    cluster.run_for_ms(10_000);
    cluster.nodes[&leader].algorithm().promised().round - before
}

/// The far end hears from the node between that there is a leader. [P18] [P19]
#[test]
fn a_veto_that_is_ignored_is_found() {
    assert_eq!(ballots_in_a_chain(None), 0);
    assert!(ballots_in_a_chain(Some(Mutant::VetoIgnored)) > 2);
}

/// How many slots a new leader proposes that was told of two.
fn proposed_anew(mutant: Option<Mutant>) -> usize {
    let mut alone = Alone::with(3, with(mutant), false);
    let own = alone.candidate(ballot(5, 2));
    let said = alone.hear(2, promise(own, 1, 0, vec![votes(1, ballot(3, 2), &["a", "b"])]));
    let mut proposed: Vec<_> = said
        .iter()
        .filter_map(|message| if let Message::Accept(accept) = message { Some(accept) } else { None })
        .collect();
    proposed.dedup_by_key(|accept| accept.first);
    assert_eq!(proposed[0].values[0], command("a"));
    proposed.iter().map(|accept| accept.values.len()).sum()
}

/// What is beyond the last slot that was told of is for clients: a no-op there chooses nothing wrong, and may stand behind a
/// stop-sign. [P3]
#[test]
fn noops_beyond_the_last_slot_are_found() {
    assert_eq!(proposed_anew(None), 2);
    assert_eq!(proposed_anew(Some(Mutant::NoopsBeyondLast)), 3);
}
