//! The coin of agreement with a hidden coin, alone; and whatever arrives on the wire or is read from a disk: an error or an accusation, never a panic, never
//! a broken invariant.

use crate::common::{Cluster, Diary, Envelope, damage, draws, n, proposal};
use crate::mmr::{at, casts, coin, config, falls};
use benor::Mmr;
use benor::mmr::{Casts, Coin, CoinKey, CoinKeys, KeyError, Message, Record, Share, Standing, Values, deal};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{Event, Members, Node, NodeConfig, NodeId, Storage, Time, WriteSeq, wire};

const LIMIT: usize = 1 << 20;

// tests [M6]
#[test]
fn a_coin_falls_alike_whoever_gives_shares_and_both_ways() {
    for size in [4, 5, 7, 10] {
        let coin = coin(size, 3);
        let threshold = coin.keys().threshold();
        let mut draw = draws(size);
        let ones = (1..=64).filter(|&round| {
            let mut shares: Vec<_> =
                (1..=size).map(|id| (n(id), coin.share(n(id), round).unwrap())).collect();
            assert!(shares.iter().all(|(id, share)| coin.verify(*id, round, share)));
            let fallen = coin.toss(round, &shares).unwrap();
            for _ in 0..3 {
                for place in (1..shares.len()).rev() {
                    shares.swap(place, draw(place + 1));
                }
                assert_eq!(coin.toss(round, &shares[..threshold]), Some(fallen));
                assert_eq!(coin.toss(round, &shares[..threshold - 1]), None, "so many say nothing");
            }
            fallen
        });
        let ones = ones.count();
        assert!((16..=48).contains(&ones), "{ones} of 64 with {size} voters");
    }
    let coins = |group| (1..=64).map(|round| falls(&coin(4, group), round)).collect::<Vec<_>>();
    assert!(coins(1) != coins(2), "each group has its own");
    let coin = coin(4, 0);
    let share = coin.share(n(1), 1).unwrap();
    assert_eq!(coin.toss(1, &[(n(1), share), (n(1), share)]), None, "one voter is one share");
    assert_eq!(coin.toss(1, &[(n(1), share), (n(9), share)]), None, "and a stranger none");
}

// tests [M6]
#[test]
fn a_share_is_proven_for_one_voter_one_round_and_one_group() {
    let (coin, other) = (coin(4, 0), coin(4, 1));
    let share = coin.share(n(2), 5).unwrap();
    assert_eq!(coin.share(n(2), 5), Some(share), "it is the same each time");
    assert!(coin.verify(n(2), 5, &share));
    assert!(!coin.verify(n(1), 5, &share) && !coin.verify(n(2), 4, &share) && !other.verify(n(2), 5, &share));
    assert!(!coin.verify(n(9), 5, &share));
    // Every byte of it counts. The last one of each number makes it one that is not below the order.
    let mut bytes = wire::encode(&share);
    for place in 0..bytes.len() {
        bytes[place] ^= 0x80;
        let changed: Share = wire::decode(&bytes, LIMIT).unwrap();
        assert!(!coin.verify(n(2), 5, &changed), "byte {place}");
        bytes[place] ^= 0x80;
    }
    for bytes in [[0; 32], [0xff; 32]] {
        for share in [
            Share { element: bytes, ..share },
            Share { challenge: bytes, ..share },
            Share { response: bytes, ..share },
        ] {
            assert!(!coin.verify(n(2), 5, &share));
        }
    }
    assert_eq!(coin.toss(5, &[(n(2), share), (n(1), Share { element: [0xff; 32], ..share })]), None);
}

