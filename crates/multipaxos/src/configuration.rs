//! A configuration: who takes part, how large quorums are, and from which slot on.
//!
//! A configuration chooses the values of consecutive slots, the last of which is its *stop-sign*: the configuration that follows.
//! Each is thus a Paxos of its own, with members and quorums of its own, and none chooses what another does.

use crate::config::Config;
use crate::log::Log;
use crate::message::fit;
use crate::value::Value;
use alloc::boxed::Box;
use consensus_core::quorum::Flexible;
use consensus_core::{Members, NodeId, ProposalId, Slot, quorum};
use serde::{Deserialize, Serialize};

/// The number of the configuration of a node that knows none.
const UNKNOWN: u64 = 0;

/// Who chooses from a slot on, until a stop-sign is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Counts from 1, the one at birth.
    pub number: u64,
    /// The change that led to it.
    pub id: ProposalId,
    /// The first slot that it chooses.
    pub since: Slot,
    /// Who takes part.
    pub members: Members,
    /// How many promises it takes to lead.
    pub promises: u64,
    /// How many acceptances it takes to choose.
    pub acceptances: u64,
}

impl Configuration {
    /// The one at birth. A node that joins a group which exists is told no members, and knows nothing of it. [P42]
    pub(crate) fn birth(members: Members, config: &Config) -> Self {
        if members == Members::default() {
            return Self { number: UNKNOWN, ..Self::of(ProposalId::default(), members, (0, 0)) };
        }
        let quorums = config.quorums_for(members.voter_count());
        Self::of(ProposalId::default(), members, quorums)
    }

    fn of(id: ProposalId, members: Members, (promises, acceptances): (usize, usize)) -> Self {
        let (promises, acceptances) = (promises as u64, acceptances as u64);
        Self { number: 1, id, since: Slot(1), members, promises, acceptances }
    }

    /// The one that follows it if the stop-sign is at `stop`: with these members, and the quorums that `config` has for them. [P37]
    pub(crate) fn followed_by(&self, members: Members, id: ProposalId, stop: Slot, config: &Config) -> Self {
        let quorums = config.quorums_for(members.voter_count());
        Self { number: self.number + 1, since: stop.next(), ..Self::of(id, members, quorums) }
    }

    /// Whether the node knows which one it is in. [P42]
    pub(crate) const fn is_known(&self) -> bool {
        self.number != UNKNOWN
    }

    /// Whether it can follow another one: quorums of its two kinds share a voter, and it can be followed.
    pub(crate) fn is_sound(&self) -> bool {
        let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let quorums = Flexible::new(self.members.voter_count(), size(self.promises), size(self.acceptances));
        quorums.is_ok()
            && fit(&[self.number, self.since.0])
            && self.number > 0
            && self.since > Slot::ZERO
            && self.members.outgoing().is_empty()
            && self.members.witnesses().is_empty()
    }

    /// The slot that opens it; none if it is the one at birth. [P40]
    pub(crate) const fn opening(&self) -> Slot {
        if self.number > 1 { self.since } else { Slot::ZERO }
    }

    /// What is proposed at `slot` if nothing may have been chosen there. [P40]
    pub(crate) fn opening_at(&self, slot: Slot) -> Value {
        if slot == self.opening() {
            return Value::Begin { id: self.id, members: Box::new(self.members.clone().into()) };
        }
        Value::Noop
    }

    pub(crate) const fn first_quorum(&self) -> usize {
        self.promises as usize
    }

    pub(crate) const fn second_quorum(&self) -> usize {
        self.acceptances as usize
    }

    /// How many voters somebody must hear who is to lead: enough for either phase.
    pub(crate) fn either_quorum(&self) -> usize {
        self.first_quorum().max(self.second_quorum())
    }

    /// The largest value that a quorum of acceptances has reached. [P4]
    #[inline]
    pub(crate) fn reached(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        quorum::reached_by_voters(self.members.voters(), self.second_quorum(), value)
    }

    /// Every voter but `id`.
    pub(crate) fn other_voters(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.members.voters().iter().copied().filter(move |&voter| voter != id)
    }
}

/// The stop-sign of configuration `number` among the slots from `from` to `to`, which the log holds without a hole. Who does not
/// know the number has all from the first slot on, and knows it by the first stop-sign.
pub(crate) fn stop_sign(log: &Log, number: u64, from: Slot, to: Slot) -> Option<(Slot, &Configuration)> {
    log.run(from, to).find_map(|(slot, value)| match value {
        Value::Stop(next) if next.number == number + 1 || number == UNKNOWN => Some((slot, &**next)),
        Value::Stop(_) | Value::Noop | Value::Command { .. } | Value::Begin { .. } => None,
    })
}
