//! A tiny deterministic world: nodes in memory, a network that reorders, repeats and loses, disks that lag and crash.

#![allow(unreachable_pub)]

pub mod heap;
pub mod puppet;

use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, ConsensusAlgorithm, Decision, Event, InstallError, Members, Node, NodeConfig, NodeId, ProposalId,
    Reply, Slot, StateMachine, Time, Verdict,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// A state machine that remembers what it was told, and votes against what it was told to dislike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorder {
    pub seen: Vec<(Slot, Option<ProposalId>, Verdict, Bytes)>,
    pub reserved: BTreeSet<ProposalId>,
    pub dislikes: BTreeSet<ProposalId>,
}

impl StateMachine for Recorder {
    fn judge(&mut self, id: ProposalId, _payload: &Bytes) -> bool {
        !self.dislikes.contains(&id) && {
            self.reserved.insert(id);
            true
        }
    }

    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        if let Some(id) = decision.id {
            self.reserved.remove(&id);
        }
        self.seen.push((decision.slot, decision.id, decision.verdict, decision.payload.clone()));
        decision.payload.clone()
    }

    fn query(&self, _request: &Bytes) -> Bytes {
        Bytes::copy_from_slice(&(self.seen.len() as u64).to_le_bytes())
    }

    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }

    fn install(&mut self, _through: Slot, _snapshot: Bytes) -> Result<(), InstallError> {
        Ok(())
    }
}

pub type TestNode<A> = Node<
    A,
    Outbox<<A as ConsensusAlgorithm>::Message>,
    MemoryStorage<<A as ConsensusAlgorithm>::Record>,
    Recorder,
>;

enum Place<A: ConsensusAlgorithm> {
    Up(Box<TestNode<A>>),
    Down(MemoryStorage<A::Record>),
}

/// How unkind the network is, in percent of deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub loss: u32,
    pub repetition: u32,
}

pub struct World<A: ConsensusAlgorithm> {
    places: BTreeMap<NodeId, Place<A>>,
    config: A::Config,
    wire: Vec<(NodeId, NodeId, A::Message)>,
    rng: ChaCha8Rng,
    weather: Weather,
    dislikes: BTreeMap<NodeId, BTreeSet<ProposalId>>,
    /// Nothing is delivered to these, or from them.
    pub cut: BTreeSet<NodeId>,
    pub now: Time,
    pub replies: Vec<(NodeId, Reply)>,
}

impl<A: ConsensusAlgorithm> World<A> {
    pub fn new(n: u64, seed: u64, weather: Weather) -> Self {
        let mut world = Self {
            places: (1..=n).map(|id| (NodeId(id), Place::Down(MemoryStorage::held()))).collect(),
            config: A::Config::default(),
            wire: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            weather,
            dislikes: BTreeMap::new(),
            cut: BTreeSet::new(),
            now: Time::ZERO,
            replies: Vec::new(),
        };
        for id in 1..=n {
            world.restart(NodeId(id));
        }
        world
    }

    pub fn dislike(&mut self, node: NodeId, id: ProposalId) {
        self.dislikes.entry(node).or_default().insert(id);
        if let Some(Place::Up(up)) = self.places.get_mut(&node) {
            // The machine is part of the node; a restart is the honest way to change it before anything happened.
            assert_eq!(up.applied(), Slot::ZERO);
            self.crash(node);
            self.restart(node);
        }
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.places.keys().copied().collect()
    }

    pub fn node(&self, id: NodeId) -> Option<&TestNode<A>> {
        match &self.places[&id] {
            Place::Up(node) => Some(node),
            Place::Down(_) => None,
        }
    }

    /// What the node's disk would give back after a crash at this moment.
    pub fn disk(&mut self, id: NodeId) -> Vec<A::Record> {
        match self.places.get_mut(&id).unwrap() {
            Place::Up(node) => node.storage().contents().records.clone(),
            Place::Down(storage) => storage.contents().records.clone(),
        }
    }

