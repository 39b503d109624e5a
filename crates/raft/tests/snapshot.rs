//! Snapshots on their way: the clauses R22 to R24, R50 and R51 of `spec.md`.

use crate::common::slow::bring_up;
use crate::common::{Cluster, Diary, Disk, Envelope, n};
use consensus_core::memory::Outbox;
use consensus_core::{
    Bytes, Epoch, Event, Members, Node, NodeConfig, NodeError, NodeId, Offence, Slot, Storage, Time, WriteSeq,
};
use raft::{Chunk, Config, Digest, Message, Mode, Position, Raft, Record};
use std::time::Duration;

/// A group of three of whom one is down and lacks what the others have cut from their logs.
struct Behind {
    cluster: Cluster,
    leader: NodeId,
    other: NodeId,
    away: NodeId,
    number: u64,
}

impl Behind {
    fn new(config: Config, hold: bool) -> Self {
        let config = Config { retained_entries: 0, snapshot_chunk_bytes: 64, ..config };
        let mut cluster = Cluster::with(3, config, hold, 1);
        cluster.compact_after_bytes = 500;
        for id in (1..=3).map(n) {
            cluster.crash(id);
            cluster.start(id);
        }
        let mut behind = Self { cluster, leader: n(0), other: n(0), away: n(0), number: 0 };
        while behind.cluster.leaders().is_empty() {
            behind.wake();
            behind.settle();
        }
        behind.leader = behind.cluster.leaders()[0];
        let [away, other] = behind.cluster.others(behind.leader)[..] else { panic!() };
        (behind.away, behind.other) = (away, other);
        behind.cluster.crash(away);
        behind.write(60);
        behind
    }

    fn write(&mut self, count: u64) {
        for _ in 0..count {
            self.number += 1;
            self.cluster.propose(self.leader, self.number, b"0123456789");
            self.settle();
        }
    }

    /// Makes everything durable, but at the one that is behind.
    fn sync(&mut self) {
        for id in [self.leader, self.other].into_iter().filter(|&id| id != n(0)) {
            self.cluster.sync(id);
        }
        if self.leader == n(0) {
            (1..=3).map(n).for_each(|id| self.cluster.sync(id));
        }
    }

    /// Everything arrives.
    fn settle(&mut self) {
        self.sync();
        while let Some(envelope) = self.cluster.wire.pop_front() {
            self.cluster.deliver(envelope);
            self.sync();
        }
    }

    /// Whoever is due next wakes.
    fn wake(&mut self) {
        let (at, id) = self.cluster.next_deadline().unwrap();
        self.cluster.now = self.cluster.now.max(at);
        self.cluster.handle(id, Event::Tick);
        self.sync();
    }

    /// Messages arrive and timers run out until a piece for which `stops` holds is next to arrive. `change` may change or take
    /// each message before.
    fn until(
        &mut self,
        mut stops: impl FnMut(&Self) -> bool,
        mut change: impl FnMut(Envelope) -> Option<Envelope>,
    ) {
        for _ in 0..10_000 {
            if stops(self) {
                return;
            }
            match self.cluster.wire.pop_front() {
                Some(envelope) => {
                    if let Some(envelope) = change(envelope) {
                        self.cluster.deliver(envelope);
                        self.sync();
                    }
                }
                None => self.wake(),
            }
        }
        panic!("it never comes");
    }

    /// As [`Behind::until`], with nothing changed; returns the pieces that arrived.
    fn pieces_until(&mut self, stops: impl FnMut(&Self) -> bool) -> Vec<Chunk> {
        let mut pieces = Vec::new();
        self.until(stops, |envelope| {
            pieces.extend(piece(&envelope).cloned());
            Some(envelope)
        });
        pieces
    }

    fn is_up_to_date(&self) -> bool {
        let leader = self.cluster.leaders().first().copied();
        leader.is_some_and(|leader| self.cluster.diary(self.away) == self.cluster.diary(leader))
    }

    fn mode(&self) -> Option<Mode> {
        let mut peers = self.cluster.nodes[&self.leader].algorithm().peers();
        peers.find(|peer| peer.id == self.away).map(|peer| peer.mode)
    }
}

fn piece(envelope: &Envelope) -> Option<&Chunk> {
    if let Message::Snapshot(chunk) = &envelope.message { Some(chunk) } else { None }
}

