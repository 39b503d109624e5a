//! The participant: it votes once, keeps its promise, and never decides alone after a YES.
//!
//! What it has promised is on disk before anybody hears of it, with everything that a commit takes, and the list of all who take part:
//! if the coordinator is silent, the others may know. Whoever of them has not voted does not vote any more, and that is an abort; if
//! all have promised, nobody but the coordinator knows, and they wait, and say on whom.

use crate::coordinator::Phase;
use crate::message::{Message, Vote};
use crate::mutant::Mutant;
use crate::past::Memory;
use crate::protocol::Protocol;
use crate::record::Record;
use crate::state::Commitment;
use crate::step::{Out, Timer};
use crate::transaction::{Header, Presumption, Transaction};
use alloc::collections::BTreeSet;
use consensus_core::{NodeId, Offence, ProposalId, Time, Verdict, WriteSeq};

/// A transaction, as a participant sees it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) transaction: Transaction,
    pub(crate) stage: Stage,
    /// The write that holds the promise, once there is one.
    pub(crate) written: WriteSeq,
    /// How often it was asked what has become of it.
    pub(crate) tries: u32,
    /// Peers that have promised too, and know no more.
    pub(crate) in_doubt: BTreeSet<NodeId>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The state machine is asked.
    Judging,
    /// It is promised.
    Prepared,
}

impl Part {
    pub(crate) const fn new(transaction: Transaction) -> Self {
        let (stage, written) = (Stage::Judging, WriteSeq::ZERO);
        Self { transaction, stage, written, tries: 0, in_doubt: BTreeSet::new() }
    }
}

impl<P: Protocol> Commitment<P> {
    /// A coordinator asks for our vote.
    pub(crate) fn on_prepare(&mut self, now: Time, from: NodeId, transaction: Transaction, out: &mut Out) {
        let (id, header) = (transaction.header.id, &transaction.header);
        if !header.is_of(&self.members) || !header.has(self.id) {
            return out.accuse(from, Offence::Malformed("a transaction of others")); // [T16]
        }
        if self.parts.contains_key(&id) {
            return self.on_prepare_again(now, from, &transaction, out);
        }
        if self.coordinated.contains_key(&id) && !self.config.plants(Mutant::CoordinatorsNotTold) {
            // EARLY: nothing is promised.
            return out.send_early(from, Message::Vote { id, vote: Vote::Foreign(self.id) }); // [T15]
        }
        let vote = match self.past.recall(id) {
            Memory::Known(commit) if header.is_delegated() && !P::IS_REPLICATED => {
                return out.send(from, Message::Outcome { id, commit }); // [T9]
            }
            Memory::Known(true) => Vote::Committed,
            Memory::Known(false) => Vote::No,
            Memory::Forgotten => Vote::Forgotten,
            // Not a NO: there may be room when the question comes again.
            Memory::Fresh if self.parts.len() >= self.config.max_open * self.members.voter_count() => return,
            Memory::Fresh => {
                let payload = transaction.payload.clone();
                self.parts.insert(id, Part::new(transaction));
                return out.judge(id, payload);
            }
        };
        out.send(from, Message::Vote { id, vote });
    }

    /// [T11] The question was lost, or its answer; or the name is used twice.
    fn on_prepare_again(&mut self, now: Time, from: NodeId, transaction: &Transaction, out: &mut Out) {
        let header = &transaction.header;
        let Some(Part { transaction: known, stage, .. }) = self.parts.get(&header.id) else { return };
        let (coordinator, stage) = (known.header.coordinator, *stage);
        if coordinator != from && !self.config.plants(Mutant::CoordinatorsNotTold) {
            // EARLY: nothing is promised.
            return out.send_early(from, Message::Vote { id: header.id, vote: Vote::Foreign(coordinator) }); // [T15]
        }
        if coordinator == from && known != transaction {
            return out.accuse(from, Offence::Equivocation("two transactions under one name")); // [T16]
        }
        match stage {
            Stage::Judging => {}
            Stage::Prepared if P::IS_REPLICATED => self.register(now, header, out),
            Stage::Prepared => out.send(from, Message::Vote { id: header.id, vote: Vote::Yes }),
        }
    }

