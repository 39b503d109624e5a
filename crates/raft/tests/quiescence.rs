//! Rest: the clauses R49, R52 and R53 of `spec.md`.

use crate::common::{Cluster, Envelope, RaftNode, n};
use consensus_core::{Change, Event, Members, NodeId, Priority, Role};
use raft::{Append, Config, Message};

const T: u64 = 1_000;
const REST_MS: u64 = 2 * T;
/// Ample for coming to rest: heartbeats without work, an offer, and answers.
const AMPLE_MS: u64 = REST_MS + 3 * T;

fn config() -> Config {
    Config { quiesce_after_ms: Some(REST_MS), ..Config::default() }
}

/// A group of this size at rest, and its leader.
fn resting(size: u64) -> (Cluster, NodeId) {
    let mut cluster = Cluster::with(size, config(), false, 1);
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"x");
    cluster.run_for_ms(AMPLE_MS);
    assert!(rests(&cluster), "{size} nodes");
    (cluster, leader)
}

fn rests(cluster: &Cluster) -> bool {
    cluster.next_deadline().is_none()
}

fn suspect(cluster: &mut Cluster, at: NodeId, peer: NodeId, suspected: bool) {
    cluster.handle(at, Event::Suspect { peer, suspected });
}

/// What the detectors say of a node that is gone, or back.
fn everybody_suspects(cluster: &mut Cluster, peer: NodeId, suspected: bool) {
    for other in cluster.others(peer) {
        suspect(cluster, other, peer, suspected);
    }
}

fn terms(cluster: &Cluster) -> Vec<u64> {
    cluster.nodes.values().map(|node| node.status().epoch.0).collect()
}

// tests [R49]
#[test]
fn an_idle_group_sets_no_timer_and_says_nothing_until_it_has_work() {
    for size in [1, 3, 5] {
        let (mut cluster, leader) = resting(size);
        let before = terms(&cluster);
        for number in 2..=4 {
            cluster.run_for_ms(3_600 * 1_000);
            cluster.propose(leader, number, b"x");
            cluster.settle();
            assert!(cluster.members.clone().iter().all(|id| cluster.diary(id).len() as u64 == number));
            assert!(!rests(&cluster), "it waits for more");
            cluster.run_for_ms(AMPLE_MS);
            assert!(rests(&cluster));
        }
        assert_eq!((cluster.leaders(), terms(&cluster)), (vec![leader], before));
    }
}

// tests [R49]
#[test]
fn nobody_rests_while_somebody_lacks_something_or_does_not_answer() {
    let mut cluster = Cluster::with(3, config(), false, 1);
    let leader = cluster.elect();
    let [mute, other] = cluster.others(leader)[..] else { panic!() };
    cluster.cut.insert((mute, leader));
    cluster.run_for_ms(3 * AMPLE_MS);
    let runs = |cluster: &Cluster, id| cluster.nodes[&id].deadline().is_some();
    assert!(runs(&cluster, leader), "one does not answer");
    cluster.heal();
    cluster.run_for_ms(AMPLE_MS);
    assert!(rests(&cluster));
    // A proposal that cannot be committed.
    cluster.isolate(leader);
    cluster.propose(leader, 1, b"x");
    assert!(runs(&cluster, leader));
    assert!(!runs(&cluster, other), "it heard nothing of it");
}

