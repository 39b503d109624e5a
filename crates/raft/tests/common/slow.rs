//! Links that take time: each node has one way out, which carries one message after the other.

use super::{Cluster, Envelope, n};
use consensus_core::{Event, NodeId, Role, Slot, Time, wire};
use raft::{Config, Message, Mode};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a message costs on the wire beside itself.
const HEAD_BYTES: usize = 40;

/// A group behind such links.
pub struct Slow {
    pub cluster: Cluster,
    bytes_per_second: u64,
    latency: Duration,
    free: BTreeMap<NodeId, Time>,
    under_way: BTreeMap<(Time, u64), (Time, Envelope)>,
    count: u64,
    /// How long the slowest heartbeat took.
    slowest_heartbeat: Duration,
    /// Somebody was a candidate.
    was_disturbed: bool,
}

impl Slow {
    pub fn new(cluster: Cluster, bytes_per_second: u64, latency: Duration) -> Self {
        Self {
            cluster,
            bytes_per_second,
            latency,
            free: BTreeMap::new(),
            under_way: BTreeMap::new(),
            count: 0,
            slowest_heartbeat: Duration::ZERO,
            was_disturbed: false,
        }
    }

    fn dispatch(&mut self) {
        while let Some(envelope) = self.cluster.wire.pop_front() {
            let size = (wire::encode(&envelope.message).len() + HEAD_BYTES) as u64;
            let now = self.cluster.now;
            let free = self.free.entry(envelope.from).or_insert(now);
            *free = (*free).max(now) + Duration::from_nanos(size * 1_000_000_000 / self.bytes_per_second);
            let arrival = (*free + self.latency, self.count);
            self.under_way.insert(arrival, (now, envelope));
            self.count += 1;
        }
    }

    /// The next message arrives, or somebody wakes.
    pub fn step(&mut self) {
        self.dispatch();
        let (wakes, id) = self.cluster.next_deadline().unwrap();
        match self.under_way.first_entry().filter(|entry| entry.key().0 <= wakes) {
            Some(entry) => {
                self.cluster.now = self.cluster.now.max(entry.key().0);
                let (left, envelope) = entry.remove();
                if matches!(&envelope.message, Message::Append(append) if append.entries.is_empty()) {
                    self.slowest_heartbeat = self.slowest_heartbeat.max(self.cluster.now.since(left));
                }
                self.cluster.deliver(envelope);
            }
            None => {
                self.cluster.now = self.cluster.now.max(wakes);
                self.cluster.handle(id, Event::Tick);
            }
        }
        self.was_disturbed |= self.cluster.nodes.values().any(|node| node.status().role == Role::Candidate);
    }
}

/// What was seen while a snapshot was on its way.
pub struct Seen {
    pub took: Duration,
    pub slowest_heartbeat: Duration,
    pub was_disturbed: bool,
    /// The most bytes of it that were in flight.
    pub most_in_flight: usize,
}

/// A group of three in which one lacks a snapshot of `bytes`, and the ways out are slow. Runs until it has arrived.
pub fn bring_up(bytes: usize, bytes_per_second: u64, latency: Duration, config: Config) -> Seen {
    let mut cluster = Cluster::with(3, Config { retained_entries: 0, ..config }, false, 1);
    cluster.compact_after_bytes = 1_000;
    for id in (1..=3).map(n) {
        cluster.crash(id);
        cluster.start(id);
    }
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    let payload: &'static [u8] = vec![7; bytes / 10].leak();
    for number in 1..=11 {
        cluster.propose(leader, number, payload);
        cluster.settle();
    }
    cluster.run_for_ms(500);
    assert_eq!(cluster.nodes[&leader].algorithm().term_at(Slot(3)), None, "the log was cut");
    cluster.start(away);
    let began = cluster.now;
    let mut slow = Slow::new(cluster, bytes_per_second, latency);
    let mut most_in_flight = 0;
    while slow.cluster.diary(away).is_empty() {
        slow.step();
        assert!(slow.cluster.now.since(began) < Duration::from_secs(600), "it never arrives");
        let mut peers = slow.cluster.nodes[&leader].algorithm().peers();
        let peer = peers.find(|peer| peer.id == away && peer.mode == Mode::Snapshot);
        most_in_flight = most_in_flight.max(peer.map_or(0, |peer| peer.in_flight_bytes));
    }
    let Slow { slowest_heartbeat, was_disturbed, .. } = slow;
    let took = slow.cluster.now.since(began);
    while slow.cluster.diary(away) != slow.cluster.diary(leader) {
        slow.step();
    }
    Seen { took, slowest_heartbeat, was_disturbed, most_in_flight }
}
