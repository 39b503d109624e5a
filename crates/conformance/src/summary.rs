//! The whole verdict as one document: tables for people, JSON for programs. Both say the same.

use crate::calm::Legs;
use crate::controls::Control;
use crate::report::{FailedSeed, SuiteReport, byzantine_marks, marks};
use consensus_sim::Costs;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the document; it rises when a field changes its meaning.
const FORMAT: u32 = 1;

/// What came of a run of the suite. All times are nanoseconds of virtual time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of this document.
    pub format: u32,
    /// How many runs held what was promised.
    pub passed: u64,
    /// How many did not.
    pub failed: u64,
    /// One for each algorithm.
    pub algorithms: Vec<Total>,
    /// What came just outside of the claims, if it was asked for.
    #[serde(default)]
    pub controls: Vec<ControlLine>,
}

/// A run just outside of the claims, where something must be found, or everything must stand still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlLine {
    /// What was done.
    pub name: String,
    /// Whether what was expected came.
    pub holds: bool,
    /// The property that failed, if any.
    pub property: Option<String>,
    /// The seed at which it failed.
    pub seed: Option<u64>,
    /// The most seeds that it may take.
    pub budget: u64,
    /// What was seen.
    pub detail: String,
}

impl From<&Control> for ControlLine {
    fn from(control: &Control) -> Self {
        Self {
            name: control.name.clone(),
            holds: control.holds(),
            property: control.found.map(|(_, property)| property.name().into()),
            seed: control.found.map(|(seed, _)| seed),
            budget: control.budget,
            detail: control.detail.clone(),
        }
    }
}

/// What came of all runs of one algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Its name.
    pub algorithm: String,
    /// How many seeds were run.
    pub runs: u64,
    /// How many of them passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// Runs whose history was too hard to judge.
    pub undecided: u64,
    /// How many faults were injected.
    pub faults: u64,
    /// What was checked.
    pub properties: Vec<PropertyLine>,
    /// How fast clients were served again once the faults were over; nothing if no run came so far.
    pub recovery: Option<Recovery>,
    /// Slots decided, over all runs. What follows is to be divided by it.
    pub decisions: u64,
    /// Messages between nodes, with those that were lost.
    pub messages: u64,
    /// Their bytes.
    pub message_bytes: u64,
    /// Records and checkpoints that became durable, over all nodes.
    pub durable_writes: u64,
    /// Syncs of all disks: writes share them.
    pub disk_syncs: u64,
    /// Steps of the simulator.
    pub steps: u64,
    /// Virtual time.
    pub simulated: u64,
    /// How often each class of faults and other things were met.
    pub counts: Vec<Counted>,
    /// How often each moment worth meeting was met.
    pub marks: Vec<Counted>,
    /// What was measured of this problem: rounds until a decision, waits for a dead coordinator. A line for each.
    #[serde(default)]
    pub measured: Vec<String>,
    /// What is claimed, and not checked.
    pub unchecked: Vec<String>,
    /// The seeds that failed, in order.
    pub failures: Vec<FailureLine>,
}

/// One property of one algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyLine {
    /// Its name.
    pub property: String,
    /// How many runs said something about it.
    pub runs: u64,
    /// In how many of those it held.
    pub passed: u64,
    /// In how many it did not.
    pub failed: u64,
}

/// The time from the end of the faults until every client was served, its own pauses included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// How often it was measured.
    pub samples: u64,
    /// Half of them took no longer.
    pub p50: u64,
    /// The longest.
    pub worst: u64,
    /// Its seed.
    pub worst_seed: u64,
}

/// How often something was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// What.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureLine {
    /// The seed.
    pub seed: u64,
    /// The property that failed.
    pub property: String,
    /// When.
    pub at: u64,
    /// What happened.
    pub detail: String,
    /// The command that does it again.
    pub replay: String,
    /// The same failure in a smaller run, for the first seeds that fail.
    pub small: Option<Small>,
}

/// A failing run, made small: the story to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Small {
    /// How many faults were carried out before.
    pub faults_before: u64,
    /// How many faults are left.
    pub faults: u64,
    /// How many runs it took to find.
    pub runs: u64,
    /// What is said of the failure there.
    pub detail: String,
    /// The command that does it.
    pub replay: String,
}