// tests [M6]
#[test]
fn keys_that_do_not_fit_are_refused() {
    let members: Vec<NodeId> = [4, 2, 9, 7].map(n).to_vec();
    let (keys, secrets) = deal(&members, 2, &[1; 32]).unwrap();
    assert_eq!((keys.members(), keys.threshold()), (&[2, 4, 7, 9].map(n)[..], 2));
    let public: Vec<_> = keys.members().iter().map(|&id| (id, keys.public(id).unwrap())).collect();
    assert_eq!(CoinKeys::new(2, public.clone()).as_ref(), Ok(&keys), "they can be written down");
    let with = |place: usize, key| {
        let mut public = public.clone();
        public[place] = key;
        CoinKeys::new(2, public).unwrap_err()
    };
    assert_eq!(with(1, (n(4), [0xff; 32])), KeyError::Unusable(n(4)));
    assert_eq!(with(1, (n(4), [0; 32])), KeyError::Unusable(n(4)), "the neutral element");
    assert_eq!(with(3, (n(9), public[0].1)), KeyError::Inconsistent(n(9)));
    assert_eq!(with(3, public[0]), KeyError::Twice(n(2)));
    for threshold in [0, 5] {
        let refused = Err(KeyError::Threshold { threshold, members: 4 });
        assert_eq!(CoinKeys::new(threshold, public.clone()), refused);
        assert_eq!(deal(&members, threshold, &[1; 32]).map(|(keys, _)| keys), refused);
    }
    assert_eq!(deal(&[n(1), n(1)], 1, &[1; 32]).map(|_| ()), Err(KeyError::Twice(n(1))));
    let read = |id: u64, bytes| CoinKey::new(n(id), bytes).map(|_| ());
    assert_eq!(read(2, &[0; 32]), Err(KeyError::Secret(n(2))));
    assert_eq!(read(2, &[0xff; 32]), Err(KeyError::Secret(n(2))));
    let again = CoinKey::new(n(4), &secrets[0].secret()).unwrap();
    assert_eq!(Coin::new(0, keys, [again]).map(|_| ()), Err(KeyError::Mismatch(n(4))));
    let shown = format!("{:?}", Coin::new(0, CoinKeys::default(), []).unwrap());
    assert!(shown.starts_with("Coin"));
    assert_eq!(format!("{:?}", secrets[0]), "CoinKey { member: n2, .. }", "no secret is printed");
}

/// Four nodes that are divided, some of which are away for a while; what they say is given to `each`.
fn work(seed: u64, steps: u64, mut each: impl FnMut(&Envelope<Message>)) -> Cluster<Mmr> {
    let mut cluster = Cluster::<Mmr>::with(4, config(4, seed), false, seed);
    let mut draw = draws(seed);
    for id in 1..=4 {
        cluster.propose(n(id), id, if id % 2 == 0 { b"0" } else { b"1" });
    }
    for _ in 0..steps {
        let node = n(1 + draw(4) as u64);
        match draw(40) {
            0 if cluster.nodes.len() == 4 => cluster.crash(node),
            1 | 2 if cluster.disks.contains_key(&node) => cluster.start(node),
            _ => {}
        }
        if let Some(place) = cluster.wire.len().checked_sub(1) {
            let envelope = cluster.wire.remove(draw(place + 1)).unwrap();
            each(&envelope);
            if draw(20) > 0 {
                cluster.deliver(envelope);
            }
        } else if let Some((at, id)) = cluster.next_deadline() {
            cluster.now = cluster.now.max(at);
            cluster.handle(id, Event::Tick);
        }
    }
    cluster
}

// tests [M13]
#[test]
fn damaged_messages_harm_no_node() {
    let mut said = Vec::new();
    for seed in 1..=4 {
        work(seed, 300, |envelope| said.push(wire::encode(&envelope.message)));
    }
    let mut draw = draws(7);
    let mut taken = 0;
    for round in 0..30 {
        let mut cluster = Cluster::<Mmr>::with(4, config(4, round), false, round);
        (2..=4).for_each(|id| cluster.crash(n(id)));
        cluster.propose(n(1), 1, b"1");
        for _ in 0..100 {
            let mut frame = said[draw(said.len())].clone();
            if draw(4) > 0 {
                damage(&mut frame, &said[draw(said.len())], &mut draw);
            }
            if let Ok(message) = wire::decode::<Message>(&frame, LIMIT) {
                taken += 1;
                cluster.deliver(Envelope { from: n(1 + draw(5) as u64), to: n(1), message });
            }
            cluster.wire.clear();
            if draw(10) == 0 {
                cluster.run_for_ms(60);
            }
        }
    }
    assert!(taken > 1_000, "{taken} frames were understood");
}

