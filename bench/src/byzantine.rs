//! The price of Byzantine safety: PBFT with real ed25519 signatures, n replicas in one thread, beside Raft on the same work.
//!
//! A burst of requests is put to the primary (or, where requests are vouched for, to everybody), and messages are delivered until all
//! replicas have executed all of it: one burst is one batch. What signatures cost is measured where they are made and checked. The
//! *bound* is what a replica could do if it did nothing but the signatures that no replica can do without: it signs twice for a batch,
//! and checks as many as make two quorums with its own (for n = 4: four), and each request's where clients sign. What clients
//! spend on signing is not counted.

use crate::Rounds;
use crate::core::{Machine, OneCopy};
use crate::process::thread_cpu_time;
use crate::stats::{Spread, number};
use crate::table;
use anyhow::{Context, Result, bail};
use clap::Args;
use consensus_core::memory::Outbox;
use consensus_core::{
    Bytes, ClientId, ConsensusAlgorithm, Event, MAX_REPLIES, Members, Node, NodeConfig, NodeId, ProposalId,
    Role, Time, quorum, wire,
};
use pbft::{Ask, Ed25519, Keyring, Name, Pbft, Request, Scheme, Signature, Vouching};
use raft::Raft;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The step of simulated time when nothing else moves.
const TICK: Duration = Duration::from_millis(10);
/// How often messages may be delivered before a burst counts as stuck.
const PATIENCE: usize = 10_000;

/// What `byzantine` measures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of byzantine")]
pub(crate) struct Options {
    /// Replicas.
    #[arg(long, global = true, value_delimiter = ',', default_value = "4,7", value_name = "N,…")]
    replicas: Vec<u64>,
    /// Requests per batch, of 256 bytes.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,64,512", value_name = "N,…")]
    batch: Vec<usize>,
    /// Encode each message, and decode it where it arrives: what a request costs beside its signatures is mostly its digest, which is
    /// made where it is decoded.
    #[arg(long, global = true)]
    wire: bool,
}

/// Real keys, and a count of what they cost.
#[derive(Debug)]
struct Counting<I> {
    keys: Ed25519<I>,
    spent: Arc<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    signs: AtomicU64,
    verifies: AtomicU64,
    nanos: AtomicU64,
}

impl Spent {
    fn time<T>(&self, count: &AtomicU64, act: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = act();
        count.fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
        done
    }
}

impl<I: Name> Scheme<I> for Counting<I> {
    fn members(&self) -> &[I] {
        self.keys.members()
    }

    fn signs_as(&self, member: I) -> bool {
        self.keys.signs_as(member)
    }

    fn sign(&self, member: I, message: &[u8]) -> Option<Signature> {
        self.spent.time(&self.spent.signs, || self.keys.sign(member, message))
    }

    fn verify(&self, member: I, message: &[u8], signature: &Signature) -> bool {
        self.spent.time(&self.spent.verifies, || self.keys.verify(member, message, signature))
    }
}

fn keys(id: u64, replicas: u64) -> Result<Ed25519> {
    let secret = |id: u64| [u8::try_from(id).unwrap_or(0); 32];
    let public = (1..=replicas).map(|id| (NodeId(id), Ed25519::public_of(&secret(id))));
    Ok(Ed25519::new(NodeId(id), &secret(id), public)?)
}

/// The one client of a run, where clients sign.
const CLIENT: ClientId = ClientId::known(1);

fn client_keys() -> Result<Ed25519<ClientId>> {
    let secret = [0xc1; 32];
    Ok(Ed25519::new(CLIENT, &secret, [(CLIENT, Ed25519::public_of(&secret))])?)
}

type Member<A> = Node<A, Outbox<<A as ConsensusAlgorithm>::Message>, OneCopy, Machine>;

/// A group of the protocol `A`.
struct Group<A: ConsensusAlgorithm> {
    nodes: Vec<Member<A>>,
    now: Time,
    asked: u64,
    asks_all: bool,
    is_wired: bool,
    messages: u64,
    /// What the client signs with, for which group.
    signs: Option<(Ed25519<ClientId>, u64)>,
    /// The CPU time that it has spent on that.
    signing: Duration,
}

