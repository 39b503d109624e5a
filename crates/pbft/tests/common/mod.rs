//! A small deterministic group with real keys: nodes over an outbox and a disk in memory, and a wire that delivers when told to.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

pub mod asking;
pub mod lone;
pub mod signing;

use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, ClientId, Decision, Event, InstallError, Members, Node, NodeConfig, NodeError, NodeId, Offence,
    ProposalId, Reply, Slot, StateMachine, Time,
};
use pbft::{Config, Message, Pbft, Record, Request, Vouching};
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

pub type Disk = MemoryStorage<Record>;
pub type Member = Node<Pbft, Outbox<Message>, Disk, Diary>;

/// A message on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

/// Replicas 1 to n: the primary of view v is replica v mod n + 1.
pub struct Cluster {
    pub now: Time,
    pub config: Config,
    pub members: Members,
    pub nodes: BTreeMap<NodeId, Member>,
    /// The disks of those who are down.
    pub disks: BTreeMap<NodeId, Disk>,
    pub wire: VecDeque<Envelope>,
    /// Directed links that lose everything.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub replies: Vec<(NodeId, Reply)>,
    /// Who accuses whom of what.
    pub accusations: Vec<(NodeId, NodeId, Offence)>,
}

pub fn n(id: u64) -> NodeId {
    NodeId(id)
}

pub fn proposal(number: u64) -> ProposalId {
    ProposalId::new(ClientId::anonymous(7), number)
}

pub fn request(number: u64) -> Request {
    Request::new(proposal(number), payload(number))
}

pub fn payload(number: u64) -> Bytes {
    format!("request {number}").into()
}

/// Timeouts of tests: something is to be executed within 1,000 ms, and what may be lost is said again every 100. Each checkpoint
/// takes a snapshot.
pub fn config() -> Config {
    Config {
        group: signing::GROUP,
        view_timeout_ms: 1_000,
        max_view_timeout_ms: 16_000,
        resend_interval_ms: 100,
        snapshot_after_bytes: 0,
        ..Config::default()
    }
}

/// The same, where one replica's word makes a request one.
pub fn gateway() -> Config {
    Config { vouching: Vouching::Gateway, ..config() }
}

/// Opens a replica over this disk.
pub fn open(
    id: NodeId,
    now: Time,
    members: &Members,
    config: &Config,
    disk: Disk,
) -> Result<Member, NodeError> {
    let mut node = NodeConfig::new(id, members.clone(), id.0);
    node.algorithm = Config { keys: signing::keyring(id, members.voters().len() as u64), ..config.clone() };
    node.check_invariants = true;
    Node::open(node, now, Outbox::default(), disk, Diary::default())
}

impl Cluster {
    /// Clients ask all replicas.
    pub fn new(size: u64) -> Self {
        Self::with(size, config())
    }

    pub fn with(size: u64, config: Config) -> Self {
        Self::on(size, config, Disk::default)
    }

