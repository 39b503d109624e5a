//! Atomic commitment: clients hand transactions to coordinators. Each names its participants by what it writes; some
//! participants are told to refuse, others do because a register is reserved.
//!
//! After the storm the course has three more acts: everybody is served again; a node dies on which others wait, and the live
//! ones must say so, and wait for nobody else; all are back, and what is proposed then and can be accepted is committed.

use super::super::{Happening, World};
use crate::client::{Response, Ticket};
use crate::machine::{Key, Transaction, TransactionWrite};
use crate::oracle::Property;
use crate::record::Happened;
use crate::wrap::Wrapped;
use bytes::Bytes;
use consensus_core::{
    ClientId, ConsensusAlgorithm, NodeId, Outcome, ProposalId, Refusal, Termination, Verdict, wire,
};
use core::time::Duration;

/// How long a client waits before it tries a node again that is down or busy.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// How many transactions each client has settled in the calm before it may be expected that nothing is left of the storm.
const CALM_TRANSACTIONS: u64 = 2;
/// How long it is waited for somebody to be blocked on a node that is up.
const HUNT: Duration = Duration::from_millis(200);

impl<A: ConsensusAlgorithm> World<A> {
    pub(super) fn start_transactions(&mut self) {
        self.busy = true;
        for index in 0..self.proposers.len() {
            let think = self.streams.clients.around(self.plan.workload.think);
            let client = u32::try_from(index).unwrap_or(u32::MAX);
            self.plan_in(think, Happening::ClientNext { client });
        }
    }

    pub(super) fn on_transaction_next(&mut self, number: u32) {
        if !self.busy || self.proposer(number).is_none_or(|proposer| proposer.wish.is_some()) {
            return;
        }
        self.trace.event(self.now, 6, u64::from(number));
        let must_commit = self.faultless;
        let transaction = self.draw_transaction(number, must_commit);
        let target = self.streams.clients.index(self.plan.hosts());
        let payload = Bytes::from(wire::encode(&transaction));
        let (proposed, reader) = self.wrapped(&transaction, payload.clone());
        let Some(proposer) = self.proposer(number) else { return };
        proposer.errands += 1;
        let id = ProposalId::new(ClientId::anonymous(u64::from(number) + 1), proposer.errands);
        (proposer.target, proposer.attempts) = (target, 0);
        proposer.wish = Some((id, proposed));
        self.tape.note(self.now, || Happened::Invoke {
            client: number,
            text: format!("write to {:?}", transaction.participants()),
        });
        self.oracle.on_proposed(id, &payload);
        if let Some(reader) = reader {
            self.oracle.expect_no_verdict(id, reader);
        }
        if must_commit {
            self.oracle.expect_commit(id);
        }
        self.propose(number);
    }

    /// What is handed to a coordinator, and who only looks.
    fn wrapped(&mut self, transaction: &Transaction, payload: Bytes) -> Wrapped {
        let Some(wrap) = self.plan.workload.transactions.wrap else { return (payload, None) };
        let participants: Vec<NodeId> = transaction.participants().into_iter().collect();
        let all: Vec<NodeId> = self.hosts.iter().map(|host| host.id).collect();
        wrap.apply(&participants, &all, payload, self.streams.clients.number())
    }

    /// What a client wants next. If it is `certain` to be accepted, it writes to registers that nothing else uses, not even the
    /// client's last transaction, which may not have come to all its participants yet.
    fn draw_transaction(&mut self, number: u32, certain: bool) -> Transaction {
        let plan = self.plan.workload.transactions;
        let errands = self.proposer(number).map_or(0, |proposer| proposer.errands);
        let own = u64::from(plan.keys) + errands * self.proposers.len() as u64 + u64::from(number);
        let choices = &mut self.streams.clients;
        let mut nodes: Vec<usize> = (0..self.plan.hosts()).collect();
        choices.shuffle(&mut nodes);
        nodes.truncate(usize::try_from(choices.between(1, plan.participants.max(1) as u64)).unwrap_or(1));
        let mut transaction = Transaction::default();
        for node in nodes.into_iter().filter_map(|index| Some(self.hosts.get(index)?.id)) {
            let (shared, mark) = (choices.below(u64::from(plan.keys)), choices.number());
            let refuses = choices.chance(plan.refuse_ppm);
            let key = Key(u16::try_from(if certain { own } else { shared }).unwrap_or(u16::MAX));
            transaction.writes.push(TransactionWrite { node, key, mark });
            if refuses && !certain {
                transaction.refused_by.push(node);
            }
        }
        transaction
    }

