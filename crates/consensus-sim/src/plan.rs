//! What one run looks like: how many nodes, which faults and how hard, which clients. Plain data that a person can print.
//!
//! A swarm (Groce and others 2012): each seed first draws which classes of faults are on, so that some runs see one class
//! alone and hard, and no class hides another in every run.

mod check;
mod file;
pub(crate) mod text;

use crate::byzantine::ByzantinePlan;
use crate::changes::Changes;
use crate::hardship::{Bandwidth, Bursts, ClockPlan, Hardships, Misery};
use crate::paths::LinkModel;
use crate::random::{MILLION, Stream};
use crate::still::Still;
use crate::suit::{Inputs, Roaming, Transactions};
use crate::timing::TimingPlan;
use crate::topology::Topology;
use crate::wrap::Seal;
pub(crate) use check::MAX_BYTES;
pub use check::MAX_NODES;
use consensus_core::Problem;
use core::time::Duration;
pub use file::{Format, PlanError};
use serde::{Deserialize, Serialize};

/// What counts as starving if nothing else is said: about an election timeout.
const FAIR_WITHIN: Duration = Duration::from_millis(100);

/// As many slots as no run has.
pub(crate) const MOST_SLOTS: u64 = 1 << 40;

/// The whole of a run, but for the algorithm's own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// How many nodes begin as members.
    pub nodes: usize,
    /// How many of those keep no payload: the last ones. An algorithm that knows witnesses draws this in its tuning.
    pub witnesses: usize,
    /// How long faults are injected, in virtual time.
    #[serde(with = "text::span")]
    pub faults_for: Duration,
    /// What holds of time: of delays, and of how the nodes keep pace.
    pub timing: TimingPlan,
    /// The links.
    pub network: NetworkPlan,
    /// Partitions; `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Rhythm>,
    /// Crashes of single nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crashes: Option<Rhythm>,
    /// Power losses of the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_losses: Option<Rhythm>,
    /// How many of a million crashes, cuts and transfers are aimed at a leader, if there is one.
    #[serde(rename = "at_leaders", with = "text::rate")]
    pub at_leaders_ppm: u64,
    /// Leadership transfers asked for by an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfers: Option<Rhythm>,
    /// Nodes that begin to wish to lead, or not to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wishes: Option<Rhythm>,
    /// Changes of the members; `None`: they stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Opinions of failure detectors, mostly wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspicions: Option<Rhythm>,
    /// Failure detectors that notice what is true, beside those opinions; `None`: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detectors: Option<Detectors>,
    /// Faults of disks, machines and single links.
    pub hardships: Hardships,
    /// The nodes' clocks; `None`: all show the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks: Option<ClockPlan>,
    /// How many of a million pauses stop the node's clock too, as suspending a machine may.
    #[serde(rename = "clocks_stop", with = "text::rate")]
    pub clocks_stop_ppm: u64,
    /// Nodes that die in the midst of the faults: they are among those that are lost for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deaths: Option<Rhythm>,
    /// How many nodes never come back after the fault phase. Never more than the algorithm tolerates.
    pub lost_for_good: usize,
    /// The nodes outside of the core that is mended after the storm, one for each entry, and what becomes of them for ever.
    /// Together with those that are lost never more than the algorithm tolerates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Misery>,
    /// A link or a node for which a message waits longer than this, while none comes, counts as starved.
    #[serde(with = "text::span")]
    pub fair_within: Duration,
    /// When all clocks stop, to see that nobody waits for a timer; `None`: they go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still: Option<Still>,
    /// Whether the whole cluster loses power once more at the very end, and must come back with everything.
    pub final_power_loss: bool,
    /// The disks.
    pub disk: DiskPlan,
    /// How long a node collects inputs before it carries them out together; zero: each alone.
    #[serde(with = "text::span")]
    pub burst: Duration,
    /// The bytes of applied payload after which a node offers a snapshot.
    pub compact_after_bytes: u64,
    /// The slots after which a node offers a snapshot, however small.
    pub compact_after_slots: u64,
    /// How long a snapshot takes to be written out beside its node; zero: the node stands still while it takes one.
    #[serde(default, with = "text::span")]
    pub snapshot_writing: Duration,
    /// The clients.
    pub workload: Workload,
    /// The Byzantine nodes; `None`: all nodes are correct.
    #[serde(default)]
    pub byzantine: Option<ByzantinePlan>,
}

/// Something that starts now and then, and lasts a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rhythm {
    /// The mean time between two.
    #[serde(with = "text::span")]
    pub every: Duration,
    /// The mean time that one lasts.
    #[serde(with = "text::span")]
    pub lasts: Duration,
}

