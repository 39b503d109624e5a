//! The acceptor of Paxos Commit: it keeps the votes of a transaction, one instance of Paxos for each participant.
//!
//! All instances of a transaction share their ballots, so one promise is one record, whatever the number of participants. In ballot zero
//! each participant proposes for itself, and nobody else: that it is prepared. An acceptor that has heard so of everybody writes it down
//! at once, and says so to the coordinator.

use crate::message::{Message, Registered};
use crate::mutant::Mutant;
use crate::past::Memory;
use crate::protocol::Protocol;
use crate::record::Record;
use crate::state::Commitment;
use crate::step::{Out, Timer};
use crate::transaction::Header;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use consensus_core::{NodeId, Offence, ProposalId, Time, WriteSeq};
use core::time::Duration;
use multipaxos::Ballot;
use multipaxos::synod::{Answer, Promised, Vote};

/// What an acceptor knows of a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    pub(crate) header: Header,
    pub(crate) promised: Promised,
    /// Of each participant the vote that was accepted last.
    pub(crate) votes: BTreeMap<NodeId, Vote<bool>>,
    /// The write that holds all of it; nothing if it is not written.
    pub(crate) written: Option<WriteSeq>,
    /// How often it was found to be still open.
    pub(crate) tries: u32,
}

impl Register {
    pub(crate) fn new(header: Header) -> Self {
        Self { header, promised: Promised::default(), votes: BTreeMap::new(), written: None, tries: 0 }
    }

    /// What is written down.
    pub(crate) fn record(&self) -> Record {
        let votes = self.registered();
        Record::Registered { header: self.header.clone(), promised: self.promised.ballot(), votes }
    }

    /// What a record says.
    ///
    /// # Errors
    /// No acceptor has written it.
    pub(crate) fn restored(
        header: Header,
        promised: Ballot,
        votes: &[Registered],
    ) -> Result<Self, &'static str> {
        if !votes.iter().all(|vote| header.has(vote.participant) && vote.ballot <= promised) {
            return Err("the records hold a vote of somebody who takes no part, or above a promise");
        }
        let mut register = Self::new(header);
        register.promised.raise(promised);
        let as_vote =
            |vote: &Registered| (vote.participant, Vote { ballot: vote.ballot, value: vote.prepared });
        register.votes = votes.iter().map(as_vote).collect();
        register.written = Some(WriteSeq::ZERO);
        Ok(register)
    }

    fn registered(&self) -> Vec<Registered> {
        let as_registered = |(&participant, vote): (&NodeId, &Vote<bool>)| Registered {
            participant,
            ballot: vote.ballot,
            prepared: vote.value,
        };
        self.votes.iter().map(as_registered).collect()
    }

    pub(crate) fn assert_invariants(&self) {
        for (node, vote) in &self.votes {
            assert!(self.header.has(*node), "a vote of a node that does not take part");
            assert!(vote.ballot <= self.promised.ballot(), "accepted in a ballot above what was promised");
        }
    }
}

impl<P: Protocol> Commitment<P> {
    /// Tells all acceptors that we are prepared.
    pub(crate) fn register(&mut self, now: Time, header: &Header, out: &mut Out) {
        let acceptors = self.acceptors(header);
        for &acceptor in acceptors.iter().filter(|&&node| node != self.id) {
            out.send(acceptor, Message::Register(header.clone()));
        }
        if acceptors.contains(&self.id) {
            self.on_register(now, self.id, header.clone(), out);
        }
    }

    /// Whether we are an acceptor of it, and it is open; whoever asks about what is closed is told.
    fn admits(&mut self, now: Time, from: NodeId, header: &Header, out: &mut Out) -> bool {
        let id = header.id;
        let is_ours = header.is_of(&self.members) && self.acceptors(header).contains(&self.id);
        if !P::IS_REPLICATED || !is_ours || !self.may_tell(from, header) {
            out.accuse(from, Offence::Malformed("a transaction of others")); // [T16]
            return false;
        }
        if let Some(register) = self.registers.get(&id) {
            if register.header != *header {
                out.accuse(from, Offence::Equivocation("two transactions under one name")); // [T16]
                return false;
            }
            return true;
        }
        match self.past.recall(id) {
            Memory::Known(commit) => {
                if from != self.id {
                    out.send(from, Message::Outcome { id, commit });
                }
                false
            }
            // What it promised and accepted is gone, and others may hold votes of a ballot that came to nothing: it takes no part.
            Memory::Forgotten if !self.config.plants(Mutant::ForgottenTakesPart) => false,
            Memory::Fresh | Memory::Forgotten => {
                self.open_register(now, header.clone(), out);
                true
            }
        }
    }

    pub(crate) fn open_register(&mut self, now: Time, header: Header, out: &mut Out) {
        let long = Duration::from_millis(self.config.voting_ms) + self.retry() * 8;
        out.set_timer(Timer::Recover(header.id), now + long);
        self.registers.insert(header.id, Register::new(header));
    }

