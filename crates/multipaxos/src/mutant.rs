//! Bugs that can be planted, so that a test suite proves that it would find them. Most were real bugs of real systems.
//!
//! The protocol asks `plants` of its configuration at one place for each. Without the feature `mutants` the answer is a constant
//! `false`, and the compiler removes the question. What a bug needs beyond a question is kept here, out of the protocol's way.

use crate::ballot::Ballot;
use crate::config::Config;
use crate::configuration::Configuration;
use crate::log::{CHOSEN, Log};
use crate::message::Votes;
use crate::state::Core;
use crate::synod::{self, Acceptor, Answer, Promises, Vote};
use crate::value::Value;
use consensus_core::quorum::Flexible;
use consensus_core::{NodeId, Slot};

consensus_core::mutants! {
    /// A bug of somebody's Paxos.
    Mutant of Config, synod::Config;

    /// A proposer proposes what it wants itself, whatever the promises tell of.
    OwnValueProposed,
    /// A proposer proposes what it heard of last, not the value of the highest ballot.
    LastReportedWins,
    /// A proposer proposes the largest value that it heard of.
    LargestValueWins,
    /// A promise is given and not written down.
    PromiseNotWritten,
    /// A promise leaves before it is on disk.
    PromiseBeforeDurable,
    /// A value is accepted and not written down.
    AcceptanceNotWritten,
    /// An acceptance leaves before it is on disk.
    AcceptanceBeforeDurable,
    /// A value is accepted in a ballot below what was promised.
    AcceptsBelowPromise,
    /// Accepting promises nothing.
    AcceptanceKeepsPromise,
    /// A promise tells the ballot that was promised before, in place of the one in which the value was accepted.
    PromiseTellsPromised,
    /// A promise of another ballot is counted.
    StalePromiseCounted,
    /// A promise that comes twice counts twice.
    DuplicatePromiseCounted,
    /// A refusal counts as a promise.
    RefusalCountsAsPromise,
    /// Ballots of one round are equal, whoever leads them.
    BallotsWithoutNode,
    /// A node leads a ballot that it has not written down, and after a crash once more.
    BallotReused,
    /// A proposer that hears more proposes again in the same ballot.
    TwoValuesInOneBallot,
    /// A learner counts acceptances of a value in whatever ballots.
    LearnerCountsAcrossBallots,
    /// A learner counts acceptances of whatever value.
    LearnerCountsAcrossValues,
    /// Half of an even number is a majority.
    HalfIsAQuorum,
    /// Quorums of promises and of acceptances may miss each other.
    QuorumsMissEachOther,
    /// A new leader closes up what was told, where there are holes in it.
    HolesSkipped,
    /// A new leader fills slots beyond the last that it was told of.
    NoopsBeyondLast,
    /// A new leader fills slots with no-ops without looking at what was told.
    NoopsOverVotes,
    /// Of what an acceptor tells, only the first page is looked at.
    PromiseCutShort,
    /// What was accepted in an earlier ballot is counted.
    OldAcceptanceCounted,
    /// What a node holds behind a hole is counted as if there were none.
    HolesCounted,
    /// A leader's mark is believed of whatever was accepted.
    MarkTrustedBlindly,
    /// Every wait is the same, so that ballots overtake each other for ever.
    FixedTimeouts,
    /// A leader that hears no quorum leads on, and keeps the others quiet.
    NeverResigns,
    /// A node leads a ballot though somebody who answers hears a leader.
    VetoIgnored,
    /// A piece of a snapshot that comes twice is answered twice, by a question that is answered in turn.
    RepeatedPieceAnswered,
    /// The log is cut, and nobody is told where to find what was cut.
    CutWithoutSnapshot,
    /// A hand-over of leadership to a node that is gone never ends.
    TransferNeverGivenUp,
    /// A proposal in flight at a leader that is deposed is refused as if it were certain not to be chosen.
    InterruptedAsRefused,
    /// Reads are served before everything is chosen that may have been chosen in earlier ballots.
    ReadBeforeRecovery,
    /// A leader serves reads without asking whether it still leads.
    ReadWithoutQuorum,
    /// The answers to the previous probe confirm the present one.
    ReadProbeReused,
    /// An answer to what was asked before a crash serves a read after it.
    ReadAnswerOfEarlierBoot,
    /// An acceptor says what it has accepted when it is asked by a heartbeat, and not before.
    AcknowledgesWhenAsked,
    /// A node is told where to read, and only the next heartbeat tells it that this is chosen.
    ReadAheadOfMark,
    /// An acceptor that a lease binds promises all the same.
    LeaseRefusesNobody,
    /// A lease is counted from when the echo of a probe arrives, not from when the probe left.
    LeaseFromEcho,
    /// Who restarts promises at once, though it may have answered a leader a moment ago.
    LeaseForgottenInCrash,
    /// A leader that has called its successor keeps its lease.
    LeaseAfterCall,
    /// A lease lasts an election timeout, whatever the clocks do.
    LeaseOfPerfectClocks,
    /// What was accepted behind a stop-sign stands in the next configuration.
    SealedVotesStay,
    /// A leader proposes on behind its stop-sign.
    ProposedBehindStop,
    /// A configuration is entered when its predecessor's stop-sign is accepted, and not yet chosen.
    EnteredWhenAccepted,
    /// As many as were a quorum of the old configuration are one of the new.
    OldQuorumCounts,
    /// A promise is given, and counted, whichever configuration it is asked for in.
    PromiseOfAnyConfiguration,
    /// After a crash, what was learnt from others does not tell that everything before it was known to be chosen.
    LearntProvesNothingBefore,
}

