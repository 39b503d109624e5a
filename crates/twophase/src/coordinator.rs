//! The coordinator: it asks for votes, decides, and tells until everybody knows.
//!
//! Of a commit it writes one record, before anybody hears of it. What a coordinator that remembers nothing answers is the presumption;
//! the verdict that is *not* presumed is told until all who promised have acknowledged it. With Paxos Commit it writes nothing: the
//! acceptors keep the votes, and whoever leads a ballot can do what it does.

use crate::message::{Message, Vote};
use crate::mutant::Mutant;
use crate::participant::{Part, Stage};
use crate::past::Memory;
use crate::protocol::Protocol;
use crate::record::Record;
use crate::state::{Commitment, verdict};
use crate::step::{Out, Timer};
use crate::transaction::{Envelope, Header, Presumption, Transaction};
use alloc::collections::BTreeSet;
use consensus_core::quorum::Tally;
use consensus_core::{Bytes, NodeId, Offence, ProposalId, Refusal, Time, wire};
use core::time::Duration;

/// How many transactions there may be in all for each that may be undecided.
const TOLD_PER_OPEN: usize = 16;

/// A transaction, as its coordinator sees it.
#[derive(Debug)]
pub(crate) struct Coordinated {
    pub(crate) header: Header,
    /// What was proposed; nothing once it is decided.
    pub(crate) payload: Bytes,
    pub(crate) phase: Phase,
    /// How often what was said last was said again.
    pub(crate) tries: u32,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Votes are awaited.
    Voting {
        /// Of whom.
        awaited: BTreeSet<NodeId>,
        /// Whether the reader was asked: after all others.
        is_reader_asked: bool,
    },
    /// The only participant decides, and is awaited.
    Delegated,
    /// Acceptors are awaited that have everybody's vote.
    Registering {
        /// Those that have.
        accepted: Tally,
    },
    /// It is decided, and told.
    Telling {
        /// Whether it is committed.
        commit: bool,
        /// Who has not acknowledged it.
        unacknowledged: BTreeSet<NodeId>,
    },
}

impl<P: Protocol> Commitment<P> {
    /// [T1] [T2] A client proposes.
    pub(crate) fn on_propose(&mut self, now: Time, id: ProposalId, payload: &Bytes, out: &mut Out) {
        match self.past.recall(id) {
            Memory::Known(commit) => return out.refuse(id, Refusal::Settled { verdict: verdict(commit) }),
            Memory::Forgotten => return out.refuse(id, Refusal::Interrupted),
            Memory::Fresh => {}
        }
        if self.coordinated.contains_key(&id) {
            return; // A retry: the verdict answers it.
        }
        if let Some(part) = self.parts.get(&id) {
            let hint = Some(part.transaction.header.coordinator);
            return out.refuse(id, Refusal::NotLeader { hint });
        }
        if !self.members.is_voter(self.id) {
            return out.refuse(id, Refusal::NotMember);
        }
        if payload.len() > self.config.max_payload_bytes {
            return out.refuse(id, Refusal::TooLarge);
        }
        let Some((header, payload)) = self.unwrap(id, payload) else {
            return out.refuse(id, Refusal::Unsupported);
        };
        if self.is_full() {
            return out.refuse(id, Refusal::Busy);
        }
        self.begin(now, header, payload, out);
    }

    /// [T1] Whoever waits for an acknowledgement of the dead goes on with others, for a while.
    fn is_full(&self) -> bool {
        let (most, all) = (self.config.max_open, self.coordinated.len());
        let is_open = |it: &&Coordinated| !matches!(it.phase, Phase::Telling { .. });
        all >= most
            && (all >= most * TOLD_PER_OPEN || self.coordinated.values().filter(is_open).count() >= most)
    }

    /// [T1] Who takes part, and in what.
    fn unwrap(&self, id: ProposalId, payload: &Bytes) -> Option<(Header, Bytes)> {
        let envelope: Envelope = wire::decode(payload, self.config.max_payload_bytes).ok()?;
        let mut participants = envelope.participants;
        if participants.is_empty() {
            participants = self.members.voters().to_vec();
        }
        participants.sort_unstable();
        participants.dedup();
        // Acceptors keep the votes of all who take part alike, and who is alone is not asked last.
        let can_read = !P::IS_REPLICATED && participants.len() > 1;
        let header = Header {
            id,
            coordinator: self.id,
            participants,
            reader: envelope.reader.filter(|_| can_read),
            presumed: if P::IS_REPLICATED { Presumption::Abort } else { self.config.presumption },
        };
        (header.check().is_ok() && header.is_of(&self.members)).then_some((header, envelope.payload))
    }

