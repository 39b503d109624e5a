//! Whatever arrives on the wire: refused, accused by name or ignored, never a panic, and never a word on what others have to decide. And
//! what messages and records look like, byte for byte.

use crate::group::{BALANCE, Group, Letter, account, config, n, name, transfer};
use consensus_core::{Bytes, ConsensusAlgorithm, NodeId, Offence, ProposalId, Refusal, wire};
use multipaxos::Ballot;
use std::collections::BTreeSet;
use twophase::{
    Classic, Config, Envelope, Header, Message, Presumption, Protocol, Record, Registered, Replicated,
    Transaction, Vote,
};

const LIMIT: usize = 1 << 20;
/// How many kinds of messages there are. A new one must get a place in [`Liar::message`].
const KINDS: usize = 13;

fn header(number: u64, coordinator: u64, nodes: &[u64]) -> Header {
    let participants = nodes.iter().map(|&node| n(node)).collect();
    let (id, presumed) = (name(number), Presumption::Abort);
    Header { id, coordinator: n(coordinator), participants, reader: None, presumed }
}

fn prepare(header: Header, number: u32) -> Message {
    Message::Prepare(Transaction { header, payload: transfer(&[1, 2], number).to_bytes() })
}

/// A node that says anything, with some sense in it: names and ballots that exist.
struct Liar {
    id: NodeId,
    state: u64,
}

impl Liar {
    fn draw(&mut self, bound: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound
    }

    fn header(&mut self) -> Header {
        let mut participants: Vec<u64> = (1..=5).filter(|_| self.draw(2) == 0).collect();
        if self.draw(8) == 0 {
            participants.reverse();
        }
        let reader = (self.draw(4) == 0).then(|| n(self.draw(6)));
        let presumed = if self.draw(2) == 0 { Presumption::Abort } else { Presumption::Commit };
        let coordinator = if self.draw(2) == 0 { self.id.0 } else { self.draw(6) };
        Header { reader, presumed, ..header(self.draw(4), coordinator, &participants) }
    }

    fn ballot(&mut self) -> Ballot {
        let round = if self.draw(8) == 0 { u64::MAX } else { self.draw(5) };
        Ballot { round, node: if self.draw(2) == 0 { self.id } else { n(self.draw(6)) } }
    }

    fn message(&mut self, kind: usize) -> Message {
        let (id, commit) = (name(self.draw(4)), self.draw(2) == 0);
        match kind {
            0 => prepare(self.header(), u32::try_from(self.draw(3)).unwrap()),
            1 => {
                let foreign = Vote::Foreign(n(self.draw(6)));
                let votes = [Vote::Yes, Vote::No, Vote::ReadOnly, foreign, Vote::Committed, Vote::Forgotten];
                Message::Vote { id, vote: votes[usize::try_from(self.draw(6)).unwrap()] }
            }
            2 => Message::Outcome { id, commit },
            3 => Message::Acknowledge { id },
            4 => Message::Inquire(self.header()),
            5 => Message::InDoubt { id },
            6 => Message::Register(self.header()),
            7 => Message::Query { header: self.header(), ballot: self.ballot() },
            8 => {
                let vote = |liar: &mut Self| Registered {
                    participant: n(liar.draw(6)),
                    ballot: liar.ballot(),
                    prepared: liar.draw(2) == 0,
                };
                let votes = (0..self.draw(3)).map(|_| vote(self)).collect();
                Message::Promised { id, ballot: self.ballot(), votes }
            }
            9 => {
                let prepared = (1..=5).filter(|_| self.draw(2) == 0).map(n).collect();
                Message::Propose { header: self.header(), ballot: self.ballot(), prepared }
            }
            10 => Message::Accepted { id, ballot: self.ballot() },
            11 => Message::Refused { id, ballot: self.ballot() },
            _ => Message::Forget { id, commit },
        }
    }
}

