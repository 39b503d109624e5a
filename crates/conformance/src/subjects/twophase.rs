//! How runs of atomic commitment are configured.

use super::{pick, slowest_sync};
use crate::suite::Tuning;
use ::twophase::{Config, Envelope, Presumption};
use consensus_core::{Bytes, NodeId};
use consensus_sim::{Plan, Stream, Wrap, Wrapped};
use core::time::Duration;

/// Two-phase commit, under either presumption, with every bound small in some runs.
pub fn twophase(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    let presumption = if draw.below(2) == 0 { Presumption::Abort } else { Presumption::Commit };
    // Who comes back after so many others of the same client is told what is presumed.
    let remembered_per_client = pick(draw, &[4, 64, 1_024]);
    commitment(draw, plan, Config { presumption, remembered_per_client, ..Config::default() })
}

/// Paxos Commit, with as many acceptors as the group has room for.
pub fn paxos_commit(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    commitment(draw, plan, Config::default())
}

fn commitment(draw: &mut Stream, plan: &mut Plan, config: Config) -> Tuning<Config> {
    plan.workload.transactions.wrap = Some(Wrap::with(wrap));
    let round = (plan.network.longest_delay(plan.hosts()) + plan.burst) * 3 + plan.disk.sync * 4;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let retry_ms = round_ms + draw.between(5, 30);
    let config = Config {
        retry_ms,
        voting_ms: retry_ms * draw.between(8, 12) + 40,
        max_open: pick(draw, &[8, 64, 1_024]),
        ..config
    };
    // Several ballots in a row may come to nothing, each after a wait that has doubled three times.
    let patience = Duration::from_millis(2_000 + config.voting_ms * 8 + retry_ms * 40) + slowest_sync(plan);
    Tuning { config, patience }
}

/// Mostly those who have something to do; at times everybody; at times another node besides, that only reads.
fn wrap(participants: &[NodeId], all: &[NodeId], payload: Bytes, number: u64) -> Wrapped {
    let others: Vec<NodeId> = all.iter().copied().filter(|node| !participants.contains(node)).collect();
    let place = usize::try_from(number / 8).unwrap_or(0).checked_rem(others.len());
    let reader = place.and_then(|place| others.get(place)).copied();
    let (envelope, reader) = match (number % 8, reader) {
        (0, _) => (Envelope::new([], payload), None),
        (1 | 2, Some(reader)) => {
            let both = participants.iter().copied().chain([reader]);
            (Envelope::new(both, payload).with_reader(reader), Some(reader))
        }
        (_, _) => (Envelope::new(participants.iter().copied(), payload), None),
    };
    (envelope.to_bytes(), reader)
}
