//! Paxos Commit without its coordinator: whoever waits leads a ballot above zero, for all participants of the transaction at once.
//!
//! What acceptors may have chosen, it proposes again; for a participant whose vote nobody has accepted it proposes *aborted*, since that
//! participant may be dead. So a commit that was chosen stays one, and everything else ends.

use crate::coordinator::{Coordinated, Phase};
use crate::message::{MAX_ROUND, Message, Registered};
use crate::mutant::Mutant;
use crate::past::Memory;
use crate::protocol::Protocol;
use crate::state::Commitment;
use crate::step::{Out, Timer};
use crate::transaction::Header;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use consensus_core::quorum::Tally;
use consensus_core::{NodeId, Offence, ProposalId, Time};
use core::time::Duration;
use multipaxos::Ballot;
use multipaxos::synod::{Promises, Vote, adopt};
use rand::Rng;

/// A ballot that this node leads.
#[derive(Debug)]
pub(crate) struct Led {
    pub(crate) header: Header,
    promises: Promises,
    /// Of each participant the vote in the highest ballot.
    highest: BTreeMap<NodeId, Vote<bool>>,
    /// Who was proposed to be prepared, once that is known.
    proposed: Option<Vec<NodeId>>,
    accepted: Tally,
    /// The highest ballot that was heard of.
    beaten: Ballot,
    /// Who has answered in this ballot.
    heard: BTreeSet<NodeId>,
    /// Who had not in the last one, when it was given up.
    silent: Vec<NodeId>,
    /// How many ballots have come to nothing.
    tries: u32,
}

impl<P: Protocol> Commitment<P> {
    /// [T21] Leads the next ballot.
    pub(crate) fn lead(&mut self, now: Time, header: Header, out: &mut Out) {
        let (id, before) = (header.id, self.led.remove(&header.id));
        if !self.registers.contains_key(&id) {
            self.open_register(now, header.clone(), out);
        }
        let Some(register) = self.registers.get_mut(&id) else { return };
        let beaten = before.as_ref().map_or(Ballot::ZERO, |led| led.beaten.max(led.promises.ballot()));
        let highest = register.promised.ballot().max(beaten);
        if highest.round >= MAX_ROUND {
            return;
        }
        let ballot = highest.next(self.id);
        let is_acceptor = self.acceptors(&header).contains(&self.id);
        let tries = before.as_ref().map_or(0, |led| led.tries + 1);
        let heard = before.map(|led| led.heard);
        let is_silent =
            |node: &NodeId| *node != self.id && heard.as_ref().is_some_and(|heard| !heard.contains(node));
        let silent = self.acceptors(&header).into_iter().filter(is_silent).collect();
        let led = Led {
            header: header.clone(),
            promises: Promises::new(ballot),
            highest: BTreeMap::new(),
            proposed: None,
            accepted: Tally::new(),
            beaten,
            heard: BTreeSet::new(),
            silent,
            tries,
        };
        self.led.insert(id, led);
        let wait = self.next_try(now, tries);
        let spread = self.rng.next_u64() % (2 * self.config.retry_ms + 1);
        out.set_timer(Timer::Recover(id), wait + self.retry() + Duration::from_millis(spread));
        if is_acceptor {
            self.on_query(now, self.id, header.clone(), ballot, out);
        } else if let Some(register) = self.registers.get_mut(&id) {
            // A ballot is led once, restarts or not: it is written down as if it were promised.
            register.promised.raise(ballot);
            out.persist(register.record());
        }
        for acceptor in self.acceptors(&header).into_iter().filter(|&node| node != self.id) {
            out.send(acceptor, Message::Query { header: header.clone(), ballot });
        }
    }

    /// [T22] Phase 1b.
    pub(crate) fn on_promised(
        &mut self,
        now: Time,
        from: NodeId,
        id: ProposalId,
        ballot: Ballot,
        votes: &[Registered],
        out: &mut Out,
    ) {
        let quorum = self.quorum();
        let Some(header) = self.led.get(&id).map(|led| led.header.clone()) else { return };
        let acceptors = self.acceptors(&header);
        if !acceptors.contains(&from) || votes.iter().any(|vote| !header.has(vote.participant)) {
            return out.accuse(from, Offence::Impossible("a promise of a node that keeps no votes of it"));
        }
        let ignores = self.config.plants(Mutant::OwnValue);
        let Some(led) = self.led.get_mut(&id) else { return };
        if !led.promises.add(from, ballot) {
            return;
        }
        led.heard.insert(from);
        for vote in votes.iter().filter(|_| !ignores) {
            let mut highest = led.highest.remove(&vote.participant);
            adopt(&mut highest, Vote { ballot: vote.ballot, value: vote.prepared });
            led.highest.extend(highest.map(|vote_of| (vote.participant, vote_of)));
        }
        if led.proposed.is_some() || led.promises.count_among(&acceptors) < quorum {
            return;
        }
        let bug = self.config.plants(Mutant::NoVoteIsPrepared);
        let is_prepared = |node: &NodeId| led.highest.get(node).map_or(bug, |vote| vote.value);
        let prepared: Vec<NodeId> = header.participants.iter().copied().filter(is_prepared).collect();
        led.proposed = Some(prepared.clone());
        if prepared.len() == header.participants.len() && self.config.plants(Mutant::TellsWhatIsProposed) {
            self.remember(id, true);
        }
        for &acceptor in acceptors.iter().filter(|&&node| node != self.id) {
            let (header, prepared) = (header.clone(), prepared.clone());
            out.send(acceptor, Message::Propose { header, ballot, prepared });
        }
        if acceptors.contains(&self.id) {
            self.on_propose_votes(now, self.id, header, ballot, &prepared, out);
        }
    }

