//! A snapshot that arrives in pieces, assembled in memory.
//!
//! It belongs to no leader: whoever leads next and has the same snapshot goes on where the last one was interrupted. What makes
//! two snapshots the same is their digest.

use crate::digest::{Digest, Digester};
use crate::entry::Position;
use crate::message::Chunk;
use crate::mutant::Mutant;
use crate::snapshot::Snapshot;
use crate::state::Core;
use alloc::boxed::Box;
use alloc::vec::Vec;
use consensus_core::{Members, NodeId};

/// What has arrived of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    through: Position,
    members: Members,
    total: u64,
    digest: Digest,
    bytes: Vec<u8>,
    digester: Digester,
    /// Who sent all of it; nobody if several did.
    sender: Option<NodeId>,
}

impl Incoming {
    fn begin(from: NodeId, chunk: &Chunk) -> Self {
        let Chunk { term: _, through, members, total, digest, offset: _, data: _ } = chunk;
        Self {
            through: *through,
            members: members.clone(),
            total: *total,
            digest: *digest,
            bytes: Vec::new(),
            digester: Digester::new(*through, members, *total),
            sender: Some(from),
        }
    }

    fn is_of(&self, chunk: &Chunk) -> bool {
        (self.through, self.total, self.digest) == (chunk.through, chunk.total, chunk.digest)
    }

    /// Adds what is new in a piece, if it begins where we are or before. [R23]
    fn add(&mut self, from: NodeId, chunk: &Chunk) {
        let known =
            (self.bytes.len() as u64).checked_sub(chunk.offset).and_then(|known| usize::try_from(known).ok());
        let Some(new) = known.and_then(|known| chunk.data.get(known..)).filter(|new| !new.is_empty()) else {
            return;
        };
        // `offset + data ≤ total ≤ limit`: checked when the message came in, and by the caller.
        self.bytes.extend_from_slice(new);
        self.digester.add(new);
        self.sender = self.sender.filter(|&sender| sender == from);
    }

    const fn received(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) const fn is_whole(&self) -> bool {
        self.received() == self.total
    }

    /// What has arrived, if it is what its digest says; otherwise who is to blame, if all of it is from one node. [R50]
    pub(crate) fn open(self, core: &Core) -> Result<Snapshot, Option<NodeId>> {
        let Self { through, members, total: _, digest, bytes, digester, sender } = self;
        if digester.finish() != digest && !core.config.plants(Mutant::SnapshotUnchecked) {
            return Err(sender);
        }
        Ok(Snapshot { through, members, bytes: bytes.into(), digest })
    }

    pub(crate) fn assert_invariants(&self, core: &Core) {
        assert!(self.through.slot > core.commit, "a snapshot is awaited that holds nothing new");
        assert!(self.received() <= self.total && !self.is_whole(), "a whole snapshot waits for more");
        assert!(self.total <= core.config.max_snapshot_bytes, "a snapshot over the limit is assembled");
    }
}

impl Core {
    /// Takes a piece in; returns how much is there of the snapshot that it belongs to. [R23]
    pub(crate) fn take_piece(&mut self, from: NodeId, chunk: &Chunk) -> u64 {
        let is_known = self.incoming.as_ref().is_some_and(|known| known.is_of(chunk));
        if !is_known && chunk.offset == 0 {
            self.incoming = Some(Box::new(Incoming::begin(from, chunk)));
        }
        let Some(incoming) = self.incoming.as_mut().filter(|known| known.is_of(chunk)) else { return 0 };
        incoming.add(from, chunk);
        incoming.received()
    }

    /// What is committed here already need not arrive.
    pub(crate) fn drop_what_is_known(&mut self) {
        self.incoming.take_if(|incoming| incoming.through.slot <= self.commit);
    }
}
