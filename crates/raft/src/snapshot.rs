//! Snapshots: cutting the log, and bringing a follower up that needs what was cut (paper §7; dissertation §5).
//!
//! A snapshot travels in pieces, some of them in flight at a time (`outgoing`), and is put together at the other end
//! (`incoming`). Whoever took it made a digest of it; whoever has received all of it checks that before anything else.

use crate::config::Config;
use crate::configuration::Configurations;
use crate::digest::Digest;
use crate::entry::Position;
use crate::leader::Leader;
use crate::message::{Arrival, Chunk, ChunkReply, Message};
use crate::mutant::Mutant;
use crate::outgoing::Outgoing;
use crate::progress::{Mode, Progress};
use crate::state::{Core, Raft, Role};
use crate::step::Out;
use alloc::boxed::Box;
use consensus_core::{Bytes, Members, NodeId, Note, Offence, Slot, Time};

/// What the state machine held at some place in the log.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) through: Position,
    pub(crate) members: Members,
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

impl Snapshot {
    pub(crate) fn of(through: Position, members: Members, bytes: Bytes) -> Self {
        let digest = Digest::of(through, &members, &bytes);
        Self { through, members, bytes, digest }
    }

    /// [R50] Whether it is what it was when it was taken.
    pub(crate) fn is_sound(&self) -> bool {
        self.digest == Digest::of(self.through, &self.members, &self.bytes)
    }
}

