//! The doors for Byzantine nodes, proven on a small algorithm of their own (`toy_byzantine/mod.rs`): it keeps its claims at n > 3f
//! through everything that the swarm does to it, and each step outside of them is found.

use crate::toy_byzantine::{Blocking, Config, EchoMutation, Flaw, Living, SENDER};
use conformance::{Options, Tuning, check, check_until_failure, controls, run_seed};
use consensus_core::{ConsensusAlgorithm, NodeId};
use consensus_sim::{
    Act, ByzantinePlan, FrameAttacks, MILLION, Mutator, Plan, Property, Scenario, Severs, Stream, Traitor,
};
use std::time::Duration;

/// Byzantine nodes know the fields of the messages.
fn informed(plan: &mut Plan, flaw: Flaw) -> Tuning<Config> {
    if let Some(byzantine) = &mut plan.byzantine {
        byzantine.mutator = Some(Mutator::of::<EchoMutation>());
    }
    tuned(flaw)
}

fn tuned(flaw: Flaw) -> Tuning<Config> {
    Tuning { config: Config { flaw }, patience: Duration::from_secs(3) }
}

/// Nothing is lost for good but by Byzantine nodes, and the sender is none of them.
fn spare_the_sender(plan: &mut Plan) {
    (plan.lost_for_good, plan.hardships.rot) = (0, None);
    let Some(byzantine) = &mut plan.byzantine else { return };
    let free = (2..=plan.nodes as u64).map(NodeId).find(|&node| !byzantine.betrays(node));
    let sender = byzantine.traitors.iter_mut().find(|traitor| traitor.node == SENDER);
    if let (Some(traitor), Some(free)) = (sender, free) {
        traitor.node = free;
    }
}

/// The property that fails first on the lowest seed, of 150, with as many traitors as are tolerated.
fn caught(flaw: Flaw) -> Option<Property> {
    let tune = move |_: &mut Stream, plan: &mut Plan| informed(plan, flaw);
    let options = Options::<Blocking> { seeds: 0..150, jobs: 2, replay: String::new(), tune: &tune };
    check_until_failure(&options).unwrap().map(|failed| failed.failure.property)
}

#[test]
fn correct_nodes_agree_whatever_a_third_of_them_does() {
    let options = Options::<Blocking> {
        seeds: 0..60,
        jobs: 2,
        replay: "replay".into(),
        tune: &|_: &mut Stream, plan: &mut Plan| informed(plan, Flaw::None),
    };
    let report = check(&options).unwrap();
    assert_eq!(report.failed(), 0, "{report}");
    let counts = report.counts.byzantine;
    let unseen: Vec<_> = Act::ALL.into_iter().filter(|&act| counts.of(act) < 10).collect();
    assert!(unseen.is_empty(), "hardly ever done: {unseen:?}");
    let happened = [counts.runs, counts.rounds, counts.refused_forgeries, counts.undecodable];
    assert!(happened.iter().all(|&count| count > 10), "{counts:?}");
    assert!(counts.accusations > 10 && counts.matched_replies > 100, "{counts:?}");
}

#[test]
fn the_group_lives_on_while_its_sender_is_correct() {
    let options = Options::<Living> {
        seeds: 0..60,
        jobs: 2,
        replay: "replay".into(),
        tune: &|_: &mut Stream, plan: &mut Plan| {
            spare_the_sender(plan);
            informed(plan, Flaw::None)
        },
    };
    let report = check(&options).unwrap();
    assert_eq!(report.failed(), 0, "{report}");
    assert!(report.counts.byzantine.runs > 30, "{report}");
}

#[test]
fn a_majority_of_echoes_is_found_too_small() {
    // Four of seven: two such sets may share nobody but a traitor.
    let tune = |draw: &mut Stream, plan: &mut Plan| {
        twins(plan, 7, &[1, 2], draw);
        tuned(Flaw::Majority)
    };
    let control = controls::find::<Blocking>("majority", &[Property::Agreement], 100, 2, &tune).unwrap();
    assert!(control.holds(), "{control}");
}

#[test]
fn a_word_that_is_taken_back_is_found() {
    // The node that takes it back looks Byzantine to the others.
    let property = caught(Flaw::EchoTwice).unwrap();
    assert!(matches!(property, Property::Agreement | Property::NoFalseAccusation), "{property}");
}

#[test]
fn messages_that_are_counted_in_place_of_nodes_are_found() {
    assert_eq!(caught(Flaw::CountMessages), Some(Property::Agreement));
}

