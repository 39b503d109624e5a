//! Linearizable reads without a log entry: ReadIndex (dissertation §6.4).
//!
//! A leader notes its commit index, then makes sure that it still leads: a quorum must echo a *probe* that was sent after the
//! read arrived. One probe serves all reads of a burst. A follower asks its leader for the index, also once per burst. Under a
//! lease (`crate::lease`) the leader asks nobody.

use crate::follower::Follower;
use crate::leader::Leader;
use crate::message::Message;
use crate::mutant::Mutant;
use crate::progress::Progress;
use crate::state::{Core, Raft, Role};
use crate::step::{Out, Timer};
use crate::votes;
use consensus_core::reads::{Asker, ReadAnswer, ReadToken};
use consensus_core::{NodeId, ReadId, Refusal, Time};

fn answer(asker: Asker, core: &Core, answer: ReadAnswer, hint: Option<NodeId>, out: &mut Out) {
    match asker {
        Asker::Local(id) => serve(id, answer, hint, out),
        Asker::Remote { from, token } => {
            let reply = Message::ReadIndexReply { token, answer };
            out.send_after(from, reply, core.vote_written);
        }
    }
}

fn serve(id: ReadId, answer: ReadAnswer, hint: Option<NodeId>, out: &mut Out) {
    match answer {
        ReadAnswer::At(at) => out.read_ready(id, at),
        ReadAnswer::NotLeader => out.refuse_read(id, Refusal::NotLeader { hint }),
        ReadAnswer::Busy => out.refuse_read(id, Refusal::Busy),
    }
}

/// [R20] No probe tells whoever asks what is committed.
fn note_reader(peers: &mut [Progress], asker: &Asker, core: &Core) {
    let Asker::Remote { from, .. } = asker else { return };
    let peer = peers.iter_mut().find(|peer| peer.id == *from);
    if let Some(peer) = peer.filter(|_| !core.config.plants(Mutant::ReadAheadOfCommit)) {
        peer.reads_at = core.commit;
    }
}

impl Leader {
    fn take_in(&mut self, core: &Core, asker: Asker, out: &mut Out) {
        if !self.reads.push(asker, core.config.max_pending_reads) {
            answer(asker, core, ReadAnswer::Busy, None, out);
        }
    }

    /// Whoever waits is told that we lead no more.
    pub(crate) fn refuse_reads(self, core: &Core, hint: Option<NodeId>, out: &mut Out) {
        for asker in self.reads.into_askers() {
            answer(asker, core, ReadAnswer::NotLeader, hint, out);
        }
    }

    /// [R19] What has arrived is answered at once under a lease [R43], and otherwise covered by a new probe; but only once the
    /// commit index is known to be of our own term.
    pub(crate) fn take_reads(&mut self, now: Time, core: &Core, out: &mut Out) {
        let has_own_commit =
            core.commit >= self.term_start || core.config.plants(Mutant::ReadBeforeOwnCommit);
        if !self.reads.has_fresh() || !has_own_commit {
            return;
        }
        if self.holds_lease(now, core) {
            for asker in self.reads.take_fresh() {
                note_reader(&mut self.peers, &asker, core);
                answer(asker, core, ReadAnswer::At(core.commit), None, out);
            }
            return;
        }
        self.reads.start_round(core.commit);
        self.lease.note_departure(self.reads.probe(), now, core.config.lease()); // [R43]
    }

    /// [R19] Answers what a quorum has confirmed.
    pub(crate) fn confirm_reads(&mut self, core: &Core, out: &mut Out) {
        if !self.reads.is_worth_a_look() {
            return;
        }
        let echoed = |node| {
            let peer = self.peers.iter().find(|peer| peer.id == node);
            if node == core.id { self.reads.probe() } else { peer.map_or(0, |peer| peer.probe_echoed) }
        };
        let mut confirmed = votes::reached_by_quorum(&core.members, echoed);
        confirmed += u64::from(core.config.plants(Mutant::ReadProbeReused));
        if core.config.plants(Mutant::ReadWithoutQuorum) {
            confirmed = self.reads.probe();
        }
        while let Some((at, askers)) = self.reads.take_confirmed(confirmed) {
            for asker in askers {
                answer(asker, core, ReadAnswer::At(at), None, out);
            }
        }
    }
}

impl Follower {
    fn take_in(&mut self, core: &Core, id: ReadId, out: &mut Out) {
        if !self.reads.push(id, core.config.max_pending_reads) {
            out.refuse_read(id, Refusal::Busy);
        }
    }

    pub(crate) fn refuse_reads(&mut self, reason: &Refusal, out: &mut Out) {
        for id in self.reads.take_all() {
            out.refuse_read(id, reason.clone());
        }
    }

    /// [R20] One question for all reads of a burst.
    pub(crate) fn forward_reads(&mut self, now: Time, leader: NodeId, core: &mut Core, out: &mut Out) {
        if !self.reads.has_fresh() {
            return;
        }
        if self.reads.asked().is_none() {
            out.set_timer(Timer::Heartbeat, now + core.config.heartbeat_interval());
        }
        core.read_round += 1;
        self.reads.start_round(core.read_round);
        ask(leader, core, core.read_round, out);
    }

    /// Asks the newest question again: its answer serves the older ones.
    pub(crate) fn repeat_reads(&mut self, now: Time, core: &Core, out: &mut Out) {
        if let (Some(leader), Some(round)) = (self.leader, self.reads.asked()) {
            ask(leader, core, round, out);
            out.set_timer(Timer::Heartbeat, now + core.config.heartbeat_interval());
        }
    }
}

fn ask(leader: NodeId, core: &Core, round: u64, out: &mut Out) {
    let token = ReadToken { boot: core.boot, round };
    // EARLY: a question claims nothing.
    out.send_early(leader, Message::ReadIndex(token));
}

impl Raft {
    /// [R19] [R20] [R21] Any node takes reads as long as it knows a leader.
    pub(crate) fn on_read(&mut self, id: ReadId, out: &mut Out) {
        match &mut self.role {
            Role::Leader(leader) => leader.take_in(&self.core, Asker::Local(id), out),
            // [R42] A witness has nothing to read.
            Role::Follower(follower) if !self.core.is_full() => {
                out.refuse_read(id, Refusal::NotLeader { hint: follower.leader });
            }
            Role::Follower(follower) if follower.leader.is_some() => follower.take_in(&self.core, id, out),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                out.refuse_read(id, Refusal::NotLeader { hint: None });
            }
        }
    }

    pub(crate) fn on_read_index(&mut self, from: NodeId, token: ReadToken, out: &mut Out) {
        let asker = Asker::Remote { from, token };
        match &mut self.role {
            Role::Leader(leader) if self.core.may_read(from) => {
                leader.take_in(&self.core, asker, out);
            }
            Role::Leader(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                answer(asker, &self.core, ReadAnswer::NotLeader, None, out);
            }
        }
    }

    /// [R20] An answer counts for what this boot asked this leader; all else is late.
    pub(crate) fn on_read_index_reply(
        &mut self,
        from: NodeId,
        token: ReadToken,
        answer: ReadAnswer,
        out: &mut Out,
    ) {
        let Role::Follower(follower) = &mut self.role else { return };
        let is_ours =
            token.boot == self.core.boot || self.core.config.plants(Mutant::ReadAnswerOfEarlierBoot);
        if !is_ours || token.round > self.core.read_round || follower.leader != Some(from) {
            return;
        }
        for id in follower.reads.take_through(token.round) {
            serve(id, answer, None, out);
        }
    }
}
