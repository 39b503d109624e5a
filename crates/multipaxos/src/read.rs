//! Linearizable reads without a slot of the log.
//!
//! A leader notes its mark, then makes sure that it still leads: as many as choose a value must echo a *probe* that was sent after
//! the read arrived. They share a node with every quorum of promises, so no other ballot had got to phase 2 before. One probe serves
//! all reads of a burst. Any other node asks its leader for the slot to wait for, also once per burst.

use crate::acceptor::Follower;
use crate::leader::Leader;
use crate::message::{Message, ReadAnswer, ReadToken};
use crate::mutant::Mutant;
use crate::state::{Core, MultiPaxos, Role};
use crate::step::{Out, Timer};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use consensus_core::{NodeId, ReadId, Refusal, Slot, Time};

/// The reads that a leader has to answer.
#[derive(Clone, Debug)]
pub(crate) struct ReadQueue {
    /// The newest probe; every heartbeat carries it.
    probe: u64,
    /// Arrived, not yet covered by a probe.
    fresh: Vec<Asker>,
    /// Covered, not yet confirmed; oldest first.
    rounds: VecDeque<Round>,
    /// How many wait in `rounds`.
    waiting: usize,
    /// A probe came back since the last look.
    has_echo: bool,
}

#[derive(Clone, Debug)]
struct Round {
    probe: u64,
    at: Slot,
    askers: Vec<Asker>,
}

/// Who wants to read.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Local(ReadId),
    Remote { from: NodeId, token: ReadToken },
}

impl Asker {
    fn answer(self, core: &Core, answer: ReadAnswer, hint: Option<NodeId>, out: &mut Out) {
        match self {
            Self::Local(id) => match answer {
                ReadAnswer::At(at) => out.read_ready(id, at),
                ReadAnswer::NotLeader => out.refuse_read(id, Refusal::NotLeader { hint }),
                ReadAnswer::Busy => out.refuse_read(id, Refusal::Busy),
            },
            Self::Remote { from, token } => {
                let reply = Message::ReadIndexReply { token, answer };
                out.send_after(from, reply, core.promise_written);
            }
        }
    }
}

impl ReadQueue {
    pub(crate) const fn new() -> Self {
        Self { probe: 1, fresh: Vec::new(), rounds: VecDeque::new(), waiting: 0, has_echo: false }
    }

    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.waiting + self.fresh.len()
    }

    /// The newest probe.
    pub(crate) const fn probe(&self) -> u64 {
        self.probe
    }

    pub(crate) const fn on_echo(&mut self) {
        self.has_echo = true;
    }

    fn push(&mut self, core: &Core, asker: Asker, out: &mut Out) {
        if self.waiting + self.fresh.len() >= core.config.max_pending_reads {
            return asker.answer(core, ReadAnswer::Busy, None, out);
        }
        self.fresh.push(asker);
    }

    /// A probe that is about to leave.
    pub(crate) const fn begin_probe(&mut self) {
        self.probe += 1;
    }

    /// [P26] Covers what arrived by a new probe.
    fn start_round(&mut self, mark: Slot) {
        self.begin_probe();
        self.waiting += self.fresh.len();
        let askers = core::mem::take(&mut self.fresh);
        self.rounds.push_back(Round { probe: self.probe, at: mark, askers });
        self.has_echo = true;
    }

    pub(crate) fn refuse_all(self, core: &Core, hint: Option<NodeId>, out: &mut Out) {
        let covered = self.rounds.into_iter().flat_map(|round| round.askers);
        for asker in covered.chain(self.fresh) {
            asker.answer(core, ReadAnswer::NotLeader, hint, out);
        }
    }

    pub(crate) fn assert_invariants(&self, bound: usize) {
        let waiting: usize = self.rounds.iter().map(|round| round.askers.len()).sum();
        assert_eq!(self.waiting, waiting, "the count of waiting reads is wrong");
        assert!(waiting + self.fresh.len() <= bound, "too many reads wait");
        assert!(
            self.rounds.iter().all(|round| round.probe <= self.probe),
            "a read waits for a probe not sent"
        );
    }
}

impl Leader {
    /// [P26] Whether everything that may have been chosen before us is known to be chosen.
    pub(crate) fn may_answer_reads(&self, core: &Core) -> bool {
        core.learner.mark.next() >= self.own || core.config.plants(Mutant::ReadBeforeRecovery)
    }

    /// [P26] What has arrived is answered at once under a lease [P32], and otherwise covered by a new probe; but only once all that
    /// was proposed anew is chosen.
    pub(crate) fn take_reads(&mut self, now: Time, core: &Core, out: &mut Out) {
        if self.reads.fresh.is_empty() || !self.may_answer_reads(core) {
            return;
        }
        let mark = core.learner.mark;
        if self.holds_lease(now, core) {
            for asker in self.reads.fresh.drain(..) {
                asker.answer(core, ReadAnswer::At(mark), None, out);
            }
            return;
        }
        self.reads.start_round(mark);
        self.lease.note_departure(self.reads.probe(), now, core.config.lease()); // [P32]
    }

