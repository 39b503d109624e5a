//! What came of many runs of one algorithm. [`Summary`] tells it.

use crate::claims::Claims;
use crate::recipe::Recipe;
use crate::shrink::Shrunk;
use crate::suite::Judged;
use crate::summary::Summary;
use consensus_sim::{Act, ByzantineCounts, Costs, Counts, Failure, Marks, Measures, Property};
use core::time::Duration;
use std::fmt;

/// A seed on which a property failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSeed {
    /// The run: all that a seed draws, or the same with clocks that stop.
    pub recipe: Recipe,
    /// What failed.
    pub failure: Failure,
    /// The same failure in a smaller run, for the first seeds that fail.
    pub shrunk: Option<Shrunk>,
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
    /// Runs whose history was too hard to judge: neither passed nor failed for what is judged from it.
    pub undecided: u64,
    /// What was measured in all runs together.
    pub measures: Measures,
    /// Runs that were run twice, to compare.
    pub repeated: u64,
    /// Seeds that were run with clocks that stop, too.
    pub stilled: u64,
    /// The longest time that it took until every client was served again after the faults, and its seed.
    pub slowest: Option<(Duration, u64)>,
    /// The command that replays a seed, up to the seed's number.
    pub replay: String,
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
            measures: Measures::default(),
            repeated: 0,
            stilled: 0,
            slowest: None,
            replay: replay.into(),
        }
    }

    pub(crate) fn add(&mut self, judged: Judged) {
        let Judged { recipe, report, repeated, stilled } = judged;
        let seed = recipe.seed;
        self.runs += 1;
        self.repeated += u64::from(repeated);
        self.stilled += u64::from(stilled);
        for &recovery in &report.costs.recoveries {
            // Of equally slow ones the lowest seed, whichever thread came first.
            if self
                .slowest
                .is_none_or(|(slowest, of)| recovery > slowest || (recovery == slowest && seed < of))
            {
                self.slowest = Some((recovery, seed));
            }
        }
        self.counts.add(&report.counts);
        self.marks.add(&report.marks);
        self.costs.add(&report.costs);
        self.events += report.events;
        self.simulated += report.simulated;
        self.undecided += report.undecided;
        self.measures.add(&report.measures);
        if let Some(failure) = report.failure {
            self.failures.push(FailedSeed { recipe, failure, shrunk: None });
        }
    }

    /// Makes the report independent of which thread was first.
    pub(crate) fn put_in_order(&mut self) {
        self.failures.sort_by_key(|failed| failed.recipe.seed);
        self.costs.recoveries.sort_unstable();
        self.costs.alone.sort_unstable();
        self.costs.together.sort_unstable();
    }

    /// How many runs said something about `property`, and how many of those it failed. A run ends with the first property that
    /// fails, and says nothing about the others.
    #[must_use]
    pub fn verdict(&self, property: Property) -> (u64, u64) {
        let of = |failed: &&FailedSeed| failed.failure.property == property;
        let failed = self.failures.iter().filter(of).count() as u64;
        if property == Property::Determinism {
            return (self.repeated, failed);
        }
        if property == Property::NoTimer {
            return (self.stilled, failed);
        }
        let undecided = if property.is_of_history() { self.undecided } else { 0 };
        (self.runs - (self.failed() - failed) - undecided, failed)
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
pub const fn marks(counts: &Counts) -> [(&'static str, u64); 41] {
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
        ("notices of failure detectors", counts.detections),
        ("nodes that came to rest", counts.rests),
        ("stops for a failed sync", counts.failed_syncs),
        ("stops for a full disk", counts.full_disks),
        ("slow disks", counts.slow_disks),
        ("bits flipped on disks", counts.bit_rots),
        ("damaged disks refused", counts.refused_disks),
        ("boots with a skewed clock", counts.skewed_boots),
        ("pauses of a node", counts.pauses),
        ("links flapping", counts.flaps),
        ("messages lost to flaps", counts.lost_to_flaps),
        ("stabilisations", counts.stabilisations),
        ("nodes left out of the core", counts.left_out),
        ("spans of starvation", counts.starvations),
        ("links starved", counts.starved_links),
        ("nodes starved", counts.starved_nodes),
        ("us that a message waited", counts.longest_wait_us),
        ("us that one waited in calm", counts.longest_calm_wait_us),
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

/// What Byzantine nodes did, by name; nothing if there was none in any run.
#[must_use]
pub fn byzantine_marks(counts: &ByzantineCounts) -> Vec<(&'static str, u64)> {
    if counts.runs == 0 {
        return Vec::new();
    }
    let acts = Act::ALL.into_iter().map(|act| (act.name(), counts.of(act)));
    let others = [
        ("runs with Byzantine nodes", counts.runs),
        ("rounds of twins", counts.rounds),
        ("forged frames refused", counts.refused_forgeries),
        ("Byzantine frames undecodable", counts.undecodable),
        ("Byzantine nodes accused", counts.accusations),
        ("Byzantine nodes collapsed", counts.collapses),
        ("replies given alike by f + 1", counts.matched_replies),
    ];
    acts.chain(others).collect()
}

impl fmt::Display for SuiteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Summary::of(core::slice::from_ref(self)).fmt(f)
    }
}