/// Failure detectors that can be relied upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detectors {
    /// How long it takes at most until a node is told that it cannot hear another, or can again.
    #[serde(with = "text::span")]
    pub within: Duration,
}

/// What the links do to messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkPlan {
    /// The mean delay.
    #[serde(with = "text::span")]
    pub delay: Duration,
    /// How many of a million messages are lost.
    #[serde(rename = "loss", with = "text::rate")]
    pub loss_ppm: u64,
    /// How many of a million arrive twice.
    #[serde(rename = "duplicates", with = "text::rate")]
    pub duplicate_ppm: u64,
    /// How many of a million are much delayed.
    #[serde(rename = "spikes", with = "text::rate")]
    pub spike_ppm: u64,
    /// By how much, at most.
    #[serde(rename = "longest_spike", with = "text::span")]
    pub spike: Duration,
    /// Who is wired to whom; `None`: every pair, all alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// Links with models of their own; if there are any, there are no others, `topology` is `None`, and `delay` is that of the
    /// way to the clients alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkModel>,
    /// Losses that come together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bursts: Option<Bursts>,
    /// How much a link carries; `None`: anything at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// How many of a million messages arrive with a flipped bit.
    #[serde(rename = "corruption", with = "text::rate")]
    pub corrupt_ppm: u64,
}

/// What the disks do to writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskPlan {
    /// The mean time of a sync.
    #[serde(with = "text::span")]
    pub sync: Duration,
    /// How many of a million syncs are slow.
    #[serde(rename = "slow_syncs", with = "text::rate")]
    pub slow_ppm: u64,
    /// How slow, at most.
    #[serde(rename = "slowest_sync", with = "text::span")]
    pub slow: Duration,
    /// How large a segment of the journal is: small ones rotate often.
    pub segment_bytes: u64,
    /// How many zeros the journal writes ahead.
    pub zero_ahead_bytes: u64,
    /// Whether syncs say that they are done, and do nothing: beyond every algorithm's claims, to test the tester.
    pub lying_syncs: bool,
}

/// What the clients do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workload {
    /// How many clients.
    pub clients: u32,
    /// On how many registers.
    pub keys: u16,
    /// How many of a million clients use a session, and retry.
    #[serde(rename = "sessions", with = "text::rate")]
    pub session_ppm: u64,
    /// How many of a million operations are reads.
    #[serde(rename = "reads", with = "text::rate")]
    pub read_ppm: u64,
    /// How many of a million reads go through the log.
    #[serde(rename = "reads_through_log", with = "text::rate")]
    pub log_read_ppm: u64,
    /// The mean time that a client waits between two operations.
    #[serde(with = "text::span")]
    pub think: Duration,
    /// How long a client waits for a reply.
    #[serde(with = "text::span")]
    pub timeout: Duration,
    /// The most bytes of ballast in a command.
    pub ballast_bytes: u64,
    /// What the nodes propose in one-shot agreement.
    pub inputs: Inputs,
    /// The transactions of atomic commitment.
    pub transactions: Transactions,
    /// What clients that the group knows sign with; otherwise nobody is known, and nothing signed.
    #[serde(skip)]
    pub seal: Option<Seal>,
    /// Whether clients roam: beyond every claim, to test the tester.
    pub roaming: Roaming,
    /// Whether replicas that converge let the write win that comes last: the same.
    pub last_wins: bool,
    /// Whether the causal order of writes is judged by what clients saw alone: a weaker judge, to test the tester.
    pub clients_only: bool,
    /// How many operations all clients together begin before the faults are over; `None`: as many as there is time for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
}