impl Raft {
    /// [R22] The state machine holds everything up to `through`: the log before it is forgotten, but for a tail that serves
    /// followers who are a little behind.
    pub(crate) fn on_compact(&mut self, through: Slot, snapshot: Bytes, out: &mut Out) {
        let sending = self.oldest_outgoing();
        let core = &mut self.core;
        // [R42] What the state machine of a witness holds is nothing, and is marked so.
        let snapshot = if core.is_full() { snapshot } else { Bytes::new() };
        let newest = core.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through.slot);
        let Some(place) = core.log.position(through) else { return };
        if through <= newest || through > core.commit {
            return;
        }
        // [R56] Whoever took this over would know as little as we do.
        let knows_members = core.members_at(through).voter_count() > 0;
        if !knows_members && !core.config.plants(Mutant::SnapshotWithoutMembers) {
            return;
        }
        // [R42] Who is no member may be a witness by what it is fed next. Its state would keep it from being one.
        let is_stranger = knows_members && !core.members.contains(core.id);
        if is_stranger && !core.config.plants(Mutant::StrangersCompact) {
            return;
        }
        core.log.forget_through(core.retained_from(through, sending));
        // [R34] Those at its end, not those that hold now.
        let members = core.members_at(through).clone();
        core.configurations.forget_before(through);
        core.snapshot = Some(Snapshot::of(place, members, snapshot.clone()));
        let tail = core.records();
        out.checkpoint(through, snapshot, tail);
        out.note(Note::SnapshotTaken { through });
    }

    /// Where the oldest snapshot ends that is being sent, if any is.
    fn oldest_outgoing(&self) -> Option<Slot> {
        let Role::Leader(leader) = &self.role else { return None };
        leader.peers.iter().filter_map(|peer| peer.outgoing().map(Outgoing::through)).min()
    }

    /// [R23] A piece of a snapshot from the leader.
    pub(crate) fn on_chunk(&mut self, now: Time, from: NodeId, chunk: Chunk, out: &mut Out) {
        if !self.accept_leader(now, from, chunk.term, chunk.through.slot, out) {
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let core = &mut self.core;
        let through = chunk.through.slot;
        let known = core.log.position(through);
        let is_held = known == Some(chunk.through);
        if through <= core.commit {
            if known.is_some() && !is_held {
                return out.accuse(from, Offence::Impossible("its snapshot denies what is committed")); // [R24]
            }
            // We have all of it. The acknowledgement tells how far we are.
            return follower.verify(core.commit);
        }
        if is_held && !core.config.plants(Mutant::SnapshotCutsMatchingLog) {
            // [R24] The log holds what the snapshot holds: it stays, and all of that is committed.
            follower.verify(through);
            core.commit_through(through, out);
            return;
        }
        if chunk.total == 0 && core.is_laden() {
            return; // [R42]
        }
        if chunk.total > core.config.max_snapshot_bytes {
            return out.accuse(from, Offence::Malformed("a snapshot over the configured limit"));
        }
        let mut arrival = Arrival::Received(core.take_piece(from, &chunk));
        if let Some(whole) = core.incoming.take_if(|incoming| incoming.is_whole()) {
            match whole.open(core) {
                Ok(snapshot) => {
                    follower.verify(through);
                    core.install(snapshot, out);
                }
                Err(sender) => {
                    // [R50] Nothing of it is kept. If several sent it, it is not known whose piece was wrong; if that
                    // happens again, it is.
                    arrival = Arrival::Spoilt;
                    if let Some(sender) = sender {
                        out.accuse(sender, Offence::Impossible("its snapshot is not what its digest says"));
                    }
                }
            }
        }
        let reply = ChunkReply { term: core.term, through, offset: chunk.offset, arrival };
        out.send_after(from, Message::SnapshotReply(reply), core.vote_written);
    }

    /// How much of a snapshot has arrived.
    pub(crate) fn on_chunk_reply(&mut self, now: Time, from: NodeId, reply: ChunkReply, out: &mut Out) {
        if !self.settle_term(now, from, reply.term, out) {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peer(from) else { return };
        peer.is_active = true;
        let Mode::Snapshot(outgoing) = &mut peer.mode else { return };
        if outgoing.through() == reply.through && !outgoing.on_answer(now, &reply, &self.core.config) {
            out.accuse(from, Offence::Impossible("it holds more of a snapshot than there is"));
        }
    }
}

impl Leader {
    /// [R51] Pieces leave behind everything else that a burst has for anybody.
    pub(crate) fn send_pieces(&mut self, now: Time, core: &Core, out: &mut Out) {
        for peer in &mut self.peers {
            let bound = peer.bound;
            let Mode::Snapshot(outgoing) = &mut peer.mode else { continue };
            // A witness is not told of what it may not know yet. [R41]
            while bound.is_none_or(|bound| outgoing.through() <= bound)
                && let Some(piece) = outgoing.next_piece(now, core)
            {
                // EARLY: a snapshot holds what is committed; forgetting that we sent it contradicts nothing.
                out.send_early(peer.id, Message::Snapshot(Box::new(piece)));
            }
        }
    }
}

impl Progress {
    /// What is sent of a snapshot, if it is.
    pub(crate) fn outgoing(&self) -> Option<&Outgoing> {
        match &self.mode {
            Mode::Probe { .. } | Mode::Replicate => None,
            Mode::Snapshot(outgoing) => Some(outgoing),
        }
    }

    /// Our log has forgotten what the follower lacks. A log that forgot something has a snapshot of it.
    pub(crate) fn turn_to_snapshot(&mut self, core: &Core, out: &mut Out) {
        let Some(snapshot) = &core.snapshot else { return };
        let snapshot = if self.bound.is_some() {
            // [R42] A witness needs to know where it ends, and no state.
            Snapshot::of(snapshot.through, snapshot.members.clone(), Bytes::new())
        } else {
            snapshot.clone()
        };
        out.note(Note::SnapshotSending { to: self.id, through: snapshot.through.slot });
        self.become_snapshot(Outgoing::new(snapshot, &core.config));
    }

    /// With each heartbeat: what was lost is sent again, and what was spoilt begins anew, with the newest there is.
    pub(crate) fn review_snapshot(&mut self, now: Time, core: &Core, out: &mut Out) {
        if let Mode::Snapshot(outgoing) = &mut self.mode
            && outgoing.review(now, &core.config)
        {
            self.turn_to_snapshot(core, out);
        }
    }
}

impl Core {
    /// The last slot that may be forgotten when a snapshot reaches `through`, while one that ends at `sending` is under way to
    /// somebody. [R22]
    fn retained_from(&self, through: Slot, sending: Option<Slot>) -> Slot {
        let Config { retained_entries, retained_bytes, retained_bytes_while_sending, .. } = &self.config;
        let tail = self.tail(through, *retained_entries, *retained_bytes);
        let needed = sending
            .filter(|&sending| self.tail(through, usize::MAX, *retained_bytes_while_sending) <= sending);
        needed.map_or(tail, |needed| needed.min(tail))
    }

    /// What precedes the longest tail of the log up to `through` within these bounds.
    fn tail(&self, through: Slot, max_entries: usize, max_bytes: usize) -> Slot {
        let mut size = 0;
        let entries = self.log.newest_first(through).take(max_entries);
        let retained = entries.take_while(|(_, entry)| {
            size += entry.size();
            size <= max_bytes
        });
        Slot(through.0 - retained.count() as u64)
    }

    /// [R24] Nothing in our log agrees with the snapshot: it takes the place of the whole log.
    fn install(&mut self, snapshot: Snapshot, out: &mut Out) {
        let Snapshot { through, members, bytes, digest: _ } = snapshot.clone();
        self.hand_over_copies(out);
        self.is_hollow = bytes.is_empty();
        self.snapshot = Some(snapshot);
        let seq = out.written().next();
        self.log.replace(through, seq, self.commit);
        (self.commit, self.handed_over) = (through.slot, through.slot);
        if self.config.plants(Mutant::SnapshotLowersTerm) {
            self.term = through.term;
        }
        let tail = self.records();
        out.checkpoint(through.slot, bytes.clone(), tail);
        out.install(through.slot, bytes);
        out.note(Note::SnapshotInstalled { through: through.slot });
        self.configurations = Configurations::new(through.slot, members);
        self.adopt_members(out);
    }
}