    fn begin(&mut self, now: Time, header: Header, payload: Bytes, out: &mut Out) {
        let id = header.id;
        let phase = if P::IS_REPLICATED {
            Phase::Registering { accepted: Tally::new() } // [T19]
        } else if header.is_delegated() && header.participants.first() != Some(&self.id) {
            Phase::Delegated // [T9]
        } else {
            let mut awaited: BTreeSet<NodeId> = header.participants.iter().copied().collect();
            let is_reader_asked = self.config.plants(Mutant::ReaderAskedFirst) || header.reader.is_none();
            if !is_reader_asked {
                awaited.retain(|&node| Some(node) != header.reader); // [T8]
            }
            Phase::Voting { awaited, is_reader_asked }
        };
        if matches!(phase, Phase::Voting { .. })
            && header.presumed == Presumption::Commit
            && !header.is_delegated()
        {
            out.persist(Record::Begun(header.clone())); // [T7]
        }
        if !matches!(phase, Phase::Delegated) {
            out.set_timer(Timer::Voting(id), now + Duration::from_millis(self.config.voting_ms));
        }
        out.set_timer(Timer::Repeat(id), now + self.retry());
        let coordinated = Coordinated { header, payload, phase, tries: 0 };
        self.ask_for_votes(&coordinated, out);
        if coordinated.asked().any(|node| node == self.id) {
            self.judge_here(&coordinated, out);
        }
        self.coordinated.insert(id, coordinated);
    }

    /// Asks everybody whose vote is awaited, but ourselves.
    fn ask_for_votes(&self, coordinated: &Coordinated, out: &mut Out) {
        let Coordinated { header, payload, .. } = coordinated;
        let transaction = Transaction { header: header.clone(), payload: payload.clone() };
        for peer in coordinated.asked().filter(|&node| node != self.id) {
            let message = Message::Prepare(transaction.clone());
            if header.presumed == Presumption::Commit && !self.config.plants(Mutant::AsksBeforeDurable) {
                out.send(peer, message); // [T7]
            } else {
                // EARLY: a coordinator that forgets this has committed nothing, and answers whoever promised that it is aborted.
                out.send_early(peer, message);
            }
        }
    }

    fn judge_here(&mut self, coordinated: &Coordinated, out: &mut Out) {
        let Coordinated { header, payload, .. } = coordinated;
        let transaction = Transaction { header: header.clone(), payload: payload.clone() };
        self.parts.insert(header.id, Part::new(transaction));
        out.judge(header.id, payload.clone());
    }

    /// [T3] A vote, of a participant or our own.
    pub(crate) fn on_vote(&mut self, now: Time, from: NodeId, id: ProposalId, vote: Vote, out: &mut Out) {
        let Some(coordinated) = self.coordinated.get_mut(&id) else { return };
        if !coordinated.header.has(from) {
            return out.accuse(from, Offence::Impossible("a vote of a node that does not take part"));
        }
        let is_reader = coordinated.header.reader == Some(from);
        let is_open = !matches!(coordinated.phase, Phase::Telling { .. });
        match (vote, &mut coordinated.phase) {
            (Vote::Yes, Phase::Voting { awaited, .. }) if !is_reader => {
                if !awaited.remove(&from) && self.config.plants(Mutant::DuplicateYesCounted) {
                    awaited.pop_first();
                }
                self.advance(now, id, out);
            }
            (Vote::ReadOnly, Phase::Voting { awaited, .. }) if is_reader => {
                awaited.remove(&from);
                self.advance(now, id, out);
            }
            (Vote::Yes, Phase::Voting { .. })
            | (Vote::ReadOnly, Phase::Voting { .. } | Phase::Registering { .. }) => {
                out.accuse(from, Offence::Impossible("a vote of another kind than was asked for"));
            }
            (Vote::No, Phase::Delegated | Phase::Registering { .. } | Phase::Voting { .. }) => {
                self.become_aborted(now, id, Some(from), out);
            }
            (Vote::Foreign(node), _) if is_open => {
                self.give_up(now, id, Refusal::NotLeader { hint: Some(node) }, out);
            }
            (Vote::Committed, _) if is_open => {
                self.give_up(now, id, Refusal::Settled { verdict: verdict(true) }, out);
            }
            (Vote::Forgotten, _) if is_open => self.give_up(now, id, Refusal::Interrupted, out),
            // What is decided stays so; a vote that does not belong to the phase tells nothing.
            (
                Vote::Yes | Vote::ReadOnly,
                Phase::Delegated | Phase::Registering { .. } | Phase::Telling { .. },
            )
            | (Vote::No | Vote::Foreign(_) | Vote::Committed | Vote::Forgotten, _) => {}
        }
    }

