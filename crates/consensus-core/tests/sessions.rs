//! Sessions: a command is applied once, whatever is decided how often, and whatever a snapshot replaced.

use crate::common::puppet::{Order, PuppetNode, Stage, envelope, open, open_with, order};
use consensus_core::{
    Admission, Bytes, ClientId, Event, MAX_REPLIES, MAX_REPLY_BYTES, MAX_SESSIONS, MAX_TABLE_BYTES,
    NodeError, Outcome, ProposalId, Reply, Sessions, Slot, Time, Verdict, wire,
};
use quickcheck::QuickCheck;
use std::collections::{BTreeMap, BTreeSet};

fn command(client: ClientId, sequence: u64) -> ProposalId {
    ProposalId::new(client, sequence)
}

fn reply_to(sequence: u64) -> Bytes {
    Bytes::copy_from_slice(&sequence.to_be_bytes())
}

fn run(sessions: &mut Sessions, slot: u64, id: ProposalId, reply: &Bytes) -> Admission {
    let admission = sessions.admit(Slot(slot), id);
    if admission == Admission::Fresh {
        sessions.record(id, reply);
    }
    admission
}

#[test]
fn a_storm_of_retries_in_any_order_applies_each_command_once() {
    fn property(storm: Vec<(bool, u8)>) -> bool {
        let mut sessions = Sessions::new();
        let clients = [sessions.open(Slot(1)), sessions.open(Slot(2))];
        let mut applied = BTreeSet::new();
        for (slot, (client, sequence)) in (3..).zip(storm) {
            let (client, sequence) = (clients[usize::from(client)], u64::from(sequence) + 1);
            match run(&mut sessions, slot, command(client, sequence), &reply_to(sequence)) {
                Admission::Fresh => assert!(applied.insert((client, sequence)), "applied twice"),
                Admission::Repeated(reply) => {
                    assert!(applied.contains(&(client, sequence)), "it was never applied");
                    assert_eq!(reply, reply_to(sequence));
                }
                other @ (Admission::Stale | Admission::Expired) => panic!("{other:?} within the window"),
            }
        }
        true
    }
    QuickCheck::new().tests(500).quickcheck(property as fn(Vec<(bool, u8)>) -> bool);
}

#[test]
fn below_the_floor_nothing_is_applied_again() {
    let mut sessions = Sessions::new();
    let client = sessions.open(Slot(1));
    let window = MAX_REPLIES as u64;
    for sequence in 1..=window {
        assert_eq!(run(&mut sessions, 2, command(client, sequence), &reply_to(sequence)), Admission::Fresh);
    }
    assert_eq!(sessions.admit(Slot(2), command(client, 1)), Admission::Repeated(reply_to(1)));
    assert_eq!(run(&mut sessions, 2, command(client, window + 1), &reply_to(0)), Admission::Fresh);
    assert_eq!(sessions.admit(Slot(2), command(client, 1)), Admission::Stale, "its reply was let go");
    assert_eq!(sessions.admit(Slot(2), command(client, 2)), Admission::Repeated(reply_to(2)));
    assert_eq!(sessions.admit(Slot(2), command(client, 0)), Admission::Stale, "sequences start at 1");
}

#[test]
fn a_command_that_comes_after_its_window_is_applied_once_all_the_same() {
    let mut sessions = Sessions::new();
    let client = sessions.open(Slot(1));
    for sequence in 2..=MAX_REPLIES as u64 + 1 {
        run(&mut sessions, 2, command(client, sequence), &reply_to(sequence));
    }
    // It is judged fresh: nothing above it was let go. Its own reply is the lowest, and goes at once.
    assert_eq!(run(&mut sessions, 3, command(client, 1), &reply_to(1)), Admission::Fresh);
    assert_eq!(run(&mut sessions, 4, command(client, 1), &reply_to(1)), Admission::Stale);
}

#[test]
fn replies_are_bounded_in_bytes_and_the_newest_is_kept() {
    let mut sessions = Sessions::new();
    let client = sessions.open(Slot(1));
    let half = Bytes::from(vec![7; MAX_REPLY_BYTES / 2]);
    for sequence in 1..=3 {
        run(&mut sessions, 2, command(client, sequence), &half);
    }
    assert_eq!(sessions.admit(Slot(2), command(client, 1)), Admission::Stale);
    assert_eq!(sessions.admit(Slot(2), command(client, 2)), Admission::Repeated(half.clone()));
    let huge = Bytes::from(vec![7; MAX_REPLY_BYTES * 2]);
    run(&mut sessions, 2, command(client, 4), &huge);
    assert_eq!(sessions.admit(Slot(2), command(client, 4)), Admission::Repeated(huge));
    assert_eq!(sessions.admit(Slot(2), command(client, 3)), Admission::Stale);
    assert_eq!(run(&mut sessions, 2, command(client, 5), &half), Admission::Fresh);
}

