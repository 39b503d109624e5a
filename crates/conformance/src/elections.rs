//! How long Raft is without a leader when the leader ends: measured, in election timeouts, over groups and loss.

use consensus_core::NodeId;
use consensus_sim::{Election, Latency, LinkModel, MILLION, Mask, NetworkPlan, Plan, Setup, time_election};
use core::fmt;
use core::time::Duration;
use raft::{Config, Raft};

/// The mean delay of a message: a hundredth of an election timeout.
pub const DELAY: Duration = Duration::from_millis(10);
/// How long a run waits for a leader, in election timeouts.
const PATIENCE: u32 = 60;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Trial {
    /// How many nodes, the one that ends included.
    pub nodes: usize,
    /// How many of a million messages are lost.
    pub loss_ppm: u64,
    /// Whether every message takes exactly as long as any other.
    pub in_lockstep: bool,
    /// The configuration of every node.
    pub config: Config,
}

/// How long it took, in milliseconds, sorted, and how often nobody was elected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    millis: Vec<u128>,
    /// Runs in which nobody ever led, or nobody replaced the leader.
    pub without: u64,
}

impl Trial {
    /// The defaults of Raft: T is a second, heartbeats are as they come.
    #[must_use]
    pub fn new(nodes: usize, loss_ppm: u64) -> Self {
        Self { nodes, loss_ppm, in_lockstep: false, config: Config::default() }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.election_timeout_ms)
    }

    fn plan(&self) -> Plan {
        let ids = (1..=self.nodes as u64).map(NodeId);
        let pairs =
            ids.clone().flat_map(|from| ids.clone().filter(move |to| *to > from).map(move |to| (from, to)));
        let link = |(from, to)| LinkModel {
            from,
            to,
            both_ways: true,
            latency: Latency::Constant(DELAY),
            loss_ppm: 0,
            bursts: None,
            bandwidth: None,
        };
        let links = if self.in_lockstep { pairs.map(link).collect() } else { Vec::new() };
        let network = NetworkPlan { delay: DELAY, loss_ppm: self.loss_ppm, links, ..NetworkPlan::default() };
        Plan { network, ..Plan::calm(self.nodes) }
    }

    /// Runs this many seeds from 0 on.
    #[must_use]
    pub fn run(&self, seeds: u64) -> Waits {
        let mut waits = Waits::default();
        for seed in 0..seeds {
            let (config, patience) = (self.config.clone(), self.timeout() * PATIENCE);
            let setup =
                Setup::<Raft> { seed, plan: self.plan(), mask: Mask::all(), config, patience, trace: false };
            match time_election(setup) {
                Election::Took(wait) => waits.millis.push(wait.as_millis()),
                Election::NeverLed | Election::NotReplaced => waits.without += 1,
            }
        }
        waits.millis.sort_unstable();
        waits
    }
}

impl Waits {
    /// These waits, in whatever order.
    #[must_use]
    pub fn of(waits: impl Iterator<Item = Duration>) -> Self {
        let mut millis: Vec<_> = waits.map(|wait| wait.as_millis()).collect();
        millis.sort_unstable();
        Self { millis, without: 0 }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.millis.len()
    }

    /// How long it took in all but this share of the runs; `None`: nobody was ever elected.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.millis.len().checked_sub(1)?;
        let millis = self.millis.get((self.millis.len() * percent / 100).min(last))?;
        u64::try_from(*millis).ok().map(Duration::from_millis)
    }
}

/// The table of the measurements for groups of three and five, with up to 30 % loss.
#[derive(Clone, Debug)]
pub struct Table {
    seeds: u64,
    rows: Vec<(Trial, Waits)>,
}

impl Table {
    /// Measures, with this many seeds for each row.
    #[must_use]
    pub fn measure(seeds: u64) -> Self {
        let trials = [3, 5].into_iter().flat_map(|nodes| [0, 5, 10, 20, 30].map(|percent| (nodes, percent)));
        let rows = trials.map(|(nodes, percent)| {
            let trial = Trial::new(nodes, percent * MILLION / 100);
            let waits = trial.run(seeds);
            (trial, waits)
        });
        Self { seeds, rows: rows.collect() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "without a leader, in election timeouts T, from the leader's end; {} runs each",
            self.seeds
        )?;
        writeln!(f, "(T = 1 s, a message takes 10 ms on average, nobody suspects anybody)\n")?;
        writeln!(f, "{:>2} {:>6} {:>6} {:>6} {:>6} {:>8}", "n", "loss", "p50", "p99", "worst", "without")?;
        for (trial, waits) in &self.rows {
            let of = |percent| {
                let wait =
                    waits.percentile(percent).map(|wait| wait.as_secs_f64() / trial.timeout().as_secs_f64());
                wait.map_or_else(|| "-".into(), |wait| format!("{wait:.2}"))
            };
            let (loss, nodes) = (trial.loss_ppm * 100 / MILLION, trial.nodes);
            writeln!(
                f,
                "{nodes:>2} {loss:>5}% {:>6} {:>6} {:>6} {:>8}",
                of(50),
                of(99),
                of(100),
                waits.without
            )?;
        }
        Ok(())
    }
}