/// Whether the piece next to arrive begins at `offset` or behind.
fn next_is_at(offset: u64) -> impl Fn(&Behind) -> bool {
    move |behind| behind.cluster.wire.front().and_then(piece).is_some_and(|chunk| chunk.offset >= offset)
}

/// Changes every piece that `which` names, as if its sender's memory had. It takes answers for its own.
fn spoil(
    which: impl Fn(&Chunk) -> bool,
    mut how: impl FnMut(&mut Chunk),
) -> impl FnMut(Envelope) -> Option<Envelope> {
    let mut through = Slot::ZERO;
    move |mut envelope| {
        if let Message::Snapshot(chunk) = &mut envelope.message {
            through = chunk.through.slot;
            if which(chunk) {
                how(chunk);
            }
        } else if let Message::SnapshotReply(reply) = &mut envelope.message {
            reply.through = through;
        }
        Some(envelope)
    }
}

fn flip(chunk: &mut Chunk) {
    let mut data = chunk.data.to_vec();
    data[3] ^= 4;
    chunk.data = data.into();
}

// tests [R50]
#[test]
fn what_is_not_what_its_digest_says_is_never_installed_and_its_sender_is_named() {
    let changes: [fn(&mut Chunk); 5] = [
        flip,
        |chunk| chunk.members = Members::of((1..=4).map(n)),
        |chunk| chunk.through.slot = Slot(chunk.through.slot.0 + 1),
        |chunk| chunk.through.term = Epoch(0),
        |chunk| chunk.digest = Digest::of(Position::ZERO, &chunk.members, b"something else"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut behind = Behind::new(Config::default(), false);
        let (leader, away) = (behind.leader, behind.away);
        behind.cluster.start(away);
        behind.until(|behind| behind.cluster.accusations.len() == 2, spoil(|_| true, change));
        let offence = Offence::Impossible("its snapshot is not what its digest says");
        for accusation in &behind.cluster.accusations {
            assert_eq!(*accusation, (away, leader, offence.clone()), "{number}");
        }
        assert!(behind.cluster.diary(away).is_empty(), "{number}");
        assert_eq!(behind.cluster.members_of(away), behind.cluster.members);
        // It begins anew, and when nothing is wrong any more it ends well.
        behind.pieces_until(Behind::is_up_to_date);
        assert_eq!(behind.cluster.accusations.len(), 2, "{number}");
    }
}

// tests [R50]
#[test]
fn a_spoilt_snapshot_is_not_sent_again_at_once() {
    let config = Config { snapshot_chunk_bytes: 1 << 20, ..Config::default() };
    let mut behind = Behind::new(config, false);
    let away = behind.away;
    behind.cluster.start(away);
    let began = behind.cluster.now;
    behind.until(|behind| behind.cluster.accusations.len() == 5, spoil(|_| true, flip));
    // Once in an interval between heartbeats, though answers come at once here.
    assert!(behind.cluster.now.since(began) >= Duration::from_millis(400));
}

// tests [R23] [R50]
#[test]
fn the_next_leader_goes_on_where_the_last_one_was_interrupted() {
    let mut behind = Behind::new(Config::default(), false);
    let (leader, other, away) = (behind.leader, behind.other, behind.away);
    behind.cluster.start(away);
    let before = behind.pieces_until(next_is_at(500));
    let arrived: u64 = before.iter().map(|piece| piece.data.len() as u64).sum();
    behind.cluster.crash(leader);
    behind.cluster.wire.clear();
    let after = behind.pieces_until(Behind::is_up_to_date);
    assert_eq!(behind.cluster.leaders(), [other]);
    assert_eq!(after[0].digest, before[0].digest, "it has the same snapshot");
    // The first finds out how much is there already.
    assert_eq!((after[0].offset, after[1].offset), (0, arrived));
    assert!(arrived >= 500 && after.iter().skip(1).all(|piece| piece.offset >= arrived));
    assert!(behind.cluster.accusations.is_empty());
}

// tests [R23]
#[test]
fn another_snapshot_begins_anew() {
    let mut behind = Behind::new(Config::default(), false);
    let (leader, away) = (behind.leader, behind.away);
    behind.cluster.start(away);
    let before = behind.pieces_until(next_is_at(500));
    behind.cluster.wire.clear();
    // Without the leader and the one behind hearing each other, the log is cut again.
    behind.cluster.isolate(away);
    behind.write(200);
    behind.cluster.crash(leader);
    behind.cluster.heal();
    let after = behind.pieces_until(Behind::is_up_to_date);
    assert_ne!(after[0].digest, before[0].digest);
    let offsets: Vec<u64> = after.iter().map(|piece| piece.offset).collect();
    assert!(offsets.is_sorted() && offsets[..2] == [0, 64], "{offsets:?}");
}

// tests [R50]
#[test]
fn nobody_is_accused_of_what_several_have_sent() {
    let mut behind = Behind::new(Config::default(), false);
    let (leader, other, away) = (behind.leader, behind.other, behind.away);
    behind.cluster.start(away);
    behind.until(next_is_at(500), spoil(|chunk| chunk.offset == 64, flip));
    behind.cluster.crash(leader);
    behind.cluster.wire.clear();
    let offsets: Vec<u64> =
        behind.pieces_until(Behind::is_up_to_date).iter().map(|piece| piece.offset).collect();
    assert!(offsets.iter().filter(|&&offset| offset == 0).count() >= 2, "it began anew: {offsets:?}");
    assert_eq!((behind.cluster.leaders(), &behind.cluster.accusations[..]), (vec![other], &[][..]));
}

// tests [R22] [R23]
#[test]
fn a_snapshot_taken_while_one_is_sent_does_not_overtake_its_receiver() {
    for retained_bytes_while_sending in [64 << 20, 0] {
        let mut behind = Behind::new(Config { retained_bytes_while_sending, ..Config::default() }, false);
        let (leader, away) = (behind.leader, behind.away);
        behind.cluster.start(away);
        let first = behind.pieces_until(next_is_at(300)).remove(0);
        // What is on its way is held up, and the log goes on.
        let held: Vec<Envelope> = behind.cluster.wire.drain(..).collect();
        behind.cluster.isolate(away);
        behind.write(200);
        behind.cluster.heal();
        behind.cluster.wire.extend(held);
        let newer = behind.cluster.node(leader).storage().contents().snapshot.clone().unwrap().0;
        assert!(newer > first.through.slot, "another was taken");
        let pieces = behind.pieces_until(Behind::is_up_to_date);
        let ends: std::collections::BTreeSet<Slot> = pieces.iter().map(|piece| piece.through.slot).collect();
        if retained_bytes_while_sending > 0 {
            assert_eq!(ends.into_iter().collect::<Vec<_>>(), [first.through.slot], "one is enough");
            assert!(behind.cluster.nodes[&leader].algorithm().term_at(first.through.slot).is_some());
        } else {
            assert_eq!(ends.len(), 2, "the log was cut past the first");
        }
        // Nobody receives any more: the tail is as short as ever.
        behind.write(200);
        assert_eq!(behind.cluster.nodes[&leader].algorithm().term_at(newer), None);
        assert_eq!(behind.mode(), Some(Mode::Replicate));
    }
}

// tests [R23]
#[test]
fn a_receiver_that_crashes_begins_anew_even_if_it_had_all() {
    for offset in [300, u64::MAX] {
        // Nothing is durable there until it is told so.
        let mut behind = Behind::new(Config::default(), true);
        let away = behind.away;
        behind.cluster.start(away);
        behind.until(
            |behind| {
                let is_whole = behind.cluster.nodes[&away].status().decided > Slot(30);
                is_whole || next_is_at(offset)(behind)
            },
            Some,
        );
        behind.cluster.crash(away);
        behind.cluster.start(away);
        assert_eq!(behind.cluster.nodes[&away].status().decided, Slot::ZERO);
        behind.until(|behind| behind.cluster.nodes[&away].status().decided > Slot(30), Some);
        behind.cluster.sync(away);
        for _ in 0..20 {
            behind.wake();
            behind.settle();
            behind.cluster.sync(away);
        }
        assert!(behind.is_up_to_date());
        assert_eq!(behind.mode(), Some(Mode::Replicate));
    }
}

// tests [R24]
#[test]
fn a_follower_that_has_more_keeps_it() {
    let mut behind = Behind::new(Config::default(), false);
    let (leader, away) = (behind.leader, behind.away);
    behind.cluster.start(away);
    let pieces = behind.pieces_until(Behind::is_up_to_date);
    behind.write(10);
    behind.settle();
    let (diary, last) = (behind.cluster.diary(away).to_vec(), behind.cluster.nodes[&away].algorithm().last());
    for chunk in pieces {
        let message = Message::Snapshot(Box::new(chunk));
        behind.cluster.deliver(Envelope { from: leader, to: away, message });
    }
    behind.settle();
    assert_eq!(
        (behind.cluster.diary(away), behind.cluster.nodes[&away].algorithm().last()),
        (&diary[..], last)
    );
    assert!(behind.cluster.accusations.is_empty());
}

// tests [R24]
#[test]
fn a_snapshot_that_denies_what_is_committed_is_accused() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"x");
    cluster.run_for_ms(200);
    let follower = cluster.others(leader)[0];
    let term = cluster.nodes[&leader].status().epoch;
    let through = Position { term: Epoch(0), slot: Slot(2) };
    let members = cluster.members.clone();
    let data = Bytes::from_static(b"another state");
    let digest = Digest::of(through, &members, &data);
    let chunk = Chunk { term, through, members, total: 13, digest, offset: 0, data };
    let message = Message::Snapshot(Box::new(chunk));
    cluster.deliver(Envelope { from: leader, to: follower, message });
    let offence = Offence::Impossible("its snapshot denies what is committed");
    assert_eq!(cluster.accusations, [(follower, leader, offence)]);
    assert_eq!(cluster.diary(follower).len(), 1);
}

