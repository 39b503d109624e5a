//! Who leads, and how soon: the clauses P17 to P20, P22 to P24, and the three cases of partial connectivity (Ng, Haridi and
//! Carbone 2023, §2). T is an election timeout; on the wire of these tests a message takes no time.

use crate::alone::{Alone, accept, ballot, heartbeat, prepare, unhappy};
use crate::common::{Cluster, Envelope, n};
use consensus_core::{Event, NodeId, Offence, Refusal, Role, Slot};
use multipaxos::{Ballot, Config, Message, MultiPaxos, Tell};

const T_MS: u64 = 1_000;

fn happy(round: u64, leader: u64) -> Message {
    Message::Tell(Tell { leader: Some(n(leader)), happy: true, ..unhappy(round, Ballot::ZERO, 0) })
}

/// How long until somebody serves a proposal, as long as it is no longer than `most_ms`.
fn served_within(cluster: &mut Cluster<MultiPaxos>, most_ms: u64) -> Option<(NodeId, u64)> {
    for ms in 0..=most_ms / 10 {
        for leader in cluster.leaders() {
            let before = cluster.diary(leader).len();
            cluster.propose(leader, 1_000_000 + ms, b"served");
            cluster.settle();
            if cluster.diary(leader).len() > before {
                return Some((leader, ms * 10));
            }
        }
        cluster.run_for_ms(10);
    }
    None
}

/// Only the links of `hub` are left.
fn cut_all_but(cluster: &mut Cluster<MultiPaxos>, hub: NodeId) {
    let all: Vec<NodeId> = cluster.members.iter().collect();
    for &from in &all {
        for &to in all.iter().filter(|&&to| to != from && from != hub && to != hub) {
            cluster.cut.insert((from, to));
        }
    }
}

fn group(size: u64, seed: u64) -> (Cluster<MultiPaxos>, NodeId) {
    let mut cluster = Cluster::with(size, Config::default(), false, seed);
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"before");
    cluster.settle();
    (cluster, leader)
}

// tests [P17]
#[test]
fn service_resumes_within_two_timeouts_of_a_crash() {
    for seed in 0..200 {
        let (mut cluster, leader) = group(3 + 2 * (seed % 2), seed);
        cluster.run_for_ms(seed % 100);
        cluster.crash(leader);
        assert!(served_within(&mut cluster, 2 * T_MS).is_some(), "seed {seed}");
    }
}

// tests [P17]
#[test]
fn a_new_group_is_led_within_a_timeout() {
    for seed in 0..200 {
        let mut cluster = Cluster::<MultiPaxos>::with(3, Config::default(), false, seed);
        assert!(served_within(&mut cluster, T_MS).is_some(), "seed {seed}");
    }
}

// tests [P17]
#[test]
fn whoever_hears_a_leader_waits_a_timeout_at_least() {
    let mut alone = Alone::new(3, false);
    for _ in 0..50 {
        alone.hear(2, heartbeat(ballot(1, 2), 1, 0, 1));
        assert!(alone.wait(100).is_empty());
    }
    alone.hear(2, heartbeat(ballot(1, 2), 1, 0, 1));
    for _ in 0..99 {
        assert_eq!(alone.wait(10), []);
    }
    let mut waited = 990;
    while alone.wait(10).is_empty() {
        waited += 10;
    }
    assert!((T_MS - 10..=T_MS * 3 / 2).contains(&waited), "{waited}");
}

// tests [P18]
#[test]
fn nobody_leads_whom_too_few_answer_or_somebody_contradicts() {
    for (answers, leads) in [
        (vec![(2, true)], false),
        (vec![(2, true), (3, true)], true),
        (vec![(2, true), (2, true)], false),
        (vec![(2, true), (3, true), (4, false)], false),
        (vec![(2, true), (3, true), (9, false)], true),
    ] {
        let mut alone = Alone::new(5, false);
        let round = alone.asked();
        for &(from, is_unhappy) in &answers {
            let message =
                if is_unhappy { Message::Tell(unhappy(round, Ballot::ZERO, 0)) } else { happy(round, 5) };
            alone.hear(from, message);
        }
        // It waits for the others no longer than a heartbeat's interval.
        assert_eq!(alone.role(), Role::Candidate);
        assert_eq!(alone.node().promised(), Ballot::ZERO);
        alone.wait(100);
        assert_eq!(alone.node().promised() > Ballot::ZERO, leads, "{answers:?}");
    }
    // With all answers it does not wait at all, and answers to earlier questions are none.
    let mut alone = Alone::new(3, false);
    let first = alone.asked();
    let second = alone.asked();
    for round in [first, second] {
        assert_eq!(alone.node().promised(), Ballot::ZERO);
        alone.hear(2, Message::Tell(unhappy(round, Ballot::ZERO, 0)));
        alone.hear(3, Message::Tell(unhappy(round, Ballot::ZERO, 0)));
    }
    assert_eq!(alone.node().promised(), ballot(1, 1));
}

