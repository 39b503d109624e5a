//! Three nodes in one thread, by value and in memory: what the protocol itself costs.

use super::Commits;
use super::load::{Client, NODES, Shape};
use crate::process::thread_cpu_time;
use anyhow::{Context, Result, bail, ensure};
use consensus_core::memory::Outbox;
use consensus_core::{
    Bytes, ClientId, Event, Members, Node, NodeConfig, NodeId, Outcome, ProposalId, Recovered, Reply, Slot,
    Storage, StorageError, Time, WriteSeq,
};
use std::time::{Duration, Instant};
use twophase::accounts::Accounts;
use twophase::{Config, Message};

/// Transactions in flight from each node.
pub(super) const IN_FLIGHT: u32 = 16;
/// Logs are cut after so many decisions, so that nobody is measured while it swaps.
const KEEP_DECISIONS: u64 = 16_384;
/// How long what is in flight may take at the end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) decided_per_cpu_s: f64,
    /// Of those that were decided.
    pub(super) aborted: f64,
    pub(super) messages: f64,
    pub(super) writes: f64,
}

/// A disk that is done at once, keeps nothing, and counts.
#[derive(Default)]
struct Counted {
    last: WriteSeq,
    writes: u64,
}

impl Counted {
    const fn write(&mut self, seq: WriteSeq) {
        self.last = seq;
        self.writes += 1;
    }
}

impl<R> Storage<R> for Counted {
    fn recover(&mut self) -> Result<Recovered<R>, StorageError> {
        Ok(Recovered::default())
    }

    fn append(&mut self, seq: WriteSeq, _record: R) {
        self.write(seq);
    }

    fn checkpoint(&mut self, seq: WriteSeq, _through: Slot, _snapshot: Bytes, _tail: Vec<R>) {
        self.write(seq);
    }

    fn durable(&mut self) -> Result<WriteSeq, StorageError> {
        Ok(self.last)
    }
}

type Member<A> = Node<A, Outbox<Message>, Counted, Accounts>;

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    decided: u64,
    aborted: u64,
    messages: u64,
    writes: u64,
}

/// A client, and how many transactions it has begun: it waits for the last of them.
struct Asking {
    client: Client,
    begun: u64,
}

struct Group<A: Commits> {
    nodes: Vec<Member<A>>,
    /// Those of the first node, then those of the second, and so on.
    clients: Vec<Asking>,
    shape: Shape,
    /// Whose last transaction is decided.
    idle: Vec<usize>,
    /// One per node, used in turn with the nodes' own: nothing is allocated to deliver.
    inboxes: Vec<Vec<(NodeId, Message)>>,
    /// Real time passes: what is said again after a while costs something too.
    began: Instant,
    now: Time,
    counts: Counts,
}

/// Transactions by so many clients for so long, after a warm-up of a fifth of it.
pub(super) fn measure<A: Commits>(config: &Config, conflict: u8, seconds: f64) -> Result<Sample> {
    let mut group = Group::<A>::new(config, conflict)?;
    group.run_for(seconds / 5.0)?;
    let (before, cpu) = (group.counts(), thread_cpu_time());
    group.run_for(seconds)?;
    let (after, spent) = (group.counts(), thread_cpu_time().saturating_sub(cpu));
    group.settle()?;
    let decided = (after.decided - before.decided) as f64;
    ensure!(decided > 0.0, "nothing was decided in {seconds} s");
    Ok(Sample {
        decided_per_cpu_s: decided / spent.as_secs_f64(),
        aborted: (after.aborted - before.aborted) as f64 / decided,
        messages: (after.messages - before.messages) as f64 / decided,
        writes: (after.writes - before.writes) as f64 / decided,
    })
}

impl<A: Commits> Group<A> {
    fn new(config: &Config, conflict: u8) -> Result<Self> {
        let members = Members::of((1..=NODES).map(NodeId));
        let shape = Shape { clients: IN_FLIGHT * u32::try_from(NODES)?, conflict };
        let mut nodes = Vec::new();
        for id in (1..=NODES).map(NodeId) {
            let config = NodeConfig {
                algorithm: config.clone(),
                compact_after_slots: KEEP_DECISIONS,
                check_invariants: false,
                ..NodeConfig::new(id, members.clone(), id.0)
            };
            let (network, storage) = (Outbox::default(), Counted::default());
            nodes.push(Member::<A>::open(config, Time::ZERO, network, storage, shape.machine(id))?);
        }
        let asking = |number: u32| {
            let node = NodeId(1 + u64::from(number / IN_FLIGHT));
            Asking { client: shape.client(number, node), begun: 0 }
        };
        let clients: Vec<_> = (0..shape.clients).map(asking).collect();
        Ok(Self {
            idle: (0..clients.len()).collect(),
            inboxes: nodes.iter().map(|_| Vec::new()).collect(),
            nodes,
            clients,
            shape,
            began: Instant::now(),
            now: Time::ZERO,
            counts: Counts::default(),
        })
    }

    fn counts(&mut self) -> Counts {
        let writes = self.nodes.iter_mut().map(|node| node.storage().writes).sum();
        Counts { writes, ..self.counts }
    }

    fn run_for(&mut self, seconds: f64) -> Result<()> {
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < seconds {
            for _ in 0..16 {
                self.propose()?;
                self.deliver()?;
            }
        }
        Ok(())
    }

