//! The protocols whose nodes crash and do not lie, told lies all the same. What a message says is believed there, so that a lie may
//! undo what they agree on; but none of them panics, stops, or breaks an invariant of its own state. And the ones that tolerate
//! lies, whose messages carry no signatures.

use crate::common::{Cluster, Envelope};
use crate::group::{self, Clients, Payload};
use crate::plan::Plan;
use bytes::Bytes;
use consensus_core::{ConsensusAlgorithm, NodeId, wire};

const SIZE: u64 = 3;
/// So many steps a plan has at most.
const STEPS: usize = 300;
/// So many messages are remembered, to be told again with a few bytes changed.
const KNOWN: usize = 64;
/// The longest message that is told, in bytes.
const LIMIT: usize = 1 << 16;

fn plain(number: u64) -> Bytes {
    format!("request {number}").into()
}

fn bit(number: u64) -> Bytes {
    vec![u8::from(number.is_multiple_of(2))].into()
}

/// Everybody takes part.
fn transaction(number: u64) -> Bytes {
    twophase::Envelope::new((1..=SIZE).map(NodeId), plain(number)).to_bytes()
}

/// Carries out a plan. Its first byte chooses the protocol.
pub fn run(input: &[u8]) {
    let mut plan = Plan::new(input);
    match plan.below(9) {
        0 => play::<raft::Raft>(plan, raft(), SIZE, plain),
        1 => play::<multipaxos::MultiPaxos>(plan, multipaxos(), SIZE, plain),
        2 => play::<multipaxos::Synod>(plan, Default::default(), SIZE, plain),
        3 => play::<benor::Log>(plan, benor_log(), SIZE, plain),
        4 => play::<benor::BenOr>(plan, Default::default(), SIZE, bit),
        5 => play::<benor::Byzantine>(plan, Default::default(), 6, bit),
        6 => play::<floodset::FloodSet>(plan, Default::default(), SIZE, plain),
        7 => play::<twophase::TwoPhase>(plan, Default::default(), SIZE, transaction),
        _ => play::<twophase::PaxosCommit>(plan, Default::default(), SIZE, transaction),
    }
}

/// Small, so that every bound is met.
pub(crate) fn raft() -> raft::Config {
    raft::Config {
        retained_entries: 2,
        snapshot_chunk_bytes: 64,
        max_append_entries: 4,
        max_uncommitted_entries: 8,
        ..Default::default()
    }
}

/// The same.
pub(crate) fn multipaxos() -> multipaxos::Config {
    multipaxos::Config {
        retained_values: 2,
        snapshot_piece_bytes: 64,
        max_accept_values: 4,
        max_ahead_values: 64,
        max_open_values: 16,
        ..Default::default()
    }
}

/// The same.
pub(crate) fn benor_log() -> benor::log::Config {
    benor::log::Config {
        retained_slots: 2,
        snapshot_piece_bytes: 64,
        max_batch_entries: 2,
        ..Default::default()
    }
}

fn play<A: ConsensusAlgorithm>(mut plan: Plan<'_>, config: A::Config, size: u64, payload: Payload) {
    let mut cluster = Cluster::<A>::with(size, config, plan.once_in(4), 1);
    cluster.compact_after_bytes = 200;
    let mut clients = Clients::default();
    let mut known: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..STEPS {
        if plan.is_over() {
            break;
        }
        if plan.once_in(3) {
            if let Some(message) = lie::<A>(&mut plan, &known) {
                let from = NodeId(1 + plan.below(size as usize + 1) as u64);
                let to = NodeId(1 + plan.below(size as usize) as u64);
                cluster.deliver(Envelope { from, to, message });
            }
            continue;
        }
        for envelope in group::happen(&mut cluster, &mut plan, &mut clients, payload) {
            if known.len() == KNOWN {
                known.remove(1);
            }
            known.push(wire::encode(&envelope.message));
            cluster.deliver(envelope);
        }
    }
}

/// Something that was said, with a few bytes changed, if that is a message.
fn lie<A: ConsensusAlgorithm>(plan: &mut Plan<'_>, known: &[Vec<u8>]) -> Option<A::Message> {
    let mut bytes = plan.pick(known)?.clone();
    if bytes.is_empty() {
        let count = plan.below(64);
        bytes = plan.bytes(count).to_vec();
    }
    for _ in 0..plan.below(4) {
        let other = plan.pick(known).map_or(&[][..], Vec::as_slice);
        plan.edit_bytes(&mut bytes, other);
    }
    wire::decode(&bytes, LIMIT).ok()
}
