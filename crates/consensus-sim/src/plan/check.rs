//! Which plans a run can follow: bounds of every number, and what contradicts what.

use super::{MOST_SLOTS, Plan, PlanError, Rhythm};
use crate::latency::Latency;
use crate::paths::{LinkModel, ways};
use crate::random::MILLION;
use crate::topology::{Shape, Topology};
use core::fmt::Debug;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::collections::BTreeSet;

/// The most nodes of a run.
pub const MAX_NODES: usize = 64;
/// The most clients of a run.
const MAX_CLIENTS: u32 = 1_000;
/// The most registers.
const MAX_KEYS: u16 = 10_000;
/// Nothing happens more often, and nothing takes less time, than this: time must go on.
const SHORTEST: Duration = Duration::from_micros(1);
/// The longest storm.
const LONGEST_STORM: Duration = Duration::from_secs(3_600);
/// The longest delay, wait or pause.
const LONGEST: Duration = Duration::from_secs(60);
/// The furthest that a clock may be off: sixty years.
const FURTHEST: Duration = Duration::from_secs(2_000_000_000);
/// The largest number of bytes of anything on a disk or in a message.
pub(crate) const MAX_BYTES: u64 = 1 << 30;
/// The largest ballast of a command.
const MAX_BALLAST_BYTES: u64 = 1 << 20;

type Checked = Result<(), PlanError>;

fn refuse(field: impl Into<String>, problem: impl Into<String>) -> Checked {
    Err(PlanError::Invalid { field: field.into(), problem: problem.into() })
}

fn within<T: PartialOrd + Debug>(field: &str, value: T, range: RangeInclusive<T>) -> Checked {
    if range.contains(&value) {
        return Ok(());
    }
    refuse(field, format!("{value:?} is not within {:?} and {:?}", range.start(), range.end()))
}

fn rate(field: &str, ppm: u64) -> Checked {
    if ppm <= MILLION {
        return Ok(());
    }
    refuse(field, format!("a rate of {} is more than 100%", super::text::write_rate(ppm)))
}

fn rhythm(field: &str, rhythm: Option<Rhythm>) -> Checked {
    let Some(Rhythm { every, lasts }) = rhythm else { return Ok(()) };
    within(&format!("{field}.every"), every, Duration::from_millis(1)..=LONGEST_STORM)?;
    within(&format!("{field}.lasts"), lasts, Duration::ZERO..=LONGEST)
}

impl Plan {
    /// Whether a run can follow this plan.
    ///
    /// # Errors
    /// Names the first field that is out of bounds or contradicts another, as it is written in a file.
    pub fn validate(&self) -> Result<(), PlanError> {
        within("nodes", self.nodes, 1..=MAX_NODES)?;
        within("witnesses", self.witnesses, 0..=self.nodes - 1)?;
        if let Some(changes) = self.changes {
            within("changes.spares", changes.spares, 0..=MAX_NODES - self.nodes)?;
            within("changes.every", changes.every, Duration::from_millis(1)..=LONGEST_STORM)?;
        }
        within("faults_for", self.faults_for, Duration::ZERO..=LONGEST_STORM)?;
        rate("at_leaders", self.at_leaders_ppm)?;
        within("burst", self.burst, Duration::ZERO..=LONGEST)?;
        within("snapshot_writing", self.snapshot_writing, Duration::ZERO..=LONGEST)?;
        within("compact_after_bytes", self.compact_after_bytes, 1..=MAX_BYTES)?;
        within("compact_after_slots", self.compact_after_slots, 1..=MOST_SLOTS)?;
        for (field, value) in [
            ("partitions", self.partitions),
            ("crashes", self.crashes),
            ("power_losses", self.power_losses),
            ("transfers", self.transfers),
            ("suspicions", self.suspicions),
            ("wishes", self.wishes),
            ("deaths", self.deaths),
            ("hardships.failed_syncs", self.hardships.failed_syncs),
            ("hardships.full_disks", self.hardships.full_disks),
            ("hardships.slow_disks", self.hardships.slow_disks),
            ("hardships.rot", self.hardships.rot),
            ("hardships.pauses", self.hardships.pauses),
            ("hardships.flaps", self.hardships.flaps),
            ("hardships.starvation", self.hardships.starvation),
        ] {
            rhythm(field, value)?;
        }
        if let Some(clocks) = self.clocks {
            within("clocks.skew", clocks.skew, Duration::ZERO..=FURTHEST)?;
            within("clocks.drift", clocks.drift_ppm, 0..=MILLION / 2)?;
        }
        if let Some(detectors) = self.detectors {
            within("detectors.within", detectors.within, Duration::from_millis(1)..=LONGEST)?;
        }
        rate("clocks_stop", self.clocks_stop_ppm)?;
        if self.lost_for_good >= self.nodes {
            let problem =
                format!("{} of {} nodes: one at least must come back", self.lost_for_good, self.nodes);
            return refuse("lost_for_good", problem);
        }
        if self.lost_for_good + self.left_out.len() >= self.nodes {
            let problem =
                format!("with lost_for_good it names {} or more nodes, and no core is left", self.nodes);
            return refuse("left_out", problem);
        }
        within("fair_within", self.fair_within, SHORTEST..=LONGEST)?;
        self.check_network()?;
        self.timing.check(self)?;
        self.check_disk()?;
        self.check_workload()
    }

