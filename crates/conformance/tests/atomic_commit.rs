//! The suite on atomic commitment: two-phase commit passes, blocks where it may and says so, and each mistake that is planted in
//! it is found by the right property.

#[path = "../../consensus-core/tests/skeletons/two_phase.rs"]
mod two_phase;

use crate::hunt::{caught, passed_in_a_storm};
use conformance::{Options, Tuning, check};
use consensus_sim::Property::{
    self, Agreement, Atomicity, CommitValidity, HonestBlocking, Integrity, Irrevocable, Isolation,
    NonTriviality, Termination,
};
use consensus_sim::{Measures, Plan, Stream};
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
    let Measures::AtomicCommit(measures) = &report.measures else { panic!("{report}") };
    assert!(measures.committed > 1_000 && measures.aborted > 1_000, "{report}");
    assert!(measures.blockings > 100 && measures.longest > Duration::from_secs(1), "{report}");
    passed_in_a_storm(&report);
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
        let tune = |_: &mut Stream, plan: &mut Plan| tuned(*flaw, plan);
        assert!(caught::<TwoPhase>(flaw, 400, by, &tune).is_some(), "{flaw:?}");
    }
}
