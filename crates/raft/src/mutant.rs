//! Bugs that can be planted, so that a test suite proves that it would find them.
//!
//! The protocol asks [`Config::plants`] at five places. Without the feature `mutants` the answer is a constant `false`, and
//! the compiler removes the question.

use crate::config::Config;

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` plants bugs: it is for builds with debug assertions only");

/// A bug of somebody's Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "mutants"),
    expect(unreachable_pub, reason = "public together with the feature `mutants` only")
)]
pub enum Mutant {
    /// A vote is given without being written down: after a crash it is given again, to somebody else.
    VoteNotPersisted,
    /// An entry of an older term is committed because a quorum holds it (Ongaro and Ousterhout 2014, figure 8).
    CommitOldTermByCounting,
    /// An entry is acknowledged before it is durable.
    AckBeforeDurable,
    /// A heartbeat of the current term forgets the vote of the current term.
    HeartbeatClearsVote,
    /// An append cuts the log behind itself although nothing conflicts.
    TruncateWithoutConflict,
}

impl Config {
    #[cfg(feature = "mutants")]
    pub(crate) fn plants(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(crate) const fn plants(&self, _mutant: Mutant) -> bool {
        false
    }
}
