//! The suite on atomic commitment: two-phase commit passes, blocks where it may and says so, and each mistake that is planted in
//! it is found by the right property.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../consensus-core/tests/skeletons/two_phase.rs"]
mod two_phase;

use conformance::{Options, Tuning, check, run_seed};
use consensus_sim::Property::{
    self, Agreement, Atomicity, CommitValidity, HonestBlocking, Integrity, Irrevocable, Isolation,
    NonTriviality, Termination,
};
use consensus_sim::{Measures, Plan, Stream};
use std::collections::BTreeMap;
use std::time::Duration;
use two_phase::{Config, Flaw, TwoPhase};

fn tuned(flaw: Flaw, plan: &Plan) -> Tuning<Config> {
    let round = (plan.network.longest_delay(plan.nodes) + plan.burst) * 3 + plan.disk.sync * 4;
    let config = Config {
        flaw,
        voting: round * 10 + Duration::from_millis(50),
        retry: round + Duration::from_millis(10),
    };
    let patience = Duration::from_secs(2) + config.voting * 8;
    Tuning { config, patience }
}

/// The first of 400 seeds on which one of these properties fails first.
fn caught(flaw: Flaw, by: &[Property]) -> Option<u64> {
    let tune = move |_: &mut Stream, plan: &mut Plan| tuned(flaw, plan);
    let mut others = BTreeMap::new();
    let seed = (0..400).find(|&seed| {
        let failure = run_seed::<TwoPhase>(seed, &tune, false).unwrap().failure;
        let property = failure.map(|failure| failure.property);
        *others.entry(property).or_insert(0) += 1;
        property.is_some_and(|property| by.contains(&property))
    });
    eprintln!("{flaw:?}: on seed {seed:?}; seeds by what failed first: {others:?}");
    seed
}

#[test]
fn two_phase_commit_keeps_its_promises() {
    let options = Options::<TwoPhase> {
        seeds: 0..200,
        jobs: 2,
        replay: "replay".into(),
        tune: &|_: &mut Stream, plan: &mut Plan| tuned(Flaw::None, plan),
    };
    let report = check(&options).unwrap();
    eprintln!("{report}");
    assert_eq!(report.failed(), 0, "{report}");
    let Measures::AtomicCommit(measures) = &report.measures else { panic!("{report}") };
    assert!(measures.committed > 1_000 && measures.aborted > 1_000, "{report}");
    assert!(measures.blockings > 100 && measures.longest > Duration::from_secs(1), "{report}");
    let counts = report.counts;
    let happened = [counts.lost, counts.partitions, counts.crashes, counts.power_losses, counts.restarts];
    assert!(happened.iter().all(|&count| count > 100), "runs without faults prove nothing: {report}");
}

#[test]
fn planted_mistakes_are_found() {
    let planted: &[(Flaw, &[Property])] = &[
        (Flaw::YesBeforeDurable, &[Atomicity, CommitValidity, Agreement]),
        (Flaw::CommitBeforeDurable, &[Agreement, Irrevocable, Atomicity]),
        (Flaw::AbortAfterYes, &[Agreement]),
        (Flaw::MissingVoteIsYes, &[CommitValidity, Agreement]),
        (Flaw::CountMessages, &[CommitValidity, Agreement]),
        (Flaw::ForgetCommit, &[Agreement, Irrevocable]),
        (Flaw::ForgetNo, &[Irrevocable, Agreement]),
        (Flaw::ForgetReservation, &[Isolation]),
        (Flaw::DropCommit, &[Atomicity]),
        (Flaw::CommitTwice, &[Integrity]),
        (Flaw::AlwaysAbort, &[NonTriviality]),
        (Flaw::Silent, &[HonestBlocking]),
        (Flaw::BlameOther, &[HonestBlocking]),
        (Flaw::NeverAsk, &[Termination]),
    ];
    for (flaw, by) in planted {
        assert!(caught(*flaw, by).is_some(), "{flaw:?}");
    }
}
