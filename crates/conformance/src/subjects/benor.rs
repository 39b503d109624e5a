//! How runs of Ben-Or are configured.

use super::{pick, slowest_sync};
use crate::suite::Tuning;
use benor::{Config, Decided, Message, Proposal, Standing, log};
use consensus_sim::{Mutate, Mutator, Plan, Stream};
use core::time::Duration;

/// Ben-Or among nodes that crash.
pub fn benor(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    // A round takes two waits; who asks much sooner gets the same answers again and again.
    let round = plan.network.longest_delay(plan.hosts()) * 2 + plan.burst * 2 + plan.disk.sync * 2;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let retry_ms = draw.between(1, 30).max(round_ms);
    // With probability one: a bound that no sound run has come near.
    let patience = Duration::from_millis(10_000 + 200 * retry_ms) + slowest_sync(plan);
    Tuning { config: Config { retry_ms, ..Config::default() }, patience }
}

/// The log, with small batches, windows and pieces, so that every limit is met.
pub fn benor_log(draw: &mut Stream, plan: &mut Plan) -> Tuning<log::Config> {
    let round = plan.network.longest_delay(plan.hosts()) * 2 + plan.burst * 2 + plan.disk.sync * 2;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX);
    let retry_ms = draw.between(1, 30).max(round_ms);
    let config = log::Config {
        retry_ms,
        coin_key: draw.between(0, u64::MAX - 1),
        // Coins that all share, coins of everybody's own, and first the ones and then the others.
        common_rounds: draw.pick(&[0, 1, 16]).copied().unwrap_or(16),
        max_instances: draw.pick(&[1, 2, 8, 64]).copied().unwrap_or(8),
        max_open_batches: draw.pick(&[1, 2, 8]).copied().unwrap_or(8),
        max_batch_bytes: pick(draw, &[64, 1_000, 64_000]),
        max_batch_entries: pick(draw, &[1, 4, 64]),
        // A backlog of commands whose clients are long gone must be worked off within the patience.
        max_queued_entries: pick(draw, &[2, 16, 64]),
        max_pending_reads: pick(draw, &[1, 16, 1_024]),
        snapshot_piece_bytes: pick(draw, &[500, 4_096, 256 << 10]),
        retained_slots: draw.pick(&[0, 3, 100]).copied().unwrap_or(0),
        ..log::Config::default()
    };
    // With probability one: a bound that no sound run has come near.
    let patience = Duration::from_millis(10_000 + 200 * retry_ms) + slowest_sync(plan);
    Tuning { config, patience }
}

/// Ben-Or among nodes that lie, and know what the fields of a message mean.
pub fn benor_byzantine(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    if let Some(byzantine) = &mut plan.byzantine {
        byzantine.mutator = Some(Mutator::of::<Lie>());
    }
    benor(draw, plan)
}

/// What a liar changes in a message of its own.
struct Lie;

impl Mutate for Lie {
    type Message = Message;

    fn mutate(message: &Message, choices: &mut Stream) -> Option<Message> {
        let mut lie = |standing: &Standing| {
            let mut lie = *standing;
            let Some(casts) = &mut lie.casts else { return lie };
            match choices.below(6) {
                0 => casts.report.value = !casts.report.value,
                1 => casts.report.tossed = !casts.report.tossed,
                2 => {
                    casts.proposal = match casts.proposal {
                        Some(Proposal::Value(value)) => Some(Proposal::Value(!value)),
                        Some(Proposal::Nothing) | None => Some(Proposal::Value(casts.report.value)),
                    };
                }
                3 => lie.decided = Some(Decided { value: casts.report.value, reached: false }),
                4 => lie.round += choices.between(1, 3),
                _ => {
                    let value = !casts.report.value;
                    *casts = benor::Casts::all_for(value);
                    lie.decided = (lie.round > 1).then_some(Decided { value, reached: true });
                }
            }
            lie
        };
        Some(match message {
            Message::Tell(standing) => Message::Tell(lie(standing)),
            Message::Ask(standing) => Message::Ask(lie(standing)),
        })
    }
}