    /// [T2] The state machine has judged.
    pub(crate) fn on_judged(&mut self, now: Time, id: ProposalId, accept: bool, out: &mut Out) {
        let Some(part) = self.parts.get(&id) else { return };
        if part.stage != Stage::Judging {
            // [T17] A reservation made anew after a restart, for what was promised before it: nobody is asked again.
            if !accept && self.config.plants(Mutant::JudgesAgain) {
                self.settle_part(id, false, out);
            }
            return;
        }
        let header = part.transaction.header.clone();
        let is_reader = header.reader == Some(self.id);
        if is_reader && header.coordinator != self.id {
            return self.look(&header, accept, out);
        }
        if !accept {
            return self.vote_no(now, &header, out);
        }
        if header.is_delegated() && !P::IS_REPLICATED && header.coordinator != self.id {
            return self.decide_alone(&header, true, out);
        }
        if header.coordinator != self.id || P::IS_REPLICATED {
            if self.config.plants(Mutant::YesBeforeDurable) {
                // EARLY: it is a bug, and planted.
                out.send_early(header.coordinator, Message::Vote { id, vote: Vote::Yes });
            }
            if !self.config.plants(Mutant::PreparedInMemory)
                && let Some(part) = self.parts.get_mut(&id)
            {
                part.written = out.persist(Record::Prepared(part.transaction.clone())); // [T3]
            }
            out.set_timer(Timer::Inquire(id), now + self.retry());
        }
        if let Some(part) = self.parts.get_mut(&id) {
            part.stage = Stage::Prepared;
        }
        if self.config.plants(Mutant::CarriesOutAtPrepare) {
            self.settle_part(id, true, out);
        }
        if P::IS_REPLICATED {
            self.register(now, &header, out); // [T19]
        } else {
            self.vote(now, &header, if is_reader { Vote::ReadOnly } else { Vote::Yes }, out);
        }
    }

    /// [T8] All others hold their locks, so what is read now is all that the transaction needs of us: the verdict changes nothing here.
    fn look(&mut self, header: &Header, accept: bool, out: &mut Out) {
        let id = header.id;
        let Some(part) = self.parts.remove(&id) else { return };
        if self.config.plants(Mutant::ReaderRemembersAbort) {
            self.remember(id, false);
        }
        if accept {
            self.decided = self.decided.next();
            // EARLY: it gives back what was reserved, and decides nothing: nobody is ever told of it, and a snapshot lacks nothing.
            out.decide_early(self.decided, Some(id), Verdict::Abort, part.transaction.payload);
        }
        let vote = if accept { Vote::ReadOnly } else { Vote::No };
        // EARLY: nothing is promised; having forgotten it, we look again, and the coordinator goes by what it counts first.
        out.send_early(header.coordinator, Message::Vote { id, vote });
    }

    fn vote(&mut self, now: Time, header: &Header, vote: Vote, out: &mut Out) {
        if header.coordinator == self.id {
            self.on_vote(now, self.id, header.id, vote, out);
        } else {
            out.send(header.coordinator, Message::Vote { id: header.id, vote });
        }
    }

    /// [T2] A NO is the end of it here. Nobody waits for it to be written down, unless acceptors will be told.
    fn vote_no(&mut self, now: Time, header: &Header, out: &mut Out) {
        let id = header.id;
        if header.is_delegated() && !P::IS_REPLICATED && header.coordinator != self.id {
            return self.decide_alone(header, false, out);
        }
        self.parts.remove(&id);
        if header.coordinator == self.id && !P::IS_REPLICATED {
            return self.on_vote(now, self.id, id, Vote::No, out);
        }
        self.fence(id, out);
        if P::IS_REPLICATED {
            return self.vote(now, header, Vote::No, out); // [T20]
        }
        // EARLY: having forgotten it, we may vote YES, and the coordinator goes by what it counts first: nothing was carried out here.
        out.send_early(header.coordinator, Message::Vote { id, vote: Vote::No });
    }

    /// Never votes for it any more.
    fn fence(&mut self, id: ProposalId, out: &mut Out) {
        if self.config.plants(Mutant::NoTombstone) {
            return;
        }
        out.persist(Record::Aborted { id });
        self.remember(id, false);
    }

    /// [T9] The only participant decides.
    fn decide_alone(&mut self, header: &Header, commit: bool, out: &mut Out) {
        let (id, coordinator) = (header.id, header.coordinator);
        let Some(Part { transaction: Transaction { header, payload }, .. }) = self.parts.remove(&id) else {
            return;
        };
        if self.config.plants(Mutant::OnePhaseBeforeDurable) {
            // EARLY: it is a bug, and planted.
            out.send_early(coordinator, Message::Outcome { id, commit });
        }
        if commit {
            out.persist(Record::Committed { header, payload: Some(payload.clone()) });
            self.decide(id, true, payload, out);
        } else {
            self.fence(id, out);
        }
        out.send(coordinator, Message::Outcome { id, commit });
    }

