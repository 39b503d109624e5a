//! Two-phase commit: whether the trait carries a protocol that decides out of order, asks the state machine for its vote, and
//! may have to say that it is blocked.

use crate::common::{Weather, World};
use crate::skeletons::two_phase::{Record, TwoPhase};
use consensus_core::{Bytes, ClientId, NodeId, Outcome, ProposalId, Refusal, Reply, Slot, Verdict};
use std::collections::BTreeMap;

const ONE: NodeId = NodeId(1);

fn transaction(number: u64) -> ProposalId {
    ProposalId::new(ClientId::anonymous(7), number)
}

fn outcome(world: &World<TwoPhase>, node: NodeId, id: ProposalId) -> Option<Verdict> {
    let seen = &world.node(node)?.machine().seen;
    let verdicts: Vec<Verdict> = seen.iter().filter(|seen| seen.1 == Some(id)).map(|seen| seen.2).collect();
    assert!(verdicts.len() <= 1, "{node} settled {id:?} more than once: {verdicts:?}");
    verdicts.first().copied()
}

fn all_have(world: &World<TwoPhase>, id: ProposalId, verdict: Verdict) -> bool {
    world.ids().iter().all(|&node| outcome(world, node, id) == Some(verdict))
}

fn told(world: &World<TwoPhase>, node: NodeId, id: ProposalId) -> Option<Outcome> {
    world.replies.iter().find_map(|(at, reply)| match reply {
        Reply::Done { id: done, outcome, .. } if *at == node && *done == id => Some(outcome.clone()),
        Reply::Done { .. } | Reply::Refused { .. } | Reply::ReadReady { .. } | Reply::ReadRefused { .. } => {
            None
        }
    })
}

#[test]
fn all_commit_and_the_client_hears_of_it_only_when_it_is_durable() {
    let id = transaction(1);
    let mut commits = 0;
    for seed in 0..50 {
        let mut world = World::<TwoPhase>::new(3, seed, Weather { loss: 0, repetition: 20 });
        world.propose(ONE, id, b"pay");
        let committed = world.run(5_000, |world| told(world, ONE, id).is_some());
        assert!(committed, "seed {seed}: no answer");
        if told(&world, ONE, id) != Some(Outcome::Applied(Bytes::from_static(b"pay"))) {
            continue; // The clock runs at random here, and the votes may be late.
        }
        let record = Record::Committed { id, payload: Bytes::from_static(b"pay") };
        assert!(world.disk(ONE).contains(&record), "the client was told before the disk");
        assert!(world.run(5_000, |world| all_have(world, id, Verdict::Commit)), "seed {seed}");
        commits += 1;
    }
    assert!(commits > 10, "only {commits} runs committed");
}

#[test]
fn one_no_aborts_everywhere_and_leaves_no_reservation() {
    let id = transaction(1);
    let mut world = World::<TwoPhase>::new(3, 2, Weather::default());
    world.dislike(NodeId(3), id);
    world.propose(ONE, id, b"pay");
    assert!(world.run(5_000, |world| all_have(world, id, Verdict::Abort)));
    assert_eq!(told(&world, ONE, id), Some(Outcome::Aborted(Bytes::from_static(b"pay"))));
    assert!(world.ids().iter().all(|&node| world.node(node).unwrap().machine().reserved.is_empty()));
    world.propose(ONE, id, b"pay");
    let refused = Reply::Refused { id, reason: Refusal::Settled { verdict: Verdict::Abort } };
    assert_eq!(world.replies.last(), Some(&(ONE, refused)), "a retry is told what came of it");
}

fn acknowledged(world: &World<TwoPhase>, id: ProposalId) -> bool {
    world.ids().iter().any(|&node| matches!(told(world, node, id), Some(Outcome::Applied(_))))
}

fn prepared_everywhere(world: &mut World<TwoPhase>, id: ProposalId) -> bool {
    world.propose(ONE, id, b"pay");
    world.run(2_000, |world| {
        [2, 3].iter().all(|&node| {
            let blocked = world.node(NodeId(node)).unwrap().status().blocked;
            blocked.contains(&(id, vec![ONE]))
        })
    })
}

#[test]
fn what_was_committed_is_applied_whoever_proposed_it() {
    // Sessions belong to one log; elsewhere such an identity is a name like any other, and a commit is a commit.
    let id = ProposalId::new(ClientId::session(Slot(99)), 0);
    let opening = ProposalId::open_session(3);
    let mut world = World::<TwoPhase>::new(2, 8, Weather::default());
    for (node, id) in [(ONE, id), (NodeId(2), opening)] {
        world.propose(node, id, b"pay");
        for _ in 0..4 {
            world.deliver_all();
            world.sync(ONE);
            world.sync(NodeId(2));
        }
        assert!(all_have(&world, id, Verdict::Commit));
        assert_eq!(told(&world, node, id), Some(Outcome::Applied(Bytes::from_static(b"pay"))));
    }
}

