//! What clients ask, for each problem. The clients of a log are in `clients`; those here propose one thing at a time, each to
//! one node, again and again until they are answered.

mod atomic;
mod local;
mod one_shot;

use super::clients::CALM_TIMEOUT;
use super::{Happening, World};
use crate::client::{Request, Response, Ticket};
use crate::record::{self, Happened};
use bytes::Bytes;
use consensus_core::{ConsensusAlgorithm, NodeId, Problem, ProposalId};

/// A client that proposes.
#[derive(Clone, Debug)]
pub(super) struct Proposer {
    /// The node that it talks to.
    target: usize,
    /// Counts what it wanted.
    errands: u64,
    /// How often it has asked for what it wants now.
    attempts: u64,
    /// What it wants, until it is answered.
    wish: Option<(ProposalId, Bytes)>,
    /// How many answers it had since the count was last reset.
    completed: u64,
}

impl Proposer {
    const fn new(target: usize) -> Self {
        Self { target, errands: 0, attempts: 0, wish: None, completed: 0 }
    }

    const fn ticket(&self, number: u32) -> Ticket {
        Ticket { client: number, errand: self.errands, attempt: self.attempts }
    }
}

impl<A: ConsensusAlgorithm> World<A> {
    pub(super) fn add_workload(&mut self) {
        match A::GUARANTEES.problem {
            Problem::Log | Problem::Convergence => self.add_clients(),
            Problem::OneShot => self.proposers = (0..self.plan.hosts()).map(Proposer::new).collect(),
            Problem::AtomicCommit => {
                self.proposers = (0..self.plan.workload.clients.max(1)).map(|_| Proposer::new(0)).collect();
            }
        }
    }

    pub(super) fn start_workload(&mut self) {
        match A::GUARANTEES.problem {
            Problem::Log | Problem::Convergence => self.start_clients(),
            Problem::OneShot => self.start_one_shot(),
            Problem::AtomicCommit => self.start_transactions(),
        }
    }

    pub(super) fn on_next(&mut self, client: u32) {
        match A::GUARANTEES.problem {
            Problem::Log | Problem::Convergence => self.on_client_next(client),
            Problem::OneShot => self.on_one_shot_next(client),
            Problem::AtomicCommit => self.on_transaction_next(client),
        }
    }

    pub(super) fn on_timeout(&mut self, ticket: Ticket) {
        match A::GUARANTEES.problem {
            Problem::Log | Problem::Convergence => self.on_client_timeout(ticket),
            Problem::OneShot => self.propose_again(ticket),
            Problem::AtomicCommit => self.on_transaction_timeout(ticket),
        }
    }

    pub(super) fn on_retry(&mut self, ticket: Ticket) {
        match A::GUARANTEES.problem {
            Problem::Log | Problem::Convergence => self.on_client_retry(ticket),
            Problem::OneShot | Problem::AtomicCommit => self.propose_again(ticket),
        }
    }

    pub(super) fn on_response(&mut self, node: usize, ticket: Ticket, response: Response) {
        match A::GUARANTEES.problem {
            Problem::Log | Problem::Convergence => {
                self.on_respond(node, ticket, response);
            }
            Problem::OneShot => self.on_one_shot_response(ticket, &response),
            Problem::AtomicCommit => self.on_transaction_response(ticket, &response),
        }
    }

    /// Whether a proposal is under way.
    pub(super) fn proposing(&self) -> bool {
        self.proposers.iter().any(|proposer| proposer.wish.is_some())
    }

    /// How many answers this client has had.
    pub(super) fn told(&self, place: usize) -> u64 {
        self.proposers.get(place).map_or(0, |proposer| proposer.completed)
    }

    /// The nodes that are not lost for good.
    fn live(&self) -> Vec<NodeId> {
        self.hosts.iter().filter(|host| !host.lost).map(|host| host.id).collect()
    }

    fn proposer(&mut self, number: u32) -> Option<&mut Proposer> {
        self.proposers.get_mut(usize::try_from(number).ok()?)
    }

    /// Proposes what the client wants, for the first time or again.
    fn propose(&mut self, number: u32) {
        let Some(proposer) = self.proposer(number) else { return };
        let Some((id, payload)) = proposer.wish.clone() else { return };
        proposer.attempts += 1;
        let (target, ticket) = (proposer.target, proposer.ticket(number));
        self.trace.say(self.now, || format!("client {number} proposes {id:?} to n{}", target + 1));
        self.tape.note(self.now, || Happened::Ask { client: number, node: record::node(target) });
        if let Some(delay) = self.client_link() {
            let request = Request::Propose { id, payload };
            self.plan_in(delay, Happening::Arrive { node: target, ticket, request });
        }
        let timeout = self.plan.workload.timeout;
        let timeout = if self.stormy { timeout } else { timeout.max(CALM_TIMEOUT) };
        self.plan_in(timeout, Happening::ClientTimeout { ticket });
    }

    /// Proposes once more, if nothing came of this attempt and none followed it.
    fn propose_again(&mut self, ticket: Ticket) {
        let number = ticket.client;
        if self.proposer(number).is_some_and(|proposer| proposer.ticket(number) == ticket) {
            self.trace.event(self.now, 7, u64::from(number));
            self.propose(number);
        }
    }
}
