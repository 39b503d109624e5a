//! A small deterministic group: nodes over an outbox and a disk in memory, and a wire that delivers when told to.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, Change, ClientId, ConsensusAlgorithm, Decision, Event, InstallError, Members, Node, NodeConfig,
    NodeId, Offence, Outcome, ProposalId, ReadId, Refusal, Reply, Role, Slot, StateMachine, Time,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A state machine that remembers what it was told, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diary {
    pub lines: Vec<(u64, Bytes)>,
}

impl StateMachine for Diary {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        self.lines.push((decision.slot.0, decision.payload.clone()));
        decision.payload.clone()
    }

    fn query(&self, _request: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Bytes {
        consensus_core::wire::encode(&self.lines).into()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        self.lines = consensus_core::wire::decode(&snapshot, usize::MAX)
            .map_err(|error| InstallError(error.to_string()))?;
        Ok(())
    }
}

pub type Disk<A> = MemoryStorage<<A as ConsensusAlgorithm>::Record>;
pub type Member<A> = Node<A, Outbox<<A as ConsensusAlgorithm>::Message>, Disk<A>, Diary>;

/// A message on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope<M> {
    pub from: NodeId,
    pub to: NodeId,
    pub message: M,
}

pub struct Cluster<A: ConsensusAlgorithm> {
    pub now: Time,
    pub config: A::Config,
    pub members: Members,
    pub nodes: BTreeMap<NodeId, Member<A>>,
    /// The disks of those who are down.
    pub disks: BTreeMap<NodeId, Disk<A>>,
    pub wire: VecDeque<Envelope<A::Message>>,
    /// Directed links that lose everything.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub replies: Vec<(NodeId, Reply)>,
    pub accusations: Vec<(NodeId, NodeId, Offence)>,
    pub compact_after_bytes: u64,
    boots: u64,
    seed: u64,
}

pub fn n(id: u64) -> NodeId {
    NodeId(id)
}

pub fn proposal(number: u64) -> ProposalId {
    ProposalId::new(ClientId::anonymous(7), number)
}

impl<A: ConsensusAlgorithm> Cluster<A> {
    pub fn new(size: u64) -> Self {
        Self::with(size, A::Config::default(), false, 1)
    }

    /// `hold`: writes wait for [`Cluster::sync`].
    pub fn with(size: u64, config: A::Config, hold: bool, seed: u64) -> Self {
        Self::of(Members::of((1..=size).map(NodeId)), config, hold, seed)
    }

