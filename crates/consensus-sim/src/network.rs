//! The network: what happens to one message on one link.

use crate::injector::Injector;
use crate::mask::FaultClass;
use crate::paths::{BurstState, Paths, ways};
use crate::plan::NetworkPlan;
use crate::random::{MILLION, Stream};
use crate::timing::TimingPlan;
use crate::topology::{Route, routes};
use consensus_core::{Network, NodeId, Time, wire};
use core::marker::PhantomData;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// How many of a million messages take any time within the bound, once there is one: an adversary may use all of it.
const DAWDLING_PPM: u64 = MILLION / 8;

/// The outbox of one node: messages leave it as bytes, so that encoders and decoders are part of every run.
#[derive(Debug)]
pub struct Outbox<M> {
    /// Receiver and frame, in the order of sending.
    pub(crate) sent: Vec<(NodeId, Vec<u8>)>,
    /// Used again for each message, so that a frame is allocated once and not grown.
    buffer: Vec<u8>,
    message: PhantomData<M>,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self { sent: Vec::new(), buffer: Vec::new(), message: PhantomData }
    }
}

impl<M: Serialize> Network<M> for Outbox<M> {
    fn send(&mut self, to: NodeId, message: M) {
        self.buffer.clear();
        wire::encode_into(&message, &mut self.buffer);
        self.sent.push((to, self.buffer.clone()));
    }
}

/// How the links are cut at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Into two sides that do not hear each other.
    Split,
    /// One node does not hear the others, or is not heard.
    OneWay,
    /// One node is alone.
    Isolate,
    /// A ring or a star is left: not every pair hears each other, and perhaps only one node hears a quorum.
    Partial,
}

/// Why a message does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// A partition.
    Cut,
    /// Chance.
    Chance,
    /// The link is down for a moment.
    Flap,
    /// The link is in a bad state.
    Burst,
    /// Too much waits before it.
    Queue,
    /// Its frame was damaged on the way, and dropped for that.
    Corrupted,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after the first delay, and perhaps again after the second.
    Arrives(Duration, Option<Duration>),
    /// It never arrives.
    Lost(Loss),
}

/// The links between `n` nodes.
#[derive(Debug)]
pub struct Links {
    nodes: usize,
    /// Whether the link from (row) to (column) is cut.
    cut: Vec<bool>,
    plan: NetworkPlan,
    timing: TimingPlan,
    calm: bool,
    /// The way from (row) to (column); empty if all are alike.
    routes: Vec<Option<Route>>,
    /// The links that have models of their own, if any.
    paths: Option<Paths>,
    /// What else is known of the link from (row) to (column).
    lines: Vec<Line>,
    /// Choices of routes, bursts, queues and flips: they move no others.
    choices: Stream,
}

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    burst: BurstState,
    /// It loses everything up to here.
    down_until: Time,
    /// It carries earlier messages up to here.
    busy_until: Time,
}

impl Links {
    /// Whole links.
    #[must_use]
    pub fn new(nodes: usize, plan: NetworkPlan, seed: u64) -> Self {
        let mut choices = Stream::derive(seed, "links");
        let paths = (!plan.links.is_empty()).then(|| Paths::new(nodes, &plan.links));
        let routes = match plan.topology {
            Some(topology) => routes(nodes, &topology.links(nodes, plan.delay, &mut choices)),
            None if paths.is_some() => ways(nodes, &plan.links),
            None => Vec::new(),
        };
        let (cut, lines) = (vec![false; nodes * nodes], vec![Line::default(); nodes * nodes]);
        Self {
            nodes,
            cut,
            plan,
            timing: TimingPlan::Asynchronous,
            calm: false,
            routes,
            paths,
            lines,
            choices,
        }
    }

    /// The same links, which keep to this timing.
    #[must_use]
    pub const fn timed(mut self, timing: TimingPlan) -> Self {
        self.timing = timing;
        self
    }

    /// How many links the way from `from` to `to` has; `None` if there is no way.
    #[must_use]
    pub fn hops(&self, from: usize, to: usize) -> Option<u32> {
        if self.routes.is_empty() { Some(1) } else { self.route(from, to).map(|route| route.hops) }
    }

    fn route(&self, from: usize, to: usize) -> Option<Route> {
        if self.routes.is_empty() {
            return Some(Route { delay: self.plan.delay, loss_ppm: 0, hops: 1 });
        }
        self.routes.get(from * self.nodes + to).copied().flatten()
    }