/// Node 5 has no part in a transaction of 1 and 2, and keeps no votes of it, and says whatever it likes.
fn lies_about_others<P: Protocol>(seed: u64) -> bool {
    let mut group = Group::<P>::with(5, Config { faults: Some(1), ..config() }, true);
    let mut liar = Liar { id: n(5), state: seed };
    group.settle();
    group.crash(n(5));
    // Its acceptors are 1, 2 and 3.
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    for _ in 0..60 {
        if liar.draw(3) == 0 {
            group.act();
        }
        let kind = usize::try_from(liar.draw(KINDS as u64)).unwrap();
        let (to, lie) = (n(1 + liar.draw(4)), liar.message(kind));
        // Names of its own are its own affair, and may keep others from using them.
        if !matches!(&lie, Message::Prepare(transaction) if transaction.header.id == name(1)) {
            group.say(n(5), to, lie);
        }
    }
    group.run_for_ms(8_000);
    let carried_out: BTreeSet<bool> =
        [1, 2].into_iter().map(|node| group.balance(node, 0) != BALANCE).collect();
    let told = group.verdicts(name(1));
    assert_eq!(carried_out.len(), 1, "seed {seed}: one has committed, and one has not");
    assert!(told.is_empty() || told == carried_out, "seed {seed}: {told:?}, {carried_out:?} came of it");
    let is_by_name = group.accused.iter().all(|&(_, peer, _)| peer == n(5));
    assert!(is_by_name, "seed {seed}: {:?}", group.accused);
    // A crash of everybody: what the liar has brought about stops nobody from starting.
    for id in 1..=4 {
        group.crash(n(id));
        group.start(n(id));
    }
    group.run_for_ms(1_000);
    !group.accused.is_empty()
}

// tests [T16]
#[test]
fn two_phase_commit_heeds_no_liar_that_has_no_part_in_it() {
    let accused = (0..150).filter(|&seed| lies_about_others::<Classic>(seed)).count();
    assert_eq!(accused, 150);
}

// tests [T16]
#[test]
fn an_acceptor_hears_those_alone_who_have_a_part_in_it() {
    let mut group = Group::<Replicated>::new(5, Config { faults: Some(1), ..config() });
    group.propose(n(1), name(1), &transfer(&[1, 2], 0));
    while group.nodes[&n(3)].algorithm().inspect().queues.contains(&("registered", 0)) {
        assert!(group.act());
    }
    let ballot = Ballot { round: 1, node: n(5) };
    let ours = || header(1, 1, &[1, 2]);
    let another = Header { participants: vec![n(1), n(2), n(5)], ..ours() };
    let lies = [
        Message::Query { header: ours(), ballot },
        Message::Propose { header: ours(), ballot, prepared: vec![n(1), n(2)] },
        Message::Forget { id: name(1), commit: true },
        // The same name, with other participants.
        Message::Query { header: another.clone(), ballot },
        Message::Register(another),
    ];
    for (place, lie) in lies.into_iter().enumerate() {
        group.say(n(5), n(3), lie.clone());
        assert_eq!(group.accused.len(), place + 1, "{lie:?}");
    }
    let equivocation = Offence::Equivocation("two transactions under one name");
    assert_eq!(group.accused.iter().filter(|(_, _, offence)| *offence == equivocation).count(), 2);
    group.settle();
    assert_eq!(group.verdicts(name(1)), BTreeSet::from([true]), "and it goes on");
}

/// What is on every account.
fn balances<P: Protocol>(group: &Group<P>) -> Vec<i64> {
    let all = (1..=3).flat_map(|node| (0..4).map(move |number| (node, number)));
    all.map(|(node, number)| group.balance(node, number)).collect()
}