    pub fn crash(&mut self, id: NodeId) {
        let place = self.places.remove(&id).unwrap();
        let storage = match place {
            Place::Up(node) => node.into_parts().1.crash(),
            Place::Down(storage) => storage,
        };
        self.places.insert(id, Place::Down(storage));
    }

    pub fn restart(&mut self, id: NodeId) {
        let Some(Place::Down(storage)) = self.places.remove(&id) else { panic!("{id} is up") };
        let members = Members::of((1..=self.places.len() as u64 + 1).map(NodeId));
        let config = NodeConfig::<A> {
            algorithm: self.config.clone(),
            check_invariants: true,
            ..NodeConfig::new(id, members, self.rng.random())
        };
        let machine =
            Recorder { dislikes: self.dislikes.get(&id).cloned().unwrap_or_default(), ..Recorder::default() };
        let node = Node::open(config, self.now, Outbox::default(), storage, machine).unwrap();
        self.places.insert(id, Place::Up(Box::new(node)));
        self.collect(id);
    }

    pub fn propose(&mut self, at: NodeId, id: ProposalId, payload: &'static [u8]) {
        self.handle(at, Event::Propose { id, payload: Bytes::from_static(payload) });
    }

    pub fn handle(&mut self, at: NodeId, event: Event<A::Message>) {
        let now = self.now;
        if let Some(Place::Up(node)) = self.places.get_mut(&at) {
            node.handle(now, event).unwrap();
            self.collect(at);
        }
    }

    /// Makes what the node wrote durable.
    pub fn sync(&mut self, id: NodeId) {
        if let Some(Place::Up(node)) = self.places.get_mut(&id) {
            node.storage().sync();
            self.handle(id, Event::Written);
        }
    }

    /// One random thing happens: a delivery, a sync, or, if nothing else can, the next timer.
    pub fn turn(&mut self) {
        let due = self.places.values().filter_map(|place| match place {
            Place::Up(node) => node.deadline(),
            Place::Down(_) => None,
        });
        let deadline = due.min();
        match self.rng.random_range(0..10) {
            0..6 if !self.wire.is_empty() => self.deliver(),
            0..9 => {
                let ids = self.ids();
                let id = ids[self.rng.random_range(0..ids.len())];
                self.sync(id);
            }
            _ => {
                let Some(at) = deadline else { return };
                self.now = self.now.max(at);
                for id in self.ids() {
                    self.handle(id, Event::Tick);
                }
            }
        }
    }

    /// Turns until `done`, or gives up.
    #[must_use]
    pub fn run(&mut self, turns: u32, mut done: impl FnMut(&Self) -> bool) -> bool {
        for _ in 0..turns {
            if done(self) {
                return true;
            }
            self.turn();
        }
        done(self)
    }

    pub fn random_percent(&mut self) -> u32 {
        self.rng.random_range(0..100)
    }

    pub fn in_flight(&self) -> impl Iterator<Item = &(NodeId, NodeId, A::Message)> {
        self.wire.iter()
    }

    /// Delivers what is in flight now, and not what follows from it.
    pub fn deliver_all(&mut self) {
        for (from, to, message) in std::mem::take(&mut self.wire) {
            self.handle(to, Event::Message { from, message });
        }
    }

    fn deliver(&mut self) {
        let place = self.rng.random_range(0..self.wire.len());
        let (from, to, message) = self.wire.swap_remove(place);
        let draw = self.rng.random_range(0..100);
        if draw < self.weather.loss || self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        if draw < self.weather.loss + self.weather.repetition {
            self.wire.push((from, to, message.clone()));
        }
        self.handle(to, Event::Message { from, message });
    }

    fn collect(&mut self, id: NodeId) {
        let Some(Place::Up(node)) = self.places.get_mut(&id) else { return };
        let accused: Vec<_> = node.accusations().collect();
        assert!(accused.is_empty(), "an honest peer was accused: {accused:?}");
        self.replies.extend(node.replies().map(|reply| (id, reply)));
        self.wire.extend(node.network().sent.drain(..).map(|(to, message)| (id, to, message)));
    }
}
