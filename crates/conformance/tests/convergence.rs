//! The suite on convergence: causal broadcast passes, and each mistake that is planted in it, in its clients or in its state
//! machine is found by the right property.

#[path = "toys/causal.rs"]
mod causal;

use crate::hunt::{caught, passed_in_a_storm};
use causal::{Causal, Config, Flaw};
use conformance::{Options, Tuning, check};
use consensus_sim::Property::{
    self, Availability, CausalOrder, Convergence, Delivery, Durability, Integrity, MonotonicReads,
    MonotonicWrites, ReadYourWrites, WritesFollowReads,
};
use consensus_sim::{MILLION, Measures, Plan, Roaming, Stream};
use std::time::Duration;

fn tuned(flaw: Flaw) -> Tuning<Config> {
    Tuning { config: Config { flaw }, patience: Duration::from_secs(3) }
}

/// Whether one of these properties fails first on one of 300 seeds.
fn is_caught(what: &str, by: &[Property], tune: &(dyn Fn(&mut Plan) -> Tuning<Config> + Sync)) -> bool {
    let tune = |_: &mut Stream, plan: &mut Plan| tune(plan);
    caught::<Causal>(what, 300, by, &tune).is_some()
}

#[test]
fn causal_broadcast_keeps_its_promises() {
    let options = Options::<Causal> {
        seeds: 0..200,
        jobs: 2,
        replay: "replay".into(),
        tune: &|_: &mut Stream, _: &mut Plan| tuned(Flaw::None),
    };
    let report = check(&options).unwrap();
    eprintln!("{report}");
    let Measures::Convergence(measures) = &report.measures else { panic!("{report}") };
    assert!(measures.concurrent > 1_000 && measures.deliveries > 1_000, "{report}");
    passed_in_a_storm(&report);
}

#[test]
fn planted_mistakes_are_found() {
    let planted: &[(Flaw, &[Property])] = &[
        (Flaw::IgnorePast, &[CausalOrder]),
        (Flaw::DropOnMerge, &[Delivery, CausalOrder]),
        (Flaw::ForgetOthers, &[CausalOrder, MonotonicReads, Delivery]),
        (Flaw::ForgetOwn, &[CausalOrder, Durability]),
        (Flaw::DeliverAgain, &[Integrity]),
        (Flaw::Alter, &[Integrity]),
        (Flaw::RefuseAlone, &[Availability]),
        (Flaw::NoGossip, &[Delivery]),
    ];
    for (flaw, by) in planted {
        assert!(is_caught(&format!("{flaw:?}"), by, &|_: &mut Plan| tuned(*flaw)), "{flaw:?}");
    }
}

/// A replica that lets the last write win holds something else than another to which concurrent writes came the other way round.
#[test]
fn replicas_that_do_not_converge_are_found() {
    let tune = |plan: &mut Plan| {
        plan.workload.last_wins = true;
        plan.workload.keys = 30;
        plan.workload.read_ppm = 0;
        tuned(Flaw::None)
    };
    assert!(is_caught("last wins", &[Convergence], &tune));
}

/// Clients that do not stay with their replica lose each of the guarantees of a session.
#[test]
fn clients_that_roam_lose_each_guarantee() {
    let roaming: [(Property, Roaming, u64); 4] = [
        (ReadYourWrites, Roaming::Reads, MILLION / 2),
        (MonotonicReads, Roaming::Reads, 9 * MILLION / 10),
        (MonotonicWrites, Roaming::Writes, MILLION / 10),
        (WritesFollowReads, Roaming::Writes, MILLION / 2),
    ];
    for (property, roaming, read_ppm) in roaming {
        let tune = move |plan: &mut Plan| {
            (plan.workload.roaming, plan.workload.read_ppm) = (roaming, read_ppm);
            (plan.workload.keys, plan.workload.clients) = (6, 8);
            tuned(Flaw::None)
        };
        assert!(is_caught(&format!("{property}"), &[property], &tune), "{property}");
    }
}

/// What comes before its cause shows to clients too, even if nobody looks at the replicas; and sometimes only to one who looks at
/// whole chains of causes, since no session by itself is wronged.
#[test]
fn clients_see_what_comes_before_its_cause() {
    for property in [WritesFollowReads, Property::Causal] {
        let tune = move |plan: &mut Plan| {
            (plan.nodes, plan.workload.clients, plan.workload.keys) = (4, 6, 4);
            plan.workload.clients_only = true;
            (plan.workload.read_ppm, plan.workload.operations) = (2 * MILLION / 3, Some(100));
            // Some messages take very long, and clients are quicker than that.
            (plan.network.spike_ppm, plan.network.spike) = (MILLION / 3, Duration::from_millis(200));
            plan.workload.think = Duration::from_millis(2);
            tuned(Flaw::IgnorePast)
        };
        assert!(is_caught(&format!("{property}, seen by clients"), &[property], &tune), "{property}");
    }
}
