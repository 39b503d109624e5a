//! Links with models of their own: a message goes from link to link, and each may delay it, queue it or lose it.
//!
//! Invariants: a link's queue and its bursts are shared by all pairs whose way leads over it; every choice is drawn when the
//! message leaves, so that what becomes of it does not depend on what is sent later. (A message that will reach a link later
//! therefore takes its turn before one that is sent later and gets there first: the queue is one of sending, not of arrival.)

use crate::hardship::{Bandwidth, Bursts};
use crate::injector::Injector;
use crate::latency::Latency;
use crate::mask::FaultClass;
use crate::network::Loss;
use crate::plan::text;
use crate::random::Stream;
use crate::topology::{Link, Route, routes};
use consensus_core::{NodeId, Time};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// One link between two nodes, in one direction or in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkModel {
    /// The sender, counted from 1.
    pub from: NodeId,
    /// The receiver, counted from 1.
    pub to: NodeId,
    /// Whether there is another such link back.
    #[serde(default)]
    pub both_ways: bool,
    /// How long it takes.
    pub latency: Latency,
    /// How many of a million messages it loses, each by chance.
    #[serde(default, rename = "loss", with = "text::rate")]
    pub loss_ppm: u64,
    /// Losses that come together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bursts: Option<Bursts>,
    /// How much it carries; `None`: anything at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

impl LinkModel {
    /// The directions that this stands for, as indices from 0; none if a node is numbered 0.
    fn directions(&self) -> impl Iterator<Item = (usize, usize)> {
        let index = |node: NodeId| usize::try_from(node.0).ok()?.checked_sub(1);
        let there = index(self.from).zip(index(self.to));
        let back = there.filter(|_| self.both_ways).map(|(from, to)| (to, from));
        there.into_iter().chain(back)
    }

    /// The links as one-way links with a mean delay, for the choice of ways.
    pub(crate) fn links(&self) -> impl Iterator<Item = Link> {
        let (delay, loss_ppm) = (self.latency.mean(), self.loss_ppm);
        self.directions().map(move |(from, to)| Link { from, to, delay, loss_ppm })
    }
}

/// The quickest way between each pair of nodes over these links, by their mean delays; row: from, column: to.
#[must_use]
pub fn ways(nodes: usize, models: &[LinkModel]) -> Vec<Option<Route>> {
    let links: Vec<Link> = models.iter().flat_map(LinkModel::links).collect();
    routes(nodes, &links)
}

/// One direction of a link, and its state.
#[derive(Debug)]
struct Line {
    model: LinkModel,
    burst: BurstState,
    /// It carries earlier messages up to here.
    busy_until: Time,
}

/// All links, and the way of each pair.
#[derive(Debug)]
pub(crate) struct Paths {
    nodes: usize,
    lines: Vec<Line>,
    /// Which lines the way from (row) to (column) takes, in order.
    ways: Vec<Vec<usize>>,
}

impl Paths {
    pub(crate) fn new(nodes: usize, models: &[LinkModel]) -> Self {
        let routes = ways(nodes, models);
        let ends: Vec<Link> = models.iter().flat_map(LinkModel::links).collect();
        let lines = models
            .iter()
            .flat_map(|model| {
                model.directions().map(|_| Line {
                    model: *model,
                    burst: BurstState::default(),
                    busy_until: Time::ZERO,
                })
            })
            .collect();
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let ways = pairs.map(|(from, to)| way(nodes, &routes, &ends, from, to)).collect();
        Self { nodes, lines, ways }
    }

    /// How long a message that leaves now is under way, or which link loses it.
    pub(crate) fn carry(
        &mut self,
        now: Time,
        (from, to): (usize, usize),
        bytes: usize,
        choices: &mut Stream,
        faults: &mut Injector,
    ) -> Result<Duration, Loss> {
        let mut at = now;
        for &place in self.ways.get(from * self.nodes + to).map(Vec::as_slice).unwrap_or_default() {
            let Some(line) = self.lines.get_mut(place) else { continue };
            at = line.take(at, bytes, choices, faults)?;
        }
        Ok(at.since(now))
    }