/// Everything that was ever said is said again when nobody remembers what it was about.
fn replays_after_it_was_forgotten<P: Protocol>(presumption: Presumption) {
    let mut group =
        Group::<P>::new(3, Config { remembered_per_client: 1, presumption, faults: Some(1), ..config() });
    let mut said: Vec<Letter> = Vec::new();
    let mut refused = transfer(&[1, 2, 3], 0);
    refused.changes[2].1 = -1_000;
    for (number, wanted) in
        (1..).zip([transfer(&[1, 2, 3], 0), refused, transfer(&[2, 3], 1), transfer(&[2], 2)])
    {
        group.propose(n(1), name(number), &wanted);
        while let Some(letter) = group.wire.front().cloned() {
            said.push(letter);
            group.act();
        }
    }
    group.propose(n(1), name(5), &transfer(&[1, 2, 3], 3));
    group.settle();
    let before = balances(&group);
    for is_restarted in [false, true] {
        if is_restarted {
            for id in 1..=3 {
                group.crash(n(id));
                group.start(n(id));
            }
        }
        for letter in &said {
            group.say(letter.from, letter.to, letter.message.clone());
        }
        group.run_for_ms(3_000);
        assert_eq!((balances(&group), group.locks()), (before.clone(), BTreeSet::new()), "{presumption:?}");
        assert!(group.accused.is_empty(), "{:?}", group.accused);
    }
    // The client, too: what may have been settled is not begun again.
    group.propose(n(1), name(1), &transfer(&[1, 2, 3], 0));
    assert_eq!(group.refused.pop(), Some((n(1), name(1), Refusal::Interrupted)));
}

// tests [T11] [T14]
#[test]
fn replays_of_what_was_forgotten_change_nothing() {
    replays_after_it_was_forgotten::<Classic>(Presumption::Abort);
    replays_after_it_was_forgotten::<Classic>(Presumption::Commit);
    replays_after_it_was_forgotten::<Replicated>(Presumption::Abort);
}

