//! Whatever arrives on the wire or is read from a disk: an error or an accusation, never a panic, never a broken invariant.

use crate::common::signing::{
    begins, commit, committed, new_view, null, pre_prepare, prepare, prepared, says, stable, view_change,
    vote,
};
use crate::common::{Cluster, Disk, Envelope, config, gateway, n, open, payload, request};
use consensus_core::{ConsensusAlgorithm, NodeError, Slot, Storage, Time, WriteSeq, wire};
use pbft::{
    Batch, Config, Digest, Kind, Manifest, Message, Pbft, Prepared, Proven, Record, Sequence, Stable, Status,
    View, ViewChange,
};
use quickcheck::{Gen, QuickCheck};
use std::collections::BTreeSet;

const LIMIT: usize = 1 << 20;
/// How many kinds of messages there are. A new one must get a place in [`Liar::message`].
const KINDS: usize = 18;

/// A small generator with a fixed seed.
fn draws(mut state: u64) -> impl FnMut(usize) -> usize {
    move |bound| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound.max(1)
    }
}

/// `PBFT_ROUNDS=1000` for more.
fn rounds(usual: u64) -> u64 {
    std::env::var("PBFT_ROUNDS").map_or(usual, |count| count.parse().unwrap())
}

fn small(config: Config) -> Config {
    Config {
        checkpoint_interval: 2,
        window: 6,
        chunk_bytes: 32,
        max_batch_requests: 2,
        max_open_requests: 16,
        max_view_timeout_ms: 2_000,
        ..config
    }
}

/// Four replicas at work; in every second group one replica's word is enough, and in every third a snapshot is taken now and then.
fn at_work(round: u64) -> Cluster {
    let config = if round.is_multiple_of(2) { config() } else { gateway() };
    let snapshot_after_bytes = if round % 3 == 2 { 300 } else { 0 };
    let mut cluster = Cluster::with(4, Config { snapshot_after_bytes, ..small(config) });
    cluster.serve(1..=2);
    cluster
}

fn work_on(cluster: &mut Cluster, draw: &mut impl FnMut(usize) -> usize, number: u64) {
    cluster.wire.truncate(200);
    match draw(12) {
        0 => cluster.run_for_ms(60),
        1 | 2 => cluster.propose_everywhere(number),
        3 => {
            let id = cluster.up()[draw(cluster.nodes.len())];
            cluster.crash(id);
            cluster.start(id);
        }
        _ => {}
    }
    for _ in 0..draw(30) {
        let Some(envelope) = cluster.wire.pop_front() else { return };
        cluster.deliver(envelope);
    }
}

/// What replicas really say, in the normal case, view changes, catching up and state transfer; and what they write.
fn spoken() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut cluster = at_work(2);
    let (mut said, mut written) = (Vec::new(), Vec::new());
    for number in 3..60 {
        match number {
            20 => cluster.isolate(4),
            35 => cluster.heal(),
            40 => cluster.crash(1),
            50 => cluster.start(1),
            _ => {}
        }
        cluster.propose_everywhere(number);
        let heard = std::cell::RefCell::new(Vec::new());
        let is_lost = |envelope: &Envelope| {
            heard.borrow_mut().push(wire::encode(&envelope.message));
            // Now and then a body is missing.
            number == 41 && matches!(envelope.message, Message::PrePrepare(_) | Message::Commit(_))
        };
        cluster.run_but(300, is_lost);
        said.extend(heard.into_inner());
        for id in cluster.up() {
            written.extend(cluster.records(id).iter().map(wire::encode));
        }
    }
    for message in [
        Message::FetchBatch { sequence: Sequence(3), digest: null() },
        Message::BatchIs { sequence: Sequence(3), batch: Batch::new(vec![request(1)]) },
    ] {
        said.push(wire::encode(&message));
    }
    (said, written)
}

