//! A log protocol of this workspace behind its gate: whole nodes, with sessions, replies and compaction.

use super::{Contestant, KEEP_ENTRIES, PATIENCE, Payloads, Shape, Tally};
use anyhow::{Context, Result, bail};
use consensus_core::memory::Outbox;
use consensus_core::{
    Bytes, ClientId, ConsensusAlgorithm, Decision, Event, InstallError, Members, Node, NodeConfig, NodeId,
    ProposalId, Recovered, Role, Slot, StateMachine, Storage, StorageError, Time, WriteSeq, wire,
};
use std::time::Duration;

/// What the gate counts for a decision beyond its payload.
const DECISION_BYTES: usize = 32;
/// The step of simulated time when nothing else moves.
const TICK: Duration = Duration::from_millis(10);

type Member<A> = Node<A, Outbox<<A as ConsensusAlgorithm>::Message>, OneCopy, Machine>;

/// Three nodes of the protocol `A`.
pub(super) struct Ours<A: ConsensusAlgorithm> {
    nodes: Vec<Member<A>>,
    leader: usize,
    now: Time,
    sequence: u64,
    /// One per node, used in turn with the nodes' own: nothing is allocated to deliver.
    inboxes: Vec<Vec<(NodeId, A::Message)>>,
    /// Where the bytes of all delivered messages are summed up, while somebody asks for it.
    wire: Option<usize>,
}

/// A disk that is done at once and keeps nothing: what the process knows is gone with it anyway. The log is in memory once, as
/// with the peers, whose storage in memory is their log.
#[derive(Default)]
pub(crate) struct OneCopy(WriteSeq);

impl<R> Storage<R> for OneCopy {
    fn recover(&mut self) -> Result<Recovered<R>, StorageError> {
        Ok(Recovered::default())
    }

    fn append(&mut self, seq: WriteSeq, _record: R) {
        self.0 = seq;
    }

    fn checkpoint(&mut self, seq: WriteSeq, _through: Slot, _snapshot: Bytes, _tail: Vec<R>) {
        self.0 = seq;
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        Ok(self.0)
    }
}

/// It counts what is applied, and in which order.
#[derive(Default)]
pub(crate) struct Machine(Tally);

impl Machine {
    /// How much was applied.
    pub(crate) const fn count(&self) -> u64 {
        self.0.count
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        self.0.apply(decision.payload);
        Bytes::new()
    }

    fn query(&self, _request: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Bytes {
        [self.0.count.to_le_bytes(), self.0.digest.to_le_bytes()].concat().into()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        let number = |from: usize| {
            let bytes = snapshot.get(from..from + 8).and_then(<[u8]>::first_chunk);
            bytes
                .map(|bytes| u64::from_le_bytes(*bytes))
                .ok_or_else(|| InstallError("it is too short".into()))
        };
        self.0 = Tally { count: number(0)?, digest: number(8)? };
        Ok(())
    }
}

impl<A: ConsensusAlgorithm> Ours<A> {
    pub(super) fn build(shape: Shape, algorithm: &A::Config) -> Result<Self> {
        let members = Members::of((1..=3).map(NodeId));
        let mut nodes = Vec::new();
        for id in 1..=3 {
            let config = NodeConfig {
                compact_after_bytes: (KEEP_ENTRIES * (shape.payload + DECISION_BYTES)) as u64,
                algorithm: algorithm.clone(),
                check_invariants: false,
                ..NodeConfig::new(NodeId(id), members.clone(), id)
            };
            let (network, storage) = (Outbox::default(), OneCopy::default());
            nodes.push(Member::<A>::open(config, Time::ZERO, network, storage, Machine::default())?);
        }
        let inboxes = (0..3).map(|_| Vec::new()).collect();
        let mut cluster = Self { nodes, leader: 0, now: Time::ZERO, sequence: 0, inboxes, wire: None };
        for _ in 0..10_000 {
            if !cluster.deliver()? {
                cluster.tick()?;
            }
            let statuses: Vec<_> = cluster.nodes.iter().map(Node::status).collect();
            // Where nobody leads, the first takes all proposals: one as well as another.
            let leader = statuses.iter().position(|status| matches!(status.role, Role::Leader | Role::Peer));
            let settled = statuses.iter().all(|status| status.leader.is_some() || status.role == Role::Peer);
            if let (Some(leader), true) = (leader, settled) {
                cluster.leader = leader;
                return Ok(cluster);
            }
        }
        bail!("{} elected no leader", A::NAME)
    }

    fn tick(&mut self) -> Result<()> {
        self.now += TICK;
        for node in &mut self.nodes {
            node.handle(self.now, Event::Tick)?;
        }
        Ok(())
    }

    /// Delivers everything that is on its way, one burst per node; false if there was nothing.
    fn deliver(&mut self) -> Result<bool> {
        for (node, inbox) in self.nodes.iter_mut().zip(&mut self.inboxes) {
            std::mem::swap(&mut node.network().sent, inbox);
        }
        let mut got = [false; 3];
        for (from, inbox) in (1..).map(NodeId).zip(&mut self.inboxes) {
            for (to, message) in inbox.drain(..) {
                if let Some(wire) = &mut self.wire {
                    *wire += wire::encode(&message).len();
                }
                let place = to.0 as usize - 1;
                let (node, got) =
                    self.nodes.get_mut(place).zip(got.get_mut(place)).context("a message to nobody")?;
                node.push(self.now, Event::Message { from, message })?;
                *got = true;
            }
        }
        for (node, got) in self.nodes.iter_mut().zip(got) {
            if got {
                node.flush(self.now)?;
                node.replies();
            }
        }
        Ok(got != [false; 3])
    }
}

impl<A: ConsensusAlgorithm> Contestant for Ours<A> {
    fn burst(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        let leader = self.nodes.get_mut(self.leader).context("there is no leader")?;
        for _ in 0..count {
            self.sequence += 1;
            let id = ProposalId::new(ClientId::anonymous(1), self.sequence);
            let payload = Bytes::copy_from_slice(payloads.next());
            leader.push(self.now, Event::Propose { id, payload })?;
        }
        leader.flush(self.now)?;
        let goal = payloads.expected.count;
        for _ in 0..PATIENCE {
            let any = self.deliver()?;
            if self.nodes.iter().all(|node| node.machine().0.count == goal) {
                return Ok(());
            }
            if !any {
                self.tick()?;
            }
        }
        bail!("{} is stuck: {:?} of {goal}", A::NAME, self.tallies())
    }

    fn tallies(&self) -> [Tally; 3] {
        let mut tallies = [Tally::default(); 3];
        for (tally, node) in tallies.iter_mut().zip(&self.nodes) {
            *tally = node.machine().0;
        }
        tallies
    }

    fn wire_bytes(&mut self, payloads: &mut Payloads, count: usize) -> Result<Option<usize>> {
        while self.deliver()? {}
        self.wire = Some(0);
        self.burst(payloads, count)?;
        while self.deliver()? {}
        Ok(self.wire.take())
    }
}