#[test]
fn all_sessions_together_are_bounded_in_bytes() {
    let mut sessions = Sessions::new();
    let reply = Bytes::from(vec![7; MAX_REPLY_BYTES]);
    let full = (MAX_TABLE_BYTES / MAX_REPLY_BYTES) as u64;
    let clients: Vec<ClientId> = (1..=full + 1).map(|slot| sessions.open(Slot(slot))).collect();
    for (slot, &client) in (100..).zip(&clients) {
        assert_eq!(run(&mut sessions, slot, command(client, 1), &reply), Admission::Fresh);
    }
    assert_eq!(sessions.len() as u64, full);
    assert_eq!(sessions.admit(Slot(900), command(clients[0], 1)), Admission::Expired, "the idlest goes");
    assert_eq!(sessions.admit(Slot(900), command(clients[1], 1)), Admission::Repeated(reply));
}

#[test]
fn one_session_too_many_ends_the_idlest() {
    let mut sessions = Sessions::new();
    let clients: Vec<ClientId> = (1..=MAX_SESSIONS as u64).map(|slot| sessions.open(Slot(slot))).collect();
    sessions.admit(Slot(10_000), command(clients[0], 1));
    let newest = sessions.open(Slot(10_001));
    assert_eq!(sessions.len(), MAX_SESSIONS);
    assert_eq!(sessions.admit(Slot(10_002), command(clients[1], 1)), Admission::Expired);
    assert_eq!(sessions.admit(Slot(10_002), command(clients[0], 1)), Admission::Fresh, "it was busy");
    assert_eq!(sessions.admit(Slot(10_002), command(newest, 1)), Admission::Fresh);
}

#[test]
fn a_client_that_is_known_has_a_session_for_good() {
    let mut sessions = Sessions::new();
    let known = ClientId::known(7);
    assert!(
        known.is_session() && !ClientId::session(Slot(7)).is_known() && !ClientId::anonymous(7).is_known()
    );
    assert_eq!(format!("{known:?}"), "known:7");
    assert_eq!(run(&mut sessions, 1, command(known, 900), &reply_to(900)), Admission::Fresh);
    assert_eq!(run(&mut sessions, 2, command(known, 900), &reply_to(0)), Admission::Repeated(reply_to(900)));
    // There is room for it and all others that are known, however long it is idle.
    for client in 8..MAX_SESSIONS as u64 + 7 {
        run(&mut sessions, client, command(ClientId::known(client), 1), &reply_to(1));
    }
    assert_eq!(sessions.len(), MAX_SESSIONS);
    assert_eq!(sessions.admit(Slot(9_000), command(known, 900)), Admission::Repeated(reply_to(900)));
    // Who is known and was forgotten all the same begins anew.
    run(&mut sessions, 9_001, command(ClientId::known(1), 1), &reply_to(1));
    assert_eq!(sessions.admit(Slot(9_002), command(ClientId::known(8), 1)), Admission::Fresh);
}

#[test]
fn where_room_is_short_the_replies_of_whoever_is_known_go_and_its_old_commands_stay_old() {
    let mut sessions = Sessions::new();
    let reply = Bytes::from(vec![7; MAX_REPLY_BYTES]);
    let full = (MAX_TABLE_BYTES / MAX_REPLY_BYTES) as u64;
    for client in 1..=full + 1 {
        let id = command(ClientId::known(client), 5);
        assert_eq!(run(&mut sessions, client, id, &reply), Admission::Fresh);
    }
    assert_eq!(sessions.len() as u64, full + 1);
    let mut copy: Sessions = wire::decode(&wire::encode(&sessions), usize::MAX).unwrap();
    for sessions in [&mut sessions, &mut copy] {
        let admission = |client, sequence, sessions: &mut Sessions| {
            sessions.admit(Slot(900), command(ClientId::known(client), sequence))
        };
        assert_eq!(
            [4, 5, 6].map(|sequence| admission(1, sequence, sessions)),
            [Admission::Stale, Admission::Stale, Admission::Fresh]
        );
        assert_eq!(admission(2, 5, sessions), Admission::Repeated(reply.clone()));
    }
    // One reply that is too large for all of them: its own client's is kept, and the table is one that is read back.
    let huge = Bytes::from(vec![7; MAX_TABLE_BYTES + 1]);
    assert_eq!(run(&mut sessions, 901, command(ClientId::known(2), 6), &huge), Admission::Fresh);
    let copy: Sessions = wire::decode(&wire::encode(&sessions), usize::MAX).unwrap();
    assert_eq!((copy.len() as u64, &copy), (full + 1, &sessions));
}