    pub(super) fn on_transaction_timeout(&mut self, ticket: Ticket) {
        let number = ticket.client;
        let Some(proposer) = self.proposers.get(number as usize) else { return };
        if proposer.ticket(number) != ticket || proposer.wish.is_none() {
            return;
        }
        if self.plan.workload.transactions.retries && !self.is_orphan(number) {
            self.propose_again(ticket);
        } else {
            self.abandon(number);
        }
    }

    fn abandon(&mut self, number: u32) {
        self.trace.event(self.now, 7, u64::from(number));
        self.tape.note(self.now, || Happened::GiveUp { client: number });
        self.rest(number);
    }

    /// The client is done with its transaction, and thinks of another.
    fn rest(&mut self, number: u32) {
        let think = self.streams.clients.around(self.plan.workload.think);
        if let Some(proposer) = self.proposer(number) {
            proposer.wish = None;
        }
        self.plan_in(think, Happening::ClientNext { client: number });
    }

    pub(super) fn on_transaction_response(&mut self, ticket: Ticket, response: &Response) {
        let number = ticket.client;
        let Some(proposer) = self.proposer(number) else { return };
        if proposer.errands != ticket.errand || proposer.wish.is_none() {
            return;
        }
        let is_current = proposer.ticket(number) == ticket;
        self.trace.event(self.now, 8, u64::from(number));
        self.trace.say(self.now, || format!("client {number} hears {response:?}"));
        let verdict = match response {
            Response::Decided { outcome: Outcome::Applied(_), .. }
            | Response::Refused(Refusal::Settled { verdict: Verdict::Commit }) => Some(Verdict::Commit),
            Response::Decided { .. } | Response::Refused(Refusal::Settled { .. }) => Some(Verdict::Abort),
            Response::Refused(_) | Response::Unreachable | Response::Read { .. } => None,
        };
        if let Some(verdict) = verdict {
            self.on_told(number, verdict);
        } else if is_current && self.is_orphan(number) {
            self.abandon(number);
        } else if is_current {
            if let Response::Refused(Refusal::NotLeader { hint: Some(hint) }) = response
                && let Some(target) = self.hosts.iter().position(|host| host.id == *hint)
                && let Some(proposer) = self.proposer(number)
            {
                proposer.target = target;
            }
            let pause = self.streams.clients.around(RETRY_PAUSE);
            self.plan_in(pause, Happening::ClientRetry { ticket });
        }
    }

    /// Whether nobody will ever answer the client: its coordinator is gone for good.
    fn is_orphan(&self, number: u32) -> bool {
        let target = self.proposers.get(number as usize).map(|proposer| proposer.target);
        target.and_then(|target| self.hosts.get(target)).is_none_or(|host| host.lost)
    }

    /// The client is told the verdict, which must be what was decided.
    fn on_told(&mut self, number: u32, verdict: Verdict) {
        let Some(proposer) = self.proposer(number) else { return };
        proposer.completed += 1;
        let id = proposer.wish.as_ref().map(|&(id, _)| id).unwrap_or_default();
        let text = format!("{verdict:?}");
        self.tape.note(self.now, || Happened::Return { client: number, text, slot: None });
        self.oracle.on_told(self.now, id, verdict);
        self.rest(number);
    }

    /// The acts after the storm.
    pub(in super::super) fn expect_transactions(&mut self) {
        self.expect_verdicts();
        self.observe_blocking();
        self.expect_settled();
        // Of a participant that is lost for good nobody can say that it does not fail.
        self.faultless = self.hosts.iter().all(|host| !host.lost);
        self.start_transactions();
        self.expect_verdicts();
        self.faultless = false;
        self.expect_settled();
    }

    /// Every client must hear verdicts again within the bound.
    fn expect_verdicts(&mut self) {
        for proposer in &mut self.proposers {
            proposer.completed = 0;
        }
        let bound = self.patience + self.plan.workload.timeout * 16 + self.plan.workload.think * 4;
        let served =
            |world: &Self| world.proposers.iter().all(|proposer| proposer.completed >= CALM_TRANSACTIONS);
        if !self.run_while(bound, |world| !served(world)) {
            let starving = self.proposers.iter().filter(|proposer| proposer.completed < CALM_TRANSACTIONS);
            let (count, why) = (starving.count(), self.why_not());
            let detail = format!("{count} clients were not told a verdict within {bound:?}: {why}");
            self.oracle.fail(Property::Progress, self.now, detail);
        }
    }

