//! The clients: they ask, wait, follow hints, retry if they have a session, and give up if they have none.

use super::byzantine::index_of;
use super::{Happening, World};
use crate::client::{Client, Errand, Request, Response, Ticket};
use crate::machine::{Answer, Call, Command, Key, answer_of};
use crate::marks::Mark;
use crate::mask::FaultClass;
use crate::record::{self, Happened};
use bytes::Bytes;
use consensus_core::{
    ClientId, ConsensusAlgorithm, Outcome, Problem, ProposalId, ReadId, Reads, Refusal, Slot, wire,
};
use core::time::Duration;

/// How long a client waits before it tries again, if it has no hint.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// How long a client waits at least once the faults are over.
pub(super) const CALM_TIMEOUT: Duration = Duration::from_secs(1);
/// How many times its first patience a client has at most.
const MAX_BACK_OFF: u64 = 8;

impl<A: ConsensusAlgorithm> World<A> {
    pub(super) fn add_clients(&mut self) {
        for number in 0..self.plan.workload.clients {
            let choices = &mut self.streams.clients;
            let wants_session = choices.chance(self.plan.workload.session_ppm);
            let is_known = self.plan.workload.seal.is_some();
            let uses_session = (wants_session || is_known) && A::GUARANTEES.problem == Problem::Log;
            let target = choices.index(self.plan.hosts());
            let mut client = Client::new(number, uses_session, target);
            client.session = is_known.then(|| ClientId::known(u64::from(number) + 1));
            self.clients.push(client);
        }
    }

    /// Lets every idle client begin.
    pub(super) fn start_clients(&mut self) {
        self.busy = true;
        for index in 0..self.clients.len() {
            let think = self.streams.clients.around(self.plan.workload.think);
            let client = u32::try_from(index).unwrap_or(u32::MAX);
            self.plan_in(think, Happening::ClientNext { client });
        }
    }

