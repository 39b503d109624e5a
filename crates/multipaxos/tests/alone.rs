//! One node of the log, alone with what a test tells it.
#![allow(unreachable_pub)]

use crate::common::{Cluster, Envelope, n, proposal};
use consensus_core::{Bytes, Event, Role, Slot};
use multipaxos::{
    Accept, Accepted, Ballot, Config, Heartbeat, Learnt, Message, MultiPaxos, Prepare, Promise, Tell, Value,
    Values, Votes,
};
use std::time::Duration;

pub fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round, node: n(node) }
}

pub fn command(text: &'static str) -> Value {
    Value::Command {
        id: proposal(1_000 + u64::from(text.as_bytes()[0])),
        payload: Bytes::from_static(text.as_bytes()),
    }
}

pub fn values(texts: &[&'static str]) -> Values {
    texts.iter().map(|text| if text.is_empty() { Value::Noop } else { command(text) }).collect()
}

pub fn votes(first: u64, ballot: Ballot, texts: &[&'static str]) -> Votes {
    Votes { first: Slot(first), ballot, values: values(texts) }
}

pub fn prepare(ballot: Ballot, from: u64) -> Message {
    Message::Prepare(Prepare { configuration: 1, ballot, from: Slot(from), promises: 2, called_by: None })
}

pub fn promise(ballot: Ballot, from: u64, chosen: u64, votes: Vec<Votes>) -> Message {
    let promise = Promise { ballot, from: Slot(from), chosen: Slot(chosen), votes, next: None };
    Message::Promise(Box::new(promise))
}

pub fn accept(ballot: Ballot, first: u64, chosen: u64, texts: &[&'static str]) -> Message {
    let (first, chosen, values) = (Slot(first), Slot(chosen), values(texts));
    Message::Accept(Accept { configuration: 1, ballot, first, chosen, probe: 0, values })
}

pub fn heartbeat(ballot: Ballot, next: u64, chosen: u64, probe: u64) -> Message {
    let (start, next, chosen) = (Slot(1), Slot(next), Slot(chosen));
    Message::Heartbeat(Heartbeat { configuration: 1, ballot, start, next, chosen, probe })
}

pub fn accepted(ballot: Ballot, first: u64, durable: u64, chosen: u64, probe: u64) -> Message {
    let (first, durable, chosen) = (Slot(first), Slot(durable), Slot(chosen));
    Message::Accepted(Accepted { ballot, first, durable, chosen, probe })
}

pub fn learnt(first: u64, chosen: u64, texts: &[&'static str]) -> Message {
    Message::Learnt(Learnt { first: Slot(first), chosen: Slot(chosen), values: values(texts) })
}

/// "I hear nobody", in answer to that question.
pub fn unhappy(round: u64, ballot: Ballot, chosen: u64) -> Tell {
    Tell { round, configuration: 1, ballot, leader: None, happy: false, chosen: Slot(chosen) }
}

/// Node 1 of so many. The others are down, and the test speaks for them.
pub struct Alone {
    pub cluster: Cluster<MultiPaxos>,
    size: u64,
}

impl Alone {
    pub fn new(size: u64, hold: bool) -> Self {
        Self::with(size, Config::default(), hold)
    }

    pub fn with(size: u64, config: Config, hold: bool) -> Self {
        let mut cluster = Cluster::with(size, config, hold, 1);
        (2..=size).for_each(|id| cluster.crash(n(id)));
        Self { cluster, size }
    }

    pub fn node(&self) -> &MultiPaxos {
        self.cluster.nodes[&n(1)].algorithm()
    }

    pub fn role(&self) -> Role {
        self.cluster.nodes[&n(1)].status().role
    }

    pub fn decided(&self) -> u64 {
        self.cluster.nodes[&n(1)].status().decided.0
    }

    pub fn lines(&self) -> Vec<(u64, &[u8])> {
        self.cluster.diary(n(1)).iter().map(|(slot, line)| (*slot, &line[..])).collect()
    }

    /// Hears it, and returns what it says to that.
    pub fn hear(&mut self, from: u64, message: Message) -> Vec<Message> {
        self.cluster.wire.clear();
        self.cluster.deliver(Envelope { from: n(from), to: n(1), message });
        self.said()
    }

    pub fn said(&mut self) -> Vec<Message> {
        self.cluster.wire.drain(..).map(|envelope| envelope.message).collect()
    }

    /// What it says to node `to`.
    pub fn said_to(&mut self, to: u64) -> Vec<Message> {
        let to = |envelope: &Envelope<Message>| envelope.to == n(to);
        let said = self.cluster.wire.iter().filter(|envelope| to(envelope));
        let said = said.map(|envelope| envelope.message.clone()).collect();
        self.cluster.wire.clear();
        said
    }

    pub fn sync(&mut self) -> Vec<Message> {
        self.cluster.wire.clear();
        self.cluster.sync(n(1));
        self.said()
    }

    /// What it says when so much time has passed.
    pub fn wait(&mut self, ms: u64) -> Vec<Message> {
        self.cluster.wire.clear();
        self.cluster.now += Duration::from_millis(ms);
        self.cluster.handle(n(1), Event::Tick);
        self.said()
    }

    pub fn propose(&mut self, number: u64, payload: &'static [u8]) -> Vec<Message> {
        self.cluster.wire.clear();
        self.cluster.propose(n(1), number, payload);
        self.said()
    }

    pub fn read(&mut self, number: u64) -> Vec<Message> {
        self.cluster.wire.clear();
        self.cluster.read(n(1), number);
        self.said()
    }

    pub fn restart(&mut self) {
        self.cluster.crash(n(1));
        self.cluster.start(n(1));
        self.cluster.wire.clear();
    }

    /// Waits until it asks how the others fare; returns the number of the question.
    pub fn asked(&mut self) -> u64 {
        for _ in 0..2_000 {
            for message in self.wait(1) {
                if let Message::Ask(ask) = message {
                    return ask.round;
                }
            }
        }
        panic!("it asks nobody");
    }

    /// Makes it ask for promises, of a ballot above `known`, which the others tell it.
    pub fn candidate(&mut self, known: Ballot) -> Ballot {
        let round = self.asked();
        for from in 2..=self.size {
            self.hear(from, Message::Tell(unhappy(round, known, 0)));
        }
        self.cluster.sync(n(1));
        assert_eq!(self.role(), Role::Candidate);
        self.node().promised()
    }

    /// Makes it lead a ballot in which nothing was accepted before.
    pub fn lead(&mut self) -> Ballot {
        let ballot = self.candidate(Ballot::ZERO);
        for from in 2..=self.size / 2 + 1 {
            self.hear(from, promise(ballot, self.decided() + 1, self.decided(), Vec::new()));
        }
        assert_eq!(self.role(), Role::Leader);
        self.cluster.wire.clear();
        ballot
    }
}