impl<A: ConsensusAlgorithm> Group<A> {
    fn new(
        replicas: u64,
        asks_all: bool,
        is_wired: bool,
        config: impl Fn(u64) -> Result<A::Config>,
    ) -> Result<Self> {
        let members = Members::of((1..=replicas).map(NodeId));
        let mut nodes = Vec::new();
        for id in 1..=replicas {
            let mut node = NodeConfig::new(NodeId(id), members.clone(), id);
            (node.algorithm, node.check_invariants) = (config(id)?, false);
            nodes.push(Member::<A>::open(
                node,
                Time::ZERO,
                Outbox::default(),
                OneCopy::default(),
                Machine::default(),
            )?);
        }
        let mut group = Self {
            nodes,
            now: Time::ZERO,
            asked: 0,
            asks_all,
            is_wired,
            messages: 0,
            signs: None,
            signing: Duration::ZERO,
        };
        for _ in 0..PATIENCE {
            if group.leader().is_some() {
                return Ok(group);
            }
            if !group.deliver()? {
                group.tick()?;
            }
        }
        bail!("{} has no leader", A::NAME)
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.status().role == Role::Leader)
    }

    fn tick(&mut self) -> Result<()> {
        self.now += TICK;
        for node in &mut self.nodes {
            node.handle(self.now, Event::Tick)?;
        }
        Ok(())
    }

    /// Delivers everything that is on its way, one burst per node; false if there was nothing.
    fn deliver(&mut self) -> Result<bool> {
        let mut sent = Vec::new();
        for node in &mut self.nodes {
            let from = node.id();
            sent.extend(node.network().sent.drain(..).map(|(to, message)| (from, to, message)));
        }
        let any = !sent.is_empty();
        self.messages += sent.len() as u64;
        for (from, to, message) in sent {
            let node = self.nodes.get_mut(to.0 as usize - 1).context("a message to nobody")?;
            let message = if self.is_wired {
                wire::decode(&wire::encode(&message), wire::MAX_FRAME_BYTES)?
            } else {
                message
            };
            node.push(self.now, Event::Message { from, message })?;
        }
        for node in &mut self.nodes {
            node.flush(self.now)?;
            node.replies();
        }
        Ok(any)
    }

    /// Puts `count` requests, and delivers until all have executed them.
    fn burst(&mut self, count: usize, payload: &Bytes) -> Result<()> {
        let leader = self.leader().context("nobody leads")?;
        for _ in 0..count {
            self.asked += 1;
            let (id, payload) = self.request(payload)?;
            for (place, node) in self.nodes.iter_mut().enumerate() {
                if self.asks_all || place == leader {
                    node.push(self.now, Event::Propose { id, payload: payload.clone() })?;
                }
            }
        }
        for node in &mut self.nodes {
            node.flush(self.now)?;
        }
        for _ in 0..PATIENCE {
            let any = self.deliver()?;
            if self.nodes.iter().all(|node| node.machine().count() == self.asked) {
                return Ok(());
            }
            if !any {
                self.tick()?;
            }
        }
        bail!("{} is stuck", A::NAME)
    }

    /// The client's next request.
    fn request(&mut self, command: &Bytes) -> Result<(ProposalId, Bytes)> {
        let Some((keys, group)) = &self.signs else {
            return Ok((ProposalId::new(ClientId::anonymous(1), self.asked), command.clone()));
        };
        let began = thread_cpu_time();
        let id = ProposalId::new(CLIENT, self.asked);
        let signature = keys.sign(CLIENT, &Ask::of(id, command).to_bytes(*group)).context("its own key")?;
        let payload = Request::signed(id, command, &signature).payload().clone();
        self.signing += thread_cpu_time().saturating_sub(began);
        Ok((id, payload))
    }

    /// How many requests were executed, in how many seconds of CPU of all replicas, by how many messages.
    fn measure(&mut self, batch: usize, seconds: f64) -> Result<(u64, f64, u64)> {
        let payload = Bytes::from(vec![0x5a; 256]);
        let warm_up = Instant::now();
        while warm_up.elapsed().as_secs_f64() < seconds / 5.0 {
            self.burst(batch, &payload)?;
        }
        let (asked, messages, start, cpu) = (self.asked, self.messages, Instant::now(), thread_cpu_time());
        let signing = self.signing;
        while start.elapsed().as_secs_f64() < seconds {
            self.burst(batch, &payload)?;
        }
        let spent = thread_cpu_time().saturating_sub(cpu).saturating_sub(self.signing - signing);
        Ok((self.asked - asked, spent.as_secs_f64(), self.messages - messages))
    }
}

