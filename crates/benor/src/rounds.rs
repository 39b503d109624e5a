//! Two phases make a round, and rounds follow each other until a value is decided.
//!
//! First everybody *reports* the value that it holds. A value that most of all nodes report is *proposed*; no other can be. Then, if
//! enough propose it, it is decided; if anybody does, it is held from now on, since somebody may have decided it; and if nobody does,
//! nobody can have decided, and a coin gives the value for the next round. Some day the coins fall alike.

use crate::coin;
use crate::message::{Decided, Message, Proposal, Report, Standing};
use crate::model::Model;
use crate::mutant::Mutant;
use crate::past::MAX_ROUNDS;
use crate::record::Record;
use crate::state::Agreement;
use crate::step::Out;
use consensus_core::{Bytes, NodeId, Offence, ProposalId, Refusal, Time};
use rand::Rng;

impl<M: Model> Agreement<M> {
    /// [B11] The value of this node, if it has none yet.
    pub(crate) fn on_propose(&mut self, now: Time, id: ProposalId, payload: &Bytes, out: &mut Out) {
        let given = match payload.as_ref() {
            b"0" => false,
            b"1" => true,
            _ => return out.refuse(id, Refusal::Unsupported),
        };
        if !self.members.is_voter(self.id) {
            return out.refuse(id, Refusal::Unsupported);
        }
        if self.own.is_some() || self.past.decided.is_some() {
            return out.refuse(id, Refusal::Busy);
        }
        out.persist(Record::Given { id, value: given });
        self.own = Some(id);
        if self.past.round() == 0 {
            self.begin(given, out);
            self.advance(out);
        }
        self.become_curious(now, out);
    }

    /// The first round, with the value that was given to us.
    pub(crate) fn begin(&mut self, given: bool, out: &mut Out) {
        let value = if self.config.plants(Mutant::Invents) { self.coin(0) } else { given };
        self.enter(Report { value, tossed: false }, out);
    }

