//! Requests whose name is a digest of what is asked for, reads that go through the log, and what is carried out once: B11, B27.

use crate::common::lone::Lone;
use crate::common::signing::{batch, committed, pre_prepare};
use crate::common::{Cluster, config, gateway, n, payload, proposal, request};
use consensus_core::{
    Bytes, ClientId, ConsensusAlgorithm, Event, Offence, Outcome, ProposalId, ReadId, Refusal, Reply, Slot,
};
use pbft::{Batch, Config, Message, Pbft, Proven, Request, Vouching};

fn named() -> Config {
    Config { vouching: Vouching::Named, ..config() }
}

fn name(number: u64) -> ProposalId {
    Pbft::name(ClientId::default(), number, &payload(number))
}

fn own(number: u64) -> Request {
    Request::new(name(number), payload(number))
}

fn propose(cluster: &mut Cluster, at: u64, number: u64) {
    cluster.handle(n(at), Event::Propose { id: name(number), payload: payload(number) });
}

fn proven(sequence: u64, batch: &Batch) -> Message {
    let certificate = committed(0, sequence, batch.digest(), &[1, 2, 3]);
    Message::Committed(Box::new(Proven { certificate, batch: batch.clone() }))
}

// tests [B27]
#[test]
fn nobody_has_another_request_ordered_under_its_name() {
    let swapped = Request::new(name(1), payload(2));
    let renumbered = Request::new(ProposalId { sequence: 2, ..name(1) }, payload(1));
    for lie in [swapped, renumbered, request(1)] {
        let mut lone = Lone::new(4, 4, named());
        assert_eq!(lone.hear(2, Message::Requests(vec![own(1), lie.clone()])), []);
        assert_eq!(lone.hear(1, pre_prepare(1, 0, 1, batch([lie]))), []);
        assert_eq!((lone.accused(1), lone.accused(2)), (1, 1));
        let what = lone.cluster.offences(1);
        assert_eq!(what, [Offence::Malformed("a request under the name of another one")]);
    }
    let mut lone = Lone::new(4, 4, named());
    assert_ne!(lone.hear(1, pre_prepare(1, 0, 1, batch([own(1)]))), [], "its own name is taken");
    assert_eq!(lone.accused(1), 0);
}

// tests [B27]
#[test]
fn a_client_that_misnames_its_request_is_told() {
    let mut cluster = Cluster::with(4, named());
    cluster.propose(2, 1);
    let refused = Reply::Refused { id: proposal(1), reason: Refusal::Unsupported };
    assert_eq!(cluster.replies, [(n(2), refused)]);
    propose(&mut cluster, 2, 1);
    cluster.settle();
    assert_eq!(cluster.agreed(), [payload(1)]);
}

// tests [B11] [B27]
#[test]
fn what_is_ordered_twice_is_carried_out_once() {
    let mut lone = Lone::new(4, 4, named());
    let (once, twice) = (batch([own(1), own(2)]), batch([own(2), own(3), own(2)]));
    lone.hear(1, proven(1, &once));
    lone.hear(1, proven(2, &twice));
    assert_eq!(lone.cluster.diary(4), [payload(1), payload(2), payload(3)]);
    let answers = lone.cluster.replies.iter().filter_map(|(_, reply)| match reply {
        Reply::Done { id, slot, outcome: Outcome::Applied(reply) } if *id == name(2) => Some((*slot, reply)),
        Reply::Done { .. } | Reply::Refused { .. } | Reply::ReadReady { .. } | Reply::ReadRefused { .. } => {
            None
        }
    });
    let reply = payload(2);
    assert_eq!(answers.collect::<Vec<_>>(), [2, 3, 5].map(|slot| (Slot(slot), &reply)), "and answered alike");
}

