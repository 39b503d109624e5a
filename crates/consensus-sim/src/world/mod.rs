//! The world: one queue of events, ordered by time and then by the order in which they were planned.

mod at_rest;
mod beyond;
mod byzantine;
mod clients;
mod detectors;
mod diagnosis;
mod elections;
mod fairness;
mod faults;
mod hardships;
mod host;
mod left_out;
mod lookout;
mod matching;
mod members;
mod partial;
mod phases;
mod queue;
mod still;
mod workload;

use crate::byzantine::ByzantineCounts;
use crate::changes::MemberHistory;
use crate::client::{Client, Request, Response, Ticket};
use crate::costs::Costs;
use crate::history::History;
use crate::injector::{FaultCounts, Injector, PerClass};
use crate::linearizability::{self, Finding};
use crate::marks::{Lookout, Marks, Stamp};
use crate::mask::{FaultClass, Mask};
use crate::network::Links;
use crate::oracle::{Failure, Measures, Oracle, Property};
use crate::plan::Plan;
use crate::random::{MILLION, Stream};
use crate::record::{Happened, Tape};
use crate::trace::Trace;
pub use at_rest::{Idleness, leave_alone};
pub use beyond::{Halt, beyond};
use byzantine::{Intrigues, Plot};
use consensus_core::{ConsensusAlgorithm, Members, NodeId, Problem, Reads, Time};
use core::time::Duration;
use detectors::Opinion;
pub use elections::{Election, time_election};
use fairness::Fairness;
use hardships::Hardship;
use host::Host;
use matching::Poll;
pub use partial::{Observation, PartialCase, observe};
use queue::Queue;
use std::collections::BTreeMap;
use workload::Proposer;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// The most events within a second. An algorithm that answers repetitions brings about more: they are repeated in turn.
const MAX_PER_SECOND: u64 = 1 << 20;
/// The most events that may wait. An algorithm that answers each message by more than one brings this about.
const MAX_WAITING: usize = 200_000;

/// What a run is made from.
#[derive(Clone, Debug)]
pub struct Setup<A: ConsensusAlgorithm> {
    /// Everything random comes from here.
    pub seed: u64,
    /// What the run looks like.
    pub plan: Plan,
    /// Which of the faults that are drawn are carried out.
    pub mask: Mask,
    /// The algorithm's configuration, the same for all nodes.
    pub config: A::Config,
    /// How long the algorithm may take, once the network is whole, to serve every client again: several times its longest
    /// election timeout.
    pub patience: Duration,
    /// Whether to keep the readable lines of the trace.
    pub trace: bool,
}

/// How often what happened: a run without faults proves little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub partitions: u64,
    pub crashes: u64,
    pub power_losses: u64,
    pub restarts: u64,
    pub transfers: u64,
    /// Changes of the members that were asked for, and that were decided.
    pub changes: u64,
    pub changed: u64,
    /// Nodes that began to wish to lead, or not to.
    pub wishes: u64,
    /// Opinions of failure detectors, right or wrong.
    pub suspicions: u64,
    /// What failure detectors noticed.
    pub detections: u64,
    /// How often a node that ran had no timer any more.
    pub rests: u64,
    /// Nodes that stopped because a sync failed.
    pub failed_syncs: u64,
    /// Nodes that stopped because their disk was full.
    pub full_disks: u64,
    /// Spans in which a disk was slow.
    pub slow_disks: u64,
    /// Bits that flipped on a disk.
    pub bit_rots: u64,
    /// Nodes that refused to start on such a disk.
    pub refused_disks: u64,
    /// Boots with a clock that shows another time.
    pub skewed_boots: u64,
    /// Spans in which a node handled nothing.
    pub pauses: u64,
    /// Spans in which a single link was down, and what it lost.
    pub flaps: u64,
    pub lost_to_flaps: u64,
    /// Spans in which the scheduler held back what was sent over a link or to a node.
    pub starvations: u64,
    /// How often a message waited longer than is fair, and none came over its link in that time.
    pub starved_links: u64,
    /// How often a message waited longer than is fair, and none came to its receiver in that time.
    pub starved_nodes: u64,
    /// How long a message waited at most, in microseconds: of all, and of those that were sent in the calm.
    pub longest_wait_us: u64,
    pub longest_calm_wait_us: u64,
    /// Nodes that were left in their misery after the storm.
    pub left_out: u64,
    /// Moments from which on the bound on delays held.
    pub stabilisations: u64,
    /// Messages that a link in a bad state lost.
    pub lost_in_bursts: u64,
    /// Messages dropped because too much waited before them.
    pub lost_in_queues: u64,
    /// Messages that went over more than one link.
    pub forwarded: u64,
    /// Messages dropped because a bit flipped on the way.
    pub corrupted: u64,
    /// Those of them that still were the encoding of some message.
    pub corrupted_decoded: u64,
    pub installs: u64,
    pub leaderships: u64,
    pub decisions: u64,
    pub operations: u64,
    pub unknown: u64,
    pub syncs: u64,
    /// What Byzantine nodes did.
    pub byzantine: ByzantineCounts,
}

