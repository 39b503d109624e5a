//! The course of a run: a storm, then calm, in which everything promised must come true.

use super::host::Host;
use super::{Happening, World};
use crate::client::Client;
use crate::hardship::Misery;
use crate::mask::FaultClass;
use crate::oracle::Property;
use crate::record::Happened;
use crate::still::Still;
use consensus_core::{ConsensusAlgorithm, Problem, Time};
use core::time::Duration;

/// How often it is checked whether a phase may end.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How many times as long as the bound a node may take that lacks much, while it gets on.
const MOST_BOUNDS: u32 = 20;
/// How many operations each client completes in the calm.
const CALM_OPERATIONS: u64 = 2;

impl<A: ConsensusAlgorithm> World<A> {
    /// Storm, calm, and on request a last power loss and calm again.
    pub fn run_plan(&mut self) {
        if self.plan.still == Some(Still::InCalm) {
            return self.run_in_calm();
        }
        self.start_faults();
        self.start_workload();
        self.run_until(self.now + self.plan.faults_for);
        self.calm();
        if self.byzantine.may_halt {
            self.run_until(self.now + self.patience);
            return;
        }
        // Nobody claims progress before the network has stabilised.
        self.run_until(self.plan.timing.stabilisation().unwrap_or_default());
        if self.plan.workload.operations.is_some() {
            // Those that were held back ask again, to show that they are served.
            self.start_clients();
        }
        self.expect_progress();
        self.expect_everything();
        let again = self.plan.final_power_loss && self.oracle.failure().is_none();
        if again && self.allows(FaultClass::PowerLoss) {
            self.lose_all_power();
            self.start_workload();
            self.expect_progress();
            self.expect_everything();
        }
        if self.plan.still == Some(Still::AfterStorm) {
            self.expect_no_timer();
        }
    }

    /// Plans the moment of stabilisation, unless the bound holds from the first.
    pub(super) fn await_stabilisation(&mut self) {
        if let Some(at) = self.plan.timing.stabilisation().filter(|&at| at > self.now) {
            self.plan_at(at, Happening::Stabilise);
        }
    }

    /// From now on every message arrives within the bound, and live nodes keep pace. They may go on crashing.
    pub(super) fn on_stabilise(&mut self) {
        self.counts.stabilisations += 1;
        self.trace.event(self.now, 48, 0);
        self.trace.say(self.now, || "the network has stabilised".into());
        if self.stormy {
            self.tape.note(self.now, || Happened::Heal);
            self.links.heal();
            self.fairness.release();
            for index in 0..self.hosts.len() {
                self.resume(index);
            }
        }
    }

    /// Whether promises about time may be broken at the moment.
    pub(super) fn is_unruly(&self) -> bool {
        self.stormy && !self.plan.timing.is_settled(self.now)
    }

    /// The faults end: the links are whole, and every node is up, but for those that are lost for good or left out.
    pub fn calm(&mut self) {
        self.stormy = false;
        self.links.calm();
        self.fairness.release();
        self.fairness.calm(self.now);
        self.lookout.cuts += 1;
        self.trace.event(self.now, 13, 0);
        self.trace.say(self.now, || "the faults are over".into());
        self.tape.note(self.now, || Happened::Calm);
        let nodes = self.hosts.len();
        let mut order: Vec<usize> = (0..nodes).collect();
        self.choices_for(FaultClass::LostNode).shuffle(&mut order);
        for index in 0..nodes {
            self.resume(index);
            if let Some(host) = self.hosts.get(index) {
                host.platter.disk().mend();
            }
        }
        // A node whose disk is damaged is lost already.
        let mut losses = self.hosts.iter().filter(|host| host.lost).count();
        let lost = self.plan.lost_for_good.min(losses + self.losses_left());
        for &index in &order {
            if self.hosts.get(index).is_some_and(|host| host.lost) {
                continue;
            }
            if losses < lost && self.may_lose(index) && self.allows(FaultClass::LostNode) {
                losses += 1;
                self.lose(index);
            } else if !self.is_up(index) {
                self.counts.restarts += 1;
                self.boot(index);
            }
        }
        self.leave_out();
        self.replace_clients();
    }

    /// Every node loses power at once, and those that are not lost for good come back.
    pub fn lose_all_power(&mut self) {
        self.counts.power_losses += 1;
        self.tape.note(self.now, || Happened::PowerLoss);
        self.look_at_power_loss();
        for index in 0..self.hosts.len() {
            self.kill(index);
            // A machine that stood still for ever does not start either.
            if let Some(host) = self.hosts.get_mut(index) {
                host.lost |= host.misery == Some(Misery::Paused);
            }
        }
        for index in 0..self.hosts.len() {
            if let Some(host) = self.hosts.get(index).filter(|host| !host.lost) {
                let boot = host.boot;
                self.plan_in(LOOK_EVERY, Happening::Restart { node: index, boot });
            }
        }
    }

