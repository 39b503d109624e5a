//! A small deterministic group with accounts: nodes over an outbox and a disk in memory. What happens next is one action: a message
//! arrives, or the disk of whoever has just written is synced, so that a crash can be put between any two.

use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, ClientId, ConsensusAlgorithm, Event, Members, Node, NodeConfig, NodeId, Offence, Outcome,
    ProposalId, Refusal, Reply, Time, Verdict,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use twophase::accounts::{Account, Accounts, Transfer};
use twophase::{Commitment, Config, Envelope, Message, Protocol, Record};

pub(crate) const ACCOUNTS: u32 = 4;
pub(crate) const BALANCE: i64 = 100;

pub(crate) type Member<P> = Node<Commitment<P>, Outbox<Message>, MemoryStorage<Record>, Accounts>;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

pub(crate) struct Group<P: Protocol> {
    pub(crate) now: Time,
    pub(crate) config: Config,
    pub(crate) members: Members,
    pub(crate) nodes: BTreeMap<NodeId, Member<P>>,
    /// The disks of those who are down.
    pub(crate) disks: BTreeMap<NodeId, MemoryStorage<Record>>,
    pub(crate) wire: VecDeque<Letter>,
    /// Whose disks have something to sync.
    pub(crate) unsynced: BTreeSet<NodeId>,
    /// Directed links that lose everything.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Who was asked for what by clients: nobody listens elsewhere.
    asked: BTreeSet<(NodeId, ProposalId)>,
    /// What clients were told.
    pub(crate) told: Vec<(NodeId, ProposalId, Verdict)>,
    pub(crate) refused: Vec<(NodeId, ProposalId, Refusal)>,
    pub(crate) accused: Vec<(NodeId, NodeId, Offence)>,
    /// How many messages were sent.
    pub(crate) sent: usize,
    pub(crate) compact_after_slots: u64,
    accounts: u32,
    /// What is on each account of an empty disk.
    pub(crate) balance: i64,
    boots: u64,
}

pub(crate) fn n(id: u64) -> NodeId {
    NodeId(id)
}

pub(crate) fn name(number: u64) -> ProposalId {
    ProposalId::new(ClientId::anonymous(7), number)
}

pub(crate) fn account(node: u64, number: u32) -> Account {
    Account { node: n(node), number }
}

/// Moves one from the account of this number at the first node to that at each of the others; or to the next account there.
pub(crate) fn transfer(nodes: &[u64], number: u32) -> Transfer {
    if let &[only] = nodes {
        return Transfer::between(account(only, number), account(only, number + 1), 1);
    }
    let share = i64::try_from(nodes.len()).unwrap() - 1;
    let change = |(place, &node): (usize, &u64)| (account(node, number), if place == 0 { -share } else { 1 });
    Transfer { changes: nodes.iter().enumerate().map(change).collect() }
}

pub(crate) fn config() -> Config {
    Config { voting_ms: 400, retry_ms: 20, ..Config::default() }
}

impl<P: Protocol> Group<P> {
    /// Disks that are durable at once.
    pub(crate) fn new(size: u64, config: Config) -> Self {
        Self::with(size, config, false)
    }

    /// `hold`: writes wait for a sync.
    pub(crate) fn with(size: u64, config: Config, hold: bool) -> Self {
        Self::with_accounts(size, config, hold, ACCOUNTS)
    }

    pub(crate) fn with_accounts(size: u64, config: Config, hold: bool, accounts: u32) -> Self {
        let members = Members::of((1..=size).map(NodeId));
        let disk = || if hold { MemoryStorage::held() } else { MemoryStorage::default() };
        let mut group = Self {
            now: Time::ZERO,
            config,
            disks: members.iter().map(|id| (id, disk())).collect(),
            members,
            nodes: BTreeMap::new(),
            wire: VecDeque::new(),
            unsynced: BTreeSet::new(),
            cut: BTreeSet::new(),
            asked: BTreeSet::new(),
            told: Vec::new(),
            refused: Vec::new(),
            accused: Vec::new(),
            sent: 0,
            compact_after_slots: 1 << 20,
            accounts,
            balance: BALANCE,
            boots: 0,
        };
        (1..=size).for_each(|id| group.start(n(id)));
        group
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        let Some(disk) = self.disks.remove(&id) else { return };
        self.boots += 1;
        let mut config = NodeConfig::new(id, self.members.clone(), self.boots);
        config.algorithm = self.config.clone();
        config.check_invariants = true;
        config.compact_after_slots = self.compact_after_slots;
        let accounts = Accounts::new(id, self.accounts, self.balance);
        let node = Node::open(config, self.now, Outbox::default(), disk, accounts).expect("a sound disk");
        self.nodes.insert(id, node);
        self.collect(id);
    }

