//! The agreement itself: offers, votes, decisions, and what is settled by them.

use super::message::{Instance, Offer, Word};
use super::open::{Next, Open};
use super::record::{Record, Vote};
use super::state::Log;
use super::step::Out;
use crate::coin;
use crate::message::Report;
use crate::mutant::Mutant;
use alloc::vec::Vec;
use consensus_core::NodeId;
use rand::Rng;

impl Log {
    /// Whatever can be done without hearing anything more is done.
    pub(crate) fn advance(&mut self, out: &mut Out) {
        loop {
            // First: it waits for what was written before this burst, and for no more.
            self.decide(out);
            let has_offered = self.offer(out);
            let has_voted = self.vote(out);
            if !has_offered && !has_voted {
                return;
            }
        }
    }

    /// [L5] What a voter says of an instance.
    pub(crate) fn hear(&mut self, from: NodeId, word: &Word, out: &mut Out) {
        let instance = word.instance;
        if instance <= self.ledger.settled() {
            return self.tell_decided(from, word);
        }
        // [L15] Whoever is so far ahead will tell us what was decided.
        if instance.0 - self.ledger.settled().0 > super::message::MAX_AHEAD {
            return;
        }
        let open = self.open.entry(instance).or_default();
        let voter = self.config.as_offering(open, from, self.members.voters());
        if let Err(offence) = open.hear(voter, word) {
            out.accuse(from, offence);
        }
        self.tell_decided(from, word);
    }

    /// [L9] Somebody votes in a round that it needs not, since we have decided before.
    fn tell_decided(&mut self, from: NodeId, word: &Word) {
        let is_decided = word.decided().is_some();
        let open = self.open.get(&word.instance).and_then(|open| Some((open.decided?, open.round())));
        let Some((decided, round)) = self.ledger.decided(word.instance).or(open) else { return };
        if !is_decided && word.standing.round > round {
            self.answers.push((from, Word::of_decided(word.instance, decided)));
        }
    }

    /// [L4] Offers, instance by instance: in the first ones that have none of ours, while few enough are under way or others have
    /// begun them.
    fn offer(&mut self, out: &mut Out) -> bool {
        if !self.members.is_voter(self.id) {
            return false;
        }
        let mut has_offered = false;
        let (mut instance, mut taken) = (self.ledger.settled(), self.taken());
        loop {
            instance = self.next_offer(instance);
            let is_begun = self.open.range(instance..).next().is_some();
            let is_near = instance.0 <= self.ledger.settled().0 + self.window;
            let offer = match self.choose(instance, &taken) {
                Some(id) if is_near || is_begun => Offer::Batch(id),
                // For an interval it may be on its way to us; but nobody waits for us who has enough.
                None if is_begun && self.has_no_more_to_offer(instance) => Offer::Nothing,
                Some(_) | None => return has_offered,
            };
            if !self.config.plants(Mutant::OffersForgotten) {
                out.persist(Record::Offered { instance, offer });
            }
            let open = self.open.entry(instance).or_default();
            // It is our first.
            let _ = open.take_offer(self.id, offer);
            open.has_news = true;
            if !self.config.plants(Mutant::OffersTwice) {
                taken.extend(offer.batch());
            }
            has_offered = true;
        }
    }

    /// Whether nothing is on its way to us that is worth waiting for.
    fn has_no_more_to_offer(&self, instance: Instance) -> bool {
        instance <= self.impatient || self.is_offered(instance) || self.is_moot(instance)
    }

    /// Whether batches are offered there, and each of them is decided elsewhere: nothing can come of it, and who offered one waits.
    fn is_moot(&self, instance: Instance) -> bool {
        let Some(open) = self.open.get(&instance) else { return false };
        let is_over = |id| self.ledger.numbers.contain(id) || self.is_decided(id);
        open.offered().next().is_some()
            && open.offered().all(|(_, id)| is_over(id))
            && !self.config.plants(Mutant::WaitsForTheMoot)
    }

    /// Whether so many have offered there that we need not wait for more.
    fn is_offered(&self, instance: Instance) -> bool {
        let is_enough = |open: &Open| open.offers() >= self.thresholds.wait;
        !self.config.plants(Mutant::VotesWithoutOffer) && self.open.get(&instance).is_some_and(is_enough)
    }

    /// Whether no offer of ours is needed. Once others have voted, somebody may still wait for it.
    fn is_done_with(&self, open: &Open) -> bool {
        let has_voted = open.round() > 0 && self.config.plants(Mutant::VotesWithoutOffer);
        open.decided.is_some() || open.offer_of(self.id).is_some() || has_voted
    }