    /// Nobody proposes; then every verdict must be carried out by all who take part, and nothing be left in doubt.
    fn expect_settled(&mut self) {
        self.busy = false;
        let bound = self.patience + self.plan.workload.timeout * 16;
        if self.run_while(bound, |world| world.unsettled().is_some()) {
            return;
        }
        if let Some((property, detail)) = self.unsettled() {
            let detail = format!("{detail} within {bound:?}: {}", self.why_not());
            self.oracle.fail(property, self.now, detail);
        }
    }

    /// What is not as it should be once all is said and done.
    pub(in super::super) fn unsettled(&self) -> Option<(Property, String)> {
        if self.proposers.iter().any(|proposer| proposer.wish.is_some()) {
            return Some((Property::Progress, "a client was not told the verdict".into()));
        }
        let live = self.live();
        let judge = self.oracle.atomic()?;
        if let Some((id, node)) = judge.missing(&live) {
            let (property, who) = if judge.is_somewhere(id, &live) {
                (Property::Atomicity, "others have")
            } else {
                (Property::Durability, "no live node has")
            };
            return Some((property, format!("{node} did not carry out {id:?}, which was committed ({who})")));
        }
        self.hosts.iter().filter(|host| !host.lost).find_map(|host| {
            let machine = host.node.as_ref()?.machine();
            let doubt = judge.blocking().of(host.id).map(|(id, _)| id).next();
            let left = machine.reservations().first().copied().or(doubt)?;
            Some((Property::Termination, format!("{} did not decide {left:?}", host.id)))
        })
    }

    /// A node dies on which others wait. Who is live may wait for it if the protocol may block, for nobody else, and never in
    /// silence. Then it comes back.
    fn observe_blocking(&mut self) {
        let may_block = matches!(A::GUARANTEES.termination, Termination::Blocking);
        let lost = self.hosts.iter().filter(|host| host.lost).count();
        if self.oracle.failure().is_some()
            || (!may_block && lost >= A::GUARANTEES.tolerated(self.plan.hosts()))
        {
            return;
        }
        let awaited = |world: &Self| world.oracle.atomic().and_then(|judge| judge.blocking().awaited());
        self.run_while(HUNT, |world| awaited(world).is_none());
        let at_random = self.streams.clients.index(self.plan.hosts());
        let named = awaited(self).and_then(|id| self.hosts.iter().position(|host| host.id == id));
        let dead = named.unwrap_or(at_random);
        if !self.is_up(dead) {
            return;
        }
        self.counts.crashes += 1;
        self.kill(dead);
        self.busy = false;
        self.run_until(self.now + self.patience);
        if let Some((property, detail)) = self.dishonest(may_block) {
            let (patience, why) = (self.patience, self.why_not());
            let detail = format!("{detail}, {patience:?} after n{} died: {why}", dead + 1);
            self.oracle.fail(property, self.now, detail);
        }
        self.counts.restarts += 1;
        self.boot(dead);
    }

    /// A live participant that waits in silence, or for the wrong node, or though it may not.
    fn dishonest(&self, may_block: bool) -> Option<(Property, String)> {
        let blocking = self.oracle.atomic()?.blocking();
        self.hosts.iter().find_map(|host| {
            let machine = host.node.as_ref()?.machine();
            let mut waits = blocking.of(host.id);
            if !may_block {
                let (id, on) = waits.next()?;
                return Some((
                    Property::Termination,
                    format!("{} waits for {on:?} to decide {id:?}", host.id),
                ));
            }
            if let Some((id, on)) = waits.find(|(_, on)| !on.iter().any(|&node| blocking.is_down(node))) {
                let detail =
                    format!("{} waits for {on:?} to decide {id:?}, and nobody of them is down", host.id);
                return Some((Property::HonestBlocking, detail));
            }
            let said: Vec<ProposalId> = blocking.of(host.id).map(|(id, _)| id).collect();
            let silent = machine.reservations().into_iter().find(|id| !said.contains(id))?;
            let detail = format!(
                "{} keeps a reservation for {silent:?}, and does not say that it is blocked",
                host.id
            );
            Some((Property::HonestBlocking, detail))
        })
    }
}
