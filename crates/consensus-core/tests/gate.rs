//! The gate: what leaves the node, when, and in which order.

#![allow(clippy::wildcard_enum_match_arm, reason = "most orders need no number")]

use crate::common::puppet::{
    FIRST, Line, Order, PuppetNode, Stage, envelope, open, open_bounded, open_with, order,
};
use consensus_core::{
    Bytes, ClientId, Event, Members, NodeConfig, NodeError, NodeId, Offence, Outcome, ProposalId, ReadId,
    Refusal, Reply, Slot, StorageError, Time, Verdict, WriteSeq, wire,
};
use quickcheck::{Arbitrary, Gen, QuickCheck};

#[derive(Clone, Debug)]
enum Act {
    Do(Order),
    /// So many more writes become durable.
    Sync(u64),
    Flush,
}

impl Arbitrary for Act {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 12 {
            0..3 => Self::Do(Order::Persist),
            3 => Self::Do(Order::Send(0)),
            4 => Self::Do(Order::SendEarly(0)),
            5 => Self::Do(Order::SendAfter(0, u64::from(u8::arbitrary(g) % 16))),
            6 => Self::Do(Order::Decide(0, None, Verdict::Commit)),
            7 => Self::Do(Order::DecideEarly(0, None, Verdict::Commit)),
            8 => Self::Do(Order::Install(u64::from(u8::arbitrary(g) % 4), envelope(b""))),
            9 | 10 => Self::Sync(u64::from(u8::arbitrary(g) % 4)),
            _ => Self::Flush,
        }
    }
}

/// Numbers the sends and the slots of `acts`, plays them, and compares with what had to come of them. The stage itself
/// asserts that nothing comes before its write.
fn play(acts: Vec<Act>) -> bool {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    let (mut sends, mut early, mut slots) = (0, Vec::new(), Vec::new());
    let mut burst_early = Vec::new();
    for act in acts {
        match act {
            Act::Do(mut order_) => {
                let slot = slots.last().copied().unwrap_or(0);
                match &mut order_ {
                    Order::Send(number) | Order::SendAfter(number, _) => {
                        *number = sends;
                        sends += 1;
                    }
                    Order::SendEarly(number) => {
                        *number = sends;
                        burst_early.push(sends);
                        sends += 1;
                    }
                    Order::Decide(at, ..) | Order::DecideEarly(at, ..) => {
                        *at = slot + 1;
                        slots.push(*at);
                    }
                    Order::Install(through, _) => {
                        *through += slot;
                        slots.push(*through);
                    }
                    _ => {}
                }
                node.push(Time::ZERO, order(order_)).unwrap();
            }
            Act::Sync(more) => {
                stage.durable.set((stage.durable.get() + more).min(stage.written.get()));
                node.handle(Time::ZERO, Event::Written).unwrap();
                early.append(&mut burst_early);
            }
            Act::Flush => {
                node.flush(Time::ZERO).unwrap();
                early.append(&mut burst_early);
            }
        }
        assert!(early.iter().all(|number| stage.sent.borrow().contains(number)), "an early send waited");
        assert!(slots.starts_with(&stage.applied.borrow()), "decisions changed their order");
    }
    node.flush(Time::ZERO).unwrap();
    stage.durable.set(stage.written.get());
    node.handle(Time::ZERO, Event::Written).unwrap();
    let mut sent = stage.sent.borrow().clone();
    sent.sort_unstable();
    assert!(sent.into_iter().eq(0..sends), "each send leaves exactly once");
    assert_eq!(*stage.applied.borrow(), slots);
    assert!(node.algorithm().durable.is_sorted_by(|a, b| a < b), "durability was reported twice");
    true
}

#[test]
fn nothing_leaves_before_its_write_and_decisions_keep_their_order() {
    QuickCheck::new().tests(3_000).quickcheck(play as fn(Vec<Act>) -> bool);
}