impl Summary {
    /// What these reports say together.
    #[must_use]
    pub fn of(reports: &[SuiteReport]) -> Self {
        let algorithms: Vec<Total> = reports.iter().map(Total::of).collect();
        let sum = |count: fn(&Total) -> u64| algorithms.iter().map(count).sum();
        Self {
            format: FORMAT,
            passed: sum(|total| total.passed),
            failed: sum(|total| total.failed),
            algorithms,
            controls: Vec::new(),
        }
    }

    /// With what came of `controls`. They are counted apart from the runs.
    #[must_use]
    pub fn with_controls(mut self, controls: &[Control]) -> Self {
        self.controls = controls.iter().map(ControlLine::from).collect();
        self
    }

    /// The document as JSON.
    ///
    /// # Errors
    /// Never in practice: plain data encodes into memory.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// Reads a document back.
    ///
    /// # Errors
    /// It is not JSON, or not such a document.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

impl Total {
    fn of(report: &SuiteReport) -> Self {
        let counted = |(name, count): (&str, u64)| Counted { name: name.into(), count };
        let properties = report.properties.iter().map(|&property| {
            let (runs, failed) = report.verdict(property);
            PropertyLine { property: property.name().into(), runs, passed: runs - failed, failed }
        });
        Self {
            algorithm: report.algorithm.into(),
            runs: report.runs,
            passed: report.passed(),
            failed: report.failed(),
            undecided: report.undecided,
            faults: report.counts.faults(),
            properties: properties.collect(),
            recovery: Recovery::of(report),
            decisions: report.counts.decisions,
            messages: report.costs.messages,
            message_bytes: report.costs.message_bytes,
            durable_writes: report.costs.writes,
            disk_syncs: report.counts.syncs,
            steps: report.events,
            simulated: nanos(report.simulated),
            counts: marks(&report.counts)
                .into_iter()
                .chain(byzantine_marks(&report.counts.byzantine))
                .map(counted)
                .collect(),
            marks: report.marks.iter().map(|(mark, count)| counted((mark.name(), count))).collect(),
            measured: report
                .measures
                .to_string()
                .lines()
                .map(String::from)
                .chain(in_calm(&report.costs))
                .collect(),
            unchecked: report.unchecked.iter().map(|&claim| claim.into()).collect(),
            failures: report.failures.iter().map(|failed| FailureLine::of(failed, &report.replay)).collect(),
        }
    }

    fn per_decision(&self, count: u64) -> f64 {
        count as f64 / self.decisions.max(1) as f64
    }
}

impl Recovery {
    fn of(report: &SuiteReport) -> Option<Self> {
        let samples = &report.costs.recoveries;
        let (worst, worst_seed) = report.slowest?;
        let p50 = samples.get((samples.len() - 1) / 2)?;
        Some(Self { samples: samples.len() as u64, p50: nanos(*p50), worst: nanos(worst), worst_seed })
    }
}

impl FailureLine {
    fn of(FailedSeed { recipe, failure, shrunk }: &FailedSeed, replay: &str) -> Self {
        Self {
            seed: recipe.seed,
            property: failure.property.name().into(),
            at: failure.at.as_nanos(),
            detail: failure.detail.clone(),
            replay: recipe.command(replay),
            small: shrunk.as_ref().map(|shrunk| Small {
                faults_before: shrunk.faults_before,
                faults: shrunk.faults,
                runs: shrunk.runs,
                detail: shrunk.detail.clone(),
                replay: shrunk.recipe.command(replay),
            }),
        }
    }
}

/// How long answers took while all clocks stood still, if any run stopped them.
fn in_calm(Costs { alone, together, .. }: &Costs) -> Option<String> {
    let count = alone.len() + together.len();
    let [alone, together] = [alone, together].map(|legs| Legs::of(legs.clone()));
    (count > 0).then(|| {
        format!("{count:>10} answers with all clocks stopped, in legs (p50, p99, worst): alone{alone}, together{together}")
    })
}

fn nanos(span: core::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_properties(f)?;
        self.write_costs(f)?;
        for total in &self.algorithms {
            total.write_met(f)?;
        }
        for total in &self.algorithms {
            total.write_failures(f)?;
        }
        write!(f, "\n{} passed, {} failed", self.passed, self.failed)
    }
}

