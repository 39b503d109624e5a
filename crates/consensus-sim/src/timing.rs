//! What the network and the nodes keep of time, as data: which delays are possible, and from when on.
//!
//! Three models. *Asynchronous*: anything, until the storm is over. *Synchronous*: every message arrives within a known bound Δ,
//! from the first on; nodes may crash. *Partially synchronous* (Dwork, Lynch and Stockmeyer 1988): there are a
//! bound Δ and a moment of stabilisation, GST, and nobody is told either. Before it anything may happen; what is sent after it,
//! or is under way at it, arrives within Δ. What was lost before stays lost.
//!
//! Invariant: [`TimingPlan::bound`] is the only judge of how late a message may be; the links keep to it, and the monitor of
//! fairness checks each delivery against it.

use crate::hardship::Misery;
use crate::plan::text;
use crate::plan::{NetworkPlan, Plan, PlanError};
use crate::random::Stream;
use consensus_core::Time;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The largest drift of a clock in a synchronous run: good quartz is a hundred times better.
const SYNCHRONOUS_DRIFT_PPM: u64 = 10_000;

/// What holds of time in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TimingPlan {
    /// Nothing, as long as the storm lasts.
    #[default]
    Asynchronous,
    /// Every message arrives within the bound, always. The bound may be told to the algorithm.
    Synchronous {
        /// Δ.
        #[serde(with = "text::span")]
        bound: Duration,
    },
    /// Every message arrives within the bound, once the network has stabilised. Neither may be told to the algorithm.
    PartialSynchrony {
        /// Δ.
        #[serde(with = "text::span")]
        bound: Duration,
        /// GST, from the beginning of the run.
        #[serde(with = "text::span")]
        stabilises: Duration,
    },
}

impl TimingPlan {
    /// In some runs a moment of stabilisation before the end of the storm or after it, and a bound beyond the usual delay.
    pub(crate) fn draw(seed: u64, plan: &Plan) -> Self {
        let draw = &mut Stream::derive(seed, "timing");
        let usual = plan.network.longest_delay(plan.hosts());
        let bound = draw.span(usual * 3 / 2, usual * 3);
        let stabilises = draw.span(plan.faults_for / 4, plan.faults_for * 3 / 2);
        if draw.chance(200_000) { Self::PartialSynchrony { bound, stabilises } } else { Self::Asynchronous }
    }

    /// The bound on the delay of every message that is sent from the moment of stabilisation on, if there is one.
    #[must_use]
    pub const fn delta(&self) -> Option<Duration> {
        match *self {
            Self::Asynchronous => None,
            Self::Synchronous { bound } | Self::PartialSynchrony { bound, .. } => Some(bound),
        }
    }

    /// The moment of stabilisation, if there is one.
    #[must_use]
    pub fn stabilisation(&self) -> Option<Time> {
        match *self {
            Self::Asynchronous => None,
            Self::Synchronous { .. } => Some(Time::ZERO),
            Self::PartialSynchrony { stabilises, .. } => Some(Time::ZERO + stabilises),
        }
    }

    /// Whether the bound holds for what is sent now.
    #[must_use]
    pub fn is_settled(&self, now: Time) -> bool {
        self.stabilisation().is_some_and(|stabilised| now >= stabilised)
    }

    /// The last moment at which a message that is sent now may arrive, if it is not lost.
    #[must_use]
    pub fn latest(&self, sent: Time) -> Option<Time> {
        Some(sent.max(self.stabilisation()?) + self.delta()?)
    }

    /// How long a message that is sent now is under way, if it would take so long without a bound.
    #[must_use]
    pub fn bounded(&self, now: Time, delay: Duration) -> Duration {
        self.latest(now).map_or(delay, |latest| delay.min(latest.since(now)))
    }