    pub(super) fn forget_completed(&mut self) {
        for client in &mut self.clients {
            (client.completed, client.served) = (0, None);
        }
    }

    /// What everybody waits for must come to pass within the bound.
    pub fn expect_progress(&mut self) {
        match A::GUARANTEES.problem {
            Problem::Log => self.expect_service(Property::Progress),
            Problem::Convergence => {
                self.expect_availability();
                self.expect_service(Property::Progress);
            }
            Problem::OneShot => self.expect_decisions(),
            Problem::AtomicCommit => self.expect_transactions(),
        }
    }

    /// Whatever was promised must be there.
    pub fn expect_everything(&mut self) {
        match A::GUARANTEES.problem {
            Problem::Log => self.expect_log(),
            Problem::Convergence => self.expect_convergence(),
            // Decisions are all there is, and were waited for.
            Problem::OneShot | Problem::AtomicCommit => {}
        }
    }

    /// Every client must be served again within the bound.
    pub(super) fn expect_service(&mut self, property: Property) {
        self.forget_completed();
        let began = self.now;
        let timeout = self.plan.workload.timeout;
        let bound = self.patience + timeout * 16 + self.plan.workload.think * 4;
        let starves = |client: &&Client| client.completed < CALM_OPERATIONS && !client.retired;
        let served = |world: &Self| !world.clients.iter().any(|client| starves(&client));
        if !self.run_while(bound, |world| !served(world)) && !self.serves_the_rest(bound) {
            let starving: Vec<u32> =
                self.clients.iter().filter(starves).map(|client| client.number).collect();
            let why = self.why_not();
            let detail = format!("clients {starving:?} were not served within {bound:?}: {why}");
            self.oracle.fail(property, self.now, detail);
        }
        let lasting = self.clients.iter().filter(|client| !client.retired);
        let served: Option<Vec<Time>> = lasting.map(|client| client.served).collect();
        if let Some(last) = served.and_then(|served| served.into_iter().max()) {
            self.costs.recoveries.push(last.since(began));
        }
    }

    /// Whoever reads where a node cannot keep up with what the others write waits for as long as they write. Such clients must be
    /// served when the others pause; where nobody was served at all it is not that.
    fn serves_the_rest(&mut self, bound: Duration) -> bool {
        if self.clients.iter().all(|client| client.completed == 0) {
            return false;
        }
        self.busy = false;
        let is_served =
            self.run_while(bound, |world| world.clients.iter().any(|client| client.errand.is_some()));
        self.start_clients();
        is_served
    }

    /// Clients finish what they began, and begin nothing new.
    pub(super) fn expect_idle(&mut self) {
        self.busy = false;
        let bound = self.patience + self.plan.workload.timeout * 16;
        let idle = |world: &Self| world.clients.iter().all(|client| client.errand.is_none());
        if !self.run_while(bound, |world| !idle(world)) {
            let detail = format!("clients still wait after {bound:?}: {}", self.why_not());
            self.oracle.fail(Property::Progress, self.now, detail);
        }
    }

    /// Clients finish; then every live node must hold everything that was ever decided. Who lacks much and is fed entry by entry
    /// takes its time: the bound is for those who get nowhere.
    fn expect_log(&mut self) {
        self.expect_idle();
        let bound = self.patience + self.plan.workload.timeout * 16;
        let mut lacking = u64::MAX;
        for _ in 0..MOST_BOUNDS {
            if self.run_while(bound, |world| world.lacking() > 0) {
                return;
            }
            if self.lacking() >= lacking {
                break;
            }
            lacking = self.lacking();
        }
        let last = self.oracle.last();
        let detail = format!("not every node reached {last} within {bound:?}: {}", self.why_not());
        self.oracle.fail(Property::Durability, self.now, detail);
    }

    /// How many slots those who are owed every decision have not applied yet, all together.
    fn lacking(&self) -> u64 {
        let last = self.oracle.last();
        let is_owed = |index: usize, host: &Host<A>| {
            host.misery.is_none() && self.is_member(host) && !self.is_byzantine(index)
        };
        let owed = self.hosts.iter().enumerate().filter(|(index, host)| is_owed(*index, host));
        owed.filter_map(|(_, host)| host.applied()).map(|applied| last.0.saturating_sub(applied.0)).sum()
    }

    /// Runs while `condition` holds, for at most `bound`; whether it ceased to hold (or something failed).
    pub(super) fn run_while(&mut self, bound: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let end: Time = self.now + bound;
        while condition(self) {
            if self.oracle.failure().is_some() {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.run_until(self.now + LOOK_EVERY);
        }
        true
    }
}