    /// A verdict comes: of the coordinator, of a peer that knows it, or of the only participant.
    pub(crate) fn on_outcome(&mut self, from: NodeId, id: ProposalId, commit: bool, out: &mut Out) {
        let id = if self.config.plants(Mutant::WrongTransaction) {
            self.parts.keys().copied().next_back().unwrap_or(id)
        } else {
            id
        };
        if let Some(coordinated) = self.coordinated.get(&id) {
            match coordinated.phase {
                Phase::Delegated | Phase::Registering { .. } => return self.on_told(from, id, commit, out),
                Phase::Voting { .. } if !commit => return, // [T15] As below.
                Phase::Voting { .. } => {
                    return out.accuse(from, Offence::Impossible("a verdict in place of the coordinator's"));
                }
                Phase::Telling { .. } => {}
            }
        }
        let Some(part) = self.parts.get(&id) else { return self.on_late_outcome(from, id, commit, out) };
        let header = &part.transaction.header;
        if !commit && !self.may_tell(from, header) {
            return; // [T15] Another coordinator of this name has given up, and we have promised it nothing.
        }
        if !self.may_tell(from, header) {
            return out.accuse(from, Offence::Impossible("a verdict of a node that has no part in it")); // [T16]
        }
        if commit && part.stage == Stage::Judging {
            return out.accuse(from, Offence::Impossible("a commit that this node did not vote for")); // [T16]
        }
        let is_awaited = if P::IS_REPLICATED { commit } else { header.needs_acknowledgement(commit) };
        let is_promised = part.stage == Stage::Prepared;
        self.settle_part(id, commit, out);
        if is_promised && is_awaited {
            out.send(from, Message::Acknowledge { id });
        }
    }

    /// Whether `from` may lead a ballot of it, or knows the verdict.
    pub(crate) fn may_tell(&self, from: NodeId, header: &Header) -> bool {
        let is_acceptor = || P::IS_REPLICATED && self.acceptors(header).contains(&from);
        from == header.coordinator || header.promises(from) || is_acceptor()
    }

    /// [T9] [T21] Others have decided what we coordinate.
    fn on_told(&mut self, from: NodeId, id: ProposalId, commit: bool, out: &mut Out) {
        let Some(coordinated) = self.coordinated.get(&id) else { return };
        if !self.may_tell(from, &coordinated.header) {
            return out.accuse(from, Offence::Impossible("a verdict of a node that has no part in it"));
        }
        let payload = coordinated.payload.clone();
        self.coordinated.remove(&id);
        self.led.remove(&id);
        out.cancel_timer(Timer::Voting(id));
        out.cancel_timer(Timer::Repeat(id));
        if self.parts.contains_key(&id) {
            self.settle_part(id, commit, out);
        } else {
            // EARLY: it stands on the disk of the only participant, or of acceptors.
            self.decide_early(id, commit, payload, out);
        }
        if P::IS_REPLICATED && commit {
            out.send(from, Message::Acknowledge { id });
        }
    }

    /// [T4] [T11] What was voted on here is settled.
    pub(crate) fn settle_part(&mut self, id: ProposalId, commit: bool, out: &mut Out) {
        let Some(Part { transaction, stage, written, .. }) = self.parts.remove(&id) else { return };
        let payload = transaction.payload;
        out.cancel_timer(Timer::Inquire(id));
        self.led.remove(&id);
        match stage {
            // The state machine may be about to reserve what it takes: it hears the verdict after that.
            Stage::Judging => self.fence(id, out),
            Stage::Prepared => {
                out.persist(Record::Settled { id, commit });
            }
        }
        if commit && self.config.plants(Mutant::DropsCommit) {
            return self.remember(id, true);
        }
        if self.config.plants(Mutant::CommitsTwice) && commit {
            // EARLY: it is a bug, and planted.
            self.decide_early(id, commit, payload.clone(), out);
        }
        let is_on_disk = stage != Stage::Judging && written <= self.durable;
        if is_on_disk || self.config.plants(Mutant::AbortBeforeFence) {
            // EARLY: it stands with whoever has told it: until we acknowledge it, or as what is presumed. A crash makes us ask again.
            self.decide_early(id, commit, payload, out);
        } else {
            // A crash would leave nothing to ask about, and a vote for another coordinator of the same name.
            self.decide(id, commit, payload, out); // [T15]
        }
    }

    /// [T11] [T16] A verdict on what is settled here, or was never promised.
    fn on_late_outcome(&mut self, from: NodeId, id: ProposalId, commit: bool, out: &mut Out) {
        match self.past.recall(id) {
            // [T15] Another coordinator of this name has given up: nothing is promised to it.
            Memory::Known(true) if !commit => out.send(from, Message::Acknowledge { id }),
            Memory::Known(false) if commit => {}
            Memory::Known(_) | Memory::Forgotten => out.send(from, Message::Acknowledge { id }),
            // [T23] A coordinator that has forgotten it.
            Memory::Fresh if commit && P::IS_REPLICATED => {
                self.remember(id, true);
                out.send(from, Message::Acknowledge { id });
            }
            // Neither carried out nor acknowledged.
            Memory::Fresh if commit => {}
            Memory::Fresh => {
                // The question may come after its answer.
                if !self.config.plants(Mutant::AbortBeforePrepareDropped) {
                    self.fence(id, out);
                }
                if !P::IS_REPLICATED {
                    out.send(from, Message::Acknowledge { id });
                }
            }
        }
    }

