//! One instance that is not settled: what was offered in it, and the rounds that decide whether it is taken.

use super::config::Config;
use super::message::{BatchId, Instance, Offer, Word};
use super::record::{Record, Vote};
use crate::message::{Casts, Proposal, Report, Standing};
use crate::model::Thresholds;
use crate::mutant::Mutant;
use crate::past::{MAX_ROUNDS, Past};
use crate::votes::Votes;
use alloc::collections::BTreeMap;
use consensus_core::{NodeId, Offence};

/// What an instance is waiting for no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It still is.
    Wait,
    /// Vote so.
    Cast(Vote),
    /// The round is over, and nothing was proposed: the coin gives the next report.
    Toss,
    /// It is decided.
    Decide(Offer),
}

/// One instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    /// What was offered, by distinct voter, our own offer among them.
    offers: BTreeMap<NodeId, Offer>,
    /// What we have cast in its rounds.
    past: Past,
    /// The votes of our round, our own among them.
    votes: Votes,
    /// What each voter said last.
    heard: BTreeMap<NodeId, Standing>,
    /// The batch that `true` means, as far as it is known.
    batch: Option<BatchId>,
    /// What it has decided.
    pub(crate) decided: Option<Offer>,
    /// Whether the others are still to be told what we have cast.
    pub(crate) has_news: bool,
}

impl Open {
    /// The round that we are in; zero before the first.
    pub(crate) const fn round(&self) -> u64 {
        self.past.round()
    }

    pub(crate) fn offer_of(&self, voter: NodeId) -> Option<Offer> {
        self.offers.get(&voter).copied()
    }

    /// How many have offered.
    pub(crate) fn offers(&self) -> usize {
        self.offers.len()
    }

    /// Who has offered which batch, as long as it may still be wanted.
    pub(crate) fn offered(&self) -> impl Iterator<Item = (NodeId, BatchId)> {
        let is_wanted = move |id| self.decided.is_none_or(|decided| decided == Offer::Batch(id));
        let batches = self.offers.iter().filter_map(|(&voter, offer)| Some((voter, offer.batch()?)));
        batches.filter(move |&(_, id)| is_wanted(id))
    }

    /// The batch that most offer.
    pub(crate) fn most_offered(&self) -> Option<BatchId> {
        let times = |id| self.offers.values().filter(|&&offer| offer == Offer::Batch(id)).count();
        self.offers
            .values()
            .filter_map(|offer| offer.batch())
            .max_by_key(|&id| (times(id), core::cmp::Reverse(id)))
    }

    /// What we have to say to somebody in `round`.
    pub(crate) fn word_for(&self, instance: Instance, me: NodeId, round: u64) -> Word {
        if let Some(decided) = self.decided {
            return Word::of_decided(instance, decided);
        }
        Word {
            instance,
            offer: self.offer_of(me),
            standing: self.past.standing_for(round),
            batch: self.batch,
        }
    }

    pub(crate) fn word(&self, instance: Instance, me: NodeId) -> Word {
        self.word_for(instance, me, self.past.round())
    }

    /// [L5] Counts what a voter says.
    ///
    /// # Errors
    /// It contradicts what it or somebody else has said.
    pub(crate) fn hear(&mut self, from: NodeId, word: &Word) -> Result<(), Offence> {
        if let Some(offer) = word.offer {
            self.take_offer(from, offer)?;
        }
        self.mean(word.batch)?;
        if let Some(decided) = word.decided() {
            return self.learn(decided);
        }
        self.count(from, &word.standing)?;
        let known = self.heard.entry(from).or_insert(word.standing);
        if word.standing.is_newer_than(known) {
            *known = word.standing;
        }
        Ok(())
    }

    /// [L3] One offer of each voter counts, the first.
    pub(crate) fn take_offer(&mut self, from: NodeId, offer: Offer) -> Result<(), Offence> {
        let known = *self.offers.entry(from).or_insert(offer);
        if known == offer { Ok(()) } else { Err(Offence::Equivocation("two offers in one instance")) }
    }

    /// [L5] `true` means one batch, and no other.
    pub(crate) fn mean(&mut self, batch: Option<BatchId>) -> Result<(), Offence> {
        let Some(batch) = batch else { return Ok(()) };
        let known = *self.batch.get_or_insert(batch);
        if known == batch { Ok(()) } else { Err(Offence::Impossible("two batches in one instance")) }
    }

    pub(crate) fn learn(&mut self, decided: Offer) -> Result<(), Offence> {
        let known = *self.decided.get_or_insert(decided);
        if known == decided { Ok(()) } else { Err(Offence::Impossible("two decisions in one instance")) }
    }

    fn count(&mut self, from: NodeId, standing: &Standing) -> Result<(), Offence> {
        let casts = standing.casts_in(self.past.round()).filter(|_| self.past.round() > 0);
        let Some(casts) = casts else { return Ok(()) };
        // [L15] Most of all voters report one value in a round, and no other.
        match casts.proposal {
            Some(Proposal::Value(value)) if self.votes.proposals_of(!value) > 0 => {
                Err(Offence::Impossible("two majorities in one round"))
            }
            Some(_) | None => self.votes.add(from, casts),
        }
    }