    /// How long it is under way when nothing is lost and nothing queues.
    pub(crate) fn quietly(&self, (from, to): (usize, usize), choices: &mut Stream) -> Duration {
        let way = self.ways.get(from * self.nodes + to).map(Vec::as_slice).unwrap_or_default();
        way.iter()
            .filter_map(|&place| self.lines.get(place))
            .map(|line| line.model.latency.draw(choices))
            .sum()
    }

    /// No message is longer under way when nothing queues, whoever sends it.
    pub(crate) fn longest(&self) -> Duration {
        let most = |way: &Vec<usize>| {
            way.iter().filter_map(|&place| self.lines.get(place)).map(|line| line.model.latency.most()).sum()
        };
        self.ways.iter().map(most).max().unwrap_or_default()
    }
}

/// The lines of the route: at each node the first that lies on a quickest way.
fn way(nodes: usize, routes: &[Option<Route>], ends: &[Link], from: usize, to: usize) -> Vec<usize> {
    let left = |node: usize| routes.get(node * nodes + to).copied().flatten();
    let mut lines = Vec::new();
    let mut node = from;
    while let Some(route) = left(node).filter(|route| route.hops > 0) {
        let on_the_way = |link: &Link| {
            link.from == node
                && left(link.to).is_some_and(|rest| {
                    (link.delay.saturating_add(rest.delay), rest.hops + 1) == (route.delay, route.hops)
                })
        };
        let Some(place) = ends.iter().position(on_the_way) else { break };
        lines.push(place);
        node = ends.get(place).map_or(to, |link| link.to);
    }
    lines
}

impl Line {
    /// The message enters the link at `at`; when it reaches the other end, or why it does not.
    fn take(
        &mut self,
        at: Time,
        bytes: usize,
        choices: &mut Stream,
        faults: &mut Injector,
    ) -> Result<Time, Loss> {
        // Whatever may befall it is drawn first, so that a fault that is left out moves no other.
        let (delay, lost) = (self.model.latency.draw(choices), choices.chance(self.model.loss_ppm));
        if let Some(bursts) = self.model.bursts
            && bursts.lose(&mut self.burst, choices, faults)
        {
            return Err(Loss::Burst);
        }
        if lost && faults.allows(FaultClass::Loss) {
            return Err(Loss::Chance);
        }
        let left = match self.model.bandwidth {
            Some(bandwidth) => bandwidth.queue(&mut self.busy_until, at, bytes, faults).ok_or(Loss::Queue)?,
            None => at,
        };
        Ok(left + delay)
    }
}

/// Whether a link is in a bad state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BurstState {
    /// It loses most.
    bad: bool,
    /// It does so in fact: the burst was not left out.
    lossy: bool,
}

impl Bursts {
    /// A message passes a link that is bad or not; whether it is lost. The link may turn.
    pub(crate) fn lose(&self, state: &mut BurstState, choices: &mut Stream, faults: &mut Injector) -> bool {
        let turns = choices.chance(if state.bad { self.leave_ppm } else { self.enter_ppm });
        let hit = choices.chance(self.loss_ppm);
        state.bad ^= turns;
        if turns && state.bad {
            state.lossy = faults.allows(FaultClass::Burst);
        }
        state.bad && state.lossy && hit
    }
}

