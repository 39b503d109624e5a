//! Bugs that can be planted, so that a test suite proves that it would find them.
//!
//! The protocol asks `plants` of its configuration at one place for each. Without the feature `mutants` the answer is a constant
//! `false`, and the compiler removes the question. What a bug needs beyond a question is kept here, out of the protocol's way.

use crate::config::Config;
use consensus_core::Bytes;

/// Declares the bugs, and their list.
macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A bug of somebody's FloodSet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            not(all(feature = "mutants", debug_assertions)),
            expect(unreachable_pub, reason = "public together with the feature `mutants` only")
        )]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        #[cfg(all(feature = "mutants", debug_assertions))]
        impl Mutant {
            /// Every bug that can be planted.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

mutants! {
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
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub(crate) fn plants(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(all(feature = "mutants", debug_assertions)))]
    #[inline(always)]
    pub(crate) const fn plants(&self, _mutant: Mutant) -> bool {
        false
    }

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