#[test]
fn a_yes_and_a_commit_wait_for_the_disk() {
    let id = transaction(1);
    let mut world = World::<TwoPhase>::new(2, 4, Weather::default());
    world.propose(ONE, id, b"pay");
    let two = NodeId(2);
    world.deliver_all();
    assert_eq!(world.node(two).unwrap().status().blocked, vec![(id, vec![ONE])]);
    assert_eq!(world.in_flight().count(), 0, "the YES is not on the disk yet");
    world.sync(two);
    assert_eq!(world.in_flight().count(), 1);
    world.deliver_all();
    assert_eq!(world.in_flight().count(), 0, "the COMMIT is not on the disk yet");
    assert_eq!((told(&world, ONE, id), outcome(&world, ONE, id)), (None, None), "nor is the client told");
    world.sync(ONE);
    assert!(told(&world, ONE, id).is_some());
    assert_eq!(world.in_flight().count(), 1);
    world.deliver_all();
    assert_eq!(outcome(&world, two, id), None);
    world.sync(two);
    assert_eq!(outcome(&world, two, id), Some(Verdict::Commit));
}

#[test]
fn a_dead_coordinator_blocks_and_the_participants_say_on_whom() {
    let id = transaction(1);
    let mut world = World::<TwoPhase>::new(3, 5, Weather::default());
    assert!(prepared_everywhere(&mut world, id), "both should come to be prepared");
    world.crash(ONE);
    for _ in 0..2_000 {
        world.turn();
    }
    for node in [NodeId(2), NodeId(3)] {
        assert_eq!(world.node(node).unwrap().status().blocked, vec![(id, vec![ONE])]);
        assert_eq!(outcome(&world, node, id), None, "a prepared participant never decides alone");
    }
    world.restart(ONE);
    let settled = |world: &World<TwoPhase>| [2, 3].iter().all(|&n| outcome(world, NodeId(n), id).is_some());
    assert!(world.run(5_000, settled), "the coordinator is back, and yet they wait");
    assert_eq!(outcome(&world, NodeId(2), id), outcome(&world, NodeId(3), id));
}

#[test]
fn a_restarted_participant_keeps_its_promise_and_its_reservation() {
    let id = transaction(1);
    let mut world = World::<TwoPhase>::new(2, 6, Weather::default());
    let two = NodeId(2);
    world.propose(ONE, id, b"pay");
    world.deliver_all();
    world.sync(two);
    world.crash(two);
    world.restart(two);
    assert_eq!(world.node(two).unwrap().status().blocked, vec![(id, vec![ONE])]);
    assert!(world.node(two).unwrap().machine().reserved.contains(&id));
}

#[test]
fn nobody_disagrees_through_crashes_of_both_roles() {
    let mut verdicts = BTreeMap::new();
    for seed in 0..100 {
        let mut world = World::<TwoPhase>::new(3, seed, Weather { loss: 10, repetition: 10 });
        for number in 1..=6 {
            world.propose(NodeId(1 + number % 3), transaction(number), b"pay");
            for _ in 0..world.random_percent() {
                world.turn();
            }
            let victim = NodeId(1 + u64::from(world.random_percent()) % 3);
            world.crash(victim);
            for _ in 0..world.random_percent() {
                world.turn();
            }
            world.restart(victim);
        }
        let idle = |world: &World<TwoPhase>| {
            world.ids().iter().all(|&node| {
                let node = world.node(node).unwrap();
                node.status().blocked.is_empty() && node.algorithm().coordinated.is_empty()
            })
        };
        assert!(world.run(50_000, idle), "seed {seed}: somebody is blocked though everybody is up");
        for number in 1..=6 {
            let id = transaction(number);
            let outcomes: Vec<_> = world.ids().iter().map(|&node| outcome(&world, node, id)).collect();
            let committed = outcomes.iter().filter(|&&o| o == Some(Verdict::Commit)).count();
            assert!(committed == 0 || committed == 3, "seed {seed}: {id:?} is half done: {outcomes:?}");
            // Whatever a client was told holds for ever, restarts or not.
            let applied = acknowledged(&world, id);
            assert!(!applied || committed == 3, "seed {seed}: {id:?} was acknowledged and lost");
            *verdicts.entry(committed).or_insert(0) += 1;
        }
    }
    assert!(verdicts[&3] > 50 && verdicts[&0] > 50, "both outcomes should occur: {verdicts:?}");
}
