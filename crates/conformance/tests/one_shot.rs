//! The suite on one-shot agreement: Ben-Or passes, and each mistake that is planted in it is found by the right property.

#[path = "../../consensus-core/tests/skeletons/ben_or.rs"]
mod ben_or;

use crate::hunt::{caught, passed_in_a_storm};
use ben_or::{BenOr, Config, Flaw};
use conformance::{Options, Tuning, check, subjects};
use consensus_sim::{Inputs, Measures, Plan, Property, Rhythm, Stream};
use std::time::Duration;

fn tuned(flaw: Flaw, plan: &mut Plan) -> Tuning<Config> {
    if matches!(flaw, Flaw::CastEarly | Flaw::ForgetCasts) {
        // What was said and not written shows only if nodes crash in between, and come back at once.
        plan.crashes = Some(Rhythm { every: Duration::from_millis(4), lasts: Duration::from_millis(1) });
        plan.disk.sync = Duration::from_millis(8);
        plan.faults_for = Duration::from_millis(400);
        plan.workload.inputs = Inputs { values: 2, within: Duration::from_millis(5) };
    }
    // With probability one: a bound that no sound run has come near.
    Tuning { config: Config { flaw }, patience: Duration::from_secs(10) }
}

/// Whether one of these properties fails first on one of 1,000 seeds.
fn is_caught(flaw: Flaw, by: &[Property]) -> bool {
    let tune = move |_: &mut Stream, plan: &mut Plan| tuned(flaw, plan);
    caught::<BenOr>(flaw, 1_000, by, &tune).is_some()
}

#[test]
fn ben_or_keeps_its_promises() {
    let options = Options::<BenOr> {
        seeds: 0..400,
        jobs: 2,
        replay: "replay".into(),
        tune: &|_: &mut Stream, plan: &mut Plan| tuned(Flaw::None, plan),
    };
    let report = check(&options).unwrap();
    eprintln!("{report}");
    let Measures::OneShot(measures) = &report.measures else { panic!("{report}") };
    assert!(measures.chosen.len() == 2 && measures.chosen.values().all(|&runs| runs > 50), "{report}");
    assert!(measures.rounds.len() > 3, "some runs should need several rounds: {report}");
    passed_in_a_storm(&report);
}

#[test]
fn disagreement_is_found() {
    for flaw in [Flaw::DecideOnOne, Flaw::AdoptNothing, Flaw::ForgetCasts] {
        assert!(is_caught(flaw, &[Property::Agreement]), "{flaw:?}");
    }
}

/// Two casts for one step: either the nodes decide differently, or one of them sees two majorities first.
#[test]
fn what_was_said_and_not_written_is_found() {
    assert!(is_caught(Flaw::CastEarly, &[Property::Agreement, Property::Invariant]));
}

#[test]
fn an_invented_value_is_found() {
    assert!(is_caught(Flaw::Invent, &[Property::Validity]));
}

#[test]
fn a_second_decision_is_found() {
    assert!(is_caught(Flaw::DecideAgain, &[Property::Integrity]));
}

#[test]
fn who_leaves_the_others_alone_is_found() {
    for flaw in [Flaw::HaltAtDecision, Flaw::ForgetDecision] {
        assert!(is_caught(flaw, &[Property::Termination]), "{flaw:?}");
    }
}

#[test]
fn our_own_agree_on_one_value() {
    for name in ["synod", "benor", "benor-byzantine", "benor-mmr", "floodset"] {
        let subject = subjects::ALL.iter().find(|subject| subject.name() == name).unwrap();
        let report = subject.check(0..200, 2, &|_| {}).unwrap();
        assert_eq!(report.failed(), 0, "{report}");
        let Measures::OneShot(measures) = &report.measures else { panic!("{report}") };
        assert!(measures.chosen.len() == 2 && report.counts.decisions > 300, "{report}");
    }
}
