//! How long locks stay if the coordinator dies, by the protocol's own time: messages take none, and disks none.
//!
//! One transaction is carried out action by action: a message arrives, or a write becomes durable. The coordinator is killed after each
//! of them in turn, and comes back some time later. It takes no part itself: the locks are those of two nodes that are well.

use super::Commits;
use super::load::{NODES, Shape};
use anyhow::{Context, Result, ensure};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{ClientId, Event, Members, Node, NodeConfig, NodeId, ProposalId, Time};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use twophase::accounts::{Account, Accounts, Transfer};
use twophase::{Config, Envelope, Message, Record};

const COORDINATOR: NodeId = NodeId(1);
const PAYER: NodeId = NodeId(2);
const PAYEE: NodeId = NodeId(3);
/// The accounts are those of one client.
const SHAPE: Shape = Shape { clients: 1, conflict: 0 };
/// How many actions one moment may have.
const PATIENCE: usize = 10_000;

/// What the death of the coordinator does to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Held {
    /// The steps after which it was killed, one after the other.
    pub(super) steps: usize,
    /// Those after which a lock was held until it was back.
    pub(super) that_block: usize,
    /// How long a lock was held after its death, at most.
    pub(super) longest: Duration,
}

/// Kills the coordinator at each step of a transaction; it comes `back` so long after.
pub(super) fn measure<A: Commits>(config: &Config, back: Duration) -> Result<Held> {
    let mut whole = Group::<A>::new(config)?;
    whole.begin()?;
    let mut steps = 0;
    while whole.act()? {
        steps += 1;
    }
    ensure!(whole.locks() == 0, "a transaction does not end where nobody dies");
    let mut held = Held { steps: steps + 1, that_block: 0, longest: Duration::ZERO };
    for actions in 0..=steps {
        let time = after::<A>(config, actions, back).with_context(|| format!("killed after {actions}"))?;
        held.that_block += usize::from(time >= back);
        held.longest = held.longest.max(time);
    }
    Ok(held)
}

/// How long locks are held after the coordinator has died, having seen so many actions.
fn after<A: Commits>(config: &Config, actions: usize, back: Duration) -> Result<Duration> {
    let mut group = Group::<A>::new(config)?;
    group.begin()?;
    for _ in 0..actions {
        group.act()?;
    }
    group.kill();
    let died = group.now;
    loop {
        group.settle()?;
        if group.locks() == 0 {
            return Ok(group.now.since(died));
        }
        let is_down = !group.nodes.contains_key(&COORDINATOR);
        if !group.wake(if is_down { died + back } else { died + back * 2 })? {
            ensure!(is_down, "a lock is never freed");
            group.now = died + back;
            group.start(COORDINATOR)?;
        }
    }
}

type Member<A> = Node<A, Outbox<Message>, MemoryStorage<Record>, Accounts>;

/// What is on its way: from whom, to whom, and what.
type Letter = (NodeId, NodeId, Message);

struct Group<A: Commits> {
    now: Time,
    config: Config,
    nodes: BTreeMap<NodeId, Member<A>>,
    /// Of those who are down, or have not started.
    disks: BTreeMap<NodeId, MemoryStorage<Record>>,
    wire: VecDeque<Letter>,
    /// Whose disks may have something to sync.
    unsynced: BTreeSet<NodeId>,
    boots: u64,
}

impl<A: Commits> Group<A> {
    fn new(config: &Config) -> Result<Self> {
        let ids = || (1..=NODES).map(NodeId);
        let mut group = Self {
            now: Time::ZERO,
            config: config.clone(),
            nodes: BTreeMap::new(),
            disks: ids().map(|id| (id, MemoryStorage::held())).collect(),
            wire: VecDeque::new(),
            unsynced: BTreeSet::new(),
            boots: 0,
        };
        for id in ids() {
            group.start(id)?;
        }
        group.settle()?;
        Ok(group)
    }

