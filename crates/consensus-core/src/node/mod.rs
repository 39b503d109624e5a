//! The gate: it drives one algorithm, and carries its effects out in the only order that is safe.
//!
//! Invariants:
//! - A message or a decision leaves only when the write that it depends on is durable.
//! - Decisions reach the state machine in the order in which they were emitted.
//! - A read is answered only after everything up to its slot is applied.
//! - After the first error nothing is carried out any more: the node has stopped.

mod apply;
mod event;
mod gate;
mod pending;
mod settle;
mod timers;

use crate::algorithm::{Boot, ConfigError, ConsensusAlgorithm, Input, Offence, Out, RestoreError, Status};
use crate::effects::Effect;
use crate::guarantees::Membership;
use crate::hand_off::{Network, Storage, StorageError};
use crate::id::{ClientId, NodeId, ReadId, Slot, WriteSeq};
use crate::inspect::Note;
use crate::machine::{InstallError, StateMachine};
use crate::members::Members;
use crate::time::Time;
use alloc::vec::{Drain, Vec};
use apply::{CompactAfter, Executor, Rules};
use bytes::Bytes;
use gate::Gate;
use timers::Timers;

pub use event::{Event, Outcome, Reply};
pub use pending::PendingSnapshot;

/// What a node is made from.
#[derive(Clone, Debug)]
pub struct NodeConfig<A: ConsensusAlgorithm> {
    /// Who we are.
    pub id: NodeId,
    /// The members at the group's birth; none for a node that joins a group which exists ([`Boot::members`]).
    pub members: Members,
    /// The protocol's own configuration.
    pub algorithm: A::Config,
    /// The randomness of this boot; a fresh one each time.
    pub seed: u64,
    /// A snapshot is offered, unless the algorithm asks for them itself, once the payloads applied since the last one exceed this many bytes, and exceed the last
    /// snapshot too, so that snapshots cost no more than the log itself.
    pub compact_after_bytes: u64,
    /// A snapshot is offered once more than this many slots were applied since the last one, however little they hold: so
    /// many decisions, at most, are replayed at a boot.
    pub compact_after_slots: u64,
    /// Whether the driver writes snapshots out beside the node ([`Node::take_pending_snapshot`]), where the state machine has a way to hold
    /// its state fast. Otherwise the node stands still while it takes one.
    pub defers_snapshots: bool,
    /// Whether to check every invariant after each step (slow; for tests and simulations).
    pub check_invariants: bool,
}

impl<A: ConsensusAlgorithm> NodeConfig<A> {
    /// The defaults for node `id` of `members`.
    #[must_use]
    pub fn new(id: NodeId, members: Members, seed: u64) -> Self {
        Self {
            id,
            members,
            algorithm: A::Config::default(),
            seed,
            compact_after_bytes: 64 << 20,
            compact_after_slots: 4 << 20,
            defers_snapshots: false,
            check_invariants: cfg!(debug_assertions),
        }
    }
}

/// Why a node does not start, or has stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The configuration cannot work.
    #[error("invalid configuration: {0}")]
    Config(#[from] ConfigError),
    /// The disk cannot be used (any more).
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The records on the disk do not fit together.
    #[error("the records on the disk contradict each other: {0}")]
    Restore(#[from] RestoreError),
    /// A snapshot cannot be taken over.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The algorithm decided out of order: a defect of the algorithm, caught before it reaches the state machine.
    #[error("{slot} was decided when {applied} was the last applied: this is a defect of the algorithm")]
    OutOfOrder {
        /// What was decided.
        slot: Slot,
        /// What should have come before it.
        applied: Slot,
    },
    /// The algorithm decided slots that it does not show: a defect of the algorithm, or of an adapter around it.
    #[error(
        "everything up to {through} was decided, and decisions up to {shown} were shown: this is a defect of the algorithm (an \
         adapter must pass `decided` on)"
    )]
    NotShown {
        /// The last slot that was decided.
        through: Slot,
        /// The last one that was shown.
        shown: Slot,
    },
}

