//! The gate: it drives one algorithm, and carries its effects out in the only order that is safe.
//!
//! Invariants:
//! - A message or a decision leaves only when the write that it depends on is durable.
//! - Decisions reach the state machine in the order in which they were emitted.
//! - A read is answered only after everything up to its slot is applied.
//! - After the first error nothing is carried out any more: the node has stopped.

mod apply;
mod gate;
mod timers;

use crate::algorithm::{
    Boot, ConfigError, ConsensusAlgorithm, Input, Offence, Out, Refusal, RestoreError, Status,
};
use crate::effects::Effect;
use crate::guarantees::{Membership, Problem};
use crate::hand_off::{Network, Storage, StorageError};
use crate::id::{ClientId, NodeId, ProposalId, ReadId, Slot, WriteSeq};
use crate::machine::{InstallError, StateMachine};
use crate::members::{Change, Members, Priority};
use crate::session::Sessions;
use crate::snapshot;
use crate::time::Time;
use alloc::vec::{Drain, Vec};
use bytes::Bytes;
use gate::{Decided, Gate, Handover};
use timers::Timers;

/// The most accusations that wait for the driver; more are dropped, since a liar must not fill our memory.
const MAX_ACCUSATIONS: usize = 1024;

/// What a node is made from.
#[derive(Clone, Debug)]
pub struct NodeConfig<A: ConsensusAlgorithm> {
    /// Who we are.
    pub id: NodeId,
    /// The members at the group's birth.
    pub members: Members,
    /// The protocol's own configuration.
    pub algorithm: A::Config,
    /// The randomness of this boot; a fresh one each time.
    pub seed: u64,
    /// A snapshot is offered once the payloads applied since the last one exceed this many bytes, and exceed the last
    /// snapshot too, so that snapshots cost no more than the log itself.
    pub compact_after_bytes: u64,
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
            check_invariants: cfg!(debug_assertions),
        }
    }
}

/// What a driver tells a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<M> {
    /// A decoded message from an authenticated peer. It is screened here ([`ConsensusAlgorithm::screen`]).
    Message {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: M,
    },
    /// A message that the driver has screened already, on another core.
    Screened {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: M,
    },
    /// The time may have reached [`Node::deadline`].
    Tick,
    /// The storage may have news ([`Storage::durable`]).
    Written,
    /// A client proposes.
    Propose {
        /// Its name for good.
        id: ProposalId,
        /// What is proposed.
        payload: Bytes,
    },
    /// A client asks for a linearizable read barrier.
    Read(ReadId),
    /// An operator asks for other members.
    Reconfigure {
        /// Its name for good.
        id: ProposalId,
        /// The change.
        change: Change,
    },
    /// Hand leadership over.
    Transfer {
        /// The wished-for successor.
        to: Option<NodeId>,
    },
    /// How much this node wishes to lead.
    Priority(Priority),
    /// The failure detector's opinion.
    Suspect {
        /// The peer.
        peer: NodeId,
        /// Whether it is suspected from now on.
        suspected: bool,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A proposal was decided and applied here. Every replica reports every proposal; a driver picks out those it waits for.
    Done {
        /// The proposal.
        id: ProposalId,
        /// Its place.
        slot: Slot,
        /// What came of it.
        outcome: Outcome,
    },
    /// A proposal was turned down.
    Refused {
        /// The proposal.
        id: ProposalId,
        /// Why.
        reason: Refusal,
    },
    /// The state machine now holds everything that a linearizable read at this point must see.
    ReadReady {
        /// The read.
        id: ReadId,
        /// The slot that was waited for.
        at: Slot,
    },
    /// A read was turned down.
    ReadRefused {
        /// The read.
        id: ReadId,
        /// Why.
        reason: Refusal,
    },
}

/// What came of a decided proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out, now or (a repeated command of a session) before.
    Applied(Bytes),
    /// It was decided not to carry it out.
    Aborted(Bytes),
    /// The session was opened.
    Opened(ClientId),
    /// The slot carried no command (a change of members took effect).
    Noop,
    /// The session let go of this reply; the command is not applied again.
    Stale,
    /// The session is unknown or has expired; the command is not applied.
    Expired,
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
}