fn is_happy(said: &[Message]) -> Option<bool> {
    match said {
        [Message::Tell(tell)] => Some(tell.happy),
        _ => None,
    }
}

// tests [P19]
#[test]
fn happy_is_who_heard_somebody_lead_or_about_to() {
    let ask = || Message::Ask(multipaxos::Ask { round: 7 });
    let mut alone = Alone::new(3, false);
    assert_eq!(is_happy(&alone.hear(3, ask())), Some(false));
    alone.hear(2, prepare(ballot(1, 2), 1));
    assert_eq!(is_happy(&alone.hear(3, ask())), Some(true));
    alone.wait(999);
    assert_eq!(is_happy(&alone.hear(3, ask())), Some(true));
    alone.wait(1);
    assert_eq!(is_happy(&alone.hear(3, ask())), Some(false));
    let mut alone = Alone::new(3, false);
    alone.lead();
    assert_eq!(is_happy(&alone.hear(3, ask())), Some(true));
}

// tests [P20]
#[test]
fn a_leader_without_a_quorum_resigns_and_says_so() {
    let mut alone = Alone::new(3, false);
    let own = alone.lead();
    let mut said = Vec::new();
    for _ in 0..12 {
        said.extend(alone.wait(100));
    }
    assert_eq!(said.iter().filter(|message| **message == Message::Resigned { ballot: own }).count(), 2);
    assert_eq!(alone.role(), Role::Follower);
    // Whoever hears it seeks to lead soon, unless the ballot is an old one.
    let mut alone = Alone::new(3, false);
    alone.hear(2, heartbeat(ballot(3, 2), 1, 0, 1));
    for (resigned, asks) in [(ballot(2, 2), false), (ballot(3, 2), true)] {
        alone.hear(2, Message::Resigned { ballot: resigned });
        let said = alone.wait(100);
        assert_eq!(said.iter().any(|message| matches!(message, Message::Ask(_))), asks);
    }
}

/// The leader lives and has lost its quorum; one node reaches all. Bound: the leader notices within T, and says so; the hub asks
/// within T/10 and leads.
// tests [P18] [P20]
#[test]
fn in_quorum_loss_the_hub_leads_within_two_timeouts() {
    for seed in 0..50 {
        let (mut cluster, leader) = group(5, seed);
        let hub = cluster.others(leader)[(seed % 4) as usize];
        cut_all_but(&mut cluster, hub);
        cluster.run_for_ms(2 * T_MS);
        assert_eq!(cluster.leaders(), [hub], "seed {seed}");
        assert_eq!(served_within(&mut cluster, 0), Some((hub, 0)), "seed {seed}");
        cluster.run_for_ms(10 * T_MS);
        assert_eq!(cluster.leaders(), [hub], "seed {seed}: it stays");
    }
}

/// The leader is gone, and the only node with a quorum of links lacks what was chosen. Bound: 1.5 T until it asks, and an
/// interval for those who do not answer.
// tests [P18] [P3]
#[test]
fn in_the_constrained_case_a_stale_hub_leads_within_two_timeouts() {
    for seed in 0..50 {
        let (mut cluster, leader) = group(5, seed);
        let hub = cluster.others(leader)[(seed % 4) as usize];
        cluster.isolate(hub);
        for number in 2..=4 {
            cluster.propose(leader, number, b"unknown to the hub");
            cluster.settle();
        }
        cluster.cut.clear();
        cut_all_but(&mut cluster, hub);
        cluster.cut.insert((hub, leader));
        cluster.cut.insert((leader, hub));
        cluster.run_for_ms(2 * T_MS);
        assert!(cluster.leaders().contains(&hub), "seed {seed}");
        cluster.propose(hub, 9, b"served");
        cluster.settle();
        let lines: Vec<u64> = cluster.diary(hub).iter().map(|(slot, _)| *slot).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5], "seed {seed}");
    }
}

/// A chain, the leader at one end: the other end does not hear it. Bound: none is needed, since the node between says that it
/// hears the leader, and the leader stays.
// tests [P18] [P19]
#[test]
fn in_a_chain_the_leader_stays() {
    for seed in 0..50 {
        let (mut cluster, leader) = group(3, seed);
        let [middle, far] = cluster.others(leader)[..] else { panic!() };
        cut_all_but(&mut cluster, middle);
        let promised = cluster.nodes[&leader].algorithm().promised();
        for number in 2..=20 {
            cluster.propose(leader, number, b"x");
            cluster.run_for_ms(T_MS / 2);
            assert_eq!(cluster.diary(leader).len() as u64, number, "seed {seed}");
        }
        assert_eq!(
            (cluster.leaders(), cluster.nodes[&leader].algorithm().promised()),
            (vec![leader], promised)
        );
        // What is chosen reaches the far end all the same.
        assert!(cluster.diary(far).len() > 10, "seed {seed}");
    }
}