impl Counts {
    /// Adds another run's.
    pub const fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.partitions += other.partitions;
        self.crashes += other.crashes;
        self.power_losses += other.power_losses;
        self.restarts += other.restarts;
        self.transfers += other.transfers;
        self.changes += other.changes;
        self.changed += other.changed;
        self.wishes += other.wishes;
        self.suspicions += other.suspicions;
        self.detections += other.detections;
        self.rests += other.rests;
        self.failed_syncs += other.failed_syncs;
        self.full_disks += other.full_disks;
        self.slow_disks += other.slow_disks;
        self.bit_rots += other.bit_rots;
        self.refused_disks += other.refused_disks;
        self.skewed_boots += other.skewed_boots;
        self.pauses += other.pauses;
        self.flaps += other.flaps;
        self.lost_to_flaps += other.lost_to_flaps;
        self.stabilisations += other.stabilisations;
        self.starvations += other.starvations;
        self.starved_links += other.starved_links;
        self.starved_nodes += other.starved_nodes;
        self.left_out += other.left_out;
        self.longest_wait_us = longest(self.longest_wait_us, other.longest_wait_us);
        self.longest_calm_wait_us = longest(self.longest_calm_wait_us, other.longest_calm_wait_us);
        self.lost_in_bursts += other.lost_in_bursts;
        self.lost_in_queues += other.lost_in_queues;
        self.forwarded += other.forwarded;
        self.corrupted += other.corrupted;
        self.corrupted_decoded += other.corrupted_decoded;
        self.installs += other.installs;
        self.leaderships += other.leaderships;
        self.decisions += other.decisions;
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.syncs += other.syncs;
        self.byzantine.add(&other.byzantine);
    }

    /// How many faults were injected.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        let classic = self.lost + self.duplicated + self.partitions + self.crashes + self.power_losses;
        let disks = self.failed_syncs + self.full_disks + self.slow_disks + self.bit_rots;
        let links = self.flaps + self.lost_to_flaps + self.lost_in_bursts + self.lost_in_queues;
        classic + disks + links + self.corrupted + self.pauses + self.skewed_boots
    }
}

const fn longest(first: u64, second: u64) -> u64 {
    if first > second { first } else { second }
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The first property that failed, if any.
    pub failure: Option<Failure>,
    /// The fingerprint of the run: equal runs have equal hashes.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How often a node was given something to do: each call of [`consensus_core::Node::handle`], `push` or `flush` is one.
    pub steps: u64,
    /// How much virtual time passed.
    pub simulated: Duration,
    /// How often what happened.
    pub counts: Counts,
    /// Which moments worth meeting were met.
    pub marks: Marks,
    /// What it cost.
    pub costs: Costs,
    /// How many faults of each class were met, and how many carried out.
    pub faults: FaultCounts,
    /// Registers whose history was too hard to judge.
    pub undecided: u64,
    /// What was measured beside the verdict.
    pub measures: Measures,
    /// The readable trace, if it was asked for.
    pub lines: Vec<String>,
}

