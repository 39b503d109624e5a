//! What the store reads and did not write itself: commands in the log, snapshots, keys, addresses, evidence.

use crate::plan::Plan;
use bytes::Bytes;
use consensus_core::{ClusterId, Decision, NodeId, Slot, StateMachine, Verdict};
use kvstore::command::{Command, Reply};
use kvstore::machine::KvMachine;
use kvstore::members::{self, MemberTable};
use kvstore::store::Store;
use kvstore::{keys, profile};
use std::collections::BTreeMap;

/// So many commands at most.
const COMMANDS: usize = 16;

/// Takes the input for what was read. Its first byte chooses what was expected.
pub fn run(input: &[u8]) {
    let mut plan = Plan::new(input);
    match plan.below(4) {
        0 => apply(plan),
        1 => snapshot(plan.rest()),
        2 => text(plan.rest()),
        _ => evidence(plan.rest()),
    }
}

/// Commands, one after the other: all members reply alike, and come to the same state.
fn apply(mut plan: Plan<'_>) {
    let mut machines = [KvMachine::default(), KvMachine::default()];
    for slot in 1..=COMMANDS as u64 {
        let count = plan.below(256);
        // Most are of the version that is understood.
        let head: &[u8] = if plan.once_in(8) { &[] } else { &[1, 1 + plan.byte() % 6] };
        let command = Bytes::from([head, plan.bytes(count)].concat());
        if let Ok(command) = Command::decode(&command) {
            assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
        let decision = Decision { slot: Slot(slot), id: None, verdict: Verdict::Commit, payload: &command };
        let [one, other] = machines.each_mut().map(|machine| machine.apply(decision));
        assert_eq!(one, other, "two members reply differently");
        let reply = Reply::decode(&one).expect("a reply can be read");
        assert_eq!(reply.encode(), one, "a reply is another one when written again");
        let _ = machines[0].query(&command);
        if plan.is_over() {
            break;
        }
    }
    let [one, other] = machines.each_ref().map(KvMachine::snapshot);
    assert_eq!(one, other, "two members come to different states");
    let mut copy = KvMachine::default();
    copy.install(Slot(1), one.clone()).expect("a snapshot can be taken over");
    assert_eq!(copy.snapshot(), one, "a state is another one when taken over");
}

/// Whatever is taken over can be used, and is the same when passed on.
fn snapshot(bytes: &[u8]) {
    let mut machine = KvMachine::default();
    if machine.install(Slot(1), Bytes::copy_from_slice(bytes)).is_ok() {
        let taken = machine.snapshot();
        let mut copy = KvMachine::default();
        copy.install(Slot(1), taken.clone()).expect("what was taken over can be passed on");
        assert_eq!(copy.snapshot(), taken);
    }
    if let Ok(mut store) = Store::from_snapshot(bytes) {
        let _ = (store.hash(0), store.compact(1), store.snapshot());
    }
    if let Ok(table) = MemberTable::decode(bytes) {
        assert_eq!(MemberTable::decode(&table.encode()).map(|table| table.encode()), Ok(table.encode()));
    }
}

/// What operators write.
fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(key) = keys::key(text) {
        assert_eq!(keys::key(&keys::text(&key)), Some(key));
    }
    if let Some(bytes) = keys::bytes_of(text) {
        assert_eq!(keys::bytes_of(&keys::text(&bytes)), Some(bytes));
    }
    if let Some(address) = members::address_of(text) {
        assert_eq!(members::address_of(&members::url_of(&address)), Some(address));
    }
}

/// Nobody is convicted by bytes that nobody signed.
fn evidence(bytes: &[u8]) {
    let secret = [7; keys::KEY_BYTES];
    let public = BTreeMap::from([(NodeId(1), public_of(&secret))]);
    assert!(profile::examine(bytes, ClusterId(7), &public).is_err(), "it proves something");
}

/// Of a key pair that signs nothing here.
fn public_of(secret: &[u8; keys::KEY_BYTES]) -> [u8; keys::KEY_BYTES] {
    pbft::Ed25519::public_of(secret)
}
