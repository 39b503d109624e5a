//! What the world tells its lookout: the moments that are worth meeting.

use super::World;
use crate::client::Request;
use crate::marks::{Mark, Stamp};
use consensus_core::{ConsensusAlgorithm, Status};

impl<A: ConsensusAlgorithm> World<A> {
    /// What a message that leaves now carries.
    pub(super) fn stamp(&self, from: usize, to: usize) -> Stamp {
        let boot = |index: usize| self.hosts.get(index).map_or(0, |host| host.boot);
        Stamp { sent: self.now, boots: (boot(from), boot(to)), changes: self.lookout.cuts }
    }

    pub(super) fn look_at_arrival(&mut self, from: usize, to: usize, then: Stamp) {
        if self.is_up(to) {
            let now = self.stamp(from, to);
            self.lookout.on_arrival(from * self.hosts.len() + to, then, now);
        }
    }

    pub(super) fn look_at_status(&mut self, index: usize, status: &Status) {
        let writing = self.writing();
        let others_lead = self.others_lead(index);
        if let Some(id) = self.hosts.get(index).map(|host| host.id) {
            self.lookout.on_status(index, status, id, writing, others_lead);
        }
    }

    pub(super) fn look_at_installs(&mut self, index: usize, installs: usize) {
        self.counts.installs += installs as u64;
        if installs > 0 {
            self.lookout.on_install(index, self.links.any_cut());
        }
    }

    pub(super) fn look_at_resume(&mut self, index: usize) {
        let others_lead = self.others_lead(index);
        self.lookout.on_resume(index, others_lead);
    }

    pub(super) fn look_at_power_loss(&mut self) {
        let writing = self.writing();
        self.lookout.marks.hit_if(Mark::PowerLossDuringWrite, writing);
    }

    /// Whether some client waits for a write.
    fn writing(&self) -> bool {
        let mut errands = self.clients.iter().filter_map(|client| client.errand.as_ref());
        errands.any(|errand| matches!(errand.request, Request::Propose { .. })) || self.proposing()
    }

    fn others_lead(&self, index: usize) -> bool {
        self.leaders().into_iter().any(|leader| leader != index)
    }
}