    fn start(&mut self, id: NodeId) -> Result<()> {
        let disk = self.disks.remove(&id).context("it runs already")?;
        self.boots += 1;
        let members = Members::of((1..=NODES).map(NodeId));
        let config =
            NodeConfig { algorithm: self.config.clone(), ..NodeConfig::new(id, members, self.boots) };
        let node = Node::open(config, self.now, Outbox::default(), disk, SHAPE.machine(id))?;
        self.nodes.insert(id, node);
        self.collect(id);
        Ok(())
    }

    /// The coordinator loses what is not durable, and what the others have sent it.
    fn kill(&mut self) {
        self.unsynced.remove(&COORDINATOR);
        self.wire.retain(|&(_, to, _)| to != COORDINATOR);
        if let Some(node) = self.nodes.remove(&COORDINATOR) {
            self.disks.insert(COORDINATOR, node.into_parts().1.crash());
        }
    }

    /// The coordinator is asked for a transfer between the two others.
    fn begin(&mut self) -> Result<()> {
        let at = |node| Account { node, number: 1 };
        let transfer = Transfer::between(at(PAYER), at(PAYEE), 1);
        let payload = Envelope::new(transfer.participants(), transfer.to_bytes()).to_bytes();
        let id = ProposalId::new(ClientId::anonymous(1), 1);
        self.handle(COORDINATOR, Event::Propose { id, payload })
    }

    fn handle(&mut self, id: NodeId, event: Event<Message>) -> Result<()> {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handle(self.now, event)?;
            self.collect(id);
        }
        Ok(())
    }

    fn collect(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            self.wire.extend(node.network().sent.drain(..).map(|(to, message)| (id, to, message)));
            node.replies();
            self.unsynced.insert(id);
        }
    }

    /// The next write becomes durable, or else the next message arrives; false if there is nothing to do at this time.
    fn act(&mut self) -> Result<bool> {
        while let Some(id) = self.unsynced.pop_first() {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            let before = node.durable();
            node.storage().sync();
            self.handle(id, Event::Written)?;
            if self.nodes.get(&id).is_some_and(|node| node.durable() != before) {
                return Ok(true);
            }
            self.unsynced.remove(&id);
        }
        let Some((from, to, message)) = self.wire.pop_front() else { return Ok(false) };
        self.handle(to, Event::Message { from, message })?;
        Ok(true)
    }

    fn settle(&mut self) -> Result<()> {
        for _ in 0..PATIENCE {
            if !self.act()? {
                return Ok(());
            }
        }
        anyhow::bail!("the nodes never stop talking")
    }

    /// The earliest timer runs out; false if there is none up to `end`.
    fn wake(&mut self, end: Time) -> Result<bool> {
        let next = self.nodes.iter().filter_map(|(&id, node)| Some((node.deadline()?, id))).min();
        let Some((at, id)) = next.filter(|&(at, _)| at <= end) else { return Ok(false) };
        self.now = self.now.max(at);
        self.handle(id, Event::Tick)?;
        Ok(true)
    }

    fn locks(&self) -> usize {
        let of = |node: &Member<A>| {
            (0..SHAPE.accounts()).filter(|&number| node.machine().holder(number).is_some()).count()
        };
        self.nodes.values().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::atomic::CONTESTANTS;
    use std::time::Duration;

    #[test]
    fn all_but_paxos_commit_with_spare_acceptors_wait_for_their_coordinator() {
        let (soon, late) = (Duration::from_secs(2), Duration::from_mins(1));
        for contestant in CONTESTANTS {
            let [short, long] = [soon, late].map(|back| contestant.blocked(back).unwrap());
            assert_eq!(short, contestant.blocked(soon).unwrap(), "it is the same each time");
            assert!(short.steps > 5 && short.steps == long.steps, "{}: {short:?}", contestant.name);
            if contestant.name == "paxos commit, F = 1" {
                assert_eq!(short, long, "whether it comes back makes no difference");
                assert_eq!(short.that_block, 0, "{short:?}");
            } else {
                let blocks = (1..short.steps).contains(&short.that_block) && long.that_block > 0;
                assert!(blocks && long.longest >= late, "{}: {short:?}, {long:?}", contestant.name);
            }
        }
    }
}
