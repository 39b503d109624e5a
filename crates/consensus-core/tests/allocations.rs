//! In a steady state the node itself allocates nothing, whatever an algorithm persists, sends, decides or times.

use crate::common::heap::allocations;
use crate::common::puppet::Puppet;
use consensus_core::{
    Boot, Bytes, ConfigError, ConsensusAlgorithm, Decision, Epoch, Event, Guarantees, In, Input,
    InstallError, Members, Network, Node, NodeConfig, NodeId, Out, Recovered, RestoreError, Role, Slot,
    StateMachine, Status, Storage, StorageError, Time, Verdict, WriteSeq,
};
use std::time::Duration;

/// Answers each message like a follower: a record, an acknowledgement, a decision, a timer set anew.
struct Busy {
    decided: Slot,
}

impl ConsensusAlgorithm for Busy {
    const NAME: &'static str = "busy";
    const GUARANTEES: Guarantees = Puppet::GUARANTEES;
    type Config = ();
    type Message = u64;
    type Record = u64;
    type Timer = u8;

    fn validate((): &(), _members: &Members) -> Result<(), ConfigError> {
        Ok(())
    }

    fn restore(_boot: Boot<Self>, _out: &mut Out<Self>) -> Result<Self, RestoreError> {
        Ok(Self { decided: Slot::ZERO })
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        if let Input::Message { from, message } = input {
            out.persist(message);
            out.send(from, message);
            self.decided = self.decided.next();
            out.decide(self.decided, None, Verdict::Commit, Bytes::from_static(b"command"));
            out.set_timer(1, now + Duration::from_nanos(1));
            out.set_timer(2, now + Duration::from_nanos(10));
        }
    }

    fn status(&self) -> Status {
        let (role, decided, members) = (Role::Follower, self.decided, Members::default());
        Status { role, leader: None, epoch: Epoch::ZERO, decided, members, blocked: Vec::new() }
    }
}

/// Takes everything and keeps nothing; every other burst finds its writes durable.
#[derive(Default)]
struct Nowhere {
    written: WriteSeq,
    lag: bool,
}

impl Network<u64> for Nowhere {
    fn send(&mut self, _to: NodeId, _message: u64) {}
}

impl Storage<u64> for Nowhere {
    fn recover(&mut self) -> Result<Recovered<u64>, StorageError> {
        Ok(Recovered::default())
    }

    fn append(&mut self, seq: WriteSeq, _record: u64) {
        self.written = seq;
        self.lag = !self.lag;
    }

    fn checkpoint(&mut self, seq: WriteSeq, _through: Slot, _snapshot: Bytes, _tail: Vec<u64>) {
        self.written = seq;
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        Ok(if self.lag { WriteSeq(self.written.0 - 1) } else { self.written })
    }
}

impl StateMachine for Nowhere {
    fn apply(&mut self, _decision: Decision<'_>) -> Bytes {
        Bytes::new()
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

#[test]
fn a_steady_state_allocates_nothing() {
    let config = NodeConfig::<Busy>::new(NodeId(1), Members::of([NodeId(1), NodeId(2)]), 0);
    let nowhere = Nowhere::default;
    let mut node = Node::open(config, Time::ZERO, nowhere(), nowhere(), nowhere()).unwrap();
    let mut rounds = |from: u64, to: u64| {
        let burst = || {
            for now in from..to {
                let event = Event::Message { from: NodeId(2), message: now };
                node.handle(Time::from_nanos(now), event).unwrap();
                node.handle(Time::from_nanos(now), Event::Tick).unwrap();
                assert_eq!(node.deadline(), Some(Time::from_nanos(now + 1)));
            }
        };
        allocations(burst).0
    };
    let warming = rounds(0, 100);
    assert!(warming > 0, "the buffers grow to their size once, or nothing is counted");
    assert_eq!(rounds(100, 10_000), 0);
    assert!(node.applied() >= Slot(9_999));
}