// tests [B11]
#[test]
fn who_is_asked_for_what_was_carried_out_answers_at_once() {
    let mut cluster = Cluster::with(4, named());
    propose(&mut cluster, 1, 1);
    cluster.settle();
    cluster.replies.clear();
    propose(&mut cluster, 3, 1);
    assert_eq!(cluster.wire, [], "nobody else is asked");
    let outcome = Outcome::Applied(payload(1));
    assert_eq!(cluster.replies, [(n(3), Reply::Done { id: name(1), slot: Slot(1), outcome })]);
}

fn ready(cluster: &Cluster, read: u64) -> Option<(u64, u64)> {
    cluster.replies.iter().find_map(|(node, reply)| match reply {
        Reply::ReadReady { id, at } if *id == ReadId(read) => Some((node.0, at.0)),
        Reply::Done { .. } | Reply::Refused { .. } | Reply::ReadReady { .. } | Reply::ReadRefused { .. } => {
            None
        }
    })
}

// tests [B10]
#[test]
fn a_read_goes_through_the_log_and_sees_what_was_answered_before_it() {
    for config in [gateway(), named()] {
        let mut cluster = Cluster::with(4, config);
        let id = Pbft::name(ClientId::default(), 1, b"x");
        cluster.handle(n(2), Event::Propose { id, payload: Bytes::from_static(b"x") });
        // One replica lags behind, and is asked.
        cluster.settle_but(|envelope| envelope.to == n(4));
        cluster.handle(n(4), Event::Read(ReadId(1)));
        cluster.settle_but(|envelope| envelope.to == n(4));
        assert_eq!(ready(&cluster, 1), None, "it has not seen what was answered elsewhere");
        cluster.run_for_ms(500);
        assert_eq!(ready(&cluster, 1), Some((4, 2)));
        assert_eq!(cluster.agreed(), ["x"], "the machines are not told of reads");
        // Two boots ask under two names.
        cluster.crash(4);
        cluster.start(4);
        cluster.handle(n(4), Event::Read(ReadId(1)));
        cluster.run_for_ms(500);
        assert_eq!(cluster.agreed(), ["x"]);
    }
}

// tests [B13]
#[test]
fn a_read_that_one_replica_alone_was_asked_for_is_refused_where_many_must_vouch() {
    let mut cluster = Cluster::new(4);
    cluster.handle(n(2), Event::Read(ReadId(1)));
    let refused = Reply::ReadRefused { id: ReadId(1), reason: Refusal::Unsupported };
    assert_eq!(cluster.replies, [(n(2), refused)]);
    // Alone a replica is all of them.
    let mut cluster = Cluster::new(1);
    cluster.handle(n(1), Event::Read(ReadId(1)));
    assert_eq!(ready(&cluster, 1), Some((1, 1)));
}

// tests [B2]
#[test]
fn a_digest_is_of_what_was_decoded_and_of_nothing_else() {
    let encoded = consensus_core::wire::encode(&vec![own(1), request(2)]);
    // A name of two numbers, and a payload: no digest crosses the wire.
    let fields: Vec<_> = [own(1), request(2)].iter().map(|it| (it.id(), it.payload().clone())).collect();
    assert_eq!(encoded, consensus_core::wire::encode(&fields));
    let decoded: Batch = consensus_core::wire::decode(&encoded, usize::MAX).unwrap();
    assert_eq!(
        (decoded.digest(), decoded.requests()),
        (batch([own(1), request(2)]).digest(), &[own(1), request(2)][..])
    );
    let one = batch([request(1), request(2)]);
    let renamed = Request::new(ProposalId { client: ClientId::anonymous(9), ..request(1).id() }, payload(1));
    let others = [
        batch([request(2), request(1)]),
        batch([request(1)]),
        batch([request(1), request(2), request(2)]),
        batch([renamed, request(2)]),
        batch([Request::new(request(1).id(), payload(2)), request(2)]),
        Batch::default(),
    ];
    assert!(others.iter().all(|other| other.digest() != one.digest()));
}
