//! Snapshots: cutting the log, and bringing a follower up that needs what was cut (paper §7; dissertation §5).
//!
//! A snapshot travels in pieces, one at a time; each answer tells how much has arrived, so a transfer resumes where it was
//! interrupted. A follower assembles at most one, of bounded size, from the leader of its term.

use crate::configuration::Configurations;
use crate::entry::Position;
use crate::message::{Chunk, ChunkReply, Message};
use crate::mutant::Mutant;
use crate::progress::{Mode, Transfer};
use crate::state::{Core, Raft, Role, Snapshot};
use crate::step::Out;
use alloc::vec::Vec;
use consensus_core::{Bytes, Members, NodeId, Offence, Slot, Time};

/// A snapshot that is arriving.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    through: Position,
    members: Members,
    total: u64,
    bytes: Vec<u8>,
}

impl Transfer {
    /// The piece that the follower lacks next.
    pub(crate) fn chunk(&self, core: &Core) -> Chunk {
        let end = self.received.saturating_add(core.config.snapshot_chunk_bytes).min(self.bytes.len());
        Chunk {
            term: core.term,
            through: self.through,
            members: self.members.clone(),
            total: self.bytes.len() as u64,
            offset: self.received as u64,
            data: self.bytes.slice(self.received.min(end)..end),
        }
    }
}

impl Raft {
    /// [R22] The state machine holds everything up to `through`: the log before it is forgotten, but for a tail that serves
    /// followers who are a little behind.
    pub(crate) fn on_compact(&mut self, through: Slot, snapshot: Bytes, out: &mut Out) {
        let core = &mut self.core;
        // [R42] What the state machine of a witness holds is nothing, and is marked so.
        let snapshot = if core.is_full() { snapshot } else { Bytes::new() };
        let newest = core.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through.slot);
        let Some(place) = core.log.position(through) else { return };
        if through <= newest || through > core.commit {
            return;
        }
        // [R51] Whoever took this over would know as little as we do.
        let knows_members = core.members_at(through).voter_count() > 0;
        if !knows_members && !core.config.plants(Mutant::SnapshotWithoutMembers) {
            return;
        }
        core.log.forget_through(core.retained_from(through));
        // [R34] Those at its end, not those that hold now.
        let members = core.members_at(through).clone();
        core.configurations.forget_before(through);
        core.snapshot = Some(Snapshot { through: place, members, bytes: snapshot.clone() });
        let tail = core.records();
        out.checkpoint(through, snapshot, tail);
    }

    /// [R23] A piece of a snapshot from the leader.
    pub(crate) fn on_chunk(&mut self, now: Time, from: NodeId, chunk: Chunk, out: &mut Out) {
        if !self.accept_leader(now, from, chunk.term, chunk.through.slot, out) {
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let core = &mut self.core;
        if chunk.through.slot <= core.commit {
            // We have all of it. The acknowledgement tells how far we are.
            follower.incoming = None;
            return follower.verify(core.commit);
        }
        let is_held = core.log.position(chunk.through.slot) == Some(chunk.through);
        if is_held && !core.config.plants(Mutant::SnapshotCutsMatchingLog) {
            // [R24] The log holds what the snapshot holds: it stays, and all of that is committed.
            follower.incoming = None;
            follower.verify(chunk.through.slot);
            core.commit_through(chunk.through.slot, out);
            return;
        }
        if chunk.total > core.config.max_snapshot_bytes {
            return out.accuse(from, Offence::Malformed("a snapshot over the configured limit"));
        }
        let (term, through) = (core.term, chunk.through.slot);
        let received = Incoming::take(&mut follower.incoming, chunk);
        let reply = Message::SnapshotReply(ChunkReply { term, through, received });
        out.send_after(from, reply, core.vote_written);
        if let Some(whole) = follower.incoming.take_if(|incoming| incoming.is_whole()) {
            follower.verify(through);
            core.install(whole, out);
        }
    }

    /// How much of a snapshot has arrived.
    pub(crate) fn on_chunk_reply(&mut self, now: Time, from: NodeId, reply: ChunkReply, out: &mut Out) {
        if !self.settle_term(now, reply.term, out) {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peer(from) else { return };
        peer.is_active = true;
        let Mode::Snapshot(transfer) = &mut peer.mode else { return };
        if transfer.through.slot != reply.through {
            return;
        }
        let total = transfer.bytes.len();
        let Some(received) = usize::try_from(reply.received).ok().filter(|&received| received <= total)
        else {
            return out.accuse(from, Offence::Impossible("it holds more of a snapshot than there is"));
        };
        if received > transfer.received {
            // Only progress sends the next piece, so that a repeated answer does not double the stream.
            (transfer.is_due, transfer.has_moved) = (received < total, true);
        }
        transfer.received = received;
    }
}

impl Incoming {
    /// Adds a piece if it is the next one; returns how much is there. [R23]
    fn take(slot: &mut Option<Self>, chunk: Chunk) -> u64 {
        let Chunk { term: _, through, members, total, offset, data } = chunk;
        if offset == 0 && slot.as_ref().is_none_or(|known| known.through != through || known.total != total) {
            *slot = Some(Self { through, members, total, bytes: Vec::new() });
        }
        match slot {
            Some(known) if known.through == through && known.total == total => {
                if known.bytes.len() as u64 == offset {
                    // `offset + data ≤ total ≤ limit`: checked when the message came in, and by the caller.
                    known.bytes.extend_from_slice(&data);
                }
                known.bytes.len() as u64
            }
            Some(_) | None => 0,
        }
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.total
    }
}

impl Core {
    /// The last slot that may be forgotten when a snapshot reaches `through`. [R22]
    fn retained_from(&self, through: Slot) -> Slot {
        let mut size = 0;
        let entries = self.log.newest_first(through).take(self.config.retained_entries);
        let retained = entries.take_while(|(_, entry)| {
            size += entry.size();
            size <= self.config.retained_bytes
        });
        Slot(through.0 - retained.count() as u64)
    }

    /// [R24] Nothing in our log agrees with the snapshot: it takes the place of the whole log.
    fn install(&mut self, whole: Incoming, out: &mut Out) {
        let Incoming { through, members, total: _, bytes } = whole;
        let bytes = Bytes::from(bytes);
        self.hand_over_copies(out);
        self.is_hollow = bytes.is_empty();
        self.snapshot = Some(Snapshot { through, members: members.clone(), bytes: bytes.clone() });
        let seq = out.written().next();
        self.log.replace(through, seq, self.commit);
        (self.commit, self.handed_over) = (through.slot, through.slot);
        if self.config.plants(Mutant::SnapshotLowersTerm) {
            self.term = through.term;
        }
        let tail = self.records();
        out.checkpoint(through.slot, bytes.clone(), tail);
        out.install(through.slot, bytes);
        self.configurations = Configurations::new(through.slot, members);
        self.adopt_members(out);
    }
}