// tests [R49]
#[test]
fn whoever_does_not_agree_with_the_offer_does_not_take_it() {
    let (mut cluster, leader) = resting(3);
    let follower = cluster.others(leader)[0];
    let (term, end) = (cluster.nodes[&leader].status().epoch, cluster.nodes[&leader].algorithm().last());
    let offer = |append: &dyn Fn(&mut Append)| {
        let mut offer = Append { term, prev: end, commit: end.slot, probe: 99, entries: Default::default() };
        append(&mut offer);
        Message::Rest(offer)
    };
    let take = |cluster: &mut Cluster, from: NodeId, message: Message| {
        cluster.deliver(Envelope { from, to: follower, message });
        cluster.nodes[&follower].deadline().is_none()
    };
    assert!(take(&mut cluster, leader, offer(&|_| {})), "it rests on");
    assert!(!take(&mut cluster, leader, offer(&|offer| offer.prev.slot.0 += 1)), "it lacks something");
    assert!(take(&mut cluster, leader, offer(&|_| {})));
    assert!(!take(&mut cluster, leader, offer(&|offer| offer.commit.0 -= 1)), "not all is committed");
    assert!(take(&mut cluster, leader, offer(&|_| {})));
    // An offer of a leader that it suspects, or of a later term.
    suspect(&mut cluster, follower, leader, true);
    assert!(!take(&mut cluster, leader, offer(&|_| {})));
    suspect(&mut cluster, follower, leader, false);
    assert!(take(&mut cluster, leader, offer(&|_| {})));
    assert!(
        take(&mut cluster, n(3), offer(&|offer| offer.term.0 += 1)),
        "of another leader it takes it, too"
    );
    // Whoever is not to rest takes it for a heartbeat.
    let mut awake = Cluster::new(3);
    awake.deliver(Envelope { from: n(2), to: n(1), message: offer(&|_| {}) });
    assert!(awake.nodes[&n(1)].deadline().is_some());
    assert!(offer(&|_| {}).check().is_ok());
}

// tests [R52]
#[test]
fn anything_to_do_wakes_whoever_is_given_it() {
    let wakes: [fn(&mut Cluster, NodeId); 7] = [
        |cluster, id| cluster.propose(id, 9, b"x"),
        |cluster, id| cluster.read(id, 9),
        |cluster, id| cluster.reconfigure(id, 9, Change::AddLearner(n(9))),
        |cluster, id| cluster.handle(id, Event::Transfer { to: None }),
        |cluster, id| cluster.handle(id, Event::Priority(Priority::High)),
        |cluster, id| {
            let leader = cluster.leaders()[0];
            let peer = if leader == id { cluster.others(id)[0] } else { leader };
            suspect(cluster, id, peer, true);
        },
        |cluster, id| {
            let from = cluster.others(id)[0];
            let term = cluster.nodes[&id].status().epoch;
            cluster.deliver(Envelope { from, to: id, message: Message::TransferDeclined { term } });
        },
    ];
    for (number, wake) in wakes.into_iter().enumerate() {
        for leads in [true, false] {
            let (mut cluster, leader) = resting(3);
            let id = if leads { leader } else { cluster.others(leader)[0] };
            wake(&mut cluster, id);
            assert!(cluster.nodes[&id].deadline().is_some(), "input {number} at a leader: {leads}");
        }
    }
    // What concerns nobody here wakes nobody, and neither does the own disk.
    let (mut cluster, leader) = resting(3);
    let [follower, other] = cluster.others(leader)[..] else { panic!() };
    suspect(&mut cluster, follower, other, true);
    suspect(&mut cluster, follower, other, false);
    suspect(&mut cluster, follower, leader, false);
    cluster.sync(follower);
    cluster.handle(leader, Event::Tick);
    assert!(rests(&cluster) && cluster.wire.is_empty());
}

// tests [R52] [R53]
#[test]
fn a_leader_that_dies_at_rest_is_replaced_once_it_is_suspected() {
    for size in [3, 5] {
        let (mut cluster, leader) = resting(size);
        cluster.crash(leader);
        cluster.run_for_ms(100 * T);
        assert!(rests(&cluster), "nobody knows");
        everybody_suspects(&mut cluster, leader, true);
        cluster.run_for_ms(T);
        let [new] = cluster.leaders()[..] else { panic!("{:?}", cluster.leaders()) };
        cluster.propose(new, 2, b"x");
        cluster.settle();
        assert_eq!(cluster.diary(new).len(), 2);
        // The dead one does not keep the others awake.
        cluster.run_for_ms(AMPLE_MS);
        assert!(rests(&cluster));
        // It comes back, and gets what it lacks.
        cluster.start(leader);
        everybody_suspects(&mut cluster, leader, false);
        cluster.run_for_ms(AMPLE_MS);
        assert_eq!(cluster.diary(leader).len(), 2);
        assert!(rests(&cluster));
    }
}

