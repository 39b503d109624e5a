//! Bugs that can be planted, so that a test suite proves that it would find them.
//!
//! The protocol asks `plants` of its configuration at one place for each. Without the feature `mutants` the answer is a constant
//! `false`, and the compiler removes the question. What a bug needs beyond a question is kept here, out of the protocol's way.

use crate::config::Config;
use crate::log::Open;
use crate::message::{Casts, Standing};
use crate::model::{Crashes, Model, Thresholds};
use crate::votes::Votes;
use consensus_core::NodeId;

consensus_core::mutants! {
    /// A bug of somebody's Ben-Or.
    Mutant of Config, crate::log::Config;

    /// One proposal of a value decides it.
    DecidesOnOne,
    /// A value is adopted only if so many propose it that it is decided.
    AdoptsOnlyMany,
    /// The coin is tossed though a value was proposed.
    CoinOverridesAdopted,
    /// A value is proposed that most of the voters that were heard report, not most of all.
    MajorityOfReceived,
    /// Half of an even number of voters is most of them.
    HalfProposes,
    /// One vote fewer ends a wait.
    WaitsForFewer,
    /// A wait ends when everybody has voted.
    WaitsForAll,
    /// Votes count in whatever round.
    RoundsMixed,
    /// Votes of the round before count for those who have not voted in this one.
    LateCounted,
    /// A report counts as a proposal.
    PhasesMixed,
    /// Who is in a later round is not listened to.
    LaterDropped,
    /// The own vote counts twice.
    OwnVoteTwice,
    /// A vote that comes again counts again.
    DuplicatesCounted,
    /// Who has decided says nothing any more.
    HaltsAtDecision,
    /// Who has decided decides again when it hears of anything.
    DecidesAgain,
    /// The coin never changes the value.
    FixedCoin,
    /// The coins of all nodes fall alike, and as everybody can foresee.
    SharedCoin,
    /// Votes are not written down: a restart casts them anew.
    CastsForgotten,
    /// Votes leave before they are on disk.
    CastsBeforeDurable,
    /// The first report is a coin.
    Invents,
    /// Where nodes lie, the numbers of the other model are used.
    CrashThresholds,
    /// Where nodes lie, more than half of all proposals decide.
    HalfDecides,
    /// Where nodes lie, one proposal of a value is adopted.
    AdoptsOnOne,
    /// Where nodes lie, a single one is believed what it says it has decided, or where it stands.
    BelievesOne,
    /// Who was given nothing takes no value of somebody who is in a later round.
    FirstReportsForgotten,
    /// Of the log: an offer that comes again is another voter's.
    OffersWithoutSenders,
    /// Of the log: most of the offers that came in are most of all.
    MostOfReceivedOffers,
    /// Of the log: one proposal of a value decides it.
    OneDecides,
    /// Of the log: a coin is tossed, or a value taken over, as soon as we have proposed ourselves.
    TossesAtOnce,
    /// Of the log: votes are not written down.
    VotesForgotten,
    /// Of the log: offers are not written down.
    OffersForgotten,
    /// Of the log: what is cast leaves before it is on disk.
    WordsBeforeDurable,
    /// Of the log: what was offered in an instance that decides nothing is dropped.
    NothingLoses,
    /// Of the log: a batch is offered in several instances at once.
    OffersTwice,
    /// Of the log: a batch that comes again after it was settled is kept, and offered again.
    SettledForgotten,
    /// Of the log: everybody offers its own batches.
    OwnFirst,
    /// Of the log: who has heard enough offers votes, and makes none of its own.
    VotesWithoutOffer,
    /// Of the log: who decides tells nobody, be it of its last vote.
    DecidesSilently,
    /// Of the log: batches that came too early are not asked for when there is room for them.
    EarlyForgotten,
    /// Of the log: with nothing to offer where nothing can be decided any more, a node waits for an interval all the same.
    WaitsForTheMoot,
    /// Of the log: batches that were lost on their way are not asked for.
    NeverFetches,
    /// Of the log: whoever reads asks nobody else.
    ReadsAlone,
    /// Of the log: a voter answers with what is settled, and not with what it has voted in.
    ReadsWhatIsSettled,
    /// Of the log: a snapshot does not say which batches are settled.
    SnapshotWithoutNumbers,
}

