//! Clients that sign what they ask for, and their shares and turns: B29 to B31.

use crate::common::asking::{asks, checked, keys_of, name, sign, signed};
use crate::common::lone::{Lone, prepares, proposals};
use crate::common::signing::{self, GROUP, batch, committed, pre_prepare};
use crate::common::{Cluster, n, open, payload};
use consensus_core::{
    Bytes, ClientId, Event, MAX_REPLIES, Members, NodeError, NodeId, Offence, Outcome, ProposalId, ReadId,
    Refusal, Reply, Slot, Time,
};
use pbft::{
    ASK_BYTES, Ask, Batch, Config, Digest, Ed25519, Keyring, Kind, Message, Proven, Request, STATEMENT_BYTES,
    Scheme, Sequence, Statement, View, Vouching,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// tests [B29]
#[test]
fn what_a_client_signs_has_one_form_that_nothing_else_has() {
    let id = ProposalId::new(ClientId::known(0x0201), 3);
    let ask = Ask { id, digest: Digest([9; 32]) };
    let mut expected = b"pbft/ask".to_vec();
    expected.extend([7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0xc0, 3, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([9; 32]);
    assert_eq!((ask.to_bytes(7).to_vec(), ASK_BYTES), (expected, 64));
    assert_ne!(ASK_BYTES, STATEMENT_BYTES, "no client says what a replica says");
    // The whole way, for whoever writes a client in another language: secret, command, payload.
    let client = ClientId::known(7);
    let keys = Ed25519::new(client, &[7; 32], [(client, Ed25519::public_of(&[7; 32]))]).unwrap();
    let ask = Ask::of(ProposalId::new(client, 1), b"add 7");
    let signature = keys.sign(client, &ask.to_bytes(1)).unwrap();
    let request = Request::signed(ask.id, b"add 7", &signature);
    assert_eq!(hex(&ask.digest.0), "08648f1952a070c04492e2232721f125cc71dd4cf65d6317eceaf284a553f422");
    assert_eq!(
        hex(request.payload()),
        concat!(
            "2a1eb88350aa44105113bcca8b62fee76a43834424d16e996bfb469b582bf067",
            "6031f73ce4622e9dd7e876b89492c6892725a8034694b632bdb3a5742fc4aa0b",
            "6164642037"
        )
    );
    assert_eq!(request.signature(), Some((signature, Bytes::from_static(b"add 7"))));
    assert_eq!(Request::new(ask.id, vec![0; 63].into()).signature(), None);
}

// tests [B29]
#[test]
fn one_replica_may_be_asked_and_all_carry_out_what_stands_behind_the_signature() {
    for asked in 1..=4 {
        let mut cluster = Cluster::with(4, signed());
        cluster.ask(asked, &asks(1, 1, "x"));
        cluster.settle();
        assert_eq!(cluster.agreed(), ["x"]);
        let done = Reply::Done { id: name(1, 1), slot: Slot(1), outcome: Outcome::Applied("x".into()) };
        assert_eq!(cluster.replies.iter().filter(|(_, reply)| *reply == done).count(), 4);
        assert_eq!(cluster.accusations, []);
    }
}

/// What client 1 does not ask for, as request 2.
fn forgeries() -> Vec<Request> {
    let (id, sound) = (name(1, 2), asks(1, 2, "x"));
    let ask = Ask::of(id, b"x");
    let by = |signature| Request::signed(id, b"x", &signature);
    let statement = Statement {
        kind: Kind::Commit,
        view: View(0),
        sequence: Sequence(2),
        digest: Digest::of(b"ask", b"x"),
    };
    let (signature, _) = sound.signature().unwrap();
    vec![
        by(sign(1, ask, GROUP + 1)),
        by(sign(2, ask, GROUP)),
        by(sign(1, Ask { id: name(2, 2), ..ask }, GROUP)),
        by(sign(1, Ask { id: name(1, 1), ..ask }, GROUP)),
        by(sign(1, Ask::of(id, b"y"), GROUP)),
        by(signing::sign_for(GROUP, 1, statement)),
        by(keys_of(1).sign(ClientId::known(1), &statement.to_bytes(GROUP)).unwrap()),
        // A sound signature, in front of something else, under another name, or at the wrong end.
        Request::signed(id, b"", &signature),
        Request::new(name(2, 2), sound.payload().clone()),
        Request::new(name(1, 3), sound.payload().clone()),
        Request::new(ProposalId::new(ClientId::anonymous(1), 2), sound.payload().clone()),
        Request::new(id, [b"x", &sound.payload()[..64]].concat().into()),
        Request::new(id, sound.payload().slice(..63)),
        Request::new(id, payload(2)),
        Request::new(id, Bytes::new()),
        // Whoever is not known.
        asks(9, 2, "x"),
        Request::new(ProposalId::open_session(1), Bytes::new()),
    ]
}

// tests [B29]
#[test]
fn what_its_client_has_not_signed_is_refused_and_whoever_passes_it_on_accused() {
    for forged in forgeries() {
        let mut lone = Lone::new(4, 4, signed());
        lone.cluster.ask(4, &forged);
        let refused = Reply::Refused { id: forged.id(), reason: Refusal::Unsupported };
        assert_eq!(lone.cluster.replies, [(n(4), refused)]);
        // By a backup, and by the primary, among requests that are sound.
        lone.hear(2, Message::Requests(vec![asks(1, 1, "x"), forged.clone(), asks(3, 1, "x")]));
        assert_eq!((lone.cluster.offences(2), lone.cluster.queue(4, "requests")), (vec![Offence::Forged], 1));
        let said = lone.hear(1, pre_prepare(1, 0, 1, batch([asks(1, 1, "x"), forged.clone()])));
        assert_eq!((prepares(&said), lone.cluster.offences(1)), (vec![], vec![Offence::Forged]));
        assert_eq!(lone.cluster.queue(4, "places in flight"), 0);
    }
    let mut lone = Lone::new(4, 4, signed());
    let said = lone.hear(1, pre_prepare(1, 0, 1, batch([asks(1, 1, "x"), asks(2, 1, "x")])));
    assert_eq!(
        (prepares(&said).len(), lone.accused(1)),
        (1, 0),
        "sound ones are taken, whoever else was asked"
    );
}

// tests [B29] [B14]
#[test]
fn who_passed_on_a_forged_request_has_nothing_checked_for_a_turn() {
    let mut lone = Lone::new(4, 4, signed());
    lone.hear(1, Message::Requests(vec![Request::new(name(1, 1), payload(1))]));
    checked();
    lone.hear(1, Message::Requests(vec![asks(1, 1, "x")]));
    assert_eq!(lone.hear(1, pre_prepare(1, 0, 1, batch([asks(1, 1, "x")]))), []);
    assert_eq!((checked(), lone.accused(1)), (0, 1));
    lone.wait(101);
    assert_ne!(lone.hear(1, pre_prepare(1, 0, 1, batch([asks(1, 1, "x")]))), []);
}

// tests [B29]
#[test]
fn a_signature_is_checked_once_at_each_replica_however_often_it_comes() {
    let mut cluster = Cluster::with(4, signed());
    checked();
    for number in 1..=10 {
        let request = asks(1, number, "x");
        cluster.ask_all(&request);
        cluster.ask_all(&request);
        // All tell all others, and the primary proposes.
        for from in 1..=4 {
            cluster.tell_all(from, &Message::Requests(vec![request.clone()]));
        }
        cluster.settle();
        assert_eq!((checked(), cluster.executed(1)), (4, number));
        for from in 1..=4 {
            cluster.tell_all(from, &Message::Requests(vec![request.clone()]));
        }
        assert_eq!(checked(), 0, "what was executed is known for a while");
    }
    // What there is no room for is not checked.
    let mut lone = Lone::new(4, 4, Config { max_open_per_client: 1, ..signed() });
    lone.hear(2, Message::Requests((1..=9).map(|number| asks(1, number, "x")).collect()));
    assert_eq!((checked(), lone.cluster.queue(4, "requests")), (1, 1));
}

fn proven(sequence: u64, batch: &Batch) -> Message {
    let certificate = committed(0, sequence, batch.digest(), &[1, 2, 3]);
    Message::Committed(Box::new(Proven { certificate, batch: batch.clone() }))
}

fn outcomes(cluster: &Cluster, at: u64, id: ProposalId) -> Vec<Outcome> {
    let of = |(node, reply): &(NodeId, Reply)| match reply {
        Reply::Done { id: done, outcome, .. } if *node == n(at) && *done == id => Some(outcome.clone()),
        Reply::Done { .. } | Reply::Refused { .. } | Reply::ReadReady { .. } | Reply::ReadRefused { .. } => {
            None
        }
    };
    cluster.replies.iter().filter_map(of).collect()
}

// tests [B30]
#[test]
fn a_request_that_somebody_kept_is_never_carried_out_again() {
    let mut cluster = Cluster::with(4, Config { checkpoint_interval: 2, window: 4, ..signed() });
    let kept = asks(1, 5, "pay");
    cluster.ask_all(&kept);
    cluster.settle();
    // One of them learns of it by a state, and all others forget in a crash what they executed.
    cluster.isolate(4);
    for number in 1..=9 {
        cluster.ask(1, &asks(2, number, "x"));
        cluster.settle();
    }
    cluster.heal();
    cluster.run_for_ms(2_000);
    for id in 1..=4 {
        cluster.crash(id);
        cluster.start(id);
    }
    cluster.replies.clear();
    cluster.tell_all(3, &Message::Requests(vec![kept.clone()]));
    cluster.run_for_ms(3_000);
    let agreed = cluster.agreed();
    assert_eq!(agreed.iter().filter(|line| **line == "pay").count(), 1);
    assert_eq!(agreed.len(), 10);
    let told: Vec<_> = (1..=4).map(|id| outcomes(&cluster, id, kept.id())).collect();
    assert!(told.iter().all(|told| told.contains(&Outcome::Applied("pay".into()))), "{told:?}");
    // Nor when no reply to it is remembered any more.
    let mut lone = Lone::new(4, 4, signed());
    lone.hear(1, proven(1, &batch([kept.clone()])));
    let later = (0..MAX_REPLIES as u64).map(|more| asks(1, 6 + more, "x"));
    lone.hear(1, proven(2, &batch(later)));
    lone.hear(1, proven(3, &batch([kept.clone()])));
    assert_eq!(lone.cluster.diary(4).iter().filter(|line| **line == "pay").count(), 1);
    assert_eq!(outcomes(&lone.cluster, 4, kept.id()), [Outcome::Applied("pay".into()), Outcome::Stale]);
}

// tests [B30]
#[test]
fn a_client_that_signs_two_commands_under_one_number_has_one_carried_out_alike_at_all() {
    let (one, other) = (asks(1, 1, "one"), asks(1, 1, "other"));
    // Whoever was told what, and in which order.
    for told in [[[&one, &other]; 4], [[&one, &one], [&other, &other], [&one, &other], [&other, &one]]] {
        let mut cluster = Cluster::with(4, signed());
        for (at, requests) in (1..=4).zip(told) {
            requests.into_iter().for_each(|request| cluster.ask(at, request));
        }
        cluster.settle();
        cluster.run_for_ms(5_000);
        assert_eq!(cluster.agreed(), ["one"]);
        assert_eq!((cluster.view(2), cluster.queue(2, "requests"), cluster.accusations.len()), (0, 0, 0));
        let told: Vec<_> = (1..=4).flat_map(|id| outcomes(&cluster, id, one.id())).collect();
        assert!(told.iter().all(|told| *told == Outcome::Applied("one".into())), "{told:?}");
        // It goes on being served.
        cluster.ask_all(&asks(1, 2, "more"));
        cluster.settle();
        assert_eq!(cluster.agreed(), ["one", "more"]);
    }
}

// tests [B29]
#[test]
fn a_read_is_a_request_without_a_command_and_no_replica_makes_one_up() {
    let mut cluster = Cluster::with(4, signed());
    cluster.ask_all(&asks(1, 1, "x"));
    cluster.ask(2, &asks(1, 2, ""));
    cluster.settle();
    assert_eq!(cluster.agreed(), ["x"], "the machines are not told of reads");
    assert!((1..=4).all(|id| outcomes(&cluster, id, name(1, 2)) == [Outcome::Noop]));
    cluster.handle(n(2), Event::Read(ReadId(1)));
    let refused = Reply::ReadRefused { id: ReadId(1), reason: Refusal::Unsupported };
    assert_eq!(cluster.replies.last(), Some(&(n(2), refused)));
}

/// So many requests of client 1, told to these replicas before client 2 asks for one thing.
fn flood(cluster: &mut Cluster, told: &[u64], count: u64) {
    for number in 1..=count {
        // Each is told something else, so that nothing counts twice.
        told.iter().for_each(|&at| cluster.ask(at, &asks(1, number * 4 + at, "flood")));
    }
}

/// How many batches were executed before the request of client 2 was.
fn batches_before(config: Config, told: &[u64], count: u64, asked: u64) -> usize {
    let mut cluster = Cluster::with(4, config);
    flood(&mut cluster, told, count);
    cluster.ask(asked, &asks(2, 1, "mine"));
    cluster.settle();
    let agreed = cluster.agreed();
    let place = agreed.iter().position(|line| *line == "mine").expect("it is executed");
    place / cluster.config.max_batch_requests
}

/// Batches of four, one at a time.
pub(crate) fn narrow() -> Config {
    Config { max_batch_requests: 4, max_in_flight_batches: 1, max_open_per_client: 50, ..signed() }
}

// tests [B31]
#[test]
fn a_client_that_asks_for_thousands_keeps_nobody_waiting() {
    for asked in 1..=4 {
        let before = batches_before(narrow(), &[1, 2, 3, 4], 1_000, asked);
        assert!(before <= 3, "{before} batches came before, asked at {asked}");
    }
    // It is refused what is too much, and told so.
    let mut cluster = Cluster::with(4, narrow());
    flood(&mut cluster, &[2], 60);
    let busy = |(_, reply): &&(NodeId, Reply)| matches!(reply, Reply::Refused { reason: Refusal::Busy, .. });
    assert_eq!(cluster.replies.iter().filter(busy).count(), 10);
    cluster.settle();
    assert_eq!(cluster.agreed().len(), 50);
}

// tests [B31]
#[test]
fn a_client_has_its_share_of_the_bytes_too_and_may_always_ask_for_one_thing() {
    let share =
        Config { max_open_requests: 100, max_open_bytes: 10_000, max_open_per_client: 10, ..signed() };
    let mut lone = Lone::new(4, 4, share);
    let large = "x".repeat(900);
    (1..=3).for_each(|number| lone.cluster.ask(4, &asks(1, number, &large)));
    assert_eq!(lone.cluster.queue(4, "requests"), 1);
    let larger = "x".repeat(5_000);
    (1..=2).for_each(|number| lone.cluster.ask(4, &asks(2, number, &larger)));
    assert_eq!(lone.cluster.queue(4, "requests"), 2);
}

// tests [B31]
#[test]
fn nobody_fills_a_clients_share_by_passing_on_what_it_asked_for_before() {
    let mut cluster = Cluster::with(4, Config { max_open_per_client: 2, ..signed() });
    let kept: Vec<Request> = (1..=8).map(|number| asks(1, number, "x")).collect();
    for request in &kept {
        cluster.ask_all(request);
        cluster.settle();
    }
    cluster.run_for_ms(2_000);
    cluster.crash(4);
    // A backup, who is the last to hear of what is executed, hears all that again, and more than it has room for.
    cluster.tell(4, 2, Message::Requests([kept, vec![asks(2, 1, "y")]].concat()));
    assert_eq!(cluster.queue(2, "requests"), 3, "two of the first client, and what stood behind");
    cluster.ask(2, &asks(1, 9, "new"));
    assert_eq!(cluster.queue(2, "requests"), 4);
    cluster.settle();
    assert!(cluster.agreed().contains(&Bytes::from_static(b"new")));
}

// tests [B31]
#[test]
fn clients_take_turns() {
    let mut lone = Lone::new(1, 4, Config { max_batch_requests: 3, max_in_flight_batches: 1, ..signed() });
    let mut requests: Vec<Request> = (1..=5).map(|number| asks(1, number, "a")).collect();
    requests.extend((1..=2).map(|number| asks(2, number, "b")));
    requests.push(asks(3, 1, "c"));
    let said = lone.hear(2, Message::Requests(requests));
    let [first] = &proposals(&said)[..] else { panic!("one batch") };
    let order = |batch: &Batch| {
        batch.requests().iter().map(|it| (it.id().client.to_bits() & 7, it.id().sequence)).collect::<Vec<_>>()
    };
    assert_eq!(order(&first.batch), [(1, 1), (2, 1), (3, 1)]);
    // Whoever comes late has its turn with the others, not before them and not after all they ask for.
    lone.hear(2, Message::Requests(vec![asks(3, 2, "c")]));
    let mut said = Vec::new();
    for from in [2, 3] {
        said.extend(lone.hear(from, signing::prepare(from, 0, 1, first.digest)));
        said.extend(lone.hear(from, signing::commit(from, 0, 1, first.digest)));
    }
    let [second] = &proposals(&said)[..] else { panic!("another: {said:?}") };
    assert_eq!(order(&second.batch), [(1, 2), (2, 2), (3, 2)]);
}

// tests [B29] [B31]
#[test]
fn a_group_whose_clients_cannot_sign_does_not_start() {
    let refused = |config: Config| {
        let members = Members::of((1..=4).map(NodeId));
        match open(n(1), Time::ZERO, &members, &config, Default::default()) {
            Err(NodeError::Config(error)) => error.field,
            Err(other) => panic!("{other:?}"),
            Ok(_) => "nothing",
        }
    };
    let anonymous = ClientId::anonymous(7);
    let public = Ed25519::public_of(&[7; 32]);
    let of = |client| Keyring::new(Ed25519::of_public([(client, public)]).unwrap());
    assert_eq!(refused(signed()), "nothing");
    assert_eq!(refused(Config { clients: of(ClientId::known(7)), ..signed() }), "nothing");
    assert_eq!(refused(Config { clients: of(anonymous), ..signed() }), "clients");
    assert_eq!(refused(Config { clients: of(ClientId::session(Slot(7))), ..signed() }), "clients");
    assert_eq!(refused(Config { clients: Keyring::default(), ..signed() }), "clients");
    assert_eq!(refused(Config { vouching: Vouching::Named, ..signed() }), "clients");
    assert_eq!(refused(Config { max_payload_bytes: 63, ..signed() }), "max_payload_bytes");
    for max_open_per_client in [0, MAX_REPLIES + 1] {
        assert_eq!(refused(Config { max_open_per_client, ..signed() }), "max_open_per_client");
    }
    assert_eq!(refused(Config { max_open_requests: 255, ..signed() }), "max_open_per_client");
}
