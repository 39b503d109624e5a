//! One node's life: boot, inputs, effects, crash.

use super::byzantine::{contained, index_of};
use super::hardships::Pause;
use super::members::Part;
use super::{Happening, World};
use crate::client::{Request, Response, Ticket};
use crate::clock::Clock;
use crate::hardship::Misery;
use crate::machine::{Applied, Journal, Key, Machine};
use crate::marks::{Forgotten, Mark};
use crate::mask::FaultClass;
use crate::network::{Fate, Loss, Outbox};
use crate::oracle::Property;
use crate::plan::DiskPlan;
use crate::random::MILLION;
use crate::record::{self, Happened};
use crate::storage::{Platter, SimStorage};
use crate::watch::{Tap, Watched, WatchedConfig};
use consensus_core::{
    ConsensusAlgorithm, Event, Members, Node, NodeConfig, NodeError, NodeId, Outcome, PendingSnapshot,
    ProposalId, ReadId, Refusal, Reply, Role, Slot, Status, Time, wire,
};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How long a node that crashed while it recovered stays down.
const RECOVERY_PAUSE: core::time::Duration = core::time::Duration::from_millis(3);

type SimNode<A> = Node<
    Watched<A>,
    Outbox<<A as ConsensusAlgorithm>::Message>,
    SimStorage<<A as ConsensusAlgorithm>::Record>,
    Machine,
>;

/// The machine that a node runs on: what outlives the node, and the node while it runs.
pub(super) struct Host<A: ConsensusAlgorithm> {
    pub(super) id: NodeId,
    pub(super) platter: Platter,
    pub(super) node: Option<SimNode<A>>,
    /// Counts boots, so that what was planned for an earlier one is ignored.
    pub(super) boot: u64,
    /// It stays down for ever.
    pub(super) lost: bool,
    /// Its disk is damaged, so that it must not start.
    pub(super) bad_disk: bool,
    /// It is no part of the core, and this is why.
    pub(super) misery: Option<Misery>,
    wake: Option<Time>,
    /// It runs, and has no timer.
    rests: bool,
    flush_planned: bool,
    /// A snapshot that is being written out.
    pending: Option<PendingSnapshot>,
    pub(super) tap: Tap,
    pub(super) journal: Journal,
    waiting: BTreeMap<ProposalId, Ticket>,
    reads: BTreeMap<ReadId, (Ticket, Key)>,
    last_status: Option<(Role, u64)>,
    /// Whom the node last took for the members.
    pub(super) last_members: Option<Members>,
    /// What it may keep: settled when it is first to be a member, and never changed.
    pub(super) part: Option<Part>,
    /// What this node takes for the time.
    pub(super) clock: Clock,
    /// How many millionths of a second its clock counts in a second.
    pub(super) rate_ppm: u64,
    /// It handles nothing at the moment.
    pub(super) paused: Option<Pause>,
    /// Its disk is slow up to here.
    pub(super) slow_until: Time,
    /// How many times slower it is until then.
    pub(super) slower: u32,
}

impl<A: ConsensusAlgorithm> Host<A> {
    pub(super) fn new(id: NodeId, disk: &DiskPlan, rate_ppm: u64) -> Self {
        Self {
            id,
            platter: Platter::new(id, disk),
            node: None,
            boot: 0,
            lost: false,
            bad_disk: false,
            misery: None,
            wake: None,
            rests: false,
            flush_planned: false,
            pending: None,
            tap: Tap::default(),
            journal: Journal::default(),
            waiting: BTreeMap::new(),
            reads: BTreeMap::new(),
            last_status: None,
            last_members: None,
            part: None,
            clock: Clock::TRUE,
            rate_ppm,
            paused: None,
            slow_until: Time::ZERO,
            slower: 1,
        }
    }

    /// The process ends, and all that only it knew.
    pub(super) fn stop(&mut self) {
        (self.node, self.paused, self.pending) = (None, None, None);
        self.waiting.clear();
        self.reads.clear();
        self.boot += 1;
    }

    pub(super) fn status(&self) -> Option<Status> {
        self.node.as_ref().map(Node::status)
    }

