//! Bytes from a peer or a disk: as a message, as a record, as a snapshot. They are an error, or something that is the same after
//! being written and read again; and a node that starts from such a disk runs or refuses to start.

use crate::common::{Diary, Disk};
use crate::crashes;
use crate::plan::Plan;
use bytes::Bytes;
use consensus_core::memory::Outbox;
use consensus_core::{
    ConsensusAlgorithm, Event, Members, Node, NodeConfig, NodeError, NodeId, Slot, Storage, Time, WriteSeq,
    wire,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

const LIMIT: usize = 1 << 16;
/// So many records are on a disk at most.
const RECORDS: usize = 16;

/// Takes the input for bytes of one protocol. Its first byte chooses the protocol, its second what they are.
pub fn run(input: &[u8]) {
    let mut plan = Plan::new(input);
    match plan.below(10) {
        0 => read::<raft::Raft>(plan, crashes::raft(), 3),
        1 => read::<multipaxos::MultiPaxos>(plan, crashes::multipaxos(), 3),
        2 => read::<multipaxos::Synod>(plan, Default::default(), 3),
        3 => read::<benor::Log>(plan, crashes::benor_log(), 3),
        4 => read::<benor::BenOr>(plan, Default::default(), 3),
        5 => read::<benor::Byzantine>(plan, Default::default(), 6),
        6 => read::<floodset::FloodSet>(plan, Default::default(), 3),
        7 => read::<twophase::TwoPhase>(plan, Default::default(), 3),
        8 => read::<twophase::PaxosCommit>(plan, Default::default(), 3),
        _ => {
            let config = pbft::Config { keys: crate::pbft::keyring(4), ..Default::default() };
            read::<pbft::Pbft>(plan, config, 4);
        }
    }
}

fn read<A: ConsensusAlgorithm>(mut plan: Plan<'_>, config: A::Config, size: u64) {
    match plan.below(3) {
        0 => drop(value::<A::Message>(plan.rest())),
        1 => drop(value::<A::Record>(plan.rest())),
        _ => start::<A>(plan, config, size),
    }
}

/// What these bytes say, if they say anything.
pub(crate) fn value<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = wire::decode(bytes, LIMIT).ok()?;
    let again = wire::encode(&value);
    assert_eq!(wire::decode(&again, usize::MAX).as_ref(), Ok(&value), "it is another one when read again");
    assert!(again.len() <= bytes.len(), "it is longer than what it was read from");
    Some(value)
}

/// Starts a node from a disk with whatever records and snapshot.
fn start<A: ConsensusAlgorithm>(mut plan: Plan<'_>, config: A::Config, size: u64) {
    let mut disk = Disk::<A>::default();
    let snapshot = plan.once_in(2).then(|| {
        let count = plan.below(256);
        (Slot(plan.near(1)), Bytes::copy_from_slice(plan.bytes(count)))
    });
    let mut records = Vec::new();
    while !plan.is_over() && records.len() < RECORDS {
        let count = plan.below(256);
        records.extend(value::<A::Record>(plan.bytes(count)));
    }
    match snapshot {
        Some((through, snapshot)) => disk.checkpoint(WriteSeq(1), through, snapshot, records),
        None => (1..).zip(records).for_each(|(seq, record)| disk.append(WriteSeq(seq), record)),
    }
    let mut node = NodeConfig::<A>::new(NodeId(1), Members::of((1..=size).map(NodeId)), 1);
    node.algorithm = config;
    node.check_invariants = true;
    match Node::open(node, Time::ZERO, Outbox::default(), disk, Diary::default()) {
        Ok(mut node) => {
            node.handle(Time::ZERO + Duration::from_secs(60), Event::Tick).expect("what started runs");
        }
        Err(NodeError::Restore(_) | NodeError::Install(_)) => {}
        Err(other) => panic!("it is refused for another reason: {other}"),
    }
}
