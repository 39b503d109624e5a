//! What happens to any group: the network, the clock, the disks and the clients are the plan's to play.

use crate::common::{Cluster, Envelope};
use crate::plan::Plan;
use consensus_core::{Bytes, ClientId, ConsensusAlgorithm, Event, NodeId, ReadId};
use std::time::Duration;

/// So many messages are on the wire at most; more are lost.
const WIRE: usize = 256;
/// So many requests a client sends in one run.
const REQUESTS: u64 = 24;

/// What clients have asked for so far.
#[derive(Default)]
pub(crate) struct Clients {
    asked: u64,
}

/// What request `number` asks for.
pub(crate) type Payload = fn(u64) -> Bytes;

impl Clients {
    /// A client's next request, at one member or at all.
    pub(crate) fn ask<A: ConsensusAlgorithm>(
        &mut self,
        cluster: &mut Cluster<A>,
        at: &[NodeId],
        payload: Payload,
    ) {
        if self.asked < REQUESTS {
            self.asked += 1;
            ask(cluster, at, self.asked, payload);
        }
    }
}

/// A client asks for request `number` at these members.
pub(crate) fn ask<A: ConsensusAlgorithm>(
    cluster: &mut Cluster<A>,
    at: &[NodeId],
    number: u64,
    payload: Payload,
) {
    let payload = payload(number);
    let id = A::name(ClientId::anonymous(7), number, &payload);
    for &node in at {
        cluster.handle(node, Event::Propose { id, payload: payload.clone() });
    }
}

/// One thing happens. What arrives by it is returned: it is the caller's to deliver.
pub(crate) fn happen<A: ConsensusAlgorithm>(
    cluster: &mut Cluster<A>,
    plan: &mut Plan<'_>,
    clients: &mut Clients,
    payload: Payload,
) -> Vec<Envelope<A::Message>> {
    cluster.wire.truncate(WIRE);
    let all: Vec<NodeId> = cluster.members.iter().collect();
    let node = all[plan.below(all.len())];
    let place = |plan: &mut Plan<'_>, cluster: &Cluster<A>| plan.below(cluster.wire.len());
    match plan.below(16) {
        0..=4 => {
            let count = (1 + plan.below(32)).min(cluster.wire.len());
            return cluster.wire.drain(..count).collect();
        }
        5 => {
            let place = place(plan, cluster);
            return cluster.wire.remove(place).into_iter().collect();
        }
        6 => {
            let place = place(plan, cluster);
            drop(cluster.wire.remove(place));
        }
        7 => {
            let place = place(plan, cluster);
            let again = cluster.wire.get(place).cloned();
            cluster.wire.extend(again);
        }
        8 | 9 => {
            if let Some((at, id)) = cluster.next_deadline() {
                cluster.now = cluster.now.max(at);
                cluster.handle(id, Event::Tick);
            }
        }
        10 => {
            cluster.now += Duration::from_millis(1 << plan.below(13));
            all.iter().for_each(|&id| cluster.handle(id, Event::Tick));
        }
        11 => {
            if cluster.disks.is_empty() {
                cluster.crash(node);
            } else if let Some((&id, _)) = cluster.disks.first_key_value() {
                cluster.start(id);
            }
        }
        12 => clients.ask(cluster, &[node], payload),
        13 => clients.ask(cluster, &all, payload),
        14 => all.iter().for_each(|&id| cluster.sync(id)),
        _ => trouble(cluster, plan, node),
    }
    Vec::new()
}

/// What is rarer.
fn trouble<A: ConsensusAlgorithm>(cluster: &mut Cluster<A>, plan: &mut Plan<'_>, node: NodeId) {
    let peer = NodeId(1 + plan.below(cluster.members.iter().count()) as u64);
    match plan.below(6) {
        0 => cluster.isolate(node),
        1 => drop(cluster.cut.insert((node, peer))),
        2 => cluster.heal(),
        3 => {
            let suspected = plan.once_in(2);
            cluster.handle(node, Event::Suspect { peer, suspected });
        }
        4 => cluster.read(node, u64::from(plan.byte())),
        _ => {
            let read = ReadId(u64::from(plan.byte()));
            cluster.handle(node, Event::Transfer { to: Some(peer) });
            cluster.handle(node, Event::Read(read));
        }
    }
}