    /// Does what a vote says.
    ///
    /// # Errors
    /// It does not follow what was cast before.
    // [L11]
    pub(crate) fn cast(&mut self, me: NodeId, vote: Vote) -> Result<(), &'static str> {
        let is_over = self.past.casts().is_none_or(|casts| casts.proposal.is_some());
        match vote {
            Vote::Report(report) if is_over => {
                self.past.enter(report);
                self.votes.clear();
                let heard = core::mem::take(&mut self.heard);
                for (&from, standing) in &heard {
                    // What contradicts was told when it came.
                    let _ = self.count(from, standing);
                }
                self.heard = heard;
            }
            Vote::Proposal(proposal) if !is_over => self.past.propose(proposal),
            Vote::Report(_) | Vote::Proposal(_) => return Err("the records hold votes that do not follow"),
        }
        if let Some(casts) = self.past.casts() {
            let _ = self.votes.add(me, casts);
        }
        self.has_news = true;
        self.past.standing().check().map_err(|_| "the records hold what no node casts")
    }

    /// What our own vote is about, with its name.
    pub(crate) const fn batch(&self) -> Option<BatchId> {
        self.batch
    }

    /// What is to be done next.
    pub(crate) fn next(&self, needs: &Thresholds, config: &Config) -> Next {
        if self.decided.is_some() {
            return Next::Wait;
        }
        match self.past.casts() {
            None => self.after_offers(needs, config),
            Some(Casts { proposal: None, .. }) => self.after_reports(needs),
            Some(Casts { proposal: Some(_), .. }) => self.after_proposals(needs, config),
        }
    }

    /// [L3] The first report: whether most of all voters offer one batch.
    fn after_offers(&self, needs: &Thresholds, config: &Config) -> Next {
        if self.offers() < needs.wait {
            return Next::Wait;
        }
        let value = self.majority(needs, config).is_some();
        Next::Cast(Vote::Report(Report { value, tossed: false }))
    }

    /// [L3] The batch that most of all voters offer.
    pub(crate) fn majority(&self, needs: &Thresholds, config: &Config) -> Option<BatchId> {
        let most =
            if config.plants(Mutant::MostOfReceivedOffers) { self.offers() / 2 + 1 } else { needs.propose };
        let id = self.most_offered()?;
        let count = self.offers.values().filter(|&&offer| offer == Offer::Batch(id)).count();
        (count >= most).then_some(id)
    }

    fn after_reports(&self, needs: &Thresholds) -> Next {
        if self.votes.reports() < needs.wait {
            return Next::Wait;
        }
        let most = [false, true].into_iter().find(|&value| self.votes.reports_of(value) >= needs.propose);
        // [L15] Somebody lies who proposes the other.
        let most = most.filter(|&value| self.votes.proposals_of(!value) == 0);
        Next::Cast(Vote::Proposal(most.map_or(Proposal::Nothing, Proposal::Value)))
    }

    /// [L5] Decide, adopt or toss.
    fn after_proposals(&self, needs: &Thresholds, config: &Config) -> Next {
        let proposed = [false, true].into_iter().find(|&value| self.votes.proposals_of(value) >= needs.adopt);
        let enough = if config.plants(Mutant::OneDecides) { 1 } else { needs.decide };
        let wait = if config.plants(Mutant::TossesAtOnce) { 1 } else { needs.wait };
        if self.votes.proposals() < wait || self.past.round() >= MAX_ROUNDS {
            return Next::Wait;
        }
        match proposed {
            Some(value) if self.votes.proposals_of(value) >= enough => self.decision(value),
            Some(value) => Next::Cast(Vote::Report(Report { value, tossed: false })),
            None => Next::Toss,
        }
    }

    fn decision(&self, value: bool) -> Next {
        match (value, self.batch) {
            (false, _) => Next::Decide(Offer::Nothing),
            (true, Some(id)) => Next::Decide(Offer::Batch(id)),
            // No vote for a batch is told without its name.
            (true, None) => Next::Wait,
        }
    }

    /// What our disk must know of it.
    pub(crate) fn records(&self, instance: Instance, me: NodeId) -> impl Iterator<Item = Record> {
        let offered = self.offer_of(me).map(|offer| Record::Offered { instance, offer });
        let batch = self.batch;
        let voted = self.past.votes().map(move |vote| Record::Voted { instance, vote, batch });
        let decided = self.decided.map(|decided| Record::Decided { instance, decided });
        offered.into_iter().chain(voted).chain(decided)
    }

    pub(crate) fn assert_invariants(&self, voters: usize) {
        let standing = self.past.standing();
        assert!(self.votes.reports() <= voters && self.offers() <= voters, "more votes than voters");
        assert!(standing.check().is_ok(), "no node casts this: {standing:?}");
        let both = [false, true].map(|value| self.votes.proposals_of(value) > 0);
        assert!(both != [true, true], "two majorities in round {}", self.past.round());
    }
}