#[test]
fn anonymous_commands_are_applied_as_often_as_they_are_decided() {
    let mut sessions = Sessions::new();
    let id = command(ClientId::anonymous(3), 1);
    for slot in 1..4 {
        assert_eq!(run(&mut sessions, slot, id, &reply_to(1)), Admission::Fresh);
    }
    assert!(sessions.is_empty(), "and leave nothing behind");
}

#[test]
fn a_table_that_no_replica_makes_is_refused() {
    // The wire form: a map from client to (last used, floor, replies), and nothing of clients without a session.
    type Wire = BTreeMap<u64, (u64, u64, BTreeMap<u64, Bytes>)>;
    let nobody: [u64; 0] = [];
    let decoded =
        |table: &Wire| wire::decode::<Sessions>(&wire::encode(&(table, nobody.as_slice())), 64 << 20);
    let session = |slot: u64| ClientId::session(Slot(slot)).to_bits();
    let one = |replies| Wire::from([(session(1), (1, 0, replies))]);
    assert!(decoded(&one(BTreeMap::from([(1, Bytes::new())]))).is_ok());
    assert!(decoded(&Wire::from([(7, (1, 0, BTreeMap::new()))])).is_err(), "not a session");
    let many = (1..=MAX_REPLIES as u64 + 1).map(|sequence| (sequence, Bytes::new())).collect();
    assert!(decoded(&one(many)).is_err(), "too many replies");
    let large = (1..=3).map(|sequence| (sequence, Bytes::from(vec![0; MAX_REPLY_BYTES / 2]))).collect();
    assert!(decoded(&one(large)).is_err(), "too many bytes");
    let crowd = (1..=MAX_SESSIONS as u64 + 1).map(|slot| (session(slot), (1, 0, BTreeMap::new()))).collect();
    assert!(decoded(&crowd).is_err(), "too many sessions");
}

#[test]
fn a_table_that_was_read_back_goes_on_as_the_original() {
    let mut original = Sessions::new();
    let client = original.open(Slot(1));
    for sequence in 1..=5 {
        run(&mut original, 2, command(client, sequence), &Bytes::from(vec![1; MAX_REPLY_BYTES / 4]));
    }
    let mut copy: Sessions = wire::decode(&wire::encode(&original), 64 << 20).unwrap();
    assert_eq!(copy, original);
    for sequence in 3..20 {
        let reply = Bytes::from(vec![1; MAX_REPLY_BYTES / 3]);
        let admission = run(&mut original, 3, command(client, sequence), &reply);
        assert_eq!(run(&mut copy, 3, command(client, sequence), &reply), admission);
        assert_eq!(copy, original);
    }
}

/// Decides `id` at `slot` and returns what its client hears.
fn decide(node: &mut PuppetNode, slot: u64, id: ProposalId) -> Outcome {
    node.handle(Time::ZERO, order(Order::DecideEarly(slot, Some(id), Verdict::Commit))).unwrap();
    let mut replies: Vec<Reply> = node.replies().collect();
    match replies.pop() {
        Some(Reply::Done { id: done, slot: at, outcome }) if done == id && at == Slot(slot) => outcome,
        other => panic!("{other:?}"),
    }
}

fn opened(node: &mut PuppetNode, slot: u64) -> ClientId {
    let outcome = decide(node, slot, ProposalId::open_session(77));
    let Outcome::Opened(client) = outcome else { panic!("{outcome:?}") };
    client
}

#[test]
fn a_node_applies_a_command_of_a_session_once_and_repeats_its_reply() {
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    let client = opened(&mut node, 1);
    assert_eq!(client, ClientId::session(Slot(1)));
    let first = decide(&mut node, 2, command(client, 1));
    assert!(matches!(first, Outcome::Applied(_)));
    assert_eq!(decide(&mut node, 3, command(client, 1)), first);
    assert_eq!(decide(&mut node, 4, command(ClientId::session(Slot(9)), 1)), Outcome::Expired);
    assert_eq!(*stage.applied.borrow(), [2], "the state machine saw it once, and no stranger");
    assert_eq!(node.applied(), Slot(4));
}