/// What may happen in the world.
#[derive(Clone, Debug)]
enum Happening {
    /// `message` is its number on the tape.
    Deliver {
        from: usize,
        to: usize,
        frame: Vec<u8>,
        message: u64,
        stamp: Stamp,
    },
    Wake {
        node: usize,
    },
    Flush {
        node: usize,
        boot: u64,
    },
    DiskDone {
        node: usize,
        boot: u64,
    },
    /// A snapshot is written out.
    Snapshot {
        node: usize,
        boot: u64,
    },
    Restart {
        node: usize,
        boot: u64,
    },
    Resume {
        node: usize,
        boot: u64,
    },
    Hardship(Hardship),
    Stabilise,
    /// The links of a node that is left out come and go.
    Turn {
        node: usize,
    },
    Byzantine(Plot),
    Partition,
    Mend {
        phase: u64,
    },
    Crash,
    PowerLoss,
    Transfer,
    Change,
    Wish,
    Suspicion,
    /// The failure detectors look.
    Look,
    Death,
    ClientNext {
        client: u32,
    },
    ClientTimeout {
        ticket: Ticket,
    },
    ClientRetry {
        ticket: Ticket,
    },
    Arrive {
        node: usize,
        ticket: Ticket,
        request: Request,
    },
    Respond {
        node: usize,
        ticket: Ticket,
        response: Response,
    },
}

/// One stream of choices per subsystem.
struct Streams {
    network: Stream,
    disk: Stream,
    clients: Stream,
    boots: Stream,
    clocks: Stream,
    /// When each class of faults strikes, whom, and how.
    faults: PerClass<Stream>,
}

/// The deterministic world.
pub struct World<A: ConsensusAlgorithm> {
    plan: Plan,
    config: A::Config,
    patience: Duration,
    members: Members,
    member_history: MemberHistory,
    now: Time,
    queue: Queue<Happening>,
    hosts: Vec<Host<A>>,
    links: Links,
    fairness: Fairness,
    clients: Vec<Client>,
    proposers: Vec<Proposer>,
    next_read: u64,
    history: History,
    oracle: Oracle,
    trace: Trace,
    tape: Tape,
    counts: Counts,
    /// Calls of nodes.
    steps: u64,
    lookout: Lookout,
    costs: Costs,
    injector: Injector,
    streams: Streams,
    /// Whether faults are injected at the moment.
    stormy: bool,
    /// Whether clients begin new operations.
    busy: bool,
    /// Whether nothing fails any more: what can be committed must be.
    faultless: bool,
    /// After so many events nothing happens any more.
    most_events: u64,
    /// The second that it is now, and how many events there were before it.
    pace: (u64, u64),
    /// Counts partitions, so that an old mending does not end a new partition.
    partition: u64,
    byzantine: Intrigues,
    /// How often a node had no room for what it was asked.
    turned_away: u64,
    /// What clients heard who believe no single node.
    polls: BTreeMap<u32, Poll>,
    /// What each node (row) was told of each (column).
    opinions: Vec<Opinion>,
}

/// Runs a whole plan and judges it.
#[must_use]
pub fn run<A: ConsensusAlgorithm>(setup: Setup<A>) -> Report {
    run_taped(setup, Tape::off())
}

/// As [`run`], and records on `tape` what happens.
#[must_use]
pub fn run_taped<A: ConsensusAlgorithm>(setup: Setup<A>, tape: Tape) -> Report {
    let mut world = World::with_tape(setup, tape);
    world.run_plan();
    world.finish()
}

impl<A: ConsensusAlgorithm> World<A> {
    /// A world at time zero, with every node booted.
    #[must_use]
    pub fn new(setup: Setup<A>) -> Self {
        Self::with_tape(setup, Tape::off())
    }

