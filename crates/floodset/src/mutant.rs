//! Bugs that can be planted, so that a test suite proves that it would find them.
//!
//! The protocol asks `plants` of its configuration at one place for each. Without the feature `mutants` the answer is a constant
//! `false`, and the compiler removes the question. What a bug needs beyond a question is kept here, out of the protocol's way.

use crate::config::Config;
use consensus_core::Bytes;

consensus_core::mutants! {
    /// A bug of somebody's FloodSet.
    Mutant of Config;

    /// What most have sent is held, not the least.
    MajorityOfReceived,
    /// As many rounds as there may be crashes.
    OneRoundFewer,
    /// Who hears as many as before decides before it has told the others.
    DecidesAtOnce,
    /// Who hears as many as before decides, and says nothing any more.
    SilentAtOnce,
    /// That others are early is not heeded.
    EarlyUnheard,
}

impl Config {
    /// The number of rounds, or with the bug one fewer.
    pub(crate) fn or_fewer(&self, rounds: u64) -> u64 {
        if self.plants(Mutant::OneRoundFewer) { (rounds - 1).max(1) } else { rounds }
    }

    /// What is held at the end of a round: the least of what was held and heard.
    // [F3]
    pub(crate) fn held(&self, own: &Bytes, heard: &[Bytes]) -> Bytes {
        let all = || heard.iter().chain([own]);
        let count = |value: &Bytes| all().filter(|other| *other == value).count();
        let least = all().min().unwrap_or(own);
        let most = all().max_by_key(|value| (count(value), core::cmp::Reverse(*value))).unwrap_or(own);
        if self.plants(Mutant::MajorityOfReceived) { most } else { least }.clone()
    }
}
