//! Taking runs apart: masks and settings, and the shrinking of runs that fail.

use conformance::{
    MAX_RUNS, Options, Recipe, Tuning, check, record_recipe, run_recipe, run_seed, shrink_run, subjects,
};
use consensus_core::Time;
use consensus_sim::{Event, FaultClass, Happened, Mask, Overrides, Plan, Property, Setting, Stream};
use own_algorithm::{Config, FixedLeader, Flaw};
use std::time::Duration;

fn flawed(flaw: Flaw) -> impl Fn(&mut Stream, &mut Plan) -> Tuning<Config> + Sync {
    move |_, _| Tuning { config: Config { flaw }, patience: Duration::from_secs(2) }
}

/// When links are cut, and when any node crashes, before the faults are over.
fn times(recipe: &Recipe) -> (Vec<Time>, Vec<Time>) {
    let (_, run) = record_recipe::<raft::Raft>(recipe, &subjects::raft, false, "").unwrap();
    let stormy = |event: &&Event| !matches!(event.what, Happened::Calm);
    let when = |is: fn(&Happened) -> bool| {
        run.events.iter().take_while(stormy).filter(|event| is(&event.what)).map(|event| event.at).collect()
    };
    (when(|what| matches!(what, Happened::Cut { .. })), when(|what| matches!(what, Happened::Crash { .. })))
}

#[test]
fn leaving_a_class_out_leaves_the_times_of_the_others_alone() {
    let mut seen = 0;
    for seed in 0..12 {
        let mask = |text: &str| Recipe { mask: text.parse().unwrap(), ..seed.into() };
        let (cuts, crashes) = times(&seed.into());
        if cuts.is_empty() || crashes.is_empty() {
            continue;
        }
        seen += 1;
        let (same, none) = times(&mask("crash:;power-loss:;rot:;interrupted-recovery:;lost-node:;loss:"));
        assert_eq!((same, none), (cuts, Vec::new()), "seed {seed}");
        assert_eq!(times(&mask("partition:")).0, Vec::new(), "seed {seed}");
    }
    assert!(seen > 2, "too few of these seeds have both classes");
}

#[test]
fn a_mask_that_names_all_faults_gives_the_same_run_as_none() {
    let named =
        FaultClass::ALL.iter().map(|class| format!("{class}:0-1000000")).collect::<Vec<_>>().join(";");
    for seed in 0..6 {
        let plain = run_seed::<raft::Raft>(seed, &subjects::raft, false).unwrap();
        let recipe = Recipe { mask: named.parse().unwrap(), ..seed.into() };
        assert_eq!(run_recipe::<raft::Raft>(&recipe, &subjects::raft, false).unwrap(), plain);
        assert!(plain.faults.carried_out() > 0);
    }
}

#[test]
fn a_mask_without_faults_gives_a_run_without_faults() {
    let mask = FaultClass::ALL.into_iter().fold(Mask::all(), Mask::without);
    for seed in 0..6 {
        let recipe = Recipe { mask: mask.clone(), ..seed.into() };
        let report = run_recipe::<raft::Raft>(&recipe, &subjects::raft, false).unwrap();
        let counts = report.counts;
        assert_eq!(
            (report.failure, report.faults.carried_out(), counts.faults()),
            (None, 0, 0),
            "seed {seed}"
        );
        assert_eq!((counts.restarts, counts.suspicions, counts.transfers), (0, 0, 0), "seed {seed}");
    }
}

#[test]
fn settings_make_a_run_small() {
    let overrides: Overrides = "nodes=3;clients=2;operations=5;faults_for_us=300000".parse().unwrap();
    for seed in 0..6 {
        let recipe = Recipe { overrides: overrides.clone(), ..seed.into() };
        let (report, run) = record_recipe::<raft::Raft>(&recipe, &subjects::raft, false, "").unwrap();
        assert_eq!((run.clients, report.failure), (2, None), "seed {seed}");
        // There may be machines for members that are still to come.
        assert!(run.plan.contains("\n    nodes: 3,\n"), "seed {seed}");
        let calm = run.events.iter().find(|event| matches!(event.what, Happened::Calm)).unwrap().at;
        assert_eq!(calm, Time::from_millis(300));
        let begun = |event: &&Event| {
            event.at < calm
                && matches!(&event.what, Happened::Invoke { text, .. } if text != "open a session")
        };
        assert!(run.events.iter().filter(begun).count() <= 5, "seed {seed}");
        assert!(report.counts.operations >= 4, "each client is served after the faults");
    }
}