    pub(super) fn client(&mut self, number: u32) -> Option<&mut Client> {
        self.clients.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn on_client_next(&mut self, number: u32) {
        if !self.busy || self.client(number).is_none_or(|client| client.errand.is_some() || client.retired) {
            return;
        }
        let begun = self.history.operations().len() as u64;
        if self.stormy && self.plan.workload.operations.is_some_and(|most| begun >= most) {
            return;
        }
        self.trace.event(self.now, 6, u64::from(number));
        let workload = self.plan.workload.clone();
        let Some(client) = self.clients.get_mut(number as usize) else { return };
        client.errands += 1;
        if client.uses_session && client.session.is_none() {
            let nonce = u64::from(number) << 32 | client.errands | 1 << 62;
            let (id, payload) = (ProposalId::open_session(nonce), Bytes::new());
            self.oracle.on_proposed(id, &payload);
            let request = Request::Propose { id, payload };
            self.begin(number, None, Key(0), Call::Get, request);
            return;
        }
        let (key, call) =
            client.draw(&workload, A::GUARANTEES.reads == Reads::Local, &mut self.streams.clients);
        let operation = self.history.invoke(number, key, call, self.now);
        let through_log = match A::GUARANTEES.reads {
            Reads::Barrier => self.streams.clients.chance(workload.log_read_ppm),
            Reads::ThroughLog => true,
            Reads::Local => false,
        };
        let request = if call == Call::Get && !through_log {
            self.read_request(number, key)
        } else {
            let Some(client) = self.clients.get_mut(number as usize) else { return };
            let id = client.next_id();
            self.history.name(operation, id);
            let length = self.streams.clients.between(0, workload.ballast_bytes);
            let ballast = vec![0xa5; usize::try_from(length).unwrap_or_default()].into();
            let payload = Bytes::from(wire::encode(&Command { key, call, ballast }));
            self.oracle.on_proposed(id, &payload);
            Request::Propose { id, payload }
        };
        self.begin(number, Some(operation), key, call, request);
    }

    fn begin(
        &mut self,
        number: u32,
        operation: Option<crate::history::OperationNumber>,
        key: Key,
        call: Call,
        request: Request,
    ) {
        self.tape.note(self.now, || Happened::Invoke {
            client: number,
            text: if operation.is_some() { record::wish(key, call) } else { "open a session".into() },
        });
        self.lookout.on_invoke(number);
        let errand =
            Errand { number: operation, key, call, request, attempts: 0, timeouts: 0, in_doubt: false };
        if let Some(client) = self.client(number) {
            client.errand = Some(errand);
        }
        self.attempt(number);
    }

    /// Sends the errand, for the first time or again.
    fn attempt(&mut self, number: u32) {
        self.next_read += 1;
        let fresh = ReadId(self.next_read);
        let target = self.target_of(number);
        let Some(client) = self.client(number) else { return };
        let Some(errand) = &mut client.errand else { return };
        errand.attempts += 1;
        // Every attempt at a read is a read of its own.
        if let Request::Read { id, .. } = &mut errand.request {
            *id = fresh;
        }
        let (request, call, key, timeouts) =
            (errand.request.clone(), errand.call, errand.key, errand.timeouts);
        let ticket = client.ticket();
        self.trace
            .say(self.now, || format!("client {number} asks n{} {call:?} {key:?} {request:?}", target + 1));
        self.ask(target, ticket, &request);
        // Without a back-off, clients that are impatient and many keep a slow group busy with retries for ever. A refusal is an
        // answer: who was refused often, while nobody led, has no reason to wait longer.
        let patience = u32::try_from((1 + timeouts).min(MAX_BACK_OFF)).unwrap_or(1);
        let mut timeout = self.plan.workload.timeout * patience;
        if !self.stormy {
            // Clients that give up before a full queue is worked off would never be served.
            timeout = timeout.max(CALM_TIMEOUT);
        }
        self.plan_in(timeout, Happening::ClientTimeout { ticket });
    }

    /// How long a message between client and node takes; `None` if it is lost. Partitions do not cut clients off.
    pub(super) fn client_link(&mut self) -> Option<Duration> {
        let choices = &mut self.streams.clients;
        let lost = choices.chance(self.plan.network.loss_ppm / 2);
        let delay = choices.around(self.plan.network.delay / 2);
        let lost = lost && self.stormy && self.injector.allows(FaultClass::ClientLoss);
        (!lost).then_some(delay)
    }

    pub(super) fn on_client_timeout(&mut self, ticket: Ticket) {
        let next = self.some_target();
        let Some(client) = self.client(ticket.client).filter(|client| client.ticket() == ticket) else {
            return;
        };
        let Some(errand) = &mut client.errand else { return };
        if !Self::STICKY {
            client.target = next;
        }
        errand.in_doubt = true;
        errand.timeouts += 1;
        let is_read = errand.request.is_read();
        let retries = is_read || client.uses_session;
        self.trace.event(self.now, 7, u64::from(ticket.client));
        if retries {
            self.attempt(ticket.client);
        } else {
            self.give_up(ticket.client);
        }
    }

    /// The client never learns what came of its operation.
    pub(super) fn give_up(&mut self, number: u32) {
        self.trace.say(self.now, || format!("client {number} gives up"));
        self.tape.note(self.now, || Happened::GiveUp { client: number });
        let think = self.streams.clients.around(self.plan.workload.think);
        if let Some(client) = self.client(number) {
            client.errand = None;
        }
        self.plan_in(think, Happening::ClientNext { client: number });
    }

    pub(super) fn on_respond(&mut self, node: usize, ticket: Ticket, response: Response) {
        let Some(client) = self.client(ticket.client).filter(|client| client.errands == ticket.errand) else {
            return;
        };
        let is_current = client.ticket() == ticket;
        if client.errand.is_none() {
            return;
        }
        self.trace.event(self.now, 8, u64::from(ticket.client));
        self.trace.say(self.now, || format!("client {} hears {response:?}", ticket.client));
        let Some(response) = self.believe(node, ticket, response) else { return };
        let node = self.identity(node);
        match response {
            Response::Decided { slot, outcome } => self.on_outcome(ticket.client, node, slot, outcome),
            Response::Read { slot, value } => {
                self.complete(ticket.client, node, Answer::Value(value), Some(slot));
            }
            // The answer to an earlier attempt says nothing about this one.
            Response::Refused(_) | Response::Unreachable if !is_current => {}
            Response::Refused(reason) => self.on_refused(ticket, &reason),
            Response::Unreachable => self.on_refused(ticket, &Refusal::NotLeader { hint: None }),
        }
    }

    fn on_outcome(&mut self, number: u32, node: usize, slot: Slot, outcome: Outcome) {
        match outcome {
            Outcome::Applied(reply) => {
                let Some(answer) = answer_of(&reply) else { return };
                // A repeated command took effect earlier than where its repetition was decided.
                let id = self.client(number).and_then(|client| match client.errand.as_ref()?.request {
                    Request::Propose { id, .. } => Some(id),
                    Request::Read { .. } | Request::Local { .. } => None,
                });
                let effective = id.and_then(|id| self.oracle.effective(id)).unwrap_or(slot);
                self.lookout.marks.hit_if(Mark::RetryAppliedOnce, effective < slot);
                self.complete(number, node, answer, Some(effective));
            }
            Outcome::Opened(session) => {
                let think = self.streams.clients.around(self.plan.workload.think);
                let text = format!("{session:?}");
                self.tape.note(self.now, || Happened::Return { client: number, text, slot: Some(slot) });
                let Some(client) = self.client(number) else { return };
                client.session = Some(session);
                client.sequence = 0;
                client.errand = None;
                client.target = node;
                self.plan_in(think, Happening::ClientNext { client: number });
            }
            Outcome::Expired | Outcome::Stale | Outcome::Aborted(_) | Outcome::Noop => {
                if let Some(client) = self.client(number) {
                    client.session.take_if(|session| !session.is_known());
                }
                self.give_up(number);
            }
        }
    }

    fn complete(&mut self, number: u32, node: usize, answer: Answer, slot: Option<Slot>) {
        let (think, now) = (self.streams.clients.around(self.plan.workload.think), self.now);
        let Some(client) = self.client(number) else { return };
        let Some(errand) = client.errand.take() else { return };
        if !Self::STICKY {
            client.target = node;
            client.floor = client.floor.max(slot.unwrap_or_default());
        }
        client.completed += 1;
        client.refused = None;
        client.served.get_or_insert(now);
        client.learn(errand.key, errand.call, answer);
        self.lookout.on_return(number, errand.call == Call::Get);
        self.tape.note(self.now, || Happened::Return { client: number, text: record::learnt(answer), slot });
        if let Some(operation) = errand.number {
            self.history.complete(operation, answer, slot);
        }
        self.plan_in(think, Happening::ClientNext { client: number });
    }

    fn on_refused(&mut self, ticket: Ticket, reason: &Refusal) {
        self.lookout.marks.hit_if(Mark::Busy, *reason == Refusal::Busy);
        let hint = if let Refusal::NotLeader { hint } = reason { *hint } else { None };
        let hint = hint.and_then(index_of).filter(|&index| self.is_reachable(index));
        let next = hint.unwrap_or_else(|| self.some_target());
        let Some(client) = self.client(ticket.client) else { return };
        let uses_session = client.uses_session;
        client.refused = Some(reason.clone());
        if !Self::STICKY {
            client.target = next;
        }
        let Some(errand) = &mut client.errand else { return };
        errand.in_doubt |= !reason.is_definite();
        let (in_doubt, is_read) = (errand.in_doubt, errand.request.is_read());
        if in_doubt && !is_read && !uses_session {
            self.give_up(ticket.client);
        } else if hint.is_some() && !self.attempts(ticket.client).is_multiple_of(8) {
            self.attempt(ticket.client);
        } else {
            // A pause keeps it from asking round and round while nobody leads.
            let pause = self.streams.clients.around(RETRY_PAUSE);
            self.plan_in(pause, Happening::ClientRetry { ticket });
        }
    }

    pub(super) fn on_client_retry(&mut self, ticket: Ticket) {
        let Some(client) = self.client(ticket.client).filter(|client| client.ticket() == ticket) else {
            return;
        };
        if client.errand.is_some() {
            self.attempt(ticket.client);
        }
    }

    fn attempts(&mut self, number: u32) -> u64 {
        self.client(number).and_then(|client| client.errand.as_ref()).map_or(0, |errand| errand.attempts)
    }
}
