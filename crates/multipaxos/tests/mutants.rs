//! Planted bugs that no random run shows, each with the schedule in which it does: `cargo xtask mutants` runs them beside its
//! hunts. The same schedule without the bug must go well.

use crate::common::alone::{Alone, ballot, command, promise, votes};
use crate::common::{Cluster, n};
use consensus_core::{Event, NodeId};
use multipaxos::{Config, Message, MultiPaxos, Mutant};
use std::time::Duration;

fn with(mutant: Option<Mutant>) -> Config {
    Config { mutant, ..Config::default() }
}

/// Whether somebody leads within a minute, where nobody asks the others first, nodes boot together, and all links take one
/// millisecond.
fn leads_in_lockstep(mutant: Option<Mutant>) -> bool {
    // A ballot takes longer than the others wait: whoever does not wait a random while is overtaken.
    let config =
        Config { ask_first: false, election_timeout_ms: 20, heartbeat_interval_ms: 4, ..with(mutant) };
    let mut cluster = Cluster::<MultiPaxos>::with(3, config, false, 1);
    for _ in 0..60_000 {
        cluster.now += Duration::from_millis(1);
        let in_flight = cluster.wire.len();
        for id in 1..=3 {
            cluster.handle(n(id), Event::Tick);
        }
        for _ in 0..in_flight {
            let envelope = cluster.wire.pop_front().unwrap();
            cluster.deliver(envelope);
        }
        if !cluster.leaders().is_empty() && cluster.now.as_nanos() > 1_000_000_000 {
            return true;
        }
    }
    false
}

/// Ballots that are begun together overtake each other for ever. [P17]
#[test]
fn fixed_timeouts_are_found() {
    assert!(leads_in_lockstep(None));
    assert!(!leads_in_lockstep(Some(Mutant::FixedTimeouts)));
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