#[test]
fn a_refusal_that_tells_of_a_verdict_waits_for_the_disk_and_another_does_not() {
    for verdict in [Verdict::Commit, Verdict::Abort] {
        let stage = Stage::default();
        let mut node = open(&stage).unwrap();
        let (id, settled) = (FIRST, Refusal::Settled { verdict });
        node.handle(Time::ZERO, order(Order::RefuseSettled(verdict))).unwrap();
        assert_eq!(node.replies().collect::<Vec<_>>(), [Reply::Refused { id, reason: settled.clone() }]);
        for act in [Order::Persist, Order::RefuseSettled(verdict), Order::Persist, Order::RefuseBusy] {
            node.handle(Time::ZERO, order(act)).unwrap();
        }
        let busy = Reply::Refused { id, reason: Refusal::Busy };
        assert_eq!(node.replies().collect::<Vec<_>>(), [busy], "the verdict is not durable");
        stage.durable.set(1);
        node.handle(Time::ZERO, Event::Written).unwrap();
        assert_eq!(node.replies().collect::<Vec<_>>(), [Reply::Refused { id, reason: settled }]);
    }
}

#[test]
fn an_early_send_overtakes_a_held_one() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    for act in [Order::Persist, Order::Send(1), Order::SendEarly(2)] {
        node.handle(Time::ZERO, order(act)).unwrap();
    }
    assert_eq!(*stage.sent.borrow(), [2]);
    stage.durable.set(1);
    node.handle(Time::ZERO, Event::Written).unwrap();
    assert_eq!(*stage.sent.borrow(), [2, 1]);
    assert_eq!(node.algorithm().durable, [WriteSeq(1)]);
}

#[test]
fn an_early_decision_does_not_overtake_a_held_one() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    let commit = Verdict::Commit;
    for act in [Order::Persist, Order::Decide(1, None, commit), Order::DecideEarly(2, None, commit)] {
        node.handle(Time::ZERO, order(act)).unwrap();
    }
    assert_eq!(node.applied(), Slot::ZERO);
    stage.durable.set(1);
    node.handle(Time::ZERO, Event::Written).unwrap();
    assert_eq!(*stage.applied.borrow(), [1, 2]);
}

#[test]
fn a_snapshot_from_a_peer_waits_for_the_decisions_before_it() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    node.handle(Time::ZERO, order(Order::Persist)).unwrap();
    node.handle(Time::ZERO, order(Order::Decide(1, None, Verdict::Commit))).unwrap();
    node.handle(Time::ZERO, order(Order::Install(9, envelope(b"")))).unwrap();
    node.handle(Time::ZERO, order(Order::DecideEarly(10, None, Verdict::Commit))).unwrap();
    assert_eq!(node.applied(), Slot::ZERO);
    stage.durable.set(1);
    node.handle(Time::ZERO, Event::Written).unwrap();
    assert_eq!(*stage.applied.borrow(), [1, 9, 10]);
}

#[test]
fn a_snapshot_that_is_asked_for_contains_what_was_decided_before_and_no_more() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    for act in [Order::Persist, Order::Decide(1, None, Verdict::Commit), Order::Snapshot] {
        node.push(Time::ZERO, order(act)).unwrap();
    }
    node.handle(Time::ZERO, order(Order::DecideEarly(2, None, Verdict::Commit))).unwrap();
    assert_eq!(node.algorithm().compacted, [], "it waits for what was persisted before");
    stage.durable.set(1);
    node.handle(Time::ZERO, Event::Written).unwrap();
    let taken: Vec<_> = node.algorithm().compacted.iter().map(|(through, _)| *through).collect();
    assert_eq!((taken, node.applied()), (vec![Slot(1)], Slot(2)));
}

#[test]
fn a_decision_out_of_order_stops_the_node() {
    for wrong in [0, 1, 3, u64::MAX] {
        let stage = Stage::default();
        let mut node = open(&stage).unwrap();
        node.handle(Time::ZERO, order(Order::DecideEarly(1, None, Verdict::Commit))).unwrap();
        let error = node.handle(Time::ZERO, order(Order::DecideEarly(wrong, None, Verdict::Commit)));
        let expected = NodeError::OutOfOrder { slot: Slot(wrong), applied: Slot(1) };
        assert_eq!(error, Err(expected.clone()));
        assert_eq!(node.handle(Time::ZERO, Event::Tick), Err(expected), "it stays stopped");
        assert_eq!(*stage.applied.borrow(), [1]);
    }
}

