//! How runs of Raft are configured.

use super::{declared_drift, pick};
use crate::suite::Tuning;
use consensus_sim::{Detectors, Plan, Stream};
use core::time::Duration;

/// Raft with small timeouts, batches, windows and chunks, so that every limit is met.
pub fn raft(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    // The paper's timing requirement (§5.6): a broadcast, disk included, takes much less than an election timeout.
    let delay = plan.network.longest_delay(plan.hosts());
    let round = (delay + plan.burst) * 3 + plan.disk.sync * 2;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let heartbeat_interval_ms = draw.between(5, 40).max(round_ms);
    let election_timeout_ms = heartbeat_interval_ms * draw.between(3, 8);
    let mut config = raft::Config {
        election_timeout_ms,
        heartbeat_interval_ms: Some(heartbeat_interval_ms),
        stable_leadership: true,
        eager_commit: draw.below(2) == 0,
        max_append_bytes: pick(draw, &[64, 1_000, 64_000]),
        max_append_entries: pick(draw, &[1, 4, 64, 1_024]),
        max_in_flight_appends: pick(draw, &[1, 2, 16]),
        max_in_flight_bytes: pick(draw, &[100, 4_000, 1 << 20]),
        // A backlog of commands whose clients are long gone must be worked off within the patience.
        max_uncommitted_entries: pick(draw, &[2, 16, 64]),
        max_pending_reads: pick(draw, &[1, 16, 1_024]),
        snapshot_chunk_bytes: pick(draw, &[500, 4_096, 256 << 10]),
        retained_entries: pick(draw, &[0, 3, 100]),
        promotion_lag_entries: pick(draw, &[0, 5, 1_000]),
        ..raft::Config::default()
    };
    // Several elections in a row may be split, each of up to one and a half timeouts.
    let patience = Duration::from_millis(3_000 + 20 * election_timeout_ms);
    if plan.nodes >= 3 && draw.below(8) == 0 {
        plan.witnesses = 1 + draw.index(plan.nodes / 2);
    }
    if draw.below(2) == 0 {
        config.lease_drift_ppm = Some(declared_drift(plan));
        // No bound covers a clock that stands still.
        plan.clocks_stop_ppm = 0;
    }
    if draw.below(3) == 0 {
        let_rest(draw, plan, &mut config);
    }
    Tuning { config, patience }
}

/// A group that rests when it has nothing to do, with the detectors that this takes; and in some runs less to do.
fn let_rest(draw: &mut Stream, plan: &mut Plan, config: &mut raft::Config) {
    let timeout = Duration::from_millis(config.election_timeout_ms);
    config.quiesce_after_ms = Some(draw.between(1, 2 * config.election_timeout_ms));
    plan.detectors = Some(Detectors { within: draw.span(timeout / 4, timeout * 2) });
    if draw.below(2) == 0 {
        plan.workload.clients = plan.workload.clients.min(2);
        plan.workload.think = timeout * 4;
    }
}
