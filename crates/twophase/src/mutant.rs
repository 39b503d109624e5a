//! Bugs that can be planted, so that a test suite proves that it would find them.
//!
//! The protocol asks `plants` of its configuration at one place for each. Without the feature `mutants` the answer is a constant
//! `false`, and the compiler removes the question.

use crate::config::Config;

consensus_core::mutants! {
    /// A bug of somebody's two-phase commit, or Paxos Commit.
    Mutant of Config;

    /// A YES leaves before the promise is on disk.
    YesBeforeDurable,
    /// A COMMIT leaves before it is on disk.
    CommitBeforeDurable,
    /// Who has not voted in time has voted YES.
    MissingVoteIsYes,
    /// A YES that comes again counts for somebody else.
    DuplicateYesCounted,
    /// Who has promised and hears nothing aborts.
    AbortsAfterYes,
    /// Who has promised and hears nothing commits.
    CommitsOnTimeout,
    /// A coordinator that knows nothing answers that it is committed, though aborts are presumed.
    PresumesCommit,
    /// A coordinator forgets a commit before everybody has acknowledged it.
    ForgetsBeforeAcknowledged,
    /// A promise is kept in memory alone.
    PreparedInMemory,
    /// A participant carries a transaction out, and frees what it holds, when it votes.
    CarriesOutAtPrepare,
    /// After a restart the state machine is asked for its vote again, and may take the promise back.
    JudgesAgain,
    /// What was settled is forgotten at once: a question that comes again begins anew.
    VerdictsForgotten,
    /// A participant that will not vote any more does not note it.
    NoTombstone,
    /// An ABORT that comes before its question is dropped.
    AbortBeforePrepareDropped,
    /// A coordinator does not write an abort down, and takes the same name up again after a restart.
    AbortNotWritten,
    /// A commit is not written down.
    CommitNotWritten,
    /// A client is told before the commit is on disk.
    AnswersBeforeDurable,
    /// A coordinator that has handed the decision over, and hears nothing, reports an abort.
    TimeoutIsAbort,
    /// A participant tells a peer that it is aborted, and may still vote YES.
    AnswersAbortUnfenced,
    /// A peer that has promised too takes that for an abort.
    InDoubtIsAbort,
    /// The reader is asked with all others, and frees what it has read while they still lock.
    ReaderAskedFirst,
    /// The reader takes giving back what it has read for an abort, and says so to a client.
    ReaderRemembersAbort,
    /// The only participant tells its verdict before that is on disk.
    OnePhaseBeforeDurable,
    /// Two coordinators use one name, and nobody tells them.
    CoordinatorsNotTold,
    /// A verdict is carried out on another transaction.
    WrongTransaction,
    /// A commit is carried out twice.
    CommitsTwice,
    /// Who has promised never asks what has become of it.
    NeverAsks,
    /// After a restart the state machine does not reserve again what was promised.
    ReservationsForgotten,
    /// A commit is acknowledged and not carried out.
    DropsCommit,
    /// A coordinator aborts whatever it is asked.
    AlwaysAborts,
    /// A verdict is told when it is told again, and not before.
    VerdictToldLate,
    /// Who is blocked does not say so.
    Silent,
    /// Who is blocked names somebody else.
    BlamesOther,
    /// Under presumed commit, votes are asked for before the transaction is written down.
    AsksBeforeDurable,
    /// Paxos Commit: what one acceptor has accepted is chosen.
    OneAcceptorSuffices,
    /// Paxos Commit: a leader takes a participant whose vote it does not find for prepared.
    NoVoteIsPrepared,
    /// Paxos Commit: a leader proposes aborts, whatever was accepted before.
    OwnValue,
    /// Paxos Commit: an acceptor takes votes of ballot zero though it has promised a later one.
    BallotZeroAfterPromise,
    /// Paxos Commit: an acceptor says that it has accepted before that is on disk.
    AcceptedBeforeDurable,
    /// Paxos Commit: an acceptor that has forgotten a verdict takes part as if it had never heard of the transaction.
    ForgottenTakesPart,
    /// Paxos Commit: a leader takes the commit that it proposes for chosen, and tells a client that asks again.
    TellsWhatIsProposed,
    /// The only participant, coordinator besides, does not write its abort down.
    SoleAbortNotWritten,
    /// A participant whose promise is not on disk carries an abort out before it is sure not to vote again.
    AbortBeforeFence,
}

impl Config {
    /// Whether any bug is planted: invariants are for those without.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub(crate) const fn is_planted(&self) -> bool {
        self.mutant.is_some()
    }

    #[cfg(not(all(feature = "mutants", debug_assertions)))]
    pub(crate) const fn is_planted(&self) -> bool {
        false
    }
}
