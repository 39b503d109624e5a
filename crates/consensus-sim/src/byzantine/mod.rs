//! Byzantine nodes, all of them outside of protocol code: which nodes lie in a run, and how.
//!
//! A Byzantine node runs the honest code, since nothing else speaks the protocol; what makes it lie is done to it and to its
//! effects from outside:
//! - *twins* (Bano and others, "Twins: BFT Systems Made Robust", OPODIS 2021): several honest instances share one identity,
//!   with separate disks and states. Both hear what is addressed to the identity, and round by round a partition says who
//!   hears whom. Equivocation, double votes, amnesia about oneself: all come from that alone.
//! - an *effect filter*: silence, delay, omission, messages for some receivers only;
//! - *amnesia*: it comes back on an older state of its disk, or on an empty one;
//! - *frames*: damaged, mutated by field, sent again, passed on from others, or under another's name;
//! - *lies* to clients.
//!
//! Invariants: a correct node is never touched. Whatever a Byzantine node does to itself (a refused disk, a panic of the
//! honest code in a state that honest code never reaches) ends that instance's boot and nothing else.

mod acts;
mod frames;
mod mutator;
mod twins;

pub use acts::{Act, ByzantineCounts};
pub(crate) use frames::{FrameBook, tamper};
pub use mutator::{Mutate, Mutator};
pub use twins::{Round, Scenario, Scenarios, Scope, Severs};

use crate::plan::{Rhythm, rhythm};
use crate::random::{MILLION, Stream};
use consensus_core::NodeId;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The Byzantine nodes of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByzantinePlan {
    /// Who they are, and what each does. Ordinary runs name at most as many as the algorithm tolerates, controls more.
    pub traitors: Vec<Traitor>,
    /// Who hears whom, round by round; `None`: everybody hears everybody, twins included.
    pub scenario: Option<Scenario>,
    /// What the network makes of a frame under another's name.
    pub transport: Transport,
    /// Whether the group may stand still: only safety is judged then, and the calm ends after the patience.
    pub may_halt: bool,
    /// How to change a field of a message. The protocol's tests supply it, so it is not written down.
    #[serde(skip)]
    pub mutator: Option<Mutator>,
}

/// One Byzantine node: an identity, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traitor {
    /// The identity.
    pub node: NodeId,
    /// How many instances live under it: one, or twins (or more).
    pub instances: usize,
    /// What is done to what it sends and hears.
    pub effects: Option<EffectFilter>,
    /// It forgets.
    pub amnesia: Option<Amnesia>,
    /// What is done to its frames.
    pub frames: Option<FrameAttacks>,
    /// How many of a million replies to clients are lies.
    pub lies_ppm: u64,
}

/// What is done to what a node sends and hears.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectFilter {
    /// Now and then it sends nothing for a while.
    pub silence: Option<Rhythm>,
    /// These never get anything from it.
    pub withheld_from: Vec<NodeId>,
    /// How many of a million messages it does not send.
    pub send_omission_ppm: u64,
    /// How many of a million messages it does not hear.
    pub receive_omission_ppm: u64,
    /// How many of a million messages it sends late.
    pub delay_ppm: u64,
    /// How late, at most.
    pub delay: Duration,
}

/// A node that comes back without all that it knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amnesia {
    /// How often, and how long it is away.
    pub rhythm: Rhythm,
    /// How many of a million times its disk is empty afterwards; otherwise it is as it was some time ago.
    pub empty_ppm: u64,
}

/// What is done to frames; each rate is of a million frames that the node sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameAttacks {
    /// Bytes are changed: a number ± 1, a flipped bit, a cut.
    pub tamper_ppm: u64,
    /// A field is changed, by the [`Mutate`] that the protocol's tests supply.
    pub mutate_ppm: u64,
    /// An earlier frame of its own is sent again, perhaps to another receiver.
    pub replay_ppm: u64,
    /// A frame that it heard from another is sent as if it were its own: the inner sender differs from the outer.
    pub relay_ppm: u64,
    /// A frame goes out under another's name.
    pub forge_ppm: u64,
}

/// What the network makes of a frame under another's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// It knows every sender, and refuses the frame: what all algorithms may rely on.
    #[default]
    Authenticated,
    /// It believes it: beyond every algorithm's claims, to test the tester.
    Trusting,
}

impl Traitor {
    /// A Byzantine node that does nothing wrong yet.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        Self { node, instances: 1, effects: None, amnesia: None, frames: None, lies_ppm: 0 }
    }

    /// As many honest instances under one identity.
    #[must_use]
    pub const fn twins(node: NodeId, instances: usize) -> Self {
        let mut twins = Self::new(node);
        twins.instances = instances;
        twins
    }

    /// What a traitor of a swarm does: each kind of misbehaviour is on in some runs, and at least one in each.
    fn draw(node: NodeId, nodes: usize, draw: &mut Stream) -> Self {
        // Everything is drawn in any case, so that a kind that is off moves nothing else.
        let on: Vec<bool> = (0..4).map(|_| draw.chance(MILLION / 2)).collect();
        let all_off = on.iter().all(|&is_on| !is_on);
        let is_on = |kind: usize| on.get(kind).copied().unwrap_or_default();
        let twins = 2 + draw.index(2) * draw.index(2);
        let effects = EffectFilter::draw(nodes, draw);
        let amnesia = Amnesia::draw(draw);
        let frames = FrameAttacks::draw(draw);
        let lies_ppm = *draw.pick(&[0, MILLION / 4, MILLION]).unwrap_or(&0);
        Self {
            node,
            instances: if is_on(0) || all_off { twins } else { 1 },
            effects: is_on(1).then_some(effects),
            amnesia: is_on(2).then_some(amnesia),
            frames: is_on(3).then_some(frames),
            lies_ppm,
        }
    }
}

