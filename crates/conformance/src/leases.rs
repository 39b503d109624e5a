//! Weathers in which a lease that is too long shows: a leader is cut off from the others, and not from its clients, another is
//! elected and writes, and the first is asked. Much is read, of one register, and clients stay with whoever answers them.

use crate::suite::Tuning;
use consensus_sim::{ClockPlan, MILLION, Plan, Rhythm, Stream};
use core::time::Duration;

/// The largest drift of the clocks here: the slowest counts a third of what the fastest does.
pub const DRIFT_PPM: u64 = MILLION / 2;

/// Leaders that are cut off for a few election timeouts, clocks that drift by up to [`DRIFT_PPM`], and nothing else.
pub fn cut_off_leaders(draw: &mut Stream, plan: &mut Plan, declared_ppm: u64) -> Tuning<raft::Config> {
    let election_timeout_ms = draw.between(60, 100);
    let timeout = Duration::from_millis(election_timeout_ms);
    *plan = Plan::calm(plan.nodes);
    plan.faults_for = timeout * 50;
    plan.network.delay = Duration::from_micros(draw.between(200, 1_500));
    plan.partitions = Some(Rhythm { every: timeout * 3, lasts: timeout * 2 });
    // By itself the node with the fastest clock is elected, and the lease that matters is that of the slowest.
    plan.transfers = rhythm(timeout * 2);
    plan.at_leaders_ppm = MILLION;
    plan.clocks = Some(ClockPlan { skew: Duration::from_secs(1), drift_ppm: DRIFT_PPM });
    plan.clocks_stop_ppm = 0;
    plan.workload.clients = 8;
    plan.workload.keys = 1;
    plan.workload.session_ppm = MILLION;
    // Whoever writes at a leader that is cut off waits in vain, and is lost to it as a reader.
    plan.workload.read_ppm = MILLION * 95 / 100;
    plan.workload.think = Duration::from_millis(1);
    plan.workload.timeout = Duration::from_millis(20);
    let lease_drift_ppm = Some(u32::try_from(declared_ppm).unwrap_or(u32::MAX));
    let config = raft::Config { election_timeout_ms, lease_drift_ppm, ..raft::Config::default() };
    Tuning { config, patience: Duration::from_secs(10) }
}

/// As before, with clocks that keep pace: a lease lasts nearly as long as an election takes to begin.
pub fn cut_off_in_time(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = cut_off_leaders(draw, plan, 1_000);
    (plan.clocks, plan.transfers) = (None, None);
    tuning
}

/// As before, and much comes late.
pub fn late_echoes(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = cut_off_in_time(draw, plan);
    // Many an echo, but few of the messages that an election takes.
    let timeout = Duration::from_millis(tuning.config.election_timeout_ms);
    plan.network.spike_ppm = MILLION / 10;
    plan.network.spike = timeout * 3;
    plan.partitions = Some(Rhythm { every: timeout * 5, lasts: timeout * 4 });
    plan.faults_for = timeout * 100;
    tuning
}

/// As late echoes, with an operator who has leadership handed over all the time.
pub fn heirs(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = late_echoes(draw, plan);
    plan.transfers = rhythm(Duration::from_millis(40));
    tuning
}

/// Leaders that are cut off, and followers that restart in a moment.
pub fn restarts(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = cut_off_in_time(draw, plan);
    plan.crashes = rhythm(Duration::from_millis(25));
    plan.at_leaders_ppm = MILLION / 4;
    tuning
}

/// Leaders that are cut off, and followers that suspect them all the time.
pub fn doubts(draw: &mut Stream, plan: &mut Plan) -> Tuning<raft::Config> {
    let tuning = cut_off_in_time(draw, plan);
    plan.suspicions = rhythm(Duration::from_millis(6));
    tuning
}

fn rhythm(every: Duration) -> Option<Rhythm> {
    Some(Rhythm { every, lasts: Duration::from_millis(1) })
}