    /// [T12] Nothing was heard since the promise.
    pub(crate) fn on_inquire_timer(&mut self, now: Time, id: ProposalId, out: &mut Out) {
        if self.config.plants(Mutant::NeverAsks) {
            return;
        }
        if self.config.plants(Mutant::AbortsAfterYes) || self.config.plants(Mutant::CommitsOnTimeout) {
            return self.settle_part(id, self.config.plants(Mutant::CommitsOnTimeout), out);
        }
        let Some(part) = self.parts.get_mut(&id) else { return };
        part.tries += 1;
        let (header, tries) = (part.transaction.header.clone(), part.tries);
        if header.coordinator != self.id {
            // EARLY: a question promises nothing.
            out.send_early(header.coordinator, Message::Inquire(header.clone()));
        }
        out.set_timer(Timer::Inquire(id), self.next_try(now, tries));
        if P::IS_REPLICATED {
            self.register(now, &header, out);
            if tries >= 2 && !self.led.contains_key(&id) {
                self.lead(now, header, out); // [T21]
            }
        } else if tries >= 2 {
            for peer in header.promising_besides(self.id).filter(|&peer| peer != header.coordinator) {
                // EARLY: a question promises nothing.
                out.send_early(peer, Message::Inquire(header.clone())); // [T13]
            }
        }
    }

    /// Somebody has promised, and asks what has become of it.
    pub(crate) fn on_inquire(&mut self, from: NodeId, header: &Header, out: &mut Out) {
        let id = header.id;
        if !header.is_of(&self.members) || !(header.has(self.id) || header.coordinator == self.id) {
            return out.accuse(from, Offence::Malformed("a transaction of others")); // [T16]
        }
        if let Some(coordinated) = self.coordinated.get(&id) {
            if let Phase::Telling { commit, .. } = coordinated.phase {
                out.send(from, Message::Outcome { id, commit });
            }
            return;
        }
        if let Memory::Known(commit) = self.past.recall(id) {
            return out.send(from, Message::Outcome { id, commit });
        }
        if P::IS_REPLICATED {
            return; // [T21] Nobody presumes anything: the acceptors know.
        }
        if header.coordinator == self.id {
            self.presume(from, header, out)
        } else {
            self.on_peer(from, header, out)
        }
    }

    /// [T6] [T7] A coordinator that knows nothing of it.
    fn presume(&mut self, from: NodeId, header: &Header, out: &mut Out) {
        let commit = header.presumed == Presumption::Commit || self.config.plants(Mutant::PresumesCommit);
        if !commit
            && self.past.recall(header.id) == Memory::Fresh
            && !self.config.plants(Mutant::AbortNotWritten)
        {
            // It must not be proposed anew, and committed, after this.
            self.fence(header.id, out);
        }
        out.send(from, Message::Outcome { id: header.id, commit });
    }

    /// [T13] A peer asks, since its coordinator is silent.
    fn on_peer(&mut self, from: NodeId, header: &Header, out: &mut Out) {
        let id = header.id;
        match self.parts.get(&id).map(|part| part.stage) {
            Some(Stage::Prepared) if self.config.plants(Mutant::InDoubtIsAbort) => {
                out.send(from, Message::Outcome { id, commit: false });
            }
            // EARLY: it tells nothing but that we wait too.
            Some(Stage::Prepared) => out.send_early(from, Message::InDoubt { id }),
            Some(Stage::Judging) => {}
            None if header.reader == Some(self.id) || !self.past.is_complete() => {}
            None if self.past.recall(id) == Memory::Forgotten => {}
            None => {
                if !self.config.plants(Mutant::AnswersAbortUnfenced) {
                    self.fence(id, out);
                }
                out.send(from, Message::Outcome { id, commit: false });
            }
        }
    }

    /// [T13] A peer waits too.
    pub(crate) fn on_in_doubt(&mut self, from: NodeId, id: ProposalId, out: &mut Out) {
        let Some(part) = self.parts.get_mut(&id) else { return };
        if !part.transaction.header.has(from) {
            return out.accuse(from, Offence::Impossible("a word of a node that does not take part"));
        }
        part.in_doubt.insert(from);
    }
}
