//! What a person may know of a node who looks for the cause of something.

use crate::progress::Progress;
use crate::state::{MultiPaxos, Role};
use alloc::vec::Vec;
use consensus_core::{Feeding, Inspection, PeerProgress, Slot};

impl MultiPaxos {
    /// What a leader knows of the others; nothing at others.
    pub fn peers(&self) -> impl Iterator<Item = PeerProgress> {
        let peers = if let Role::Leader(leader) = &self.role { leader.peers.as_slice() } else { &[] };
        peers.iter().map(Progress::show)
    }

    pub(crate) fn show(&self) -> Inspection {
        let core = &self.core;
        let mut queues = Vec::from([("open bytes", core.open.bytes())]);
        match &self.role {
            Role::Leader(leader) => queues.push(("reads", leader.reads.len())),
            Role::Follower(follower) => queues.push(("forwarded reads", follower.reads.len())),
            Role::Candidate(_) => {}
        }
        Inspection {
            first: core.log.base().next(),
            last: core.log.last(),
            durable: core.log.durable().min(core.log.last()),
            snapshot: core.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through),
            queues,
            peers: self.peers().collect(),
            ..Inspection::default()
        }
    }
}

impl Progress {
    /// What a node lacks that is cut off it asks for itself, of whoever knows it: nobody is fed a snapshot.
    fn show(&self) -> PeerProgress {
        PeerProgress {
            id: self.id,
            matched: self.matched,
            next: self.next,
            mode: Feeding::Replicate,
            in_flight: self.window.len(),
            in_flight_bytes: self.window.bytes(),
        }
    }
}
