//! A group that nobody asks for anything comes to rest, and serves all the same when somebody does.

use consensus_sim::{Detectors, Idleness, Mask, Plan, Setup, leave_alone};
use raft::{Config, Raft};
use std::time::Duration;

const T: Duration = Duration::from_millis(100);
const NOTICED: Duration = Duration::from_millis(80);
const HOUR: Duration = Duration::from_secs(3_600);

fn alone(seed: u64, nodes: usize, quiesce_after_ms: Option<u64>, ends_leader: bool) -> Idleness {
    let mut plan = Plan::calm(nodes);
    plan.detectors = Some(Detectors { within: NOTICED });
    plan.network.delay = Duration::from_millis(1);
    let config = Config { election_timeout_ms: 100, quiesce_after_ms, ..Config::default() };
    let patience = Duration::from_secs(3);
    leave_alone::<Raft>(
        Setup { seed, plan, mask: Mask::all(), config, patience, trace: false },
        HOUR,
        ends_leader,
    )
}

#[test]
fn an_idle_group_is_silent_for_an_hour_and_then_serves() {
    for nodes in [1, 3, 5] {
        for seed in 0..5 {
            let seen = alone(seed, nodes, Some(200), false);
            assert_eq!(seen.report.failure, None, "{nodes} nodes, seed {seed}");
            assert!(seen.at_rest && seen.messages == 0, "{nodes} nodes, seed {seed}: {seen:?}");
            let served = seen.served.unwrap();
            assert!(served < T, "woken by the first request, it takes no election: {served:?}");
        }
    }
}

#[test]
fn a_leader_that_ends_at_rest_is_replaced_before_anybody_asks() {
    for nodes in [3, 5] {
        for seed in 0..20 {
            let seen = alone(seed, nodes, Some(200), true);
            assert_eq!(seen.report.failure, None, "{nodes} nodes, seed {seed}");
            assert!(seen.at_rest && seen.messages == 0);
            // Noticed within the bound by the first; whom it asks for votes gives the leader another T.
            let replaced = seen.replaced.unwrap_or(HOUR);
            assert!(replaced < NOTICED + T * 3, "{nodes} nodes, seed {seed}: {replaced:?}");
        }
    }
}

/// The same group without the wish to rest: what rest saves.
#[test]
fn a_group_that_may_not_rest_keeps_talking() {
    let seen = alone(0, 3, None, false);
    assert_eq!(seen.report.failure, None);
    assert!(!seen.at_rest);
    // Four messages for each heartbeat, a quarter of an election timeout apart.
    let beats = u64::try_from(HOUR.as_micros() / (T / 4).as_micros()).unwrap();
    assert!(seen.messages.abs_diff(4 * beats) <= 8, "{} messages", seen.messages);
}
