//! raft-rs (the library below TiKV) with its own in-memory storage, configured for throughput.

use super::{Contestant, KEEP_ENTRIES, PATIENCE, Payloads, Tally};
use anyhow::{Context, Result, bail};
use protobuf::Message as _;
use raft_rs::eraftpb::{Entry, EntryType, Message};
use raft_rs::storage::MemStorage;
use raft_rs::{Config, RawNode, StateRole};

pub(super) struct RaftRs {
    nodes: Vec<Node>,
    inbox: Vec<Message>,
    /// Where the bytes of all delivered messages are summed up, while somebody asks for it.
    wire: Option<usize>,
}

struct Node {
    raft: RawNode<MemStorage>,
    tally: Tally,
    cut_at: u64,
}

impl Node {
    fn build(id: u64) -> Result<Self> {
        let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
        let config = Config {
            id,
            election_tick: 10,
            heartbeat_tick: 1,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            batch_append: true,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        Ok(Self { raft: RawNode::new(&config, storage, &logger)?, tally: Tally::default(), cut_at: 0 })
    }

    /// Carries out everything that is ready; the storage is memory, so everything is durable at once.
    fn settle(&mut self, outbox: &mut Vec<Message>) -> Result<()> {
        while self.raft.has_ready() {
            let mut ready = self.raft.ready();
            outbox.append(&mut ready.take_messages());
            self.apply(ready.take_committed_entries());
            {
                let storage = self.raft.raft.raft_log.store.clone();
                let mut storage = storage.wl();
                storage.append(ready.entries())?;
                if let Some(state) = ready.hs() {
                    storage.set_hardstate(state.clone());
                }
            }
            outbox.append(&mut ready.take_persisted_messages());
            let mut light = self.raft.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.raft.raft.raft_log.store.wl().mut_hard_state().set_commit(commit);
            }
            outbox.append(&mut light.take_messages());
            self.apply(light.take_committed_entries());
            self.raft.advance_apply();
        }
        self.cut()
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            // A new leader's own entry is empty and nobody's command.
            if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
                self.tally.apply(&entry.data);
            }
        }
    }

    fn cut(&mut self) -> Result<()> {
        let applied = self.raft.raft.raft_log.applied;
        let keep = KEEP_ENTRIES as u64;
        if applied > self.cut_at + 2 * keep {
            // Followers may be one burst behind: the newer half stays.
            self.cut_at = applied - keep;
            self.raft.raft.raft_log.store.wl().compact(self.cut_at)?;
        }
        Ok(())
    }
}

impl RaftRs {
    pub(super) fn build() -> Result<Self> {
        let nodes = (1..=3).map(Node::build).collect::<Result<Vec<_>>>()?;
        let mut cluster = Self { nodes, inbox: Vec::new(), wire: None };
        cluster.leader()?.raft.campaign()?;
        for _ in 0..100 {
            cluster.deliver()?;
        }
        if cluster.leader()?.raft.raft.state != StateRole::Leader {
            bail!("raft-rs elected no leader");
        }
        Ok(cluster)
    }

    fn leader(&mut self) -> Result<&mut Node> {
        self.nodes.first_mut().context("there is no first node")
    }

    /// Delivers everything that is on its way; false if there was nothing.
    fn deliver(&mut self) -> Result<bool> {
        let mut outbox = Vec::new();
        for node in &mut self.nodes {
            node.settle(&mut outbox)?;
        }
        self.inbox.append(&mut outbox);
        let any = !self.inbox.is_empty();
        for message in self.inbox.drain(..) {
            if let Some(wire) = &mut self.wire {
                *wire += message.compute_size() as usize;
            }
            let to = usize::try_from(message.to)?.wrapping_sub(1);
            if let Some(node) = self.nodes.get_mut(to) {
                node.raft.step(message)?;
            }
        }
        Ok(any)
    }
}

impl Contestant for RaftRs {
    fn burst(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        for _ in 0..count {
            // No identity beside the payload: the caller would know its proposal by its index.
            let payload = payloads.next().to_vec();
            self.leader()?.raft.propose(Vec::new(), payload)?;
        }
        let goal = payloads.expected.count;
        for _ in 0..PATIENCE {
            let any = self.deliver()?;
            if self.nodes.iter().all(|node| node.tally.count == goal) {
                return Ok(());
            }
            if !any {
                for node in &mut self.nodes {
                    node.raft.tick();
                }
            }
        }
        bail!("raft-rs is stuck before {goal}")
    }

    fn tallies(&self) -> [Tally; 3] {
        let mut tallies = [Tally::default(); 3];
        for (tally, node) in tallies.iter_mut().zip(&self.nodes) {
            *tally = node.tally;
        }
        tallies
    }

    fn wire_bytes(&mut self, payloads: &mut Payloads, count: usize) -> Result<Option<usize>> {
        self.wire = Some(0);
        self.burst(payloads, count)?;
        while self.deliver()? {}
        Ok(self.wire.take())
    }
}