/// The snapshot of a node that has opened a session at slot 1 and applied its first command at slot 2.
fn sealed() -> (ClientId, Outcome, Bytes) {
    let mut node = open_with(&Stage::default(), 60).unwrap();
    let client = opened(&mut node, 1);
    let outcome = decide(&mut node, 2, command(client, 1));
    let (through, snapshot) = node.algorithm().compacted.last().cloned().expect("a snapshot was due");
    assert_eq!(through, Slot(2));
    (client, outcome, snapshot)
}

fn booted_from(snapshot: Bytes) -> (Stage, Result<PuppetNode, NodeError>) {
    let stage = Stage::default();
    *stage.recovered.borrow_mut() = Some((Slot(2), snapshot));
    let node = open(&stage);
    stage.applied.borrow_mut().clear();
    (stage, node)
}

#[test]
fn a_retry_that_is_decided_after_a_snapshot_is_not_applied_again() {
    let (client, outcome, snapshot) = sealed();
    let (stage, node) = booted_from(snapshot.clone());
    assert_eq!(decide(&mut node.unwrap(), 3, command(client, 1)), outcome);
    assert!(stage.applied.borrow().is_empty());
    // The same through a snapshot that a peer sends.
    let stage = Stage::default();
    let mut node = open(&stage).unwrap();
    node.handle(Time::ZERO, order(Order::Install(2, snapshot.to_vec()))).unwrap();
    assert_eq!(decide(&mut node, 3, command(client, 1)), outcome);
    assert_eq!(*stage.applied.borrow(), [2], "only the snapshot itself");
}

#[test]
fn without_the_replies_in_the_snapshot_it_would_be_applied_again() {
    // The counter-test: the very same run, with a table that knows the session and has lost its replies.
    let (client, _, snapshot) = sealed();
    let mut amnesiac = Sessions::new();
    assert_eq!(amnesiac.open(Slot(1)), client);
    let table = wire::encode(&amnesiac);
    let mut forgetful = vec![1];
    forgetful.extend_from_slice(&(table.len() as u64).to_le_bytes());
    forgetful.extend_from_slice(&table);
    forgetful.extend_from_slice(b"state");
    assert!(snapshot.ends_with(b"state"));
    let (stage, node) = booted_from(forgetful.into());
    assert!(matches!(decide(&mut node.unwrap(), 3, command(client, 1)), Outcome::Applied(_)));
    assert_eq!(*stage.applied.borrow(), [3], "applied before the snapshot, and now again");
}

#[test]
fn hostile_snapshots_are_refused_and_never_a_panic() {
    fn arbitrary(bytes: Vec<u8>) -> bool {
        let mut versioned = vec![1];
        versioned.extend_from_slice(&bytes);
        let _ = booted_from(bytes.into());
        let _ = booted_from(versioned.into());
        true
    }
    let refused = |bytes: Vec<u8>| matches!(booted_from(bytes.into()).1, Err(NodeError::Install(_)));
    assert!(booted_from(envelope(b"state").into()).1.is_ok());
    let (_, _, good) = sealed();
    let state = good.len() - b"state".len();
    assert!(booted_from(Vec::new().into()).1.is_ok(), "no bytes at all: a witness keeps no state");
    for cut in 1..state {
        assert!(refused(good[..cut].to_vec()), "cut at {cut}");
    }
    for version in [0, 2, 255] {
        let mut bytes = good.to_vec();
        bytes[0] = version;
        assert!(refused(bytes), "version {version}");
    }
    for length in [0, 1, 3, 1 << 20, u64::MAX, u64::MAX - 8, (1 << 63) + 1] {
        let mut bytes = envelope(b"");
        bytes[1..9].copy_from_slice(&length.to_le_bytes());
        assert!(refused(bytes), "table length {length}");
    }
    assert!(refused(envelope(b"foreign")), "the state machine has its say");
    QuickCheck::new().tests(2_000).quickcheck(arbitrary as fn(Vec<u8>) -> bool);
}

#[test]
fn a_hostile_snapshot_from_a_peer_stops_the_node() {
    let mut node = open(&Stage::default()).unwrap();
    let error = node.handle(Time::ZERO, order(Order::Install(5, vec![9; 40])));
    assert!(matches!(error, Err(NodeError::Install(_))), "{error:?}");
    assert_eq!(node.handle(Time::ZERO, Event::Tick), error);
}
