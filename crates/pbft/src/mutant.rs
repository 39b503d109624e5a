//! Bugs that can be planted, so that a test suite proves that it would find them. Most were real bugs of real systems.
//!
//! The protocol asks `plants` of its configuration at one place for each. Without the feature `mutants` the answer is a constant
//! `false`, and the compiler removes the question.

use crate::config::Config;

consensus_core::mutants! {
    /// A bug of somebody's PBFT.
    Mutant of Config;

    /// A quorum is 2f.
    QuorumTwoF,
    /// A quorum is 2f+1, however many replicas there are beyond 3f+1.
    QuorumTwoFPlusOne,
    /// A backup takes over a second proposal for a place of the same view.
    SecondProposalTaken,
    /// PREPAREs are matched without their digest.
    DigestIgnored,
    /// The primary's PRE-PREPARE counts as a PREPARE too.
    PrimaryCounted,
    /// A vote that comes again counts again.
    RepeatsCounted,
    /// Signatures are not checked.
    SignaturesUnchecked,
    /// The view is not part of what is signed.
    ViewNotSigned,
    /// A batch need not have the digest that is signed.
    BodyUnchecked,
    /// COMMIT is said without a prepared certificate.
    CommitUnprepared,
    /// A VIEW-CHANGE tells of no prepared certificates.
    PreparedNotTold,
    /// Entering a view forgets the prepared certificates.
    PreparedForgotten,
    /// A new view takes the certificate of the lowest view.
    LowestViewWins,
    /// A new view puts null requests at places that were prepared.
    NullForPrepared,
    /// A new view leaves gaps where nothing was prepared.
    NoNull,
    /// The certificates of a VIEW-CHANGE are not checked.
    CertificatesUnchecked,
    /// Backups do not compute what a new view must begin with.
    ProposalsNotRecomputed,
    /// A replica that has left a view goes on preparing in it.
    OldViewHeard,
    /// An old VIEW-CHANGE moves the view back.
    ViewMovesBack,
    /// Nobody joins f+1 replicas that want a higher view.
    NeverJoins,
    /// The timeout stays what it is, however many views bring nothing.
    TimeoutNotDoubled,
    /// The timer of a view that is wanted runs before a quorum wants it.
    TimerAtOnce,
    /// VIEW-CHANGE is said once.
    ViewChangeSaidOnce,
    /// A checkpoint of f+1 replicas is stable.
    StableAtWeak,
    /// Places above the high watermark are taken too.
    WatermarksIgnored,
    /// A primary goes up to its own high watermark, which backups may not have come to yet.
    OutrunsBackups,
    /// The replies that clients were given are not part of a state's digest.
    RepliesNotDigested,
    /// What one replica says is the state is taken for it.
    StateUnchecked,
    /// What one replica says was executed since the snapshot is taken for it.
    HistoryUnchecked,
    /// That a checkpoint is stable is not written down where no snapshot is.
    StableNotWritten,
    /// A proposal is taken over and not written down.
    ProposalNotWritten,
    /// A prepared certificate is not written down.
    CertificateNotWritten,
    /// That a view was left is not written down.
    ViewChangeNotWritten,
    /// A request need not have the name of what it asks for.
    NamesUnchecked,
    /// A vote on a place that was certified once counts without a look at its signature, in later views too.
    SkippedCounted,
    /// Whoever is behind a stable checkpoint goes on telling of what it waits for.
    RepeatsWhatIsOver,
    /// Whoever may have signed a request, it is taken for its client's.
    AskUnchecked,
    /// A client's count is not part of what it signs.
    NumberNotAsked,
    /// One client may have everything waiting that there is room for.
    ShareIgnored,
}
