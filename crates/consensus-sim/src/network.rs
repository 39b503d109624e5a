//! The network: what happens to one message on one link.

use crate::injector::Injector;
use crate::mask::FaultClass;
use crate::plan::NetworkPlan;
use crate::random::Stream;
use crate::topology::{Route, routes};
use consensus_core::{Network, NodeId, Time, wire};
use core::marker::PhantomData;
use core::time::Duration;
use serde::{Deserialize, Serialize};

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
    calm: bool,
    /// The way from (row) to (column); empty if all are alike.
    routes: Vec<Option<Route>>,
    /// What else is known of the link from (row) to (column).
    lines: Vec<Line>,
    /// Choices of routes, bursts, queues and flips: they move no others.
    choices: Stream,
}

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// It is in a bad state, in which it loses most.
    bad: bool,
    /// The mask lets it lose in this bad state.
    lossy: bool,
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
        let routes = plan.topology.as_ref().map_or_else(Vec::new, |topology| {
            routes(nodes, &topology.links(nodes, plan.delay, &mut choices))
        });
        let (cut, lines) = (vec![false; nodes * nodes], vec![Line::default(); nodes * nodes]);
        Self { nodes, cut, plan, calm: false, routes, lines, choices }
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
    pub fn corrupt(&mut self, frame: &mut [u8], faults: &mut Injector) -> bool {
        if self.calm || frame.is_empty() || !self.choices.chance(self.plan.corrupt_ppm) {
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

    /// Whether any link is cut.
    #[must_use]
    pub fn any_cut(&self) -> bool {
        self.cut.contains(&true)
    }

    /// Mends every link.
    pub fn heal(&mut self) {
        self.cut.fill(false);
    }

    /// From now on nothing is lost, repeated or much delayed.
    pub fn calm(&mut self) {
        self.heal();
        self.calm = true;
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
        if self.calm {
            return Fate::Arrives(choices.around(route.delay), None);
        }
        let lost = self.choices.chance(route.loss_ppm) | choices.chance(self.plan.loss_ppm);
        let first = self.draw_delay(route, choices);
        let second = choices.chance(self.plan.duplicate_ppm).then(|| self.draw_delay(route, choices));
        let wait = match self.pass_line(now, from, to, bytes, faults) {
            Ok(wait) => wait,
            Err(loss) => return Fate::Lost(loss),
        };
        if lost && faults.allows(FaultClass::Loss) {
            return Fate::Lost(Loss::Chance);
        }
        let first = wait + first.span(faults);
        let second = second.filter(|_| faults.allows(FaultClass::Duplicate));
        Fate::Arrives(first, second.map(|second| wait + second.span(faults)))
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
        if let Some(bursts) = self.plan.bursts {
            let turns = choices.chance(if line.bad { bursts.leave_ppm } else { bursts.enter_ppm });
            let hit = choices.chance(bursts.loss_ppm);
            line.bad ^= turns;
            if turns && line.bad {
                line.lossy = faults.allows(FaultClass::Burst);
            }
            if line.bad && line.lossy && hit {
                return Err(Loss::Burst);
            }
        }
        let Some(bandwidth) = self.plan.bandwidth else { return Ok(Duration::ZERO) };
        let free = line.busy_until.max(now);
        if free.since(now) > bandwidth.longest_wait && faults.allows(FaultClass::Queue) {
            return Err(Loss::Queue);
        }
        let nanos = (bytes as u128) * 1_000_000_000 / u128::from(bandwidth.bytes_per_second.max(1));
        line.busy_until = free + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Ok(line.busy_until.since(now))
    }

    fn draw_delay(&self, route: Route, choices: &mut Stream) -> Delay {
        let plan = &self.plan;
        let usual = choices.around(route.delay);
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
    use crate::random::MILLION;

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
        assert!(links.corrupt(&mut frame, &mut faults) && !links.corrupt(&mut [], &mut faults));
        assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        links.calm();
        assert!(!links.corrupt(&mut frame, &mut faults));
    }
}
