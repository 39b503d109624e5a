//! Weathers in which a lease that is too long shows: a leader is cut off from the others, and not from its clients, another is
//! elected and writes, and the first is asked. Much is read, of one register, and clients stay with whoever answers them.

use crate::suite::Tuning;
use consensus_sim::{ClockPlan, MILLION, Plan, Rhythm, Stream};
use core::time::Duration;

/// The largest drift of the clocks here: the slowest counts a third of what the fastest does.
pub const DRIFT_PPM: u64 = MILLION / 2;

/// A configuration of an algorithm that has leases.
pub trait Leased: Sized {
    /// With leases for clocks that keep this bound.
    fn leased(election_timeout_ms: u64, drift_ppm: u32) -> Self;

    /// How long those who heard a leader are bound.
    fn bound(&self) -> Duration;
}

impl Leased for raft::Config {
    fn leased(election_timeout_ms: u64, drift_ppm: u32) -> Self {
        Self { election_timeout_ms, lease_drift_ppm: Some(drift_ppm), ..Self::default() }
    }

    fn bound(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms)
    }
}

impl Leased for multipaxos::Config {
    fn leased(election_timeout_ms: u64, drift_ppm: u32) -> Self {
        let heartbeat_interval_ms = election_timeout_ms / 10;
        let lease_drift_ppm = Some(drift_ppm);
        Self { election_timeout_ms, heartbeat_interval_ms, lease_drift_ppm, ..Self::default() }
    }

    fn bound(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms)
    }
}

/// Leaders that are cut off for a few election timeouts, clocks that drift by up to [`DRIFT_PPM`], and nothing else.
pub fn cut_off_leaders<C: Leased>(draw: &mut Stream, plan: &mut Plan, declared_ppm: u64) -> Tuning<C> {
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
    let config = C::leased(election_timeout_ms, u32::try_from(declared_ppm).unwrap_or(u32::MAX));
    Tuning { config, patience: Duration::from_secs(10) }
}

/// As before, with clocks that keep pace: a lease lasts nearly as long as an election takes to begin.
pub fn cut_off_in_time<C: Leased>(draw: &mut Stream, plan: &mut Plan) -> Tuning<C> {
    let tuning = cut_off_leaders(draw, plan, 1_000);
    (plan.clocks, plan.transfers) = (None, None);
    tuning
}

/// As before, and much comes late.
pub fn late_echoes<C: Leased>(draw: &mut Stream, plan: &mut Plan) -> Tuning<C> {
    let tuning: Tuning<C> = cut_off_in_time(draw, plan);
    // Many an echo, but few of the messages that an election takes.
    let timeout = tuning.config.bound();
    plan.network.spike_ppm = MILLION / 10;
    plan.network.spike = timeout * 3;
    plan.partitions = Some(Rhythm { every: timeout * 5, lasts: timeout * 4 });
    plan.faults_for = timeout * 100;
    tuning
}

/// As late echoes, with an operator who has leadership handed over all the time.
pub fn heirs<C: Leased>(draw: &mut Stream, plan: &mut Plan) -> Tuning<C> {
    let tuning = late_echoes(draw, plan);
    plan.transfers = rhythm(Duration::from_millis(40));
    tuning
}

/// Leaders that are cut off, and followers that restart in a moment.
pub fn restarts<C: Leased>(draw: &mut Stream, plan: &mut Plan) -> Tuning<C> {
    let tuning = cut_off_in_time(draw, plan);
    plan.crashes = rhythm(Duration::from_millis(25));
    plan.at_leaders_ppm = MILLION / 4;
    tuning
}

/// Leaders that are cut off, and followers that suspect them all the time.
pub fn doubts<C: Leased>(draw: &mut Stream, plan: &mut Plan) -> Tuning<C> {
    let tuning = cut_off_in_time(draw, plan);
    plan.suspicions = rhythm(Duration::from_millis(6));
    tuning
}

fn rhythm(every: Duration) -> Option<Rhythm> {
    Some(Rhythm { every, lasts: Duration::from_millis(1) })
}