    /// `disk`: [`MemoryStorage::held`] for writes that wait for [`Cluster::sync`].
    pub fn on(size: u64, config: Config, disk: impl Fn() -> Disk) -> Self {
        let members = Members::of((1..=size).map(NodeId));
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
        };
        (1..=size).for_each(|id| cluster.start(id));
        cluster
    }

    pub fn start(&mut self, id: u64) {
        let disk = self.disks.remove(&n(id)).expect("it is down");
        let node = open(n(id), self.now, &self.members, &self.config, disk).expect("a sound disk");
        self.nodes.insert(n(id), node);
        self.collect(n(id));
    }

    /// Loses everything that is not durable. A test may go on to speak as it.
    pub fn crash(&mut self, id: u64) {
        let (_, disk, _) = self.nodes.remove(&n(id)).expect("it is up").into_parts();
        self.disks.insert(n(id), disk.crash());
    }

    pub fn handle(&mut self, id: NodeId, event: Event<Message>) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handle(now, event).expect("it runs");
            self.collect(id);
        }
    }

    pub fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        self.handle(to, Event::Message { from, message });
    }

    /// `from` says something to `to`, which hears it at once.
    pub fn tell(&mut self, from: u64, to: u64, message: Message) {
        self.deliver(Envelope { from: n(from), to: n(to), message });
    }

    /// `from` says the same to all who are up.
    pub fn tell_all(&mut self, from: u64, message: &Message) {
        for to in self.up().into_iter().filter(|&to| to != from) {
            self.tell(from, to, message.clone());
        }
    }

    pub fn sync(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&n(id)) {
            node.storage().sync();
        }
        self.handle(n(id), Event::Written);
    }

    pub fn propose(&mut self, id: u64, number: u64) {
        self.handle(n(id), Event::Propose { id: proposal(number), payload: payload(number) });
    }

    /// As a correct client does.
    pub fn propose_everywhere(&mut self, number: u64) {
        self.up().into_iter().for_each(|id| self.propose(id, number));
    }

    /// A correct client's requests, one after the other, each until nothing is on the wire.
    pub fn serve(&mut self, numbers: core::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.propose_everywhere(number);
            self.settle();
        }
    }

    pub fn up(&self) -> Vec<u64> {
        self.nodes.keys().map(|id| id.0).collect()
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
        self.settle_but(|_| false);
    }

    /// The same, but for what is lost.
    pub fn settle_but(&mut self, is_lost: impl Fn(&Envelope) -> bool) {
        for _ in 0..1_000_000 {
            let Some(envelope) = self.wire.pop_front() else { return };
            if !is_lost(&envelope) {
                self.deliver(envelope);
            }
        }
        panic!("the nodes never stop talking");
    }

    /// Lets time pass, delivering at once; timers fire when they are due.
    pub fn run_for_ms(&mut self, ms: u64) {
        self.run_but(ms, |_| false);
    }

    pub fn run_but(&mut self, ms: u64, is_lost: impl Fn(&Envelope) -> bool) {
        let end = self.now + std::time::Duration::from_millis(ms);
        self.settle_but(&is_lost);
        while let Some((at, id)) = self.next_deadline().filter(|&(at, _)| at <= end) {
            self.now = self.now.max(at);
            self.handle(id, Event::Tick);
            self.settle_but(&is_lost);
        }
        self.now = end;
    }

    pub fn next_deadline(&self) -> Option<(Time, NodeId)> {
        self.nodes.iter().filter_map(|(&id, node)| Some((node.deadline()?, id))).min()
    }

    /// Cuts a node off in both directions.
    pub fn isolate(&mut self, id: u64) {
        for other in self.members.others(n(id)) {
            self.cut.extend([(n(id), other), (other, n(id))]);
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn replica(&self, id: u64) -> &Pbft {
        self.nodes[&n(id)].algorithm()
    }

    pub fn view(&self, id: u64) -> u64 {
        self.replica(id).view().0
    }

    pub fn executed(&self, id: u64) -> u64 {
        self.replica(id).executed().0
    }

    pub fn stable(&self, id: u64) -> u64 {
        self.replica(id).stable().sequence.0
    }

    /// What everybody who is up has executed, if all say the same.
    pub fn agreed(&self) -> Vec<Bytes> {
        let diaries: Vec<_> = self.nodes.values().map(|node| node.machine().lines.clone()).collect();
        assert!(diaries.iter().all(|diary| *diary == diaries[0]), "they differ: {diaries:?}");
        diaries[0].iter().map(|(_, line)| line.clone()).collect()
    }

    /// What one replica has executed.
    pub fn diary(&self, id: u64) -> Vec<Bytes> {
        self.nodes[&n(id)].machine().lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// How much there is of something that [`consensus_core::Inspection`] names.
    pub fn queue(&self, id: u64, name: &str) -> usize {
        let inspection = consensus_core::ConsensusAlgorithm::inspect(self.replica(id));
        inspection.queues.iter().find(|(known, _)| *known == name).expect("it is known").1
    }

    /// What a replica is accused of, by whomever.
    pub fn offences(&self, of: u64) -> Vec<Offence> {
        self.accusations
            .iter()
            .filter(|(_, peer, _)| *peer == n(of))
            .map(|(_, _, what)| what.clone())
            .collect()
    }

    /// Takes what is on the wire from one to another off it.
    pub fn said(&mut self, from: u64, to: u64) -> Vec<Message> {
        let all = std::mem::take(&mut self.wire);
        let (said, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|e| e.from == n(from) && e.to == n(to));
        self.wire = rest.into();
        said.into_iter().map(|envelope| envelope.message).collect()
    }

    /// What is on one's disk, or would be after a crash.
    pub fn records(&mut self, id: u64) -> Vec<Record> {
        match self.nodes.get_mut(&n(id)) {
            Some(node) => node.storage().contents().records.clone(),
            None => self.disks[&n(id)].contents().records.clone(),
        }
    }
}
