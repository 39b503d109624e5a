//! Leases, inside of what is declared. Just outside, `controls.rs` and the planted bugs find stale reads in the same weathers.

use conformance::leases::{DRIFT_PPM, Leased, cut_off_leaders, doubts, heirs, late_echoes, restarts};
use conformance::{Options, Tune, check_until_failure};
use consensus_core::ConsensusAlgorithm;
use consensus_sim::{Plan, Stream};

/// `LEASE_SEEDS=1000` for more.
fn no_read_is_stale<A: ConsensusAlgorithm<Config: Leased>>() {
    let drift = |draw: &mut Stream, plan: &mut Plan| cut_off_leaders(draw, plan, DRIFT_PPM);
    let weathers: [Tune<'_, A::Config>; 5] = [&drift, &late_echoes, &heirs, &restarts, &doubts];
    let seeds: u64 = std::env::var("LEASE_SEEDS").map_or(15, |seeds| seeds.parse().unwrap());
    for (number, tune) in weathers.into_iter().enumerate() {
        for nodes in [3, 5] {
            let tune = |draw: &mut Stream, plan: &mut Plan| {
                plan.nodes = nodes;
                tune(draw, plan)
            };
            let options = Options::<A> { seeds: 0..seeds, jobs: 2, replay: String::new(), tune: &tune };
            let failed = check_until_failure(&options).unwrap();
            assert_eq!(failed, None, "{}: weather {number} with {nodes} nodes", A::NAME);
        }
    }
}

#[test]
fn inside_the_declared_bound_no_read_is_stale() {
    no_read_is_stale::<raft::Raft>();
    no_read_is_stale::<multipaxos::MultiPaxos>();
}
