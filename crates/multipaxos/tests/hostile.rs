//! Whatever arrives on the wire or is read from a disk: an error or an accusation, never a panic, never a broken invariant.

use crate::alone::{command, unhappy};
use crate::common::{Cluster, Envelope, damage, draws, n};
use consensus_core::{Bytes, Event, Members, NodeId, ProposalId, Slot, wire};
use multipaxos::{
    Accept, Accepted, Ask, Ballot, Config, Configuration, Heartbeat, Learn, Learnt, Message, MultiPaxos,
    Piece, Preempted, Prepare, Promise, ReadAnswer, ReadToken, Record, Tell, Value, Values, Votes,
};
use quickcheck::{Gen, QuickCheck};
use std::collections::BTreeSet;

const LIMIT: usize = 1 << 20;
/// How many kinds of messages there are. A new one must get a place in [`Liar::message`].
const KINDS: usize = 16;

/// `PAXOS_ROUNDS=5000` for more.
fn rounds(usual: u64) -> u64 {
    std::env::var("PAXOS_ROUNDS").map_or(usual, |count| count.parse().unwrap())
}

/// A group at work that cuts its log now and then.
fn at_work(round: u64) -> Cluster<MultiPaxos> {
    let config = Config {
        retained_values: 2,
        snapshot_piece_bytes: 64,
        max_accept_values: 4,
        max_ahead_values: 64,
        max_open_values: 16,
        ..Config::default()
    };
    let mut cluster = Cluster::<MultiPaxos>::with(3, config, false, round);
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

fn work_on(cluster: &mut Cluster<MultiPaxos>, draw: &mut impl FnMut(usize) -> usize, number: u64) {
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

/// What nodes really say, in elections, replication, reads, hand-overs and snapshots.
fn spoken() -> Vec<Vec<u8>> {
    let mut cluster = at_work(1);
    let mut said = Vec::new();
    for number in 1..6_000 {
        match number {
            1_000 => cluster.crash(cluster.others(cluster.leaders()[0])[0]),
            2_500 => cluster.start(*cluster.disks.keys().next().unwrap()),
            3_500 => cluster.isolate(cluster.leaders()[0]),
            4_500 => cluster.heal(),
            5_000 => {
                let follower = cluster.others(cluster.leaders()[0])[0];
                cluster.handle(follower, Event::Priority(consensus_core::Priority::Never));
            }
            5_010 => {
                let leader = cluster.leaders()[0];
                let follower = cluster.others(leader)[0];
                cluster.handle(leader, Event::Transfer { to: Some(follower) });
            }
            _ => {}
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

// tests [P31]
#[test]
fn damaged_messages_harm_no_node() {
    let said = spoken();
    let kinds = said.iter().filter_map(|frame| frame.first()).collect::<BTreeSet<_>>();
    assert!(kinds.len() >= 12, "nearly every kind of message was said: {kinds:?}");
    let mut draw = draws(7);
    let mut taken = 0;
    for round in 0..40 {
        let mut cluster = Cluster::<MultiPaxos>::with(3, Config::default(), false, round);
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
    promised: Ballot,
    last: u64,
    chosen: u64,
    configuration: Configuration,
}

impl Truth {
    fn of(cluster: &Cluster<MultiPaxos>, id: NodeId) -> Self {
        let node = cluster.nodes[&id].algorithm();
        let chosen = cluster.nodes[&id].status().decided.0;
        let configuration = node.configuration().clone();
        Self { promised: node.promised(), last: node.last().0, chosen, configuration }
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
            7 => [1 << 32, 1 << 33, 1 << 46, 1 << 61, 1 << 62, u64::MAX][(self.draw)(6)],
            _ => truth,
        }
    }

    fn slot(&mut self, truth: &Truth) -> Slot {
        let true_one = [truth.last, truth.chosen, truth.chosen + 1][(self.draw)(3)];
        Slot(self.near(true_one))
    }

    /// Most often one that `from` may lead.
    fn ballot(&mut self, from: NodeId, truth: &Truth) -> Ballot {
        let round = self.near(truth.promised.round);
        match (self.draw)(4) {
            0 => truth.promised,
            1 => Ballot { round, node: n((self.draw)(5) as u64) },
            _ => Ballot { round, node: from },
        }
    }

    fn configuration(&mut self, truth: &Truth) -> Configuration {
        let mut next = truth.configuration.clone();
        match (self.draw)(6) {
            0 => next.number = self.near(next.number),
            1 => next.since = self.slot(truth),
            2 => {
                next.members =
                    Members::of((0..(self.draw)(4)).map(|_| n((self.draw)(6) as u64)).collect::<Vec<_>>())
            }
            3 => next.acceptances = self.near(next.acceptances),
            _ => {}
        }
        next
    }

    fn values(&mut self, truth: &Truth) -> Values {
        let mut all = Vec::new();
        for _ in 0..(self.draw)(4) {
            all.push(match (self.draw)(12) {
                0 => Value::Noop,
                1 => Value::Stop(Box::new(self.configuration(truth))),
                2 => {
                    let members = Box::new(truth.configuration.members.clone().into());
                    Value::Begin { id: ProposalId::default(), members }
                }
                _ => command(["a", "bb", "ccc"][(self.draw)(3)]),
            });
        }
        all.into_iter().collect()
    }

    fn promise(&mut self, truth: &Truth) -> Promise {
        let (from, chosen) = (Slot(self.near(truth.chosen + 1)), Slot(self.near(truth.chosen)));
        let mut votes = Vec::new();
        for _ in 0..(self.draw)(3) {
            let ballot = Ballot { round: self.near(1), node: n(1 + (self.draw)(3) as u64) };
            votes.push(Votes { first: self.slot(truth), ballot, values: self.values(truth) });
        }
        let next = ((self.draw)(4) == 0).then(|| self.slot(truth));
        let ballot = if (self.draw)(4) == 0 { self.ballot(n(1), truth) } else { truth.promised };
        Promise { ballot, from, chosen, votes, next }
    }

    fn piece(&mut self, truth: &Truth) -> Piece {
        // What the gate would write: no sessions, and no line in the diary.
        let whole: Vec<u8> = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let from = (self.draw)(whole.len() + 1);
        let data = Bytes::from(whole[from..from + (self.draw)(whole.len() + 1 - from)].to_vec());
        let (first, through) = (Slot(self.near(truth.chosen + 1)), self.slot(truth));
        let (total, offset) = (self.near(whole.len() as u64), self.near(from as u64));
        Piece { first, through, configuration: self.configuration(truth), total, offset, data }
    }

    fn message(&mut self, kind: usize, from: NodeId, truth: &Truth) -> Message {
        let configuration = if (self.draw)(8) == 0 { self.near(1) } else { truth.configuration.number };
        let ballot = self.ballot(from, truth);
        let (first, chosen) = (self.slot(truth), Slot(self.near(truth.chosen)));
        let probe = self.near(2);
        let token = ReadToken { boot: self.near(0), round: self.near(1) };
        match kind {
            0 => Message::Prepare(Prepare {
                configuration,
                ballot,
                from: first,
                promises: 2 + (probe % 8) / 7,
                called_by: (first.0 % 3 == 0).then_some(truth.promised),
            }),
            1 => Message::Promise(Box::new(self.promise(truth))),
            2 => Message::Accept(Accept {
                configuration,
                ballot,
                first,
                chosen,
                probe,
                values: self.values(truth),
            }),
            3 => {
                let (start, next) = (Slot(self.near(truth.chosen)), first);
                Message::Heartbeat(Heartbeat { configuration, ballot, start, next, chosen, probe })
            }
            4 => {
                let (ballot, durable) = (truth.promised, self.slot(truth));
                Message::Accepted(Accepted { ballot, first, durable, chosen, probe })
            }
            5 => Message::Preempted(Preempted { configuration, ballot, chosen }),
            6 => Message::Ask(Ask { round: self.near(1) }),
            7 => {
                let (leader, happy) = (Some(from), (self.draw)(2) == 0);
                Message::Tell(Tell {
                    leader,
                    happy,
                    configuration,
                    ..unhappy(self.near(1), ballot, chosen.0)
                })
            }
            8 => Message::Resigned { ballot },
            9 => {
                let piece = ((self.draw)(3) == 0).then(|| (self.slot(truth), self.near(0)));
                Message::Learn(Learn { first, last: self.slot(truth), piece })
            }
            10 => Message::Learnt(Learnt { first, chosen, values: self.values(truth) }),
            11 => Message::Piece(Box::new(self.piece(truth))),
            12 => Message::ReadIndex(token),
            13 => {
                let answer =
                    [ReadAnswer::At(chosen), ReadAnswer::NotLeader, ReadAnswer::Busy][(self.draw)(3)];
                Message::ReadIndexReply { token, answer }
            }
            14 => Message::Call { ballot },
            _ => Message::Declined { ballot: truth.promised },
        }
    }
}

// tests [P31] [P21]
#[test]
fn lies_of_every_kind_harm_no_node() {
    let mut told = [0; KINDS];
    for round in 0..rounds(150) {
        let (mut cluster, mut liar) = (at_work(round), Liar { draw: draws(round) });
        for number in 0..250 {
            let (from, to) = (n((liar.draw)(6) as u64), n(1 + (liar.draw)(3) as u64));
            let (kind, truth) = ((liar.draw)(KINDS), Truth::of(&cluster, to));
            let message = liar.message(kind, from, &truth);
            told[kind] += u32::from(message.check(from).is_ok());
            // Every invariant is checked after each step.
            cluster.deliver(Envelope { from, to, message });
            work_on(&mut cluster, &mut liar.draw, number);
        }
    }
    assert!(
        told.iter().all(|&count| count > 400),
        "lies that are refused at the door prove little: {told:?}"
    );
}

/// Whether somebody who says this can be told from one who tells the truth only by waiting: then Paxos is safe and goes on. Who
/// promises, accepts, leads or teaches falsely is believed: that it takes another protocol to withstand.
fn is_harmless(message: &Message) -> bool {
    match message {
        Message::Accept(_)
        | Message::Accepted(_)
        | Message::Heartbeat(_)
        | Message::Promise(_)
        | Message::Learnt(_)
        | Message::Piece(_) => false,
        Message::Prepare(_)
        | Message::Preempted(_)
        | Message::Ask(_)
        | Message::Tell(_)
        | Message::Resigned { .. }
        | Message::Learn(_)
        | Message::ReadIndex(_)
        | Message::ReadIndexReply { .. }
        | Message::Call { .. }
        | Message::Declined { .. } => true,
    }
}

// tests [P31] [P21]
#[test]
fn after_lies_that_are_no_treason_the_group_serves_with_everything_it_had() {
    for round in 0..rounds(100) {
        let (mut cluster, mut liar) = (at_work(round), Liar { draw: draws(round) });
        let mut decided = Vec::new();
        for number in 2..200 {
            // One member lies, or somebody whom nobody knows.
            let (from, to) = ([n(3), n(9)][(liar.draw)(2)], n(1 + (liar.draw)(2) as u64));
            let (kind, truth) = ((liar.draw)(KINDS), Truth::of(&cluster, to));
            let message = liar.message(kind, from, &truth);
            if is_harmless(&message) {
                cluster.deliver(Envelope { from, to, message });
            }
            work_on(&mut cluster, &mut liar.draw, number);
            decided =
                cluster.nodes.values().map(|node| node.machine().lines.clone()).max_by_key(Vec::len).unwrap();
        }
        cluster.run_for_ms(30_000);
        let [leader] = cluster.leaders()[..] else { panic!("{round}: {:?}", cluster.leaders()) };
        cluster.propose(leader, 1_000, b"after");
        cluster.run_for_ms(500);
        let lines = cluster.diary(leader);
        assert!(lines.starts_with(&decided) && lines.len() > decided.len(), "{round}");
        let promised = cluster.nodes[&leader].algorithm().promised();
        assert!(promised.round < 1 << 40, "{round}: {promised:?}");
    }
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
        .tests(5_000)
        .quickcheck(decodes as fn(Vec<u8>) -> bool);
}