    /// [T19] [T22] Phase 2b.
    pub(crate) fn on_accepted(
        &mut self,
        now: Time,
        from: NodeId,
        id: ProposalId,
        ballot: Ballot,
        out: &mut Out,
    ) {
        let quorum = self.quorum();
        let known = self.led.get(&id).map(|led| &led.header);
        let Some(header) = known.or(self.coordinated.get(&id).map(|it| &it.header)).cloned() else { return };
        let acceptors = self.acceptors(&header);
        if !acceptors.contains(&from) {
            return out
                .accuse(from, Offence::Impossible("an acceptance of a node that keeps no votes of it"));
        }
        let chosen = if ballot == Ballot::ZERO {
            let Some(Coordinated { phase: Phase::Registering { accepted }, .. }) =
                self.coordinated.get_mut(&id)
            else {
                return;
            };
            accepted.add(from);
            (accepted.count_among(&acceptors) >= quorum).then_some(true)
        } else {
            let Some(led) = self.led.get_mut(&id) else { return };
            let Some(prepared) = led.proposed.as_ref().filter(|_| led.promises.ballot() == ballot) else {
                return;
            };
            led.accepted.add(from);
            (led.accepted.count_among(&acceptors) >= quorum)
                .then_some(prepared.len() == header.participants.len())
        };
        if let Some(commit) = chosen {
            self.become_chosen(now, header, commit, out);
        }
    }

    /// [T20] [T22] F + 1 acceptors hold the vote of every participant: that is a verdict, whoever knows it.
    fn become_chosen(&mut self, now: Time, header: Header, commit: bool, out: &mut Out) {
        let id = header.id;
        self.led.remove(&id);
        let proposed = self.coordinated.remove(&id);
        let is_waiting = proposed.as_ref().is_some_and(|it| !matches!(it.phase, Phase::Telling { .. }));
        if self.parts.contains_key(&id) {
            self.settle_part(id, commit, out);
        } else if is_waiting {
            let payload = proposed.map(|it| it.payload).unwrap_or_default();
            // EARLY: acceptors hold it. A client that asks again after a crash is told when we are.
            self.decide_early(id, commit, payload, out);
        } else {
            // There is nothing to carry out here; a client that asks again hears of it, before participants do or after.
            self.remember(id, commit); // [T20]
        }
        let mut unacknowledged: BTreeSet<NodeId> = header.participants.iter().copied().collect();
        unacknowledged.insert(header.coordinator);
        unacknowledged.remove(&self.id);
        self.tell(now, header, commit, unacknowledged, out);
    }

    /// Somebody leads a higher ballot.
    pub(crate) fn on_refused(&mut self, from: NodeId, id: ProposalId, ballot: Ballot) {
        if let Some(led) = self.led.get_mut(&id) {
            led.beaten = led.beaten.max(ballot);
            led.heard.insert(from);
        }
    }

    /// [T21] [T23] A ballot has come to nothing, or votes are kept that nobody asks for any more.
    pub(crate) fn on_recover_timer(&mut self, now: Time, id: ProposalId, out: &mut Out) {
        let Some(register) = self.registers.get_mut(&id) else { return };
        register.tries += 1;
        let (header, tries) = (register.header.clone(), register.tries);
        match (self.past.recall(id), self.coordinated.get(&id).map(|it| &it.phase)) {
            (_, Some(Phase::Telling { .. })) => {
                // It is told; look again later.
                out.set_timer(Timer::Recover(id), self.next_try(now, tries));
            }
            (Memory::Known(commit), _) => self.become_chosen(now, header, commit, out),
            (Memory::Fresh | Memory::Forgotten, _) => self.lead(now, header, out),
        }
    }

    /// Acceptors without which this ballot comes to nothing, like the last ones.
    // [T24]
    pub(crate) fn silent_acceptors(&self, led: &Led) -> Option<Vec<NodeId>> {
        let is_stuck = led.tries >= 2 && led.heard.len() < self.quorum() && !led.silent.is_empty();
        is_stuck.then(|| led.silent.clone())
    }
}
