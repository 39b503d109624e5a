//! One-shot agreement: every node is given a proposal, at some time, and decides. A node that has crashed since, and may have
//! forgotten, is given the same proposal again.

use super::super::{Happening, World};
use crate::client::{Response, Ticket};
use crate::oracle::Property;
use crate::record::Happened;
use bytes::Bytes;
use consensus_core::{ClientId, ConsensusAlgorithm, Problem, ProposalId};
use core::time::Duration;

/// How long a client waits before it tries a node again that is down or busy.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// The most values, since each is one digit.
const MAX_VALUES: u8 = 10;

impl<A: ConsensusAlgorithm> World<A> {
    /// Gives every node its proposal, or, if that was done before, sees to it that those that may have forgotten are given it
    /// again.
    pub(super) fn start_one_shot(&mut self) {
        debug_assert_eq!(A::GUARANTEES.problem, Problem::OneShot, "another workload");
        let within = self.plan.workload.inputs.within;
        for index in 0..self.proposers.len() {
            let span = self.streams.clients.span(Duration::ZERO, within);
            let client = u32::try_from(index).unwrap_or(u32::MAX);
            self.plan_in(span, Happening::ClientNext { client });
        }
    }

    pub(super) fn on_one_shot_next(&mut self, number: u32) {
        let values = u64::from(self.plan.workload.inputs.values.clamp(1, MAX_VALUES));
        let digit = self.streams.clients.below(values);
        let Some(proposer) = self.proposer(number) else { return };
        if proposer.wish.is_none() {
            let id = ProposalId::new(ClientId::anonymous(u64::from(number) + 1), 1);
            let payload = Bytes::from(digit.to_string());
            (proposer.errands, proposer.wish) = (1, Some((id, payload.clone())));
            self.tape
                .note(self.now, || Happened::Invoke { client: number, text: format!("propose {digit}") });
            self.oracle.on_proposed(id, &payload);
        }
        self.trace.event(self.now, 6, u64::from(number));
        self.propose(number);
    }

    pub(super) fn on_one_shot_response(&mut self, ticket: Ticket, response: &Response) {
        let number = ticket.client;
        if self.proposer(number).is_none_or(|proposer| proposer.ticket(number) != ticket) {
            return;
        }
        self.trace.event(self.now, 8, u64::from(number));
        self.trace.say(self.now, || format!("client {number} hears {response:?}"));
        match response {
            Response::Decided { slot, outcome } => {
                let (text, slot) = (format!("{outcome:?}"), Some(*slot));
                self.tape.note(self.now, || Happened::Return { client: number, text, slot });
                if let Some(proposer) = self.proposer(number) {
                    // An attempt that nobody waits for: its timeout finds another ticket.
                    proposer.attempts += 1;
                }
            }
            Response::Refused(_) | Response::Unreachable | Response::Read { .. } => {
                // It may have been proposed before, and is under way; or the node is down.
                let id = self
                    .proposer(number)
                    .map(|proposer| proposer.target)
                    .and_then(|target| self.hosts.get(target).map(|host| host.id));
                if !id.is_some_and(|id| self.oracle.has_decided(id)) {
                    let pause = self.streams.clients.around(RETRY_PAUSE);
                    self.plan_in(pause, Happening::ClientRetry { ticket });
                }
            }
        }
    }

    /// Every live, correct node must have decided within the bound, in its present boot.
    pub(in super::super) fn expect_decisions(&mut self) {
        let bound = self.patience + self.plan.workload.timeout * 16;
        let missing = |world: &Self| {
            let live = world.hosts.iter().filter(|host| !host.lost && host.misery.is_none());
            let correct = live.map(|host| host.id).filter(|&id| !world.is_traitor(id));
            correct.filter(|&id| !world.oracle.has_decided(id)).collect::<Vec<_>>()
        };
        if !self.run_while(bound, |world| !missing(world).is_empty()) {
            let missing = missing(self);
            let detail = format!("{missing:?} did not decide within {bound:?}: {}", self.why_not());
            self.oracle.fail(Property::Termination, self.now, detail);
        }
    }
}