    /// Goes on if no vote is outstanding.
    fn advance(&mut self, now: Time, id: ProposalId, out: &mut Out) {
        let Some(coordinated) = self.coordinated.get_mut(&id) else { return };
        let Phase::Voting { awaited, is_reader_asked } = &mut coordinated.phase else { return };
        if !awaited.is_empty() {
            return;
        }
        match coordinated.header.reader {
            Some(reader) if !*is_reader_asked => {
                // [T8] Everybody else has locked what it needs by now.
                *is_reader_asked = true;
                awaited.insert(reader);
                let Some(coordinated) = self.coordinated.remove(&id) else { return };
                self.ask_for_votes(&coordinated, out);
                if reader == self.id {
                    self.judge_here(&coordinated, out);
                }
                self.coordinated.insert(id, coordinated);
            }
            Some(_) | None if self.config.plants(Mutant::AlwaysAborts) => {
                self.become_aborted(now, id, None, out)
            }
            Some(_) | None => self.become_committed(now, id, out),
        }
    }

    /// [T4] The commit is durable before anybody hears of it.
    fn become_committed(&mut self, now: Time, id: ProposalId, out: &mut Out) {
        let Some(Coordinated { header, payload, .. }) = self.coordinated.remove(&id) else { return };
        if self.config.plants(Mutant::CommitBeforeDurable) {
            for peer in header.promising_besides(self.id) {
                // EARLY: it is a bug, and planted.
                out.send_early(peer, Message::Outcome { id, commit: true });
            }
        }
        self.parts.remove(&id);
        if self.config.plants(Mutant::AnswersBeforeDurable) {
            // EARLY: it is a bug, and planted.
            self.decide_early(id, true, payload.clone(), out);
        }
        if !self.config.plants(Mutant::CommitNotWritten) {
            out.persist(Record::Committed { header: header.clone(), payload: Some(payload.clone()) });
        }
        if !self.config.plants(Mutant::AnswersBeforeDurable) {
            self.decide(id, true, payload, out);
        }
        let unacknowledged = header.promising_besides(self.id).collect();
        self.tell(now, header, true, unacknowledged, out);
    }

    /// [T5] It is aborted: by a vote, or since votes did not come.
    pub(crate) fn become_aborted(
        &mut self,
        now: Time,
        id: ProposalId,
        refuser: Option<NodeId>,
        out: &mut Out,
    ) {
        let Some(Coordinated { header, payload, phase, .. }) = self.coordinated.remove(&id) else { return };
        let knows = |node: NodeId| Some(node) == refuser;
        let is_ours = !P::IS_REPLICATED && !matches!(phase, Phase::Delegated);
        let is_begun = header.presumed == Presumption::Commit && !header.is_delegated();
        let bug = if header.is_delegated() { Mutant::SoleAbortNotWritten } else { Mutant::AbortNotWritten };
        if is_ours && !is_begun && !self.config.plants(bug) {
            out.persist(Record::Aborted { id }); // [T6] [T9]
        }
        if P::IS_REPLICATED && self.parts.get(&id).is_some_and(|part| part.stage == Stage::Prepared) {
            out.persist(Record::Settled { id, commit: false });
            out.cancel_timer(Timer::Inquire(id));
        }
        self.parts.remove(&id);
        self.led.remove(&id);
        self.decide(id, false, payload, out);
        let unacknowledged = header.promising_besides(self.id).filter(|&node| !knows(node)).collect();
        self.tell(now, header, false, unacknowledged, out);
    }

    /// [T15] The name belongs to another transaction, or did: this attempt is nobody's verdict on it, unless we have a vote, which
    /// nobody else gets any more.
    fn give_up(&mut self, now: Time, id: ProposalId, reason: Refusal, out: &mut Out) {
        let Some(Coordinated { header, .. }) = self.coordinated.get(&id) else { return };
        // What a reader has said elsewhere may be counted there.
        let is_gone = header.promises(self.id) || header.has(self.id) && self.parts.contains_key(&id);
        if is_gone && !P::IS_REPLICATED {
            return self.become_aborted(now, id, None, out);
        }
        let Some(Coordinated { header, .. }) = self.coordinated.remove(&id) else { return };
        out.cancel_timer(Timer::Voting(id));
        out.cancel_timer(Timer::Repeat(id));
        out.refuse(id, reason);
        if P::IS_REPLICATED || header.is_delegated() {
            return; // Whoever has promised asks the acceptors.
        }
        let unacknowledged = header.promising_besides(self.id).collect();
        self.tell(now, header, false, unacknowledged, out);
    }

