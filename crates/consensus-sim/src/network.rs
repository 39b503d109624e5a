//! The network: what happens to one message on one link.

use crate::plan::NetworkPlan;
use crate::random::Stream;
use consensus_core::{Network, NodeId, wire};
use core::marker::PhantomData;
use core::time::Duration;
use serde::Serialize;

/// The outbox of one node: messages leave it as bytes, so that encoders and decoders are part of every run.
#[derive(Debug)]
pub struct Outbox<M> {
    /// Receiver and frame, in the order of sending.
    pub(crate) sent: Vec<(NodeId, Vec<u8>)>,
    message: PhantomData<M>,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self { sent: Vec::new(), message: PhantomData }
    }
}

impl<M: Serialize> Network<M> for Outbox<M> {
    fn send(&mut self, to: NodeId, message: M) {
        self.sent.push((to, wire::encode(&message)));
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

/// The links between `n` nodes.
#[derive(Clone, Debug)]
pub struct Links {
    nodes: usize,
    /// Whether the link from (row) to (column) is cut.
    cut: Vec<bool>,
    plan: NetworkPlan,
    calm: bool,
}

impl Links {
    /// Whole links.
    #[must_use]
    pub fn new(nodes: usize, plan: NetworkPlan) -> Self {
        Self { nodes, cut: vec![false; nodes * nodes], plan, calm: false }
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

    /// When the message arrives: never, once, or twice. The second number is how many were repeated.
    pub fn fate(&self, from: usize, to: usize, choices: &mut Stream) -> [Option<Duration>; 2] {
        if self.is_cut(from, to) {
            return [None, None];
        }
        let plan = &self.plan;
        if self.calm {
            return [Some(choices.around(plan.delay)), None];
        }
        if choices.chance(plan.loss_ppm) {
            return [None, None];
        }
        let first = self.delay(choices);
        let second = choices.chance(plan.duplicate_ppm).then(|| self.delay(choices));
        [Some(first), second]
    }

    fn delay(&self, choices: &mut Stream) -> Duration {
        let plan = &self.plan;
        let usual = choices.around(plan.delay);
        if choices.chance(plan.spike_ppm) { usual + choices.span(Duration::ZERO, plan.spike) } else { usual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn each_manner_of_cutting_leaves_some_links_and_cuts_others() {
        let mut choices = Stream::derive(1, "network");
        let mut links = Links::new(5, Plan::draw(1).network);
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
}
