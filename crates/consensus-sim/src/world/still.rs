//! In calm weather no decision waits for a timer: clocks stop, clients ask, and everybody must be answered all the same.
//!
//! A bound on time cannot tell a slow answer from one that a retry rescued, and depends on how long the timers of an algorithm
//! are. Where clocks stand still no timer ever fires, whatever it is for: what is then answered took messages and writes alone, a
//! bounded number of them, and what is not answered never would have been.

use super::World;
use crate::oracle::Property;
use crate::record::Happened;
use consensus_core::{ConsensusAlgorithm, Problem, Timing};
use core::time::Duration;

/// How many legs an operation may take: far more than any sound one takes, since nothing happens in vain while clocks stand still.
const PATIENCE_LEGS: u32 = 1_000;
/// How many legs it is quiet between operations, so that what one leaves behind does not help the next.
const REST_LEGS: u32 = 10;

/// Who asks, of all that ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    /// Nobody else.
    Alone,
    /// Everybody, at the same moment.
    Together,
}

impl<A: ConsensusAlgorithm> World<A> {
    /// No storm; what takes a leader waits for one, then clocks stop.
    pub(super) fn run_in_calm(&mut self) {
        self.calm();
        match A::GUARANTEES.problem {
            Problem::Log | Problem::Convergence => {
                self.start_clients();
                self.expect_progress();
                self.expect_everything();
            }
            Problem::OneShot | Problem::AtomicCommit => {}
        }
        self.expect_no_timer();
    }

    /// Stops all clocks, and has clients ask: one at a time, then all at once.
    pub(super) fn expect_no_timer(&mut self) {
        self.busy = false;
        // Elections, resends and catch-ups that are under way come to their end.
        self.run_until(self.now + self.patience);
        if self.oracle.failure().is_some() {
            return;
        }
        self.stop_clocks();
        let everybody = self.askers();
        match (A::GUARANTEES.problem, A::GUARANTEES.timing) {
            // There is one decision, which needs the proposals of many.
            (Problem::OneShot, Timing::Asynchronous) => {
                self.ask_all(&everybody, Company::Together);
            }
            // Proposals that compete may need time to be told apart, and nobody leads them.
            (Problem::OneShot, Timing::PartialSynchrony | Timing::Synchronous) => self.ask_each(&everybody),
            (Problem::Log | Problem::Convergence | Problem::AtomicCommit, _) => {
                // What nobody refuses must be committed.
                self.faultless = true;
                self.ask_each(&everybody);
                self.faultless = false;
                self.ask_each(&everybody);
                self.ask_more_and_more(&everybody);
            }
        }
    }

    fn stop_clocks(&mut self) {
        self.trace.event(self.now, 65, 0);
        self.trace.say(self.now, || "all clocks stop".into());
        for host in &mut self.hosts {
            let (node, class, text) = (host.id, "still".into(), "its clock stops".into());
            self.tape.note(self.now, || Happened::Act { node, class, text });
            host.clock.stop(self.now);
        }
        // Clients have clocks that go on, and no reason to ask twice.
        let everybody = u32::try_from(self.askers().len()).unwrap_or(u32::MAX);
        self.plan.workload.timeout = self.longest_wait(everybody) * 2;
    }

    /// As long as a message and what its receiver does with it take at most: a delay, a burst and a sync.
    fn longest_leg(&self) -> Duration {
        self.links.calm_bound() + self.plan.burst + self.plan.disk.sync * 3 / 2
    }

    fn longest_wait(&self, clients: u32) -> Duration {
        self.longest_leg().saturating_mul(PATIENCE_LEGS).saturating_mul(clients)
    }

    /// The numbers of all who may ask.
    fn askers(&self) -> Vec<u32> {
        let clients = self.clients.iter().filter(|client| !client.retired).map(|client| client.number);
        clients.chain((0..).zip(&self.proposers).map(|(number, _)| number)).collect()
    }

