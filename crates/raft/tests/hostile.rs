//! Whatever arrives on the wire or is read from a disk: an error or an accusation, never a panic, never a broken invariant.

use crate::common::{Cluster, Envelope, n, proposal};
use consensus_core::{Bytes, Epoch, Event, Members, NodeId, Slot, wire};
use quickcheck::{Gen, QuickCheck};
use raft::{
    Append, AppendReply, Arrival, Ballot, BallotReply, Chunk, ChunkReply, Config, Content, Digest, Entries,
    Entry, Message, Outcome, Position, ReadAnswer, ReadToken, Record,
};

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

/// What a liar knows of whom it lies to.
struct Truth {
    term: u64,
    last: Position,
    commit: u64,
    members: Members,
}

impl Truth {
    fn of(cluster: &Cluster, id: NodeId) -> Self {
        let node = &cluster.nodes[&id];
        let status = node.status();
        let last = node.algorithm().last();
        Self { term: status.epoch.0, last, commit: status.decided.0, members: status.members }
    }
}

/// Lies of every kind, most of them next to the truth.
struct Liar<D> {
    draw: D,
}

impl<D: FnMut(usize) -> usize> Liar<D> {
    fn near(&mut self, truth: u64) -> u64 {
        match (self.draw)(16) {
            0 => 0,
            1 => truth.saturating_sub(1),
            2 | 3 => truth + 1,
            4 => truth + 2,
            5 => truth + (self.draw)(40) as u64,
            6 => truth.saturating_sub((self.draw)(40) as u64),
            7 => [1 << 32, 1 << 33, 1 << 61, 1 << 62, (1 << 62) + 1, u64::MAX][(self.draw)(6)],
            _ => truth,
        }
    }

    fn place(&mut self, truth: &Truth) -> Position {
        let slot = [truth.last.slot.0, truth.commit][(self.draw)(2)];
        Position { term: Epoch(self.near(truth.last.term.0)), slot: Slot(self.near(slot)) }
    }

    fn members(&mut self, truth: &Truth) -> Members {
        let mut some = || {
            let count = (self.draw)(4);
            (0..count).map(|_| n((self.draw)(7) as u64)).collect::<Vec<_>>()
        };
        match some().len() {
            0 => Members::of(some()).with_learners(some()),
            1 => Members::of(some()).with_outgoing(some()).with_witnesses(some()),
            2 => truth.members.clone().with_witnesses(some()),
            _ => truth.members.clone(),
        }
    }

    fn entry(&mut self, truth: &Truth) -> Entry {
        let id = proposal(self.near(1));
        let content = match (self.draw)(6) {
            0 => Content::Noop,
            1 => Content::Withheld,
            2 => Content::Members { id, members: Box::new(self.members(truth).into()) },
            _ => Content::Proposal { id, payload: vec![b'z'; (self.draw)(50)].into() },
        };
        Entry { term: Epoch(self.near(truth.term)), content }
    }

    fn chunk(&mut self, truth: &Truth) -> Chunk {
        // What the gate would write: no sessions, and no line in the diary.
        let whole: Vec<u8> = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let (through, members) = (self.place(truth), self.members(truth));
        let digest = Digest::of(through, &members, if (self.draw)(3) == 0 { b"other" } else { &whole });
        let from = (self.draw)(whole.len() + 1);
        let data = Bytes::from(whole[from..from + (self.draw)(whole.len() + 1 - from)].to_vec());
        let (total, offset) = (self.near(whole.len() as u64), self.near(from as u64));
        Chunk { term: Epoch(self.near(truth.term)), through, members, total, digest, offset, data }
    }

    fn append(&mut self, term: Epoch, truth: &Truth) -> Append {
        let entries: Entries = (0..(self.draw)(4)).map(|_| self.entry(truth)).collect();
        let (prev, commit) = (self.place(truth), Slot(self.near(truth.commit)));
        Append { term, prev, commit, probe: self.near(2), entries }
    }

    fn message(&mut self, kind: usize, truth: &Truth) -> Message {
        let term = Epoch(self.near(truth.term));
        let ballot = Ballot { term, last: self.place(truth) };
        let reply = BallotReply { term, granted: (self.draw)(2) == 0 };
        let token = ReadToken { boot: self.near(0), round: self.near(1) };
        match kind {
            0 => Message::PreVote(ballot),
            1 => Message::PreVoteReply(reply),
            2 => Message::Vote(ballot),
            3 => Message::VoteReply(reply),
            4 => Message::Append(self.append(term, truth)),
            5 => {
                let outcome = match (self.draw)(2) {
                    0 => Outcome::Accepted { matched: Slot(self.near(truth.last.slot.0)) },
                    _ => Outcome::Rejected {
                        prev: Slot(self.near(truth.last.slot.0)),
                        hint: self.place(truth),
                    },
                };
                Message::AppendReply(AppendReply { term, probe: self.near(2), outcome })
            }
            6 => Message::Snapshot(Box::new(self.chunk(truth))),
            7 => {
                let received = Arrival::Received(self.near(11));
                let arrival = if (self.draw)(3) == 0 { Arrival::Spoilt } else { received };
                let (through, offset) = (Slot(self.near(truth.commit)), self.near(0));
                Message::SnapshotReply(ChunkReply { term, through, offset, arrival })
            }
            8 => Message::ReadIndex(token),
            9 => {
                let at = ReadAnswer::At(Slot(self.near(truth.commit)));
                let answer = [at, ReadAnswer::NotLeader, ReadAnswer::Busy][(self.draw)(3)];
                Message::ReadIndexReply { token, answer }
            }
            10 => Message::TimeoutNow { term },
            11 => Message::TransferDeclined { term },
            12 => Message::CalledVote(ballot),
            _ => {
                let offer = self.append(term, truth);
                // One that brings work is refused at the door.
                let entries = if (self.draw)(8) == 0 { offer.entries } else { Entries::default() };
                Message::Rest(Append { entries, ..offer })
            }
        }
    }
}