/// One member of a group: an algorithm, its outbox, its journal and its state machine.
pub struct Node<A: ConsensusAlgorithm, N, S, M> {
    id: NodeId,
    config: A::Config,
    algorithm: A,
    network: N,
    storage: S,
    machine: M,
    out: Out<A>,
    gate: Gate<A::Message>,
    timers: Timers<A::Timer>,
    members: Option<Members>,
    sessions: Sessions,
    applied: Slot,
    parked_reads: Vec<(Slot, ReadId)>,
    replies: Vec<Reply>,
    accusations: Vec<(NodeId, Offence)>,
    compaction: Compaction,
    wrote: bool,
    check_invariants: bool,
    stopped: Option<NodeError>,
    /// Reused between bursts.
    scratch: Vec<Effect<A::Message, A::Record, A::Timer>>,
    /// Reused between ticks.
    due: Vec<(Time, A::Timer)>,
}

#[derive(Clone, Copy, Debug)]
struct Compaction {
    threshold: u64,
    since_last: u64,
    last_size: u64,
}

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
        mut machine: M,
    ) -> Result<Self, NodeError> {
        let NodeConfig { id, members, algorithm, seed, compact_after_bytes, check_invariants } = config;
        if id == NodeId::ZERO {
            return Err(ConfigError::new("id", "zero is not a valid member").into());
        }
        // Where members may join, a newcomer was not there at the group's birth.
        if matches!(A::GUARANTEES.membership, Membership::Static) && !members.contains(id) {
            return Err(ConfigError::new("id", alloc::format!("{id} is not among the members")).into());
        }
        A::validate(&algorithm, &members)?;
        let recovered = storage.recover()?;
        let (mut sessions, mut applied, mut last_size) = (Sessions::new(), Slot::ZERO, 0);
        if let Some((through, bytes)) = &recovered.snapshot {
            if !bytes.is_empty() {
                let (table, state) = snapshot::open(bytes)?;
                machine.install(*through, state)?;
                sessions = table;
            }
            (applied, last_size) = (*through, bytes.len() as u64);
        }
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
            machine,
            out,
            gate: Gate::default(),
            timers: Timers::new(),
            members: None,
            sessions,
            applied,
            parked_reads: Vec::new(),
            replies: Vec::new(),
            accusations: Vec::new(),
            compaction: Compaction { threshold: compact_after_bytes, since_last: 0, last_size },
            wrote: false,
            check_invariants,
            stopped: None,
            scratch: Vec::new(),
            due: Vec::new(),
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
    pub fn push(&mut self, now: Time, event: Event<A::Message>) -> Result<(), NodeError> {
        if let Some(error) = &self.stopped {
            return Err(error.clone());
        }
        let input = match event {
            Event::Message { from, message } => {
                if let Err(offence) = A::screen(&self.config, from, &message) {
                    self.accuse(from, offence);
                    return Ok(());
                }
                Input::Message { from, message }
            }
            Event::Screened { from, message } => Input::Message { from, message },
            Event::Propose { id, payload } => Input::Propose { id, payload },
            Event::Read(id) => Input::Read(id),
            Event::Reconfigure { id, change } => Input::Reconfigure { id, change },
            Event::Transfer { to } => Input::Transfer { to },
            Event::Priority(priority) => Input::Priority(priority),
            Event::Suspect { peer, suspected } => Input::Suspect { peer, suspected },
            Event::Tick => {
                self.fire_timers(now);
                return Ok(());
            }
            // The storage is asked at the end of every burst anyway.
            Event::Written => return Ok(()),
        };
        self.step(now, input);
        Ok(())
    }

    /// Ends a burst: lets the algorithm emit what it held back, and carries everything out.
    ///
    /// # Errors
    /// The node has stopped, now or before.
    pub fn flush(&mut self, now: Time) -> Result<(), NodeError> {
        if let Some(error) = &self.stopped {
            return Err(error.clone());
        }
        let result = self.settle(now);
        if let Err(error) = &result {
            self.stopped = Some(error.clone());
        }
        result
    }

    /// When the node wants to be woken by [`Event::Tick`], if nothing else happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.timers.deadline()
    }

    /// What clients are to be told, oldest first.
    pub fn replies(&mut self) -> Drain<'_, Reply> {
        self.replies.drain(..)
    }

    /// Who broke the protocol, and how.
    pub fn accusations(&mut self) -> Drain<'_, (NodeId, Offence)> {
        self.accusations.drain(..)
    }

    /// The members, if they were announced anew since this was last asked ([`Effect::Members`]).
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
        self.applied
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
        &self.machine
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
        (self.network, self.storage, self.machine)
    }

    fn step(&mut self, now: Time, input: Input<A::Message, A::Timer>) {
        self.algorithm.step(now, input, &mut self.out);
        if self.check_invariants {
            self.algorithm.assert_invariants();
        }
    }

    fn fire_timers(&mut self, now: Time) {
        // What was cancelled or set anew earlier in this burst must not fire, though nothing else is carried out before its
        // end: a heartbeat and the tick that it came too late for may sit in one burst.
        self.settle_timers();
        let mut due = core::mem::take(&mut self.due);
        self.timers.due(now, &mut due);
        // Each timer that is due fires once; what it sets anew for the past waits for the next tick.
        for (at, timer) in due.drain(..) {
            if self.timers.expire(timer, at) {
                self.step(now, Input::Timer(timer));
                self.settle_timers();
            }
        }
        self.due = due;
    }

    fn settle_timers(&mut self) {
        let timers = &mut self.timers;
        self.out.take_timers(|timer, at| match at {
            Some(at) => timers.set(timer, at),
            None => timers.cancel(timer),
        });
    }

    fn accuse(&mut self, peer: NodeId, offence: Offence) {
        if self.accusations.len() < MAX_ACCUSATIONS {
            self.accusations.push((peer, offence));
        }
    }

    fn settle(&mut self, now: Time) -> Result<(), NodeError> {
        loop {
            self.algorithm.flush(now, &mut self.out);
            self.carry_out(now)?;
            if core::mem::take(&mut self.wrote) {
                self.storage.flush();
            }
            let durable = self.storage.durable()?;
            if self.gate.advance(durable) {
                while let Some(handover) = self.gate.release(&mut self.network) {
                    self.take_over(handover)?;
                }
                self.step(now, Input::Durable(durable));
                continue;
            }
            if let Some((through, snapshot)) = self.snapshot_if_due() {
                self.step(now, Input::Compact { through, snapshot });
                continue;
            }
            break;
        }
        self.network.flush();
        self.serve_parked_reads();
        Ok(())
    }

    fn carry_out(&mut self, now: Time) -> Result<(), NodeError> {
        while !self.out.is_empty() {
            let mut effects = core::mem::take(&mut self.scratch);
            self.out.swap(&mut effects);
            for effect in effects.drain(..) {
                self.carry_out_one(now, effect)?;
            }
            self.scratch = effects;
        }
        Ok(())
    }

    fn carry_out_one(
        &mut self,
        now: Time,
        effect: Effect<A::Message, A::Record, A::Timer>,
    ) -> Result<(), NodeError> {
        match effect {
            Effect::Persist { seq, record } => {
                self.storage.append(seq, &record);
                self.wrote = true;
            }
            Effect::Checkpoint { seq, through, snapshot, tail } => {
                self.storage.checkpoint(seq, through, &snapshot, &tail);
                self.wrote = true;
            }
            Effect::Send { to, message, after } => {
                debug_assert_ne!(to, self.id, "a node does not send to itself");
                self.gate.send(&mut self.network, to, message, after);
            }
            Effect::SetTimer { timer, at } => {
                self.timers.set(timer, at);
            }
            Effect::CancelTimer(timer) => self.timers.cancel(timer),
            Effect::Decide { slot, id, verdict, payload, after } => {
                let decided = Decided { slot, id, verdict, payload };
                self.hand_over(Handover::Decide(decided), after)?;
            }
            Effect::ReadReady { id, at } => self.park_read(id, at),
            Effect::Judge { id, payload } => {
                let accept = self.machine.judge(id, &payload);
                self.step(now, Input::Judged { id, accept });
            }
            Effect::Refuse { id, reason } => self.replies.push(Reply::Refused { id, reason }),
            Effect::RefuseRead { id, reason } => self.replies.push(Reply::ReadRefused { id, reason }),
            Effect::Install { through, snapshot, after } => {
                self.hand_over(Handover::Install { through, snapshot }, after)?;
            }
            Effect::Members(members) => self.members = Some(*members),
            Effect::Accuse { peer, offence } => self.accuse(peer, offence),
        }
        Ok(())
    }

    fn hand_over(&mut self, handover: Handover, after: WriteSeq) -> Result<(), NodeError> {
        match self.gate.hand_over(handover, after) {
            Some(handover) => self.take_over(handover),
            None => Ok(()),
        }
    }

    const fn ordered() -> bool {
        matches!(A::GUARANTEES.problem, Problem::Log)
    }
}