impl Summary {
    fn write_properties(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:<24} {:>7} {:>7} {:>7} {:>10} {:>15} {:>18}",
            "algorithm",
            "property",
            "runs",
            "passed",
            "failed",
            "faults",
            "worst recovery",
            "messages/decision"
        )?;
        for total in &self.algorithms {
            let worst =
                total.recovery.map_or("-".into(), |recovery| format!("{:.0} ms", millis(recovery.worst)));
            let messages = total.per_decision(total.messages);
            for PropertyLine { property, runs, passed, failed } in &total.properties {
                let (name, faults) = (&total.algorithm, total.faults);
                writeln!(
                    f,
                    "{name:<12} {property:<24} {runs:>7} {passed:>7} {failed:>7} {faults:>10} {worst:>15} {messages:>18.1}"
                )?;
            }
        }
        Ok(())
    }

    /// What a decision costs, faults, heartbeats and retries included, and how long service was gone after the faults.
    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<12} {:>10}   {:>8} {:>8} {:>8} {:>8}   {:>12} {:>10} {:>10}",
            "algorithm",
            "decisions",
            "messages",
            "bytes",
            "writes",
            "syncs",
            "recovery p50",
            "worst",
            "in seed"
        )?;
        for total in &self.algorithms {
            let [messages, bytes, writes, syncs] =
                [total.messages, total.message_bytes, total.durable_writes, total.disk_syncs]
                    .map(|count| total.per_decision(count));
            let [p50, worst, seed] = total.recovery.map_or_else(
                || ["-", "-", "-"].map(String::from),
                |Recovery { p50, worst, worst_seed, samples: _ }| {
                    [
                        format!("{:.0} ms", millis(p50)),
                        format!("{:.0} ms", millis(worst)),
                        worst_seed.to_string(),
                    ]
                },
            );
            let (name, decisions) = (&total.algorithm, total.decisions);
            write!(
                f,
                "{name:<12} {decisions:>10}   {messages:>8.1} {bytes:>8.0} {writes:>8.1} {syncs:>8.1}   "
            )?;
            writeln!(f, "{p50:>12} {worst:>10} {seed:>10}")?;
        }
        writeln!(f, "{:<12} {:>10}   of each decision", "", "")
    }
}

impl Total {
    /// How often what was met, in two columns: faults and other events, and the moments worth meeting.
    fn write_met(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}: what was met", self.algorithm)?;
        let cell = |counted: Option<&Counted>| {
            counted.map_or_else(String::new, |Counted { name, count }| {
                let never = if *count == 0 { "  (never)" } else { "" };
                format!("{count:>10} {name}{never}")
            })
        };
        for row in 0..self.counts.len().max(self.marks.len()) {
            let (left, right) = (cell(self.counts.get(row)), cell(self.marks.get(row)));
            writeln!(f, "{}", format!("{left:<46} {right}").trim_end())?;
        }
        for line in &self.measured {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{:>10} events in {:.1} simulated seconds", self.steps, self.simulated as f64 / 1e9)?;
        if self.undecided > 0 {
            writeln!(f, "{:>10} histories were too hard to judge", self.undecided)?;
        }
        for claim in &self.unchecked {
            writeln!(f, "not checked: {claim}")?;
        }
        Ok(())
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for FailureLine { seed, property, at, detail, replay, small } in &self.failures {
            let at = millis(*at);
            writeln!(f, "\nFAILED {} seed {seed}: {property} at {at:.3} ms: {detail}", self.algorithm)?;
            writeln!(f, "  replay: {replay}")?;
            if let Some(Small { faults_before, faults, runs, detail, replay }) = small {
                writeln!(f, "  shrunk from {faults_before} faults to {faults}, in {runs} runs: {detail}")?;
                writeln!(f, "  replay: {replay}")?;
            }
        }
        Ok(())
    }
}
