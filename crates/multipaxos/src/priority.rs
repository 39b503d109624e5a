//! How much a node wishes to lead. It moves timeouts and hands leadership over; promises and acceptances know nothing of it.

use crate::state::{Core, MultiPaxos, Role};
use crate::step::Out;
use consensus_core::{Priority, Time};
use core::time::Duration;

impl MultiPaxos {
    /// [P24] From now on the node wishes so much to lead.
    pub(crate) fn on_priority(&mut self, now: Time, priority: Priority, out: &mut Out) {
        if self.core.priority == priority {
            // Said again it must not postpone an election.
            return;
        }
        self.core.priority = priority;
        match &mut self.role {
            Role::Follower(follower) if follower.poll.is_none() => self.core.arm_election(now, out),
            // They go on; how long they wait until they try again follows the new wish.
            Role::Follower(_) | Role::Candidate(_) => {}
            Role::Leader(leader) => leader.give_way(now, &self.core, out),
        }
    }
}

impl Core {
    /// [P24] The span from which a wait is drawn that is `from..to` for a node without a wish.
    pub(crate) fn stretched(&self, from: Duration, to: Duration) -> (Duration, Duration) {
        self.priority.stretch(from, to, self.config.election_timeout())
    }
}