#[derive(Debug, Serialize)]
struct Line {
    replicas: u64,
    batch: usize,
    contestant: &'static str,
    /// Requests per second of CPU of one replica.
    requests_per_cpu_s: Spread,
    cpu_us_per_request: f64,
    share_of_signatures: Option<f64>,
    share_of_bound: Option<f64>,
    messages_per_batch: f64,
    slower_than_raft: Option<f64>,
}

/// What one signature costs, in seconds: to make, and to check.
fn unit_costs() -> Result<(f64, f64)> {
    let keys = keys(1, 4)?;
    let message = [7; 65];
    let signature = keys.sign(NodeId(1), &message).context("our own key")?;
    let time = |act: &dyn Fn() -> bool| {
        let began = Instant::now();
        for _ in 0..2_000 {
            std::hint::black_box(act());
        }
        began.elapsed().as_secs_f64() / 2_000.0
    };
    Ok((
        time(&|| keys.sign(NodeId(1), &message).is_some()),
        time(&|| keys.verify(NodeId(1), &message, &signature)),
    ))
}

/// Runs all rounds and prints the table.
pub(crate) fn run(rounds: &Rounds, options: &Options) -> Result<serde_json::Value> {
    let (sign, verify) = unit_costs()?;
    let mut lines = Vec::new();
    for &replicas in &options.replicas {
        for &batch in &options.batch {
            let (mut raft, mut gateway, mut vouched, mut signed) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds.rounds {
                raft.push(of_raft(replicas, batch, options.wire, rounds.seconds)?);
                gateway.push(of_pbft(replicas, batch, Vouching::Gateway, options.wire, rounds.seconds)?);
                vouched.push(of_pbft(replicas, batch, Vouching::Quorum, options.wire, rounds.seconds)?);
                signed.push(of_pbft(replicas, batch, Vouching::Signed, options.wire, rounds.seconds)?);
            }
            let n = usize::try_from(replicas)?;
            let per_batch = (2 * quorum::byzantine(n) - 2) as f64 * verify + 2.0 * sign;
            let plain = Spread::of(&raft.iter().map(|sample| sample.rate).collect::<Vec<_>>()).median;
            for (contestant, samples, checked) in [
                ("raft", &raft, 0),
                ("pbft, gateways", &gateway, 0),
                ("pbft, vouched for", &vouched, 0),
                ("pbft, signed clients", &signed, batch),
            ] {
                let bound = batch as f64 / (per_batch + checked as f64 * verify);
                let median = |value: fn(&Sample) -> f64| {
                    Spread::of(&samples.iter().map(value).collect::<Vec<f64>>()).median
                };
                let rates = Spread::of(&samples.iter().map(|sample| sample.rate).collect::<Vec<f64>>());
                let is_pbft = contestant != "raft";
                lines.push(Line {
                    replicas,
                    batch,
                    contestant,
                    requests_per_cpu_s: rates,
                    cpu_us_per_request: 1e6 / rates.median,
                    share_of_signatures: is_pbft.then(|| median(|sample| sample.signatures)),
                    share_of_bound: is_pbft.then(|| rates.median / bound),
                    messages_per_batch: median(|sample| sample.messages),
                    slower_than_raft: is_pbft.then(|| plain / rates.median),
                });
            }
        }
    }
    print(&lines, rounds, options.wire, (sign, verify));
    Ok(serde_json::to_value(&lines)?)
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Requests per second of CPU of one replica.
    rate: f64,
    /// Which part of the CPU signatures took.
    signatures: f64,
    messages: f64,
}