impl crate::log::Config {
    /// Whose offer is counted: with the bug, one that comes again is another voter's.
    pub(crate) fn as_offering(&self, open: &Open, from: NodeId, voters: &[NodeId]) -> NodeId {
        if !self.plants(Mutant::OffersWithoutSenders) || open.offer_of(from).is_none() {
            return from;
        }
        voters.iter().copied().find(|&voter| open.offer_of(voter).is_none()).unwrap_or(from)
    }
}

impl Config {
    /// The numbers for `n` voters, or with the bugs others.
    pub(crate) fn or_bent(&self, sound: Thresholds, n: usize) -> Thresholds {
        let bent = |mutant, bend: fn(Thresholds, usize) -> Thresholds| {
            if self.plants(mutant) { Some(bend(sound, n)) } else { None }
        };
        bent(Mutant::DecidesOnOne, |sound, _| Thresholds { decide: 1, ..sound })
            .or_else(|| bent(Mutant::AdoptsOnlyMany, |sound, _| Thresholds { adopt: sound.decide, ..sound }))
            .or_else(|| bent(Mutant::HalfProposes, |sound, n| Thresholds { propose: n.div_ceil(2), ..sound }))
            // With a single vote it would go on for ever by itself.
            .or_else(|| {
                bent(Mutant::WaitsForFewer, |sound, _| Thresholds { wait: (sound.wait - 1).max(2), ..sound })
            })
            .or_else(|| bent(Mutant::WaitsForAll, |sound, n| Thresholds { wait: n, ..sound }))
            .or_else(|| bent(Mutant::CrashThresholds, |_, n| Crashes::thresholds(n)))
            .or_else(|| bent(Mutant::HalfDecides, |sound, n| Thresholds { decide: n / 2 + 1, ..sound }))
            .or_else(|| bent(Mutant::AdoptsOnOne, |sound, _| Thresholds { adopt: 1, ..sound }))
            .or_else(|| bent(Mutant::BelievesOne, |sound, _| Thresholds { believe: 1, ..sound }))
            .unwrap_or(sound)
    }

    /// How many reports of a value it takes to propose it.
    pub(crate) fn needed_reports(&self, thresholds: &Thresholds, received: usize) -> usize {
        if self.plants(Mutant::MajorityOfReceived) { received / 2 + 1 } else { thresholds.propose }
    }

    /// How many propose `value`.
    pub(crate) fn proposals_of(&self, votes: &Votes, value: bool) -> usize {
        if self.plants(Mutant::PhasesMixed) { votes.reports_of(value) } else { votes.proposals_of(value) }
    }

    /// What `theirs` says of a round.
    pub(crate) fn casts_in(&self, theirs: &Standing, round: u64) -> Option<Casts> {
        let casts = theirs.casts_in(round);
        if self.plants(Mutant::RoundsMixed) {
            return casts.or(theirs.casts);
        }
        if self.plants(Mutant::LateCounted) && round > 1 {
            return casts.or_else(|| theirs.casts_in(round - 1));
        }
        casts
    }

    /// Who is not listened to.
    pub(crate) fn is_deaf_to(&self, theirs: &Standing, round: u64) -> bool {
        theirs.round > round && round > 0 && self.plants(Mutant::LaterDropped)
    }

    /// Whose vote is counted: with the bug, one that comes again is another voter's.
    pub(crate) fn as_counted(&self, votes: &Votes, from: NodeId, voters: &[NodeId]) -> NodeId {
        if !self.plants(Mutant::DuplicatesCounted) || !votes.contains(from) {
            return from;
        }
        voters.iter().copied().find(|&voter| !votes.contains(voter)).unwrap_or(from)
    }

    /// For whom our own vote counts besides.
    pub(crate) fn as_counted_twice(&self, own: NodeId, voters: &[NodeId]) -> Option<NodeId> {
        let next = voters.iter().copied().find(|&voter| voter > own).or_else(|| voters.first().copied());
        next.filter(|_| self.plants(Mutant::OwnVoteTwice))
    }

    /// The coin, or with the bugs something that is none.
    pub(crate) fn or_fixed(&self, tossed: bool, round: u64, casts: Option<Casts>) -> bool {
        if self.plants(Mutant::SharedCoin) {
            return round.is_multiple_of(2);
        }
        let held = casts.filter(|_| self.plants(Mutant::FixedCoin)).map(|casts| casts.report.value);
        held.unwrap_or(tossed)
    }
}