    /// As [`World::new`], and records on `tape` what happens.
    #[must_use]
    pub fn with_tape(setup: Setup<A>, tape: Tape) -> Self {
        let Setup { seed, plan, mask, config, patience, trace } = setup;
        let ids = (1..=plan.hosts() as u64).map(NodeId);
        let full = plan.nodes.saturating_sub(plan.witnesses);
        let witnesses = ids.clone().take(plan.nodes).skip(full);
        let members = Members::of(ids.clone().take(plan.nodes)).with_witnesses(witnesses);
        let streams = Streams {
            network: Stream::derive(seed, "network"),
            disk: Stream::derive(seed, "disk"),
            clients: Stream::derive(seed, "clients"),
            boots: Stream::derive(seed, "boots"),
            clocks: Stream::derive(seed, "boot clocks"),
            // The plan is drawn from streams that bear the bare names of some classes.
            faults: PerClass::of(|class| Stream::derive(seed, &format!("at {class}"))),
        };
        let drift_ppm = plan.clocks.map_or(0, |clocks| clocks.drift_ppm.min(MILLION / 2));
        let rates = &mut Stream::derive(seed, "clock rates");
        let mut hosts: Vec<Host<A>> = ids
            .map(|id| Host::new(id, &plan.disk, rates.between(MILLION - drift_ppm, MILLION + drift_ppm)))
            .collect();
        let byzantine = Intrigues::new(plan.byzantine.as_ref(), plan.hosts());
        for id in byzantine.extra_hosts(plan.hosts()) {
            let rate_ppm = byzantine::index_of(id).and_then(|node| hosts.get(node)).map(|host| host.rate_ppm);
            hosts.push(Host::new(id, &plan.disk, rate_ppm.unwrap_or(MILLION)));
        }
        let mut world = Self {
            links: Links::new(plan.hosts(), plan.network.clone(), seed).timed(plan.timing),
            fairness: Fairness::new(hosts.len()),
            lookout: Lookout::new(hosts.len(), plan.workload.clients),
            costs: Costs::default(),
            member_history: MemberHistory::new(members.clone(), A::GUARANTEES.membership),
            members,
            plan,
            config,
            patience,
            now: Time::ZERO,
            queue: Queue::new(),
            hosts,
            clients: Vec::new(),
            proposers: Vec::new(),
            next_read: 0,
            history: History::new(),
            oracle: Oracle::new(A::GUARANTEES.problem),
            trace: Trace::new(trace),
            tape,
            counts: Counts::default(),
            steps: 0,
            injector: Injector::new(&mask),
            streams,
            stormy: false,
            busy: false,
            faultless: false,
            most_events: u64::MAX,
            pace: (0, 0),
            partition: 0,
            byzantine,
            turned_away: 0,
            polls: BTreeMap::new(),
            opinions: Vec::new(),
        };
        let plan = format!("{:?}, mask {:?}", world.plan, mask.to_string());
        world.trace.say(Time::ZERO, || plan);
        world.assign_parts();
        for node in 0..world.hosts.len() {
            world.boot(node);
        }
        world.add_workload();
        if world.plan.workload.clients_only {
            world.oracle.ignore_order();
        }
        world.start_intrigues();
        world.start_detectors();
        world.await_stabilisation();
        world
    }

    /// The virtual time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// What the judge knows.
    #[must_use]
    pub const fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// What the clients saw.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// The links, to cut and mend by hand.
    pub const fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    /// Something failed that whoever drives the world has seen: a panic, say.
    pub fn fail(&mut self, property: Property, detail: String) {
        self.oracle.fail(property, self.now, detail);
    }

