//! What a person may know of a replica who looks for the cause of something.

use crate::state::Pbft;
use alloc::vec::Vec;
use consensus_core::{Inspection, Slot, wire};

impl Pbft {
    pub(crate) fn show(&self) -> Inspection {
        let written = self.checkpoints.snapshots.get(&self.checkpoints.written);
        let snapshot = written.map_or(Slot::ZERO, |snapshot| snapshot.manifest.slot);
        let arriving = self.transfer.as_ref().map_or(0, crate::transfer::Transfer::received);
        Inspection {
            first: snapshot.next(),
            last: self.slot,
            durable: self.slot,
            snapshot,
            queues: Vec::from([
                ("requests", self.requests.len()),
                ("places in flight", self.log.range(self.executed.next()..).count()),
                ("parts of a state", arriving),
                ("proven liars", self.evidence.len()),
            ]),
            peers: Vec::new(),
            proofs: self.evidence().map(|proof| (proof.node, wire::encode(proof).into())).collect(),
        }
    }
}
