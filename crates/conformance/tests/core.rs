//! Progress with a core: as many nodes as suffice are mended after the storm, and the others never are.

use conformance::plans::with_plan;
use conformance::{Tuning, run_seed, subjects};
use consensus_sim::{MILLION, Misery, Plan, Property, Report, Rhythm, Setup, Stream, World};
use std::time::Duration;

fn plan(nodes: usize, left_out: &[Misery]) -> Plan {
    let mut plan = Plan::calm(nodes);
    plan.crashes = Some(Rhythm { every: Duration::from_millis(150), lasts: Duration::from_millis(30) });
    // The leader is the node that hurts most.
    plan.at_leaders_ppm = MILLION;
    plan.left_out = left_out.to_vec();
    plan
}

fn run(seed: u64, plan: Plan, stable_leadership: bool) -> Report {
    let tune = |draw: &mut Stream, plan: &mut Plan| {
        let Tuning { mut config, patience } = subjects::raft(draw, plan);
        config.stable_leadership = stable_leadership;
        Tuning { config, patience }
    };
    run_seed::<raft::Raft>(seed, &with_plan(Some(plan), &tune), false).unwrap()
}

#[test]
fn raft_makes_progress_with_a_majority_whatever_becomes_of_the_rest() {
    for misery in Misery::ALL {
        for seed in 0..6 {
            let mut plan = plan(3, &[misery]);
            plan.final_power_loss = seed % 2 == 0;
            let report = run(seed, plan, true);
            assert_eq!(report.failure, None, "{misery:?}, seed {seed}");
            assert_eq!(report.counts.left_out, 1);
        }
        for other in Misery::ALL {
            let report = run(1, plan(5, &[misery, other]), true);
            assert_eq!(report.failure, None, "{misery:?} and {other:?}");
            assert_eq!(report.counts.left_out, 2);
        }
    }
}

/// Without a look for its quorum, a leader that hears nobody leads for ever, and keeps the others from electing another.
#[test]
fn a_deaf_leader_that_never_gives_way_is_found_and_diagnosed() {
    let failures: Vec<_> =
        (0..10).filter_map(|seed| run(seed, plan(3, &[Misery::Deaf]), false).failure).collect();
    let found = failures.iter().find(|failure| failure.property == Property::Progress);
    let detail = &found.expect("the deaf leader went unnoticed").detail;
    assert!(detail.contains("leads, but has links to 0 only, and 1 others are needed"), "{detail}");
}

fn calm_world(seed: u64) -> World<raft::Raft> {
    let mut plan = Plan::calm(3);
    let Tuning { config, patience } = subjects::raft(&mut Stream::derive(seed, "tuning"), &mut plan);
    let mask = consensus_sim::Mask::all();
    World::new(Setup { seed, plan, mask, config, patience, trace: false })
}

#[test]
fn a_world_without_links_says_why_nobody_is_served() {
    let mut world = calm_world(1);
    for from in 0..3 {
        for to in 0..3 {
            world.links().set_cut(from, to, true);
        }
    }
    world.expect_progress();
    let failure = world.finish().failure.unwrap();
    assert_eq!(failure.property, Property::Progress);
    for part in ["no quorum is connected: n", "has links to 0, and 1 others are needed", "no leader (up to e"]
    {
        assert!(failure.detail.contains(part), "{}", failure.detail);
    }
}

#[test]
fn a_scheduler_that_is_unfair_in_the_calm_is_found() {
    let mut world = calm_world(1);
    world.calm();
    let later = world.now() + Duration::from_millis(400);
    for from in 0..3 {
        for to in 0..3 {
            world.hold_back(from, to, later);
        }
    }
    world.run_until(later + Duration::from_millis(100));
    let failure = world.finish().failure.unwrap();
    assert_eq!(failure.property, Property::Fairness, "{failure}");
    assert!(failure.detail.contains("a message from n") && failure.detail.contains("waited"), "{failure}");
}

#[test]
fn starvation_in_the_storm_is_seen_and_ends_with_it() {
    let mut plan = Plan::calm(3);
    plan.faults_for = Duration::from_secs(2);
    plan.hardships.starvation =
        Some(Rhythm { every: Duration::from_millis(300), lasts: Duration::from_millis(250) });
    let run = |plan: &Plan| {
        let report =
            run_seed::<raft::Raft>(3, &with_plan(Some(plan.clone()), &subjects::raft), false).unwrap();
        assert_eq!(report.failure, None);
        report.counts
    };
    let starved = run(&plan);
    assert!(starved.starvations >= 4 && starved.starved_links > 3, "{starved:?}");
    assert!(starved.starved_nodes > 0 && starved.longest_wait_us > 100_000, "{starved:?}");
    assert!(starved.longest_calm_wait_us < 1_000, "{starved:?}");
    plan.hardships.starvation = None;
    let fair = run(&plan);
    assert_eq!((fair.starvations, fair.starved_links, fair.starved_nodes), (0, 0, 0));
    assert!(fair.longest_wait_us < 1_000, "{fair:?}");
}
