//! How runs of the Paxos family are configured.

use super::{declared_drift, pick, slowest_sync};
use crate::suite::Tuning;
use consensus_sim::{Plan, Stream};
use core::time::Duration;

/// Multi-Paxos with small timeouts, batches, windows and pieces, so that every limit is met.
pub fn multipaxos(draw: &mut Stream, plan: &mut Plan) -> Tuning<multipaxos::Config> {
    // A round, disk included, takes much less than an election timeout.
    let delay = plan.network.longest_delay(plan.hosts());
    let round = (delay + plan.burst) * 3 + plan.disk.sync * 2;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let heartbeat_interval_ms = draw.between(5, 40).max(round_ms);
    let election_timeout_ms = heartbeat_interval_ms * draw.between(3, 8);
    let mut config = multipaxos::Config {
        election_timeout_ms,
        heartbeat_interval_ms,
        quorums: flexible(draw, plan),
        eager_commit: draw.below(2) == 0,
        max_accept_bytes: pick(draw, &[64, 1_000, 64_000]),
        max_accept_values: pick(draw, &[1, 4, 64, 1_024]),
        max_in_flight_accepts: pick(draw, &[1, 2, 16]),
        max_in_flight_bytes: pick(draw, &[100, 4_000, 1 << 20]),
        // A backlog of commands whose clients are long gone must be worked off within the patience.
        max_open_values: pick(draw, &[2, 16, 64]),
        max_ahead_values: draw.pick(&[64, 1_000]).copied().unwrap_or(64),
        max_pending_reads: pick(draw, &[1, 16, 1_024]),
        max_questions: pick(draw, &[1, 4]),
        snapshot_piece_bytes: pick(draw, &[500, 4_096, 256 << 10]),
        retained_values: pick(draw, &[0, 3, 100]),
        promotion_lag_values: pick(draw, &[0, 5, 1_000]),
        ..multipaxos::Config::default()
    };
    if draw.below(2) == 0 {
        config.lease_drift_ppm = Some(declared_drift(plan));
        // No bound covers a clock that stands still.
        plan.clocks_stop_ppm = 0;
    }
    // Several ballots in a row may come to nothing, each after up to one and a half timeouts.
    let patience = Duration::from_millis(3_000 + 20 * election_timeout_ms);
    Tuning { config, patience }
}

/// Single-decree Paxos, with quorums that need not be majorities in a share of the runs.
pub fn synod(draw: &mut Stream, plan: &mut Plan) -> Tuning<multipaxos::synod::Config> {
    // A ballot takes two rounds; a wait that is much shorter would overtake each.
    let round = plan.network.longest_delay(plan.hosts()) * 2 + plan.burst * 2 + plan.disk.sync * 2;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let retry_ms = draw.between(1, 30).max(round_ms);
    let quorums = flexible(draw, plan);
    // Several ballots in a row may be overtaken, each after a wait of up to 33 times the shortest.
    let patience = Duration::from_millis(2_000 + 100 * retry_ms) + slowest_sync(plan);
    let config = multipaxos::synod::Config { quorums, ..Default::default() };
    Tuning { config: multipaxos::synod::Config { retry_ms, ..config }, patience }
}

/// Quorums of two sizes, in a third of the runs. No more nodes are lost than these can do without.
fn flexible(draw: &mut Stream, plan: &mut Plan) -> Option<multipaxos::Sizes> {
    let acceptances = 1 + draw.index(plan.nodes);
    if draw.below(3) > 0 {
        return None;
    }
    let promises = plan.nodes + 1 - acceptances;
    // Other members may spare fewer: sizes fit themselves to how many they are.
    let changes = plan.changes.is_some();
    let spare = if changes { 0 } else { plan.nodes - promises.max(acceptances) };
    plan.lost_for_good = plan.lost_for_good.min(spare);
    plan.left_out.truncate(spare - plan.lost_for_good);
    plan.hardships.rot = None;
    Some(multipaxos::Sizes { promises, acceptances })
}
