//! An algorithm that does what it is told, on a disk that is durable when it is told, so that the gate alone is tested.

use consensus_core::{
    Boot, Bytes, ClientId, ConfigError, ConsensusAlgorithm, Decision, Epoch, Event, Faults, Frozen,
    Guarantees, In, Input, InstallError, Members, Membership, Network, Node, NodeConfig, NodeError, NodeId,
    Offence, Out, Problem, ProposalId, ReadId, Reads, Recovered, Refusal, Resilience, RestoreError, Role,
    Slot, StateMachine, Status, Storage, StorageError, Termination, Time, Timing, Verdict, WriteSeq,
};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The proposal that the puppet refuses.
pub const FIRST: ProposalId = ProposalId::new(ClientId::from_bits(7), 1);

/// What the puppet is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    Persist,
    Send(u64),
    SendEarly(u64),
    SendAfter(u64, u64),
    Decide(u64, Option<ProposalId>, Verdict),
    DecideEarly(u64, Option<ProposalId>, Verdict),
    DecidePayload(u64, Option<ProposalId>, Vec<u8>),
    /// Everything up to this slot, of which the puppet shows what it was told to show.
    DecideThrough(u64),
    /// The same, early.
    DecideThroughEarly(u64),
    /// Show every slot up to this one from now on.
    Show(u64),
    Install(u64, Vec<u8>),
    Snapshot,
    Read(u64, u64),
    SetTimer(u8, u64),
    CancelTimer(u8),
    Judge(u64),
    /// Refuse proposal 1 as settled, with this verdict.
    RefuseSettled(Verdict),
    RefuseBusy,
    Accuse,
    Announce(u64),
    /// What no honest peer says: `screen` refuses it.
    Nonsense,
}

/// What the puppet sends: which of its sends this is, and the write that it depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Line {
    Order(Order),
    Sent { number: u64, after: WriteSeq },
}

#[derive(Debug, Default)]
pub struct Puppet {
    pub durable: Vec<WriteSeq>,
    pub fired: Vec<(Time, u8)>,
    pub judged: Vec<(ProposalId, bool)>,
    pub compacted: Vec<(Slot, Bytes)>,
    /// Set these timers whenever one fires.
    pub on_timer: Vec<Order>,
    /// Decisions are shown up to this slot, with this payload.
    shown: Slot,
    nothing: Bytes,
    members: Members,
}

impl Puppet {
    fn obey(order: Order, on_timer: &mut Vec<Order>, out: &mut Out<Self>) {
        let peer = NodeId(2);
        let line = |number, after| Line::Sent { number, after };
        match order {
            Order::Persist => drop(out.persist(())),
            Order::Send(number) => out.send(peer, line(number, out.written())),
            Order::SendEarly(number) => out.send_early(peer, line(number, WriteSeq::ZERO)),
            Order::SendAfter(number, after) => {
                let after = WriteSeq(after.min(out.written().0));
                out.send_after(peer, line(number, after), after);
            }
            Order::Decide(slot, id, verdict) => {
                out.decide(Slot(slot), id, verdict, stamp(out.written()));
            }
            Order::DecideEarly(slot, id, verdict) => {
                out.decide_early(Slot(slot), id, verdict, stamp(WriteSeq::ZERO));
            }
            Order::DecidePayload(slot, id, payload) => {
                out.decide_early(Slot(slot), id, Verdict::Commit, payload.into());
            }
            Order::DecideThrough(through) => out.decide_through(Slot(through)),
            Order::DecideThroughEarly(through) => out.decide_through_early(Slot(through)),
            Order::Show(_) => unreachable!("it is for the puppet itself"),
            Order::Snapshot => out.snapshot(),
            Order::Install(through, bytes) => out.install(Slot(through), bytes.into()),
            Order::Read(id, at) => out.read_ready(ReadId(id), Slot(at)),
            Order::SetTimer(timer, at) => out.set_timer(timer, Time::from_nanos(at)),
            Order::CancelTimer(timer) => out.cancel_timer(timer),
            Order::Judge(number) => {
                out.judge(ProposalId { sequence: number, ..ProposalId::default() }, Bytes::new());
            }
            Order::RefuseSettled(verdict) => out.refuse(FIRST, Refusal::Settled { verdict }),
            Order::RefuseBusy => out.refuse(FIRST, Refusal::Busy),
            Order::Accuse => out.accuse(peer, Offence::Stranger),
            Order::Announce(voters) => out.members(Members::of((1..=voters).map(NodeId))),
            Order::Nonsense => on_timer.clear(),
        }
    }
}

/// The payload of a decision: the write that it depends on.
pub fn stamp(after: WriteSeq) -> Bytes {
    Bytes::copy_from_slice(&after.0.to_le_bytes())
}

/// The envelope of a snapshot with an empty session table, byte by byte.
pub fn envelope(state: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(state);
    bytes
}

