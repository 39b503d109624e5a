//! In calm weather no decision waits for a timer. `cargo xtask calm` measures it in full.

use conformance::calm::Table;
use conformance::subjects::{self, Entry, Subject};
use conformance::{Options, Recipe, Tuning, check, run_recipe};
use consensus_sim::{Overrides, Plan, Property, Setting, Still, Stream};
use own_algorithm::{Config, FixedLeader, Flaw};
use std::time::Duration;

fn tuned(_: &mut Stream, _: &mut Plan) -> Tuning<Config> {
    Tuning { config: Config { flaw: Flaw::None }, patience: Duration::from_secs(2) }
}

fn still(seed: u64, how: u64) -> Recipe {
    Recipe { overrides: Overrides::none().with(Setting::Still, how), ..seed.into() }
}

/// Whoever claims something without rounds of a known length has a row for each number of clients, and answers in all.
#[test]
fn every_algorithm_answers_while_all_clocks_stand_still() {
    let table = Table::measure(subjects::ALL, 1).unwrap();
    assert!(table.holds(), "{table}");
    let text = table.to_string();
    for subject in subjects::ALL {
        let rows = text.lines().filter(|line| line.split_whitespace().next() == Some(subject.name())).count();
        assert_eq!(rows, if subject.name() == "floodset" { 0 } else { 3 }, "{text}");
    }
}

#[test]
fn the_suite_stops_the_clocks_of_some_seeds_and_says_so() {
    let options = Options::<FixedLeader> { seeds: 0..64, jobs: 2, replay: "replay".into(), tune: &tuned };
    let report = check(&options).unwrap();
    assert_eq!(report.verdict(Property::NoTimer), (4, 0), "{report}");
    assert!(report.costs.alone.len() > 20 && report.costs.together.len() > 20, "{report}");
    assert!(report.to_string().contains("answers with all clocks stopped"), "{report}");
}

/// A plan that stops clocks leaves nothing behind that would excuse a wait, and what nobody claims is not asked.
#[test]
fn a_still_plan_is_what_the_claims_allow() {
    let plan = Entry::<FixedLeader, _>::new(tuned).plan_of(&still(3, 2)).unwrap();
    assert_eq!((plan.still, plan.lost_for_good, plan.left_out.len()), (Some(Still::AfterStorm), 0, 0));
    let named = |name| subjects::ALL.iter().find(|subject| subject.name() == name).unwrap();
    assert_eq!(named("floodset").plan_of(&still(3, 1)).unwrap().still, None, "rounds are timers");
    assert_eq!(named("benor").plan_of(&still(3, 2)).unwrap().still, Some(Still::InCalm), "it decides once");
    assert_eq!(named("pbft").plan_of(&still(3, 1)).unwrap().byzantine, None, "nobody lies in calm");
}

/// Followers that hear nothing of the leader, and a leader that is content with that: nobody is answered.
#[test]
fn silence_is_found_without_a_storm() {
    let mute = |_: &mut Stream, _: &mut Plan| Tuning {
        config: Config { flaw: Flaw::Mute },
        patience: Duration::from_secs(2),
    };
    let failed =
        (0..20).filter_map(|seed| run_recipe::<FixedLeader>(&still(seed, 1), &mute, false).unwrap().failure);
    assert!(failed.count() > 0);
}