    fn check_network(&self) -> Checked {
        let network = &self.network;
        within("network.delay", network.delay, SHORTEST..=LONGEST)?;
        within("network.longest_spike", network.spike, Duration::ZERO..=LONGEST)?;
        rate("network.loss", network.loss_ppm)?;
        rate("network.duplicates", network.duplicate_ppm)?;
        rate("network.spikes", network.spike_ppm)?;
        rate("network.corruption", network.corrupt_ppm)?;
        if let Some(bursts) = network.bursts {
            bursts.check("network.bursts")?;
        }
        if let Some(bandwidth) = network.bandwidth {
            bandwidth.check("network.bandwidth")?;
        }
        match network.topology {
            Some(_) if !network.links.is_empty() => refuse(
                "network.topology",
                "there are network.links too, which say already who is wired to whom; leave out one",
            ),
            Some(topology) => topology.check(self.hosts()),
            None if network.links.is_empty() => Ok(()),
            None => check_links(self.hosts(), &network.links),
        }
    }

    fn check_disk(&self) -> Checked {
        let disk = &self.disk;
        within("disk.sync", disk.sync, SHORTEST..=LONGEST)?;
        rate("disk.slow_syncs", disk.slow_ppm)?;
        within("disk.slowest_sync", disk.slow, Duration::ZERO..=LONGEST)?;
        within("disk.segment_bytes", disk.segment_bytes, 4 << 10..=64 << 20)?;
        within("disk.zero_ahead_bytes", disk.zero_ahead_bytes, 0..=64 << 20)
    }

    fn check_workload(&self) -> Checked {
        let workload = &self.workload;
        within("workload.clients", workload.clients, 1..=MAX_CLIENTS)?;
        within("workload.keys", workload.keys, 1..=MAX_KEYS)?;
        rate("workload.sessions", workload.session_ppm)?;
        rate("workload.reads", workload.read_ppm)?;
        rate("workload.reads_through_log", workload.log_read_ppm)?;
        within("workload.think", workload.think, SHORTEST..=LONGEST)?;
        within("workload.timeout", workload.timeout, Duration::from_millis(1)..=LONGEST)?;
        within("workload.inputs.values", workload.inputs.values, 1..=10)?;
        within("workload.inputs.within", workload.inputs.within, Duration::ZERO..=LONGEST)?;
        within("workload.transactions.keys", workload.transactions.keys, 1..=MAX_KEYS)?;
        within("workload.transactions.participants", workload.transactions.participants, 1..=MAX_NODES)?;
        rate("workload.transactions.refusals", workload.transactions.refuse_ppm)?;
        within("workload.ballast_bytes", workload.ballast_bytes, 0..=MAX_BALLAST_BYTES)
    }
}

impl Topology {
    fn check(self, nodes: usize) -> Checked {
        let least = match self.shape {
            Shape::Ring => 3,
            Shape::Star | Shape::Tree | Shape::Random => 2,
            Shape::Mesh => 1,
        };
        if nodes < least {
            return refuse(
                "network.topology.shape",
                format!("{:?} takes {least} nodes, and there are {nodes}", self.shape),
            );
        }
        within("network.topology.slowest", self.slowest, 1..=1_000)?;
        rate("network.topology.lossy_links", self.lossy_ppm)?;
        rate("network.topology.loss", self.loss_ppm)
    }
}

