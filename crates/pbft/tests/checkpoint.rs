//! Checkpoints, the disk, and state transfer, clause by clause: B15 to B17.

use crate::common::lone::{Lone, checkpoints, commits, prepares, proposals, wanted};
use crate::common::signing::{
    batch, begins, checkpoint, commit, keyring, new_view, null, pre_prepare, prepare, prepared, says, stable,
    wish, wishes,
};
use crate::common::{Cluster, Diary, Disk, config, gateway, n, open, payload, request};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{Members, Node, NodeConfig, NodeError, Slot, Storage, Time, WriteSeq};
use pbft::{Config, Digest, Keyring, Manifest, Message, Pbft, Record, Sequence};

/// A checkpoint after every second place; nothing of old views or chunks is large.
fn often(config: Config) -> Config {
    Config { checkpoint_interval: 2, window: 4, chunk_bytes: 16, max_batch_requests: 1, ..config }
}

// tests [B15] [B1]
#[test]
fn a_checkpoint_is_stable_when_a_quorum_came_to_it_and_what_led_to_it_is_forgotten() {
    for (size, quorum) in [(4, 3), (5, 4), (7, 5)] {
        let mut lone = Lone::new(size, size, often(gateway()));
        let backups: Vec<u64> = (2..size).collect();
        assert_eq!(lone.cluster.stable(size), 0);
        lone.come_to_commit(1, 0, 1, 1, &backups);
        lone.ask(2);
        let mut said = lone.hear(1, pre_prepare(1, 0, 2, batch([request(2)])));
        let digest = batch([request(2)]).digest();
        for &backup in &backups {
            said.extend(lone.hear(backup, prepare(backup, 0, 2, digest)));
        }
        for other in 1..size {
            said.extend(lone.hear(other, commit(other, 0, 2, digest)));
        }
        let [(2, state)] = checkpoints(&said)[..] else { panic!("one after every second place: {said:?}") };
        let before = lone.cluster.records(size).len();
        // Others came to something else, or said it twice: that is no quorum. f+1 is none either.
        lone.hear(1, checkpoint(1, 2, Digest([1; 32])));
        lone.hear(1, checkpoint(1, 2, state));
        for from in 2..quorum {
            lone.hear(from, checkpoint(from, 2, state));
            lone.hear(from, checkpoint(from, 2, state));
            assert_eq!(lone.cluster.stable(size), 0, "{from} of {size}");
        }
        lone.hear(quorum, checkpoint(quorum, 2, state));
        assert_eq!((lone.cluster.stable(size), lone.accused(1)), (2, 1), "{size}");
        assert!(lone.cluster.records(size).len() < before, "on disk too");
        // The window has moved.
        lone.ask(6);
        assert_eq!(prepares(&lone.hear(1, pre_prepare(1, 0, 6, batch([request(6)])))).len(), 1);
        assert_eq!(prepares(&lone.hear(1, pre_prepare(1, 0, 7, batch([request(7)])))), []);
    }
}

// tests [B15]
#[test]
fn checkpoints_bound_what_is_kept_however_long_a_group_runs() {
    let mut cluster = Cluster::with(4, often(config()));
    for number in 1..=100 {
        cluster.serve(number..=number);
        cluster.run_for_ms(50);
        for id in 1..=4 {
            assert!(cluster.records(id).len() < 40 && cluster.queue(id, "places in flight") <= 4);
        }
    }
    assert_eq!((cluster.agreed().len(), cluster.stable(1), cluster.view(1)), (100, 100, 0));
    assert_eq!(cluster.accusations, []);
}

/// The manifest of what is stable at a replica.
fn manifest(cluster: &mut Cluster, of: u64, asks: u64) -> Manifest {
    let sequence = Sequence(cluster.stable(of));
    cluster.tell(asks, of, Message::FetchState { sequence });
    let [Message::State(manifest)] = &cluster.said(of, asks)[..] else { panic!("it has none") };
    (**manifest).clone()
}