// tests [M8]
#[test]
fn damaged_records_are_refused_or_understood() {
    let mut cluster = work(2, 300, |_| {});
    cluster.nodes.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| cluster.crash(id));
    let disks: Vec<Vec<Vec<u8>>> = cluster
        .disks
        .values()
        .map(|disk| disk.contents().records.iter().map(wire::encode).collect())
        .collect();
    let mut draw = draws(11);
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..500 {
        let mut records = disks[draw(4)].clone();
        let place = draw(records.len());
        match draw(3) {
            0 => drop(records.remove(place)),
            1 => {
                let other = draw(records.len());
                records.swap(place, other);
            }
            _ => damage(&mut records[place], &[0, 1, 2], &mut draw),
        }
        let read = records.iter().map(|bytes| wire::decode::<Record>(bytes, LIMIT));
        let Ok(records) = read.collect::<Result<Vec<_>, _>>() else { continue };
        let mut disk = MemoryStorage::<Record>::default();
        (1..).zip(records).for_each(|(seq, record)| disk.append(WriteSeq(seq), record));
        let mut node = NodeConfig::<Mmr>::new(n(1), Members::of((1..=4).map(NodeId)), 1);
        (node.algorithm, node.check_invariants) = (config(4, 2), true);
        match Node::open(node, Time::ZERO, Outbox::default(), disk, Diary::default()) {
            Ok(_) => opened += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 20 && refused > 50, "{opened} were opened, {refused} refused");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Peers and disks of other versions must read them: a variant or a field is only ever appended.
#[test]
fn what_nodes_say_and_write_keeps_its_bytes() {
    let share = Share { element: [1; 32], challenge: [2; 32], response: [3; 32] };
    let said = format!("{}{}{}", "01".repeat(32), "02".repeat(32), "03".repeat(32));
    let complete = Casts { share: Some(share), ..casts(Values::Both, Some(false), Some(Values::Zero)) };
    let told = Standing { before: Some(complete), decided: Some(true), ..at(2, Casts::of(true)) };
    let messages = [
        (Message::Tell(told), format!("0002010100000001020100010001{said}0101")),
        (Message::Ask(Standing::default()), "0100000000".into()),
    ];
    for (message, golden) in messages {
        assert_eq!(hex(&wire::encode(&message)), golden);
        assert_eq!(wire::decode::<Message>(&wire::encode(&message), LIMIT), Ok(message));
    }
    let records = [
        (Record::Given { id: proposal(5), value: true }, "00070501".to_owned()),
        (Record::Entered { round: 3, value: true }, "010301".into()),
        (Record::Relayed { round: 2, value: false }, "020200".into()),
        (Record::Named(true), "0301".into()),
        (Record::Confirmed(Values::Both), "0402".into()),
        (Record::Shared(share), format!("05{said}")),
        (Record::Decided { value: true, round: 4 }, "060104".into()),
    ];
    for (record, golden) in records {
        assert_eq!(hex(&wire::encode(&record)), golden);
        assert_eq!(wire::decode::<Record>(&wire::encode(&record), LIMIT), Ok(record));
    }
}

/// Nodes of different versions must toss alike.
#[test]
fn coins_fall_as_they_always_did() {
    let coin = coin(4, 5);
    let fallen: String = (1..=32).map(|round| if falls(&coin, round) { '1' } else { '0' }).collect();
    assert_eq!(fallen, "00010010110101000101101111001000");
}