    /// Judges the clients' history and reports.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let undecided = if self.oracle.failure().is_none() { self.judge_history() } else { 0 };
        if let Some(failure) = self.oracle.failure() {
            let (property, detail) = (failure.property.name().into(), failure.detail.clone());
            self.tape.note(failure.at, || Happened::Failure { property, detail });
        }
        let operations = self.history.operations().len() as u64;
        self.counts.operations = operations;
        self.counts.unknown = operations - self.history.completed() as u64;
        self.counts.decisions = self.oracle.decisions();
        self.counts.leaderships = self.oracle.leaderships() as u64;
        self.trace.number(self.counts.decisions);
        Report {
            failure: self.oracle.failure().cloned(),
            hash: self.trace.hash(),
            events: self.trace.events(),
            steps: self.steps,
            simulated: self.now.since(Time::ZERO),
            counts: self.counts,
            marks: self.lookout.marks,
            costs: self.costs,
            faults: *self.injector.counts(),
            undecided,
            measures: self.oracle.measures(self.now),
            lines: self.trace.lines().to_vec(),
        }
    }

    /// Judges what the clients saw; how much of it was too hard to decide.
    fn judge_history(&mut self) -> u64 {
        match (A::GUARANTEES.problem, A::GUARANTEES.reads) {
            (Problem::Log, Reads::Barrier | Reads::ThroughLog) => {
                let oracle = &self.oracle;
                self.history.witness(|id| oracle.effective(id));
                match linearizability::check(&self.history) {
                    Finding::Linearizable => 0,
                    Finding::Undecided { .. } => 1,
                    Finding::Violation { key, detail } => {
                        self.oracle.fail(Property::Linearizable, self.now, format!("{key:?}: {detail}"));
                        0
                    }
                }
            }
            (Problem::Log, Reads::Local) | (Problem::Convergence, _) => self.judge_local_reads(),
            // Of these problems nothing is read.
            (Problem::OneShot | Problem::AtomicCommit, _) => 0,
        }
    }

    /// Nothing happens any more once there were so many events; what the report then says of the end of the run is void.
    pub const fn stop_after(&mut self, events: u64) {
        self.most_events = events;
    }

    /// Runs until `until`, or until the first failure, or until nothing can happen any more.
    pub fn run_until(&mut self, until: Time) {
        while self.oracle.failure().is_none()
            && self.trace.events() < self.most_events
            && self.next_before(until)
        {}
        if self.oracle.failure().is_none() {
            self.now = self.now.max(until);
        }
    }

    /// Carries out the next event if it is not later than `until`; whether there was one.
    fn next_before(&mut self, until: Time) -> bool {
        let Some((at, happening)) = self.queue.pop_until(until) else { return false };
        self.now = at;
        self.happen(happening);
        if self.queue.len() > MAX_WAITING {
            let detail = format!("more than {MAX_WAITING} events wait: a storm of messages");
            self.oracle.fail(Property::Progress, self.now, detail);
        }
        self.watch_pace();
        true
    }

    /// A storm need not pile up to keep everybody busy for ever: then time hardly moves.
    fn watch_pace(&mut self) {
        let (second, events) = (self.now.as_nanos() / NANOS_PER_SECOND, self.trace.events());
        let (at, before) = self.pace;
        if at != second {
            self.pace = (second, events);
        } else if events - before > MAX_PER_SECOND {
            let detail = format!("more than {MAX_PER_SECOND} events in a second: a storm of messages");
            self.oracle.fail(Property::Progress, self.now, detail);
        }
    }

    /// Whether the fault of this class that the world meets now is carried out. What it draws must be drawn before.
    fn allows(&mut self, class: FaultClass) -> bool {
        self.injector.allows(class)
    }

    /// The choices of one fault, whose number moves the stream of its class by one.
    fn choices_for(&mut self, class: FaultClass) -> Stream {
        self.streams.faults.get_mut(class).fork()
    }

    fn plan_at(&mut self, at: Time, happening: Happening) {
        self.queue.push(at, happening);
    }

    fn plan_in(&mut self, span: Duration, happening: Happening) {
        self.plan_at(self.now + span, happening);
    }

    fn happen(&mut self, happening: Happening) {
        let Some(happening) = self.defer(happening) else { return };
        match happening {
            Happening::Deliver { from, to, frame, message, stamp } => {
                self.watch_delivery((from, to), stamp.sent);
                self.tape.arrived(self.now, message, || self.is_up(to));
                self.look_at_arrival(from, to, stamp);
                self.on_deliver(from, to, &frame);
            }
            Happening::Wake { node } => self.on_wake(node),
            Happening::Flush { node, boot } => self.on_flush(node, boot),
            Happening::DiskDone { node, boot } => self.on_disk_done(node, boot),
            Happening::Snapshot { node, boot } => self.on_snapshot_written(node, boot),
            Happening::Restart { node, boot } => self.on_restart(node, boot),
            Happening::Resume { node, boot } => self.on_resume(node, boot),
            Happening::Hardship(hardship) => self.on_hardship(hardship),
            Happening::Stabilise => self.on_stabilise(),
            Happening::Turn { node } => self.on_turn(node),
            Happening::Byzantine(plot) => self.on_plot(plot),
            Happening::Partition => self.on_partition(),
            Happening::Mend { phase } => self.on_mend(phase),
            Happening::Crash => self.on_crash(),
            Happening::PowerLoss => self.on_power_loss(),
            Happening::Transfer => self.on_transfer(),
            Happening::Change => self.on_change(),
            Happening::Wish => self.on_wish(),
            Happening::Suspicion => self.on_suspicion(),
            Happening::Look => self.on_look(),
            Happening::Death => self.on_death(),
            Happening::ClientNext { client } => self.on_next(client),
            Happening::ClientTimeout { ticket } => self.on_timeout(ticket),
            Happening::ClientRetry { ticket } => self.on_retry(ticket),
            Happening::Arrive { node, ticket, request } => self.on_arrive(node, ticket, request),
            Happening::Respond { node, ticket, response } => self.on_response(node, ticket, response),
        }
    }
}
