//! Partial connectivity: safety in every case; of progress, what was seen.

use conformance::partial::{TIMEOUT_MS, multipaxos, play, raft};
use consensus_sim::{Observation, PartialCase};
use std::time::Duration;

/// Raft claims progress once the network is whole, and none before; it is safe throughout. What it does beyond its claim:
/// pre-votes and leaders that look for their quorum let the hub take over when the leader has lost its quorum, and keep the far
/// end of a chain from deposing a leader. In the constrained case nobody can win, and nothing is served before the links heal:
/// Raft lets only a node with a log as new as a quorum's lead, and a candidate must reach the quorum itself.
#[test]
fn partial_connectivity_harms_nothing_in_raft() {
    for case in PartialCase::ALL {
        for seed in 0..4 {
            let Observation { served, leaderships, met, report, .. } =
                play::<::raft::Raft>(raft(), case, seed);
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

/// Multi-Paxos serves on in all of them: whoever reaches a quorum leads, whatever its log lacks. Nobody is without service for longer
/// than the bound of its specification, a client's timeout, and the time that it takes to find the leader.
#[test]
fn multipaxos_serves_on_as_long_as_one_node_reaches_a_quorum() {
    for case in PartialCase::ALL {
        for seed in 0..10 {
            let Observation { served, gap, leaderships, met, report } =
                play::<::multipaxos::MultiPaxos>(multipaxos(), case, seed);
            assert!(met, "{case:?} {seed}: nobody led");
            assert_eq!(report.failure, None, "{case:?} {seed}");
            let most = if case == PartialCase::Chained { 0 } else { 1 };
            assert!(served > 100 && leaderships == most, "{case:?} {seed}: {served}, {leaderships}");
            assert!(gap <= Duration::from_millis(4 * TIMEOUT_MS), "{case:?} {seed}: {gap:?}");
        }
    }
}
