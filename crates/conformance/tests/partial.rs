//! Partial connectivity: safety in every case; of progress, what was seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use consensus_sim::{Observation, PartialCase, Plan, Setup, observe};
use std::time::Duration;

fn play(case: PartialCase, seed: u64) -> Observation {
    let mut plan = Plan::calm(case.nodes());
    plan.workload.timeout = Duration::from_millis(50);
    let config =
        raft::Config { heartbeat_interval_ms: 10, election_timeout_ms: 50, ..raft::Config::default() };
    observe::<raft::Raft>(Setup { seed, plan, config, patience: Duration::from_secs(4), trace: false }, case)
}

/// Raft claims progress once the network is whole, and none before; it is safe throughout.
#[test]
fn partial_connectivity_harms_nothing() {
    for case in PartialCase::ALL {
        for seed in 0..10 {
            let observed = play(case, seed);
            println!("{case:?} {seed}: {} served, {} leaderships", observed.served, observed.leaderships);
            assert!(observed.met, "{case:?} {seed}: nobody led");
            assert_eq!(observed.report.failure, None, "{case:?} {seed}");
        }
    }
}
