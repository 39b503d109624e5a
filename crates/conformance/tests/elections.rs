//! How long a group is without a leader. `cargo xtask elections` measures it in full.

use conformance::elections::{Table, Trial};
use consensus_sim::MILLION;
use std::time::Duration;

const T: Duration = Duration::from_secs(1);

#[test]
fn somebody_leads_again_after_little_more_than_an_election_timeout() {
    for nodes in [3, 5] {
        for percent in [0, 30] {
            let waits = Trial::new(nodes, percent * MILLION / 100).run(60);
            assert_eq!(waits.without, 0, "{nodes} nodes, {percent} % loss");
            let of = |percent| waits.percentile(percent).unwrap();
            // The first of the others waits from T on after it heard the leader, for half of T at most.
            assert!(
                (T * 3 / 4..T * 3 / 2).contains(&of(50)),
                "{nodes} nodes, {percent} % loss: {:?}",
                of(50)
            );
            assert!(of(90) < T * 2, "{nodes} nodes, {percent} % loss: {:?}", of(90));
        }
    }
}

#[test]
fn in_lockstep_too_random_timeouts_elect_somebody() {
    let waits = Trial { in_lockstep: true, ..Trial::new(3, 0) }.run(20);
    assert_eq!(waits.without, 0);
}

/// Nodes that time out together split their votes for ever: what random timeouts are for.
#[cfg(all(feature = "mutants", debug_assertions))]
#[test]
fn in_lockstep_equal_timeouts_elect_nobody() {
    let mut trial = Trial { in_lockstep: true, ..Trial::new(3, 0) };
    trial.config.mutant = Some(raft::Mutant::FixedTimeouts);
    let waits = trial.run(20);
    assert_eq!((waits.without, waits.percentile(50)), (20, None));
}

#[test]
fn the_table_has_a_row_for_each_group_and_loss() {
    let table = Table::measure(2).to_string();
    let rows: Vec<Vec<&str>> = table.lines().skip(4).map(|line| line.split_whitespace().collect()).collect();
    let expected =
        ["3", "5"].into_iter().flat_map(|nodes| ["0%", "5%", "10%", "20%", "30%"].map(|loss| [nodes, loss]));
    assert!(rows.iter().map(|row| [row[0], row[1]]).eq(expected), "{table}");
}