impl Plan {
    /// The plan of a seed for a log.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        Self::draw_for(Problem::Log, seed)
    }

    /// The plan of a seed for this problem.
    #[must_use]
    pub fn draw_for(problem: Problem, seed: u64) -> Self {
        let mut plan = Self::draw_storm(seed);
        plan.suit(problem, seed);
        plan.timing = TimingPlan::draw(seed, &plan);
        plan.draw_left_out(problem, seed);
        plan
    }

    fn draw_storm(seed: u64) -> Self {
        let draw = &mut Stream::derive(seed, "plan");
        let nodes = match draw.below(10) {
            0 => 1,
            1..=5 => 3,
            _ => 5,
        };
        let faults_for = Duration::from_millis(draw.between(1_500, 5_000));
        let mut plan = Self {
            nodes,
            witnesses: 0,
            faults_for,
            timing: TimingPlan::Asynchronous,
            network: NetworkPlan::draw(draw),
            partitions: rhythm(draw, 600_000, (300, 2_000), (50, 1_200)),
            crashes: rhythm(draw, 600_000, (200, 2_000), (1, 800)),
            power_losses: rhythm(draw, 300_000, (700, 3_000), (1, 300)),
            at_leaders_ppm: MILLION / 2,
            transfers: rhythm(draw, 200_000, (200, 1_000), (1, 1)),
            wishes: rhythm(&mut Stream::derive(seed, "wishes"), 200_000, (50, 1_000), (1, 1)),
            changes: Changes::draw(&mut Stream::derive(seed, "changes")),
            // A stream of its own: what a seed meant before stays what it means.
            suspicions: rhythm(&mut Stream::derive(seed, "suspicions"), 300_000, (20, 1_000), (1, 1)),
            detectors: None,
            hardships: Hardships::default(),
            clocks: None,
            clocks_stop_ppm: MILLION / 2,
            deaths: None,
            lost_for_good: draw.index(nodes),
            left_out: Vec::new(),
            fair_within: FAIR_WITHIN,
            still: None,
            final_power_loss: draw.chance(MILLION / 4),
            disk: DiskPlan::draw(draw),
            burst: Duration::from_micros(if draw.chance(MILLION / 2) { draw.between(20, 2_000) } else { 0 }),
            compact_after_bytes: *draw.pick(&[256, 1 << 10, 4 << 10, 16 << 10, 1 << 20]).unwrap_or(&1024),
            compact_after_slots: *Stream::derive(seed, "compact_after_slots")
                .pick(&[5, 60, MOST_SLOTS, MOST_SLOTS, MOST_SLOTS])
                .unwrap_or(&MOST_SLOTS),
            snapshot_writing: *Stream::derive(seed, "snapshot_writing")
                .pick(&[0, 0, 1, 10, 100].map(Duration::from_millis))
                .unwrap_or(&Duration::ZERO),
            workload: Workload::draw(draw),
            byzantine: None,
        };
        plan.add_hardships(seed);
        if seed % 8 == 7 {
            plan.add_gusts(&mut Stream::derive(seed, "gusts"));
        }
        plan
    }

    /// How many nodes there are, those that are no members at first included.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.nodes + self.changes.map_or(0, |changes| changes.spares)
    }

    /// Many short crashes and cuts, mostly at leaders: elections without end.
    fn add_gusts(&mut self, draw: &mut Stream) {
        self.crashes = rhythm(draw, MILLION, (15, 150), (1, 100));
        self.partitions = rhythm(draw, MILLION, (40, 300), (20, 150));
        self.at_leaders_ppm = draw.below(MILLION);
    }

    /// A plan without any fault, for tests and schedules of one's own.
    #[must_use]
    pub fn calm(nodes: usize) -> Self {
        Self { nodes, ..Self::default() }
    }
}

/// Three nodes without any fault: what a file leaves out.
impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: 3,
            witnesses: 0,
            faults_for: Duration::from_millis(500),
            timing: TimingPlan::default(),
            network: NetworkPlan::default(),
            partitions: None,
            crashes: None,
            power_losses: None,
            at_leaders_ppm: MILLION / 2,
            transfers: None,
            wishes: None,
            changes: None,
            suspicions: None,
            detectors: None,
            hardships: Hardships::default(),
            clocks: None,
            clocks_stop_ppm: MILLION / 2,
            deaths: None,
            lost_for_good: 0,
            left_out: Vec::new(),
            fair_within: FAIR_WITHIN,
            still: None,
            final_power_loss: false,
            disk: DiskPlan::default(),
            burst: Duration::ZERO,
            compact_after_bytes: 1 << 20,
            compact_after_slots: MOST_SLOTS,
            snapshot_writing: Duration::ZERO,
            workload: Workload::default(),
            byzantine: None,
        }
    }
}

impl Default for NetworkPlan {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(500),
            loss_ppm: 0,
            duplicate_ppm: 0,
            spike_ppm: 0,
            spike: Duration::ZERO,
            topology: None,
            links: Vec::new(),
            bursts: None,
            bandwidth: None,
            corrupt_ppm: 0,
        }
    }
}

impl Default for DiskPlan {
    fn default() -> Self {
        Self {
            sync: Duration::from_micros(200),
            slow_ppm: 0,
            slow: Duration::ZERO,
            segment_bytes: 64 << 10,
            zero_ahead_bytes: 0,
            lying_syncs: false,
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            clients: 3,
            keys: 2,
            session_ppm: MILLION / 2,
            read_ppm: MILLION / 3,
            log_read_ppm: 0,
            think: Duration::from_millis(2),
            timeout: Duration::from_millis(200),
            ballast_bytes: 0,
            inputs: Inputs::default(),
            transactions: Transactions::default(),
            seal: None,
            roaming: Roaming::Never,
            last_wins: false,
            clients_only: false,
            operations: None,
        }
    }
}