/// A few bytes changed, cut off, or taken from somewhere else.
fn damage(frame: &mut Vec<u8>, other: &[u8], draw: &mut impl FnMut(usize) -> usize) {
    for _ in 0..=draw(3) {
        let place = draw(frame.len());
        match draw(5) {
            0 => frame.truncate(place),
            1 => frame.splice(place..place, other.iter().copied().skip(draw(other.len()))).for_each(drop),
            2 => frame.iter_mut().skip(place).take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
            3 => frame.iter_mut().skip(place).take(1).for_each(|byte| *byte = byte.wrapping_sub(1)),
            _ => frame.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << draw(8)),
        }
    }
}

// tests [B14]
#[test]
fn damaged_messages_harm_no_replica() {
    let (said, _) = spoken();
    let kinds: BTreeSet<u8> = said.iter().filter_map(|frame| frame.first().copied()).collect();
    assert_eq!(kinds.len(), KINDS, "every kind of message was said: {kinds:?}");
    let of = |kind: usize| said.iter().filter(move |frame| usize::from(frame[0]) == kind).collect::<Vec<_>>();
    let of: Vec<_> = (0..KINDS).map(of).collect();
    let mut draw = draws(7);
    let mut taken = 0;
    for round in 0..rounds(8) {
        let mut cluster = at_work(round);
        for _ in 0..250 {
            let kind = draw(KINDS);
            let mut frame = of[kind][draw(of[kind].len())].clone();
            damage(&mut frame, &said[draw(said.len())], &mut draw);
            if let Ok(message) = wire::decode::<Message>(&frame, LIMIT) {
                taken += 1;
                let (from, to) = (n(1 + draw(5) as u64), n(1 + draw(4) as u64));
                cluster.deliver(Envelope { from, to, message });
            }
            if draw(10) == 0 {
                cluster.wire.truncate(200);
                cluster.run_for_ms(20);
            }
        }
        cluster.run_for_ms(10_000);
        cluster.propose_everywhere(900);
        cluster.run_for_ms(10_000);
        assert!(cluster.agreed().contains(&payload(900)), "{round}");
    }
    assert!(taken > 500, "too few damaged messages decode to be a test: {taken}");
}