impl Bandwidth {
    /// When a message that comes at `at` has wholly left; `None` if it would have to wait too long for its turn.
    pub(crate) fn queue(
        &self,
        busy_until: &mut Time,
        at: Time,
        bytes: usize,
        faults: &mut Injector,
    ) -> Option<Time> {
        let free = (*busy_until).max(at);
        if free.since(at) > self.longest_wait && faults.allows(FaultClass::Queue) {
            return None;
        }
        let nanos = (bytes as u128) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        *busy_until = free + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(*busy_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::MILLION;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn link(from: u64, to: u64, millis: u64) -> LinkModel {
        LinkModel {
            from: NodeId(from),
            to: NodeId(to),
            both_ways: false,
            latency: Latency::Constant(MILLISECOND * u32::try_from(millis).unwrap()),
            loss_ppm: 0,
            bursts: None,
            bandwidth: None,
        }
    }

    /// How many of so many messages from n1 to n3 get through.
    fn through(models: &[LinkModel], messages: u64) -> u64 {
        let (mut paths, mut choices) = (Paths::new(3, models), Stream::derive(1, "links"));
        let mut faults = Injector::default();
        let carried = (0..messages)
            .filter(|&at| paths.carry(Time::from_millis(at), (0, 2), 100, &mut choices, &mut faults).is_ok());
        carried.count() as u64
    }

    #[test]
    fn messages_take_the_quickest_way_in_each_direction() {
        let models = [link(1, 2, 2), link(2, 3, 2), link(1, 3, 5), link(3, 1, 1)];
        let mut paths = Paths::new(3, &models);
        let (mut choices, mut faults) = (Stream::derive(1, "links"), Injector::default());
        let mut carry = |from, to| paths.carry(Time::ZERO, (from, to), 100, &mut choices, &mut faults);
        assert_eq!(carry(0, 2), Ok(4 * MILLISECOND), "over n2");
        assert_eq!(carry(2, 0), Ok(MILLISECOND), "straight");
        assert_eq!(carry(2, 1), Ok(3 * MILLISECOND), "over n1");
        assert_eq!(paths.longest(), 4 * MILLISECOND);
        let both = [LinkModel { both_ways: true, ..link(1, 2, 7) }];
        assert_eq!(ways(2, &both).into_iter().flatten().filter(|way| way.hops == 1).count(), 2);
    }

    /// Four standard deviations of a binomial count: one correct run in 16,000 would fail, and this run is always the same.
    fn interval(messages: u64, ppm: u64) -> core::ops::RangeInclusive<u64> {
        let mean = messages * ppm / MILLION;
        let deviation = (messages * ppm / MILLION * (MILLION - ppm) / MILLION).isqrt() + 1;
        mean - 4 * deviation..=mean + 4 * deviation
    }

    #[test]
    fn the_losses_of_all_links_on_the_way_add_up() {
        let lossy = |from, to, loss_ppm| LinkModel { loss_ppm, ..link(from, to, 1) };
        let models = [lossy(1, 2, 100_000), lossy(2, 3, 200_000)];
        let lost = 20_000 - through(&models, 20_000);
        assert!(interval(20_000, 280_000).contains(&lost), "{lost} of 20,000");
    }

    #[test]
    fn bursts_lose_their_stationary_share() {
        // A link is bad for a share of enter / (enter + leave) of the messages: 1/6 here, of which it loses 60 %.
        let bursts = Some(Bursts { enter_ppm: 20_000, leave_ppm: 100_000, loss_ppm: 600_000 });
        let models = [LinkModel { bursts, ..link(1, 3, 1) }];
        let lost = 200_000 - through(&models, 200_000);
        // Messages of one burst are not independent: the interval is wider.
        assert!((18_000..22_000).contains(&lost), "{lost} of 200,000");
    }

    #[test]
    fn pairs_that_share_a_link_wait_for_each_other() {
        let bandwidth = Some(Bandwidth { bytes_per_second: 100_000, longest_wait: 3 * MILLISECOND });
        let models = [link(1, 2, 1), link(3, 2, 1), LinkModel { bandwidth, ..link(2, 4, 1) }];
        let mut paths = Paths::new(4, &models);
        let (mut choices, mut faults) = (Stream::derive(1, "links"), Injector::default());
        let mut carry = |from| paths.carry(Time::ZERO, (from, 3), 200, &mut choices, &mut faults);
        assert_eq!(carry(0), Ok(4 * MILLISECOND), "one on each link, and two to be put on the wire");
        assert_eq!(carry(2), Ok(6 * MILLISECOND), "after the other's");
        assert!(carry(1).is_err() || carry(1) == Err(Loss::Queue), "the queue is full");
    }
}
