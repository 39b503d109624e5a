//! How a node comes back to what it knew, and what it takes into a snapshot's wake.

use crate::coordinator::{Coordinated, Phase};
use crate::mutant::Mutant;
use crate::participant::{Part, Stage};
use crate::past::{Memory, Past};
use crate::protocol::Protocol;
use crate::record::Record;
use crate::registrar::Register;
use crate::state::{Carried, Commitment};
use crate::step::{Out, Timer};
use crate::transaction::{Header, Presumption};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use consensus_core::{Boot, Bytes, NodeId, ProposalId, RestoreError, Slot, Time, WriteSeq};
use core::marker::PhantomData;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

impl<P: Protocol> Commitment<P> {
    /// [T17] Rebuilds the state from what the disk holds: who has promised goes on waiting, who has to tell goes on telling.
    pub(crate) fn recover(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot, records } = boot;
        let mut node = Self {
            id,
            members,
            config,
            coordinated: BTreeMap::new(),
            parts: BTreeMap::new(),
            registers: BTreeMap::new(),
            led: BTreeMap::new(),
            past: Past::default(),
            decided: snapshot.map_or(Slot::ZERO, |(through, _)| through),
            unapplied: VecDeque::new(),
            durable: WriteSeq::ZERO,
            accepting: VecDeque::new(),
            // Nodes that are given the same seed must not wait alike.
            rng: ChaCha8Rng::seed_from_u64(seed ^ id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            protocol: PhantomData,
        };
        for record in records {
            node.replay(record, out).map_err(RestoreError)?;
        }
        node.fit_together().map_err(RestoreError)?;
        node.resume(now, out);
        Ok(node)
    }

    fn replay(&mut self, record: Record, out: &mut Out) -> Result<(), &'static str> {
        if record.header().is_some_and(|header| header.check().is_err()) {
            return Err("the records hold a transaction that nobody can carry out");
        }
        match record {
            // Without a commit that follows, it is aborted.
            Record::Begun(header) => self.replay_telling(header, false),
            Record::Prepared(transaction) => {
                let id = transaction.header.id;
                let part = Part { stage: Stage::Prepared, ..Part::new(transaction) };
                if self.parts.insert(id, part).is_some() {
                    return Err("the records hold two promises of one transaction");
                }
            }
            Record::Committed { header, payload } => {
                self.coordinated.remove(&header.id);
                self.replay_verdict(&header, payload, out);
                if header.coordinator == self.id && header.presumed == Presumption::Abort {
                    self.replay_telling(header, true);
                }
            }
            Record::Settled { id, commit } => {
                let Some(part) = self.parts.remove(&id) else {
                    return Err("the records hold a verdict on what was not promised");
                };
                if self.config.plants(Mutant::CommitsTwice)
                    || !(commit && self.config.plants(Mutant::DropsCommit))
                {
                    // EARLY: it was read back from the disk.
                    self.decide_early(id, commit, part.transaction.payload, out);
                }
            }
            Record::Aborted { id } => self.remember(id, false),
            Record::Ended { id } => drop(self.coordinated.remove(&id)),
            Record::Registered { header, promised, votes } => {
                self.registers.insert(header.id, Register::restored(header, promised, &votes)?);
            }
            Record::Closed { id, commit } => {
                self.registers.remove(&id);
                self.remember(id, commit);
            }
            // EARLY: it was read back from the disk.
            Record::Carried { id, commit, payload } => self.decide_early(id, commit, payload, out),
            Record::Past(remembered) => self.past = Past::restored(remembered, &self.config),
        }
        Ok(())
    }

    fn replay_verdict(&mut self, header: &Header, payload: Option<Bytes>, out: &mut Out) {
        if let Some(payload) = payload {
            // EARLY: it was read back from the disk.
            self.decide_early(header.id, true, payload, out);
        } else {
            self.remember(header.id, true);
        }
    }

    fn replay_telling(&mut self, header: Header, commit: bool) {
        let unacknowledged: BTreeSet<NodeId> = header.promising_besides(self.id).collect();
        self.remember(header.id, commit);
        if !unacknowledged.is_empty() && !header.is_delegated() {
            let phase = Phase::Telling { commit, unacknowledged };
            self.coordinated
                .insert(header.id, Coordinated { header, payload: Bytes::new(), phase, tries: 0 });
        }
    }

    /// Whether each transaction has one outcome, as the invariants demand of what no disk has changed.
    fn fit_together(&self) -> Result<(), &'static str> {
        if self.config.is_planted() {
            return Ok(());
        }
        if self.parts.keys().any(|&id| matches!(self.past.recall(id), Memory::Known(_))) {
            return Err("the records hold a promise of what is settled");
        }
        let is_told_otherwise = |(&id, coordinated): (&ProposalId, &Coordinated)| {
            let known = self.past.recall(id);
            matches!(coordinated.phase, Phase::Telling { commit, .. } if known == Memory::Known(!commit))
        };
        if self.coordinated.iter().any(is_told_otherwise) {
            return Err("the records hold two verdicts on one transaction");
        }
        Ok(())
    }

    fn resume(&mut self, now: Time, out: &mut Out) {
        let soon = now + self.retry();
        for (&id, part) in &self.parts {
            // The machine is new: it reserves again what it had promised.
            if !self.config.plants(Mutant::ReservationsForgotten) {
                out.judge(id, part.transaction.payload.clone());
            }
            out.set_timer(Timer::Inquire(id), soon);
        }
        for &id in self.coordinated.keys() {
            out.set_timer(Timer::Repeat(id), soon);
        }
        for &id in self.registers.keys() {
            out.set_timer(Timer::Recover(id), soon + self.retry() * 4);
        }
    }

    /// [T14] The state machine has everything up to `through`: what is settled leaves its verdict, and what is open stays.
    pub(crate) fn on_compact(&mut self, through: Slot, snapshot: Bytes, out: &mut Out) {
        let mut tail = Vec::from([Record::Past(self.past.remembered())]);
        tail.extend(self.coordinated.values().filter_map(Self::kept));
        let carried = self.unapplied.iter().map(|(_, carried)| carried);
        tail.extend(carried.filter(|carried| carried.slot > through).map(Carried::record));
        let promised = self.parts.values().filter(|part| {
            let is_volatile = part.transaction.header.coordinator == self.id && !P::IS_REPLICATED;
            part.stage == Stage::Prepared && !is_volatile
        });
        tail.extend(promised.map(|part| Record::Prepared(part.transaction.clone())));
        tail.extend(self.registers.values().filter(|it| it.written.is_some()).map(Register::record));
        out.checkpoint(through, snapshot, tail);
    }

    /// What a coordinator has on disk of it.
    fn kept(coordinated: &Coordinated) -> Option<Record> {
        let header = || coordinated.header.clone();
        match coordinated.phase {
            // The acceptors have it.
            Phase::Registering { .. } | Phase::Delegated => None,
            Phase::Telling { .. } if P::IS_REPLICATED => None,
            Phase::Telling { commit: true, .. } if coordinated.header.presumed == Presumption::Abort => {
                Some(Record::Committed { header: header(), payload: None })
            }
            Phase::Telling { .. } | Phase::Voting { .. } => {
                let is_begun =
                    coordinated.header.presumed == Presumption::Commit && !coordinated.header.is_delegated();
                is_begun.then(|| Record::Begun(header()))
            }
        }
    }
}

impl Carried {
    fn record(&self) -> Record {
        Record::Carried { id: self.id, commit: self.commit, payload: self.payload.clone() }
    }
}