    /// [P26] Answers what a quorum has confirmed.
    pub(crate) fn confirm_reads(&mut self, core: &Core, out: &mut Out) {
        if !core::mem::take(&mut self.reads.has_echo) || self.reads.rounds.is_empty() {
            return;
        }
        let echoed = |node| {
            let peer = self.peers.iter().find(|peer| peer.id == node);
            if node == core.id { self.reads.probe } else { peer.map_or(0, |peer| peer.probe_echoed) }
        };
        let mut confirmed = core.configuration.reached(echoed);
        confirmed += u64::from(core.config.plants(Mutant::ReadProbeReused));
        if core.config.plants(Mutant::ReadWithoutQuorum) {
            confirmed = self.reads.probe;
        }
        while let Some(round) = self.reads.rounds.pop_front_if(|round| round.probe <= confirmed) {
            self.reads.waiting -= round.askers.len();
            for asker in round.askers {
                asker.answer(core, ReadAnswer::At(round.at), None, out);
            }
        }
    }
}

/// The reads that a follower has asked its leader about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarded {
    fresh: Vec<ReadId>,
    rounds: VecDeque<(u64, Vec<ReadId>)>,
    waiting: usize,
}

impl Forwarded {
    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.waiting + self.fresh.len()
    }

    fn push(&mut self, core: &Core, id: ReadId, out: &mut Out) {
        if self.waiting + self.fresh.len() >= core.config.max_pending_reads {
            return out.refuse_read(id, Refusal::Busy);
        }
        self.fresh.push(id);
    }

    /// Everything up to `round` is answered: a later question was asked after the earlier reads had arrived, too.
    fn take_through(&mut self, round: u64) -> Vec<ReadId> {
        let mut taken = Vec::new();
        while let Some((_, ids)) = self.rounds.pop_front_if(|(asked, _)| *asked <= round) {
            self.waiting -= ids.len();
            taken.extend(ids);
        }
        taken
    }

    pub(crate) fn refuse_all(&mut self, reason: &Refusal, out: &mut Out) {
        for id in self.take_through(u64::MAX).into_iter().chain(self.fresh.drain(..)) {
            out.refuse_read(id, reason.clone());
        }
    }
}

impl Follower {
    /// [P27] One question for all reads of a burst.
    pub(crate) fn forward_reads(&mut self, now: Time, leader: NodeId, core: &mut Core, out: &mut Out) {
        if self.reads.fresh.is_empty() {
            return;
        }
        if self.reads.rounds.is_empty() {
            out.set_timer(Timer::Heartbeat, now + core.config.heartbeat_interval());
        }
        core.read_round += 1;
        let ids = core::mem::take(&mut self.reads.fresh);
        self.reads.waiting += ids.len();
        self.reads.rounds.push_back((core.read_round, ids));
        ask(leader, core, core.read_round, out);
    }

    /// Asks the newest question again: its answer serves the older ones.
    pub(crate) fn repeat_reads(&mut self, now: Time, core: &Core, out: &mut Out) {
        if let (Some(leader), Some((round, _))) = (self.leader, self.reads.rounds.back()) {
            ask(leader, core, *round, out);
            out.set_timer(Timer::Heartbeat, now + core.config.heartbeat_interval());
        }
    }
}

fn ask(leader: NodeId, core: &Core, round: u64, out: &mut Out) {
    let token = ReadToken { boot: core.boot, round };
    // EARLY: a question claims nothing.
    out.send_early(leader, Message::ReadIndex(token));
}

impl MultiPaxos {
    /// [P26] [P27] [P28] Any node takes reads as long as it knows a leader.
    pub(crate) fn on_read(&mut self, id: ReadId, out: &mut Out) {
        match &mut self.role {
            Role::Leader(leader) => leader.reads.push(&self.core, Asker::Local(id), out),
            Role::Follower(follower) if follower.leader.is_some() => follower.reads.push(&self.core, id, out),
            Role::Follower(_) | Role::Candidate(_) => {
                out.refuse_read(id, Refusal::NotLeader { hint: None });
            }
        }
    }

    pub(crate) fn on_read_index(&mut self, from: NodeId, token: ReadToken, out: &mut Out) {
        let asker = Asker::Remote { from, token };
        match &mut self.role {
            Role::Leader(leader) if self.core.configuration.members.contains(from) => {
                leader.reads.push(&self.core, asker, out);
            }
            Role::Leader(_) | Role::Follower(_) | Role::Candidate(_) => {
                asker.answer(&self.core, ReadAnswer::NotLeader, None, out);
            }
        }
    }

    /// [P27] An answer counts for what this boot asked this leader; all else is late.
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
            match answer {
                ReadAnswer::At(at) => out.read_ready(id, at),
                ReadAnswer::NotLeader => out.refuse_read(id, Refusal::NotLeader { hint: None }),
                ReadAnswer::Busy => out.refuse_read(id, Refusal::Busy),
            }
        }
    }
}
