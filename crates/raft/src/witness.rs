//! Witnesses: voters that keep the places and terms of entries, and none of their payload.
//!
//! A witness makes two replicas survive what otherwise takes three. The danger is that it knows of an entry that no replica
//! who could lead holds: it would refuse its vote to all of them for good. Two rules keep that away.
//!
//! *Nobody hollow leads.* A log with a payload withheld, and a state machine without state, never campaign. Whoever leads is a
//! full replica, so its log is whole: the paper's argument (§5.4.3) is about places and terms alone, and gives it every
//! committed entry; full replicas are only ever sent whole entries.
//!
//! *A witness is behind.* A leader sends a witness only what it has on its own disk, and what is on the disk of every other full
//! voter that is in sync (it answers, and lacks little of what is committed). So while two full voters are in sync, the witness
//! knows nothing that either of them lacks, and votes for the one that is left when the other is gone. One that is out of sync
//! has failed, as far as this goes: then the leader goes on with the witness, and the leader's disk is the one that counts.
//!
//! *Somebody is always ahead of every witness*, on its disk, and may lead: when all full voters are up, and a majority of all
//! voters, the one with the most up-to-date log is voted for by everybody. Let t be the highest term whose leader has its no-op on
//! its own disk. Nobody is fed before that, so what any witness knows is of term t at most; of term t it knows what its leader had
//! on its disk before; so the leader of t is ahead. What else is on its disk is cut only by the leader of a later term, which then
//! has *its* no-op on its disk, and is ahead in turn. (Without the wait for the no-op, the one who is ahead may be fed the first
//! of several old entries in place of its newest, and the one who sent them may crash and forget why.)
//!
//! *Changes of members* could take that one away. It stays a voter, or campaigns though it is none any more (R40), until the
//! members without it are committed. From when it appends them, what a witness is told must be on the disk of a full voter that
//! they name. So a quorum that commits them has a full voter in it, or witnesses who know no more than one: at that moment a full
//! voter among the new members has them, and whatever any witness knows, on its disk. The same holds of payloads: what was
//! committed with its only copy on a disk that leaves is on one that stays before it may leave. Joint configurations add nothing:
//! who is in either half votes and may lead, and the configuration that follows is a change like any other.
//!
//! *What is impossible* is to change the part of a node: a replica that becomes a witness may still have reads waiting for what it
//! will never hold, and a witness that becomes a replica lacks the payloads that it acknowledged. Both need another id. And
//! without a full voter nobody leads, so the last one cannot go.

use crate::entry::{Content, Entries, Entry, withhold};
use crate::leader::Leader;
use crate::mutant::Mutant;
use crate::progress::{Mode, Progress};
use crate::state::Core;
use consensus_core::{NodeId, Slot};

impl Core {
    /// Whether this voter keeps no payload.
    pub(crate) fn is_witness(&self, node: NodeId) -> bool {
        self.members.witnesses().binary_search(&node).is_ok()
    }

    /// Whether this voter may lead.
    pub(crate) fn is_full_voter(&self, node: NodeId) -> bool {
        self.members.is_voter(node) && !self.is_witness(node)
    }

    /// [R42] Whether our state machine holds what our log tells.
    pub(crate) fn is_full(&self) -> bool {
        !self.is_hollow && !self.is_witness(self.id)
    }

    /// Whether `node` may ask for the index that reads wait for. [R42] A witness has nothing to read, even if it does not know yet
    /// that it is one.
    pub(crate) fn may_read(&self, node: NodeId) -> bool {
        let is_witness = self.is_witness(node) && !self.config.plants(Mutant::WitnessReads);
        self.members.contains(node) && !is_witness
    }

    /// [R42] Whether we are to be a full replica with the log of a witness: we acknowledge nothing, so that nobody counts on us.
    pub(crate) fn is_misplaced(&self) -> bool {
        self.is_hollow && self.members.contains(self.id) && !self.is_witness(self.id)
    }
}

impl Core {
    /// [R42] Whether we hold payloads and are sent none: we were a replica and are to be a witness. We take nothing and acknowledge
    /// nothing, since reads may still wait here for what a witness never has.
    pub(crate) fn is_laden(&self) -> bool {
        let is_payload = |entry: &Entry| matches!(entry.content, Content::Proposal { .. });
        let has_state = self.snapshot.as_ref().is_some_and(|snapshot| !snapshot.bytes.is_empty());
        let (first, last) = (self.log.base().slot.next(), self.log.last().slot);
        !self.is_hollow && (has_state || self.log.iter(first, last).any(|(_, entry)| is_payload(entry)))
    }
}

impl Leader {
    /// [R41] How much each witness may know now.
    pub(crate) fn bound_witnesses(&mut self, core: &Core) {
        let lag = core.config.promotion_lag_entries as u64;
        let keeps_up = |peer: &Progress| match peer.mode {
            // In this term nothing is known of it yet.
            Mode::Probe { .. } => true,
            // Without it nothing more is committed, unless it was given up for a while.
            Mode::Replicate => core.commit.0.saturating_sub(peer.matched.0) <= lag,
            Mode::Snapshot(_) => false,
        };
        let full = || self.peers.iter().filter(|peer| core.is_full_voter(peer.id));
        let is_in_sync = |peer: &&Progress| peer.answers() && keeps_up(peer);
        let in_sync = full().filter(is_in_sync).map(|peer| peer.matched).min();
        let own = core.durable_slot();
        let counts = core.is_full_voter(core.id) || core.config.plants(Mutant::WitnessTrustsRemoved);
        // Whoever is being removed may be gone as soon as that is committed: somebody else must hold it.
        let alone = if counts { Some(own) } else { full().map(|peer| peer.matched).max() };
        let held = in_sync.or(alone).unwrap_or(Slot::ZERO).min(own);
        let bound = core.or_whole_log(Mutant::WitnessAhead, held);
        for peer in &mut self.peers {
            peer.bound = core.is_witness(peer.id).then_some(bound);
        }
    }
}

impl Leader {
    /// [R41] In a group with witnesses nobody's log is changed before our no-op is on our disk: whoever's log is cut may be the
    /// one that is ahead of a witness, and then we are.
    pub(crate) fn may_feed(&self, core: &Core) -> bool {
        core.members.witnesses().is_empty()
            || core.durable_slot() >= self.term_start
            || core.config.plants(Mutant::WitnessGroupFedEarly)
    }
}

impl Progress {
    /// The last slot that it may be sent.
    pub(crate) fn reach(&self, last: Slot) -> Slot {
        self.bound.map_or(last, |bound| bound.min(last))
    }

    /// [R41] What it is sent of these, which follow `prev`.
    pub(crate) fn share(&self, prev: Slot, entries: Entries) -> Entries {
        let Some(bound) = self.bound else { return entries };
        let count = usize::try_from(bound.0.saturating_sub(prev.0)).unwrap_or(usize::MAX);
        withhold(&entries.take(count))
    }
}
