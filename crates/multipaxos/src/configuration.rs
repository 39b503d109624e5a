//! A configuration: who takes part, how large quorums are, and from which slot on.
//!
//! A configuration chooses the values of consecutive slots, the last of which is its *stop-sign*: the configuration that follows.
//! Each is thus a Paxos of its own, with members and quorums of its own, and none chooses what another does.

use crate::config::Config;
use crate::log::Log;
use crate::value::Value;
use consensus_core::quorum::Flexible;
use consensus_core::{Members, NodeId, ProposalId, Slot, quorum};
use serde::{Deserialize, Serialize};

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
    /// The one at birth.
    pub(crate) fn birth(members: Members, config: &Config) -> Self {
        let (promises, acceptances) = config.quorums_for(members.voter_count());
        let (id, since) = (ProposalId::default(), Slot(1));
        Self { number: 1, id, since, members, promises: promises as u64, acceptances: acceptances as u64 }
    }

    /// Whether quorums of its two kinds share a voter.
    pub(crate) fn is_sound(&self) -> bool {
        let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let quorums = Flexible::new(self.members.voter_count(), size(self.promises), size(self.acceptances));
        quorums.is_ok()
            && self.number > 0
            && self.since > Slot::ZERO
            && self.members.outgoing().is_empty()
            && self.members.witnesses().is_empty()
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

/// The stop-sign of configuration `number` among the slots from `from` to `to`, which the log holds without a hole.
pub(crate) fn stop_sign(log: &Log, number: u64, from: Slot, to: Slot) -> Option<(Slot, &Configuration)> {
    log.run(from, to).find_map(|(slot, value)| match value {
        Value::Stop(next) if next.number == number + 1 => Some((slot, &**next)),
        Value::Stop(_) | Value::Noop | Value::Command { .. } | Value::Begin { .. } => None,
    })
}
