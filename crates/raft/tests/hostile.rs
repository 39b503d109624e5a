//! Whatever arrives on the wire or is read from a disk: an error or an accusation, never a panic, never a broken invariant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Cluster, Envelope, n};
use consensus_core::{Event, wire};
use quickcheck::{Gen, QuickCheck};
use raft::{Config, Message, Record};

const LIMIT: usize = 1 << 20;

/// What nodes really say, in elections, replication, reads and snapshots.
fn spoken() -> Vec<Vec<u8>> {
    let config = Config { retained_entries: 2, snapshot_chunk_bytes: 64, ..Config::default() };
    let mut cluster = Cluster::with(3, config, false, 1);
    cluster.compact_after_bytes = 200;
    for id in (1..=3).map(n) {
        cluster.crash(id);
        cluster.start(id);
    }
    let mut said = Vec::new();
    for number in 1..6_000 {
        if number == 1_000 {
            let follower = cluster.others(cluster.leaders()[0])[0];
            cluster.crash(follower);
        } else if number == 3_000 {
            let away = *cluster.disks.keys().next().unwrap();
            cluster.start(away);
        }
        if let Some(envelope) = cluster.wire.pop_front() {
            said.push(wire::encode(&envelope.message));
            cluster.deliver(envelope);
        } else if let Some(&leader) = cluster.leaders().first() {
            cluster.propose(leader, number, b"some bytes to be replicated");
            cluster.read(n(1 + number % 3), number);
        }
        if cluster.wire.is_empty()
            && let Some((at, id)) = cluster.next_deadline()
        {
            cluster.now = cluster.now.max(at);
            cluster.handle(id, Event::Tick);
        }
    }
    said
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

/// A small generator with a fixed seed.
fn draws(mut state: u64) -> impl FnMut(usize) -> usize {
    move |bound| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound.max(1)
    }
}

// tests [R26]
#[test]
fn damaged_messages_harm_no_node() {
    let said = spoken();
    let kinds = said.iter().filter_map(|frame| frame.first()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(kinds.len(), 10, "every kind of message was said: {kinds:?}");
    let mut draw = draws(7);
    let mut taken = 0;
    for round in 0..40 {
        // Strangers to the network's rules, hence fresh nodes now and then: lies make terms that nobody can reach.
        let mut cluster = Cluster::with(3, Config::default(), false, round);
        cluster.elect();
        for _ in 0..250 {
            let mut frame = said[draw(said.len())].clone();
            damage(&mut frame, &said[draw(said.len())], &mut draw);
            if let Ok(message) = wire::decode::<Message>(&frame, LIMIT) {
                taken += 1;
                let (from, to) = (n(1 + draw(4) as u64), n(1 + draw(3) as u64));
                cluster.deliver(Envelope { from, to, message });
            }
            if draw(10) == 0 {
                cluster.wire.truncate(100);
                cluster.run_for_ms(20);
            }
        }
    }
    assert!(taken > 1_000, "too few damaged messages decode to be a test: {taken}");
}

#[test]
fn arbitrary_bytes_decode_or_are_refused() {
    fn decodes(bytes: Vec<u8>) -> bool {
        for kind in 0..14 {
            let mut frame = vec![kind];
            frame.extend_from_slice(&bytes);
            let message = wire::decode::<Message>(&frame, LIMIT);
            let record = wire::decode::<Record>(&frame, LIMIT);
            // What decodes encodes again to something that means the same.
            if let Ok(message) = message {
                assert_eq!(wire::decode::<Message>(&wire::encode(&message), LIMIT), Ok(message));
            }
            if let Ok(record) = record {
                assert_eq!(wire::decode::<Record>(&wire::encode(&record), LIMIT), Ok(record));
            }
        }
        true
    }
    QuickCheck::new()
        .rng(Gen::from_size_and_seed(200, 1))
        .tests(5_000)
        .quickcheck(decodes as fn(Vec<u8>) -> bool);
}
