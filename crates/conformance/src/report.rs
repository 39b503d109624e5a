//! The verdict, for people.

use crate::claims::Claims;
use consensus_sim::{Costs, Counts, Failure, Marks, Property, Report};
use core::time::Duration;
use std::fmt;

/// A seed on which a property failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSeed {
    /// The seed.
    pub seed: u64,
    /// What failed.
    pub failure: Failure,
}

/// What came of all runs of one algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteReport {
    /// The algorithm.
    pub algorithm: &'static str,
    /// How many seeds were run.
    pub runs: u64,
    /// The seeds that failed, in order.
    pub failures: Vec<FailedSeed>,
    /// What was checked in every run.
    pub properties: Vec<Property>,
    /// What is claimed, and not checked.
    pub unchecked: Vec<&'static str>,
    /// What happened in all runs together.
    pub counts: Counts,
    /// Which moments worth meeting were met.
    pub marks: Marks,
    /// What all runs cost together.
    pub costs: Costs,
    /// How many events there were.
    pub events: u64,
    /// How much virtual time passed.
    pub simulated: Duration,
    /// Runs whose history was too hard to judge: neither passed nor failed for linearizability.
    pub undecided: u64,
    replay: String,
}

impl SuiteReport {
    pub(crate) fn new(algorithm: &'static str, claims: &Claims, replay: &str) -> Self {
        Self {
            algorithm,
            runs: 0,
            failures: Vec::new(),
            properties: claims.properties.clone(),
            unchecked: claims.unchecked.clone(),
            counts: Counts::default(),
            marks: Marks::default(),
            costs: Costs::default(),
            events: 0,
            simulated: Duration::ZERO,
            undecided: 0,
            replay: replay.into(),
        }
    }

    pub(crate) fn add(&mut self, seed: u64, report: Report) {
        self.runs += 1;
        self.counts.add(&report.counts);
        self.marks.add(&report.marks);
        self.costs.add(&report.costs);
        self.events += report.events;
        self.simulated += report.simulated;
        self.undecided += report.undecided;
        if let Some(failure) = report.failure {
            self.failures.push(FailedSeed { seed, failure });
        }
    }

    /// How many seeds failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.len() as u64
    }

    /// How many seeds passed.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.runs - self.failed()
    }
}

/// The counts by name, in the order of reports. Each must be met in a run of many seeds: a fault that never came proves nothing.
#[must_use]
pub const fn marks(counts: &Counts) -> [(&'static str, u64); 32] {
    [
        ("messages delivered", counts.delivered),
        ("messages lost", counts.lost),
        ("messages repeated", counts.duplicated),
        ("partitions", counts.partitions),
        ("crashes", counts.crashes),
        ("power losses", counts.power_losses),
        ("restarts", counts.restarts),
        ("transfers asked for", counts.transfers),
        ("changes of members asked for", counts.changes),
        ("changes of members decided", counts.changed),
        ("wishes to lead", counts.wishes),
        ("suspicions", counts.suspicions),
        ("stops for a failed sync", counts.failed_syncs),
        ("stops for a full disk", counts.full_disks),
        ("slow disks", counts.slow_disks),
        ("bits flipped on disks", counts.bit_rots),
        ("damaged disks refused", counts.refused_disks),
        ("boots with a skewed clock", counts.skewed_boots),
        ("pauses of a node", counts.pauses),
        ("links flapping", counts.flaps),
        ("messages lost to flaps", counts.lost_to_flaps),
        ("messages lost in bursts", counts.lost_in_bursts),
        ("messages lost in queues", counts.lost_in_queues),
        ("messages over many links", counts.forwarded),
        ("frames corrupted", counts.corrupted),
        ("of which still decodable", counts.corrupted_decoded),
        ("snapshots installed", counts.installs),
        ("leaderships", counts.leaderships),
        ("disk syncs", counts.syncs),
        ("decisions", counts.decisions),
        ("client operations", counts.operations),
        ("of unknown outcome", counts.unknown),
    ]
}

impl fmt::Display for SuiteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for FailedSeed { seed, failure } in &self.failures {
            writeln!(f, "FAILED {} seed {seed}: {failure}", self.algorithm)?;
            writeln!(f, "  replay: {} {seed}", self.replay)?;
        }
        if !self.failures.is_empty() {
            writeln!(f)?;
        }
        let (runs, faults) = (self.runs, self.counts.faults());
        writeln!(
            f,
            "{:<10} {:<24} {:>8} {:>16} {:>8}",
            "algorithm", "property", "runs", "faults injected", "failed"
        )?;
        for &property in &self.properties {
            let failed = self.failures.iter().filter(|failed| failed.failure.property == property).count();
            writeln!(f, "{:<10} {:<24} {runs:>8} {faults:>16} {failed:>8}", self.algorithm, property.name())?;
        }
        writeln!(f)?;
        for (name, count) in marks(&self.counts) {
            writeln!(f, "{count:>12} {name}{}", if count == 0 { "  (never happened)" } else { "" })?;
        }
        for (mark, count) in self.marks.iter() {
            writeln!(f, "{count:>12} {}{}", mark.name(), if count == 0 { "  (never happened)" } else { "" })?;
        }
        writeln!(f, "{:>12} events in {:.1} simulated seconds", self.events, self.simulated.as_secs_f64())?;
        if self.undecided > 0 {
            writeln!(f, "{:>12} histories were too hard to judge", self.undecided)?;
        }
        for claim in &self.unchecked {
            writeln!(f, "not checked: {claim}")?;
        }
        write!(f, "\n{} passed, {} failed", self.passed(), self.failed())
    }
}