#[test]
fn what_is_decided_through_a_slot_is_read_where_it_stands() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    node.handle(Time::ZERO, order(Order::Show(3))).unwrap();
    node.handle(Time::ZERO, order(Order::DecideThroughEarly(2))).unwrap();
    assert_eq!(*stage.applied.borrow(), [1, 2]);
    // What waits for the disk is taken along: it may stand there no more when its turn comes.
    node.handle(Time::ZERO, order(Order::Persist)).unwrap();
    node.handle(Time::ZERO, order(Order::DecideThrough(3))).unwrap();
    node.handle(Time::ZERO, order(Order::Show(0))).unwrap();
    node.handle(Time::ZERO, order(Order::DecideEarly(4, None, Verdict::Commit))).unwrap();
    assert_eq!(*stage.applied.borrow(), [1, 2]);
    stage.durable.set(1);
    node.handle(Time::ZERO, Event::Written).unwrap();
    assert_eq!(*stage.applied.borrow(), [1, 2, 3, 4]);
}

#[test]
fn decisions_that_are_not_shown_stop_the_node() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    node.handle(Time::ZERO, order(Order::Show(1))).unwrap();
    let error = node.handle(Time::ZERO, order(Order::DecideThroughEarly(2)));
    assert_eq!(error, Err(NodeError::NotShown { through: Slot(2), shown: Slot(1) }));
    assert_eq!(*stage.applied.borrow(), [1]);
}

#[test]
fn a_snapshot_of_the_past_stops_the_node() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    node.handle(Time::ZERO, order(Order::Install(5, envelope(b"")))).unwrap();
    let error = node.handle(Time::ZERO, order(Order::Install(4, envelope(b""))));
    assert_eq!(error, Err(NodeError::OutOfOrder { slot: Slot(4), applied: Slot(5) }));
}

#[test]
fn a_disk_error_stops_the_node_for_good() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    node.handle(Time::ZERO, order(Order::Persist)).unwrap();
    node.handle(Time::ZERO, order(Order::Send(1))).unwrap();
    node.handle(Time::ZERO, order(Order::Decide(1, None, Verdict::Commit))).unwrap();
    stage.broken.set(true);
    let error = node.handle(Time::ZERO, Event::Written);
    assert!(matches!(error, Err(NodeError::Storage(StorageError::Io { .. }))), "{error:?}");
    // Even if the disk claims to have recovered: what was held is never let out.
    stage.broken.set(false);
    stage.durable.set(1);
    assert_eq!(node.handle(Time::ZERO, Event::Written), error);
    assert_eq!(node.push(Time::ZERO, order(Order::SendEarly(2))), error);
    assert_eq!(node.flush(Time::ZERO), error);
    assert!(stage.sent.borrow().is_empty() && stage.applied.borrow().is_empty());
    assert_eq!(node.algorithm().durable, []);
}

#[test]
fn reads_wait_until_their_slot_is_applied() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    for act in [Order::Read(1, 0), Order::Read(2, 2), Order::Read(3, 1)] {
        node.handle(Time::ZERO, order(act)).unwrap();
    }
    let ready = |id, at| Reply::ReadReady { id: ReadId(id), at: Slot(at) };
    assert!(node.replies().eq([ready(1, 0)]));
    node.handle(Time::ZERO, order(Order::DecideEarly(1, None, Verdict::Noop))).unwrap();
    assert!(node.replies().eq([ready(3, 1)]));
    node.handle(Time::ZERO, order(Order::Persist)).unwrap();
    node.handle(Time::ZERO, order(Order::Decide(2, None, Verdict::Commit))).unwrap();
    assert_eq!(node.replies().count(), 0, "decided is not applied");
    stage.durable.set(1);
    node.handle(Time::ZERO, Event::Written).unwrap();
    assert!(node.replies().eq([ready(2, 2)]));
}

#[test]
fn too_many_waiting_reads_are_refused() {
    let mut node = open(&Stage::default()).unwrap();
    for id in 0..=1 << 16 {
        node.push(Time::ZERO, order(Order::Read(id, 1))).unwrap();
    }
    node.flush(Time::ZERO).unwrap();
    let refused = Reply::ReadRefused { id: ReadId(1 << 16), reason: Refusal::Busy };
    assert!(node.replies().eq([refused]));
}

#[test]
fn a_stuck_disk_does_not_let_peers_fill_the_memory() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    node.push(Time::ZERO, order(Order::Persist)).unwrap();
    for number in 0..70_000 {
        node.push(Time::ZERO, order(Order::Send(number))).unwrap();
    }
    node.push(Time::ZERO, order(Order::Decide(1, None, Verdict::Commit))).unwrap();
    node.flush(Time::ZERO).unwrap();
    stage.durable.set(1);
    node.handle(Time::ZERO, Event::Written).unwrap();
    assert!(stage.sent.borrow().iter().copied().eq(0..1 << 16), "the oldest are kept, the rest is lost");
    assert_eq!(node.applied(), Slot(1), "a decision is never dropped");
}