impl EffectFilter {
    fn draw(nodes: usize, draw: &mut Stream) -> Self {
        let mut rate = |most: u64| {
            let rate = draw.between(1_000, most);
            if draw.chance(MILLION / 3) { rate } else { 0 }
        };
        let (send_omission_ppm, receive_omission_ppm) = (rate(MILLION), rate(MILLION));
        let delay_ppm = rate(MILLION);
        let some = draw.chance(MILLION / 3);
        let victims = (1..=nodes as u64).map(NodeId).filter(|_| draw.chance(MILLION / 3) && some);
        let withheld_from = victims.collect();
        Self {
            silence: rhythm(draw, MILLION / 3, (50, 1_500), (50, 2_000)),
            withheld_from,
            send_omission_ppm,
            receive_omission_ppm,
            delay_ppm,
            delay: Duration::from_millis(draw.between(1, 600)),
        }
    }
}

impl Amnesia {
    fn draw(draw: &mut Stream) -> Self {
        let every = Duration::from_millis(draw.between(100, 2_000));
        let lasts = Duration::from_millis(draw.between(1, 300));
        let empty_ppm = *draw.pick(&[0, MILLION / 2, MILLION]).unwrap_or(&0);
        Self { rhythm: Rhythm { every, lasts }, empty_ppm }
    }
}

impl FrameAttacks {
    fn draw(draw: &mut Stream) -> Self {
        let mut rate = || {
            let rate = draw.between(5_000, 200_000);
            if draw.chance(MILLION / 2) { rate } else { 0 }
        };
        Self {
            tamper_ppm: rate(),
            mutate_ppm: rate(),
            replay_ppm: rate(),
            relay_ppm: rate(),
            forge_ppm: rate(),
        }
    }
}

impl ByzantinePlan {
    /// The Byzantine nodes of a seed's run among `nodes`: at most `tolerated`, and in one run of ten nobody.
    #[must_use]
    pub fn draw(seed: u64, nodes: usize, tolerated: usize) -> Self {
        let draw = &mut Stream::derive(seed, "byzantine");
        let several = 1 + draw.index(tolerated.max(1));
        let most = if draw.chance(MILLION / 2) { tolerated } else { several };
        let count = if draw.chance(MILLION / 10) { 0 } else { most.min(tolerated) };
        let mut order: Vec<u64> = (1..=nodes as u64).collect();
        draw.shuffle(&mut order);
        let chosen = order.into_iter().take(count).map(NodeId);
        let traitors: Vec<Traitor> = chosen.map(|node| Traitor::draw(node, nodes, draw)).collect();
        let mut plan = Self { traitors, ..Self::default() };
        if plan.hosts(nodes) > nodes {
            let scenario = Scenario::draw(plan.hosts(nodes), draw);
            plan.scenario = Some(scenario);
        }
        plan
    }

    /// How many instances there are of `nodes` nodes.
    #[must_use]
    pub fn hosts(&self, nodes: usize) -> usize {
        nodes + self.traitors.iter().map(|traitor| traitor.instances.saturating_sub(1)).sum::<usize>()
    }

    /// Whether `node` is Byzantine.
    #[must_use]
    pub fn betrays(&self, node: NodeId) -> bool {
        self.traitors.iter().any(|traitor| traitor.node == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swarm_never_draws_more_traitors_than_are_tolerated_and_draws_every_kind() {
        let plans: Vec<_> = (0..400).map(|seed| ByzantinePlan::draw(seed, 7, 2)).collect();
        assert!(plans.iter().all(|plan| plan.traitors.len() <= 2));
        let traitors: Vec<&Traitor> = plans.iter().flat_map(|plan| &plan.traitors).collect();
        let count = |is_on: fn(&Traitor) -> bool| traitors.iter().filter(|traitor| is_on(traitor)).count();
        let kinds = [
            count(|traitor| traitor.instances == 2),
            count(|traitor| traitor.instances == 3),
            count(|traitor| traitor.effects.is_some()),
            count(|traitor| traitor.amnesia.is_some()),
            count(|traitor| traitor.frames.is_some()),
            count(|traitor| traitor.lies_ppm > 0),
        ];
        assert!(kinds.iter().all(|&count| count > 50 && count < traitors.len()), "{kinds:?}");
        assert!(plans.iter().any(|plan| plan.traitors.is_empty()));
        assert!(ByzantinePlan::draw(5, 3, 0).traitors.is_empty());
    }

    #[test]
    fn a_plan_can_be_written_down_and_read_back() {
        for seed in 0..50 {
            let plan = ByzantinePlan::draw(seed, 4, 1);
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<ByzantinePlan>(&text).unwrap(), plan);
        }
    }
}