impl NetworkPlan {
    fn draw(draw: &mut Stream) -> Self {
        let lossy = draw.chance(MILLION / 2);
        let duplicating = draw.chance(MILLION / 3);
        let spiky = draw.chance(MILLION / 2);
        Self {
            delay: Duration::from_micros(draw.between(50, 3_000)),
            loss_ppm: if lossy { draw.between(1_000, 150_000) } else { 0 },
            duplicate_ppm: if duplicating { draw.between(1_000, 100_000) } else { 0 },
            spike_ppm: if spiky { draw.between(1_000, 100_000) } else { 0 },
            spike: Duration::from_millis(draw.between(5, 400)),
            topology: None,
            links: Vec::new(),
            bursts: None,
            bandwidth: None,
            corrupt_ppm: 0,
        }
    }
}

impl DiskPlan {
    fn draw(draw: &mut Stream) -> Self {
        Self {
            sync: Duration::from_micros(draw.between(10, 5_000)),
            slow_ppm: if draw.chance(MILLION / 3) { draw.between(1_000, 50_000) } else { 0 },
            slow: Duration::from_millis(draw.between(10, 300)),
            segment_bytes: *draw.pick(&[4 << 10, 16 << 10, 64 << 10]).unwrap_or(&(64 << 10)),
            zero_ahead_bytes: *draw.pick(&[0, 4 << 10, 16 << 10]).unwrap_or(&0),
            lying_syncs: false,
        }
    }
}

impl Workload {
    fn draw(draw: &mut Stream) -> Self {
        Self {
            clients: u32::try_from(draw.between(1, 10)).unwrap_or(1),
            keys: u16::try_from(draw.between(1, 6)).unwrap_or(1),
            session_ppm: *draw.pick(&[0, MILLION / 2, MILLION]).unwrap_or(&0),
            read_ppm: draw.between(0, 700_000),
            log_read_ppm: *draw.pick(&[0, 200_000, MILLION]).unwrap_or(&0),
            think: Duration::from_micros(*draw.pick(&[500, 5_000, 20_000, 60_000]).unwrap_or(&5_000)),
            timeout: Duration::from_millis(draw.between(30, 500)),
            ballast_bytes: *draw.pick(&[0, 16, 200, 1_500]).unwrap_or(&0),
            inputs: Inputs::default(),
            transactions: Transactions::default(),
            seal: None,
            roaming: Roaming::Never,
            last_wins: false,
            clients_only: false,
            operations: None,
        }
    }
}

pub(crate) fn rhythm(draw: &mut Stream, on_ppm: u64, every: (u64, u64), lasts: (u64, u64)) -> Option<Rhythm> {
    // Both spans are drawn in any case, so that a class that is off moves nothing else.
    let every = Duration::from_millis(draw.between(every.0, every.1));
    let lasts = Duration::from_millis(draw.between(lasts.0, lasts.1));
    draw.chance(on_ppm).then_some(Rhythm { every, lasts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_can_be_written_down_and_read_back() {
        for seed in 0..50 {
            let plan = Plan::draw(seed);
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        }
    }

    #[test]
    fn every_class_of_hardship_is_on_in_some_plans_and_off_in_most() {
        let plans: Vec<Plan> = (0..300).map(Plan::draw).collect();
        let on = |is_on: fn(&Plan) -> bool| plans.iter().filter(|plan| is_on(plan)).count();
        let classes = [
            on(|plan| plan.hardships.failed_syncs.is_some()),
            on(|plan| plan.hardships.full_disks.is_some()),
            on(|plan| plan.hardships.slow_disks.is_some()),
            on(|plan| plan.hardships.rot.is_some()),
            on(|plan| plan.hardships.pauses.is_some()),
            on(|plan| plan.hardships.flaps.is_some()),
            on(|plan| plan.hardships.starvation.is_some()),
            on(|plan| !plan.left_out.is_empty()),
            on(|plan| plan.clocks.is_some()),
            on(|plan| plan.network.topology.is_some()),
            on(|plan| plan.network.bursts.is_some()),
            on(|plan| plan.network.bandwidth.is_some()),
            on(|plan| plan.network.corrupt_ppm > 0),
        ];
        assert!(classes.iter().all(|count| (20..120).contains(count)), "{classes:?}");
    }
}