impl crate::hardship::Bursts {
    fn check(self, field: &str) -> Checked {
        rate(&format!("{field}.enter"), self.enter_ppm)?;
        rate(&format!("{field}.leave"), self.leave_ppm)?;
        rate(&format!("{field}.loss"), self.loss_ppm)?;
        if self.leave_ppm == 0 && self.enter_ppm > 0 {
            return refuse(
                format!("{field}.leave"),
                "no burst would ever end; a link that loses everything is no link",
            );
        }
        Ok(())
    }
}

impl crate::hardship::Bandwidth {
    fn check(self, field: &str) -> Checked {
        within(&format!("{field}.bytes_per_second"), self.bytes_per_second, 100..=MAX_BYTES * 1_000)?;
        within(&format!("{field}.longest_wait"), self.longest_wait, Duration::ZERO..=LONGEST)
    }
}

impl Latency {
    fn check(self, field: &str) -> Checked {
        match self {
            Self::Constant(delay) => within(field, delay, SHORTEST..=LONGEST),
            Self::Uniform { least, most } => {
                within(&format!("{field}.uniform.most"), most, SHORTEST..=LONGEST)?;
                within(&format!("{field}.uniform.least"), least, SHORTEST..=most)
            }
            Self::Normal { mean, deviation } => {
                within(&format!("{field}.normal.mean"), mean, SHORTEST..=LONGEST)?;
                within(&format!("{field}.normal.deviation"), deviation, Duration::ZERO..=mean)
            }
            Self::LongTail { least, doubles_ppm, most } => {
                within(&format!("{field}.long_tail.most"), most, SHORTEST..=LONGEST)?;
                within(&format!("{field}.long_tail.least"), least, SHORTEST..=most)?;
                rate(&format!("{field}.long_tail.doubles"), doubles_ppm)
            }
        }
    }
}