    fn ask_each(&mut self, clients: &[u32]) {
        for &client in clients {
            self.ask_all(&[client], Company::Alone);
        }
    }

    /// Two at once, then twice as many, and so on up to all of them, as long as there is room for so many.
    fn ask_more_and_more(&mut self, clients: &[u32]) {
        let mut count = 1;
        while count < clients.len() {
            count = (count * 2).min(clients.len());
            let some = clients.get(..count).unwrap_or_default();
            if !self.ask_all(some, Company::Together) {
                return;
            }
        }
    }

    /// All of these ask at once, and must be answered before anybody's timer could fire; whether there was room for all of them.
    fn ask_all(&mut self, clients: &[u32], company: Company) -> bool {
        let bound = self.longest_wait(u32::try_from(clients.len()).unwrap_or(u32::MAX));
        let (began, end, turned_away) = (self.now, self.now + bound, self.turned_away);
        let answers = |&client: &u32| (client, self.answers_to(client));
        // A node that has learnt the one decision has nothing to ask any more.
        let mut waiting: Vec<(u32, u64)> = clients
            .iter()
            .map(answers)
            .filter(|&(_, answers)| A::GUARANTEES.problem != Problem::OneShot || answers == 0)
            .collect();
        let mut waits = Vec::new();
        self.busy = true;
        for &client in clients {
            self.on_next(client);
        }
        self.busy = false;
        while !waiting.is_empty() && self.oracle.failure().is_none() && self.next_before(end) {
            let before = waiting.len();
            waiting.retain(|&(client, answers)| self.answers_to(client) == answers);
            waits.resize(waits.len() + before - waiting.len(), self.now.since(began));
        }
        // A full queue is no calm: whoever is turned away asks again in its own time, and what is dropped is said again.
        if company == Company::Together && self.turned_away > turned_away {
            return false;
        }
        if let Some((first, _)) = waiting.first() {
            let (count, why) = (waiting.len(), self.why_not());
            let detail = format!(
                "with all clocks stopped, {count} of {} clients were not answered, client {first} among them: {why}",
                clients.len()
            );
            self.oracle.fail(Property::NoTimer, self.now, detail);
        }
        self.note_waits(&waits, company);
        self.run_until(self.now + self.longest_leg() * REST_LEGS);
        self.expect_settled_without_timer(bound);
        self.oracle.failure().is_none()
    }

    /// What was committed or aborted must be so at all who take part, and nothing be left in doubt.
    fn expect_settled_without_timer(&mut self, bound: Duration) {
        let is_unsettled = |world: &Self| world.unsettled().is_some();
        if A::GUARANTEES.problem != Problem::AtomicCommit || self.run_while(bound, is_unsettled) {
            return;
        }
        if let Some((_, detail)) = self.unsettled() {
            let detail = format!("with all clocks stopped, {detail}: {}", self.why_not());
            self.oracle.fail(Property::NoTimer, self.now, detail);
        }
    }

    /// In hundredths of the longest leg.
    fn note_waits(&mut self, waits: &[Duration], company: Company) {
        let leg = self.longest_leg().as_nanos().max(1);
        let hundredths =
            waits.iter().map(|wait| u64::try_from(wait.as_nanos() * 100 / leg).unwrap_or(u64::MAX));
        match company {
            Company::Alone => self.costs.alone.extend(hundredths),
            Company::Together => self.costs.together.extend(hundredths),
        }
    }

    /// A number that changes when this client is answered.
    fn answers_to(&self, number: u32) -> u64 {
        let place = number as usize;
        match A::GUARANTEES.problem {
            Problem::Log | Problem::Convergence => self
                .clients
                .get(place)
                .map_or(0, |client| client.completed + u64::from(client.session.is_some())),
            Problem::AtomicCommit => self.told(place),
            Problem::OneShot => {
                let id = self.hosts.get(place).map(|host| host.id);
                u64::from(id.is_some_and(|id| self.oracle.has_decided(id)))
            }
        }
    }
}