/// `RAFT_ROUNDS=5000` for more.
fn rounds(usual: u64) -> u64 {
    std::env::var("RAFT_ROUNDS").map_or(usual, |count| count.parse().unwrap())
}

/// How many kinds of messages there are. A new one must get a place in [`Liar::message`].
const KINDS: usize = 14;

/// A group at work, with a witness or without, that cuts its log now and then.
fn at_work(round: u64, config: Config) -> Cluster {
    let config = Config { retained_entries: 2, snapshot_chunk_bytes: 64, ..config };
    let witnesses = round.is_multiple_of(3).then_some(n(3));
    let mut cluster =
        Cluster::of(Members::of((1..=3).map(n)).with_witnesses(witnesses), config, false, round);
    cluster.compact_after_bytes = 300;
    for id in (1..=3).map(n) {
        cluster.crash(id);
        cluster.start(id);
    }
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"x");
    cluster.settle();
    cluster
}

fn work_on(cluster: &mut Cluster, draw: &mut impl FnMut(usize) -> usize, number: u64) {
    cluster.wire.truncate(100);
    match draw(8) {
        0 => cluster.run_for_ms(20),
        1 => (1..=3).map(n).for_each(|id| cluster.propose(id, number, b"some bytes to be replicated")),
        2 => cluster.read(n(1 + draw(3) as u64), number),
        3 => cluster.handle(n(1 + draw(3) as u64), Event::Transfer { to: None }),
        _ => {}
    }
    for _ in 0..draw(6) {
        let Some(envelope) = cluster.wire.pop_front() else { return };
        cluster.deliver(envelope);
    }
}

// tests [R26] [R54]
#[test]
fn lies_of_every_kind_harm_no_node() {
    let mut told = [0; KINDS];
    for round in 0..rounds(150) {
        let quiesce_after_ms = round.is_multiple_of(2).then_some(50);
        let config = Config { quiesce_after_ms, lease_drift_ppm: Some(1_000), ..Config::default() };
        let (mut cluster, mut liar) = (at_work(round, config), Liar { draw: draws(round) });
        for number in 0..250 {
            let (from, to) = (n((liar.draw)(6) as u64), n(1 + (liar.draw)(3) as u64));
            let (kind, truth) = ((liar.draw)(KINDS), Truth::of(&cluster, to));
            let message = liar.message(kind, &truth);
            told[kind] += u32::from(message.check().is_ok());
            // Every invariant is checked after each step.
            cluster.deliver(Envelope { from, to, message });
            work_on(&mut cluster, &mut liar.draw, number);
        }
    }
    assert!(
        told.iter().all(|&count| count > 500),
        "lies that are refused at the door prove little: {told:?}"
    );
}

/// Whether somebody who says this can be told from one who tells the truth only by waiting: then Raft is safe and goes on.
/// Who acknowledges, votes or leads falsely is believed: that it takes another protocol to withstand.
fn is_harmless(message: &Message) -> bool {
    match message {
        Message::Append(_) | Message::Rest(_) | Message::Snapshot(_) => false,
        Message::VoteReply(reply) => !reply.granted,
        Message::AppendReply(reply) => matches!(reply.outcome, Outcome::Rejected { .. }),
        Message::PreVote(_)
        | Message::PreVoteReply(_)
        | Message::Vote(_)
        | Message::CalledVote(_)
        | Message::SnapshotReply(_)
        | Message::ReadIndex(_)
        | Message::ReadIndexReply { .. }
        | Message::TimeoutNow { .. }
        | Message::TransferDeclined { .. } => true,
    }
}

// tests [R26] [R54]
#[test]
fn after_lies_that_are_no_treason_the_group_serves_with_everything_it_had() {
    for round in 0..rounds(100) {
        let (mut cluster, mut liar) = (at_work(round, Config::default()), Liar { draw: draws(round) });
        let mut decided = Vec::new();
        for number in 2..200 {
            // One member lies, or somebody whom nobody knows.
            let (from, to) = ([n(3), n(9)][(liar.draw)(2)], n(1 + (liar.draw)(2) as u64));
            let (kind, truth) = ((liar.draw)(KINDS), Truth::of(&cluster, to));
            let message = liar.message(kind, &truth);
            let is_from_stranger = from == n(9) && message.check().is_ok();
            let is_command = matches!(
                message,
                Message::Append(_) | Message::Rest(_) | Message::Snapshot(_) | Message::Vote(_)
            );
            if is_harmless(&message) || (is_from_stranger && !is_command) {
                cluster.deliver(Envelope { from, to, message });
            }
            work_on(&mut cluster, &mut liar.draw, number);
            decided =
                cluster.nodes.values().map(|node| node.machine().lines.clone()).max_by_key(Vec::len).unwrap();
        }
        cluster.run_for_ms(20_000);
        let [leader] = cluster.leaders()[..] else { panic!("{round}: {:?}", cluster.leaders()) };
        cluster.propose(leader, 1_000, b"after");
        cluster.run_for_ms(500);
        let lines = cluster.diary(leader);
        assert!(lines.starts_with(&decided) && lines.len() > decided.len(), "{round}");
        assert!(cluster.nodes.values().all(|node| node.status().epoch < Epoch(1 << 40)), "{round}");
    }
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