    /// Those who wait for nothing ask for the next.
    fn propose(&mut self) -> Result<()> {
        for number in self.idle.drain(..) {
            let asking = self.clients.get_mut(number).context("an answer to nobody")?;
            asking.begun += 1;
            let id = ProposalId::new(ClientId::anonymous(number as u64), asking.begun);
            let event = Event::Propose { id, payload: asking.client.next() };
            let place = asking.client.node.0 as usize - 1;
            self.nodes.get_mut(place).context("a client of nobody")?.push(self.now, event)?;
        }
        Ok(())
    }

    /// Delivers everything that is on its way, one burst per node.
    fn deliver(&mut self) -> Result<()> {
        self.now = Time::ZERO + self.began.elapsed();
        for (node, inbox) in self.nodes.iter_mut().zip(&mut self.inboxes) {
            std::mem::swap(&mut node.network().sent, inbox);
        }
        for (from, inbox) in (1..).map(NodeId).zip(&mut self.inboxes) {
            self.counts.messages += inbox.len() as u64;
            for (to, message) in inbox.drain(..) {
                let node = self.nodes.get_mut(to.0 as usize - 1).context("a message to nobody")?;
                node.push(self.now, Event::Message { from, message })?;
            }
        }
        for node in &mut self.nodes {
            if node.deadline().is_some_and(|deadline| deadline <= self.now) {
                node.push(self.now, Event::Tick)?;
            }
            node.flush(self.now)?;
            let id = node.id();
            for reply in node.replies() {
                hear(id, &reply, &self.clients, &mut self.idle, &mut self.counts)?;
            }
            ensure!(node.accusations().next().is_none(), "a node accuses another");
        }
        Ok(())
    }

    /// What is in flight is decided, and known everywhere: no lock is held, and no money was made or lost.
    fn settle(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.locks() > 0 || self.idle.len() < self.clients.len() {
            ensure!(start.elapsed() < PATIENCE, "{} is stuck: {} locks", A::NAME, self.locks());
            self.deliver()?;
        }
        let total: i64 = self.nodes.iter().map(|node| node.machine().total()).sum();
        ensure!(total == self.shape.total(), "{total} is there, and {} was", self.shape.total());
        Ok(())
    }

    fn locks(&self) -> usize {
        let of = |node: &Member<A>| {
            (0..self.shape.accounts()).filter(|&number| node.machine().holder(number).is_some()).count()
        };
        self.nodes.iter().map(of).sum()
    }
}

/// A client is told. Whoever takes part hears of a verdict too, and has no client that waits for it.
fn hear(
    at: NodeId,
    reply: &Reply,
    clients: &[Asking],
    idle: &mut Vec<usize>,
    counts: &mut Counts,
) -> Result<()> {
    let (id, outcome) = match reply {
        Reply::Done { id, outcome, .. } => (id, outcome),
        Reply::Refused { reason, .. } | Reply::ReadRefused { reason, .. } => bail!("{at} refuses: {reason}"),
        Reply::ReadReady { .. } => bail!("{at} answers what was not asked"),
    };
    let number = usize::try_from(id.client.to_bits())?;
    let Some(asking) = clients.get(number).filter(|asking| asking.client.node == at) else { return Ok(()) };
    ensure!(id.sequence == asking.begun, "{at} answers twice");
    counts.decided += 1;
    match outcome {
        Outcome::Applied(_) => {}
        Outcome::Aborted(_) => counts.aborted += 1,
        Outcome::Noop | Outcome::Opened(_) | Outcome::Stale | Outcome::Expired => {
            bail!("{at} tells an outcome that no transaction has: {outcome:?}")
        }
    }
    idle.push(number);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::measure;
    use crate::atomic::{CONTESTANTS, Contestant};

    fn sample(contestant: &Contestant, conflict: u8) -> super::Sample {
        let measured = contestant.in_memory(conflict, 0.02);
        measured.unwrap_or_else(|error| panic!("{}, {conflict} %: {error:#}", contestant.name))
    }

    #[test]
    fn everything_is_decided_everywhere_and_costs_what_the_crate_says() {
        // Messages and records of a commit of two, the coordinator one of them, in a group of three.
        let costs = [(4.0, 4.0), (3.0, 4.0), (4.0, 6.0), (11.0, 10.0)];
        for (contestant, (messages, writes)) in CONTESTANTS.iter().zip(costs) {
            let free = sample(contestant, 0);
            assert!(free.decided_per_cpu_s > 0.0 && free.aborted == 0.0, "{}: {free:?}", contestant.name);
            // A measurement begins and ends amid some transactions, and logs are cut now and then.
            let is_near = |measured: f64, counted: f64| (measured / counted - 1.0).abs() < 0.2;
            let is_expected = is_near(free.messages, messages) && is_near(free.writes, writes);
            assert!(is_expected, "{}: {free:?}", contestant.name);
            let fought = sample(contestant, 50);
            assert!(
                fought.decided_per_cpu_s > 0.0 && fought.aborted > 0.0,
                "{}: {fought:?}",
                contestant.name
            );
        }
    }

    #[test]
    fn no_time_is_too_short_to_say_so() {
        assert!(measure::<twophase::TwoPhase>(&twophase::Config::default(), 0, 0.0).is_err());
    }
}