// tests [R52]
#[test]
fn one_who_knows_is_enough() {
    // One follower suspects the leader, or is asked for something: whom it asks for votes wakes, too.
    for is_asked in [false, true] {
        let (mut cluster, leader) = resting(3);
        cluster.crash(leader);
        let one = cluster.others(leader)[0];
        if is_asked {
            cluster.read(one, 1);
        } else {
            suspect(&mut cluster, one, leader, true);
        }
        cluster.run_for_ms(3 * T);
        assert_eq!(cluster.leaders().len(), 1, "asked: {is_asked}");
    }
}

// tests [R52]
#[test]
fn a_leader_that_is_cut_off_at_rest_steps_down() {
    let (mut cluster, leader) = resting(3);
    cluster.isolate(leader);
    for other in cluster.others(leader) {
        suspect(&mut cluster, leader, other, true);
        suspect(&mut cluster, other, leader, true);
    }
    cluster.run_for_ms(T + 1);
    assert_ne!(cluster.nodes[&leader].status().role, Role::Leader);
    assert_eq!(cluster.leaders().len(), 1, "the others go on");
    assert!(!cluster.leaders().contains(&leader));
}

// tests [R52]
#[test]
fn a_wrong_suspicion_disturbs_nobody() {
    let (mut cluster, leader) = resting(5);
    let before = terms(&cluster);
    for follower in cluster.others(leader) {
        suspect(&mut cluster, follower, leader, true);
        cluster.run_for_ms(T / 2);
        suspect(&mut cluster, follower, leader, false);
        suspect(&mut cluster, leader, follower, true);
        cluster.run_for_ms(T / 2);
        suspect(&mut cluster, leader, follower, false);
    }
    cluster.run_for_ms(AMPLE_MS);
    assert!(rests(&cluster));
    assert_eq!((cluster.leaders(), terms(&cluster)), (vec![leader], before));
}

// tests [R52]
#[test]
fn whoever_restarts_or_missed_the_offer_does_not_disturb() {
    let (mut cluster, leader) = resting(3);
    let before = terms(&cluster);
    let follower = cluster.others(leader)[0];
    cluster.crash(follower);
    cluster.start(follower);
    assert!(!rests(&cluster), "it knows of no rest");
    cluster.run_for_ms(AMPLE_MS);
    assert!(rests(&cluster));
    // The leader rests without a follower that it takes for dead, and that did not hear the offer.
    suspect(&mut cluster, leader, follower, true);
    cluster.isolate(follower);
    cluster.run_for_ms(AMPLE_MS);
    let is_awake = |node: &RaftNode| node.deadline().is_some();
    assert!(!is_awake(&cluster.nodes[&leader]), "it is not waited for");
    cluster.heal();
    cluster.run_for_ms(AMPLE_MS);
    assert!(rests(&cluster), "its question was answered by an offer");
    assert_eq!((cluster.leaders(), terms(&cluster)), (vec![leader], before));
}

// tests [R49]
#[test]
fn learners_and_witnesses_rest_with_the_others() {
    let birth = Members::of([n(1), n(2), n(3)]);
    for members in [birth.clone().with_learners([n(4)]), birth.with_witnesses([n(3)])] {
        let mut cluster = Cluster::of(members, config(), false, 1);
        let leader = cluster.elect();
        cluster.propose(leader, 1, b"x");
        cluster.run_for_ms(AMPLE_MS);
        assert!(rests(&cluster));
    }
}

// tests [R49]
#[test]
fn rest_without_stable_leadership_is_refused() {
    let error = Config { stable_leadership: false, ..config() }.validate(&Members::of([n(1)])).unwrap_err();
    assert_eq!(error.field, "quiesce_after_ms");
}