// tests [T15]
#[test]
fn a_second_coordinator_of_one_name_is_sent_to_the_first_under_paxos_commit_too() {
    let mut group = Group::<Replicated>::new(4, config());
    let wanted = transfer(&[3, 4], 0);
    group.propose(n(1), name(1), &wanted);
    group.propose(n(2), name(1), &wanted);
    group.run_for_ms(3_000);
    let verdicts = group.verdicts(name(1));
    assert!(verdicts.len() <= 1, "{verdicts:?}");
    let moved = [3, 4].map(|node| group.balance(node, 0) != BALANCE);
    assert!(moved == [true, true] || moved == [false, false], "{moved:?}");
    assert_eq!(group.locks(), BTreeSet::new());
    assert!(group.accused.is_empty(), "it is the client that errs: {:?}", group.accused);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn messages() -> Vec<Message> {
    let (id, ballot) = (ProposalId::new(name(1).client, 300), Ballot { round: 2, node: n(3) });
    let header = Header { id, reader: Some(n(3)), presumed: Presumption::Commit, ..header(1, 1, &[2, 3]) };
    let votes = [Vote::Yes, Vote::No, Vote::ReadOnly, Vote::Foreign(n(4)), Vote::Committed, Vote::Forgotten];
    let registered = Registered { participant: n(2), ballot: Ballot::ZERO, prepared: true };
    let payload = Bytes::from_static(b"xy");
    let mut messages = vec![Message::Prepare(Transaction { header: header.clone(), payload })];
    messages.extend(votes.map(|vote| Message::Vote { id, vote }));
    messages.extend([
        Message::Outcome { id, commit: true },
        Message::Acknowledge { id },
        Message::Inquire(header.clone()),
        Message::InDoubt { id },
        Message::Register(header.clone()),
        Message::Query { header: header.clone(), ballot },
        Message::Promised { id, ballot, votes: vec![registered] },
        Message::Propose { header, ballot, prepared: vec![n(2), n(3)] },
        Message::Accepted { id, ballot },
        Message::Refused { id, ballot },
        Message::Forget { id, commit: false },
    ]);
    messages
}

/// One of each kind; the last one is what a small node writes when it takes a snapshot.
fn records() -> Vec<Record> {
    let header = header(1, 1, &[2, 3]);
    let (id, payload) = (header.id, Bytes::from_static(b"xy"));
    let votes = vec![Registered { participant: n(2), ballot: Ballot::ZERO, prepared: true }];
    let mut group = Group::<Classic>::new(2, config());
    group.compact_after_slots = 2;
    group.crash(n(2));
    group.start(n(2));
    for number in 1..=4 {
        group.propose(n(1), name(number), &transfer(&[1, 2], 0));
        group.settle();
    }
    let past = group.records(2).into_iter().find(|record| matches!(record, Record::Past(_))).unwrap();
    vec![
        Record::Begun(header.clone()),
        Record::Prepared(Transaction { header: header.clone(), payload: payload.clone() }),
        Record::Committed { header: header.clone(), payload: Some(payload.clone()) },
        Record::Committed { header: header.clone(), payload: None },
        Record::Settled { id, commit: true },
        Record::Aborted { id },
        Record::Ended { id },
        Record::Registered { header, promised: Ballot { round: 2, node: n(3) }, votes },
        Record::Closed { id, commit: true },
        Record::Carried { id, commit: true, payload },
        past,
    ]
}

/// Peers and disks of other versions must read them: a variant or a field is only ever appended.
#[test]
fn messages_and_records_look_as_they_always_did() {
    let (messages, records) = (messages(), records());
    let said: Vec<String> = messages.iter().map(|message| hex(&wire::encode(message))).collect();
    let golden = [
        "0007ac0201020203010301027879",
        "0107ac0200",
        "0107ac0201",
        "0107ac0202",
        "0107ac020304",
        "0107ac0204",
        "0107ac0205",
        "0207ac0201",
        "0307ac02",
        "0407ac0201020203010301",
        "0507ac02",
        "0607ac0201020203010301",
        "0707ac02010202030103010203",
        "0807ac0202030102000001",
        "0907ac02010202030103010203020203",
        "0a07ac020203",
        "0b07ac020203",
        "0c07ac0200",
    ];
    assert_eq!(said, golden);
    let written: Vec<String> = records.iter().map(|record| hex(&wire::encode(record))).collect();
    let golden = [
        "000701010202030000",
        "010701010202030000027879",
        "02070101020203000001027879",
        "02070101020203000000",
        "03070101",
        "040701",
        "050701",
        "06070101020203000002030102000001",
        "07070101",
        "08070101027879",
        "090107000301010201030100",
    ];
    assert_eq!(written, golden);
    let envelope = Envelope::new([n(1), n(2)], Bytes::from_static(b"xy")).with_reader(n(2));
    assert_eq!(hex(&envelope.to_bytes()), "0201020102027879");
    for message in &messages {
        assert_eq!(wire::decode::<Message>(&wire::encode(message), LIMIT).as_ref(), Ok(message));
    }
    for record in &records {
        assert_eq!(wire::decode::<Record>(&wire::encode(record), LIMIT).as_ref(), Ok(record));
    }
}

/// Every prefix, and every byte changed: an error, or another message, and never more memory than there are bytes.
#[test]
fn what_is_cut_or_damaged_is_an_error_or_another_message() {
    for message in messages() {
        let bytes = wire::encode(&message);
        for end in 0..bytes.len() {
            assert!(wire::decode::<Message>(&bytes[..end], LIMIT).is_err(), "{message:?} without its end");
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                let Ok(read) = wire::decode::<Message>(&damaged, LIMIT) else { continue };
                let mut group = Group::<Replicated>::new(3, config());
                group.say(n(3), n(2), read.clone());
                let mut group = Group::<Classic>::new(3, config());
                group.say(n(3), n(2), read);
            }
        }
    }
}

// tests [T13] [T17]
#[test]
fn an_open_promise_keeps_nobody_from_starting_whoever_it_was_given_to() {
    // To a coordinator that is gone for good, and under Paxos Commit with no acceptor in reach.
    let mut group = Group::<Replicated>::new(5, config());
    group.propose(n(1), name(1), &transfer(&[4, 5], 0));
    while group.wire.iter().any(|letter| matches!(letter.message, Message::Prepare(_))) {
        group.act();
    }
    for id in [1, 2, 3] {
        group.crash(n(id));
    }
    for id in [4, 5] {
        group.crash(n(id));
        group.start(n(id));
        assert_eq!(group.nodes[&n(id)].machine().holder(0), Some(name(1)), "it is reserved again");
    }
    let one_sided = twophase::accounts::Transfer::between(account(4, 1), account(4, 2), 1);
    for id in [1, 2] {
        group.start(n(id));
    }
    group.propose(n(4), name(2), &one_sided);
    group.run_for_ms(2_000);
    assert_eq!(group.verdicts(name(2)), BTreeSet::from([true]));
    assert_eq!(group.locks(), BTreeSet::new());
}
