//! Partial connectivity: how long nobody is served while exactly one node has links to a quorum, algorithm beside algorithm.

use crate::elections::Waits;
use consensus_core::ConsensusAlgorithm;
use consensus_sim::{Mask, Observation, PartialCase, Plan, Setup, observe};
use core::fmt;
use core::time::Duration;

/// The election timeout of every node.
pub const TIMEOUT_MS: u64 = 50;
/// How long the links are cut, and how long the group may take before and after.
pub const CUT: Duration = Duration::from_secs(1);

/// Plays a case with nodes of this configuration.
#[must_use]
pub fn play<A: ConsensusAlgorithm>(config: A::Config, case: PartialCase, seed: u64) -> Observation {
    let mut plan = Plan::calm(case.nodes());
    plan.workload.timeout = Duration::from_millis(TIMEOUT_MS);
    observe::<A>(Setup { seed, plan, mask: Mask::all(), config, patience: CUT, trace: false }, case)
}

/// Raft with short timeouts.
#[must_use]
pub fn raft() -> raft::Config {
    let timing = raft::Config { election_timeout_ms: TIMEOUT_MS, ..raft::Config::default() };
    raft::Config { heartbeat_interval_ms: Some(TIMEOUT_MS / 5), ..timing }
}

/// Multi-Paxos with the same.
#[must_use]
pub fn multipaxos() -> multipaxos::Config {
    let timing = multipaxos::Config { election_timeout_ms: TIMEOUT_MS, ..multipaxos::Config::default() };
    multipaxos::Config { heartbeat_interval_ms: TIMEOUT_MS / 5, ..timing }
}

/// What came of the runs of one algorithm in one case.
#[derive(Clone, Debug)]
struct Row {
    case: PartialCase,
    algorithm: &'static str,
    /// The longest times without service.
    gaps: Waits,
    /// The most leaders during a cut.
    leaderships: usize,
    /// Runs in which something was violated.
    violations: usize,
}

/// The table of all cases.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Measures, with this many seeds for each row.
    #[must_use]
    pub fn measure(seeds: u64) -> Self {
        let rows = PartialCase::ALL.into_iter().flat_map(|case| {
            let raft = Row::of(
                case,
                ::raft::Raft::NAME,
                (0..seeds).map(|seed| play::<::raft::Raft>(raft(), case, seed)),
            );
            let runs = (0..seeds).map(|seed| play::<::multipaxos::MultiPaxos>(multipaxos(), case, seed));
            [raft, Row::of(case, ::multipaxos::MultiPaxos::NAME, runs)]
        });
        Self { rows: rows.collect() }
    }

    /// Whether every run was safe.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.rows.iter().all(|row| row.violations == 0)
    }
}

impl Row {
    fn of(case: PartialCase, algorithm: &'static str, runs: impl Iterator<Item = Observation>) -> Self {
        let runs: Vec<_> = runs.filter(|run| run.met).collect();
        Self {
            case,
            algorithm,
            gaps: Waits::of(runs.iter().map(|run| run.gap)),
            leaderships: runs.iter().map(|run| run.leaderships).max().unwrap_or(0),
            violations: runs.iter().filter(|run| run.report.failure.is_some()).count(),
        }
    }

    /// In election timeouts.
    fn gap(&self, percent: usize) -> f64 {
        let gap = self.gaps.percentile(percent).unwrap_or_default();
        gap.as_secs_f64() / Duration::from_millis(TIMEOUT_MS).as_secs_f64()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = CUT.as_secs_f64() * 1_000.0 / TIMEOUT_MS as f64;
        writeln!(
            f,
            "without service while the links are cut, in election timeouts T; the cut lasts {whole} T\n"
        )?;
        writeln!(
            f,
            "{:<12} {:<10} {:>5} {:>6} {:>6} {:>6} {:>12} {:>10}",
            "case", "algorithm", "runs", "p50", "p99", "worst", "most leaders", "violations"
        )?;
        for row in &self.rows {
            let Row { case, algorithm, gaps, leaderships, violations } = row;
            let (p50, p99, worst) = (row.gap(50), row.gap(99), row.gap(100));
            writeln!(
                f,
                "{:<12} {algorithm:<10} {:>5} {p50:>6.2} {p99:>6.2} {worst:>6.2} {leaderships:>12} {violations:>10}",
                format!("{case:?}"),
                gaps.count()
            )?;
        }
        Ok(())
    }
}