    /// The first instance after `last` in which we have offered nothing, and that is not known to be decided.
    fn next_offer(&self, last: Instance) -> Instance {
        let mut next = last.next();
        while self.open.get(&next).is_some_and(|open| self.is_done_with(open)) {
            next = next.next();
        }
        next
    }

    /// [L5] Votes in every instance that waits for ours.
    fn vote(&mut self, out: &mut Out) -> bool {
        let mut has_voted = false;
        if !self.members.is_voter(self.id) {
            return false;
        }
        let instances: Vec<Instance> = self.open.keys().copied().collect();
        for instance in instances {
            while let Some(vote) = self.next_vote(instance) {
                self.cast(instance, vote, out);
                has_voted = true;
            }
        }
        has_voted
    }

    fn next_vote(&mut self, instance: Instance) -> Option<Vote> {
        let open = self.open.get_mut(&instance)?;
        // [L3] Our offer comes first, since others may need it.
        if open.offer_of(self.id).is_none() && !self.config.plants(Mutant::VotesWithoutOffer) {
            return None;
        }
        match open.next(&self.thresholds, &self.config) {
            Next::Wait | Next::Decide(_) => None,
            Next::Cast(vote) => {
                if open.round() == 0 {
                    let most = open.majority(&self.thresholds, &self.config);
                    // Most of all voters offer it, so that no other was voted for.
                    let _ = open.mean(most);
                }
                Some(vote)
            }
            Next::Toss => {
                let (round, is_known) = (open.round(), open.batch().is_some());
                // [L6] Whoever tosses has heard votes for the batch, and knows it.
                let value = self.coin(instance, round) && is_known;
                Some(Vote::Report(Report { value, tossed: true }))
            }
        }
    }

    /// [L11] A vote, on its way to the disk.
    fn cast(&mut self, instance: Instance, vote: Vote, out: &mut Out) {
        let Some(open) = self.open.get_mut(&instance) else { return };
        if !self.config.plants(Mutant::VotesForgotten) {
            out.persist(Record::Voted { instance, vote, batch: open.batch() });
        }
        // It follows what was cast before.
        let _ = open.cast(self.id, vote);
    }

    /// [L6] The coin of a round: everybody's in the first ones, and later our own.
    pub(crate) fn coin(&mut self, instance: Instance, round: u64) -> bool {
        if round > self.config.common_rounds {
            return self.rng.next_u64() & 1 == 1;
        }
        coin::common(self.config.coin_key, instance.0, round)
    }

    /// [L5] What enough propose is decided; and what is decided is settled, if everything before it is.
    fn decide(&mut self, out: &mut Out) {
        let mut news = Vec::new();
        for (&instance, open) in &mut self.open {
            if let Next::Decide(decided) = open.next(&self.thresholds, &self.config) {
                open.decided = Some(decided);
            }
            if let Some(decided) = open.decided
                && self.noted.insert(instance)
            {
                news.push(Record::Decided { instance, decided });
            }
        }
        self.settle();
        if self.handed_over < self.ledger.end() {
            self.handed_over = self.ledger.end();
            out.decide_through(self.handed_over);
        }
        // Behind: what is handed over needs not wait for it, since votes on the disks of others decide the same again.
        for record in news {
            out.persist(record);
        }
    }

    /// [L7] What is decided and held, with everything before it. [L5] What was not told of it yet is told by the decision.
    pub(crate) fn settle(&mut self) {
        while let Some(open) = self.open.get(&self.ledger.settled().next()) {
            let Some(decided) = open.decided else { return };
            let instance = self.ledger.settled().next();
            let (round, own) = (open.round(), open.offer_of(self.id));
            match decided {
                Offer::Nothing => {
                    self.on_nothing(own);
                    self.ledger.settle(None, Default::default(), round);
                }
                Offer::Batch(id) => {
                    let Some(entries) = self.batches.remove(id) else { return };
                    self.ledger.settle(Some(id), entries, round);
                    self.window = (self.window + 1).min(self.config.max_instances);
                }
            }
            let is_told = self.open.remove(&instance).is_none_or(|open| !open.has_news);
            if !is_told && !self.config.plants(Mutant::DecidesSilently) {
                self.last_words.push(Word::of_decided(instance, decided));
            }
            self.noted.remove(&instance);
        }
    }

    /// [L4] What was offered is free again. As long as offers do not agree, one instance at a time is enough.
    fn on_nothing(&mut self, own: Option<Offer>) {
        let Some(id) = own.and_then(Offer::batch) else { return };
        self.window = 1;
        if self.config.plants(Mutant::NothingLoses) {
            self.batches.remove(id);
        }
    }
}
