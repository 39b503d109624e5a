//! omnipaxos with its own in-memory storage.

use super::{Contestant, KEEP_ENTRIES, PATIENCE, Payloads, Tally};
use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

/// Nothing but the payload: ours carries the identity of the proposal besides.
#[derive(Clone, Debug)]
struct Command(Bytes);

impl Entry for Command {
    type Snapshot = NoSnapshot;
}

type Node = OmniPaxos<Command, MemoryStorage<Command>>;

pub(super) struct Omni {
    nodes: Vec<Node>,
    applied: [usize; 3],
    tallies: [Tally; 3],
    leader: usize,
    outbox: Vec<Message<Command>>,
    trimmed: usize,
}

impl Omni {
    pub(super) fn build() -> Result<Self> {
        let cluster = ClusterConfig { configuration_id: 1, nodes: vec![1, 2, 3], flexible_quorum: None };
        let mut nodes = Vec::new();
        for pid in 1..=3 {
            let server = ServerConfig {
                pid,
                election_tick_timeout: 1,
                leader_priority: u32::from(pid == 1),
                ..ServerConfig::default()
            };
            let node = cluster.clone().build_for_server(server, MemoryStorage::default());
            nodes.push(node.map_err(|error| anyhow!("omnipaxos refused its configuration: {error}"))?);
        }
        let mut omni = Self {
            nodes,
            applied: [0; 3],
            tallies: [Tally::default(); 3],
            leader: 0,
            outbox: Vec::new(),
            trimmed: 0,
        };
        omni.elect()?;
        Ok(omni)
    }

    fn elect(&mut self) -> Result<()> {
        for _ in 0..1_000 {
            for node in &mut self.nodes {
                node.tick();
            }
            while self.deliver() {}
            let leaders: Vec<_> = self.nodes.iter().map(Node::get_current_leader).collect();
            if let Some(Some((leader, true))) = leaders.first()
                && leaders.iter().all(|seen| *seen == Some((*leader, true)))
            {
                self.leader = usize::try_from(*leader)? - 1;
                return Ok(());
            }
        }
        bail!("omnipaxos elected no leader within 1,000 ticks")
    }

    /// Delivers everything that is on its way; false if there was nothing.
    fn deliver(&mut self) -> bool {
        let mut messages = std::mem::take(&mut self.outbox);
        for node in &mut self.nodes {
            node.take_outgoing_messages(&mut messages);
        }
        let any = !messages.is_empty();
        for message in messages.drain(..) {
            let to = usize::try_from(message.get_receiver()).unwrap_or(0);
            if let Some(node) = self.nodes.get_mut(to.wrapping_sub(1)) {
                node.handle_incoming(message);
            }
        }
        self.outbox = messages;
        any
    }

    fn apply(&mut self) {
        for ((node, applied), tally) in self.nodes.iter().zip(&mut self.applied).zip(&mut self.tallies) {
            if node.get_decided_idx() <= *applied {
                continue;
            }
            for entry in node.read_decided_suffix(*applied).unwrap_or_default() {
                *applied += 1;
                if let LogEntry::Decided(command) = entry {
                    tally.apply(&command.0);
                }
            }
        }
    }

    fn cut(&mut self) -> Result<()> {
        let decided = self.applied.iter().copied().min().unwrap_or(0);
        if decided < self.trimmed + KEEP_ENTRIES {
            return Ok(());
        }
        if let Some(leader) = self.nodes.get_mut(self.leader) {
            leader.trim(Some(decided)).map_err(|error| anyhow!("omnipaxos did not trim: {error:?}"))?;
        }
        while self.deliver() {}
        self.trimmed = decided;
        Ok(())
    }
}

impl Contestant for Omni {
    fn burst(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        let Some(leader) = self.nodes.get_mut(self.leader) else { bail!("there is no leader") };
        for _ in 0..count {
            let command = Command(Bytes::copy_from_slice(payloads.next()));
            leader.append(command).map_err(|_| anyhow!("omnipaxos refused a proposal"))?;
        }
        let goal = payloads.expected.count;
        for _ in 0..PATIENCE {
            let any = self.deliver();
            self.apply();
            if self.tallies.iter().all(|tally| tally.count == goal) {
                return self.cut();
            }
            if !any {
                self.nodes.iter_mut().for_each(Node::tick);
            }
        }
        bail!("omnipaxos is stuck: {:?} of {goal}", self.tallies)
    }

    fn tallies(&self) -> [Tally; 3] {
        self.tallies
    }
}