    /// The link from `from` to `to` loses everything until then.
    pub fn flap(&mut self, from: usize, to: usize, until: Time) {
        if let Some(line) = self.lines.get_mut(from * self.nodes + to) {
            line.down_until = line.down_until.max(until);
        }
    }

    /// Perhaps flips one bit of the frame; whether it did.
    pub fn corrupt(&mut self, now: Time, frame: &mut [u8], faults: &mut Injector) -> bool {
        if self.calm
            || self.timing.is_settled(now)
            || frame.is_empty()
            || !self.choices.chance(self.plan.corrupt_ppm)
        {
            return false;
        }
        let (place, bit) = (self.choices.index(frame.len()), self.choices.below(8));
        if !faults.allows(FaultClass::Corruption) {
            return false;
        }
        if let Some(byte) = frame.get_mut(place) {
            *byte ^= 1 << bit;
        }
        true
    }

    /// Cuts or mends the link from `from` to `to` (indices).
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        if let Some(link) = self.cut.get_mut(from * self.nodes + to) {
            *link = cut;
        }
    }

    /// Whether the link from `from` to `to` is cut.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.get(from * self.nodes + to).copied().unwrap_or(false)
    }

    /// Whether what leaves now is not lost for sure.
    #[must_use]
    pub fn carries(&self, now: Time, from: usize, to: usize) -> bool {
        let is_whole = self.calm || self.timing.is_settled(now);
        let is_up = |line: &Line| is_whole || now >= line.down_until;
        self.route(from, to).is_some()
            && !self.is_cut(from, to)
            && self.lines.get(from * self.nodes + to).is_some_and(is_up)
    }

    /// No message takes longer once everything is calm, unless there is another bound.
    #[must_use]
    pub fn calm_bound(&self) -> Duration {
        match &self.paths {
            Some(paths) => paths.longest(),
            None => {
                let longest = self.routes.iter().flatten().map(|route| route.delay).max();
                longest.unwrap_or(self.plan.delay) * 3 / 2
            }
        }
    }

    /// Whether any link is cut.
    #[must_use]
    pub fn any_cut(&self) -> bool {
        self.cut.contains(&true)
    }

    /// Mends every link.
    pub fn heal(&mut self) {
        self.cut.fill(false);
    }

    /// No link is cut, and from now on nothing is lost, repeated or much delayed; but if there is a moment of stabilisation, that
    /// is left to it.
    pub fn calm(&mut self) {
        self.heal();
        self.calm = self.timing.stabilisation().is_none();
    }

    /// Cuts links at random in the given manner. `target` is the node that the adversary dislikes most.
    pub fn cut(&mut self, manner: Cut, target: usize, choices: &mut Stream) {
        self.heal();
        let n = self.nodes;
        match manner {
            Cut::Split => {
                let mut order: Vec<usize> = (0..n).collect();
                choices.shuffle(&mut order);
                let side = 1 + choices.index(n.saturating_sub(1));
                for (place, &from) in order.iter().enumerate() {
                    for (other, &to) in order.iter().enumerate() {
                        self.set_cut(from, to, (place < side) != (other < side));
                    }
                }
            }
            Cut::OneWay => {
                let deaf = choices.below(2) == 0;
                for other in (0..n).filter(|&other| other != target) {
                    let (from, to) = if deaf { (other, target) } else { (target, other) };
                    self.set_cut(from, to, true);
                }
            }
            Cut::Isolate => {
                for other in (0..n).filter(|&other| other != target) {
                    self.set_cut(other, target, true);
                    self.set_cut(target, other, true);
                }
            }
            Cut::Partial => {
                // Around the target (a star) or in a chain, pairs that are not neighbours do not hear each other.
                let star = choices.below(2) == 0;
                for from in 0..n {
                    for to in (0..n).filter(|&to| to != from) {
                        let linked =
                            if star { from == target || to == target } else { from.abs_diff(to) == 1 };
                        self.set_cut(from, to, !linked);
                    }
                }
            }
        }
    }

    /// What becomes of a message of `bytes` bytes that leaves now. All that may befall it is drawn before `faults` is asked.
    pub fn fate(
        &mut self,
        now: Time,
        (from, to): (usize, usize),
        bytes: usize,
        choices: &mut Stream,
        faults: &mut Injector,
    ) -> Fate {
        let Some(route) = self.route(from, to).filter(|_| !self.is_cut(from, to)) else {
            return Fate::Lost(Loss::Cut);
        };
        if self.timing.is_settled(now) {
            return self.timely(now, route, (from, to), choices, faults);
        }
        if self.calm {
            return Fate::Arrives(self.quiet_delay(route, (from, to), choices), None);
        }
        let route_ppm = if self.paths.is_some() { 0 } else { route.loss_ppm };
        let lost = self.choices.chance(route_ppm) | choices.chance(self.plan.loss_ppm);
        let first = self.draw_delay(route, choices);
        let second = choices.chance(self.plan.duplicate_ppm).then(|| self.draw_delay(route, choices));
        let wait = match self.pass_line(now, from, to, bytes, faults) {
            Ok(wait) => wait,
            Err(loss) => return Fate::Lost(loss),
        };
        if lost && faults.allows(FaultClass::Loss) {
            return Fate::Lost(Loss::Chance);
        }
        let wait = match &mut self.paths {
            Some(paths) => match paths.carry(now + wait, (from, to), bytes, &mut self.choices, faults) {
                Ok(carried) => wait + carried,
                Err(loss) => return Fate::Lost(loss),
            },
            None => wait,
        };
        let first = self.timing.bounded(now, wait + first.span(faults));
        let second = second.filter(|_| faults.allows(FaultClass::Duplicate));
        Fate::Arrives(first, second.map(|second| self.timing.bounded(now, wait + second.span(faults))))
    }

    /// Once there is a bound, nothing is lost, and nothing comes later.
    fn timely(
        &self,
        now: Time,
        route: Route,
        pair: (usize, usize),
        choices: &mut Stream,
        faults: &mut Injector,
    ) -> Fate {
        let mut delay = || {
            let latest = self.timing.delta().unwrap_or_default();
            let dawdles = choices.chance(DAWDLING_PPM);
            let usual = self.quiet_delay(route, pair, choices);
            self.timing.bounded(now, if dawdles { choices.span(usual.min(latest), latest) } else { usual })
        };
        let (first, second) = (delay(), delay());
        let repeated = choices.chance(self.plan.duplicate_ppm) && faults.allows(FaultClass::Duplicate);
        Fate::Arrives(first, repeated.then_some(second))
    }

    /// How long a message takes when nothing is lost and nothing queues.
    fn quiet_delay(&self, route: Route, pair: (usize, usize), choices: &mut Stream) -> Duration {
        match &self.paths {
            Some(paths) => paths.quietly(pair, choices),
            None => choices.around(route.delay),
        }
    }

    /// How long the message waits for its turn on the line, and is on its way into it.
    fn pass_line(
        &mut self,
        now: Time,
        from: usize,
        to: usize,
        bytes: usize,
        faults: &mut Injector,
    ) -> Result<Duration, Loss> {
        let choices = &mut self.choices;
        let Some(line) = self.lines.get_mut(from * self.nodes + to) else { return Ok(Duration::ZERO) };
        if now < line.down_until {
            return Err(Loss::Flap);
        }
        if let Some(bursts) = self.plan.bursts
            && bursts.lose(&mut line.burst, choices, faults)
        {
            return Err(Loss::Burst);
        }
        let Some(bandwidth) = self.plan.bandwidth else { return Ok(Duration::ZERO) };
        let left = bandwidth.queue(&mut line.busy_until, now, bytes, faults).ok_or(Loss::Queue)?;
        Ok(left.since(now))
    }

    fn draw_delay(&self, route: Route, choices: &mut Stream) -> Delay {
        let plan = &self.plan;
        // Links with models of their own take their time beside this.
        let usual = if self.paths.is_some() { Duration::ZERO } else { choices.around(route.delay) };
        let spike = choices.chance(plan.spike_ppm).then(|| choices.span(Duration::ZERO, plan.spike));
        Delay { usual, spike }
    }
}

