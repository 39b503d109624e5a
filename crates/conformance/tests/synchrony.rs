//! Timing as the suite understands it: an algorithm that needs a bound gets one and is told it, and one that needs a bound and
//! does not say so is found out.

use crate::lockstep::{BEAT, Config, Lockstep};
use conformance::plans::{plan_of, with_plan};
use conformance::{Options, Tuning, check, check_until_failure, run_seed, subjects};
use consensus_sim::{Plan, Property, Stream, TimingPlan};
use std::sync::Mutex;
use std::time::Duration;

/// Three times what a beat can take to be heard: its interval, the bound, the time of a node, and clocks that drift.
fn tune(_: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let bound = plan.timing.delta().unwrap_or_else(|| plan.network.longest_delay(plan.nodes) * 2);
    let suspect_after = (BEAT + bound + plan.longest_step()) * 3;
    Tuning { config: Config { suspect_after }, patience: Duration::from_secs(3) + suspect_after * 4 }
}

#[test]
fn a_synchronous_algorithm_lives_with_one_node_of_five() {
    let report =
        check(&Options::<Lockstep<true>> { seeds: 0..120, jobs: 2, replay: "replay".into(), tune: &tune })
            .unwrap();
    assert_eq!(report.failed(), 0, "{report}");
    let counts = report.counts;
    assert!(counts.crashes > 100 && counts.decisions > 5_000 && counts.duplicated > 100, "{report}");
    let broken = [
        counts.lost,
        counts.lost_in_bursts,
        counts.lost_in_queues,
        counts.lost_to_flaps,
        counts.corrupted,
        counts.partitions,
        counts.pauses,
        counts.slow_disks,
        counts.starvations,
        counts.restarts,
        counts.power_losses,
    ];
    assert_eq!(broken, [0; 11], "a synchronous run breaks no promise about time, and who crashed stays down");
}

#[test]
fn the_bound_of_a_synchronous_run_is_told() {
    for seed in 0..40 {
        let told = Mutex::new(None);
        let listen = |draw: &mut Stream, plan: &mut Plan| {
            *told.lock().unwrap() = plan.timing.delta();
            tune(draw, plan)
        };
        let TimingPlan::Synchronous { bound } =
            plan_of::<Lockstep<true>>(&seed.into(), &listen).unwrap().timing
        else {
            panic!("seed {seed} is not synchronous");
        };
        assert_eq!(*told.lock().unwrap(), Some(bound), "seed {seed}");
    }
}

/// The same algorithm, with claims that leave out what it needs.
#[test]
fn who_needs_a_bound_and_does_not_say_so_is_found() {
    let options = Options::<Lockstep<false>> { seeds: 0..100, jobs: 1, replay: String::new(), tune: &tune };
    let failed = check_until_failure(&options).unwrap().unwrap();
    assert!(
        matches!(
            failed.failure.property,
            Property::Agreement | Property::Integrity | Property::Durability | Property::Monotonic
        ),
        "{failed:?}"
    );
}

#[test]
fn raft_serves_again_within_its_patience_after_an_unknown_stabilisation() {
    for (stabilises, faults_for) in [(200, 1_000), (1_500, 1_000)] {
        for seed in 0..6 {
            let mut plan = Plan::calm(5);
            plan.faults_for = Duration::from_millis(faults_for);
            plan.timing = TimingPlan::PartialSynchrony {
                bound: Duration::from_millis(3),
                stabilises: Duration::from_millis(stabilises),
            };
            plan.network.loss_ppm = 300_000;
            plan.network.spike_ppm = 300_000;
            plan.network.spike = Duration::from_secs(3);
            plan.validate().unwrap();
            let report =
                run_seed::<raft::Raft>(seed, &with_plan(Some(plan), &subjects::raft), false).unwrap();
            assert_eq!(report.failure, None, "seed {seed}");
            assert_eq!(report.counts.stabilisations, 1);
            assert!(report.counts.longest_calm_wait_us <= 3_000, "{:?}", report.counts);
            assert!(report.counts.longest_wait_us > 100_000, "spikes before it: {:?}", report.counts);
        }
    }
}
