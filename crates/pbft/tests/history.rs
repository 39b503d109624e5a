//! States that are a snapshot and what was executed since, clause by clause: B15 to B17.

use crate::common::lone::{Lone, checkpoints};
use crate::common::signing::{batch, checkpoint, keyring, null, stable};
use crate::common::{Cluster, Disk, Envelope, config, gateway, n, open, payload, proposal, request};
use consensus_core::memory::Outbox;
use consensus_core::{
    Bytes, Decision, Event, InstallError, Members, Node, NodeConfig, NodeError, Note, Slot, StateMachine,
    Storage, Time, WriteSeq,
};
use pbft::{Config, Digest, Manifest, Message, Pbft, Record, Sequence};
use std::cell::Cell;

/// A checkpoint after every second place, and a snapshot when 1,000 bytes were executed since the last: of these requests, each in a
/// batch of its own that takes about a hundred, every tenth or twelfth, and later not so often.
fn seldom(config: Config) -> Config {
    Config {
        checkpoint_interval: 2,
        window: 4,
        chunk_bytes: 64,
        max_batch_requests: 1,
        snapshot_after_bytes: 1_000,
        ..config
    }
}

/// The snapshot on a replica's disk, if there is one, and the records behind it.
fn on_disk(cluster: &mut Cluster, id: u64) -> (Option<(Slot, Bytes)>, Vec<Record>) {
    let contents = match cluster.nodes.get_mut(&n(id)) {
        Some(node) => node.storage().contents(),
        None => cluster.disks[&n(id)].contents(),
    };
    (contents.snapshot.clone(), contents.records.clone())
}

fn snapshot_at(cluster: &mut Cluster, id: u64) -> u64 {
    on_disk(cluster, id).0.map_or(0, |(slot, _)| slot.0)
}

// tests [B15]
#[test]
fn a_snapshot_is_taken_when_as_much_was_executed_as_one_has() {
    let mut cluster = Cluster::with(4, seldom(config()));
    let mut snapshots = Vec::from([0]);
    for number in 1..=200 {
        cluster.serve(number..=number);
        assert_eq!(cluster.stable(1), number / 2 * 2);
        for id in 1..=4 {
            let at = snapshot_at(&mut cluster, id);
            assert!(snapshots.contains(&at) || id == 1, "all take the same");
            if !snapshots.contains(&at) {
                snapshots.push(at);
            }
        }
    }
    // Each comes when the log behind the last has as many bytes as that; so they become rare as the state grows.
    let gaps: Vec<u64> = snapshots.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((4..20).contains(&snapshots.len()), "{snapshots:?}");
    assert!(gaps.is_sorted() && gaps.first() < gaps.last(), "{gaps:?}");
    assert_eq!((cluster.agreed().len(), cluster.accusations.len()), (200, 0));
}

/// A machine that counts how often its state is asked for.
#[derive(Default)]
struct Asked(Cell<u32>);

impl StateMachine for Asked {
    fn apply(&mut self, _: Decision<'_>) -> Bytes {
        Bytes::new()
    }