/// One member of a group: an algorithm, its outbox, its journal and its state machine.
pub struct Node<A: ConsensusAlgorithm, N, S, M> {
    id: NodeId,
    config: A::Config,
    algorithm: A,
    network: N,
    storage: S,
    executor: Executor<M>,
    out: Out<A>,
    gate: Gate<A::Message>,
    timers: Timers<A::Timer>,
    members: Option<Members>,
    accusations: Vec<(NodeId, Offence)>,
    notes: Vec<Note>,
    /// Every decision up to here was handed over, or waits in the gate.
    decided: Slot,
    /// Something was handed to the storage since its last flush.
    wrote: bool,
    /// The algorithm has taken an input since its last flush.
    stepped: bool,
    /// The storage may have news that no write of ours tells of.
    asks: bool,
    check_invariants: bool,
    /// The name of the last read that went through the log: no other node uses it, nor another boot.
    barrier: u64,
    stopped: Option<NodeError>,
    /// Reused between ticks.
    due: Vec<(Time, A::Timer)>,
    /// Reused between bursts.
    others: Vec<Effect<A::Timer>>,
}

/// The node has stopped; `Node::stopped` says why.
struct Stopped;

impl<A, N, S, M> Node<A, N, S, M>
where
    A: ConsensusAlgorithm,
    N: Network<A::Message>,
    S: Storage<A::Record>,
    M: StateMachine,
{
    /// Boots: reads the storage back, hands its snapshot to the machine, and restores the algorithm.
    ///
    /// # Errors
    /// If the configuration cannot work, the storage is damaged or foreign, or the snapshot is not the machine's.
    pub fn open(
        config: NodeConfig<A>,
        now: Time,
        network: N,
        mut storage: S,
        machine: M,
    ) -> Result<Self, NodeError> {
        let NodeConfig {
            id,
            members,
            algorithm,
            seed,
            compact_after_bytes,
            compact_after_slots,
            defers_snapshots,
            check_invariants,
        } = config;
        if id == NodeId::ZERO {
            return Err(ConfigError::new("id", "zero is not a valid member").into());
        }
        // Where members may join, a newcomer was not there at the group's birth.
        if matches!(A::GUARANTEES.membership, Membership::Static) && !members.contains(id) {
            return Err(ConfigError::new("id", alloc::format!("{id} is not among the members")).into());
        }
        A::validate(&algorithm, &members)?;
        let recovered = storage.recover()?;
        let compact_after = if A::ASKS_FOR_SNAPSHOTS {
            CompactAfter { bytes: u64::MAX, slots: u64::MAX }
        } else {
            CompactAfter { bytes: compact_after_bytes, slots: compact_after_slots }
        };
        let rules = Rules::of(&A::GUARANTEES);
        // Without one order for all, what a snapshot contains is not said by a slot.
        let defers = defers_snapshots && rules.is_ordered;
        let executor = Executor::open(machine, recovered.snapshot.as_ref(), compact_after, defers, rules)?;
        let mut out = Out::<A>::new();
        let boot = Boot {
            id,
            members,
            config: algorithm.clone(),
            seed,
            now,
            snapshot: recovered.snapshot,
            records: recovered.records,
        };
        let config = algorithm;
        let algorithm = A::restore(boot, &mut out)?;
        let mut node = Self {
            id,
            config,
            algorithm,
            network,
            storage,
            decided: executor.applied,
            executor,
            out,
            gate: Gate::default(),
            timers: Timers::new(),
            members: None,
            accusations: Vec::new(),
            notes: Vec::new(),
            wrote: false,
            stepped: true,
            asks: false,
            check_invariants,
            barrier: seed.rotate_left(32) ^ id.0,
            stopped: None,
            due: Vec::new(),
            others: Vec::new(),
        };
        node.flush(now)?;
        Ok(node)
    }

    /// Takes one event and carries out what follows from it.
    ///
    /// # Errors
    /// The node has stopped, now or before; it does nothing any more.
    pub fn handle(&mut self, now: Time, event: Event<A::Message>) -> Result<(), NodeError> {
        self.push(now, event)?;
        self.flush(now)
    }

    /// Takes one event of a burst. Call [`Node::flush`] at the end of the burst; nothing is carried out before.
    ///
    /// # Errors
    /// The node has stopped before.
    #[inline(always)]
    pub fn push(&mut self, now: Time, event: Event<A::Message>) -> Result<(), NodeError> {
        if self.stopped.is_some() {
            return self.outcome();
        }
        match event {
            Event::Message { from, message } => match A::screen(&self.config, from, &message) {
                Ok(()) => self.step(now, Input::Message { from, message }),
                Err(offence) => self.accuse(from, offence),
            },
            Event::Screened { from, message } => self.step(now, Input::Message { from, message }),
            Event::Propose { id, .. } if self.executor.answers(id) => {}
            Event::Propose { id, payload } => self.step(now, Input::Propose { id, payload }),
            Event::Read(id) if self.executor.has_barriers() => self.read_through_log(now, id),
            Event::Read(id) => self.step(now, Input::Read(id)),
            Event::Reconfigure { id, change } => self.step(now, Input::Reconfigure { id, change }),
            Event::Transfer { to } => self.step(now, Input::Transfer { to }),
            Event::Priority(priority) => self.step(now, Input::Priority(priority)),
            Event::Suspect { peer, suspected } => self.step(now, Input::Suspect { peer, suspected }),
            Event::Tick => self.fire_timers(now),
            Event::Written => self.asks = true,
            Event::SnapshotWritten { through, snapshot } => {
                if let Some(snapshot) = self.executor.end_pending(through, snapshot) {
                    self.step(now, Input::Compact { through, snapshot });
                }
            }
        }
        Ok(())
    }

    /// It is a proposal without a payload, and answered when that is decided.
    fn read_through_log(&mut self, now: Time, read: ReadId) {
        self.barrier = self.barrier.wrapping_add(1);
        let id = A::name(ClientId::anonymous(self.barrier), self.barrier.max(1), &[]);
        self.executor.await_barrier(id, read);
        self.step(now, Input::Propose { id, payload: Bytes::new() });
    }

    /// Ends a burst: lets the algorithm emit what it held back, and carries everything out.
    ///
    /// # Errors
    /// The node has stopped, now or before.
    pub fn flush(&mut self, now: Time) -> Result<(), NodeError> {
        if self.stopped.is_none() && self.settle(now).is_ok() {
            return Ok(());
        }
        self.outcome()
    }

    /// Why the node has stopped, if it has.
    #[cold]
    fn outcome(&self) -> Result<(), NodeError> {
        self.stopped.clone().map_or(Ok(()), Err)
    }

    /// Stops the node, for good.
    #[cold]
    fn stop(&mut self, error: impl Into<NodeError>) -> Stopped {
        self.stopped = Some(error.into());
        Stopped
    }

    /// When the node wants to be woken by [`Event::Tick`], if nothing else happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.timers.deadline()
    }

    /// What clients are to be told, oldest first.
    pub fn replies(&mut self) -> Drain<'_, Reply> {
        self.executor.replies.drain(..)
    }

    /// Who broke the protocol, and how.
    pub fn accusations(&mut self) -> Drain<'_, (NodeId, Offence)> {
        self.accusations.drain(..)
    }

    /// What has happened since this was last asked; only the first few of it, if that was long ago.
    pub fn notes(&mut self) -> Drain<'_, Note> {
        self.notes.drain(..)
    }

    /// A snapshot that the driver is to have written out, if one was begun since this was last asked.
    pub const fn take_pending_snapshot(&mut self) -> Option<PendingSnapshot> {
        self.executor.pending.take()
    }

    /// The members, if they were announced anew since this was last asked ([`crate::Effect::Members`]).
    pub const fn take_members(&mut self) -> Option<Members> {
        self.members.take()
    }

    /// Who we are.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The last slot that the state machine has seen.
    #[must_use]
    pub const fn applied(&self) -> Slot {
        self.executor.applied
    }

    /// The last write that is known to be durable.
    #[must_use]
    pub const fn durable(&self) -> WriteSeq {
        self.gate.durable()
    }

    /// What an observer may know.
    #[must_use]
    pub fn status(&self) -> Status {
        self.algorithm.status()
    }

    /// The algorithm, for inspection.
    #[must_use]
    pub const fn algorithm(&self) -> &A {
        &self.algorithm
    }

    /// The state machine, for queries.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.executor.machine
    }

    /// The outbox.
    pub const fn network(&mut self) -> &mut N {
        &mut self.network
    }

    /// The storage.
    pub const fn storage(&mut self) -> &mut S {
        &mut self.storage
    }

    /// Ends this incarnation and gives back its storage and machine.
    pub fn into_parts(self) -> (N, S, M) {
        (self.network, self.storage, self.executor.machine)
    }
}
