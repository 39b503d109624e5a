//! What a node knows: what it coordinates, what it takes part in, what it keeps for others as an acceptor, and what is settled.

use crate::ballot::Led;
use crate::config::Config;
use crate::coordinator::{Coordinated, Phase};
use crate::mutant::Mutant;
use crate::participant::{Part, Stage};
use crate::past::{Memory, Past};
use crate::protocol::Protocol;
use crate::registrar::Register;
use crate::step::Out;
use crate::transaction::Header;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use consensus_core::{
    Bytes, Epoch, Inspection, Members, NodeId, ProposalId, Role, Slot, Status, Time, Verdict, WriteSeq,
};
use core::marker::PhantomData;
use core::time::Duration;
use multipaxos::Ballot;
use rand::rngs::ChaCha8Rng;

/// One node that commits transactions with others, by the protocol `P`.
///
/// Everything is kept per transaction, and of no more than `max_open` of them as coordinator and as participant each; what is settled
/// leaves a verdict behind.
#[derive(Debug)]
pub struct Commitment<P> {
    pub(crate) id: NodeId,
    pub(crate) config: Config,
    pub(crate) members: Members,
    /// What this node coordinates, or tells the verdict of.
    pub(crate) coordinated: BTreeMap<ProposalId, Coordinated>,
    /// What this node has a say in.
    pub(crate) parts: BTreeMap<ProposalId, Part>,
    /// What this node keeps as an acceptor.
    pub(crate) registers: BTreeMap<ProposalId, Register>,
    /// The ballots that this node leads.
    pub(crate) led: BTreeMap<ProposalId, Led>,
    pub(crate) past: Past,
    /// How many decisions were handed over.
    pub(crate) decided: Slot,
    /// Decisions that the state machine may not have yet, with the write that each waits for.
    pub(crate) unapplied: VecDeque<(WriteSeq, Carried)>,
    /// What is known to be durable.
    pub(crate) durable: WriteSeq,
    /// What this node has accepted itself, with the write that each waits for.
    pub(crate) accepting: VecDeque<(WriteSeq, ProposalId, Ballot)>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) protocol: PhantomData<P>,
}

/// A decision on its way to the state machine.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    pub(crate) slot: Slot,
    pub(crate) id: ProposalId,
    pub(crate) commit: bool,
    pub(crate) payload: Bytes,
}

pub(crate) const fn verdict(commit: bool) -> Verdict {
    if commit { Verdict::Commit } else { Verdict::Abort }
}

impl<P: Protocol> Commitment<P> {
    /// Notes a verdict.
    pub(crate) fn remember(&mut self, id: ProposalId, commit: bool) {
        if !self.config.plants(Mutant::VerdictsForgotten) {
            self.past.settle(id, commit, &self.config);
        }
    }

    /// Notes a verdict and hands it over, once everything written so far is durable.
    pub(crate) fn decide(&mut self, id: ProposalId, commit: bool, payload: Bytes, out: &mut Out) {
        self.remember(id, commit);
        self.decided = self.decided.next();
        self.unapplied.push_back((out.written(), self.carried(id, commit, &payload)));
        out.decide(self.decided, Some(id), verdict(commit), payload);
    }

    /// Notes a verdict and hands it over: it stands without our own disk.
    pub(crate) fn decide_early(&mut self, id: ProposalId, commit: bool, payload: Bytes, out: &mut Out) {
        self.remember(id, commit);
        self.decided = self.decided.next();
        // It may have to wait behind others all the same, and a snapshot may come in between.
        if out.written() > self.durable {
            self.unapplied.push_back((out.written(), self.carried(id, commit, &payload)));
        }
        // EARLY: each caller says why.
        out.decide_early(self.decided, Some(id), verdict(commit), payload);
    }

    fn carried(&self, id: ProposalId, commit: bool, payload: &Bytes) -> Carried {
        Carried { slot: self.decided, id, commit, payload: payload.clone() }
    }

    /// Every write up to this one is durable: what waited for it was carried out.
    pub(crate) fn on_durable(&mut self, now: Time, durable: WriteSeq, out: &mut Out) {
        self.durable = durable;
        while self.unapplied.pop_front_if(|(after, _)| *after <= durable).is_some() {}
        while let Some((_, id, ballot)) = self.accepting.pop_front_if(|(after, ..)| *after <= durable) {
            self.on_accepted(now, self.id, id, ballot, out);
        }
    }

    pub(crate) const fn retry(&self) -> Duration {
        Duration::from_millis(self.config.retry_ms)
    }

    /// When to try again what was tried so often: the waits double up to eight times the first.
    pub(crate) fn next_try(&self, now: Time, tries: u32) -> Time {
        now + self.retry() * (1 << tries.min(3))
    }

