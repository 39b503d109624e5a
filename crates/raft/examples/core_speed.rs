//! Commits per second of three nodes in one thread, with network and disk in memory: the cost of the protocol and of the
//! gate alone.
//!
//! ```text
//! cargo run --release -p raft --example core_speed
//! ```
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use consensus_core::{
    Bytes, ClientId, Decision, Event, InstallError, Members, Network, Node, NodeConfig, NodeId, ProposalId,
    Recovered, Reply, Role, Slot, StateMachine, Storage, StorageError, Time, WriteSeq,
};
use raft::{Config, Message, Raft, Record};
use std::time::{Duration, Instant};

/// Keeps nothing: what is measured is the core.
#[derive(Default)]
struct Sink {
    applied: u64,
}

impl StateMachine for Sink {
    fn apply(&mut self, _decision: Decision<'_>) -> Bytes {
        self.applied += 1;
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

/// A disk that is done at once, and whose bytes nobody reads back.
#[derive(Default)]
struct FastDisk {
    durable: WriteSeq,
    last: Option<Record>,
}

impl Storage<Record> for FastDisk {
    fn recover(&mut self) -> Result<Recovered<Record>, StorageError> {
        Ok(Recovered::default())
    }

    fn append(&mut self, seq: WriteSeq, record: Record) {
        self.last = Some(record);
        self.durable = seq;
    }

    fn checkpoint(&mut self, seq: WriteSeq, _through: Slot, _snapshot: Bytes, _tail: Vec<Record>) {
        self.durable = seq;
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        Ok(self.durable)
    }
}

#[derive(Default)]
struct Wire {
    sent: Vec<(NodeId, Message)>,
}

impl Network<Message> for Wire {
    fn send(&mut self, to: NodeId, message: Message) {
        self.sent.push((to, message));
    }
}

struct Trio {
    nodes: Vec<Node<Raft, Wire, FastDisk, Sink>>,
    inboxes: Vec<Vec<(NodeId, Message)>>,
    now: Time,
    messages: u64,
}

impl Trio {
    fn new(eager_commit: bool) -> Self {
        let members = Members::of((1..=3).map(NodeId));
        let open = |id| {
            let mut config = NodeConfig::<Raft>::new(NodeId(id), members.clone(), id);
            config.algorithm = Config { eager_commit, ..Config::default() };
            config.check_invariants = false;
            Node::open(config, Time::ZERO, Wire::default(), FastDisk::default(), Sink::default()).unwrap()
        };
        let nodes = (1..=3).map(open).collect();
        Self { nodes, inboxes: vec![Vec::new(); 3], now: Time::ZERO, messages: 0 }
    }

    fn collect(&mut self, index: usize) {
        let from = self.nodes[index].id();
        for (to, message) in self.nodes[index].network().sent.drain(..) {
            self.inboxes[to.0 as usize - 1].push((from, message));
            self.messages += 1;
        }
    }

    /// Hands each node everything that waits for it, as one burst. Returns whether anything moved.
    fn deliver(&mut self) -> bool {
        let mut moved = false;
        for index in 0..3 {
            if self.inboxes[index].is_empty() {
                continue;
            }
            moved = true;
            let mut inbox = std::mem::take(&mut self.inboxes[index]);
            for (from, message) in inbox.drain(..) {
                self.nodes[index].push(self.now, Event::Message { from, message }).unwrap();
            }
            self.inboxes[index] = inbox;
            self.nodes[index].flush(self.now).unwrap();
            self.collect(index);
        }
        moved
    }

    /// How many proposals were decided at `leader` since the last look.
    fn finished(&mut self, leader: usize) -> u64 {
        let mut finished = 0;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let done = node.replies().filter(|reply| matches!(reply, Reply::Done { .. })).count();
            finished += if index == leader { done as u64 } else { 0 };
        }
        finished
    }

    fn elect(&mut self) -> usize {
        loop {
            self.now += Duration::from_millis(10);
            for index in 0..3 {
                self.nodes[index].handle(self.now, Event::Tick).unwrap();
                self.collect(index);
            }
            while self.deliver() {}
            let leads = |node: &Node<Raft, _, _, _>| node.status().role == Role::Leader;
            if let Some(leader) = self.nodes.iter().position(leads) {
                return leader;
            }
        }
    }
}

/// Short windows: on a shared machine the best of them is the one that nobody disturbed.
const WINDOWS: usize = 20;
const WINDOW: Duration = Duration::from_millis(50);

fn measure(in_flight: u64, size: usize, eager_commit: bool) {
    let mut trio = Trio::new(eager_commit);
    let leader = trio.elect();
    for node in &mut trio.nodes {
        node.replies().count();
    }
    let payload = Bytes::from(vec![7; size]);
    let client = ClientId::anonymous(1);
    let (mut proposed, mut done) = (0, 0);
    trio.messages = 0;
    let mut windows = Vec::new();
    for _ in 0..WINDOWS {
        let (started, before) = (Instant::now(), done);
        while started.elapsed() < WINDOW {
            for _ in 0..100 {
                while proposed < done + in_flight {
                    proposed += 1;
                    let id = ProposalId::new(client, proposed);
                    let event = Event::Propose { id, payload: payload.clone() };
                    trio.nodes[leader].push(trio.now, event).unwrap();
                }
                trio.nodes[leader].flush(trio.now).unwrap();
                trio.collect(leader);
                while done + in_flight == proposed {
                    trio.deliver();
                    done += trio.finished(leader);
                }
            }
        }
        windows.push((done - before) as f64 / started.elapsed().as_secs_f64() / 1e6);
    }
    windows.sort_by(f64::total_cmp);
    println!(
        "{in_flight:>4} in flight, {size:>4} B, eager_commit {eager_commit:>5}: median {:>5.2}, best {:>5.2} M commits/s, \
         {:.2} messages/commit",
        windows[WINDOWS / 2],
        windows[WINDOWS - 1],
        trio.messages as f64 / done as f64,
    );
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    for eager_commit in [true, false] {
        for in_flight in if quick { vec![1] } else { vec![1, 256] } {
            for size in [16, 256] {
                measure(in_flight, size, eager_commit);
            }
        }
    }
}
