//! Rounds of four waits follow each other until a value is decided.

use super::message::{Casts, Message, Standing, Values};
use super::mutant::Mutant;
use super::past::MAX_ROUNDS;
use super::record::Record;
use super::state::Mmr;
use super::step::Out;
use super::votes::Votes;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use consensus_core::{Bytes, NodeId, Offence, ProposalId, Refusal, Time};

impl Mmr {
    /// [M12] The value of this node, if it has none yet.
    pub(crate) fn on_propose(&mut self, now: Time, id: ProposalId, payload: &Bytes, out: &mut Out) {
        let value = match payload.as_ref() {
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
        self.own = Some(id);
        out.persist(Record::Given { id, value });
        // Whoever has joined the others speaks for one of their values already.
        if self.past.round() == 0 {
            self.enter(value, out);
        }
        self.advance(out);
        self.become_curious(now, out);
    }

    pub(crate) fn on_message(&mut self, now: Time, from: NodeId, message: &Message, out: &mut Out) {
        if from == self.id || !self.members.contains(from) {
            return out.accuse(from, Offence::Stranger); // [M13]
        }
        let theirs = *message.standing();
        if self.members.is_voter(from) {
            let round = self.past.round();
            self.hear(from, theirs, out);
            self.advance(out);
            if self.past.round() != round {
                // It may tell of the round that it let us enter, too.
                self.count_standing(from, &theirs, out);
                self.advance(out);
            }
        }
        self.become_curious(now, out);
        // [M7] [M9] Who is at our round or beyond hears of us when we ask ourselves.
        let is_behind = self.is_done() || theirs.round < self.past.round();
        if matches!(message, Message::Ask(_)) && is_behind && !self.keeps_silent() {
            self.tell(from, Message::Tell(self.past.standing_for(theirs.round)), out);
        }
    }

    /// [M9] Nothing was heard that ends the wait.
    pub(crate) fn on_retry(&mut self, now: Time, out: &mut Out) {
        if self.is_done() || self.keeps_silent() {
            return;
        }
        self.has_news = false;
        self.tell_all(Message::Ask(self.standing()), out);
        for round in self.doubtful_rounds() {
            self.tell_all(Message::Ask(self.past.standing_in(round)), out);
        }
        self.arm_retry(now, out);
    }

    /// [M4] Rounds that are over for us, in which somebody speaks for a value that we may have to pass on. Who else does may have been lost.
    fn doubtful_rounds(&self) -> BTreeSet<u64> {
        let behind = self.heard.values().filter(|theirs| theirs.round < self.past.round());
        let doubts = behind.filter(|theirs| {
            let (theirs, ours) = (theirs.casts, self.past.casts_in(theirs.round));
            theirs.zip(ours).is_some_and(|(theirs, ours)| !theirs.est.are_within(ours.est))
        });
        doubts.map(|theirs| theirs.round).collect()
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

    /// [M2] [M10] Votes of our rounds are counted, and what a node said last is kept for later ones.
    fn hear(&mut self, from: NodeId, theirs: Standing, out: &mut Out) {
        self.count_standing(from, &theirs, out);
        let known = self.heard.entry(from).or_insert(theirs);
        let said = known.decided.or(theirs.decided);
        if theirs.is_newer_than(known) {
            *known = theirs;
        }
        known.decided = said;
        if said.is_some() && theirs.decided.is_some_and(|decided| said != Some(decided)) {
            out.accuse(from, Offence::Equivocation("two decisions"));
        }
        self.believe_decided(out);
    }

    /// Counts what `theirs` says of rounds that we are in or have been in; of the first one also before we are.
    fn count_standing(&mut self, from: NodeId, theirs: &Standing, out: &mut Out) {
        // The earlier round first: it may let us enter nothing, but it is complete.
        for round in [theirs.round.saturating_sub(1), theirs.round] {
            if let Some(casts) = theirs.casts_in(round) {
                self.count(from, round, &casts, out);
            }
        }
    }

    /// [M2] [M4] [M10]
    fn count(&mut self, from: NodeId, round: u64, casts: &Casts, out: &mut Out) {
        let (ours, voters) = (self.past.round(), self.members.voters());
        let place = usize::try_from(round.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(votes) = self.votes.get_mut(place) else { return };
        if round < ours {
            votes.speak(from, casts.est);
        } else if let Err(offence) = votes.add(self.config.as_counted(votes, from, voters), casts) {
            out.accuse(from, offence);
        }
        self.relay(round, out);
    }

    /// [M4] What t + 1 speak for is passed on, also in a round that is over for us: others may be in it.
    fn relay(&mut self, round: u64, out: &mut Out) {
        if round < self.past.round() && self.config.plants(Mutant::RelaysNoMore) {
            return;
        }
        for value in [false, true] {
            let Some(votes) = self.votes_in(round) else { return };
            if votes.speakers(value) < self.thresholds.relay || !self.members.is_voter(self.id) {
                continue;
            }
            match self.past.casts_in(round) {
                Some(casts) if casts.est.contains(value) => {}
                Some(_) => {
                    self.cast(Record::Relayed { round, value }, out);
                    self.count_own(round);
                    self.has_news |= round == self.past.round();
                }
                // [M11] Who was given nothing holds what a correct node was given.
                None => self.enter(value, out),
            }
        }
    }

    /// [M7] So many say that a value is decided that one of them is to be believed.
    fn believe_decided(&mut self, out: &mut Out) {
        let says = |value| move |theirs: &&Standing| theirs.decided == Some(value);
        let told = [false, true]
            .into_iter()
            .find(|&value| self.heard.values().filter(says(value)).count() >= self.thresholds.believe);
        if let Some(value) = told {
            self.decide(value, out);
        }
    }

    /// Goes on for as long as waits are over.
    pub(crate) fn advance(&mut self, out: &mut Out) {
        while !self.is_done() {
            let Some(casts) = self.past.casts_in(self.past.round()) else { return };
            let goes_on = match casts {
                Casts { aux: None, .. } => self.name(out),
                Casts { conf: None, .. } => self.confirm(out),
                Casts { share: None, conf: Some(own), .. } => self.reveal(own, out),
                Casts { share: Some(_), conf: Some(own), .. } => self.finish(own, out),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// The values that we have accepted in this round.
    // [M3]
    fn accepted(&self) -> Option<Values> {
        let accepted = self.present_votes()?.accepted(self.thresholds.accept)?;
        Some(self.config.counting(accepted))
    }

    /// [M5] AUX: the value that was accepted first; if a burst brought both, either.
    fn name(&mut self, out: &mut Out) -> bool {
        let accepted = self.present_votes().and_then(|votes| votes.accepted(self.thresholds.accept));
        let Some(accepted) = accepted else { return false };
        self.vote(Record::Named(accepted.contains(true)), out);
        true
    }

    /// [M5] CONF: the accepted values that enough have named.
    fn confirm(&mut self, out: &mut Out) -> bool {
        let named = self.accepted().zip(self.present_votes()).map(|(accepted, votes)| votes.named(accepted));
        let Some((count, Some(values))) = named else { return false };
        if count < self.thresholds.wait {
            return false;
        }
        self.vote(Record::Confirmed(values), out);
        true
    }

    /// [M5] The values that n − t have confirmed, if so many have confirmed nothing but what we have accepted. `own` is our CONF.
    fn left(&self, own: Values) -> Option<Values> {
        if self.config.plants(Mutant::NoConfirmation) {
            return Some(own);
        }
        let (count, values) = self.present_votes()?.confirmed(self.accepted()?);
        values.filter(|_| count >= self.thresholds.wait)
    }

    /// [M6] Our share, after the wait and not before.
    fn reveal(&mut self, own: Values, out: &mut Out) -> bool {
        if self.left(own).is_none() && !self.config.plants(Mutant::RevealsBeforeWait) {
            return false;
        }
        let Some(share) = self.config.coin.share(self.id, self.past.round()) else { return false };
        self.vote(Record::Shared(share), out);
        true
    }

    /// [M7] The end of a round: the coin falls, and whoever has one value left that it has fallen on decides it.
    fn finish(&mut self, own: Values, out: &mut Out) -> bool {
        let round = self.past.round();
        // Votes that crossed a crash are counted anew: what is left may have to be waited for again.
        let Some(left) = self.left(own) else { return false };
        let Some(coin) = self.toss(round, out) else { return false };
        let overrides = self.config.plants(Mutant::CoinOverridesValue);
        let value = left.single().filter(|_| !overrides).unwrap_or(coin);
        let is_met = left.single() == Some(coin) || self.config.plants(Mutant::DecidesWithoutCoin);
        if let Some(value) = left.single().filter(|_| is_met) {
            self.decide(value, out);
        }
        if round >= MAX_ROUNDS {
            return false;
        }
        if let Some(votes) = self.votes.last_mut() {
            votes.close();
        }
        self.enter(value, out);
        true
    }

    /// [M6] The coin, once there are enough shares that are proven.
    fn toss(&mut self, round: u64, out: &mut Out) -> Option<bool> {
        let coin = &self.config.coin;
        let is_proven = |member, share: &_| {
            self.config.plants(Mutant::SharesUnchecked) || coin.verify(member, round, share)
        };
        let forged = |member| out.accuse(member, Offence::Forged);
        let shares = self.votes.last_mut()?.shares(coin.keys().threshold(), is_proven, forged)?;
        coin.toss(round, &shares)
    }

    /// [M8] The first vote of a round, on its way to the disk.
    pub(crate) fn enter(&mut self, value: bool, out: &mut Out) {
        let round = self.past.round() + 1;
        self.vote(Record::Entered { round, value }, out);
        let heard: Vec<_> = self.heard.iter().map(|(&from, theirs)| (from, *theirs)).collect();
        for (from, theirs) in heard {
            self.count_standing(from, &theirs, out);
        }
    }

    /// [M8] A vote in the present round, or the next, on its way to the disk. It counts at once: whatever comes of it waits for the disk with it.
    fn vote(&mut self, record: Record, out: &mut Out) {
        self.cast(record, out);
        if self.past.round() > self.votes.len() as u64 {
            self.votes.push(Votes::default());
        }
        self.count_own(self.past.round());
        self.has_news = true;
    }

    /// Our own votes in a round.
    pub(crate) fn count_own(&mut self, round: u64) {
        let (id, Some(casts)) = (self.id, self.past.casts_in(round)) else { return };
        let place = usize::try_from(round.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(votes) = self.votes.get_mut(place) else { return };
        if round < self.past.round() {
            return votes.speak(id, casts.est);
        }
        // It is our standing itself, and contradicts nothing.
        let _ = votes.add(id, &casts);
        votes.trust(id);
    }

    fn votes_in(&self, round: u64) -> Option<&Votes> {
        self.votes.get(usize::try_from(round.checked_sub(1)?).ok()?)
    }

    fn present_votes(&self) -> Option<&Votes> {
        self.votes.last()
    }

    fn keeps_silent(&self) -> bool {
        self.past.decided.is_some() && self.config.plants(Mutant::HaltsAtDecision)
    }
}