    /// Whether a run can follow it.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), PlanError> {
        let refuse = |field: &str, problem: &str| {
            Err(PlanError::Invalid { field: field.into(), problem: problem.into() })
        };
        if let Some(bound) = self.delta()
            && !(Duration::from_micros(1)..=Duration::from_secs(60)).contains(&bound)
        {
            return refuse("timing.bound", "it must lie within 1us and 60s");
        }
        match *self {
            Self::Asynchronous => Ok(()),
            Self::PartialSynchrony { stabilises, .. } if stabilises > Duration::from_secs(3_600) => {
                refuse("timing.stabilises", "it must be at most 1h, or no run gets so far")
            }
            Self::PartialSynchrony { .. } => Ok(()),
            Self::Synchronous { bound } => match contradiction(plan, bound) {
                Some(field) => refuse(
                    field,
                    "a synchronous network loses nothing, keeps to timing.bound, and its nodes and clocks keep pace; leave this \
                     out, or choose another timing",
                ),
                None => Ok(()),
            },
        }
    }
}

/// The first field of the plan that no synchronous run can follow.
fn contradiction(plan: &Plan, bound: Duration) -> Option<&'static str> {
    let network = &plan.network;
    let lossy_links = network
        .links
        .iter()
        .any(|link| link.loss_ppm > 0 || link.bursts.is_some() || link.bandwidth.is_some());
    let drifts = plan.clocks.is_some_and(|clocks| clocks.drift_ppm > SYNCHRONOUS_DRIFT_PPM);
    let skewed = plan.clocks.is_some_and(|clocks| clocks.skew > bound);
    [
        ("partitions", plan.partitions.is_some()),
        ("network.loss", network.loss_ppm > 0),
        ("network.corruption", network.corrupt_ppm > 0),
        ("network.bursts", network.bursts.is_some()),
        ("network.bandwidth", network.bandwidth.is_some()),
        (
            "network.topology.loss",
            network.topology.is_some_and(|topology| topology.lossy_ppm > 0 && topology.loss_ppm > 0),
        ),
        ("network.links", lossy_links),
        ("timing.bound", network.slowest_message(plan.hosts()) > bound),
        ("left_out", plan.left_out.iter().any(|&misery| misery != Misery::Down)),
        ("hardships.starvation", plan.hardships.starvation.is_some()),
        ("hardships.flaps", plan.hardships.flaps.is_some()),
        ("hardships.pauses", plan.hardships.pauses.is_some()),
        ("hardships.slow_disks", plan.hardships.slow_disks.is_some()),
        ("disk.slow_syncs", plan.disk.slow_ppm > 0),
        ("clocks.drift", drifts),
        ("clocks.skew", skewed),
    ]
    .into_iter()
    .find_map(|(field, contradicts)| contradicts.then_some(field))
}

impl Plan {
    /// Takes out whatever a synchronous run cannot have, and gives it a bound: what its slowest message takes, if it has none
    /// yet. Doing it again changes nothing.
    pub fn make_synchronous(&mut self) {
        self.partitions = None;
        self.network.loss_ppm = 0;
        self.network.corrupt_ppm = 0;
        self.network.bursts = None;
        self.network.bandwidth = None;
        if let Some(topology) = &mut self.network.topology {
            topology.lossy_ppm = 0;
        }
        for link in &mut self.network.links {
            (link.loss_ppm, link.bursts, link.bandwidth) = (0, None, None);
        }
        self.left_out.retain(|&misery| misery == Misery::Down);
        self.hardships.starvation = None;
        self.hardships.flaps = None;
        self.hardships.pauses = None;
        self.hardships.slow_disks = None;
        self.disk.slow_ppm = 0;
        let slowest = self.network.slowest_message(self.hosts());
        let bound = match self.timing {
            TimingPlan::Synchronous { bound } => bound.max(slowest),
            TimingPlan::Asynchronous | TimingPlan::PartialSynchrony { .. } => slowest,
        };
        self.timing = TimingPlan::Synchronous { bound };
        if let Some(clocks) = &mut self.clocks {
            clocks.drift_ppm = clocks.drift_ppm.min(SYNCHRONOUS_DRIFT_PPM);
            clocks.skew = clocks.skew.min(bound);
        }
    }

    /// The longest time from when a live node gets an input to when what it sends in answer leaves, if its disk is not slow:
    /// with the bound on messages, what a synchronous round must allow for.
    #[must_use]
    pub fn longest_step(&self) -> Duration {
        // Two syncs of up to one and a half times the mean: one that is under way when the input comes, and the one that the
        // answer waits for. The input and the end of the sync may each wait for the end of a burst.
        self.burst * 2 + self.disk.sync * 3
    }
}