    /// [T19] A participant is prepared: phase 2a of ballot zero.
    pub(crate) fn on_register(&mut self, now: Time, from: NodeId, header: Header, out: &mut Out) {
        let id = header.id;
        if !self.admits(now, from, &header, out) {
            return;
        }
        let bug = self.config.plants(Mutant::BallotZeroAfterPromise);
        let Some(register) = self.registers.get_mut(&id) else { return };
        if register.promised.answer(Ballot::ZERO) != Answer::Again && !bug {
            return; // [T22] Whoever leads a later ballot tells what becomes of it.
        }
        register.votes.entry(from).or_insert(Vote { ballot: Ballot::ZERO, value: true });
        if register.votes.len() < header.participants.len() {
            return;
        }
        let seq = match register.written {
            Some(seq) => seq,
            None => out.persist(register.record()),
        };
        register.written = Some(seq);
        self.say_accepted(now, header.coordinator, (id, Ballot::ZERO), seq, out);
    }

    /// Tells whoever leads the ballot that it is accepted, once that is durable.
    fn say_accepted(
        &mut self,
        now: Time,
        leader: NodeId,
        (id, ballot): (ProposalId, Ballot),
        seq: WriteSeq,
        out: &mut Out,
    ) {
        if leader == self.id && seq > self.durable {
            self.accepting.push_back((seq, id, ballot));
        } else if leader == self.id {
            self.on_accepted(now, self.id, id, ballot, out);
        } else if self.config.plants(Mutant::AcceptedBeforeDurable) {
            // EARLY: it is a bug, and planted.
            out.send_early(leader, Message::Accepted { id, ballot });
        } else {
            out.send_after(leader, Message::Accepted { id, ballot }, seq);
        }
    }

    /// [T22] Phase 1a.
    pub(crate) fn on_query(
        &mut self,
        now: Time,
        from: NodeId,
        header: Header,
        ballot: Ballot,
        out: &mut Out,
    ) {
        let id = header.id;
        if !self.admits(now, from, &header, out) {
            return;
        }
        let Some(register) = self.registers.get_mut(&id) else { return };
        match register.promised.raise(ballot) {
            Answer::Fresh => register.written = Some(out.persist(register.record())),
            Answer::Again => {}
            // EARLY: it tells of a ballot that somebody leads, and nothing of ours.
            Answer::Refused(higher) => return out.send_early(from, Message::Refused { id, ballot: higher }),
        }
        let votes = register.registered();
        let votes = votes.into_iter().filter(|vote| vote.ballot < ballot).collect::<Vec<_>>();
        if from == self.id {
            self.on_promised(now, from, id, ballot, &votes, out);
        } else {
            out.send(from, Message::Promised { id, ballot, votes });
        }
    }

    /// [T22] Phase 2a of a later ballot.
    pub(crate) fn on_propose_votes(
        &mut self,
        now: Time,
        from: NodeId,
        header: Header,
        ballot: Ballot,
        prepared: &[NodeId],
        out: &mut Out,
    ) {
        let id = header.id;
        if !self.admits(now, from, &header, out) {
            return;
        }
        let Some(register) = self.registers.get_mut(&id) else { return };
        if let Answer::Refused(higher) = register.promised.raise(ballot) {
            if from != self.id {
                // EARLY: it tells of a ballot that somebody leads, and nothing of ours.
                out.send_early(from, Message::Refused { id, ballot: higher });
            }
            return;
        }
        let vote = |&node: &NodeId| (node, Vote { ballot, value: prepared.contains(&node) });
        register.votes = header.participants.iter().map(vote).collect();
        let seq = out.persist(register.record());
        register.written = Some(seq);
        self.say_accepted(now, from, (id, ballot), seq, out);
    }

    /// [T23] Everybody has the verdict.
    pub(crate) fn on_forget(&mut self, from: NodeId, id: ProposalId, commit: bool, out: &mut Out) {
        if self.parts.contains_key(&id) || self.coordinated.contains_key(&id) {
            self.on_outcome(from, id, commit, out);
        }
        if self.registers.get(&id).is_some_and(|register| !self.may_tell(from, &register.header)) {
            return out.accuse(from, Offence::Impossible("a verdict of a node that has no part in it")); // [T16]
        }
        self.close(id, commit, out);
    }

    pub(crate) fn close(&mut self, id: ProposalId, commit: bool, out: &mut Out) {
        if self.parts.contains_key(&id) || self.registers.remove(&id).is_none() {
            return;
        }
        self.led.remove(&id);
        out.cancel_timer(Timer::Recover(id));
        out.persist(Record::Closed { id, commit });
        self.remember(id, commit);
    }

    /// [T23] It is aborted, or all participants have acknowledged the commit: acceptors need not keep their votes.
    pub(crate) fn tell_acceptors(&mut self, header: &Header, commit: bool, out: &mut Out) {
        for acceptor in self.acceptors(header).into_iter().filter(|&node| node != self.id) {
            out.send(acceptor, Message::Forget { id: header.id, commit });
        }
        self.close(header.id, commit, out);
    }
}
