//! With local reads a log is sequentially consistent, and no more, as long as clients mind what they have seen.

#[path = "toys/local_reads.rs"]
mod toy;

use conformance::{Options, SuiteReport, Tuning, check};
use consensus_sim::{MILLION, Plan, Property, Roaming, Stream};
use own_algorithm::{Config, FixedLeader};
use std::collections::BTreeSet;
use std::time::Duration;
use toy::LocalReads;

fn run(roaming: Roaming) -> SuiteReport {
    let options = Options::<LocalReads<FixedLeader>> {
        seeds: 0..40,
        jobs: 2,
        replay: "replay".into(),
        tune: &move |_: &mut Stream, plan: &mut Plan| {
            (plan.workload.roaming, plan.workload.read_ppm) = (roaming, MILLION / 2);
            plan.workload.operations = Some(150);
            Tuning { config: Config::default(), patience: Duration::from_secs(2) }
        },
    };
    check(&options).unwrap()
}

#[test]
fn clients_that_take_care_see_one_order() {
    let report = run(Roaming::Never);
    assert_eq!((report.failed(), report.undecided), (0, 0), "{report}");
    assert!(report.properties.contains(&Property::Sequential), "{report}");
    assert!(!report.properties.contains(&Property::Linearizable), "{report}");
}

#[test]
fn clients_that_roam_are_found() {
    let failures = run(Roaming::Reads).failures;
    let found: BTreeSet<Property> = failures.into_iter().map(|failed| failed.failure.property).collect();
    assert!(found.contains(&Property::MonotonicReads), "{found:?}");
    assert!(found.iter().all(|property| property.is_of_history()), "{found:?}");
}
