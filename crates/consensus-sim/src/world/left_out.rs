//! Liveness with a core: the storm ends for as many nodes as suffice, and never for the others.
//!
//! After a storm it is easy to be live when everything is whole. What is claimed is more: the nodes beyond those that may be
//! faulty suffice, whatever the faulty ones do. So a run may pick a core at random, mend it, and leave the rest as they are for
//! ever: down, cut off, deaf, mute, standing still, or behind links that come and go (after TigerBeetle's VOPR). Clients reach
//! the nodes of the core.
//!
//! Invariants: never more nodes are left out than the algorithm tolerates; links within the core are whole.

use super::hardships::Pause;
use super::{Happening, World};
use crate::hardship::Misery;
use crate::mask::FaultClass;
use crate::random::{MILLION, Stream};
use crate::record::{self, Happened};
use consensus_core::ConsensusAlgorithm;
use core::time::Duration;

/// The mean time between two turns of links that come and go: about an election timeout, where they do the most harm.
const TURN: Duration = Duration::from_millis(120);

impl<A: ConsensusAlgorithm> World<A> {
    /// Whether this node is one of those that must make progress.
    pub(super) fn is_core(&self, index: usize) -> bool {
        self.hosts.get(index).is_some_and(|host| host.misery.is_none() && !host.lost)
    }

    /// How many nodes suffice for what is claimed.
    pub(super) fn sufficient(&self) -> usize {
        let voters = self.member_history.newest().voter_count();
        voters - A::GUARANTEES.tolerated(voters)
    }

    /// Picks the nodes that stay outside of the core, and leaves each in its misery.
    pub(super) fn leave_out(&mut self) {
        let miseries: Vec<Misery> = self.plan.left_out.iter().copied().take(self.losses_left()).collect();
        let mut choices = self.choices_for(FaultClass::LeftOut);
        let mut order: Vec<usize> = (0..self.hosts.len()).filter(|&index| self.is_core(index)).collect();
        choices.shuffle(&mut order);
        let hits_leader = choices.chance(self.plan.at_leaders_ppm);
        let leader = self.leaders().first().and_then(|leader| order.iter().position(|index| index == leader));
        if let Some(place) = leader.filter(|_| hits_leader) {
            order.swap(0, place);
        }
        for (misery, index) in miseries.into_iter().zip(order) {
            if self.may_lose(index) && self.allows(FaultClass::LeftOut) {
                self.afflict(index, misery);
            }
        }
        self.lead_clients_to_the_core();
    }

    fn afflict(&mut self, index: usize, misery: Misery) {
        self.counts.left_out += 1;
        self.trace.event(self.now, 49, (misery as u64) << 32 | index as u64);
        self.trace.say(self.now, || format!("n{} stays outside of the core: {misery:?}", index + 1));
        let (now, node) = (self.now, record::node(index));
        self.tape.note(now, || Happened::Act { node, class: "left out".into(), text: misery.name().into() });
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.misery = Some(misery);
        match misery {
            Misery::Down => self.lose(index),
            // A machine whose node is down stands still as it is.
            Misery::Paused if host.node.is_none() => self.lose(index),
            Misery::Paused => {
                host.paused = Some(Pause::new(now));
                self.counts.pauses += 1;
                self.tape.note(now, || Happened::Pause { node, clock_stops: false });
            }
            Misery::CutOff => self.cut_around(index, |_| (true, true)),
            Misery::Deaf => self.cut_around(index, |_| (true, false)),
            Misery::Mute => self.cut_around(index, |_| (false, true)),
            Misery::Flapping => self.on_turn(index),
        }
    }

    /// The node never comes back.
    pub(super) fn lose(&mut self, index: usize) {
        self.kill(index);
        self.tape.note(self.now, || Happened::Lost { node: record::node(index) });
        if let Some(host) = self.hosts.get_mut(index) {
            host.lost = true;
        }
    }

    /// Cuts the links to and from a node, as `cut` says for each other node (to it, from it), and mends the rest of them.
    fn cut_around(&mut self, index: usize, mut cut: impl FnMut(usize) -> (bool, bool)) {
        for other in (0..self.hosts.len()).filter(|&other| other != index) {
            let (to, from) = cut(other);
            self.links.set_cut(other, index, to);
            self.links.set_cut(index, other, from);
        }
        self.counts.partitions += 1;
        self.lookout.cuts += 1;
        let manner = self.hosts.get(index).and_then(|host| host.misery).map_or("", Misery::name);
        self.tape.note(self.now, || Happened::cut(manner.into(), &self.links, self.plan.nodes));
    }

    /// Links of a node come and go, each in each direction by itself.
    pub(super) fn on_turn(&mut self, index: usize) {
        if self.hosts.get(index).and_then(|host| host.misery) != Some(Misery::Flapping) {
            return;
        }
        let mut choices = self.choices_for(FaultClass::LeftOut);
        self.trace.event(self.now, 50, index as u64);
        let coin = |choices: &mut Stream| choices.chance(MILLION / 2);
        let cuts: Vec<(bool, bool)> =
            (0..self.hosts.len()).map(|_| (coin(&mut choices), coin(&mut choices))).collect();
        // A link to another node that is left out stays as that one's misery has it.
        let whole: Vec<bool> = (0..self.hosts.len()).map(|other| self.is_core(other)).collect();
        self.cut_around(index, |other| {
            if whole.get(other) == Some(&true) {
                cuts.get(other).copied().unwrap_or_default()
            } else {
                (true, true)
            }
        });
        let span = choices.around(TURN);
        self.plan_in(span, Happening::Turn { node: index });
    }

    /// Clients that cannot reach the core are owed nothing; so all of them can.
    fn lead_clients_to_the_core(&mut self) {
        for place in 0..self.clients.len() {
            if self.clients.get(place).is_some_and(|client| !self.is_reachable(client.target)) {
                let target = self.some_target();
                if let Some(client) = self.clients.get_mut(place) {
                    client.target = target;
                }
            }
        }
    }

    /// Whether clients reach this node. Until some are left out they reach all, even if only to learn that it is down.
    pub(super) fn is_reachable(&self, index: usize) -> bool {
        self.hosts.get(index).is_some_and(|host| host.misery.is_none())
    }

    /// A node to ask.
    pub(super) fn some_target(&mut self) -> usize {
        let reachable: Vec<usize> = (0..self.hosts.len()).filter(|&index| self.is_reachable(index)).collect();
        self.streams.clients.pick(&reachable).copied().unwrap_or_default()
    }
}
