//! A group with a witness at work, step by step, and what becomes of it when somebody is lost for good at one of them.

use super::{Cluster, n, proposal};
use consensus_core::{Bytes, Change, Event, Members, NodeId, Outcome, Reply, quorum};
use raft::{Config, Position};
use std::collections::BTreeSet;

pub const WITNESS: NodeId = NodeId(3);
/// More than any step proposes.
const LAST: u64 = 1_000_000;

pub fn two_and_one() -> Members {
    Members::of((1..=3).map(n)).with_witnesses([WITNESS])
}

/// What the group is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Writes,
    /// Leadership is handed to and fro.
    Elections,
    /// Another replica comes beside the first two and then for one of them, another witness for the first.
    Changes,
    /// The log is cut past a replica that is away for a while.
    Snapshots,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The others serve on, with everything that was acknowledged.
    Serves,
    /// They wait, since they are no quorum, or since only the lost one had what the witness knows of. With its disk back they
    /// serve on, with everything that was acknowledged.
    Waits,
    /// They stand still or have forgotten something, though they should not.
    Fails,
}

/// The changes that are asked for, one when the last is done.
pub fn changes() -> Vec<Change> {
    vec![
        Change::AddLearner(n(4)),
        Change::AddVoter(n(4)),
        Change::AddWitness(n(5)),
        Change::Remove(n(2)),
        Change::Replace(vec![n(4), n(1), n(5)]),
        Change::Remove(n(1)),
        Change::AddLearner(n(2)),
        Change::Replace(vec![n(2), n(4), n(5)]),
    ]
}

struct Scene {
    cluster: Cluster,
    work: Work,
    order: u64,
    turn: u64,
}

impl Scene {
    fn new(work: Work, order: u64, seed: u64, config: &Config) -> Self {
        let config = match work {
            Work::Snapshots => Config { retained_entries: 0, snapshot_chunk_bytes: 30, ..config.clone() },
            Work::Writes | Work::Elections | Work::Changes => config.clone(),
        };
        let mut cluster = Cluster::of(two_and_one(), config, false, seed);
        if work == Work::Snapshots {
            cluster.compact_after_bytes = 150;
            for id in (1..=3).map(n) {
                cluster.crash(id);
                cluster.start(id);
            }
        }
        if work == Work::Changes {
            cluster.join(n(4));
            cluster.join(n(5));
        }
        Self { cluster, work, order, turn: 0 }
    }

    /// One step: whatever comes next, the messages in some order.
    fn step(&mut self, number: u64) {
        let cluster = &mut self.cluster;
        if self.work == Work::Snapshots {
            match number {
                60 => cluster.isolate(n(2)),
                200 => cluster.heal(),
                _ => {}
            }
        }
        if !cluster.wire.is_empty() {
            let place = (number * self.order) as usize % cluster.wire.len();
            let envelope = cluster.wire.remove(place).unwrap();
            return cluster.deliver(envelope);
        }
        self.turn += 1;
        match (cluster.leaders()[..].first(), self.turn % 4) {
            (Some(&leader), 1) => propose(cluster, leader, number),
            (Some(&leader), 3) => self.act(leader, number),
            _ => {
                let (at, id) = cluster.next_deadline().unwrap();
                cluster.now = cluster.now.max(at);
                cluster.handle(id, Event::Tick);
            }
        }
    }

    fn act(&mut self, leader: NodeId, number: u64) {
        let cluster = &mut self.cluster;
        match self.work {
            Work::Writes | Work::Snapshots => propose(cluster, leader, number),
            Work::Elections => cluster.handle(leader, Event::Transfer { to: None }),
            Work::Changes => {
                let done = cluster.replies.iter().filter_map(done_change).collect::<BTreeSet<_>>().len();
                if let Some(change) = changes().into_iter().nth(done) {
                    cluster.reconfigure(leader, LAST + done as u64, change);
                }
            }
        }
    }
}