/// Gives a configuration its questions.
macro_rules! asked {
    ($($config:ty),+) => {
        $(impl $config {
            /// `quorums` of so many voters, or with the bugs some that need not meet.
            pub(crate) fn or_too_small(&self, quorums: Flexible, voters: usize) -> (usize, usize) {
                let (first, second) = (quorums.first(), quorums.second());
                if self.plants(Mutant::HalfIsAQuorum) && voters.is_multiple_of(2) {
                    return (voters / 2, voters / 2);
                }
                if self.plants(Mutant::QuorumsMissEachOther) {
                    return ((voters - second).max(1), second);
                }
                (first, second)
            }

            /// Whose promise is counted: with the bug, one that comes again is another voter's.
            pub(crate) fn as_counted(&self, promises: &Promises, from: NodeId, voters: &[NodeId]) -> NodeId {
                if !self.plants(Mutant::DuplicatePromiseCounted) || !promises.contains(from) {
                    return from;
                }
                voters.iter().copied().find(|&voter| !promises.contains(voter)).unwrap_or(from)
            }

            /// The ballot of a message, or with the bug the one of its round that was promised already.
            pub(crate) fn as_ballot(&self, promised: Ballot, ballot: Ballot) -> Ballot {
                let is_equal = ballot.round == promised.round && self.plants(Mutant::BallotsWithoutNode);
                if is_equal { promised } else { ballot }
            }
        })+
    };
}

asked!(synod::Config, Config);

impl synod::Config {
    /// What a promise tells, or with the bugs something else. `highest` is the best that was told so far.
    pub(crate) fn as_told<V: Ord>(
        &self,
        highest: Option<&Vote<V>>,
        vote: Option<Vote<V>>,
    ) -> Option<Vote<V>> {
        let (mut vote, known) = match (vote?, highest) {
            (_, _) if self.plants(Mutant::OwnValueProposed) => return None,
            (vote, None) => return Some(vote),
            (vote, Some(known)) => (vote, known),
        };
        let above = known.ballot.next(vote.ballot.node);
        if self.plants(Mutant::LastReportedWins) {
            vote.ballot = above;
        }
        if self.plants(Mutant::LargestValueWins) {
            vote.ballot = if vote.value > known.value { above } else { Ballot::ZERO };
        }
        Some(vote)
    }