fn check_links(nodes: usize, links: &[LinkModel]) -> Checked {
    let mut seen = BTreeSet::new();
    for (place, link) in links.iter().enumerate() {
        let field = format!("network.links[{place}]");
        for (end, node) in [("from", link.from), ("to", link.to)] {
            if !(1..=nodes as u64).contains(&node.0) {
                return refuse(
                    format!("{field}.{end}"),
                    format!("there is no node {}; they are numbered 1 to {nodes}", node.0),
                );
            }
        }
        if link.from == link.to {
            return refuse(format!("{field}.to"), format!("{} is wired to itself", link.from));
        }
        for ends in
            [Some((link.from, link.to)), link.both_ways.then_some((link.to, link.from))].into_iter().flatten()
        {
            if !seen.insert(ends) {
                return refuse(field, format!("there is a link from {} to {} already", ends.0, ends.1));
            }
        }
        link.latency.check(&format!("{field}.latency"))?;
        rate(&format!("{field}.loss"), link.loss_ppm)?;
        if let Some(bursts) = link.bursts {
            bursts.check(&format!("{field}.bursts"))?;
        }
        if let Some(bandwidth) = link.bandwidth {
            bandwidth.check(&format!("{field}.bandwidth"))?;
        }
    }
    match ways(nodes, links).iter().position(Option::is_none) {
        Some(pair) => {
            let (from, to) = (pair / nodes + 1, pair % nodes + 1);
            refuse(
                "network.links",
                format!("there is no way from n{from} to n{to}; cut links with partitions or flaps"),
            )
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Format;

    #[test]
    fn every_drawn_plan_is_taken() {
        for seed in 0..2_000 {
            assert_eq!(Plan::draw(seed).validate(), Ok(()), "seed {seed}");
        }
    }

    /// A text, and the field that it is refused for.
    const REFUSED: &[(&str, &str)] = &[
        ("nodes = 0", "nodes"),
        ("nodes = 1000000000", "nodes"),
        ("faults_for = \"2h\"", "faults_for"),
        ("lost_for_good = 3", "lost_for_good"),
        ("at_leaders = \"101%\"", "at_leaders"),
        ("nodes = 2\nleft_out = [\"down\", \"deaf\"]", "left_out"),
        ("nodes = 60\n[changes]\nspares = 5\nevery = \"1s\"", "changes.spares"),
        ("fair_within = \"0s\"", "fair_within"),
        ("nodes = 1\n[network.topology]\nshape = \"ring\"", "network.topology.shape"),
        ("nodes = 2\n[network.topology]\nshape = \"ring\"", "network.topology.shape"),
        ("nodes = 1\n[network.topology]\nshape = \"star\"", "network.topology.shape"),
        ("[network.topology]\nshape = \"star\"\nslowest = 0", "network.topology.slowest"),
        ("[network]\ndelay = \"0s\"", "network.delay"),
        ("[network]\ndelay = \"1h\"", "network.delay"),
        ("[network]\nloss = \"1000001ppm\"", "network.loss"),
        ("[network.bursts]\nenter = \"1%\"\nleave = \"0%\"\nloss = \"100%\"", "network.bursts.leave"),
        (
            "[network.bandwidth]\nbytes_per_second = 0\nlongest_wait = \"1s\"",
            "network.bandwidth.bytes_per_second",
        ),
        ("[crashes]\nevery = \"1ns\"\nlasts = \"1ms\"", "crashes.every"),
        ("[hardships.pauses]\nevery = \"1s\"\nlasts = \"5min\"", "hardships.pauses.lasts"),
        ("[clocks]\nskew = \"0s\"\ndrift = \"90%\"", "clocks.drift"),
        ("[disk]\nsegment_bytes = 1", "disk.segment_bytes"),
        ("[workload]\nclients = 0", "workload.clients"),
        ("[workload]\nthink = \"0s\"", "workload.think"),
    ];

    #[test]
    fn hostile_and_contradictory_values_are_refused_by_field() {
        for (text, name) in REFUSED {
            match Plan::parse(text, Format::Toml) {
                Err(PlanError::Invalid { field, problem }) => {
                    assert_eq!(field, *name, "{text}: {problem}");
                    assert!(!problem.is_empty());
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    fn links(more: &str) -> Result<Plan, PlanError> {
        let link = |from: u64, to: u64| {
            format!(
                "[[network.links]]\nfrom = {from}\nto = {to}\nboth_ways = true\nlatency = {{ constant = \"1ms\" }}\n"
            )
        };
        Plan::parse(&format!("{}{}{more}", link(1, 2), link(2, 3)), Format::Toml)
    }

    #[test]
    fn links_must_be_of_this_world() {
        assert!(links("").is_ok());
        let odd = |ends: &str, latency: &str| {
            links(&format!("[[network.links]]\n{ends}\nlatency = {{ {latency} }}"))
        };
        let second = "constant = \"1ms\"";
        for (plan, name) in [
            (odd("from = 1\nto = 4", second), "network.links[2].to"),
            (odd("from = 0\nto = 1", second), "network.links[2].from"),
            (odd("from = 3\nto = 3", second), "network.links[2].to"),
            (odd("from = 2\nto = 1", second), "network.links[2]"),
            (odd("from = 3\nto = 1", "constant = \"1h\""), "network.links[2].latency"),
            (
                odd("from = 3\nto = 1", "uniform = { least = \"2ms\", most = \"1ms\" }"),
                "network.links[2].latency.uniform.least",
            ),
            (
                odd("from = 3\nto = 1", "long_tail = { least = \"2ms\", doubles = \"10%\", most = \"1ms\" }"),
                "network.links[2].latency.long_tail.least",
            ),
            (odd("from = 3\nto = 1\nloss = \"200%\"", second), "network.links[2].loss"),
            (links("[network.topology]\nshape = \"mesh\""), "network.topology"),
        ] {
            match plan {
                Err(PlanError::Invalid { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        let lonely = "nodes = 3\n[[network.links]]\nfrom = 1\nto = 2\nboth_ways = true\nlatency = { constant = \"1ms\" }";
        let said = Plan::parse(lonely, Format::Toml).unwrap_err().to_string();
        assert!(said.contains("no way from n1 to n3"), "{said}");
    }
}
