//! What a person may know of a node who looks for the cause of something.

use crate::progress::{Mode, Progress};
use crate::state::{Raft, Role};
use alloc::vec::Vec;
use consensus_core::{Feeding, Inspection, PeerProgress, Slot};

impl Raft {
    /// What a leader knows of its followers; nothing at others.
    pub fn peers(&self) -> impl Iterator<Item = PeerProgress> {
        let peers = if let Role::Leader(leader) = &self.role { leader.peers.as_slice() } else { &[] };
        peers.iter().map(Progress::show)
    }

    pub(crate) fn show(&self) -> Inspection {
        let core = &self.core;
        let uncommitted = core.log.last().slot.0 - core.commit.0;
        let mut queues = Vec::from([
            ("uncommitted entries", usize::try_from(uncommitted).unwrap_or(usize::MAX)),
            ("unwritten batches", core.log.unwritten()),
        ]);
        match &self.role {
            Role::Leader(leader) => {
                queues.push(("uncommitted bytes", leader.uncommitted_size()));
                queues.push(("reads", leader.reads.len()));
            }
            Role::Follower(follower) => queues.push(("forwarded reads", follower.reads.len())),
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
        Inspection {
            first: core.log.base().slot.next(),
            last: core.log.last().slot,
            durable: core.log.durable(),
            snapshot: core.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through.slot),
            queues,
            peers: self.peers().collect(),
            ..Inspection::default()
        }
    }
}

impl Progress {
    fn show(&self) -> PeerProgress {
        let (in_flight, in_flight_bytes) = self.in_flight();
        PeerProgress {
            id: self.id,
            matched: self.matched,
            next: self.next,
            mode: match self.mode {
                Mode::Probe { .. } => Feeding::Probe,
                Mode::Replicate => Feeding::Replicate,
                Mode::Snapshot(_) => Feeding::Snapshot,
            },
            in_flight,
            in_flight_bytes,
        }
    }
}
