//! Partial connectivity: safety in every case; of progress, what was seen.

use consensus_sim::{Mask, Observation, PartialCase, Plan, Setup, observe};
use std::time::Duration;

fn play(case: PartialCase, seed: u64) -> Observation {
    let mut plan = Plan::calm(case.nodes());
    plan.workload.timeout = Duration::from_millis(50);
    let config =
        raft::Config { heartbeat_interval_ms: Some(10), election_timeout_ms: 50, ..raft::Config::default() };
    let (mask, patience) = (Mask::all(), Duration::from_secs(1));
    observe::<raft::Raft>(Setup { seed, plan, mask, config, patience, trace: false }, case)
}

/// Raft claims progress once the network is whole, and none before; it is safe throughout. What it does beyond its claim:
/// pre-votes and leaders that look for their quorum let the hub take over when the leader has lost its quorum, and keep the far
/// end of a chain from deposing a leader. In the constrained case nobody can win, and nothing is served before the links heal:
/// Raft lets only a node with a log as new as a quorum's lead, and a candidate must reach the quorum itself.
#[test]
fn partial_connectivity_harms_nothing() {
    for case in PartialCase::ALL {
        for seed in 0..4 {
            let Observation { served, leaderships, met, report } = play(case, seed);
            assert!(met, "{case:?} {seed}: nobody led");
            assert_eq!(report.failure, None, "{case:?} {seed}");
            match case {
                PartialCase::QuorumLoss => {
                    assert!(served > 100 && leaderships == 1, "{served}, {leaderships}")
                }
                PartialCase::Constrained => assert_eq!((served, leaderships), (0, 0)),
                PartialCase::Chained => assert!(served > 100 && leaderships == 0, "{served}, {leaderships}"),
            }
        }
    }
}