// tests [B15]
#[test]
fn the_replies_that_clients_were_given_are_part_of_what_is_signed() {
    use consensus_core::{Bytes, ClientId, Event, ProposalId};
    // Both machines hold the same; one of them was told so in a session, whose reply it keeps.
    let manifests = [ClientId::anonymous(7), ClientId::session(Slot(1))].map(|client| {
        let mut cluster = Cluster::with(4, often(config()));
        for id in [ProposalId::open_session(5), ProposalId::new(client, 1)] {
            for to in 1..=4 {
                cluster.handle(n(to), Event::Propose { id, payload: Bytes::from_static(b"x") });
            }
            cluster.settle();
        }
        assert_eq!(cluster.agreed(), ["x"]);
        (cluster.stable(1), manifest(&mut cluster, 1, 2))
    });
    assert_eq!((manifests[0].0, manifests[1].0), (2, 2));
    assert_ne!(manifests[0].1.chunks, manifests[1].1.chunks);
    assert_ne!(manifests[0].1.digest(), manifests[1].1.digest());
}

// tests [B15]
#[test]
fn the_checkpoint_before_is_kept_for_who_is_taking_it_over() {
    let mut cluster = Cluster::with(4, often(config()));
    cluster.serve(1..=6);
    let holds = |cluster: &mut Cluster, sequence| {
        cluster.tell(2, 1, Message::FetchState { sequence: Sequence(sequence) });
        matches!(cluster.said(1, 2)[..], [Message::State(_)])
    };
    assert_eq!(cluster.stable(1), 6);
    assert!(holds(&mut cluster, 6) && holds(&mut cluster, 4) && !holds(&mut cluster, 2));
    // Who asks for an older one is told of the newest.
    cluster.tell(2, 1, Message::FetchState { sequence: Sequence(2) });
    assert!(matches!(&cluster.said(1, 2)[..], [Message::Stable(stable)] if stable.sequence == Sequence(6)));
}

// tests [B16]
#[test]
fn who_restarts_is_bound_by_everything_that_it_signed() {
    let mut lone = Lone::new(4, 4, gateway());
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[2]);
    lone.ask(2);
    lone.hear(1, pre_prepare(1, 0, 2, batch([request(2)])));
    lone.restart();
    // It says the same again when somebody tells that it lacks it.
    let status =
        pbft::Status { view: pbft::View(0), is_changing: false, stable: Sequence(0), executed: Sequence(0) };
    lone.wait(150);
    lone.cluster.tell(3, 4, Message::Status(status));
    let said = lone.cluster.said(4, 3);
    assert_eq!(prepares(&said), [(0, 1, digest), (0, 2, batch([request(2)]).digest())]);
    assert_eq!(commits(&said), [(0, 1, digest)]);
    // The view that it wants comes back, and it takes part in no lower one.
    let said = lone.wait(1_500);
    assert_eq!((wanted(&said)[0], lone.view()), (1, 1));
    lone.restart();
    assert_eq!(lone.view(), 1);
    assert_eq!(lone.hear(1, pre_prepare(1, 0, 3, batch([request(3)]))), []);
    assert_eq!(wanted(&lone.wait(150)), [1], "with the same words");
    // And the one that it has entered.
    lone.hear(2, begins(new_view(2, 1, wishes(&[1, 2, 3], 1), &[])));
    lone.restart();
    lone.ask(4);
    assert_eq!(prepares(&lone.hear(2, pre_prepare(2, 1, 1, batch([request(4)])))).len(), 1);
}

// tests [B16]
#[test]
fn a_primary_that_restarts_puts_nothing_else_where_it_has_proposed() {
    let mut lone = Lone::new(1, 4, gateway());
    let first = proposals(&lone.ask(1)).remove(0);
    lone.restart();
    let next = proposals(&lone.ask(2)).remove(0);
    assert_eq!((first.sequence.0, next.sequence.0), (1, 2));
}

