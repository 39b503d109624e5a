//! Nodes that come late: the clauses P14 to P16 of `spec.md`.

use crate::common::Cluster;
use consensus_core::{Event, Slot};
use multipaxos::{Config, MultiPaxos};

// tests [P14] [P16]
#[test]
fn what_lies_behind_a_snapshot_is_asked_for_too() {
    let config = Config { retained_values: 0, ..Config::default() };
    let mut cluster = Cluster::<MultiPaxos>::with(3, config, false, 1);
    cluster.compact_after_bytes = 1_000;
    let all: Vec<_> = cluster.members.iter().collect();
    for &id in &all {
        cluster.crash(id);
        cluster.start(id);
    }
    let leader = cluster.elect();
    let [late, heir] = cluster.others(leader)[..] else { panic!() };
    cluster.crash(late);
    for number in 1..=40 {
        cluster.propose(leader, number, b"a line of some length");
        cluster.settle();
    }
    let heir_holds = |slot| cluster.nodes[&heir].algorithm().accepted_in(Slot(slot)).is_some();
    assert!(!heir_holds(1) && heir_holds(40), "a part is in a snapshot, and the rest is not");
    // Whoever leads now proposes nothing of that.
    cluster.handle(leader, Event::Transfer { to: Some(heir) });
    cluster.run_for_ms(1_000);
    assert_eq!(cluster.leaders(), [heir]);
    cluster.start(late);
    cluster.run_for_ms(2_000);
    assert_eq!(cluster.diary(late), cluster.diary(heir));
}