    pub(super) fn applied(&self) -> Option<Slot> {
        self.node.as_ref().map(Node::applied)
    }

    /// How many proposals and reads it has taken and not answered.
    pub(super) fn unanswered(&self) -> (usize, usize) {
        (self.waiting.len(), self.reads.len())
    }

    /// What this node says of itself.
    pub(super) fn describe(&mut self) -> String {
        let id = self.id;
        match &mut self.node {
            None if self.lost => format!("{id} is down for good"),
            None => format!("{id} is down"),
            Some(node) => {
                let (status, applied) = (node.status(), node.applied());
                let waiting = node.storage().waiting();
                format!(
                    "{id} is {:?} in {}, follows {:?}, knows {} decided, applied {applied}, {waiting} writes wait for its disk, {} proposals wait",
                    status.role,
                    status.epoch,
                    status.leader,
                    status.decided,
                    self.waiting.len()
                )
            }
        }
    }
}

impl<A: ConsensusAlgorithm> World<A> {
    /// Starts the node on what its disk holds.
    pub(super) fn boot(&mut self, index: usize) {
        let seed = self.seed_of_boot(index);
        let is_byzantine = self.is_byzantine(index);
        let clock = self.new_clock(index);
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.boot += 1;
        host.clock = clock;
        (host.wake, host.rests, host.flush_planned, host.last_status) = (None, false, false, None);
        host.tap = Tap::default();
        host.journal = Journal::default();
        self.trace.event(self.now, 20, host.id.0);
        let id = host.id;
        self.trace.say(self.now, || format!("{id} boots"));
        self.tape.note(self.now, || Happened::Boot { node: id });
        if self.plan.clocks.is_some() {
            let (shows, rate_ppm) = (clock.read(self.now), host.rate_ppm);
            self.tape.note(self.now, || Happened::Clock { node: id, shows, rate_ppm });
        }
        let inner = self.config.clone();
        // Who joins later is told by the others who they are.
        let is_native = self.members.contains(id);
        let members = if is_native { self.members.clone() } else { Members::default() };
        let config = NodeConfig::<Watched<A>> {
            id,
            members,
            algorithm: WatchedConfig { inner, tap: Rc::clone(&host.tap) },
            seed,
            compact_after_bytes: self.plan.compact_after_bytes,
            compact_after_slots: self.plan.compact_after_slots,
            defers_snapshots: !self.plan.snapshot_writing.is_zero(),
            check_invariants: !is_byzantine,
        };
        let machine =
            Machine::new(A::GUARANTEES.problem, id, Rc::clone(&host.journal), self.plan.workload.last_wins);
        let choices = &mut self.streams.faults.get_mut(FaultClass::InterruptedRecovery).fork();
        let interrupted = choices.chance(MILLION / 10)
            && self.stormy
            && self.injector.allows(FaultClass::InterruptedRecovery);
        let opened = host.platter.open(interrupted.then_some(choices)).map_err(NodeError::from);
        if interrupted && opened.is_err() {
            self.fail_again(index);
            return;
        }
        let local = host.clock.read(self.now);
        let open =
            || opened.and_then(|storage| Node::open(config, local, Outbox::default(), storage, machine));
        match contained(is_byzantine, open) {
            None => self.collapse(index, "a panic"),
            Some(Err(error)) if is_byzantine => self.collapse(index, &error.to_string()),
            Some(Ok(node)) => {
                self.lookout.on_boot(index, node.applied() > Slot::ZERO);
                host.node = Some(node);
                if !is_byzantine {
                    self.oracle.on_boot(self.now, id);
                }
                self.settle(index);
            }
            Some(Err(error)) if self.tries_again(index, &error) => {}
            Some(Err(error)) => {
                self.oracle.fail(Property::Recovery, self.now, format!("{id} does not start: {error}"));
            }
        }
    }