#[test]
fn a_command_that_nobody_proposed_is_found() {
    let sender = Traitor {
        frames: Some(FrameAttacks { mutate_ppm: MILLION / 4, ..FrameAttacks::default() }),
        ..Traitor::new(SENDER)
    };
    let tune = |_: &mut Stream, plan: &mut Plan| {
        *plan = Plan { workload: plan.workload.clone(), ..Plan::calm(4) };
        plan.byzantine = Some(ByzantinePlan { traitors: vec![sender.clone()], ..ByzantinePlan::default() });
        informed(plan, Flaw::EchoUnasked)
    };
    let options = Options::<Blocking> { seeds: 0..50, jobs: 2, replay: String::new(), tune: &tune };
    let failed = check_until_failure(&options).unwrap().unwrap();
    assert_eq!(failed.failure.property, Property::Integrity, "{}", failed.failure);
}

/// Twins of these nodes among `nodes`, and nothing else that goes wrong.
fn twins(plan: &mut Plan, nodes: usize, traitors: &[u64], draw: &mut Stream) -> Tuning<Config> {
    *plan = Plan { workload: plan.workload.clone(), ..Plan::calm(nodes) };
    plan.faults_for = Duration::from_secs(1);
    let traitors: Vec<Traitor> = traitors.iter().map(|&node| Traitor::twins(NodeId(node), 2)).collect();
    let mut scenario = Scenario::draw(nodes + traitors.len(), draw);
    scenario.severs = Severs::Everyone;
    plan.byzantine = Some(ByzantinePlan {
        traitors,
        scenario: Some(scenario),
        may_halt: true,
        ..ByzantinePlan::default()
    });
    tuned(Flaw::None)
}

/// n = 3f: one Byzantine node of three. n = 3f + 1: two of four.
#[test]
fn outside_of_the_envelope_there_is_disagreement() {
    let agreement = &[Property::Agreement];
    let third = |draw: &mut Stream, plan: &mut Plan| twins(plan, 3, &[1], draw);
    let control = controls::find::<Blocking>("n = 3f", agreement, 100, 2, &third).unwrap();
    assert!(control.holds(), "{control}");
    let two = |draw: &mut Stream, plan: &mut Plan| twins(plan, 4, &[1, 2], draw);
    let control = controls::find::<Blocking>("f + 1 twins", agreement, 100, 2, &two).unwrap();
    assert!(control.holds(), "{control}");
    // Inside of it the same scenarios do no harm.
    let one = |draw: &mut Stream, plan: &mut Plan| twins(plan, 4, &[1], draw);
    let control = controls::find::<Blocking>("f twins", controls::SAFETY, 30, 2, &one).unwrap();
    assert_eq!(control.found, None, "{control}");
}

/// With f + 1 liars a client believes what no correct node says.
#[test]
fn more_liars_than_matching_replies_are_found() {
    let tune = |_: &mut Stream, plan: &mut Plan| {
        *plan = Plan { workload: plan.workload.clone(), ..Plan::calm(4) };
        // Both instances of each forget that they lied, and both lie alike: that its command has no session any more.
        let liar = |node| Traitor { lies_ppm: MILLION / 2, ..Traitor::new(NodeId(node)) };
        plan.byzantine = Some(ByzantinePlan {
            traitors: vec![liar(2), liar(3)],
            may_halt: true,
            ..ByzantinePlan::default()
        });
        tuned(Flaw::None)
    };
    let control =
        controls::find::<Blocking>("f + 1 liars", &[Property::Linearizable], 100, 2, &tune).unwrap();
    assert!(control.holds(), "{control}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed, trace| {
        run_seed::<Living>(
            seed,
            &|_, plan| {
                spare_the_sender(plan);
                tuned(Flaw::None)
            },
            trace,
        )
        .unwrap()
    };
    for seed in 0..10 {
        let (first, second) = (run(seed, false), run(seed, true));
        assert_eq!((first.hash, first.events), (second.hash, second.events));
        assert_eq!(first.counts, second.counts);
    }
}

#[test]
fn tolerated_is_what_the_toy_reckons_with() {
    assert_eq!([1, 3, 4, 6, 7].map(|n| Blocking::GUARANTEES.tolerated(n)), [0, 0, 1, 1, 2]);
    assert_eq!([1, 3, 4, 6, 7].map(|n| Blocking::GUARANTEES.replies(n)), [1, 1, 2, 2, 3]);
}