/// How many of the changes are done after so many steps.
pub fn changes_done_after(steps: u64, order: u64) -> usize {
    let mut scene = Scene::new(Work::Changes, order, steps, &Config::default());
    (0..steps).for_each(|number| scene.step(number));
    scene.cluster.replies.iter().filter_map(done_change).collect::<BTreeSet<_>>().len()
}

fn propose(cluster: &mut Cluster, at: NodeId, number: u64) {
    let payload = Bytes::from(number.to_le_bytes().to_vec());
    cluster.handle(at, Event::Propose { id: proposal(number), payload });
}

fn done_change((_, reply): &(NodeId, Reply)) -> Option<u64> {
    if let Reply::Done { id, outcome: Outcome::Noop, .. } = reply { Some(id.sequence) } else { None }
}

fn acknowledged(cluster: &Cluster) -> BTreeSet<u64> {
    let of = |(_, reply): &(NodeId, Reply)| {
        if let Reply::Done { id, outcome: Outcome::Applied(_), .. } = reply {
            Some(id.sequence)
        } else {
            None
        }
    };
    cluster.replies.iter().filter_map(of).collect()
}

/// Whether those who are left are a quorum, whichever of the members that somebody knows hold in the end.
fn is_quorum_left(known: &[Members], left: &[NodeId]) -> bool {
    let is_left = |half: &[NodeId]| {
        half.is_empty()
            || half.iter().filter(|node| left.contains(node)).count() >= quorum::majority(half.len())
    };
    known.iter().all(|members| is_left(members.voters()) && is_left(members.outgoing()))
}

/// Whether a replica that is left, and has a vote, holds all that the witnesses that are left know of.
fn is_copy_left(cluster: &Cluster, known: &[Members]) -> bool {
    let last = |id: &NodeId| cluster.nodes.get(id).map(|node| node.algorithm().last());
    known.iter().all(|members| {
        let is_witness = |id: &&NodeId| members.witnesses().contains(id);
        let replicas = members.voters().iter().filter(|id| !is_witness(id)).filter_map(last).max();
        let witnesses = members.voters().iter().filter(is_witness).filter_map(last).max();
        replicas.is_some_and(|replica| replica >= witnesses.unwrap_or(Position::ZERO))
    })
}

/// Whether a leader serves, with everything that was acknowledged and a proposal more.
fn serves(cluster: &mut Cluster, acknowledged: &BTreeSet<u64>) -> bool {
    cluster.settle();
    cluster.run_for_ms(8_000);
    let [leader] = cluster.leaders()[..] else { return false };
    propose(cluster, leader, LAST - 1);
    cluster.run_for_ms(500);
    let line = |payload: &Bytes| u64::from_le_bytes(payload[..].try_into().unwrap());
    let told: BTreeSet<u64> = cluster.diary(leader).iter().map(|(_, payload)| line(payload)).collect();
    told.is_superset(acknowledged) && told.contains(&(LAST - 1))
}

/// Loses somebody for good after so many steps.
pub fn lose(work: Work, victim: NodeId, steps: u64, order: u64, config: &Config) -> End {
    let mut scene = Scene::new(work, order, steps, config);
    (0..steps).for_each(|number| scene.step(number));
    let mut cluster = scene.cluster;
    cluster.heal();
    let acknowledged = acknowledged(&cluster);
    let known: Vec<Members> = cluster.nodes.values().map(|node| node.status().members).collect();
    cluster.crash(victim);
    let disk = cluster.disks.remove(&victim).unwrap();
    // What it had sent is lost with it, or half of that.
    let heir = n(1 + order % 3);
    cluster.wire.retain(|envelope| envelope.from != victim || (order > 3 && envelope.to == heir));
    let left: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    // Two replicas that were never out of contact are in sync.
    let should_serve =
        is_quorum_left(&known, &left) && (work != Work::Snapshots || is_copy_left(&cluster, &known));
    if serves(&mut cluster, &acknowledged) {
        return End::Serves;
    }
    cluster.disks.insert(victim, disk);
    cluster.start(victim);
    let waited = serves(&mut cluster, &acknowledged);
    if should_serve || !waited { End::Fails } else { End::Waits }
}
