//! Planted bugs that no random run shows, each with the schedule in which it does: `cargo xtask mutants` runs them beside its
//! hunts. The same schedule without the bug must go well.

use crate::alone::{Alone, accept, ballot, command, prepare, promise, votes};
use crate::common::Cluster;
use crate::reconfiguration::{promises_in_an_earlier_configuration, votes_told_after_a_seal};
use crate::snapshot::{asking, piece, wants};
use consensus_core::{NodeId, Slot};
use multipaxos::{Ballot, Config, Message, MultiPaxos, Mutant, Promise};

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

/// Whether a leader answers a read with what it knew before another was elected, because of an echo that is older than the read.
fn answers_by_an_older_echo(mutant: Option<Mutant>) -> bool {
    let mut cluster = Cluster::<MultiPaxos>::with(3, with(mutant), false, 1);
    let old = cluster.elect();
    let asked_at = cluster.now;
    cluster.read(old, 1);
    // The others echo the probe, and the answers are late.
    let probes: Vec<_> = cluster.wire.drain(..).collect();
    probes.into_iter().for_each(|probe| cluster.deliver(probe));
    let late: Vec<_> = cluster.wire.drain(..).collect();
    assert!(late.iter().all(|echo| echo.to == old) && !late.is_empty());
    // They elect another, which serves, while the clock of the old leader stands still.
    cluster.isolate(old);
    let new = cluster.succeed(old);
    cluster.propose(new, 1, b"x");
    cluster.settle();
    assert_eq!(cluster.diary(new).len(), 1);
    cluster.now = asked_at;
    cluster.read(old, 2);
    late.into_iter().for_each(|echo| cluster.deliver(echo));
    let served: Vec<_> = cluster.reads_ready(old).iter().map(|&(read, _)| read).collect();
    assert!(served.contains(&1), "what was asked before may be answered");
    served.contains(&2)
}

/// An echo proves that the leader led when its probe left, and no later (etcd 20418). [P26]
#[test]
fn a_read_that_uses_an_earlier_probe_is_found() {
    assert!(!answers_by_an_older_echo(None));
    assert!(answers_by_an_older_echo(Some(Mutant::ReadProbeReused)));
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

fn promises(said: &[Message]) -> Vec<&Promise> {
    said.iter()
        .filter_map(|message| if let Message::Promise(promise) = message { Some(&**promise) } else { None })
        .collect()
}

/// Whether a promise leaves before it is on disk.
fn promises_at_once(mutant: Option<Mutant>) -> bool {
    let mut alone = Alone::with(3, with(mutant), true);
    let said = alone.hear(2, prepare(ballot(5, 2), 1));
    !promises(&said).is_empty()
}

/// A crash takes what was not on disk. [P1] [S2]
#[test]
fn promises_before_the_disk_are_found() {
    assert!(!promises_at_once(None));
    assert!(promises_at_once(Some(Mutant::PromiseBeforeDurable)));
}

/// Whether a node that has promised a ballot accepts something in a lower one after a crash.
fn breaks_a_promise(mutant: Option<Mutant>) -> bool {
    let mut alone = Alone::with(3, with(mutant), false);
    let said = alone.hear(2, prepare(ballot(5, 2), 1));
    assert_eq!(promises(&said).len(), 1);
    alone.restart();
    alone.hear(3, accept(ballot(3, 3), 1, 0, &["a"]));
    alone.node().accepted_in(Slot(1)).is_some()
}

/// A promise holds beyond a crash. [P1] [P30]
#[test]
fn promises_that_are_not_written_are_found() {
    assert!(!breaks_a_promise(None));
    assert!(breaks_a_promise(Some(Mutant::PromiseNotWritten)));
}

/// Whether a node that was about to lead a ballot leads the same one after a crash.
fn leads_a_ballot_twice(mutant: Option<Mutant>) -> bool {
    let mut alone = Alone::with(3, with(mutant), false);
    let first = alone.candidate(ballot(5, 2));
    alone.restart();
    alone.candidate(ballot(5, 2)) == first
}

/// Promises of the first time would count for the second. [S1]
#[test]
fn ballots_that_are_led_twice_are_found() {
    assert!(!leads_a_ballot_twice(None));
    assert!(leads_a_ballot_twice(Some(Mutant::BallotReused)));
}

/// In which ballot a node says to have accepted what it did in ballot 1, before it promised ballot 4.
fn told_ballot(mutant: Option<Mutant>) -> Ballot {
    let mut alone = Alone::with(3, with(mutant), false);
    alone.hear(2, accept(ballot(1, 2), 1, 0, &["a"]));
    alone.hear(3, prepare(ballot(4, 3), 1));
    let said = alone.hear(2, prepare(ballot(6, 2), 1));
    promises(&said)[0].votes[0].ballot
}

/// A value that is told as of a higher ballot than it was accepted in passes for a later choice. [P2]
#[test]
fn promises_that_tell_the_promised_ballot_are_found() {
    assert_eq!(told_ballot(None), ballot(1, 2));
    assert_eq!(told_ballot(Some(Mutant::PromiseTellsPromised)), ballot(4, 3));
}

/// A quorum of another configuration proves nothing. [P38] [P41]
#[test]
fn promises_of_any_configuration_are_found() {
    assert!(!promises_in_an_earlier_configuration(with(None)));
    assert!(promises_in_an_earlier_configuration(with(Some(Mutant::PromiseOfAnyConfiguration))));
}

/// What was accepted behind a stop-sign is void. [P38]
#[test]
fn votes_that_outlive_their_configuration_are_found() {
    assert_eq!(votes_told_after_a_seal(with(None)), []);
    assert_ne!(votes_told_after_a_seal(with(Some(Mutant::SealedVotesStay))), []);
}

/// How many questions follow a piece of a snapshot that comes three times.
fn questions_after_repetitions(mutant: Option<Mutant>) -> usize {
    let mut alone = asking(with(mutant));
    (0..3).map(|_| wants(&alone.hear(2, piece(9, 50, 0, b"0123456789", &alone))).len()).sum()
}

/// If each repetition is asked on, their number never falls. [P16]
#[test]
fn repeated_pieces_that_are_answered_are_found() {
    assert_eq!(questions_after_repetitions(None), 1);
    assert_eq!(questions_after_repetitions(Some(Mutant::RepeatedPieceAnswered)), 3);
}
