//! Snapshots that are written out beside the node.

use crate::common::puppet::{Line, Order, PuppetNode, Stage, envelope, open, open_with, order};
use consensus_core::{Bytes, Event, Slot, Time, Verdict};

fn deferring() -> Stage {
    let stage = Stage::default();
    stage.defers.set(true);
    stage
}

fn decide(node: &mut PuppetNode, slot: u64, bytes: usize) {
    node.handle(Time::ZERO, order(Order::DecidePayload(slot, None, vec![0; bytes]))).unwrap();
}

fn taken(node: &PuppetNode) -> Vec<(u64, Bytes)> {
    node.algorithm().compacted.iter().map(|(through, bytes)| (through.0, bytes.clone())).collect()
}

fn state(count: usize) -> Bytes {
    envelope(format!("state {count}").as_bytes()).into()
}

#[test]
fn a_node_goes_on_while_its_snapshot_is_written_out() {
    let mut node = open_with(&deferring(), 1_000).unwrap();
    decide(&mut node, 1, 2_000);
    let pending = node.take_pending_snapshot().expect("one is due");
    assert_eq!((pending.through(), node.take_pending_snapshot().is_none()), (Slot(1), true));
    // However much is applied meanwhile, there is one at a time.
    (2..=9).for_each(|slot| decide(&mut node, slot, 2_000));
    assert_eq!(
        (node.applied(), taken(&node), node.take_pending_snapshot().is_none()),
        (Slot(9), vec![], true)
    );
    node.handle(Time::ZERO, pending.write()).unwrap();
    assert_eq!(taken(&node), [(1, state(1))], "the state of when it was begun");
    let next = node.take_pending_snapshot().expect("what came meanwhile is worth the next");
    assert_eq!(next.through(), Slot(9));
    node.handle(Time::ZERO, next.write()).unwrap();
    assert_eq!(taken(&node)[1..], [(9, state(9))]);
}

#[test]
fn a_snapshot_of_a_state_that_was_replaced_is_not_offered() {
    let mut node = open_with(&deferring(), 1_000).unwrap();
    decide(&mut node, 1, 2_000);
    let pending = node.take_pending_snapshot().unwrap();
    node.handle(Time::ZERO, order(Order::Install(9, envelope(b"")))).unwrap();
    node.handle(Time::ZERO, pending.write()).unwrap();
    assert_eq!(taken(&node), []);
    // Nor is one that nobody has taken away.
    decide(&mut node, 10, 2_000);
    node.handle(Time::ZERO, order(Order::Install(20, envelope(b"")))).unwrap();
    assert!(node.take_pending_snapshot().is_none());
    decide(&mut node, 21, 2_000);
    assert_eq!(node.take_pending_snapshot().map(|pending| pending.through()), Some(Slot(21)));
}

#[test]
fn what_comes_to_nothing_is_begun_again() {
    let mut node = open_with(&deferring(), 1_000).unwrap();
    decide(&mut node, 1, 2_000);
    let nothing = |through| Event::<Line>::SnapshotWritten { through: Slot(through), snapshot: None };
    node.handle(Time::ZERO, nothing(7)).unwrap();
    decide(&mut node, 2, 2_000);
    assert_eq!(node.take_pending_snapshot().map(|pending| pending.through()), Some(Slot(1)));
    node.handle(Time::ZERO, nothing(1)).unwrap();
    assert_eq!(taken(&node), []);
    assert_eq!(node.take_pending_snapshot().map(|pending| pending.through()), Some(Slot(2)));
}

#[test]
fn one_that_is_asked_for_contains_what_was_decided_before_and_no_more() {
    let stage = deferring();
    let mut node = open(&stage).unwrap();
    for act in [Order::Persist, Order::Decide(1, None, Verdict::Commit), Order::Snapshot] {
        node.push(Time::ZERO, order(act)).unwrap();
    }
    node.handle(Time::ZERO, order(Order::DecideEarly(2, None, Verdict::Commit))).unwrap();
    assert!(node.take_pending_snapshot().is_none(), "it waits for what was persisted before");
    stage.durable.set(1);
    node.handle(Time::ZERO, Event::Written).unwrap();
    assert_eq!(node.applied(), Slot(2));
    // While it is written out another one is asked for: that one is taken at once.
    node.handle(Time::ZERO, order(Order::Snapshot)).unwrap();
    assert_eq!(taken(&node), [(2, envelope(b"state").into())]);
    let pending = node.take_pending_snapshot().unwrap();
    node.handle(Time::ZERO, pending.write()).unwrap();
    assert_eq!(taken(&node)[1..], [(1, state(1))]);
}
