//! A small deterministic group: nodes over an outbox and a disk in memory, and a wire that delivers when told to.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, ClientId, ConsensusAlgorithm, Decision, Event, InstallError, Members, Node, NodeConfig, NodeId,
    Offence, ProposalId, Refusal, Reply, Slot, StateMachine, Time,
};
use std::collections::{BTreeMap, VecDeque};

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
        Bytes::new()
    }

    fn install(&mut self, _through: Slot, _snapshot: Bytes) -> Result<(), InstallError> {
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
    pub replies: Vec<(NodeId, Reply)>,
    pub accusations: Vec<(NodeId, NodeId, Offence)>,
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
            replies: Vec::new(),
            accusations: Vec::new(),
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

    /// Takes what a node sent, said and accused out of it.
    fn collect(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it is up");
        for (to, message) in node.network().sent.drain(..) {
            self.wire.push_back(Envelope { from: id, to, message });
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
}
