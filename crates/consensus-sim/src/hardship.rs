//! The faults beyond crashes, cuts and lost messages: of disks, clocks and links. Each class is drawn from a stream of its own,
//! so that a new class changes only the runs in which it is on.

use crate::paths::ways;
use crate::plan::{Plan, Rhythm, rhythm, text};
use crate::random::{MILLION, Stream};
use crate::topology::Topology;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Faults of disks and machines that come now and then; `None`: never. All of them end with the storm, but for rot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hardships {
    /// A sync fails: the node stops, and is restarted, by its machine's side or with a loss of power.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_syncs: Option<Rhythm>,
    /// A disk is full: the node stops, and is restarted, perhaps before there is space again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_disks: Option<Rhythm>,
    /// A disk is slow for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_disks: Option<Rhythm>,
    /// A bit flips on a disk while its node is down. The node refuses to start, and is lost for good: never more nodes than the
    /// algorithm tolerates, so that what was acknowledged is whole on a quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rot: Option<Rhythm>,
    /// A node handles nothing for a while, and then everything at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pauses: Option<Rhythm>,
    /// A link is down for a while, in one direction or in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flaps: Option<Rhythm>,
    /// What is sent over a link, or to a node, is held back for a while, though nothing is wrong with either: an unfair
    /// scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starvation: Option<Rhythm>,
}

/// What becomes, for ever, of a node that is no part of the core that is mended after the storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misery {
    /// It stays down.
    Down,
    /// No link of it carries anything.
    CutOff,
    /// It hears nobody, and is heard.
    Deaf,
    /// It hears all, and is not heard.
    Mute,
    /// It stands still.
    Paused,
    /// Its links come and go, each in each direction by itself.
    Flapping,
}

impl Misery {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Down, Self::CutOff, Self::Deaf, Self::Mute, Self::Paused, Self::Flapping];

    /// Its name in recordings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "Down",
            Self::CutOff => "CutOff",
            Self::Deaf => "Deaf",
            Self::Mute => "Mute",
            Self::Paused => "Paused",
            Self::Flapping => "Flapping",
        }
    }
}

/// Clocks that disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockPlan {
    /// A node's clock shows anything up to this when the node boots.
    #[serde(with = "text::span")]
    pub skew: Duration,
    /// How many millionths too fast or too slow a clock runs at most, for the whole of the run.
    #[serde(rename = "drift", with = "text::rate")]
    pub drift_ppm: u64,
}

/// Losses that come together (Gilbert 1960, Elliott 1963): a link is good or bad, and each message may change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    /// How many of a million messages make a good link bad.
    #[serde(rename = "enter", with = "text::rate")]
    pub enter_ppm: u64,
    /// How many of a million messages make a bad link good.
    #[serde(rename = "leave", with = "text::rate")]
    pub leave_ppm: u64,
    /// How many of a million messages a bad link loses.
    #[serde(rename = "loss", with = "text::rate")]
    pub loss_ppm: u64,
}

/// A link that takes one message after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Bytes per second, in each direction of each pair.
    pub bytes_per_second: u64,
    /// A message that would wait longer than this is dropped.
    #[serde(with = "text::span")]
    pub longest_wait: Duration,
}

impl Plan {
    /// In some runs no node is lost after the storm, but some are left in whatever misery. At most as many as the most
    /// tolerant algorithm tolerates; the claims of another cut the list.
    pub(crate) fn draw_left_out(&mut self, seed: u64) {
        let draw = &mut Stream::derive(seed, "core");
        let on = draw.chance(250_000) && self.nodes > 2;
        let count = 1 + draw.index(self.nodes / 2);
        if on {
            self.lost_for_good = 0;
            self.left_out = (0..count).filter_map(|_| draw.pick(&Misery::ALL).copied()).collect();
        }
    }

    pub(crate) fn add_hardships(&mut self, seed: u64) {
        let on = |name: &str, ppm, every, lasts| rhythm(&mut Stream::derive(seed, name), ppm, every, lasts);
        self.hardships = Hardships {
            failed_syncs: on("failed syncs", 150_000, (200, 1_500), (1, 500)),
            full_disks: on("full disks", 150_000, (300, 2_000), (10, 500)),
            slow_disks: on("slow disks", 150_000, (200, 1_500), (50, 800)),
            rot: on("rot", 200_000, (200, 2_000), (1, 500)),
            pauses: on("pauses", 150_000, (50, 800), (5, 700)),
            flaps: on("flaps", 150_000, (5, 200), (1, 150)),
            starvation: on("starvation", 150_000, (100, 900), (20, 500)),
        };
        let draw = &mut Stream::derive(seed, "clocks");
        self.clocks = draw.chance(250_000).then(|| ClockPlan {
            skew: Duration::from_secs(draw.between(1, 1_000_000)),
            drift_ppm: *draw.pick(&[0, 200, 10_000, 80_000]).unwrap_or(&200),
        });
        self.network.add_hardships(seed, self.nodes);
    }
}

impl crate::plan::NetworkPlan {
    fn add_hardships(&mut self, seed: u64, nodes: usize) {
        let draw = &mut Stream::derive(seed, "topology");
        // Fewer nodes than three have no shape.
        self.topology = draw.chance(200_000).then(|| Topology::draw(draw)).filter(|_| nodes > 2);
        let draw = &mut Stream::derive(seed, "bursts");
        self.bursts = draw.chance(150_000).then(|| Bursts {
            enter_ppm: draw.between(1_000, 30_000),
            leave_ppm: draw.between(20_000, 300_000),
            loss_ppm: draw.between(500_000, MILLION),
        });
        let draw = &mut Stream::derive(seed, "bandwidth");
        self.bandwidth = draw.chance(150_000).then(|| Bandwidth {
            bytes_per_second: *draw.pick(&[10_000, 50_000, 500_000, 5_000_000]).unwrap_or(&50_000),
            longest_wait: Duration::from_millis(draw.between(1, 60)),
        });
        let draw = &mut Stream::derive(seed, "corruption");
        self.corrupt_ppm = if draw.chance(200_000) { draw.between(1_000, 50_000) } else { 0 };
    }

    /// The longest mean delay between any two of `nodes` nodes: what timeouts must be reckoned from.
    #[must_use]
    pub fn longest_delay(&self, nodes: usize) -> Duration {
        if !self.links.is_empty() {
            return ways(nodes, &self.links)
                .into_iter()
                .flatten()
                .map(|way| way.delay)
                .max()
                .unwrap_or(self.delay);
        }
        self.topology.as_ref().map_or(self.delay, |topology| topology.longest(nodes, self.delay))
    }
}