    /// Loses everything that is not durable, and what the others have sent it.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.unsynced.remove(&id);
        self.wire.retain(|letter| letter.to != id);
        self.disks.insert(id, node.into_parts().1.crash());
    }

    pub(crate) fn handle(&mut self, id: NodeId, event: Event<Message>) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handle(now, event).expect("it runs");
            self.collect(id);
        }
    }

    fn collect(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        for (to, message) in node.network().sent.drain(..) {
            self.sent += 1;
            if !self.cut.contains(&(id, to)) {
                self.wire.push_back(Letter { from: id, to, message });
            }
        }
        for reply in node.replies() {
            match reply {
                Reply::Done { id: proposal, .. } if !self.asked.contains(&(id, proposal)) => {}
                Reply::Done { id: proposal, outcome: Outcome::Applied(_), .. } => {
                    self.told.push((id, proposal, Verdict::Commit));
                }
                Reply::Done { id: proposal, .. } => self.told.push((id, proposal, Verdict::Abort)),
                Reply::Refused { id: proposal, reason } => self.refused.push((id, proposal, reason)),
                Reply::ReadReady { .. } | Reply::ReadRefused { .. } => {}
            }
        }
        self.accused.extend(node.accusations().map(|(peer, offence)| (id, peer, offence)));
        self.unsynced.insert(id);
    }

    pub(crate) fn propose(&mut self, at: NodeId, id: ProposalId, transfer: &Transfer) {
        let envelope = Envelope::new(transfer.participants(), transfer.to_bytes());
        self.propose_bytes(at, id, envelope.to_bytes());
    }

    pub(crate) fn propose_bytes(&mut self, at: NodeId, id: ProposalId, payload: Bytes) {
        self.asked.insert((at, id));
        self.handle(at, Event::Propose { id, payload });
    }

    pub(crate) fn say(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.handle(to, Event::Message { from, message });
    }

    /// The next sync, or else the next message; false if there is nothing to do at this time.
    pub(crate) fn act(&mut self) -> bool {
        if let Some(id) = self.unsynced.pop_first() {
            let Some(node) = self.nodes.get_mut(&id) else { return true };
            let before = node.durable();
            node.storage().sync();
            self.handle(id, Event::Written);
            if self.nodes[&id].durable() == before {
                self.unsynced.remove(&id);
            }
            return true;
        }
        let Some(Letter { from, to, message }) = self.wire.pop_front() else { return false };
        self.handle(to, Event::Message { from, message });
        true
    }

    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.act() {
                return;
            }
        }
        panic!("the nodes never stop talking");
    }

    /// The earliest timer fires; false if there is none up to `end`.
    pub(crate) fn wake(&mut self, end: Time) -> bool {
        let next = self.nodes.iter().filter_map(|(&id, node)| Some((node.deadline()?, id))).min();
        let Some((at, id)) = next.filter(|&(at, _)| at <= end) else { return false };
        self.now = self.now.max(at);
        self.handle(id, Event::Tick);
        true
    }

    /// Lets time pass; messages arrive at once.
    pub(crate) fn run_for_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        self.settle();
        while self.wake(end) {
            self.settle();
        }
        self.now = end;
    }

    /// What a node has made of a transaction that changes the account of this number.
    pub(crate) fn balance(&self, node: u64, number: u32) -> i64 {
        self.nodes[&n(node)].machine().balance(number).unwrap()
    }

    /// What the client of this transaction was told, wherever.
    pub(crate) fn verdicts(&self, id: ProposalId) -> BTreeSet<bool> {
        let of = self.told.iter().filter(|(_, told, _)| *told == id);
        of.map(|(.., verdict)| *verdict == Verdict::Commit).collect()
    }

    /// Who holds a lock, anywhere.
    pub(crate) fn locks(&self) -> BTreeSet<(NodeId, ProposalId)> {
        let of = |(&id, node): (&NodeId, &Member<P>)| {
            let held =
                (0..self.accounts).filter_map(|number| node.machine().holder(number)).collect::<Vec<_>>();
            held.into_iter().map(move |holder| (id, holder))
        };
        self.nodes.iter().flat_map(of).collect()
    }

    /// Who waits for whom.
    pub(crate) fn blocked(&self, node: u64) -> Vec<(ProposalId, Vec<NodeId>)> {
        self.nodes[&n(node)].status().blocked
    }

    pub(crate) fn total(&self) -> i64 {
        self.nodes.values().map(|node| node.machine().total()).sum()
    }

    /// The records on a node's disk.
    pub(crate) fn records(&mut self, node: u64) -> Vec<Record> {
        self.nodes.get_mut(&n(node)).unwrap().storage().contents().records.clone()
    }

    /// Drops the messages that `lost` says.
    pub(crate) fn lose(&mut self, lost: impl Fn(&Letter) -> bool) {
        self.wire.retain(|letter| !lost(letter));
    }
}

/// A claim of `Commitment` in a type of its own for those who are generic over the protocol.
pub(crate) fn is_blocking<P: Protocol>() -> bool {
    <Commitment<P> as ConsensusAlgorithm>::GUARANTEES.termination == consensus_core::Termination::Blocking
}