#[test]
fn timers_fire_once_when_due_earliest_first() {
    let mut node = open(&Stage::default()).unwrap();
    for (timer, at) in [(1, 30), (2, 10), (3, 20), (2, 25)] {
        node.handle(Time::ZERO, order(Order::SetTimer(timer, at))).unwrap();
    }
    assert_eq!(node.deadline(), Some(Time::from_nanos(20)));
    let at = Time::from_nanos;
    node.handle(at(19), Event::Tick).unwrap();
    assert_eq!(node.algorithm().fired, []);
    node.handle(at(26), Event::Tick).unwrap();
    assert_eq!(node.algorithm().fired, [(at(26), 3), (at(26), 2)]);
    node.handle(at(26), order(Order::CancelTimer(1))).unwrap();
    assert_eq!(node.deadline(), None);
    node.handle(at(99), Event::Tick).unwrap();
    assert_eq!(node.algorithm().fired.len(), 2);
}

#[test]
fn a_timer_cancelled_or_moved_in_the_same_burst_does_not_fire() {
    let mut node = open(&Stage::default()).unwrap();
    let at = Time::from_nanos;
    for timer in [1, 2, 3] {
        node.handle(Time::ZERO, order(Order::SetTimer(timer, 10))).unwrap();
    }
    node.push(at(20), order(Order::CancelTimer(1))).unwrap();
    node.push(at(20), order(Order::SetTimer(2, 30))).unwrap();
    node.push(at(20), Event::Tick).unwrap();
    node.flush(at(20)).unwrap();
    assert_eq!(node.algorithm().fired, [(at(20), 3)]);
    assert_eq!(node.deadline(), Some(at(30)));
}

#[test]
fn a_timer_that_fires_may_cancel_another_that_is_due() {
    let mut node = open(&Stage::default()).unwrap();
    let orders = vec![Order::CancelTimer(2), Order::SetTimer(1, 5)];
    let payload = Bytes::from(wire::encode(&orders));
    node.push(Time::ZERO, Event::Propose { id: ProposalId::default(), payload }).unwrap();
    node.push(Time::ZERO, order(Order::SetTimer(1, 10))).unwrap();
    node.push(Time::ZERO, order(Order::SetTimer(2, 11))).unwrap();
    node.flush(Time::ZERO).unwrap();
    let at = Time::from_nanos;
    node.handle(at(20), Event::Tick).unwrap();
    assert_eq!(node.algorithm().fired, [(at(20), 1)], "what is set for the past waits for the next tick");
    assert_eq!(node.deadline(), Some(at(5)));
    node.handle(at(21), Event::Tick).unwrap();
    assert_eq!(node.algorithm().fired, [(at(20), 1), (at(21), 1)]);
}

fn decide(slot: u64, bytes: usize) -> Event<Line> {
    order(Order::DecidePayload(slot, None, vec![0; bytes]))
}

#[test]
fn a_snapshot_is_offered_when_the_log_has_outgrown_the_last_one() {
    let mut node = open_with(&Stage::default(), 1_000).unwrap();
    node.handle(Time::ZERO, decide(1, 1_000 - 32)).unwrap();
    assert_eq!(node.algorithm().compacted, [], "exactly the threshold is not above it");
    node.handle(Time::ZERO, decide(2, 1)).unwrap();
    assert_eq!(node.algorithm().compacted, [(Slot(2), envelope(b"state").into())]);
    node.handle(Time::ZERO, decide(3, 900)).unwrap();
    assert_eq!(node.algorithm().compacted.len(), 1, "the count starts anew");
    node.handle(Time::ZERO, decide(4, 900)).unwrap();
    assert_eq!(node.algorithm().compacted.len(), 2);
}

#[test]
fn a_large_snapshot_is_not_made_again_for_a_small_log() {
    let stage = Stage::default();
    let large = envelope(&[0; 10_000]);
    *stage.recovered.borrow_mut() = Some((Slot(7), large.into()));
    let mut node = open_with(&stage, 1_000).unwrap();
    assert_eq!(node.applied(), Slot(7));
    node.handle(Time::ZERO, decide(8, 5_000)).unwrap();
    assert_eq!(node.algorithm().compacted, []);
    node.handle(Time::ZERO, decide(9, 5_000)).unwrap();
    assert_eq!(node.algorithm().compacted.len(), 1);
}