// tests [R50] [R25]
#[test]
fn a_snapshot_that_rotted_on_the_disk_keeps_a_node_from_starting() {
    for rotten in [false, true] {
        let through = Position { term: Epoch(3), slot: Slot(7) };
        let members = Members::of([n(1)]);
        // What the gate writes: an empty table of sessions, and the diary's lines.
        let mut bytes = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7, 1, b'x'];
        let digest = Digest::of(through, &members, &bytes);
        if rotten {
            *bytes.last_mut().unwrap() = b'y';
        }
        let head = Record::Snapshot { through, members: Box::new(members.clone()), base: through, digest };
        let mut disk = Disk::default();
        let tail = vec![head, Record::Vote { term: Epoch(3), vote: None }];
        disk.checkpoint(WriteSeq(1), through.slot, bytes.into(), tail);
        let config = NodeConfig::<Raft>::new(n(1), members, 1);
        let opened = Node::open(config, Time::ZERO, Outbox::default(), disk.crash(), Diary::default());
        match opened {
            Ok(node) => assert_eq!((node.applied(), rotten), (Slot(7), false)),
            Err(error) => assert!(rotten && matches!(error, NodeError::Restore(_)), "{error}"),
        }
    }
}

// tests [R51]
#[test]
fn a_snapshot_over_a_slow_link_disturbs_nobody() {
    for (bytes, bytes_per_second) in [(200_000, 20_000), (200_000, 50_000), (3_000_000, 1_000_000)] {
        let latency = Duration::from_millis(2);
        let seen = bring_up(bytes, bytes_per_second, latency, Config::default());
        assert!(!seen.was_disturbed, "{bytes_per_second}");
        // Election timeouts are of a second.
        assert!(seen.slowest_heartbeat < Duration::from_millis(500), "{:?}", seen.slowest_heartbeat);
        let at_best = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
        assert!(seen.took < at_best * 5 / 4, "the link is not used: {:?}", seen.took);
    }
}

// tests [R51]
#[test]
fn a_link_with_latency_is_filled_up_to_the_bound() {
    let (config, latency) = (Config::default(), Duration::from_millis(50));
    let seen = bring_up(12_000_000, 1_000_000_000, latency, config.clone());
    let piece_by_piece = latency * 2 * (12_000_000 / config.snapshot_chunk_bytes as u32);
    assert!(seen.took < piece_by_piece / 3, "{:?} of {piece_by_piece:?}", seen.took);
    assert_eq!(seen.most_in_flight, config.max_in_flight_snapshot_bytes);
    let narrow = Config { max_in_flight_snapshot_bytes: 10_000, ..config };
    let seen = bring_up(100_000, 1_000_000_000, latency, narrow);
    assert!(seen.most_in_flight <= 10_000 && seen.took > latency * 2 * 8);
}
