//! Four replicas of PBFT, one of whom lies. Whatever it says and whatever happens to the others: they never execute different
//! things, hold no more than is configured, accuse none of themselves, and serve in the end.

mod fields;
mod keys;
mod liar;

pub(crate) use keys::keyring;

use crate::common::{Cluster, Envelope};
use crate::group::{self, Clients};
use crate::plan::Plan;
use bytes::Bytes;
use consensus_core::{ConsensusAlgorithm, Event, NodeId, wire};
use liar::Liar;
use pbft::{Config, Evidence, Message, Pbft, Vouching};
use std::time::Duration;

const SIZE: u64 = 4;
/// So many steps a plan has at most.
const STEPS: usize = 400;
/// The request that must be served in the end, in so much time.
const LAST: u64 = 1_000;
const PATIENCE_MS: u64 = 300_000;
/// What a replica takes in memory, as it is printed: more than a sound one ever does.
const PRINTED_BYTES: usize = 1 << 20;

fn payload(number: u64) -> Bytes {
    format!("request {number}").into()
}

fn config(plan: &mut Plan<'_>) -> Config {
    Config {
        keys: keys::keyring(SIZE),
        group: keys::GROUP,
        view_timeout_ms: 1_000,
        max_view_timeout_ms: 4_000,
        resend_interval_ms: 250,
        checkpoint_interval: 2,
        window: 4 + plan.below(3) as u64,
        max_batch_requests: 2,
        max_open_requests: 64,
        max_open_bytes: 4_096,
        max_payload_bytes: 64,
        chunk_bytes: 48,
        snapshot_after_bytes: [0, 0, 300][plan.below(3)],
        vouching: [Vouching::Quorum, Vouching::Gateway, Vouching::Named][plan.below(3)],
        #[cfg(feature = "mutants")]
        mutant: planted(),
        ..Config::default()
    }
}

/// The bug that is named in the environment: what shows that bugs are found.
#[cfg(feature = "mutants")]
fn planted() -> Option<pbft::Mutant> {
    let name = std::env::var("FUZZ_MUTANT").ok()?;
    let planted = pbft::Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == name);
    Some(*planted.expect("there is a bug of that name"))
}

struct Run {
    cluster: Cluster<Pbft>,
    clients: Clients,
    liar: Liar,
    /// What was executed, slot by slot.
    executed: Vec<(u64, Bytes)>,
}

/// Carries out a plan.
pub fn run(input: &[u8]) {
    let mut plan = Plan::new(input);
    let mut run = Run::new(&mut plan);
    for _ in 0..STEPS {
        if plan.is_over() {
            break;
        }
        run.step(&mut plan);
        run.check();
    }
    run.end();
}

impl Run {
    fn new(plan: &mut Plan<'_>) -> Self {
        let config = config(plan);
        let liar = Liar::new(NodeId(1 + plan.below(SIZE as usize) as u64), SIZE);
        let cluster = Cluster::with(SIZE, config, plan.once_in(4), 1);
        Self { cluster, clients: Clients::default(), liar, executed: Vec::new() }
    }

    fn correct(&self) -> Vec<NodeId> {
        self.cluster.members.others(self.liar.id).collect()
    }

    /// The liar listens to everything.
    fn deliver(&mut self, envelope: Envelope<Message>) {
        self.liar.hear(&envelope.message);
        self.cluster.deliver(envelope);
    }

    fn step(&mut self, plan: &mut Plan<'_>) {
        match plan.below(3) {
            0 => {
                let message = self.liar.lie(plan);
                let to = match plan.below(6) {
                    one @ 0..3 => self.correct().into_iter().skip(one).take(1).collect(),
                    _ => self.correct(),
                };
                for to in to {
                    self.cluster.deliver(Envelope { from: self.liar.id, to, message: message.clone() });
                }
            }
            _ => {
                for envelope in group::happen(&mut self.cluster, plan, &mut self.clients, payload) {
                    self.deliver(envelope);
                }
            }
        }
    }

    fn check(&mut self) {
        let liar = self.liar.id;
        for (by, peer, offence) in self.cluster.accusations.drain(..) {
            assert!(by == liar || peer == liar, "{by} accuses {peer}, who is correct, of {offence:?}");
        }
        for (&id, node) in self.cluster.nodes.iter().filter(|(id, _)| **id != liar) {
            for (place, line) in node.machine().lines.iter().enumerate() {
                match self.executed.get(place) {
                    Some(known) => assert_eq!(line, known, "{id} differs from what others executed"),
                    None => self.executed.push(line.clone()),
                }
            }
            let inspection = node.algorithm().inspect();
            let config = &self.cluster.config;
            for (name, count) in inspection.queues {
                let most = match name {
                    "requests" => config.max_open_requests * SIZE as usize,
                    "places in flight" => config.window as usize,
                    "proven liars" => 1,
                    _ => usize::MAX,
                };
                assert!(count <= most, "{id} holds {count} {name}, where {most} are the most");
            }
            for (accused, proof) in inspection.proofs {
                let evidence: Evidence = wire::decode(&proof, proof.len()).expect("evidence decodes");
                assert!(evidence.is_proven(config), "{id} keeps evidence that proves nothing: {evidence:?}");
                assert_eq!((accused, evidence.node), (liar, liar), "{id} can prove that a correct one lies");
            }
        }
    }

    /// The network heals, everybody is up, and the liar says nothing more: a request is served.
    fn end(&mut self) {
        self.cluster.heal();
        let down: Vec<NodeId> = self.cluster.disks.keys().copied().collect();
        down.into_iter().for_each(|id| self.cluster.start(id));
        let (correct, deadline) = (self.correct(), self.cluster.now + Duration::from_millis(PATIENCE_MS));
        while !self.is_served(&correct) {
            assert!(self.cluster.now < deadline, "the group does not serve any more:\n{}", self.show());
            group::ask(&mut self.cluster, &correct, LAST, payload);
            self.calm(2_000);
            self.check();
        }
        for id in correct {
            let printed = format!("{:?}", self.cluster.nodes[&id].algorithm()).len();
            assert!(printed < PRINTED_BYTES, "{id} takes {printed} bytes, printed");
        }
    }

    fn is_served(&self, correct: &[NodeId]) -> bool {
        let wanted = payload(LAST);
        correct.iter().all(|id| self.cluster.diary(*id).iter().any(|(_, line)| *line == wanted))
    }

    /// Time passes without faults and without lies.
    fn calm(&mut self, ms: u64) {
        let end = self.cluster.now + Duration::from_millis(ms);
        loop {
            self.correct().into_iter().for_each(|id| self.cluster.sync(id));
            for envelope in std::mem::take(&mut self.cluster.wire) {
                if envelope.from != self.liar.id {
                    self.cluster.deliver(envelope);
                }
            }
            if !self.cluster.wire.is_empty() {
                continue;
            }
            match self.cluster.next_deadline() {
                Some((at, id)) if at <= end => {
                    self.cluster.now = self.cluster.now.max(at);
                    self.cluster.handle(id, Event::Tick);
                }
                Some(_) | None => break,
            }
        }
        self.cluster.now = self.cluster.now.max(end);
    }

    fn show(&self) -> String {
        let lines = self.cluster.nodes.iter().map(|(id, node)| format!("{id}: {:?}\n", node.algorithm()));
        lines.collect()
    }
}