impl ConsensusAlgorithm for Puppet {
    const NAME: &'static str = "puppet";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Half,
        timing: Timing::PartialSynchrony,
        termination: Termination::AfterStabilisation,
        reads: Reads::Barrier,
        membership: Membership::Static,
    };
    type Config = ();
    type Message = Line;
    type Record = ();
    type Timer = u8;

    fn validate((): &(), _members: &Members) -> Result<(), ConfigError> {
        Ok(())
    }

    fn restore(boot: Boot<Self>, _out: &mut Out<Self>) -> Result<Self, RestoreError> {
        Ok(Self { members: boot.members, ..Self::default() })
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { message: Line::Order(Order::Show(through)), .. } => self.shown = Slot(through),
            Input::Message { message: Line::Order(order), .. } => {
                Self::obey(order, &mut self.on_timer, out);
            }
            Input::Message { message: Line::Sent { .. }, .. } => {}
            Input::Timer(timer) => {
                self.fired.push((now, timer));
                for order in self.on_timer.clone() {
                    Self::obey(order, &mut self.on_timer, out);
                }
            }
            Input::Durable(seq) => self.durable.push(seq),
            Input::Judged { id, accept } => self.judged.push((id, accept)),
            Input::Compact { through, snapshot } => self.compacted.push((through, snapshot)),
            // A proposal tells what to do whenever a timer fires.
            Input::Propose { payload, .. } => {
                self.on_timer = consensus_core::wire::decode(&payload, 1 << 20).unwrap();
            }
            Input::Read(_)
            | Input::Reconfigure { .. }
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Suspect { .. } => {}
        }
    }

    fn decided(&self, from: Slot, through: Slot) -> impl Iterator<Item = Decision<'_>> {
        let (verdict, payload) = (Verdict::Commit, &self.nothing);
        let slots = (from.0..=through.min(self.shown).0).map(Slot);
        slots.map(move |slot| Decision { slot, id: None, verdict, payload })
    }

    fn status(&self) -> Status {
        Status {
            role: Role::Peer,
            leader: None,
            epoch: Epoch::ZERO,
            decided: Slot::ZERO,
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    fn screen((): &(), _from: NodeId, message: &Line) -> Result<(), Offence> {
        if *message == Line::Order(Order::Nonsense) { Err(Offence::Malformed("nonsense")) } else { Ok(()) }
    }
}

/// What the outside world has seen, and what the disk says.
#[derive(Clone, Default)]
pub struct Stage {
    pub durable: Rc<Cell<u64>>,
    pub written: Rc<Cell<u64>>,
    pub broken: Rc<Cell<bool>>,
    pub sent: Rc<RefCell<Vec<u64>>>,
    pub applied: Rc<RefCell<Vec<u64>>>,
    pub recovered: Rc<RefCell<Option<(Slot, Bytes)>>>,
    /// Snapshots are written out beside the node.
    pub defers: Rc<Cell<bool>>,
}

impl Network<Line> for Stage {
    fn send(&mut self, _to: NodeId, message: Line) {
        let Line::Sent { number, after } = message else { panic!("the puppet never sends orders") };
        assert!(after.0 <= self.durable.get(), "send {number} left before {after} was durable");
        self.sent.borrow_mut().push(number);
    }
}

impl Storage<()> for Stage {
    fn recover(&mut self) -> Result<Recovered<()>, StorageError> {
        Ok(Recovered { snapshot: self.recovered.borrow().clone(), records: Vec::new() })
    }

    fn append(&mut self, seq: WriteSeq, (): ()) {
        assert_eq!(seq.0, self.written.get() + 1, "writes arrive in order");
        self.written.set(seq.0);
    }

    fn checkpoint(&mut self, seq: WriteSeq, _through: Slot, _snapshot: Bytes, _tail: Vec<()>) {
        self.append(seq, ());
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        if self.broken.get() {
            let (place, cause) = ("stage".into(), "the lights are out".into());
            return Err(StorageError::Io { operation: "sync", place, cause });
        }
        Ok(WriteSeq(self.durable.get()))
    }
}

impl StateMachine for Stage {
    fn judge(&mut self, id: ProposalId, _payload: &Bytes) -> bool {
        id.sequence % 2 == 1
    }

    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        if let Ok(after) = decision.payload.as_ref().try_into() {
            let after = u64::from_le_bytes(after);
            assert!(after <= self.durable.get(), "{} was applied before w{after} was durable", decision.slot);
        }
        self.applied.borrow_mut().push(decision.slot.0);
        let count = self.applied.borrow().len() as u64;
        Bytes::copy_from_slice(&count.to_le_bytes())
    }

    fn query(&self, _request: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Bytes {
        Bytes::from_static(b"state")
    }

    /// How much was applied by then.
    fn freeze(&self) -> Option<Frozen> {
        let count = self.applied.borrow().len();
        let write = move |mut bytes: Vec<u8>| {
            bytes.extend_from_slice(format!("state {count}").as_bytes());
            (count < 100).then(|| bytes.into())
        };
        self.defers.get().then(|| Box::new(write) as Frozen)
    }

    fn install(&mut self, through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        if snapshot.as_ref() == b"foreign" {
            return Err(InstallError("it is foreign".into()));
        }
        self.applied.borrow_mut().push(through.0);
        Ok(())
    }
}

pub type PuppetNode = Node<Puppet, Stage, Stage, Stage>;

/// A node whose network, disk and state machine are all the stage.
pub fn open(stage: &Stage) -> Result<PuppetNode, NodeError> {
    open_with(stage, u64::MAX)
}

pub fn open_with(stage: &Stage, compact_after_bytes: u64) -> Result<PuppetNode, NodeError> {
    open_bounded(stage, compact_after_bytes, u64::MAX)
}

pub fn open_bounded(
    stage: &Stage,
    compact_after_bytes: u64,
    compact_after_slots: u64,
) -> Result<PuppetNode, NodeError> {
    let config = NodeConfig::<Puppet> {
        compact_after_bytes,
        compact_after_slots,
        defers_snapshots: stage.defers.get(),
        ..NodeConfig::new(NodeId(1), Members::of([NodeId(1), NodeId(2)]), 0)
    };
    Node::open(config, Time::ZERO, stage.clone(), stage.clone(), stage.clone())
}

pub fn order(order: Order) -> Event<Line> {
    Event::Message { from: NodeId(2), message: Line::Order(order) }
}