    /// As [`Cluster::with`], with learners or witnesses among the members.
    pub fn of(members: Members, config: A::Config, hold: bool, seed: u64) -> Self {
        let disk = || if hold { Disk::<A>::held() } else { Disk::<A>::default() };
        let mut cluster = Self {
            now: Time::ZERO,
            config,
            disks: members.iter().map(|id| (id, disk())).collect(),
            members,
            nodes: BTreeMap::new(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            replies: Vec::new(),
            accusations: Vec::new(),
            compact_after_bytes: 64 << 20,
            boots: 0,
            seed,
        };
        let all: Vec<NodeId> = cluster.members.iter().collect();
        for id in all {
            cluster.start(id);
        }
        cluster
    }

    pub fn start(&mut self, id: NodeId) {
        let disk = self.disks.remove(&id).expect("it is down");
        self.boots += 1;
        let mut config = NodeConfig::new(id, self.members.clone(), self.seed.wrapping_mul(1000) + self.boots);
        config.algorithm = self.config.clone();
        config.compact_after_bytes = self.compact_after_bytes;
        config.check_invariants = true;
        let node =
            Node::open(config, self.now, Outbox::default(), disk, Diary::default()).expect("a sound disk");
        self.nodes.insert(id, node);
        self.collect(id);
    }

    /// Loses everything that is not durable.
    pub fn crash(&mut self, id: NodeId) {
        let (_, disk, _) = self.nodes.remove(&id).expect("it is up").into_parts();
        self.disks.insert(id, disk.crash());
    }

    pub fn node(&mut self, id: NodeId) -> &mut Member<A> {
        self.nodes.get_mut(&id).expect("it is up")
    }

    pub fn handle(&mut self, id: NodeId, event: Event<A::Message>) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handle(now, event).expect("it runs");
            self.collect(id);
        }
    }

    pub fn deliver(&mut self, envelope: Envelope<A::Message>) {
        let Envelope { from, to, message } = envelope;
        self.handle(to, Event::Message { from, message });
    }

    pub fn sync(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.storage().sync();
        }
        self.handle(id, Event::Written);
    }

    pub fn propose(&mut self, id: NodeId, number: u64, payload: &'static [u8]) {
        let payload = Bytes::from_static(payload);
        self.handle(id, Event::Propose { id: proposal(number), payload });
    }

    pub fn read(&mut self, id: NodeId, number: u64) {
        self.handle(id, Event::Read(ReadId(number)));
    }

    /// Takes what a node sent, said and accused out of it.
    fn collect(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it is up");
        for (to, message) in node.network().sent.drain(..) {
            if !self.cut.contains(&(id, to)) {
                self.wire.push_back(Envelope { from: id, to, message });
            }
        }
        self.replies.extend(node.replies().map(|reply| (id, reply)));
        self.accusations.extend(node.accusations().map(|(peer, offence)| (id, peer, offence)));
    }

    /// Delivers until nothing is on the wire; time stands still.
    pub fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let Some(envelope) = self.wire.pop_front() else { return };
            self.deliver(envelope);
        }
        panic!("the nodes never stop talking");
    }

    /// As [`Cluster::settle`], in bursts: each node hears everything that is on its way before it speaks.
    pub fn settle_in_bursts(&mut self) {
        while !self.wire.is_empty() {
            for Envelope { from, to, message } in core::mem::take(&mut self.wire) {
                if let Some(node) = self.nodes.get_mut(&to) {
                    node.push(self.now, Event::Message { from, message }).expect("it runs");
                }
            }
            let up: Vec<NodeId> = self.nodes.keys().copied().collect();
            up.into_iter().for_each(|id| self.handle(id, Event::Tick));
        }
    }

    /// Lets time pass, delivering at once; timers fire when they are due.
    pub fn run_for_ms(&mut self, ms: u64) {
        let end = self.now + std::time::Duration::from_millis(ms);
        self.settle();
        while let Some((at, id)) = self.next_deadline().filter(|&(at, _)| at <= end) {
            self.now = self.now.max(at);
            self.handle(id, Event::Tick);
            self.settle();
        }
        self.now = end;
    }

    pub fn next_deadline(&self) -> Option<(Time, NodeId)> {
        self.nodes.iter().filter_map(|(&id, node)| Some((node.deadline()?, id))).min()
    }

    pub fn leaders(&self) -> Vec<NodeId> {
        let leads = |node: &Member<A>| node.status().role == Role::Leader;
        self.nodes.iter().filter(|(_, node)| leads(node)).map(|(&id, _)| id).collect()
    }

    /// Runs until there is one leader, and returns it.
    pub fn elect(&mut self) -> NodeId {
        for _ in 0..100 {
            self.run_for_ms(100);
            if let [leader] = self.leaders()[..] {
                return leader;
            }
        }
        panic!("no leader after ten seconds");
    }

    /// Lets time pass for all but one, until another leads, and returns it.
    pub fn succeed(&mut self, old: NodeId) -> NodeId {
        for _ in 0..1_000 {
            let others = self.nodes.iter().filter(|&(&id, _)| id != old);
            let (at, id) = others.filter_map(|(&id, node)| Some((node.deadline()?, id))).min().unwrap();
            self.now = self.now.max(at);
            self.handle(id, Event::Tick);
            self.settle();
            if let Some(&new) = self.leaders().iter().find(|&&leader| leader != old) {
                return new;
            }
        }
        panic!("no successor after a thousand timers");
    }

    pub fn others(&self, id: NodeId) -> Vec<NodeId> {
        self.members.others(id).collect()
    }

    /// Starts a node that is not a member yet.
    pub fn join(&mut self, id: NodeId) {
        self.disks.insert(id, Disk::<A>::default());
        self.start(id);
    }

    /// The members as the node knows them.
    pub fn members_of(&self, id: NodeId) -> Members {
        self.nodes[&id].status().members
    }

    pub fn reconfigure(&mut self, id: NodeId, number: u64, change: Change) {
        self.handle(id, Event::Reconfigure { id: proposal(number), change });
    }

    /// The changes that were told to be done.
    pub fn changes_done(&self, id: NodeId) -> Vec<u64> {
        let of = |(node, reply): &(NodeId, Reply)| match reply {
            Reply::Done { id: proposal, outcome: Outcome::Noop, .. } if *node == id => {
                Some(proposal.sequence)
            }
            Reply::Done { .. }
            | Reply::Refused { .. }
            | Reply::ReadReady { .. }
            | Reply::ReadRefused { .. } => None,
        };
        self.replies.iter().filter_map(of).collect()
    }

    /// Cuts a node off in both directions.
    pub fn isolate(&mut self, id: NodeId) {
        let all: Vec<NodeId> = self.nodes.keys().chain(self.disks.keys()).copied().collect();
        for other in all.into_iter().filter(|&other| other != id) {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn diary(&self, id: NodeId) -> &[(u64, Bytes)] {
        &self.nodes[&id].machine().lines
    }

    pub fn refusals(&self, id: NodeId) -> Vec<(u64, Refusal)> {
        let of = |(node, reply): &(NodeId, Reply)| match reply {
            Reply::Refused { id: proposal, reason } if *node == id => {
                Some((proposal.sequence, reason.clone()))
            }
            Reply::Refused { .. }
            | Reply::Done { .. }
            | Reply::ReadReady { .. }
            | Reply::ReadRefused { .. } => None,
        };
        self.replies.iter().filter_map(of).collect()
    }

    pub fn reads_ready(&self, id: NodeId) -> Vec<(u64, Slot)> {
        let of = |(node, reply): &(NodeId, Reply)| match reply {
            Reply::ReadReady { id: read, at } if *node == id => Some((read.0, *at)),
            Reply::ReadReady { .. }
            | Reply::Done { .. }
            | Reply::Refused { .. }
            | Reply::ReadRefused { .. } => None,
        };
        self.replies.iter().filter_map(of).collect()
    }

    pub fn reads_refused(&self, id: NodeId) -> Vec<(u64, Refusal)> {
        let of = |(node, reply): &(NodeId, Reply)| match reply {
            Reply::ReadRefused { id: read, reason } if *node == id => Some((read.0, reason.clone())),
            Reply::ReadRefused { .. }
            | Reply::Done { .. }
            | Reply::Refused { .. }
            | Reply::ReadReady { .. } => None,
        };
        self.replies.iter().filter_map(of).collect()
    }
}

/// A small generator with a fixed seed.
pub fn draws(mut state: u64) -> impl FnMut(usize) -> usize {
    move |bound| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound.max(1)
    }
}

/// A few bytes changed, cut off, or taken from somewhere else.
pub fn damage(frame: &mut Vec<u8>, other: &[u8], draw: &mut impl FnMut(usize) -> usize) {
    for _ in 0..=draw(3) {
        let place = draw(frame.len());
        match draw(5) {
            0 => frame.truncate(place),
            1 => frame.splice(place..place, other.iter().copied().skip(draw(other.len()))).for_each(drop),
            2 => frame.iter_mut().skip(place).take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
            3 => frame.iter_mut().skip(place).take(1).for_each(|byte| *byte = byte.wrapping_sub(1)),
            _ => frame.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << draw(8)),
        }
    }
}
