//! How a planted mistake is hunted.

use conformance::{SuiteReport, Tune, run_seed};
use consensus_core::ConsensusAlgorithm;
use consensus_sim::Property;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The first of so many seeds on which one of these properties fails first.
pub(crate) fn caught<A: ConsensusAlgorithm>(
    what: impl Debug,
    seeds: u64,
    by: &[Property],
    tune: Tune<'_, A::Config>,
) -> Option<u64> {
    let mut others = BTreeMap::new();
    let seed = (0..seeds).find(|&seed| {
        let failure = run_seed::<A>(seed, tune, false).unwrap().failure;
        let property = failure.map(|failure| failure.property);
        *others.entry(property).or_insert(0) += 1;
        property.is_some_and(|property| by.contains(&property))
    });
    eprintln!("{what:?}: on seed {seed:?}; seeds by what failed first: {others:?}");
    seed
}

/// No run failed, and there were faults: runs without faults prove nothing.
#[track_caller]
pub(crate) fn passed_in_a_storm(report: &SuiteReport) {
    assert_eq!(report.failed(), 0, "{report}");
    let counts = report.counts;
    let happened = [counts.lost, counts.partitions, counts.crashes, counts.power_losses, counts.restarts];
    assert!(happened.iter().all(|&count| count > 100), "{report}");
}