#[test]
fn every_setting_is_taken() {
    for setting in Setting::ALL {
        let (least, _) = setting.bounds();
        let recipe = Recipe { overrides: Overrides::none().with(setting, least), ..3.into() };
        let report = run_recipe::<raft::Raft>(&recipe, &subjects::raft, false).unwrap();
        assert_eq!(report.failure, None, "{setting}={least}");
    }
}

/// Shrinks the first of 100 seeds that fails, and holds the result against what was promised.
fn shrinks<A: consensus_core::ConsensusAlgorithm>(
    tune: impl Fn(&mut Stream, &mut Plan) -> Tuning<A::Config> + Sync,
) -> Property {
    let (seed, before) = (0..100)
        .map(|seed| (seed, run_seed::<A>(seed, &tune, false).unwrap()))
        .find(|(_, report)| report.failure.is_some() && report.faults.carried_out() >= 8)
        .expect("one of the seeds fails");
    let shrunk = shrink_run::<A>(&seed.into(), &tune, MAX_RUNS).unwrap().unwrap();
    let after = run_recipe::<A>(&shrunk.recipe, &tune, false).unwrap();
    let failure = after.failure.expect("the small run fails");
    assert_eq!(before.failure.map(|failure| failure.property), Some(failure.property), "seed {seed}");
    assert_eq!((failure.property, failure.detail), (shrunk.property, shrunk.detail.clone()));
    assert_eq!(
        (shrunk.faults_before, shrunk.faults),
        (before.faults.carried_out(), after.faults.carried_out())
    );
    assert!(shrunk.faults * 4 <= shrunk.faults_before, "{shrunk:?}");
    assert!(shrunk.runs <= MAX_RUNS + 1, "{shrunk:?}");
    assert_eq!(shrink_run::<A>(&seed.into(), &tune, MAX_RUNS).unwrap(), Some(shrunk), "it is deterministic");
    failure.property
}

#[test]
fn runs_that_fail_are_shrunk_to_a_quarter_of_their_faults() {
    assert_eq!(shrinks::<FixedLeader>(flawed(Flaw::AckEarlyAndAcceptGaps)), Property::Agreement);
    assert_eq!(shrinks::<FixedLeader>(flawed(Flaw::Mute)), Property::Progress);
    assert_eq!(shrinks::<FixedLeader>(flawed(Flaw::TwoLeaders)), Property::OneLeader);
}

#[test]
fn a_run_that_panics_tells_what_led_to_it() {
    let early = flawed(Flaw::BrokenInvariant);
    let report = run_seed::<FixedLeader>(1, &early, true).unwrap();
    assert_eq!(report.failure.unwrap().property, Property::Invariant);
    assert!(!report.lines.is_empty(), "the world outlives the panic");
}

#[test]
fn a_run_that_passes_is_not_shrunk() {
    let sound = flawed(Flaw::None);
    assert_eq!(shrink_run::<FixedLeader>(&1.into(), &sound, MAX_RUNS).unwrap(), None);
}

/// What the author of an algorithm sees when their test fails: a variable and a command, which do the small run again.
#[test]
fn the_report_of_a_failed_suite_can_be_replayed() {
    let tune = flawed(Flaw::TwoLeaders);
    let replay = "RECIPE='{}' cargo test replay".to_owned();
    let report = check(&Options::<FixedLeader> { seeds: 0..20, jobs: 2, replay, tune: &tune }).unwrap();
    let text = report.to_string();
    let recipes: Vec<Recipe> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("replay: RECIPE='"))
        .map(|line| line.split_once("' cargo test replay").unwrap().0.parse().unwrap())
        .collect();
    let shrunk = recipes.iter().filter(|recipe| **recipe != Recipe::from(recipe.seed)).count();
    assert!(report.failed() >= 3 && shrunk == 3, "{text}");
    assert_eq!(recipes.len() as u64, report.failed() + 3, "{text}");
    for recipe in recipes {
        let failed = report.failures.iter().find(|failed| failed.recipe.seed == recipe.seed).unwrap();
        let failure = run_recipe::<FixedLeader>(&recipe, &tune, false).unwrap().failure.unwrap();
        assert_eq!(failure.property, failed.failure.property, "{recipe}");
    }
}