// tests [B16] [B12]
#[test]
fn a_primary_that_restarts_leaves_no_place_out() {
    let mut lone = Lone::new(2, 4, gateway());
    // In view 0 it took something over, which nobody prepared; in view 1 that place is free again.
    lone.hear(1, pre_prepare(1, 0, 3, batch([request(1)])));
    for from in [1, 3] {
        lone.hear(from, says(wish(from, 1)));
    }
    let places =
        |said: &[Message]| proposals(said).iter().map(|message| message.sequence.0).collect::<Vec<_>>();
    lone.restart();
    assert_eq!(places(&lone.ask(2)), [1]);
    lone.restart();
    assert_eq!(places(&lone.ask(3)), [2]);
}

// tests [B16]
#[test]
fn a_group_that_loses_power_goes_on_from_what_was_durable() {
    let mut cluster = Cluster::on(4, often(config()), Disk::held);
    let run = |cluster: &mut Cluster| {
        for _ in 0..8 {
            cluster.run_for_ms(50);
            (1..=4).for_each(|id| cluster.sync(id));
        }
    };
    for number in 1..=20 {
        cluster.propose_everywhere(number);
        run(&mut cluster);
        if number % 5 == 0 {
            // Some of the last writes are lost.
            cluster.propose_everywhere(100 + number);
            cluster.settle();
            (1..=4).for_each(|id| cluster.crash(id));
            cluster.wire.clear();
            (1..=4).for_each(|id| cluster.start(id));
        }
    }
    run(&mut cluster);
    assert!(cluster.executed(1) >= 20, "{}", cluster.executed(1));
    cluster.agreed();
    assert_eq!(cluster.accusations, []);
}