    /// What an acceptor answers to a vote, and holds afterwards.
    pub(crate) fn or_bent<V: Clone>(
        &self,
        answer: Answer,
        before: Ballot,
        vote: &Vote<V>,
        acceptor: &mut Acceptor<V>,
    ) -> Answer {
        if self.plants(Mutant::AcceptanceKeepsPromise) {
            acceptor.promised.0 = before;
        }
        if matches!(answer, Answer::Refused(_)) && self.plants(Mutant::AcceptsBelowPromise) {
            acceptor.vote = Some(vote.clone());
            return Answer::Again;
        }
        answer
    }

    /// A vote as a learner sees it.
    pub(crate) fn as_learnt<V>(&self, vote: Vote<V>) -> Vote<V> {
        let is_one = self.plants(Mutant::LearnerCountsAcrossBallots);
        if is_one { Vote { ballot: Ballot::ZERO, ..vote } } else { vote }
    }

    /// What is chosen; with the bug the last value, if enough voters were heard at all.
    pub(crate) fn or_whatever<V>(&self, chosen: Option<V>, last: V, is_enough: bool) -> Option<V> {
        let counts_all = is_enough && self.plants(Mutant::LearnerCountsAcrossValues);
        chosen.or_else(|| counts_all.then_some(last))
    }
}

impl Config {
    /// In which ballot votes count that an acceptor tells of; `told` is what was told before.
    pub(crate) fn as_told_in(&self, told: &Log, votes: &Votes) -> Ballot {
        if votes.ballot == CHOSEN {
            return CHOSEN;
        }
        let known = told.get(votes.first).filter(|(ballot, _)| *ballot != CHOSEN);
        let above = || known.map_or(votes.ballot, |(ballot, _)| ballot.next(votes.ballot.node));
        if self.plants(Mutant::LastReportedWins) {
            return above();
        }
        if self.plants(Mutant::LargestValueWins) {
            let size = |value: &Value| (value.size(), value.id());
            let is_larger = votes.values.first().map(size) > known.map(|(_, value)| size(value));
            return if is_larger { above() } else { Ballot::ZERO };
        }
        votes.ballot
    }

    /// With the bug, votes as if cast in the ballot that was promised.
    pub(crate) fn as_reported(&self, votes: &mut [Votes], before: Ballot) {
        if self.plants(Mutant::PromiseTellsPromised) {
            for votes in votes.iter_mut().filter(|votes| votes.ballot != CHOSEN) {
                votes.ballot = votes.ballot.max(before);
            }
        }
    }

    /// The configuration that is entered; with the bug, with quorums as large as before.
    pub(crate) fn or_old_quorums(&self, next: Configuration, old: &Configuration) -> Configuration {
        if !self.plants(Mutant::OldQuorumCounts) || !old.is_known() {
            return next;
        }
        Configuration { promises: old.promises, acceptances: old.acceptances, ..next }
    }

    /// The last slot that a new leader fills; with the bug one beyond.
    pub(crate) fn or_further(&self, last: Slot) -> Slot {
        if self.plants(Mutant::NoopsBeyondLast) { Slot(last.0 + 1) } else { last }
    }
}

impl Core {
    /// With the bug, no write is waited for that never was begun.
    #[inline]
    pub(crate) fn or_at_once(&mut self) {
        if self.config.plants(Mutant::AcceptanceNotWritten) {
            self.log.on_durable(self.durable);
        }
    }

    /// `durable`, or with the bug what is not on disk yet too.
    #[inline]
    pub(crate) fn or_unwritten(&self, durable: Slot, last: Slot) -> Slot {
        if self.config.plants(Mutant::AcceptanceBeforeDurable) { last } else { durable }
    }
}