// tests [P22]
#[test]
fn a_suspected_leader_is_followed_by_another_soon_unless_others_hear_it() {
    let suspect = |peer| Event::Suspect { peer, suspected: true };
    for seed in 0..50 {
        let (mut cluster, leader) = group(3, seed);
        let others = cluster.others(leader);
        cluster.crash(leader);
        others.iter().for_each(|&other| cluster.handle(other, suspect(leader)));
        // Nobody waits for it either.
        assert!(served_within(&mut cluster, T_MS / 10).is_some(), "seed {seed}");
        let (mut cluster, leader) = group(3, seed);
        let other = cluster.others(leader)[0];
        cluster.handle(other, suspect(leader));
        cluster.run_for_ms(5 * T_MS);
        assert_eq!(cluster.leaders(), [leader], "seed {seed}: the third hears it");
    }
}

// tests [P23]
#[test]
fn leadership_is_handed_over_to_whom_is_named() {
    let (mut cluster, leader) = group(3, 1);
    let successor = cluster.others(leader)[1];
    cluster.handle(leader, Event::Transfer { to: Some(successor) });
    cluster.propose(leader, 2, b"x");
    assert_eq!(cluster.refusals(leader), [(2, Refusal::Busy)]);
    // The call is lost, and repeated.
    cluster.wire.clear();
    cluster.run_for_ms(150);
    assert_eq!(cluster.leaders(), [successor]);
    cluster.propose(successor, 3, b"y");
    cluster.settle();
    assert_eq!(cluster.diary(leader).len(), 2);
    // Nobody but the leader that is followed can call.
    let promised = cluster.nodes[&leader].algorithm().promised();
    let third = cluster.others(leader).into_iter().find(|&node| node != successor).unwrap();
    for (from, ballot) in [(third, ballot(promised.round, third.0)), (successor, ballot(1, successor.0))] {
        if ballot != promised {
            cluster.deliver(Envelope { from, to: leader, message: Message::Call { ballot } });
        }
    }
    cluster.settle();
    assert_eq!(cluster.leaders(), [successor]);
}

// tests [P23]
#[test]
fn a_hand_over_to_somebody_who_is_gone_is_given_up() {
    let (mut cluster, leader) = group(3, 1);
    let gone = cluster.others(leader)[0];
    cluster.crash(gone);
    cluster.propose(leader, 2, b"x");
    cluster.handle(leader, Event::Transfer { to: Some(gone) });
    cluster.run_for_ms(T_MS / 2);
    cluster.propose(leader, 3, b"x");
    assert_eq!(cluster.refusals(leader), [(3, Refusal::Busy)]);
    cluster.run_for_ms(T_MS);
    cluster.propose(leader, 4, b"x");
    cluster.settle();
    assert_eq!((cluster.leaders(), cluster.diary(leader).len()), (vec![leader], 3));
}

// tests [P23]
#[test]
fn whoever_lacks_something_is_called_when_it_has_it() {
    let mut alone = Alone::new(3, false);
    let own = alone.lead();
    alone.propose(1, b"a");
    let call = Message::Call { ballot: own };
    alone.cluster.wire.clear();
    alone.cluster.handle(n(1), Event::Transfer { to: Some(n(2)) });
    assert!(!alone.said().contains(&call));
    let said = alone.hear(2, crate::alone::accepted(own, 1, 1, 0, 0));
    assert!(said.contains(&call));
    alone.hear(2, Message::Declined { ballot: own });
    alone.propose(2, b"b");
    assert_eq!(alone.cluster.refusals(n(1)), [], "it declined, and the leader leads on");
}

/// Ballots that overtake each other come to an end: waits are random.
// tests [P17] [P25]
#[test]
fn many_who_begin_at_once_agree_on_one() {
    for seed in 0..50 {
        let config = Config { ask_first: seed % 2 == 0, ..Config::default() };
        let mut cluster = Cluster::<MultiPaxos>::with(7, config, false, seed);
        assert!(served_within(&mut cluster, 4 * T_MS).is_some(), "seed {seed}");
        cluster.run_for_ms(3 * T_MS);
        assert_eq!(cluster.leaders().len(), 1, "seed {seed}");
        assert!(cluster.accusations.iter().all(|(_, _, offence)| *offence != Offence::Stranger));
    }
}

// tests [P28]
#[test]
fn a_follower_that_loses_its_leader_forgets_it() {
    let mut alone = Alone::new(3, false);
    alone.hear(2, accept(ballot(1, 2), 1, 0, &["a"]));
    assert_eq!(alone.cluster.nodes[&n(1)].status().leader, Some(n(2)));
    alone.asked();
    assert_eq!(alone.cluster.nodes[&n(1)].status().leader, None);
    alone.read(1);
    assert_eq!(alone.cluster.reads_refused(n(1)), [(1, Refusal::NotLeader { hint: None })]);
    assert_eq!(alone.cluster.reads_ready(n(1)), Vec::<(u64, Slot)>::new());
}