impl NetworkPlan {
    /// The longest that a message may be under way, but for queues.
    #[must_use]
    pub fn slowest_message(&self, nodes: usize) -> Duration {
        let usual = if self.links.is_empty() {
            let mean = self.longest_delay(nodes);
            mean + mean / 2
        } else {
            crate::paths::Paths::new(nodes, &self.links).longest()
        };
        if self.spike_ppm > 0 { usual + self.spike } else { usual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Format;

    const BOUND: Duration = Duration::from_millis(10);
    const GST: Duration = Duration::from_millis(1_000);

    #[test]
    fn what_is_under_way_at_the_stabilisation_arrives_within_the_bound_after_it() {
        let timing = TimingPlan::PartialSynchrony { bound: BOUND, stabilises: GST };
        let at = Time::from_millis;
        let hour = Duration::from_secs(3_600);
        assert_eq!(timing.bounded(at(0), hour), GST + BOUND);
        assert_eq!(timing.bounded(at(995), hour), Duration::from_millis(15));
        assert_eq!(timing.bounded(at(1_000), hour), BOUND);
        assert_eq!(timing.bounded(at(5_000), hour), BOUND);
        assert_eq!(timing.bounded(at(0), BOUND), BOUND, "nothing is delayed by it");
        assert!(!timing.is_settled(at(999)) && timing.is_settled(at(1_000)));
        assert_eq!(TimingPlan::Synchronous { bound: BOUND }.bounded(at(0), hour), BOUND);
        assert_eq!(TimingPlan::Asynchronous.bounded(at(0), hour), hour);
    }

    #[test]
    fn any_drawn_plan_can_be_made_synchronous() {
        for seed in 0..500 {
            let mut plan = Plan::draw(seed);
            plan.make_synchronous();
            assert_eq!(plan.validate(), Ok(()), "seed {seed}");
            let once = plan.clone();
            plan.make_synchronous();
            assert_eq!(plan, once, "seed {seed}");
        }
    }

    #[test]
    fn a_synchronous_plan_that_loses_messages_is_refused() {
        let refused = |text: &str| match Plan::parse(text, Format::Toml) {
            Err(PlanError::Invalid { field, .. }) => field,
            other => panic!("{text}: {other:?}"),
        };
        let timing = "[timing.synchronous]\nbound = \"10ms\"\n";
        assert!(Plan::parse(timing, Format::Toml).is_ok());
        for (more, field) in [
            ("[network]\nloss = \"1%\"", "network.loss"),
            ("[network]\ndelay = \"20ms\"", "timing.bound"),
            ("[network]\nspikes = \"1%\"\nlongest_spike = \"1s\"", "timing.bound"),
            ("[partitions]\nevery = \"1s\"\nlasts = \"1s\"", "partitions"),
            ("[hardships.pauses]\nevery = \"1s\"\nlasts = \"1s\"", "hardships.pauses"),
            ("[clocks]\nskew = \"0s\"\ndrift = \"10%\"", "clocks.drift"),
        ] {
            assert_eq!(refused(&format!("{timing}{more}")), field);
        }
        assert_eq!(refused("[timing.synchronous]\nbound = \"1h\""), "timing.bound");
        assert_eq!(
            refused("[timing.partial_synchrony]\nbound = \"1ms\"\nstabilises = \"10h\""),
            "timing.stabilises"
        );
        assert_eq!(
            Plan::parse("timing = \"asynchronous\"", Format::Toml).map(|plan| plan.timing),
            Ok(TimingPlan::Asynchronous)
        );
    }

    #[test]
    fn some_plans_stabilise_in_the_storm_and_some_after_it() {
        let plans: Vec<Plan> = (0..400).map(Plan::draw).collect();
        let stabilising = plans.iter().filter(|plan| plan.timing != TimingPlan::Asynchronous);
        let early = |plan: &&Plan| plan.timing.is_settled(Time::ZERO + plan.faults_for);
        let (all, early) = (stabilising.clone().count(), stabilising.filter(early).count());
        assert!((50..120).contains(&all) && (20..all - 10).contains(&early), "{early} of {all}");
    }
}
