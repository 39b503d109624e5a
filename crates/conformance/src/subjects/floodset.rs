//! How runs of FloodSet are configured.

use crate::suite::Tuning;
use consensus_sim::{Plan, Stream};
use core::time::Duration;
use floodset::Config;

/// FloodSet with rounds as long as they must be: twice what a message and an answer take, since nodes begin up to so long apart, and
/// half of that again for clocks that drift.
pub fn floodset(draw: &mut Stream, plan: &mut Plan) -> Tuning<Config> {
    // Who needs a bound and is told none can but guess.
    let bound = plan.timing.delta().unwrap_or_else(|| plan.network.longest_delay(plan.hosts()));
    let round = (bound + plan.longest_step()) * 3;
    let round_ms = u64::try_from(round.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    let config = Config { round_ms, early: draw.below(2) == 0, ..Config::default() };
    // All rounds, from the last moment at which a client may come.
    let rounds = u32::try_from(plan.hosts()).unwrap_or(u32::MAX);
    let patience = Duration::from_millis(round_ms) * (rounds + 1) + Duration::from_secs(1);
    Tuning { config, patience }
}