    fn query(&self, _: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Bytes {
        self.0.set(self.0.get() + 1);
        Bytes::new()
    }

    fn install(&mut self, _: Slot, _: Bytes) -> Result<(), InstallError> {
        Ok(())
    }
}

// tests [B15]
#[test]
fn no_snapshot_is_taken_that_nobody_asks_for() {
    let mut config = NodeConfig::<Pbft>::new(n(1), Members::of([n(1)]), 1);
    config.algorithm = Config { keys: keyring(n(1), 1), ..seldom(gateway()) };
    (config.compact_after_bytes, config.compact_after_slots) = (0, 0);
    let disk = Disk::default();
    let mut node = Node::open(config, Time::ZERO, Outbox::default(), disk, Asked::default()).unwrap();
    let mut asked = Vec::new();
    for number in 1..=20 {
        let event = Event::Propose { id: proposal(number), payload: payload(number) };
        node.handle(Time::ZERO, event).unwrap();
        asked.push(node.machine().0.get());
    }
    assert_eq!((node.applied(), asked[4], asked[19]), (Slot(20), 0, 1), "{asked:?}");
}

// tests [B15]
#[test]
fn each_batch_and_its_turn_is_part_of_what_is_signed() {
    let [one, two] = [1, 2].map(|number| batch([request(number)]).digest());
    let state = |batches: &[Digest]| Manifest { batches: batches.to_vec(), ..Manifest::default() };
    let all =
        [&[][..], &[one], &[two], &[one, two], &[two, one], &[one, two, one], &[null()], &[one, null()]];
    let digests: std::collections::BTreeSet<_> = all.iter().map(|batches| state(batches).digest()).collect();
    assert_eq!(digests.len(), all.len());
    assert_eq!(state(&[one, two]).checkpoint(), Sequence(2));
    let behind = Manifest { sequence: Sequence(u64::MAX), ..state(&[one]) };
    assert_eq!(behind.checkpoint(), Sequence(u64::MAX), "nothing overflows");
}

/// Replicas that take their snapshots at other places come to other digests of the same state: that looks like lies, and is said.
// tests [B15]
#[test]
fn who_comes_to_another_state_is_told_of() {
    let told = |lone: &mut Lone| {
        let notes = lone.cluster.nodes.get_mut(&n(4)).unwrap().notes();
        let differ =
            |note| if let Note::StatesDiffer { peer, place } = note { Some((peer.0, place)) } else { None };
        notes.filter_map(differ).collect::<Vec<_>>()
    };
    let mut lone = Lone::new(4, 4, seldom(gateway()));
    // One tells before we come to it, one after.
    lone.hear(1, checkpoint(1, 2, Digest([1; 32])));
    assert_eq!(told(&mut lone), []);
    lone.come_to_commit(1, 0, 1, 1, &[2, 3]);
    lone.come_to_commit(1, 0, 2, 2, &[2, 3]);
    assert_eq!(told(&mut lone), [(1, 2)]);
    let state = Manifest {
        batches: [1, 2].map(|number| batch([request(number)]).digest()).into(),
        ..Manifest::default()
    };
    lone.hear(2, checkpoint(2, 2, state.digest()));
    assert_eq!(told(&mut lone), []);
    lone.hear(3, checkpoint(3, 2, Digest([3; 32])));
    lone.hear(3, checkpoint(3, 2, Digest([3; 32])));
    assert_eq!(told(&mut lone), [(3, 2)]);
    assert_eq!((lone.cluster.stable(4), lone.accused(1), lone.accused(3)), (0, 0, 0));
}

/// What a checkpoint comes to begins with the snapshot of an earlier one, which may be on its way.
// tests [B15] [B18]
#[test]
fn nothing_is_executed_at_the_next_checkpoint_before_the_snapshot_is_there() {
    let config = Config { checkpoint_interval: 1, window: 4, snapshot_after_bytes: 0, ..gateway() };
    let mut lone = Lone::on(4, 4, config, Disk::held);
    for place in 1..=3 {
        lone.come_to_commit(1, 0, place, place, &[2, 3]);
    }
    assert_eq!((lone.executed(), checkpoints(&lone.said())), (1, Vec::new()));
    // However long that takes, the primary is not to blame.
    lone.wait(20_000);
    assert_eq!((lone.executed(), lone.view()), (1, 0));
    lone.cluster.sync(4);
    lone.cluster.sync(4);
    lone.cluster.sync(4);
    let told: Vec<_> = checkpoints(&lone.said()).iter().map(|(place, _)| *place).collect();
    assert_eq!((lone.executed(), &told[..]), (3, &[1, 2, 3][..]));
    // It is for what comes next.
    lone.ask(4);
    lone.wait(1_500);
    assert_eq!(lone.view(), 1);
}

// tests [B16]
#[test]
fn who_restarts_executes_once_more_what_came_since_its_snapshot() {
    for count in [5, 9, 16, 33, 64] {
        let mut cluster = Cluster::with(4, seldom(config()));
        cluster.serve(1..=count);
        let settled = count / 2 * 2;
        cluster.crash(4);
        cluster.start(4);
        // It has heard nothing yet.
        assert_eq!((cluster.executed(4), cluster.stable(4)), (settled, settled));
        let known: Vec<_> = (1..=settled).map(payload).collect();
        assert_eq!(cluster.diary(4), known);
        cluster.run_for_ms(500);
        cluster.serve(count + 1..=count + 20);
        assert_eq!(cluster.agreed().len() as u64, count + 20);
        assert_eq!(cluster.accusations, []);
        for id in 1..=4 {
            assert_eq!(snapshot_at(&mut cluster, id), snapshot_at(&mut cluster, 1), "as before: {count}");
        }
    }
}

// tests [B16]
#[test]
fn a_record_of_what_cannot_be_had_is_refused_at_the_boot() {
    let mut cluster = Cluster::with(4, seldom(config()));
    cluster.serve(1..=30);
    cluster.crash(4);
    let (snapshot, records) = on_disk(&mut cluster, 4);
    let boots = |records: Vec<Record>| {
        let mut disk = Disk::default();
        let (slot, bytes) = snapshot.clone().unwrap();
        disk.checkpoint(WriteSeq(1), slot, bytes, records);
        open(n(4), Time::ZERO, &cluster.members, &cluster.config, disk).map(drop)
    };
    assert_eq!(boots(records.clone()), Ok(()));
    let last = records.iter().rposition(|record| matches!(record, Record::Stable { .. })).unwrap();
    let Record::Stable { stable, batches } = &records[last] else { panic!() };
    assert_eq!(batches.len(), 2);
    let instead = |batches: Vec<Digest>| {
        let mut records = records.clone();
        records[last] = Record::Stable { stable: stable.clone(), batches };
        boots(records)
    };
    let refused = |outcome| matches!(outcome, Err(NodeError::Restore(_)));
    // Fewer, in another order, others, one too many.
    assert_eq!(instead(batches.clone()), Ok(()));
    assert!(refused(instead(Vec::new())) && refused(instead(batches[1..].to_vec())));
    assert!(refused(instead(batches.iter().rev().copied().collect())));
    assert!(refused(instead(vec![batches[0], null()])) && refused(instead(vec![batches[0], batches[0]])));
    assert!(refused(instead([&batches[..], &[null()]].concat())));
    // Without a body; and a step left out.
    let bodies =
        |record: &Record| matches!(record, Record::PrePrepare(message) if message.digest == batches[1]);
    assert!(refused(boots(records.iter().filter(|record| !bodies(record)).cloned().collect())));
    let first =
        records.iter().skip(2).position(|record| matches!(record, Record::Stable { .. })).unwrap() + 2;
    assert!(first < last);
    let mut without = records.clone();
    without.remove(first);
    assert!(refused(boots(without)));
    // Bodies of a state that came to nothing are no harm.
    let far = Record::Body { sequence: Sequence(stable.sequence.0 + 900), batch: batch([request(9)]) };
    assert_eq!(boots([&records[..], &[far]].concat()), Ok(()));
}

/// A group that has gone on without replica 4, which came to `known` before; and what it asks for until it has caught up.
fn catches_up(known: u64, until: u64) -> (Cluster, Vec<Message>) {
    let mut cluster = Cluster::with(4, seldom(config()));
    cluster.serve(1..=known);
    cluster.isolate(4);
    cluster.serve(known + 1..=until);
    cluster.heal();
    assert_eq!((cluster.executed(1), cluster.executed(4)), (until, known));
    let asked = std::cell::RefCell::new(Vec::new());
    cluster.run_but(3_000, |envelope: &Envelope| {
        if envelope.from == n(4) {
            asked.borrow_mut().push(envelope.message.clone());
        }
        false
    });
    assert_eq!((cluster.executed(4), cluster.view(1)), (until, 0), "{known}");
    assert_eq!(cluster.agreed(), (1..=until).map(payload).collect::<Vec<_>>());
    assert_eq!(cluster.accusations, []);
    (cluster, asked.into_inner())
}

// tests [B17]
#[test]
fn who_comes_late_takes_over_a_snapshot_and_what_came_since() {
    let (mut cluster, asked) = catches_up(0, 59);
    assert!(asked.iter().any(|message| matches!(message, Message::FetchChunk { .. })));
    assert!(asked.iter().any(|message| matches!(message, Message::FetchBatches { .. })));
    let base = snapshot_at(&mut cluster, 1);
    assert!(base > 0 && base < 58 && snapshot_at(&mut cluster, 4) == base);
    // It has all of it on its disk, others may have it from there, and it takes the next snapshot where they do.
    cluster.crash(4);
    cluster.start(4);
    assert_eq!((cluster.executed(4), cluster.stable(4)), (58, 58));
    let mut manifests = [1, 4].map(|of| {
        cluster.tell(2, of, Message::FetchState { sequence: Sequence(58) });
        cluster.said(of, 2).remove(0)
    });
    manifests.sort_by_key(|message| format!("{message:?}"));
    assert!(manifests[0] == manifests[1] && matches!(manifests[0], Message::State(_)), "{manifests:?}");
    cluster.run_for_ms(500);
    cluster.serve(60..=160);
    assert!(
        snapshot_at(&mut cluster, 1) > base && snapshot_at(&mut cluster, 4) == snapshot_at(&mut cluster, 1)
    );
    cluster.agreed();
}

// tests [B17]
#[test]
fn who_has_come_as_far_as_the_snapshot_takes_over_what_came_since_alone() {
    let (mut whole, _) = catches_up(0, 59);
    let base = snapshot_at(&mut whole, 1);
    for known in [base, base + 1, base + 3] {
        let (mut cluster, asked) = catches_up(known, 59);
        assert!(!asked.iter().any(|message| matches!(message, Message::FetchChunk { .. })), "{known}");
        let after = |message: &Message| {
            if let Message::FetchBatches { after, .. } = message { Some(after.0) } else { None }
        };
        assert_eq!(asked.iter().find_map(after), Some(known));
        cluster.crash(4);
        cluster.start(4);
        assert_eq!((cluster.executed(4), cluster.stable(4)), (58, 58));
        cluster.run_for_ms(500);
        cluster.serve(60..=160);
        assert_eq!(snapshot_at(&mut cluster, 4), snapshot_at(&mut cluster, 1));
        cluster.agreed();
    }
}

// tests [B17]
#[test]
fn no_more_is_told_at_once_than_a_chunk_has_room_for_and_of_what_is_stable_alone() {
    let mut cluster = Cluster::with(4, seldom(config()));
    cluster.serve(1..=7);
    let told = |cluster: &mut Cluster, sequence: u64, after: u64| {
        cluster.tell(2, 1, Message::FetchBatches { sequence: Sequence(sequence), after: Sequence(after) });
        match &cluster.said(1, 2)[..] {
            [] => 0,
            [Message::Batches { batches, .. }] => batches.len(),
            other => panic!("{other:?}"),
        }
    };
    // One of these has more than half of the bytes of a chunk.
    assert_eq!((told(&mut cluster, 6, 0), told(&mut cluster, 6, 5)), (1, 1));
    assert_eq!((told(&mut cluster, 4, 2), told(&mut cluster, 4, 4)), (1, 0), "the checkpoint before too");
    assert_eq!((told(&mut cluster, 6, 6), told(&mut cluster, 6, u64::MAX)), (0, 0));
    assert_eq!((told(&mut cluster, 8, 0), told(&mut cluster, 2, 0), told(&mut cluster, 7, 0)), (0, 0, 0));
    // Who asks without end gets no more than others.
    assert!((0..500).filter(|_| told(&mut cluster, 6, 0) > 0).count() <= 128);
}

/// Others keep a state for two checkpoints: over a slow link it takes longer than that to have it.
// tests [B17]
#[test]
fn what_has_arrived_of_a_state_stays_if_a_later_one_has_it_too() {
    let mut cluster = Cluster::with(4, seldom(config()));
    cluster.isolate(4);
    cluster.serve(1..=59);
    cluster.heal();
    let base = snapshot_at(&mut cluster, 1);
    let (left, asked) = (std::cell::Cell::new(0), std::cell::RefCell::new(Vec::new()));
    // A few parts of a state arrive between two checkpoints, and nothing of what is executed.
    let is_lost = |envelope: &Envelope| {
        if let (4, Message::FetchChunk { index, .. }) = (envelope.from.0, &envelope.message) {
            asked.borrow_mut().push(*index);
        }
        let is_part = matches!(envelope.message, Message::Chunk { .. } | Message::Batches { .. });
        if is_part {
            return left.replace(left.get().max(1) - 1) == 0;
        }
        let passes =
            matches!(envelope.message, Message::Requests(_) | Message::Stable(_) | Message::State(_));
        envelope.to == n(4) && !passes
    };
    let mut number = 60;
    while cluster.executed(4) == 0 {
        for _ in 0..3 {
            left.set(4);
            cluster.run_but(100, is_lost);
        }
        for _ in 0..2 {
            cluster.propose_everywhere(number);
            cluster.settle_but(is_lost);
            number += 1;
        }
        assert!(number < 400, "it begins again and again: {:?}", asked.borrow());
    }
    let begun = asked.borrow().iter().filter(|&&index| index == 0).count();
    assert!(begun <= 8 && snapshot_at(&mut cluster, 4) >= base, "{begun} {:?}", asked.borrow());
    cluster.run_for_ms(3_000);
    assert_eq!(cluster.agreed().len() as u64, number - 1);
    assert_eq!(cluster.accusations, []);
}

/// A state of two batches, signed by a quorum, at a replica that knows nothing.
pub(crate) fn two_batches(config: Config) -> (Lone, Manifest, [pbft::Batch; 2]) {
    let batches = [1, 2].map(|number| batch([request(number)]));
    let manifest =
        Manifest { batches: batches.iter().map(pbft::Batch::digest).collect(), ..Manifest::default() };
    let mut lone = Lone::new(4, 4, seldom(config));
    lone.cluster.tell(1, 4, Message::Stable(Box::new(stable(2, manifest.digest(), &[1, 2, 3]))));
    lone.wait(150);
    (lone, manifest, batches)
}

pub(crate) fn batches(after: u64, batches: &[pbft::Batch]) -> Message {
    Message::Batches { sequence: Sequence(2), after: Sequence(after), batches: batches.to_vec() }
}

// tests [B17]
#[test]
fn a_batch_that_was_not_executed_is_refused_and_its_sender_named() {
    let (mut lone, manifest, [one, two]) = two_batches(gateway());
    let state = |batches: Vec<Digest>| Message::State(Box::new(Manifest { batches, ..Manifest::default() }));
    // Not asked for yet.
    lone.hear(1, batches(0, std::slice::from_ref(&one)));
    // Other batches, another order.
    lone.hear(1, state(vec![one.digest(), null()]));
    lone.hear(1, state(vec![two.digest(), one.digest()]));
    assert_eq!((lone.accused(1), lone.cluster.queue(4, "parts of a state")), (2, 0));
    lone.hear(2, Message::State(Box::new(manifest)));
    lone.hear(3, batches(0, &[two.clone(), one.clone()]));
    assert_eq!((lone.accused(3), lone.executed()), (1, 0));
    lone.hear(2, batches(1, std::slice::from_ref(&two)));
    assert_eq!(lone.cluster.queue(4, "parts of a state"), 0, "not their turn");
    lone.hear(2, batches(0, std::slice::from_ref(&one)));
    lone.hear(2, batches(0, &[one]));
    assert_eq!(lone.cluster.queue(4, "parts of a state"), 1);
    // More than there is harms nobody.
    lone.hear(2, batches(1, &[two.clone(), two]));
    assert_eq!((lone.executed(), lone.cluster.stable(4), lone.accused(2)), (2, 2, 0));
    assert_eq!(lone.cluster.diary(4), [payload(1), payload(2)]);
    lone.restart();
    assert_eq!((lone.executed(), lone.cluster.stable(4)), (2, 2));
}

/// Null requests are executed too, and are part of a state without a body on any disk.
// tests [B16] [B17]
#[test]
fn null_requests_are_part_of_what_was_executed() {
    let (one, none) = (batch([request(1)]), batch([]));
    let manifest = Manifest { batches: vec![none.digest(), one.digest()], ..Manifest::default() };
    let mut lone = Lone::new(4, 4, seldom(gateway()));
    lone.cluster.tell(1, 4, Message::Stable(Box::new(stable(2, manifest.digest(), &[1, 2, 3]))));
    lone.wait(150);
    lone.hear(1, Message::State(Box::new(manifest)));
    lone.hear(1, batches(0, &[none, one]));
    let slots = |lone: &Lone| lone.cluster.nodes[&n(4)].machine().lines.clone();
    assert_eq!(slots(&lone), [(2, payload(1))]);
    lone.restart();
    assert_eq!((lone.executed(), slots(&lone)), (2, vec![(2, payload(1))]));
}

/// What a quorum came to and a replica, having executed the same, would not: nothing mends that, and nothing is made worse.
// tests [B17]
#[test]
fn who_differs_from_a_quorum_executes_nothing_that_does_not_fit() {
    let mut lone = Lone::new(4, 4, seldom(gateway()));
    lone.come_to_commit(1, 0, 1, 7, &[2, 3]);
    assert_eq!(lone.executed(), 1);
    let [one, two] = [1, 2].map(|number| batch([request(number)]));
    let manifest = Manifest { batches: vec![one.digest(), two.digest()], ..Manifest::default() };
    lone.cluster.tell(1, 4, Message::Stable(Box::new(stable(2, manifest.digest(), &[1, 2, 3]))));
    lone.wait(350);
    lone.hear(1, Message::State(Box::new(manifest)));
    lone.hear(1, batches(1, &[two]));
    assert_eq!((lone.executed(), lone.cluster.diary(4)), (1, vec![payload(7)]));
}