    /// The 2F + 1 acceptors of a transaction: its coordinator, and the voters that follow.
    // [T18]
    pub(crate) fn acceptors(&self, header: &Header) -> Vec<NodeId> {
        let voters = self.members.voters();
        let first = voters.iter().position(|&node| node == header.coordinator).unwrap_or(0);
        let many = 2 * self.config.faults_of(voters.len()) + 1;
        voters.iter().cycle().skip(first).take(many.min(voters.len())).copied().collect()
    }

    /// How many acceptors must have accepted: F + 1.
    // [T18]
    pub(crate) fn quorum(&self) -> usize {
        let sound = self.config.faults_of(self.members.voter_count()) + 1;
        if self.config.plants(Mutant::OneAcceptorSuffices) { 1 } else { sound }
    }

    /// What cannot be settled before somebody else speaks, and who that is.
    // [T13]
    fn blocked(&self) -> Vec<(ProposalId, Vec<NodeId>)> {
        let parts = self.parts.iter().filter_map(|(&id, part)| Some((id, self.awaited_by(part)?)));
        let delegated = self.coordinated.iter().filter_map(|(&id, coordinated)| {
            let is_waiting = matches!(coordinated.phase, Phase::Delegated) && coordinated.tries > 0;
            is_waiting.then(|| (id, coordinated.header.participants.clone()))
        });
        let led = self.led.iter().filter_map(|(&id, led)| Some((id, self.silent_acceptors(led)?)));
        let mut blocked: BTreeMap<ProposalId, Vec<NodeId>> = parts.chain(delegated).collect();
        blocked.extend(led);
        if self.config.plants(Mutant::Silent) {
            blocked.clear();
        }
        blocked.into_iter().collect()
    }

    fn awaited_by(&self, part: &Part) -> Option<Vec<NodeId>> {
        let header = &part.transaction.header;
        let is_in_doubt = part.stage == Stage::Prepared && part.tries > 0 && header.coordinator != self.id;
        if !is_in_doubt || P::IS_REPLICATED {
            return None;
        }
        let is_silent = |peer: &NodeId| *peer != header.coordinator && !part.in_doubt.contains(peer);
        let peers = header.promising_besides(self.id).filter(is_silent);
        let mut awaited: Vec<NodeId> = core::iter::once(header.coordinator).chain(peers).collect();
        if self.config.plants(Mutant::BlamesOther) {
            awaited = self.members.others(self.id).filter(|node| !awaited.contains(node)).take(1).collect();
            awaited.extend(awaited.is_empty().then_some(self.id));
        }
        Some(awaited)
    }

    pub(crate) fn observe(&self) -> Status {
        Status {
            role: if self.members.is_voter(self.id) { Role::Peer } else { Role::Learner },
            leader: None,
            epoch: Epoch::ZERO,
            decided: self.decided,
            members: self.members.clone(),
            blocked: self.blocked(),
        }
    }

    pub(crate) fn look_inside(&self) -> Inspection {
        let telling = |it: &&Coordinated| matches!(it.phase, Phase::Telling { .. });
        let promised = |it: &&Part| it.stage == Stage::Prepared;
        let told = self.coordinated.values().filter(telling).count();
        let queues = [
            ("voting", self.coordinated.len() - told),
            ("telling", told),
            ("promised", self.parts.values().filter(promised).count()),
            ("in doubt", self.blocked().len()),
            ("registered", self.registers.len()),
            ("led", self.led.len()),
            ("remembered", self.past.len()),
        ];
        Inspection { last: self.decided, queues: queues.to_vec(), ..Inspection::default() }
    }

    pub(crate) fn check_invariants(&self) {
        if self.config.is_planted() {
            return;
        }
        self.past.assert_invariants(&self.config);
        for (id, part) in &self.parts {
            let settled = matches!(self.past.recall(*id), Memory::Known(_));
            assert!(!settled, "{id:?} is settled, and has a vote outstanding");
            assert_eq!(*id, part.transaction.header.id, "a transaction under another's name");
        }
        for (id, coordinated) in &self.coordinated {
            let known = self.past.recall(*id);
            match coordinated.phase {
                Phase::Telling { commit, .. } => {
                    assert!(known != Memory::Known(!commit), "{id:?} is told otherwise than it was decided");
                }
                Phase::Voting { .. } | Phase::Delegated | Phase::Registering { .. } => {
                    assert!(!matches!(known, Memory::Known(_)), "{id:?} is settled, and voted on");
                }
            }
        }
        self.registers.values().for_each(Register::assert_invariants);
    }
}