    /// The power failed in the midst of recovery: the node tries again.
    fn fail_again(&mut self, index: usize) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.platter.forget_fault();
        let lost = host.platter.crash(&mut self.streams.disk.fork());
        self.lookout.on_crash(index, 0, lost);
        self.lookout.marks.hit(Mark::CrashInRecovery);
        self.counts.crashes += 1;
        let (id, boot) = (host.id, host.boot);
        self.trace.event(self.now, 22, id.0);
        self.trace.say(self.now, || format!("{id} crashes while it recovers"));
        self.tape.note(self.now, || Happened::Crash { node: id });
        self.plan_in(RECOVERY_PAUSE, Happening::Restart { node: index, boot });
    }

    /// Takes the power from the node. What it had not synced is lost, in part.
    pub(super) fn kill(&mut self, index: usize) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        let Some(mut node) = host.node.take() else { return };
        let choices = &mut self.streams.disk.fork();
        let waiting = node.storage().waiting();
        let led_at_rest = node.deadline().is_none() && node.status().role == Role::Leader;
        self.lookout.marks.hit_if(Mark::LeaderLostAtRest, led_at_rest);
        let lost = if self.injector.allows(FaultClass::TornCrash) {
            node.storage().interrupt(choices);
            host.platter.crash(choices)
        } else {
            host.platter.crash_cleanly();
            Forgotten::default()
        };
        drop(node);
        self.lookout.on_crash(index, waiting, lost);
        host.platter.forget_fault();
        host.stop();
        let id = host.id;
        self.oracle.on_down(self.now, id);
        self.trace.event(self.now, 21, id.0);
        self.trace.say(self.now, || format!("{id} crashes"));
        self.tape.note(self.now, || Happened::Crash { node: id });
    }

    pub(super) fn is_up(&self, index: usize) -> bool {
        self.hosts.get(index).is_some_and(|host| host.node.is_some())
    }

    /// Hands one event to the node, now or at the end of its burst.
    pub(super) fn tell(&mut self, index: usize, event: Event<A::Message>) {
        let (burst, is_byzantine) = (self.plan.burst, self.is_byzantine(index));
        let Some(host) = self.hosts.get_mut(index) else { return };
        if host.paused.is_some() {
            return;
        }
        // Read when the event happens; at the end of a burst it is read again.
        let (boot, local) = (host.boot, host.clock.read(self.now));
        let Some(node) = &mut host.node else { return };
        self.steps += 1;
        let act = || if burst.is_zero() { node.handle(local, event) } else { node.push(local, event) };
        match contained(is_byzantine, act) {
            None => return self.collapse(index, "a panic"),
            Some(Err(error)) => return self.on_stopped(index, &error),
            Some(Ok(())) => {}
        }
        if burst.is_zero() {
            self.settle(index);
        } else if !host.flush_planned {
            host.flush_planned = true;
            self.plan_in(burst, Happening::Flush { node: index, boot });
        }
    }

    /// The last one that was begun, if several were.
    pub(super) fn on_snapshot_written(&mut self, index: usize, boot: u64) {
        let host = self.hosts.get_mut(index).filter(|host| host.boot == boot);
        let Some(pending) = host.and_then(|host| host.pending.take()) else { return };
        self.trace.event(self.now, 3, pending.through().0);
        self.tell(index, pending.write());
    }

    pub(super) fn on_flush(&mut self, index: usize, boot: u64) {
        let is_byzantine = self.is_byzantine(index);
        let Some(host) = self.hosts.get_mut(index).filter(|host| host.boot == boot) else { return };
        let Some(node) = &mut host.node else { return };
        host.flush_planned = false;
        self.trace.event(self.now, 2, host.id.0);
        self.steps += 1;
        let local = host.clock.read(self.now);
        match contained(is_byzantine, || node.flush(local)) {
            None => return self.collapse(index, "a panic"),
            Some(Err(error)) => return self.on_stopped(index, &error),
            Some(Ok(())) => {}
        }
        self.settle(index);
    }

    /// Looks at everything that a burst brought about.
    fn settle(&mut self, index: usize) {
        self.expect_fail_stop(index);
        self.observe(index);
        self.post(index);
        self.answer(index);
        let Some(host) = self.hosts.get_mut(index) else { return };
        let boot = host.boot;
        let Some(node) = &mut host.node else { return };
        let writes = node.storage().begin();
        let begun = node.take_pending_snapshot();
        let begins = begun.is_some();
        host.pending = begun.or_else(|| host.pending.take());
        let deadline = node.deadline().map(|at| host.clock.when(at));
        let rested = core::mem::replace(&mut host.rests, deadline.is_none());
        self.counts.rests += u64::from(host.rests && !rested);
        let wake = deadline.filter(|&at| host.wake.is_none_or(|planned| at < planned));
        if wake.is_some() {
            host.wake = wake;
        }
        if let Some(at) = wake {
            // A timer in the past fires soon, but time goes on.
            self.plan_at(
                at.max(self.now + core::time::Duration::from_micros(1)),
                Happening::Wake { node: index },
            );
        }
        if begins {
            let span = self.slowed(index, self.plan.snapshot_writing);
            self.plan_in(span, Happening::Snapshot { node: index, boot });
        }
        if writes {
            let unruly = self.is_unruly();
            let (disk, choices) = (&self.plan.disk, &mut self.streams.disk);
            let mut span = choices.around(disk.sync);
            if unruly && choices.chance(disk.slow_ppm) {
                let more = choices.span(core::time::Duration::ZERO, disk.slow);
                let allowed = self.injector.allows(FaultClass::SlowSync);
                span += if allowed { more } else { core::time::Duration::ZERO };
            }
            let span = self.slowed(index, span);
            let (node, until) = (record::node(self.identity(index)), self.now + span);
            self.tape.note(self.now, || Happened::Sync { node, until });
            self.plan_in(span, Happening::DiskDone { node: index, boot });
        }
    }

    fn observe(&mut self, index: usize) {
        if self.is_byzantine(index) {
            return self.disregard(index);
        }
        self.observe_members(index);
        let Some(host) = self.hosts.get_mut(index) else { return };
        let id = host.id;
        let Some(node) = &mut host.node else { return };
        let installs;
        {
            let mut journal = host.journal.borrow_mut();
            installs = journal.iter().filter(|entry| matches!(entry, Applied::Installed { .. })).count();
            let mut tap = host.tap.borrow_mut();
            if host.part == Some(Part::Witness) {
                // What it decides are places only.
                tap.clear();
                journal.clear();
            } else {
                self.tape.applied(self.now, id, &tap, &journal, node.applied());
                self.oracle.on_applied(self.now, id, &mut tap, &mut journal, node.applied());
            }
        }
        let status = node.status();
        let now_is = (status.role, status.epoch.0);
        let changes = host.last_status != Some(now_is);
        if changes {
            host.last_status = Some(now_is);
            self.trace.say(self.now, || format!("{id} is {:?} in {}", status.role, status.epoch));
            self.tape.note(self.now, || Happened::role(id, &status));
        }
        self.oracle.on_status(self.now, id, &status);
        for note in node.notes() {
            self.trace.say(self.now, || format!("{id} notes {note:?}"));
        }
        let accusations: Vec<_> = node.accusations().collect();
        for (peer, offence) in accusations {
            if !self.may_accuse(index, peer) {
                let detail = format!("{id} accuses {peer}: {offence:?}");
                self.oracle.fail(Property::NoFalseAccusation, self.now, detail);
            }
        }
        self.look_at_installs(index, installs);
        if changes {
            self.look_at_status(index, &status);
        }
    }

    /// Hands what the node sent to the links.
    fn post(&mut self, index: usize) {
        let Some(node) = self.hosts.get_mut(index).and_then(|host| host.node.as_mut()) else { return };
        let mut sent = core::mem::take(&mut node.network().sent);
        self.betray(index, &mut sent);
        for (to, frame) in sent.drain(..) {
            let Some(target) = index_of(to) else { continue };
            for number in 0..self.twin_count(target) {
                if let Some(twin) = self.twin(target, number) {
                    self.launch(index, twin, frame.clone());
                }
            }
            self.launch(index, target, frame);
        }
        // The emptied outbox is used again.
        if let Some(node) = self.hosts.get_mut(index).and_then(|host| host.node.as_mut()) {
            node.network().sent = sent;
        }
    }

    /// Hands one frame to the link between two hosts.
    pub(super) fn launch(&mut self, index: usize, to: usize, frame: Vec<u8>) {
        self.launch_as(index, index, to, frame);
    }

    /// As [`Self::launch`], under the name of `claimed`.
    pub(super) fn launch_as(&mut self, claimed: usize, index: usize, to: usize, mut frame: Vec<u8>) {
        // A link joins identities, whichever of their instances speaks.
        let (from, target) = (self.identity(index), self.identity(to));
        self.costs.messages += 1;
        self.costs.message_bytes += frame.len() as u64;
        let fate = if self.is_parted(index, to) {
            Fate::Lost(Loss::Cut)
        } else {
            let choices = &mut self.streams.network;
            self.links.fate(self.now, (from, target), frame.len(), choices, &mut self.injector)
        };
        let (first, second) = match fate {
            Fate::Arrives(first, second) => (first, second),
            Fate::Lost(loss) => {
                self.tape.sent::<A::Message>(self.now, (from, target), &frame, Some(loss));
                self.count_loss(loss);
                return;
            }
        };
        if self.links.corrupt(self.now, &mut frame, &mut self.injector) {
            self.tape.sent::<A::Message>(self.now, (from, target), &frame, Some(Loss::Corrupted));
            self.drop_corrupted(index, &frame);
            return;
        }
        self.counts.forwarded += u64::from(self.links.hops(from, target).is_some_and(|hops| hops > 1));
        let message = self.tape.sent::<A::Message>(self.now, (self.identity(claimed), target), &frame, None);
        let stamp = self.stamp(index, to);
        if let Some(delay) = second {
            self.counts.duplicated += 1;
            let frame = frame.clone();
            self.plan_in(delay, Happening::Deliver { from: claimed, to, frame, message, stamp });
        }
        self.plan_in(first, Happening::Deliver { from: claimed, to, frame, message, stamp });
    }

    pub(super) const fn count_loss(&mut self, loss: Loss) {
        match loss {
            Loss::Cut | Loss::Chance => self.counts.lost += 1,
            Loss::Flap => self.counts.lost_to_flaps += 1,
            Loss::Burst => self.counts.lost_in_bursts += 1,
            Loss::Queue => self.counts.lost_in_queues += 1,
            Loss::Corrupted => self.counts.corrupted += 1,
        }
    }

    /// Tells clients what the node has for them.
    fn answer(&mut self, index: usize) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        let Some(node) = &mut host.node else { return };
        let applied = node.applied();
        let replies: Vec<Reply> = node.replies().collect();
        for reply in replies {
            let Some(host) = self.hosts.get_mut(index) else { return };
            if let Reply::Refused { reason, .. } | Reply::ReadRefused { reason, .. } = &reply {
                self.turned_away += u64::from(*reason == Refusal::Busy);
            }
            let answer = match reply {
                Reply::Done { id, slot, outcome } => {
                    host.waiting.remove(&id).map(|ticket| (ticket, Response::Decided { slot, outcome }))
                }
                Reply::Refused { id, reason } => {
                    // Where clients ask every node, one that turns a command down still learns what came of it.
                    let ticket = if Self::asks_all() {
                        host.waiting.get(&id).copied()
                    } else {
                        host.waiting.remove(&id)
                    };
                    ticket.map(|ticket| (ticket, Response::Refused(reason)))
                }
                Reply::ReadReady { id, at: _ } => host.reads.remove(&id).and_then(|(ticket, key)| {
                    let value = host.node.as_ref()?.machine().get(key);
                    Some((ticket, Response::Read { slot: applied, value }))
                }),
                Reply::ReadRefused { id, reason } => {
                    host.reads.remove(&id).map(|(ticket, _)| (ticket, Response::Refused(reason)))
                }
            };
            if let Some((ticket, response)) = answer {
                self.send_response(index, ticket, response);
            }
        }
    }

    pub(super) fn on_deliver(&mut self, from: usize, to: usize, frame: &[u8]) {
        let (Some(sender), Some(host)) = (self.hosts.get(from).map(|host| host.id), self.hosts.get(to))
        else {
            return;
        };
        if host.node.is_none() {
            return;
        }
        let id = host.id;
        self.trace.event(self.now, 1, sender.0 << 16 | id.0);
        self.trace.bytes(frame);
        self.counts.delivered += 1;
        if self.is_missed(to, frame) {
            return;
        }
        let decoded = wire::decode::<A::Message>(frame, wire::MAX_FRAME_BYTES);
        let message = match decoded {
            Ok(message) => message,
            Err(_) if self.is_byzantine(from) || self.is_byzantine(to) => return self.on_undecodable(to),
            Err(error) => {
                let detail = format!("{id} cannot decode what {sender} sent: {error}");
                self.oracle.fail(Property::NoFalseAccusation, self.now, detail);
                return;
            }
        };
        if let Err(offence) = A::screen(&self.config, sender, &message) {
            if !self.may_accuse(to, sender) {
                let detail = format!("{id} accuses {sender} of {message:?}: {offence:?}");
                self.oracle.fail(Property::NoFalseAccusation, self.now, detail);
            }
            return;
        }
        self.trace.say(self.now, || format!("{sender} → {id} {message:?}"));
        self.tell(to, Event::Message { from: sender, message });
    }

    pub(super) fn on_wake(&mut self, index: usize) {
        let now = self.now;
        let still_until = self.stands_still(index);
        let Some(host) = self.hosts.get_mut(index) else { return };
        let clock = host.clock;
        // A wake-up that an earlier one replaced still comes; the deadline decides.
        host.wake = host.wake.filter(|&at| at > now);
        let Some(node) = &mut host.node else { return };
        let id = host.id;
        match node.deadline().map(|at| still_until.unwrap_or(now).max(clock.when(at))) {
            Some(at) if at <= now => {
                self.trace.event(now, 3, id.0);
                self.tell(index, Event::Tick);
            }
            Some(at) if host.wake.is_none() => {
                host.wake = Some(at);
                self.plan_at(at, Happening::Wake { node: index });
            }
            Some(_) | None => {}
        }
    }

    pub(super) fn on_disk_done(&mut self, index: usize, boot: u64) {
        let Some(host) = self.hosts.get_mut(index).filter(|host| host.boot == boot) else { return };
        let Some(node) = &mut host.node else { return };
        let writes = node.storage().complete(&mut self.streams.disk);
        self.costs.writes += writes as u64;
        self.counts.syncs += 1;
        let id = host.id;
        self.trace.event(self.now, 4, id.0);
        self.tell(index, Event::Written);
    }

    pub(super) fn on_arrive(&mut self, index: usize, ticket: Ticket, request: Request) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        self.trace.event(self.now, 5, u64::from(ticket.client));
        if host.node.is_none() {
            self.send_response(index, ticket, Response::Unreachable);
            return;
        }
        match request {
            Request::Propose { id, payload } => {
                host.waiting.insert(id, ticket);
                let payload = self.in_context(index, id, payload);
                self.tell(index, Event::Propose { id, payload });
            }
            Request::Local { key, after } => {
                let node = host.node.as_ref().filter(|node| node.applied() >= after);
                let value = node.map(|node| (node.applied(), node.machine().get(key)));
                let response = value
                    .map_or(Response::Refused(Refusal::Busy), |(slot, value)| Response::Read { slot, value });
                self.send_response(index, ticket, response);
            }
            Request::Read { id, key } => {
                host.reads.insert(id, (ticket, key));
                self.tell(index, Event::Read(id));
            }
        }
    }

    fn send_response(&mut self, node: usize, ticket: Ticket, response: Response) {
        let response = self.twist(node, ticket, response);
        if let Response::Decided { outcome: Outcome::Noop, .. } | Response::Refused(Refusal::Unsupported) =
            response
            && !self.is_byzantine(node)
        {
            let detail = format!("a command was answered with {response:?}");
            self.oracle.fail(Property::Integrity, self.now, detail);
        }
        if let Some(delay) = self.client_link() {
            self.plan_in(delay, Happening::Respond { node, ticket, response });
        }
    }
}