#[test]
fn a_snapshot_is_offered_after_so_many_slots_however_small() {
    let stage = Stage::default();
    *stage.recovered.borrow_mut() = Some((Slot(7), envelope(&[0; 10_000]).into()));
    let mut node = open_bounded(&stage, u64::MAX, 3).unwrap();
    let taken = |slots: std::ops::RangeInclusive<u64>, node: &mut PuppetNode| {
        slots.for_each(|slot| node.handle(Time::ZERO, decide(slot, 0)).unwrap());
        node.algorithm().compacted.iter().map(|(through, _)| through.0).collect::<Vec<_>>()
    };
    assert_eq!(taken(8..=10, &mut node), [], "exactly so many since the last are not more");
    assert_eq!(taken(11..=11, &mut node), [11]);
    assert_eq!(taken(12..=14, &mut node), [11], "the count starts anew");
    assert_eq!(taken(15..=19, &mut node), [11, 15, 19]);
}

#[test]
fn the_state_machine_is_asked_and_its_answer_comes_back() {
    let mut node = open(&Stage::default()).unwrap();
    for number in [1, 2] {
        node.handle(Time::ZERO, order(Order::Judge(number))).unwrap();
    }
    let id = |sequence| ProposalId::new(ClientId::default(), sequence);
    assert_eq!(node.algorithm().judged, [(id(1), true), (id(2), false)]);
}

#[test]
fn messages_are_screened_unless_the_driver_has_done_it() {
    let mut node = open(&Stage::default()).unwrap();
    let orders = Bytes::from(wire::encode(&vec![Order::Accuse]));
    node.handle(Time::ZERO, Event::Propose { id: ProposalId::default(), payload: orders }).unwrap();
    node.handle(Time::ZERO, order(Order::Nonsense)).unwrap();
    assert!(node.accusations().eq([(NodeId(2), Offence::Malformed("nonsense"))]));
    assert_eq!(node.algorithm().on_timer.len(), 1, "the message did not come through");
    let message = Line::Order(Order::Nonsense);
    node.handle(Time::ZERO, Event::Screened { from: NodeId(2), message }).unwrap();
    assert_eq!(node.accusations().count(), 0);
    assert_eq!(node.algorithm().on_timer.len(), 0);
}

#[test]
fn accusations_that_nobody_fetches_are_bounded() {
    let mut node = open(&Stage::default()).unwrap();
    for _ in 0..5_000 {
        node.handle(Time::ZERO, order(Order::Accuse)).unwrap();
    }
    assert_eq!(node.accusations().count(), 1024);
}

#[test]
fn new_members_are_told_once() {
    let mut node = open(&Stage::default()).unwrap();
    assert_eq!(node.take_members(), None);
    node.handle(Time::ZERO, order(Order::Announce(3))).unwrap();
    assert_eq!(node.take_members(), Some(Members::of([NodeId(1), NodeId(2), NodeId(3)])));
    assert_eq!(node.take_members(), None);
}

#[test]
fn a_stranger_to_a_static_group_does_not_start() {
    let stage = Stage::default();
    for id in [0, 9] {
        let config = NodeConfig::new(NodeId(id), Members::of([NodeId(1), NodeId(2)]), 0);
        let node = PuppetNode::open(config, Time::ZERO, stage.clone(), stage.clone(), stage.clone());
        assert!(matches!(node.map(|_| ()), Err(NodeError::Config(error)) if error.field == "id"));
    }
}

#[test]
fn outcomes_follow_the_verdict() {
    let mut node = open(&Stage::default()).unwrap();
    let id = ProposalId::new(ClientId::anonymous(4), 1);
    for (slot, verdict) in [(1, Verdict::Commit), (2, Verdict::Abort), (3, Verdict::Noop)] {
        node.handle(Time::ZERO, order(Order::DecideEarly(slot, Some(id), verdict))).unwrap();
    }
    let count = |n: u64| Bytes::copy_from_slice(&n.to_le_bytes());
    let done = |slot, outcome| Reply::Done { id, slot: Slot(slot), outcome };
    let expected =
        [done(1, Outcome::Applied(count(1))), done(2, Outcome::Aborted(count(2))), done(3, Outcome::Noop)];
    assert!(node.replies().eq(expected));
}