// tests [B16]
#[test]
fn what_cannot_have_been_written_so_is_refused_at_the_boot() {
    let mut cluster = Cluster::with(4, often(config()));
    cluster.serve(1..=3);
    cluster.crash(4);
    let (snapshot, records) = {
        let disk = cluster.disks[&n(4)].contents();
        (disk.snapshot.clone().unwrap(), disk.records.clone())
    };
    let boots = |snapshot: Option<(Slot, consensus_core::Bytes)>, records: Vec<Record>| {
        let mut disk = Disk::default();
        if let Some((through, bytes)) = snapshot {
            disk.checkpoint(WriteSeq(1), through, bytes, records);
        } else {
            records.into_iter().for_each(|record| disk.append(WriteSeq(1), record));
        }
        open(n(4), Time::ZERO, &cluster.members, &cluster.config, disk).map(drop)
    };
    assert_eq!(boots(Some(snapshot.clone()), records.clone()), Ok(()));
    let [place @ Record::Snapshot { .. }, Record::Stable { stable: proof, batches }, ..] = &records[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!((proof.sequence, &batches[..]), (Sequence(2), &[][..]));
    let refused = |outcome| matches!(outcome, Err(NodeError::Restore(_)));
    // The snapshot without its proof, and the proof without its snapshot; or at another place.
    assert!(refused(boots(Some(snapshot.clone()), records[1..].to_vec())));
    assert!(refused(boots(Some(snapshot.clone()), Vec::new())));
    assert!(refused(boots(None, records.clone())));
    assert!(refused(boots(Some((snapshot.0.next(), snapshot.1.clone())), records.clone())));
    let twice = records.iter().cloned().chain([records[0].clone()]).collect();
    assert!(refused(boots(Some(snapshot.clone()), twice)));
    let mut other = (**proof).clone();
    other.sequence = Sequence(4);
    let other = Record::Stable { stable: Box::new(other), batches: Vec::new() };
    assert!(refused(boots(Some(snapshot.clone()), vec![place.clone(), other])));
    assert!(refused(boots(Some(snapshot.clone()), vec![place.clone()])));
    assert!(refused(boots(
        Some(snapshot),
        vec![Record::Snapshot { sequence: Sequence(4) }, records[1].clone()]
    )));
    // A proposal of a view that was not entered, a wish of somebody else, views that go back.
    let Message::PrePrepare(early) = pre_prepare(2, 1, 1, batch([request(1)])) else { panic!() };
    let change = |id, view| Record::ViewChange(Box::new(wish(id, view)));
    let begun = |view| {
        let ids = [1, 2, 3];
        Record::NewView(Box::new(new_view(view % 4 + 1, view, wishes(&ids, view), &[])))
    };
    assert!(refused(boots(None, vec![Record::PrePrepare(Box::new(early.clone()))])));
    assert!(refused(boots(None, vec![change(4, 1), Record::PrePrepare(Box::new(early))])));
    assert!(refused(boots(None, vec![change(3, 1)])));
    assert!(refused(boots(None, vec![change(4, 3), change(4, 2)])));
    assert!(refused(boots(None, vec![change(4, 3), begun(2)])));
    assert_eq!(boots(None, vec![change(4, 2), begun(2), change(4, 3)]), Ok(()));
    // Places that were never between the watermarks, and a digest that is not its batch's.
    for place in [0, 5, u64::MAX] {
        let Message::PrePrepare(far) = pre_prepare(1, 0, place, batch([request(1)])) else { panic!() };
        assert!(refused(boots(None, vec![Record::PrePrepare(Box::new(far))])), "{place}");
        // A body may be that of a state which others are ahead with.
        let body = place.saturating_add(if place == 5 { pbft::MAX_BATCHES as u64 } else { 0 });
        assert!(refused(boots(None, vec![Record::Body { sequence: Sequence(body), batch: batch([]) }])));
        let certificate = prepared(1, 0, place, null(), &[2, 3]);
        assert!(refused(boots(None, vec![Record::Prepared(Box::new(certificate))])));
    }
    let Message::PrePrepare(mut swapped) = pre_prepare(1, 0, 1, batch([request(1)])) else { panic!() };
    swapped.batch = batch([request(2)]);
    assert!(refused(boots(None, vec![Record::PrePrepare(Box::new(swapped))])));
}

// tests [B16]
#[test]
fn configurations_that_cannot_work_are_refused_with_the_field() {
    let fault = |size: u64, config: Config| {
        let members = Members::of((1..=size).map(n));
        match open(n(1), Time::ZERO, &members, &config, Disk::default()) {
            Err(NodeError::Config(error)) => error.field,
            other => panic!("{:?}", other.err()),
        }
    };
    assert_eq!(fault(4, Config { window: 255, ..config() }), "window");
    assert_eq!(fault(4, Config { window: 4_097, ..config() }), "window");
    assert_eq!(fault(64, Config { window: 4_096, ..config() }), "window");
    assert_eq!(fault(4, Config { view_timeout_ms: 100, ..config() }), "view_timeout_ms");
    assert_eq!(fault(4, Config { checkpoint_interval: 0, ..config() }), "checkpoint_interval");
    assert_eq!(fault(4, Config { max_batch_requests: 8_193, ..config() }), "max_batch_requests");
    assert_eq!(fault(4, Config { chunk_bytes: 8 << 20, ..config() }), "chunk_bytes");
    assert_eq!(fault(4, Config { max_open_bytes: 0, ..config() }), "max_open_bytes");
    // Keys of others, of too few, of nobody; and the secret of somebody else.
    let open = |id: u64, keys: Keyring| {
        let mut node = NodeConfig::<Pbft>::new(n(id), Members::of((1..=4).map(n)), 1);
        node.algorithm = Config { keys, ..config() };
        Node::open(node, Time::ZERO, Outbox::default(), MemoryStorage::default(), Diary::default()).err()
    };
    assert!(matches!(open(1, keyring(n(1), 3)), Some(NodeError::Config(error)) if error.field == "keys"));
    assert!(matches!(open(1, keyring(n(1), 5)), Some(NodeError::Config(error)) if error.field == "keys"));
    assert!(matches!(open(1, Keyring::default()), Some(NodeError::Config(error)) if error.field == "keys"));
    assert!(matches!(open(1, keyring(n(2), 4)), Some(NodeError::Restore(_))));
    assert_eq!(open(1, keyring(n(1), 4)), None);
}

/// Three replicas go on without the fourth until nobody keeps what it lacks.
fn left_behind() -> Cluster {
    let mut cluster = Cluster::with(4, often(config()));
    cluster.isolate(4);
    cluster.serve(1..=11);
    cluster.heal();
    assert_eq!((cluster.executed(1), cluster.executed(4), cluster.stable(1)), (11, 0, 10));
    cluster
}

// tests [B17]
#[test]
fn who_lacks_more_than_others_keep_takes_a_state_over() {
    let mut cluster = left_behind();
    cluster.run_for_ms(3_000);
    assert_eq!((cluster.executed(4), cluster.view(4), cluster.view(1)), (11, 0, 0));
    assert_eq!(cluster.agreed(), (1..=11).map(payload).collect::<Vec<_>>());
    // What it took over is on its disk, and others may have it from there.
    cluster.crash(4);
    cluster.start(4);
    assert_eq!(cluster.stable(4), 10);
    let theirs = manifest(&mut cluster, 1, 2);
    assert_eq!(manifest(&mut cluster, 4, 2), theirs);
    assert_eq!(cluster.accusations, []);
}

/// One copy is enough, if a quorum signed what it must come to.
// tests [B17]
#[test]
fn a_checkpoint_that_one_other_holds_can_be_had() {
    let mut cluster = left_behind();
    cluster.crash(1);
    cluster.crash(2);
    cluster.run_for_ms(3_000);
    assert_eq!((cluster.executed(4), cluster.stable(4)), (11, 10));
}

/// A state to be taken over at place 2, with its digest signed by a quorum, in three chunks.
fn state() -> (Manifest, [&'static [u8]; 3]) {
    let chunks: [&[u8]; 3] = [&[1; 16], &[2; 16], &[3; 4]];
    let digests = chunks.iter().map(|chunk| Digest::of(b"chunk", chunk)).collect();
    (
        Manifest { sequence: Sequence(2), slot: Slot(2), length: 36, chunks: digests, batches: Vec::new() },
        chunks,
    )
}

fn chunk(index: u32, bytes: &[u8]) -> Message {
    Message::Chunk { sequence: Sequence(2), index, bytes: bytes.to_vec().into() }
}

/// Whom it asks for which part: none for what the state consists of.
fn asked(cluster: &mut Cluster) -> Vec<(u64, Option<u32>)> {
    let all = std::mem::take(&mut cluster.wire);
    let of = |envelope: &crate::common::Envelope| match envelope.message {
        Message::FetchState { .. } => Some((envelope.to.0, None)),
        Message::FetchChunk { index, .. } => Some((envelope.to.0, Some(index))),
        Message::Requests(_)
        | Message::PrePrepare(_)
        | Message::Prepare(_)
        | Message::Commit(_)
        | Message::Checkpoint(_)
        | Message::ViewChange(_)
        | Message::NewView(_)
        | Message::Status(_)
        | Message::Committed(_)
        | Message::Stable(_)
        | Message::FetchBatch { .. }
        | Message::BatchIs { .. }
        | Message::State(_)
        | Message::FetchBatches { .. }
        | Message::Batches { .. }
        | Message::Chunk { .. } => None,
    };
    all.iter().filter_map(of).collect()
}

// tests [B17]
#[test]
fn a_wrong_part_of_a_state_is_refused_its_sender_named_and_somebody_else_asked() {
    let (manifest, chunks) = state();
    let mut lone = Lone::new(4, 4, often(config()));
    lone.cluster.tell(1, 4, Message::Stable(Box::new(stable(2, manifest.digest(), &[1, 2, 3]))));
    let next = |lone: &mut Lone| {
        let (at, id) = lone.cluster.next_deadline().unwrap();
        lone.cluster.now = at;
        lone.cluster.handle(id, consensus_core::Event::Tick);
        asked(&mut lone.cluster)
    };
    // Whoever does not answer is not asked again before all others were.
    let first: Vec<_> = (0..4).flat_map(|_| next(&mut lone)).collect();
    assert_eq!(first, [(2, None), (3, None), (1, None), (2, None)]);
    let mut lie = manifest.clone();
    lie.chunks[1] = Digest::of(b"chunk", b"lie");
    lone.cluster.tell(2, 4, Message::State(Box::new(lie)));
    let mut lie = manifest.clone();
    lie.slot = Slot(1 << 40);
    lone.cluster.tell(2, 4, Message::State(Box::new(lie)));
    assert_eq!((lone.accused(2), asked(&mut lone.cluster)), (2, Vec::new()));
    let all = Message::State(Box::new(manifest.clone()));
    lone.cluster.tell(3, 4, all.clone());
    assert_eq!(asked(&mut lone.cluster), [(2, Some(0))]);
    // A chunk that is not the state's; one that is not its turn; then the right one, once and again; and what it knows.
    lone.cluster.tell(2, 4, chunk(0, &[9; 16]));
    assert_eq!((lone.accused(2), lone.cluster.queue(4, "parts of a state")), (3, 0));
    lone.cluster.tell(2, 4, chunk(1, chunks[1]));
    assert_eq!((lone.cluster.queue(4, "parts of a state"), asked(&mut lone.cluster)), (0, Vec::new()));
    lone.cluster.tell(3, 4, chunk(0, chunks[0]));
    assert_eq!(asked(&mut lone.cluster), [(2, Some(1))]);
    for _ in 0..100 {
        lone.cluster.tell(2, 4, chunk(0, chunks[0]));
        lone.cluster.tell(2, 4, chunk(7, chunks[0]));
        lone.cluster.tell(2, 4, all.clone());
    }
    assert_eq!((lone.cluster.queue(4, "parts of a state"), asked(&mut lone.cluster)), (1, Vec::new()));
    // While it comes nobody else is asked; when it stops, the next one is.
    assert_eq!(next(&mut lone), []);
    assert_eq!(next(&mut lone), [(3, Some(1))]);
    assert_eq!((lone.executed(), lone.cluster.stable(4)), (0, 0));
}

// tests [B17]
#[test]
fn a_state_of_nothing_is_taken_over_at_once() {
    let nothing =
        Manifest { sequence: Sequence(2), slot: Slot(2), length: 0, chunks: Vec::new(), batches: Vec::new() };
    let mut lone = Lone::new(4, 4, often(config()));
    lone.hear(1, Message::Stable(Box::new(stable(2, nothing.digest(), &[1, 2, 3]))));
    lone.wait(150);
    lone.hear(1, Message::State(Box::new(nothing)));
    assert_eq!((lone.executed(), lone.cluster.stable(4)), (2, 2));
}

// tests [B17]
#[test]
fn nobody_is_told_more_of_a_state_than_there_is() {
    let mut cluster = Cluster::with(4, often(config()));
    cluster.serve(1..=4);
    let chunks = manifest(&mut cluster, 1, 2).chunks.len() as u32;
    for (index, answers) in [(0, 1), (chunks - 1, 1), (chunks, 0), (u32::MAX, 0)] {
        cluster.tell(2, 1, Message::FetchChunk { sequence: Sequence(4), index });
        assert_eq!(cluster.said(1, 2).len(), answers, "{index}");
    }
    cluster.tell(2, 1, Message::FetchChunk { sequence: Sequence(6), index: 0 });
    cluster.tell(2, 1, Message::FetchState { sequence: Sequence(6) });
    assert_eq!(cluster.said(1, 2), []);
}

/// Requests that were executed while it was away wait at a replica for ever: they must not make it leave view after view.
// tests [B17] [B18]
#[test]
fn who_took_a_state_over_does_not_wait_for_what_that_contains() {
    for config in [config(), gateway()] {
        let mut cluster = Cluster::with(4, often(config));
        for number in 1..=11 {
            cluster.propose_everywhere(number);
            // It hears what clients want, and of nothing else.
            cluster.settle_but(|envelope| {
                envelope.to == n(4) && !matches!(envelope.message, Message::Requests(_))
            });
        }
        assert_eq!((cluster.executed(1), cluster.executed(4)), (11, 0));
        for number in 12..=40 {
            cluster.propose_everywhere(number);
            cluster.run_for_ms(900);
        }
        assert_eq!((cluster.executed(4), cluster.queue(4, "requests")), (cluster.executed(1), 0));
        assert_eq!(cluster.nodes[&n(4)].status().role, consensus_core::Role::Follower);
        assert_eq!((cluster.view(1), cluster.view(4)), (0, 0));
    }
}
