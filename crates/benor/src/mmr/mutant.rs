//! Bugs that can be planted, as in the rest of this crate: see `crate::mutant`.

use super::config::{Config, Thresholds};
use super::message::Values;
use super::votes::Votes;
use consensus_core::NodeId;

consensus_core::mutants! {
    /// A bug of somebody's agreement with a hidden coin.
    Mutant of Config;

    /// No CONF: the coin is tossed, and taken, after the wait for AUX (Mostéfaoui, Moumen and Raynal 2014, with a coin as it can be had).
    NoConfirmation,
    /// The share is told together with CONF, before the wait for the others'.
    RevealsBeforeWait,
    /// The coin is taken though but one value is left.
    CoinOverridesValue,
    /// The one value that is left is decided, however the coin falls.
    DecidesWithoutCoin,
    /// A value is passed on that a single voter speaks for.
    RelaysAtOne,
    /// A value is accepted that so many speak for as make others pass it on.
    AcceptsAtRelay,
    /// AUX and CONF count with values that were not accepted.
    CountsUnaccepted,
    /// A wait ends when most have voted, as where nodes only crash.
    WaitsForMajority,
    /// A wait ends with 2t + 1 votes, whatever n is.
    WaitsForTwoThirds,
    /// A vote that comes again counts as another voter's.
    DuplicatesCounted,
    /// Votes are not written down: a restart casts them anew.
    CastsForgotten,
    /// Votes leave before they are on disk.
    CastsBeforeDurable,
    /// What is said to be a share is taken for one.
    SharesUnchecked,
    /// In a round that is over for us nothing is passed on.
    RelaysNoMore,
    /// Who has decided says nothing any more.
    HaltsAtDecision,
    /// A single one is believed what it says it has decided.
    BelievesOne,
}

impl Config {
    /// The numbers for `n` voters, or with the bugs others.
    pub(crate) fn thresholds(&self, n: usize) -> Thresholds {
        let sound = Thresholds::of(n);
        if self.plants(Mutant::RelaysAtOne) {
            Thresholds { relay: 1, ..sound }
        } else if self.plants(Mutant::AcceptsAtRelay) {
            Thresholds { accept: sound.relay, ..sound }
        } else if self.plants(Mutant::WaitsForMajority) {
            Thresholds { wait: n / 2 + 1, ..sound }
        } else if self.plants(Mutant::WaitsForTwoThirds) {
            Thresholds { wait: sound.accept, ..sound }
        } else if self.plants(Mutant::BelievesOne) {
            Thresholds { believe: 1, ..sound }
        } else {
            sound
        }
    }

    /// With which values AUX and CONF count.
    pub(crate) fn counting(&self, accepted: Values) -> Values {
        if self.plants(Mutant::CountsUnaccepted) { Values::Both } else { accepted }
    }

    /// Whose vote is counted: with the bug, one that comes again is another voter's.
    pub(crate) fn as_counted(&self, votes: &Votes, from: NodeId, voters: &[NodeId]) -> NodeId {
        if !self.plants(Mutant::DuplicatesCounted) || !votes.has_named(from) {
            return from;
        }
        voters.iter().copied().find(|&voter| !votes.has_named(voter)).unwrap_or(from)
    }
}