/// How long one copy of a message takes.
struct Delay {
    usual: Duration,
    /// By how much it is delayed beyond that.
    spike: Option<Duration>,
}

impl Delay {
    fn span(&self, faults: &mut Injector) -> Duration {
        let spike = self.spike.filter(|_| faults.allows(FaultClass::Spike));
        self.usual + spike.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardship::{Bandwidth, Bursts};
    use crate::mask::Mask;
    use crate::plan::Plan;

    #[test]
    fn each_manner_of_cutting_leaves_some_links_and_cuts_others() {
        let mut choices = Stream::derive(1, "network");
        let mut links = Links::new(5, Plan::draw(1).network, 1);
        for manner in [Cut::Split, Cut::OneWay, Cut::Isolate, Cut::Partial] {
            for target in 0..5 {
                links.cut(manner, target, &mut choices);
                let cut = (0..25).filter(|pair| links.is_cut(pair / 5, pair % 5)).count();
                assert!((1..20).contains(&cut), "{manner:?} cut {cut} of 20");
            }
        }
        links.heal();
        assert!((0..25).all(|pair| !links.is_cut(pair / 5, pair % 5)));
    }

    fn calm_network() -> NetworkPlan {
        Plan::calm(3).network
    }

    /// How often each thing happens to 1,000 messages of 1,000 bytes, one per millisecond.
    fn losses(plan: NetworkPlan) -> Vec<Option<Loss>> {
        losses_under(&Mask::all(), plan)
    }

    fn losses_under(mask: &Mask, plan: NetworkPlan) -> Vec<Option<Loss>> {
        let (mut links, mut choices) = (Links::new(3, plan, 1), Stream::derive(1, "network"));
        let mut faults = Injector::new(mask);
        links.flap(0, 1, Time::from_millis(100));
        (0..1_000)
            .map(|millis| {
                match links.fate(Time::from_millis(millis), (0, 1), 1_000, &mut choices, &mut faults) {
                    Fate::Arrives(..) => None,
                    Fate::Lost(loss) => Some(loss),
                }
            })
            .collect()
    }

    #[test]
    fn a_link_that_flaps_loses_everything_for_a_while_and_nothing_afterwards() {
        let losses = losses(calm_network());
        assert!(losses.iter().take(100).all(|loss| *loss == Some(Loss::Flap)));
        assert!(losses.iter().skip(100).all(Option::is_none));
    }

    #[test]
    fn bursts_lose_many_messages_in_a_row() {
        let bursts = Bursts { enter_ppm: 20_000, leave_ppm: 100_000, loss_ppm: MILLION };
        let losses = losses(NetworkPlan { bursts: Some(bursts), ..calm_network() });
        let runs = losses.split(Option::is_none).filter(|run| run.contains(&Some(Loss::Burst)));
        let longest = runs.map(<[Option<Loss>]>::len).max();
        assert!(longest.is_some_and(|longest| longest >= 8), "{longest:?} at most in a row");
        assert!(losses.iter().filter(|loss| loss.is_none()).count() > 500);
    }

    /// Leaving a fault out moves no other: neither of its class nor of another.
    #[test]
    fn a_loss_that_is_left_out_leaves_every_other_where_it_was() {
        let bursts = Bursts { enter_ppm: 20_000, leave_ppm: 100_000, loss_ppm: MILLION / 2 };
        let plan = NetworkPlan { loss_ppm: 50_000, bursts: Some(bursts), ..calm_network() };
        let (all, kept) =
            (losses(plan.clone()), losses_under(&"loss:0-5,9-99".parse().unwrap(), plan.clone()));
        let chance = |losses: &[Option<Loss>]| -> Vec<usize> {
            (0..losses.len()).filter(|&place| losses.get(place) == Some(&Some(Loss::Chance))).collect()
        };
        let mut expected = chance(&all);
        assert!(expected.len() > 12, "{expected:?}");
        expected.drain(6..9);
        assert_eq!(chance(&kept), expected);
        let none = losses_under(&"loss:;burst:".parse().unwrap(), plan);
        assert!(none.iter().skip(100).all(Option::is_none));
    }

    #[test]
    fn a_narrow_link_makes_messages_wait_and_drops_what_would_wait_too_long() {
        let longest_wait = Duration::from_millis(20);
        let bandwidth = Some(Bandwidth { bytes_per_second: 500_000, longest_wait });
        let plan = NetworkPlan { bandwidth, ..calm_network() };
        let (mut links, mut choices) = (Links::new(3, plan, 1), Stream::derive(1, "network"));
        let mut faults = Injector::default();
        let mut fate = |bytes| links.fate(Time::ZERO, (0, 1), bytes, &mut choices, &mut faults);
        let Fate::Arrives(first, None) = fate(500) else { panic!("an empty link takes a message") };
        assert!(first >= Duration::from_millis(1) && first < Duration::from_millis(2), "{first:?}");
        assert!(matches!(fate(10_000), Fate::Arrives(delay, None) if delay > longest_wait));
        assert_eq!(fate(1), Fate::Lost(Loss::Queue));
        links.calm();
        assert!(matches!(links.fate(Time::ZERO, (0, 1), 1, &mut choices, &mut faults), Fate::Arrives(..)));
    }

    #[test]
    fn a_corrupted_frame_differs_in_one_bit() {
        let plan = NetworkPlan { corrupt_ppm: MILLION, ..calm_network() };
        let mut links = Links::new(3, plan, 1);
        let mut frame = [0; 20];
        let mut faults = Injector::default();
        assert!(
            links.corrupt(Time::ZERO, &mut frame, &mut faults)
                && !links.corrupt(Time::ZERO, &mut [], &mut faults)
        );
        assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        links.calm();
        assert!(!links.corrupt(Time::ZERO, &mut frame, &mut faults));
    }

    /// A network that does everything that a network may do.
    fn wild_network() -> NetworkPlan {
        NetworkPlan {
            loss_ppm: MILLION / 5,
            spike_ppm: MILLION / 2,
            spike: Duration::from_secs(5),
            duplicate_ppm: MILLION / 2,
            bursts: Some(Bursts { enter_ppm: MILLION / 50, leave_ppm: MILLION / 5, loss_ppm: MILLION }),
            bandwidth: Some(Bandwidth { bytes_per_second: 900_000, longest_wait: Duration::from_secs(1) }),
            corrupt_ppm: MILLION,
            ..calm_network()
        }
    }

    #[test]
    fn after_the_stabilisation_nothing_is_lost_or_late_and_before_it_much_is() {
        let (bound, stabilises) = (Duration::from_millis(4), Duration::from_secs(2));
        let timing = TimingPlan::PartialSynchrony { bound, stabilises };
        let mut links = Links::new(3, wild_network(), 1).timed(timing);
        let (mut choices, mut faults) = (Stream::derive(1, "network"), Injector::default());
        let (mut lost, mut late, mut longest) = (0, 0, Duration::ZERO);
        for millis in 0..4_000 {
            let now = Time::from_millis(millis);
            let settled = now >= Time::ZERO + stabilises;
            match links.fate(now, (0, 1), 1_000, &mut choices, &mut faults) {
                Fate::Lost(loss) => {
                    assert!(!settled, "{loss:?} at {now}");
                    lost += 1;
                }
                Fate::Arrives(first, second) => {
                    let delay = first.max(second.unwrap_or_default());
                    let latest = now.max(Time::ZERO + stabilises) + bound;
                    assert!(now + delay <= latest, "sent at {now}, {delay:?} under way");
                    late += usize::from(delay > bound);
                    longest = if settled { longest.max(delay) } else { longest };
                }
            }
            assert_eq!(links.corrupt(now, &mut [0; 9], &mut faults), !settled);
        }
        assert!(lost > 300 && late > 300, "{lost} lost, {late} late");
        assert!(longest > bound * 3 / 4, "the whole bound is used: {longest:?}");
    }

    #[test]
    fn a_calm_that_waits_for_the_stabilisation_changes_nothing_before_it() {
        let timing = TimingPlan::PartialSynchrony {
            bound: Duration::from_millis(4),
            stabilises: Duration::from_secs(2),
        };
        let mut links = Links::new(3, wild_network(), 1).timed(timing);
        links.calm();
        let (mut choices, mut faults) = (Stream::derive(1, "network"), Injector::default());
        let fates = (0..100)
            .map(|millis| links.fate(Time::from_millis(millis), (0, 1), 10, &mut choices, &mut faults));
        assert!(fates.filter(|fate| matches!(fate, Fate::Lost(_))).count() > 20);
    }

    #[test]
    fn the_measured_loss_is_the_planned_one() {
        for ppm in [1_000, 50_000, 300_000] {
            let (mut links, mut choices) = (
                Links::new(3, NetworkPlan { loss_ppm: ppm, ..calm_network() }, 1),
                Stream::derive(1, "network"),
            );
            let (messages, mut faults) = (50_000, Injector::default());
            let lost = (0..messages)
                .filter(|&at| {
                    matches!(
                        links.fate(Time::from_millis(at), (0, 1), 9, &mut choices, &mut faults),
                        Fate::Lost(_)
                    )
                })
                .count() as u64;
            // Four standard deviations of a binomial count.
            let mean = messages * ppm / MILLION;
            let off = 4 * (mean * (MILLION - ppm) / MILLION).isqrt() + 1;
            assert!((mean - off..=mean + off).contains(&lost), "{lost} of {messages}, not {mean}");
        }
    }
}
