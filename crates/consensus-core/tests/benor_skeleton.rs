//! Ben-Or's randomized consensus: whether the trait carries a protocol without a leader, without a log and without a clock.

use crate::common::{Weather, World};
use crate::skeletons::ben_or::{BenOr, encode};
use consensus_core::{Bytes, ClientId, NodeId, ProposalId};

fn proposal(node: NodeId) -> ProposalId {
    ProposalId::new(ClientId::anonymous(node.0), 1)
}

fn start(n: u64, seed: u64, weather: Weather, inputs: u64) -> World<BenOr> {
    let mut world = World::<BenOr>::new(n, seed, weather);
    for id in world.ids() {
        let payload: &'static [u8] = if inputs >> id.0 & 1 == 1 { b"1" } else { b"0" };
        world.propose(id, proposal(id), payload);
    }
    world
}

fn decision(world: &World<BenOr>, id: NodeId) -> Option<Bytes> {
    let seen = &world.node(id)?.machine().seen;
    assert!(seen.len() <= 1, "{id} decided twice: {seen:?}");
    seen.first().map(|(_, _, _, payload)| payload.clone())
}

fn agreed(world: &World<BenOr>) -> Option<Bytes> {
    let decisions: Vec<Bytes> = world.ids().iter().filter_map(|&id| decision(world, id)).collect();
    assert!(decisions.is_sorted_by(|a, b| a == b), "disagreement: {decisions:?}");
    let up = world.ids().iter().filter(|&&id| world.node(id).is_some()).count();
    decisions.first().filter(|_| decisions.len() == up).cloned()
}

#[test]
fn everybody_decides_the_same_under_random_orders_and_losses() {
    let mut both = [false; 2];
    for seed in 0..150 {
        let (n, inputs) = (if seed % 2 == 0 { 3 } else { 5 }, (seed * 0x9e37_79b9) >> 3);
        let mut world = start(n, seed, Weather { loss: 10, repetition: 10 }, inputs);
        assert!(world.run(200_000, |world| agreed(world).is_some()), "seed {seed} does not terminate");
        let value = agreed(&world).unwrap();
        let proposed = world.ids().iter().any(|id| encode(inputs >> id.0 & 1 == 1) == value);
        assert!(proposed, "seed {seed}: {value:?} was nobody's");
        both[usize::from(value == encode(true))] = true;
    }
    assert_eq!(both, [true; 2], "the inputs should lead to either decision");
}

#[test]
fn crashes_within_the_bound_do_not_stop_the_others_and_restarts_forget_no_cast() {
    for seed in 1_000..1_100 {
        let n = if seed % 2 == 0 { 3 } else { 5 };
        let mut world = start(n, seed, Weather { loss: 5, repetition: 5 }, (seed * 0x9e37_79b9) >> 3);
        for _ in 0..40 {
            let victim = NodeId(1 + u64::from(world.random_percent()) % n);
            for _ in 0..world.random_percent() {
                world.turn();
                agreed(&world);
            }
            let before = decision(&world, victim);
            world.crash(victim);
            for _ in 0..world.random_percent() {
                world.turn();
            }
            world.restart(victim);
            if before.is_some() {
                assert_eq!(before, decision(&world, victim), "a decision that was shown is durable");
            }
        }
        // Who crashed before its proposal was durable proposes again.
        for id in world.ids() {
            let payload: &'static [u8] = if id.0 % 2 == 0 { b"0" } else { b"1" };
            world.propose(id, proposal(id), payload);
        }
        let gone = NodeId(n);
        world.crash(gone);
        assert!(world.run(200_000, |world| agreed(world).is_some()), "seed {seed} does not terminate");
    }
}

#[test]
fn a_cast_does_not_leave_before_it_is_durable() {
    let mut world = start(3, 7, Weather::default(), 0b1010);
    assert_eq!(world.in_flight().count(), 0);
    world.sync(NodeId(2));
    assert_eq!(world.in_flight().filter(|(from, _, _)| *from == NodeId(2)).count(), 2);
    assert_eq!(world.in_flight().count(), 2);
}

#[test]
fn who_decided_still_helps_a_node_that_slept() {
    let mut world = start(3, 3, Weather::default(), 0);
    world.cut.insert(NodeId(3));
    let two = |world: &World<BenOr>| (1..=2).all(|id| decision(world, NodeId(id)).is_some());
    assert!(world.run(10_000, two));
    assert_eq!(decision(&world, NodeId(3)), None);
    world.cut.clear();
    assert!(world.run(10_000, |world| agreed(world).is_some()), "the sleeper was left alone");
}
