//! Worlds to be measured: the suite's own runs, and two clusters without faults.

use anyhow::{Result, ensure};
use conformance::{run_seed, subjects};
use consensus_sim::{Mask, Plan, Report, Setup, Workload};
use raft::{Config, Raft};
use std::time::Duration;

/// How many nodes the clusters have.
pub(super) const NODES: usize = 5;
/// How many clients of the busy cluster ask all the time.
pub(super) const CLIENTS: u32 = 32;
/// How long they think between two operations, on average.
pub(super) const THINK: Duration = Duration::from_millis(1);

/// One seed of the default swarm, faults and judgement included.
pub(super) fn swarm(seed: u64) -> Result<Report> {
    sound(seed, run_seed::<Raft>(seed, &subjects::raft, false)?)
}

/// An hour of a cluster that has nothing to do but heartbeats.
pub(super) fn idle(seed: u64) -> Result<Report> {
    calm(seed, Duration::from_secs(3_600), 0)
}

/// Some seconds of a cluster that is asked all the time.
pub(super) fn busy(seed: u64) -> Result<Report> {
    calm(seed, Duration::from_secs(5), CLIENTS)
}

fn calm(seed: u64, span: Duration, clients: u32) -> Result<Report> {
    let mut plan = Plan::calm(NODES);
    plan.faults_for = span;
    plan.workload = Workload { clients, keys: 16, think: THINK, ..plan.workload };
    let (config, patience) = (Config::default(), Duration::from_secs(10));
    let setup = Setup::<Raft> { seed, plan, mask: Mask::all(), config, patience, trace: false };
    sound(seed, consensus_sim::run(setup))
}

/// A run that went wrong is not measured.
fn sound(seed: u64, report: Report) -> Result<Report> {
    let wrong = report.failure.as_ref().map(ToString::to_string);
    ensure!(wrong.is_none(), "seed {seed}: {}", wrong.unwrap_or_default());
    Ok(report)
}
