//! Clients where nodes may lie: they ask every node, and believe what f + 1 distinct nodes say alike
//! ([`consensus_core::Guarantees::replies`]; Castro and Liskov 1999, §4.1), since one of those is correct.
//!
//! Where nodes do not lie, a client asks one node and believes it. If that node is Byzantine all the same (a run beyond the
//! claims), the client's view of the operation is worth nothing: the history takes its outcome as unknown.

use super::{Happening, World};
use crate::client::{Request, Response, Ticket};
use crate::record::{self, Happened};
use consensus_core::{ConsensusAlgorithm, Faults, NodeId};
use std::collections::BTreeMap;

/// What the nodes say about one errand of one client: of each node the last word.
#[derive(Debug, Default)]
pub(super) struct Poll {
    errand: u64,
    words: BTreeMap<NodeId, Response>,
}

impl<A: ConsensusAlgorithm> World<A> {
    /// Whether clients ask every node.
    pub(super) const fn asks_all() -> bool {
        matches!(A::GUARANTEES.faults, Faults::Byzantine)
    }

    /// Sends a request to the node that the client talks to, or to all. All instances of a node hear it.
    pub(super) fn ask(&mut self, target: usize, ticket: Ticket, request: &Request) {
        let nodes = if Self::asks_all() { 0..self.plan.hosts() } else { target..target + 1 };
        for node in nodes {
            let client = ticket.client;
            self.tape.note(self.now, || Happened::Ask { client, node: record::node(node) });
            self.ask_host(node, ticket, request);
            for number in 0..self.twin_count(node) {
                if let Some(twin) = self.twin(node, number) {
                    self.ask_host(twin, ticket, request);
                }
            }
        }
    }

    fn ask_host(&mut self, node: usize, ticket: Ticket, request: &Request) {
        if let Some(delay) = self.client_link() {
            let mut request = request.clone();
            if let (Request::Propose { id, payload }, Some(seal)) = (&mut request, self.plan.workload.seal) {
                *payload = seal.apply(*id, payload);
            }
            self.plan_in(delay, Happening::Arrive { node, ticket, request });
        }
    }

    /// What the client makes of a response: the response, if it believes it.
    pub(super) fn believe(&mut self, host: usize, ticket: Ticket, response: Response) -> Option<Response> {
        if Self::asks_all() {
            return self.gather(host, ticket, response);
        }
        if !self.is_byzantine(host) {
            return Some(response);
        }
        let said = match response {
            Response::Refused(_) | Response::Unreachable => Some(response),
            Response::Decided { .. } | Response::Read { .. } => None,
        };
        let is_current =
            self.clients.get(ticket.client as usize).is_some_and(|client| client.ticket() == ticket);
        if let Some(errand) = self.clients.get_mut(ticket.client as usize)?.errand.as_mut() {
            // Its twin may have done what it says was not done.
            errand.in_doubt = true;
            if said.is_none() && is_current {
                self.give_up(ticket.client);
            }
        }
        said
    }

    /// Waits for as many nodes as cannot all lie to say the same.
    fn gather(&mut self, host: usize, ticket: Ticket, response: Response) -> Option<Response> {
        match response {
            Response::Decided { .. } | Response::Read { .. } => {}
            // One node's refusal says nothing about the others: the client's patience decides when it asks again.
            Response::Refused(_) | Response::Unreachable => return None,
        }
        let node = record::node(self.identity(host));
        let needed = A::GUARANTEES.replies(self.plan.nodes);
        let poll = self.polls.entry(ticket.client).or_default();
        if poll.errand != ticket.errand {
            *poll = Poll { errand: ticket.errand, words: BTreeMap::new() };
        }
        poll.words.insert(node, response.clone());
        let alike = poll.words.values().filter(|word| word.says_the_same(&response)).count();
        if alike < needed {
            return None;
        }
        poll.words.clear();
        self.counts.byzantine.matched_replies += u64::from(needed > 1);
        Some(response)
    }
}

impl Response {
    /// Whether both tell the client the same. Where in the log it happened is no business of the client.
    fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Decided { outcome, .. }, Self::Decided { outcome: also, .. }) => outcome == also,
            (Self::Read { value, .. }, Self::Read { value: also, .. }) => value == also,
            (Self::Decided { .. } | Self::Read { .. } | Self::Refused(_) | Self::Unreachable, _) => false,
        }
    }
}
