//! Random schedules: loss, repetition, reordering, slow disks, crashes that lose what was not durable, cut links. After each
//! step the safety properties of the paper (figure 3) are checked, and at the end that service resumes.

use crate::common::{Cluster, n, proposal};
use consensus_core::{Bytes, Epoch, Event, NodeId, ReadId, Reply, Role, Slot};
use raft::Config;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

/// `RAFT_MUTANT=VoteNotPersisted cargo test -p raft --features mutants --test suite schedules` must fail.
#[cfg(all(feature = "mutants", debug_assertions))]
fn mutant() -> Option<raft::Mutant> {
    let name = std::env::var("RAFT_MUTANT").ok()?;
    let named = raft::Mutant::ALL.iter().copied().find(|mutant| format!("{mutant:?}") == name);
    Some(named.expect("the name of a mutant"))
}

struct Schedule {
    cluster: Cluster,
    rng: ChaCha8Rng,
    leaders: BTreeMap<Epoch, NodeId>,
    decided: BTreeMap<u64, Bytes>,
    checked: BTreeMap<NodeId, usize>,
    /// What was decided anywhere when a read was asked.
    reads: BTreeMap<u64, Slot>,
    replies_seen: usize,
    highest: Slot,
    proposals: u64,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let size = [1, 2, 3, 3, 3, 5, 5][(rng.next_u64() % 7) as usize];
        let mut config = Config { eager_commit: rng.next_u64() % 2 == 0, ..Config::default() };
        if rng.next_u64() % 2 == 0 {
            config.max_in_flight_appends = 2;
            config.max_append_entries = 1 + (rng.next_u64() % 3) as usize;
        }
        config.stable_leadership = rng.next_u64() % 4 != 0;
        #[cfg(all(feature = "mutants", debug_assertions))]
        {
            config.mutant = mutant();
        }
        config.snapshot_chunk_bytes = 40;
        config.retained_entries = (rng.next_u64() % 6) as usize;
        let mut cluster = Cluster::with(size, config, true, seed);
        cluster.compact_after_bytes = [200, 2_000, 1 << 20][(rng.next_u64() % 3) as usize];
        Self {
            cluster,
            rng,
            leaders: BTreeMap::new(),
            decided: BTreeMap::new(),
            checked: BTreeMap::new(),
            reads: BTreeMap::new(),
            replies_seen: 0,
            highest: Slot::ZERO,
            proposals: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    fn somebody(&mut self) -> NodeId {
        let size = self.cluster.members.voter_count() as u64;
        n(1 + self.below(size))
    }

    fn step(&mut self) {
        match self.below(100) {
            0..40 => self.deliver(),
            40..58 => {
                let id = self.somebody();
                self.cluster.sync(id);
            }
            58..72 => self.propose(),
            72..76 => {
                let (id, read) = (self.somebody(), self.reads.len() as u64);
                self.reads.insert(read, self.highest);
                self.cluster.handle(id, Event::Read(ReadId(read)));
            }
            76..92 => self.pass_time(),
            92..94 => {
                // A failure detector, which knows nothing here.
                let (id, peer, suspected) = (self.somebody(), self.somebody(), self.below(4) > 0);
                self.cluster.handle(id, Event::Suspect { peer, suspected });
            }
            94..96 => {
                let id = self.somebody();
                if self.cluster.nodes.contains_key(&id) {
                    self.cluster.crash(id);
                    self.checked.remove(&id);
                }
            }
            96..98 => {
                let id = self.somebody();
                if self.cluster.disks.contains_key(&id) {
                    self.cluster.start(id);
                }
            }
            98 => {
                let link = (self.somebody(), self.somebody());
                self.cluster.cut.insert(link);
            }
            _ => self.cluster.heal(),
        }
        self.check();
    }

    /// Mostly in order; sometimes out of order, twice, or not at all.
    fn deliver(&mut self) {
        let waiting = self.cluster.wire.len() as u64;
        if waiting == 0 {
            return;
        }
        let fate = self.below(20);
        let place = if fate < 14 { 0 } else { self.below(waiting) as usize };
        let envelope = if fate == 18 {
            self.cluster.wire[place].clone()
        } else {
            self.cluster.wire.remove(place).unwrap()
        };
        if fate != 19 {
            self.cluster.deliver(envelope);
        }
        // A wire that nobody drains overflows.
        self.cluster.wire.truncate(400);
    }

    fn propose(&mut self) {
        let id = self.somebody();
        for _ in 0..=self.below(4) {
            self.proposals += 1;
            let payload = Bytes::from(format!("{}", self.proposals).into_bytes());
            let now = self.cluster.now;
            if let Some(node) = self.cluster.nodes.get_mut(&id) {
                let id = proposal(self.proposals);
                node.push(now, Event::Propose { id, payload }).unwrap();
            }
        }
        self.cluster.handle(id, Event::Tick);
    }

    fn pass_time(&mut self) {
        let ms = self.below(60);
        self.cluster.now += Duration::from_millis(ms);
        let id = self.somebody();
        self.cluster.handle(id, Event::Tick);
    }

    fn check(&mut self) {
        for (&id, node) in &self.cluster.nodes {
            let status = node.status();
            if status.role == Role::Leader {
                // Election safety.
                let known = *self.leaders.entry(status.epoch).or_insert(id);
                assert_eq!(known, id, "two leaders in {}", status.epoch);
            }
            self.highest = self.highest.max(status.decided);
            // State machine safety.
            let lines = &node.machine().lines;
            let seen = self.checked.entry(id).or_default();
            // A snapshot may have replaced them all.
            let from = if *seen <= lines.len() { *seen } else { 0 };
            for (slot, payload) in &lines[from..] {
                let known = self.decided.entry(*slot).or_insert_with(|| payload.clone());
                assert_eq!(known, payload, "slot {slot} was decided twice");
            }
            *seen = lines.len();
        }
        for (_, reply) in &self.cluster.replies[self.replies_seen..] {
            if let Reply::ReadReady { id, at } = reply {
                assert!(*at >= self.reads[&id.0], "a read missed what was decided before it");
            }
        }
        self.replies_seen = self.cluster.replies.len();
        assert_eq!(self.cluster.accusations, [], "correct nodes are never accused");
    }

    /// Log matching: where two logs agree, they agree on everything before.
    fn check_logs(&self) {
        let logs: Vec<_> = self.cluster.nodes.values().map(|node| node.algorithm()).collect();
        for (index, a) in logs.iter().enumerate() {
            for b in &logs[index + 1..] {
                let end = a.last().slot.min(b.last().slot).0;
                let terms = |slot| (a.term_at(Slot(slot)), b.term_at(Slot(slot)));
                let Some(agreed) = (1..=end).rev().find(|&slot| {
                    let (x, y) = terms(slot);
                    x.is_some() && x == y
                }) else {
                    continue;
                };
                for slot in 1..agreed {
                    if let (Some(x), Some(y)) = terms(slot) {
                        assert_eq!(x, y, "logs that agree at {agreed} differ at {slot}");
                    }
                }
            }
        }
    }

    /// Once everything works again, so does the service, and everybody learns everything.
    fn recover(&mut self) {
        self.cluster.heal();
        let down: Vec<NodeId> = self.cluster.disks.keys().copied().collect();
        for id in down {
            self.cluster.start(id);
        }
        let everybody: Vec<NodeId> = self.cluster.members.iter().collect();
        let end = self.cluster.now + Duration::from_millis(20_000);
        while self.cluster.now < end {
            self.cluster.now += Duration::from_millis(10);
            for &id in &everybody {
                self.cluster.handle(id, Event::Tick);
                self.cluster.sync(id);
            }
            for _ in 0..self.cluster.wire.len() {
                let envelope = self.cluster.wire.pop_front().unwrap();
                self.cluster.deliver(envelope);
            }
            self.check();
        }
        self.check_logs();
        let [leader] = self.cluster.leaders()[..] else { panic!("{:?}", self.cluster.leaders()) };
        let decided = self.cluster.nodes[&leader].status().decided;
        assert!(decided > Slot::ZERO && decided >= self.highest);
        let peers: Vec<_> = self.cluster.nodes[&leader].algorithm().peers().collect();
        for node in self.cluster.nodes.values() {
            let algorithm = node.algorithm();
            assert_eq!(node.status().decided, decided, "{leader} leads {peers:?}; behind is {algorithm:?}");
            assert_eq!(node.applied(), decided);
            assert_eq!(node.machine(), self.cluster.nodes[&leader].machine());
        }
    }
}

// tests [R1] [R2] [R9] [R10] [R11] [R12] [R13] [R19] [R24]
#[test]
fn random_schedules_are_safe_and_service_resumes() {
    let (from, count) = match std::env::var("RAFT_SEED") {
        Ok(seed) => (seed.parse().unwrap(), 1),
        Err(_) => (0, std::env::var("RAFT_SEEDS").map_or(150, |count| count.parse().unwrap())),
    };
    let mut decided = 0;
    for seed in from..from + count {
        let run = std::panic::catch_unwind(|| {
            let mut schedule = Schedule::new(seed);
            for step in 0..2_000 {
                schedule.step();
                if step % 50 == 0 {
                    schedule.check_logs();
                }
            }
            schedule.recover();
            schedule.decided.len()
        });
        match run {
            Ok(count) => decided += count,
            Err(_) => panic!("replay: RAFT_SEED={seed} cargo test -p raft --test suite schedules"),
        }
    }
    assert!(decided > 0, "nothing was ever decided: the test tests nothing");
}