    /// Tells a verdict, until everybody has it who must.
    pub(crate) fn tell(
        &mut self,
        now: Time,
        header: Header,
        commit: bool,
        unacknowledged: BTreeSet<NodeId>,
        out: &mut Out,
    ) {
        let id = header.id;
        out.cancel_timer(Timer::Voting(id));
        out.cancel_timer(Timer::Repeat(id));
        let is_told = !self.config.plants(Mutant::VerdictToldLate);
        for &peer in unacknowledged.iter().filter(|_| is_told) {
            out.send(peer, Message::Outcome { id, commit });
        }
        if header.is_delegated() && !P::IS_REPLICATED {
            return; // [T9] Nobody else has a part in it.
        }
        let must_know = if P::IS_REPLICATED { commit } else { header.needs_acknowledgement(commit) };
        if P::IS_REPLICATED && !must_know {
            return self.tell_acceptors(&header, commit, out); // [T23]
        }
        if !must_know || self.config.plants(Mutant::ForgetsBeforeAcknowledged) {
            if commit && must_know {
                self.past.forget(id);
            }
            return;
        }
        out.set_timer(Timer::Repeat(id), now + self.retry());
        let phase = Phase::Telling { commit, unacknowledged };
        self.coordinated.insert(id, Coordinated { header, payload: Bytes::new(), phase, tries: 0 });
        self.finish(id, out);
    }

    pub(crate) fn on_acknowledge(&mut self, from: NodeId, id: ProposalId, out: &mut Out) {
        let Some(coordinated) = self.coordinated.get_mut(&id) else { return };
        let Phase::Telling { unacknowledged, .. } = &mut coordinated.phase else { return };
        if unacknowledged.remove(&from) {
            self.finish(id, out);
        }
    }

    /// [T10] Everybody has acknowledged: the transaction is over.
    fn finish(&mut self, id: ProposalId, out: &mut Out) {
        let Some(Coordinated { header, phase: Phase::Telling { commit, unacknowledged }, .. }) =
            self.coordinated.get(&id)
        else {
            return;
        };
        if !unacknowledged.is_empty() {
            return;
        }
        let (header, commit) = (header.clone(), *commit);
        self.coordinated.remove(&id);
        out.cancel_timer(Timer::Repeat(id));
        if P::IS_REPLICATED {
            self.tell_acceptors(&header, commit, out);
        } else if header.promising_besides(self.id).next().is_some() {
            out.persist(Record::Ended { id });
        }
    }

    /// [T12] What was said may be lost.
    pub(crate) fn on_repeat(&mut self, now: Time, id: ProposalId, out: &mut Out) {
        let Some(mut coordinated) = self.coordinated.remove(&id) else { return };
        match &coordinated.phase {
            Phase::Voting { .. } | Phase::Delegated | Phase::Registering { .. } => {
                self.ask_for_votes(&coordinated, out);
            }
            Phase::Telling { commit, unacknowledged } => {
                for &peer in unacknowledged {
                    out.send(peer, Message::Outcome { id, commit: *commit });
                }
            }
        }
        coordinated.tries += 1;
        out.set_timer(Timer::Repeat(id), self.next_try(now, coordinated.tries));
        let is_lost =
            self.config.plants(Mutant::TimeoutIsAbort) && matches!(coordinated.phase, Phase::Delegated);
        self.coordinated.insert(id, coordinated);
        if is_lost {
            self.become_aborted(now, id, None, out);
        }
    }

    /// [T5] [T21] Votes did not come in time.
    pub(crate) fn on_voting_timer(&mut self, now: Time, id: ProposalId, out: &mut Out) {
        let Some(coordinated) = self.coordinated.get(&id) else { return };
        match coordinated.phase {
            Phase::Voting { .. } if self.config.plants(Mutant::MissingVoteIsYes) => {
                self.become_committed(now, id, out)
            }
            Phase::Voting { .. } => self.become_aborted(now, id, None, out),
            Phase::Registering { .. } => {
                let header = coordinated.header.clone();
                self.lead(now, header, out);
            }
            Phase::Delegated | Phase::Telling { .. } => {}
        }
    }
}

impl Coordinated {
    /// Whose vote is asked for now.
    fn asked(&self) -> impl Iterator<Item = NodeId> {
        let is_asked = |node: &NodeId| match &self.phase {
            Phase::Voting { awaited, .. } => awaited.contains(node),
            Phase::Delegated | Phase::Registering { .. } => true,
            Phase::Telling { .. } => false,
        };
        self.header.participants.iter().copied().filter(is_asked)
    }
}