fn of_raft(replicas: u64, batch: usize, is_wired: bool, seconds: f64) -> Result<Sample> {
    let mut group = Group::<Raft>::new(replicas, false, is_wired, |_| Ok(raft::Config::default()))?;
    let (requests, spent, messages) = group.measure(batch, seconds)?;
    let rate = requests as f64 * replicas as f64 / spent;
    Ok(Sample { rate, signatures: 0.0, messages: messages as f64 * batch as f64 / requests as f64 })
}

fn of_pbft(replicas: u64, batch: usize, vouching: Vouching, is_wired: bool, seconds: f64) -> Result<Sample> {
    let spent = Arc::new(Spent::default());
    let mut group = Group::<Pbft>::new(replicas, vouching == Vouching::Quorum, is_wired, |id| {
        let keys = Keyring::new(Counting { keys: keys(id, replicas)?, spent: Arc::clone(&spent) });
        let mut config =
            pbft::Config { keys, vouching, max_batch_requests: batch, ..pbft::Config::default() };
        if vouching == Vouching::Signed {
            let public = Counting { keys: client_keys()?, spent: Arc::clone(&spent) };
            config.clients = Keyring::new(public);
            config.max_open_per_client = batch.min(MAX_REPLIES);
        }
        Ok(config)
    })?;
    if vouching == Vouching::Signed {
        group.signs = Some((client_keys()?, pbft::Config::default().group));
    }
    let (nanos, cpu) = (spent.nanos.load(Relaxed), thread_cpu_time());
    let (requests, used, messages) = group.measure(batch, seconds)?;
    // The warm-up is counted on both sides.
    let all = thread_cpu_time().saturating_sub(cpu).saturating_sub(group.signing).as_secs_f64();
    let nanos = spent.nanos.load(Relaxed) - nanos;
    Ok(Sample {
        rate: requests as f64 * replicas as f64 / used,
        signatures: nanos as f64 / 1e9 / all,
        messages: messages as f64 * batch as f64 / requests as f64,
    })
}

fn print(lines: &[Line], rounds: &Rounds, is_wired: bool, (sign, verify): (f64, f64)) {
    println!(
        "\nThe price of Byzantine safety: n replicas in one thread, network and storage in memory{}, requests of 256 B, all execute.",
        if is_wired { " (messages as bytes)" } else { "" }
    );
    println!(
        "{} rounds of {} s each; median (min–max), per replica. One signature: {:.1} µs to make, {:.1} µs to check.",
        rounds.rounds,
        rounds.seconds,
        sign * 1e6,
        verify * 1e6
    );
    let mut rows = table::Table::new(&[
        "n",
        "batch",
        "contestant",
        "requests / CPU s",
        "CPU µs / request",
        "signatures",
        "of the bound",
        "messages / batch",
        "raft / this",
    ]);
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    for line in lines {
        rows.row([
            line.replicas.to_string(),
            line.batch.to_string(),
            line.contestant.to_owned(),
            line.requests_per_cpu_s.show(0),
            number(line.cpu_us_per_request, 2),
            table::optional(line.share_of_signatures, percent),
            table::optional(line.share_of_bound, percent),
            number(line.messages_per_batch, 1),
            table::optional(line.slower_than_raft, |times| format!("{times:.1}×")),
        ]);
    }
    rows.print();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_executes_everything() {
        let kinds = [(Vouching::Gateway, false), (Vouching::Quorum, true), (Vouching::Signed, true)];
        for (vouching, is_wired) in kinds {
            let sample = of_pbft(4, 8, vouching, is_wired, 0.01).unwrap();
            assert!(sample.rate > 0.0 && sample.signatures > 0.0 && sample.messages >= 24.0, "{sample:?}");
        }
        assert!(of_raft(4, 8, true, 0.01).unwrap().rate > 0.0);
    }
}