// tests [B16]
#[test]
fn damaged_records_are_refused_or_harm_nobody() {
    let (said, mut written) = spoken();
    for id in 1..=4 {
        let change = crate::common::signing::wish(id, 1);
        written.push(wire::encode(&Record::ViewChange(Box::new(change))));
        written.push(wire::encode(&Record::Body {
            sequence: Sequence(id),
            batch: Batch::new(vec![request(id)]),
        }));
    }
    let kinds: BTreeSet<u8> = written.iter().filter_map(|frame| frame.first().copied()).collect();
    assert!(kinds.len() >= 6, "{kinds:?}");
    let template = Cluster::with(4, small(gateway()));
    let mut draw = draws(3);
    let (mut booted, mut refused) = (0, 0);
    for _ in 0..rounds(600).max(600) {
        let mut disk = Disk::default();
        let (start, count) = (draw(written.len()), 1 + draw(12));
        let mut records = Vec::new();
        for frame in written.iter().skip(start).take(count) {
            let mut frame = frame.clone();
            if draw(4) == 0 {
                damage(&mut frame, &said[draw(said.len())], &mut draw);
            }
            records.extend(wire::decode::<Record>(&frame, LIMIT).ok());
        }
        if draw(3) > 0 {
            records.retain(|record| !matches!(record, Record::Stable { .. } | Record::Snapshot { .. }));
        }
        records.into_iter().for_each(|record| disk.append(WriteSeq(1), record));
        let id = 1 + draw(4) as u64;
        match open(n(id), Time::ZERO, &template.members, &template.config, disk) {
            // It goes on; every invariant is checked after each step.
            Ok(mut node) => {
                booted += 1;
                let now = Time::from_millis(3_000);
                node.handle(now, consensus_core::Event::Tick).unwrap();
                for frame in said.iter().skip(draw(said.len())).take(10) {
                    let message = wire::decode::<Message>(frame, LIMIT).unwrap();
                    let from = n(1 + draw(4) as u64);
                    node.handle(now, consensus_core::Event::Message { from, message }).unwrap();
                }
            }
            Err(NodeError::Restore(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(booted > 50 && refused > 50, "{booted} {refused}");
}

/// What a liar knows of whom it lies to.
struct Truth {
    view: u64,
    executed: u64,
    stable: Stable,
}

impl Truth {
    fn of(cluster: &Cluster, id: u64) -> Self {
        let replica = cluster.replica(id);
        Self { view: replica.view().0, executed: replica.executed().0, stable: replica.stable().clone() }
    }
}

/// Lies of every kind, most of them next to the truth, with every signature that it can make.
struct Liar<D> {
    draw: D,
    from: u64,
}

impl<D: FnMut(usize) -> usize> Liar<D> {
    fn near(&mut self, truth: u64) -> u64 {
        match (self.draw)(12) {
            0 => 0,
            1 => truth.saturating_sub(1),
            2 | 3 => truth.saturating_add(1),
            4 => truth.saturating_add(2),
            5 => truth.saturating_add((self.draw)(8) as u64),
            6 => [1 << 32, u64::MAX - 1, u64::MAX][(self.draw)(3)],
            _ => truth,
        }
    }

    fn place(&mut self, truth: &Truth) -> u64 {
        let true_one = [truth.executed + 1, truth.stable.sequence.0 + 1, truth.executed][(self.draw)(3)];
        self.near(true_one)
    }

    fn batch(&mut self) -> Batch {
        Batch::new((0..(self.draw)(3)).map(|_| request(1 + (self.draw)(400) as u64)).collect())
    }

    fn digest(&mut self) -> Digest {
        if (self.draw)(3) == 0 { null() } else { self.batch().digest() }
    }

    /// Mostly as many as there have to be; itself among them, in whose name only it signs well.
    fn members(&mut self) -> Vec<u64> {
        let mut all: Vec<u64> = (1..=4).collect();
        while all.len() > 1 && (self.draw)(3) == 0 {
            all.remove((self.draw)(all.len()));
        }
        all
    }

    /// A certificate whose signatures are all real: as if it had seen them.
    fn prepared(&mut self, truth: &Truth) -> Prepared {
        let (view, place, digest) =
            (self.near(truth.view.saturating_sub(1)), self.place(truth), self.digest());
        let primary = view % 4 + 1;
        let backups: Vec<u64> = self.members().into_iter().filter(|&id| id != primary).collect();
        prepared(primary, view, place, digest, &backups)
    }

    fn stable(&mut self, truth: &Truth) -> Stable {
        if (self.draw)(2) == 0 {
            return truth.stable.clone();
        }
        // It cannot sign in the name of a quorum.
        let place = self.near(truth.stable.sequence.0 + 2);
        stable(place, Digest([1; 32]), &[self.from])
    }

    fn change(&mut self, node: u64, view: u64, truth: &Truth) -> ViewChange {
        let certificates = (0..(self.draw)(3)).map(|_| self.prepared(truth)).collect();
        view_change(node, view, self.stable(truth), certificates)
    }

    fn begun(&mut self, truth: &Truth) -> Message {
        let view = self.near(truth.view.saturating_add(1));
        if (self.draw)(3) == 0 {
            // One that follows: nobody tells of anything above the checkpoint.
            let view = (view / 4 * 4).saturating_add(self.from - 1);
            let change = |&node: &u64| view_change(node, view, truth.stable.clone(), Vec::new());
            return begins(new_view(self.from, view, [1, 2, 4].iter().map(change).collect(), &[]));
        }
        let changes = self.members().into_iter().map(|node| self.change(node, view, truth)).collect();
        let proposals: Vec<_> = (0..(self.draw)(4))
            .map(|more| (truth.stable.sequence.0 + 1 + more as u64, self.digest()))
            .collect();
        begins(new_view(self.from, view, changes, &proposals))
    }

    fn message(&mut self, kind: usize, truth: &Truth) -> Message {
        let (from, view, place, digest) =
            (self.from, self.near(truth.view), self.place(truth), self.digest());
        let sequence = Sequence(place);
        match kind {
            0 => Message::Requests(self.batch().requests().to_vec()),
            1 => {
                // Most often one that it leads.
                let view = if (self.draw)(3) == 0 { view } else { (view / 4 * 4).saturating_add(from - 1) };
                pre_prepare(from, view, place, self.batch())
            }
            2 => prepare(from, view, place, digest),
            3 => commit(from, view, place, digest),
            4 => Message::Checkpoint(vote(from, Kind::Checkpoint, 0, place / 2 * 2, digest)),
            5 => {
                let view = self.near(truth.view.saturating_add(1));
                says(self.change(from, view, truth))
            }
            6 => self.begun(truth),
            7 => Message::Status(Status {
                view: View(view),
                is_changing: place.is_multiple_of(2),
                stable: Sequence(self.near(truth.stable.sequence.0)),
                executed: Sequence(self.near(truth.executed)),
            }),
            8 => {
                let (batch, members) = (self.batch(), self.members());
                let certificate = committed(view, place, batch.digest(), &members);
                Message::Committed(Box::new(Proven { certificate, batch }))
            }
            9 => Message::Stable(Box::new(self.stable(truth))),
            10 => Message::FetchBatch { sequence, digest },
            11 => Message::BatchIs { sequence, batch: self.batch() },
            12 => Message::FetchState { sequence: Sequence(self.near(truth.stable.sequence.0)) },
            13 => {
                let length = self.near(64);
                let chunks = vec![digest; length.min(1_000).div_ceil(32) as usize];
                let batches = vec![digest; (self.draw)(4)];
                Message::State(Box::new(Manifest { sequence, slot: Slot(place), length, chunks, batches }))
            }
            14 => Message::FetchChunk { sequence: truth.stable.sequence, index: place as u32 },
            15 => {
                let bytes = vec![1; (self.draw)(34)].into();
                Message::Chunk { sequence, index: (self.draw)(4) as u32, bytes }
            }
            16 => {
                let (sequence, after) = (truth.stable.sequence, Sequence(self.near(place)));
                Message::FetchBatches { sequence, after }
            }
            _ => {
                let batches = (0..(self.draw)(3)).map(|_| self.batch()).collect();
                let after = Sequence(self.near(truth.executed));
                Message::Batches { sequence: truth.stable.sequence, after, batches }
            }
        }
    }
}

// tests [B14] [B2]
#[test]
fn lies_of_every_kind_harm_nobody_and_the_group_serves_with_everything_it_had() {
    for round in 0..rounds(12) {
        let mut cluster = at_work(round);
        let from = 1 + round % 4;
        cluster.crash(from);
        let (mut liar, mut draw) = (Liar { draw: draws(round), from }, draws(round + 1_000));
        let mut longest = Vec::new();
        for number in 0..250 {
            let up = cluster.up();
            let to = up[draw(up.len())];
            let (kind, truth) = (draw(KINDS), Truth::of(&cluster, to));
            let message = liar.message(kind, &truth);
            if !claims_for_others(&message, from) {
                cluster.tell(from, to, message);
            }
            work_on(&mut cluster, &mut draw, 400 + number);
            assert!(cluster.queue(to, "places in flight") <= 6 && cluster.queue(to, "requests") <= 64);
            let diary = cluster.diary(to);
            let common = diary.len().min(longest.len());
            assert_eq!(diary[..common], longest[..common], "{round}");
            if diary.len() > longest.len() {
                longest = diary;
            }
        }
        cluster.wire.clear();
        // What some forgot in a crash, others hold in doubt by then.
        cluster.run_for_ms(90_000);
        cluster.propose_everywhere(9_000);
        cluster.run_for_ms(20_000);
        let agreed = cluster.agreed();
        assert!(agreed.starts_with(&longest), "{round}");
        assert!(agreed.contains(&payload(9_000)), "{round}");
        let slander: Vec<_> = cluster.accusations.iter().filter(|(_, peer, _)| *peer != n(from)).collect();
        assert!(slander.is_empty(), "{round}: {slander:?}");
    }
}

/// Whether signatures of correct replicas stand in it that they did not make: no liar has those.
fn claims_for_others(message: &Message, from: u64) -> bool {
    let of_others = |prepared: &Prepared| {
        prepared.prepares.0.iter().any(|(node, _)| *node != n(from)) || prepared.view.0 % 4 + 1 != from
    };
    let changed = |change: &ViewChange| change.node != n(from) || change.prepared.iter().any(of_others);
    match message {
        Message::ViewChange(change) => changed(change),
        Message::NewView(new_view) => new_view.changes.iter().any(changed),
        Message::Committed(proven) => proven.certificate.commits.0.iter().any(|(node, _)| *node != n(from)),
        Message::Requests(_)
        | Message::PrePrepare(_)
        | Message::Prepare(_)
        | Message::Commit(_)
        | Message::Checkpoint(_)
        | Message::Status(_)
        | Message::Stable(_)
        | Message::FetchBatch { .. }
        | Message::BatchIs { .. }
        | Message::FetchState { .. }
        | Message::State(_)
        | Message::FetchChunk { .. }
        | Message::Chunk { .. }
        | Message::FetchBatches { .. }
        | Message::Batches { .. } => false,
    }
}

/// With certificates that nobody can have, since they are the work of more than f liars, nothing is claimed but that no replica
/// panics or breaks an invariant.
// tests [B14]
#[test]
fn more_liars_than_the_group_bears_make_nobody_panic() {
    let mut told = [0; KINDS];
    for round in 0..rounds(12) {
        let mut cluster = at_work(round);
        let mut draw = draws(round + 77);
        for number in 0..200 {
            let (from, to) = (1 + draw(4) as u64, 1 + draw(4) as u64);
            let mut liar = Liar { draw: draws(round * 1_000 + number), from };
            let (kind, truth) = (draw(KINDS), Truth::of(&cluster, to));
            let message = liar.message(kind, &truth);
            let keys = crate::common::signing::keyring(n(from), 4);
            let config = Config { keys, ..cluster.config.clone() };
            told[kind] += u32::from(Pbft::screen(&config, n(from), &message).is_ok());
            cluster.tell(from, to, message);
            work_on(&mut cluster, &mut draw, 400 + number);
        }
    }
    assert!(told.iter().all(|&count| count > 20), "lies that are refused at the door prove little: {told:?}");
}

#[test]
fn arbitrary_bytes_decode_or_are_refused() {
    fn decodes(bytes: Vec<u8>) -> bool {
        for kind in 0..=KINDS {
            let mut frame = vec![kind as u8];
            frame.extend_from_slice(&bytes);
            // What decodes encodes again to something that means the same.
            if let Ok(message) = wire::decode::<Message>(&frame, LIMIT) {
                assert_eq!(wire::decode::<Message>(&wire::encode(&message), LIMIT), Ok(message));
            }
            if let Ok(record) = wire::decode::<Record>(&frame, LIMIT) {
                assert_eq!(wire::decode::<Record>(&wire::encode(&record), LIMIT), Ok(record));
            }
        }
        true
    }
    QuickCheck::new()
        .rng(Gen::from_size_and_seed(200, 1))
        .tests(2_000)
        .quickcheck(decodes as fn(Vec<u8>) -> bool);
}