    pub(crate) fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if from == self.id || !self.members.contains(from) {
            return out.accuse(from, Offence::Stranger); // [B13]
        }
        let theirs = *message.standing();
        if self.members.is_voter(from) {
            let round = self.past.round();
            self.hear(from, theirs, out);
            self.believe_decided(out);
            self.advance(out);
            if self.past.round() != round {
                // It may tell of the round that it let us enter, too.
                self.count(from, &theirs, out);
                self.advance(out);
            }
        }
        self.become_curious(now, out);
        // [B6] [B8] Who is at our round or beyond hears of us when we ask ourselves.
        let is_behind = self.is_done() || theirs.round < self.past.round();
        if matches!(message, Message::Ask(_)) && is_behind && !self.keeps_silent() {
            self.tell(from, Message::Tell(self.past.standing_for(theirs.round)), out);
        }
    }

    /// [B8] Nothing was heard that ends the wait.
    pub(crate) fn on_retry(&mut self, now: Time, out: &mut Out) {
        if self.is_done() {
            return;
        }
        self.join(out);
        self.advance(out);
        if !self.is_done() {
            self.has_news = false;
            self.tell_all(Message::Ask(self.standing()), out);
            self.arm_retry(now, out);
        }
    }

    /// What was cast during a burst is told once.
    pub(crate) fn tell_news(&mut self, out: &mut Out) {
        if !core::mem::take(&mut self.has_news) || self.keeps_silent() {
            return;
        }
        let (round, standing) = (self.past.round(), self.standing());
        // Who is behind need not wait until it has waited in vain.
        let is_behind = !self.is_done() && self.heard.values().any(|theirs| theirs.round > round + 1);
        self.tell_all(if is_behind { Message::Ask(standing) } else { Message::Tell(standing) }, out);
    }

    /// [B2] [B9] The votes of our round are counted, and what a node said last is kept for later ones.
    fn hear(&mut self, from: NodeId, theirs: Standing, out: &mut Out) {
        if self.config.is_deaf_to(&theirs, self.past.round()) {
            return;
        }
        self.count(from, &theirs, out);
        if self.past.round() == 0
            && let Some(casts) = theirs.casts_in(1)
            && !self.config.plants(Mutant::FirstReportsForgotten)
        {
            self.given.entry(from).or_insert(casts.report.value);
        }
        let known = self.heard.entry(from).or_insert(theirs);
        let said = theirs.decided.or(known.decided);
        if theirs.is_newer_than(known) {
            *known = theirs;
        }
        // An answer about an earlier round may be the first to tell of a decision.
        known.decided = known.decided.or_else(|| said.map(|it| Decided { reached: false, ..it }));
    }

    /// Counts what `theirs` says of our round.
    fn count(&mut self, from: NodeId, theirs: &Standing, out: &mut Out) {
        let Some(casts) = self.config.casts_in(theirs, self.past.round()) else { return };
        let voter = self.config.as_counted(&self.votes, from, self.members.voters());
        if let Err(offence) = self.votes.add(voter, casts) {
            out.accuse(from, offence);
        }
    }

    /// [B12] So many say that a value is decided that one of them is to be believed.
    fn believe_decided(&mut self, out: &mut Out) {
        if self.config.plants(Mutant::DecidesAgain)
            && let Some(decided) = self.past.decided.take()
        {
            return self.decide(decided, self.past.round(), out);
        }
        if self.past.decided.is_some() {
            return;
        }
        let says = |value| move |theirs: &&Standing| theirs.decided.is_some_and(|it| it.value == value);
        let told = [false, true]
            .into_iter()
            .find(|&value| self.heard.values().filter(says(value)).count() >= self.thresholds.believe);
        if let Some(value) = told {
            self.decide(Decided { value, reached: false }, self.past.round().max(1), out);
        }
    }

    /// [B10] Who was given nothing holds what so many were given that one of them is to be believed.
    fn join(&mut self, out: &mut Out) {
        if self.past.round() > 0 || !self.members.is_voter(self.id) {
            return;
        }
        let given = |value| self.given.values().filter(|&&given| given == value).count();
        if let Some(value) = [false, true].into_iter().find(|&value| given(value) >= self.thresholds.believe)
        {
            self.begin(value, out);
        }
    }

    /// Goes on for as long as waits are over.
    pub(crate) fn advance(&mut self, out: &mut Out) {
        while !self.is_done() {
            let Some(casts) = self.past.casts() else { return };
            let goes_on = match casts.proposal {
                None => self.propose(out),
                Some(_) => self.finish(out),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// [B3] The end of the first phase: a value that most of all voters report is proposed.
    fn propose(&mut self, out: &mut Out) -> bool {
        if self.votes.reports() < self.thresholds.wait {
            return false;
        }
        let needed = self.config.needed_reports(&self.thresholds, self.votes.reports());
        let most = [false, true].into_iter().find(|&value| self.votes.reports_of(value) >= needed);
        self.cast_proposal(most.map_or(Proposal::Nothing, Proposal::Value), out);
        true
    }

    /// [B4] [B5] The end of a round: decide, adopt or toss.
    fn finish(&mut self, out: &mut Out) -> bool {
        let round = self.past.round();
        if self.votes.proposals() < self.thresholds.wait || round >= MAX_ROUNDS {
            return false;
        }
        let proposals = |value| self.config.proposals_of(&self.votes, value);
        let adopted = [false, true].into_iter().find(|&value| proposals(value) >= self.thresholds.adopt);
        let is_decided = adopted.is_some_and(|value| proposals(value) >= self.thresholds.decide);
        let stands = is_decided || !self.config.plants(Mutant::CoinOverridesAdopted);
        let Some(value) = adopted.filter(|_| stands) else {
            let value = self.coin(round);
            self.enter(Report { value, tossed: true }, out);
            return true;
        };
        self.enter(Report { value, tossed: false }, out);
        let contradicts = self.past.decided.is_some_and(|told| told.value != value);
        if is_decided && !contradicts {
            // [B6] The others may need both of our votes.
            self.cast_proposal(Proposal::Value(value), out);
            self.decide(Decided { value, reached: true }, round, out);
        }
        true
    }

    /// [B5] The coin of this round: one of our own, which nobody can foresee, or in the first rounds one that is everybody's.
    fn coin(&mut self, round: u64) -> bool {
        let is_common = (1..=self.config.common_rounds).contains(&round);
        let tossed = if is_common {
            coin::common(self.config.coin_key, 0, round)
        } else {
            self.rng.next_u64() & 1 == 1
        };
        self.config.or_fixed(tossed, round, self.past.casts())
    }

    /// [B7] The first vote of a round, on its way to the disk.
    fn enter(&mut self, report: Report, out: &mut Out) {
        let round = self.past.round() + 1;
        if !self.config.plants(Mutant::CastsForgotten) {
            out.persist(Record::Reported { round, report });
        }
        self.past.enter(report);
        self.votes.clear();
        self.count_own();
        let heard = core::mem::take(&mut self.heard);
        for (&from, theirs) in &heard {
            self.count(from, theirs, out);
        }
        self.heard = heard;
        self.has_news = true;
    }

    /// [B7] The second vote of a round, on its way to the disk.
    fn cast_proposal(&mut self, proposal: Proposal, out: &mut Out) {
        if !self.config.plants(Mutant::CastsForgotten) {
            out.persist(Record::Proposed(proposal));
        }
        self.past.propose(proposal);
        self.count_own();
        self.has_news = true;
    }

    /// Our own vote counts at once: whatever comes of it waits for the disk with it.
    pub(crate) fn count_own(&mut self) {
        let Some(casts) = self.past.casts() else { return };
        let twin = self.config.as_counted_twice(self.id, self.members.voters());
        for voter in [Some(self.id), twin].into_iter().flatten() {
            // It is our standing itself, and contradicts nothing.
            let _ = self.votes.add(voter, casts);
        }
    }

    fn keeps_silent(&self) -> bool {
        self.past.decided.is_some() && self.config.plants(Mutant::HaltsAtDecision)
    }
}
