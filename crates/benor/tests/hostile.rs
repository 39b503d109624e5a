//! Whatever arrives on the wire or is read from a disk: an error or an accusation, never a panic, never a broken invariant; and the bytes
//! of what nodes say and write stay what they are.

use crate::common::{Cluster, Diary, Envelope, damage, draws, n, proposal};
use benor::log::{
    BatchId, Config, Entry, Instance, Message, Numbers, Offer, Outcome, Page, Parcel, Piece, Record, Stand,
    Vote, Want, Word,
};
use benor::{Casts, Log, Proposal, Report, Standing};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::reads::ReadToken;
use consensus_core::{Bytes, Event, Members, Node, NodeConfig, NodeId, Slot, Storage, Time, WriteSeq, wire};
use std::collections::BTreeSet;

const LIMIT: usize = 1 << 20;

fn at_work(round: u64) -> Cluster<Log> {
    let config =
        Config { retained_slots: 2, snapshot_piece_bytes: 64, max_batch_entries: 2, ..Config::default() };
    let mut cluster = Cluster::<Log>::with(3, config, false, round);
    cluster.compact_after_bytes = 300;
    for id in (1..=3).map(n) {
        cluster.crash(id);
        cluster.start(id);
    }
    cluster
}

/// Some work at whichever nodes, some of which are away for a while; what they say is given to `each`.
fn work(cluster: &mut Cluster<Log>, steps: u64, mut each: impl FnMut(&Envelope<Message>)) {
    let mut draw = draws(3);
    for number in 1..=steps {
        let node = n(1 + draw(3) as u64);
        match draw(60) {
            0 if cluster.nodes.len() == 3 => cluster.crash(node),
            1 if cluster.disks.contains_key(&node) => cluster.start(node),
            2..=6 => cluster.propose(node, number, b"some bytes to be replicated"),
            7 | 8 => cluster.read(node, number),
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
}

fn spoken() -> Vec<Vec<u8>> {
    let mut said = Vec::new();
    work(&mut at_work(1), 20_000, |envelope| said.push(wire::encode(&envelope.message)));
    said
}

// tests [L15]
#[test]
fn damaged_messages_of_the_log_harm_no_node() {
    let said = spoken();
    let kinds = said.iter().filter_map(|frame| frame.first()).collect::<BTreeSet<_>>();
    assert_eq!(kinds.len(), 8, "every kind of message was said: {kinds:?}");
    let mut draw = draws(7);
    let mut taken = 0;
    for round in 0..40 {
        // A lie may break what nodes agree on, which is not claimed; but not the one that hears it.
        let mut cluster = at_work(round);
        (2..=3).for_each(|id| cluster.crash(n(id)));
        for _ in 0..250 {
            let mut frame = said[draw(said.len())].clone();
            if draw(4) > 0 {
                damage(&mut frame, &said[draw(said.len())], &mut draw);
            }
            if let Ok(message) = wire::decode::<Message>(&frame, LIMIT) {
                taken += 1;
                cluster.deliver(Envelope { from: n(1 + draw(4) as u64), to: n(1), message });
            }
            cluster.wire.clear();
            if draw(10) == 0 {
                cluster.propose(n(1), taken, b"x");
                cluster.run_for_ms(60);
            }
        }
    }
    assert!(taken > 3_000, "{taken} frames were understood");
}

// tests [L11]
#[test]
fn damaged_records_of_the_log_are_refused_or_understood() {
    let mut cluster = at_work(1);
    work(&mut cluster, 5_000, |_| {});
    let disks: Vec<_> = (1..=3)
        .map(n)
        .map(|id| {
            if cluster.nodes.contains_key(&id) {
                cluster.crash(id);
            }
            let found = cluster.disks[&id].contents();
            let records: Vec<Vec<u8>> = found.records.iter().map(wire::encode).collect();
            (found.snapshot.clone(), records)
        })
        .collect();
    let mut draw = draws(11);
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..2_000 {
        let (snapshot, mut records) = disks[draw(3)].clone();
        let place = draw(records.len());
        match draw(3) {
            0 => drop(records.remove(place)),
            1 => {
                let other = draw(records.len());
                records.swap(place, other);
            }
            _ => damage(&mut records[place], &[0, 1, 2], &mut draw),
        }
        let Ok(records) =
            records.iter().map(|bytes| wire::decode::<Record>(bytes, LIMIT)).collect::<Result<Vec<_>, _>>()
        else {
            continue;
        };
        let mut disk = MemoryStorage::<Record>::default();
        match snapshot {
            Some((through, bytes)) => disk.checkpoint(WriteSeq(1), through, bytes, records),
            None => (1..).zip(records).for_each(|(seq, record)| disk.append(WriteSeq(seq), record)),
        }
        let mut config = NodeConfig::<Log>::new(n(1), Members::of((1..=3).map(NodeId)), 1);
        config.check_invariants = true;
        match Node::open(config, Time::ZERO, Outbox::default(), disk, Diary::default()) {
            Ok(_) => opened += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 50 && refused > 50, "{opened} were opened, {refused} refused");
}

// tests [L9]
#[test]
fn who_has_lost_a_batch_that_it_offered_does_not_ask_itself_for_it() {
    let offer = Offer::Batch(BatchId { origin: NodeId(2), number: 3 });
    let mut disk = MemoryStorage::<Record>::default();
    disk.append(WriteSeq(1), Record::Offered { instance: Instance(1), offer });
    let config = NodeConfig::<Log>::new(n(1), Members::of((1..=3).map(NodeId)), 1);
    let mut node = Node::open(config, Time::ZERO, Outbox::default(), disk, Diary::default()).unwrap();
    node.handle(Time::from_millis(60_000), Event::Tick).unwrap();
    let asked: BTreeSet<NodeId> = node.network().sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(asked, BTreeSet::from([n(2), n(3)]));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Peers and disks of other versions must read them: a variant or a field is only ever appended.
#[test]
fn what_nodes_of_the_log_say_and_write_keeps_its_bytes() {
    let id = BatchId { origin: NodeId(2), number: 3 };
    // Of node 2 all up to the third, and the fifth.
    let numbers: Numbers = wire::decode(&[1, 2, 3, 1, 5], LIMIT).unwrap();
    assert!(numbers.contain(id) && !numbers.contain(BatchId { number: 4, ..id }));
    let entries = [Entry { id: proposal(5), payload: Bytes::from_static(b"x") }].into_iter().collect();
    let parcel = Parcel { id, entries };
    let casts =
        Some(Casts { report: Report { value: true, tossed: false }, proposal: Some(Proposal::Value(true)) });
    let standing = Standing { round: 1, casts, before: None, decided: None };
    let word = Word { instance: Instance(4), offer: Some(Offer::Batch(id)), standing, batch: Some(id) };
    let stand = Stand { settled: Instance(3), words: vec![word] };
    let piece = Piece {
        instance: Instance(7),
        through: Slot(9),
        numbers: numbers.clone(),
        total: 3,
        offset: 1,
        data: Bytes::from_static(b"yz"),
    };
    let token = ReadToken { boot: 1, round: 2 };
    let outcomes = vec![Outcome::Nothing, Outcome::Batch(parcel.clone())];
    let want = Some(Want::Piece { through: Slot(9), offset: 1 });
    let messages = [
        Message::Parcel(parcel.clone()),
        Message::Tell(stand.clone()),
        Message::Ask { stand, want },
        Message::Fetch(vec![id]),
        Message::Page(Page { first: Instance(4), outcomes, settled: Instance(5) }),
        Message::Piece(Box::new(piece)),
        Message::Read(token),
        Message::ReadReply { token, highest: Instance(4) },
    ];
    let said: Vec<String> = messages.iter().map(|message| hex(&wire::encode(message))).collect();
    let golden = [
        "0002030107050178",
        "0103010401010203010101000100010000010203",
        "020301040101020301010100010001000001020301010901",
        "03010203",
        "04040200010203010705017805",
        "0507090102030105030102797a",
        "060102",
        "07010204",
    ];
    assert_eq!(said, golden);
    let instance = Instance(4);
    let records = [
        Record::Base { instance, numbers },
        Record::Held(parcel),
        Record::Offered { instance, offer: Offer::Nothing },
        Record::Voted { instance, vote: Vote::Proposal(Proposal::Nothing), batch: Some(id) },
        Record::Decided { instance, decided: Offer::Batch(id) },
    ];
    let written: Vec<String> = records.iter().map(|record| hex(&wire::encode(record))).collect();
    let golden = ["00040102030105", "0102030107050178", "020400", "03040101010203", "0404010203"];
    assert_eq!(written, golden);
    for message in &messages {
        assert_eq!(wire::decode::<Message>(&wire::encode(message), LIMIT).as_ref(), Ok(message));
    }
    for record in &records {
        assert_eq!(wire::decode::<Record>(&wire::encode(record), LIMIT).as_ref(), Ok(record));
    }
}
