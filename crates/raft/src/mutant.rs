//! Bugs that can be planted, so that a test suite proves that it would find them. Most were real bugs of real systems.
//!
//! The protocol asks [`Config::plants`] at one place for each. Without the feature `mutants` the answer is a constant `false`,
//! and the compiler removes the question. What a bug needs beyond a question is kept here, out of the protocol's way.

use crate::config::Config;
use crate::state::Core;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use consensus_core::quorum::{self, Tally};
use consensus_core::{Members, NodeId, Slot};

consensus_core::mutants! {
    /// A bug of somebody's Raft.
    Mutant of Config;

    /// A vote is given without being written down: after a crash it is given again, to somebody else.
    VoteNotPersisted,
    /// A vote leaves before it is on disk.
    VoteBeforeDurable,
    /// A term that comes without a vote is not written down.
    TermNotPersisted,
    /// A second vote is given in a term, to whoever asks.
    VoteTwice,
    /// A candidate or leader votes for others in its own term.
    LeaderVotesForOthers,
    /// A heartbeat of the current term forgets the vote of the current term.
    HeartbeatClearsVote,
    /// A vote of an earlier term is counted.
    StaleVoteCounted,
    /// A vote that arrives twice counts twice.
    DuplicateVoteCounted,
    /// A vote that was refused counts as granted.
    RefusalCountsAsVote,
    /// A vote goes to any candidate of a higher term, whatever its log.
    VoteWithoutLogCheck,
    /// Logs are compared by length, not by their last term first.
    VoteComparesLength,
    /// An entry of an older term is committed because a quorum holds it (Ongaro and Ousterhout 2014, figure 8).
    CommitOldTermByCounting,
    /// A follower commits what the leader committed, though it does not know that its own log is the leader's.
    CommitUnverified,
    /// A follower takes over a lower commit index.
    CommitRegresses,
    /// Replies are counted, whatever they acknowledge.
    CountReplies,
    /// The hint of a refusal is taken for an acknowledgement.
    RefusalCountsAsMatch,
    /// An acknowledgement of an earlier term is counted.
    StaleAckCounted,
    /// A late acknowledgement lowers the match index.
    MatchRegresses,
    /// A late refusal lowers the next index to what the follower is known to hold.
    NextNotAboveMatch,
    /// An entry is acknowledged before it is durable.
    AckBeforeDurable,
    /// A leader counts its own copy before it is durable.
    LeaderCountsUnwritten,
    /// A follower acknowledges its whole log, not only what it knows to be the leader's.
    AckWholeLog,
    /// An append cuts the log behind itself although nothing conflicts.
    TruncateWithoutConflict,
    /// Entries that conflict with an append are kept.
    ConflictKept,
    /// An append of a deposed leader is taken over.
    StaleAppendTaken,
    /// A refusal names another append than the one it refuses.
    RefusalNamesWrongSlot,
    /// A heartbeat is not checked against the log.
    HeartbeatUnchecked,
    /// A heartbeat stands behind slot zero, where it fits every log.
    HeartbeatBehindNothing,
    /// Every election timeout is the same.
    FixedTimeouts,
    /// A leader that no longer hears a quorum leads on, and keeps the others quiet.
    NoCheckQuorum,
    /// A leader does not give way to the higher term that a follower answers with.
    LeaderIgnoresHigherTerm,
    /// A new leader appends nothing.
    NoNoop,
    /// A proposal in flight at a leader that steps down is refused as if it were certain not to be decided.
    InterruptedAsRefused,
    /// Reads are served before an entry of the leader's own term is committed.
    ReadBeforeOwnCommit,
    /// A leader serves reads without asking whether it still leads.
    ReadWithoutQuorum,
    /// The answers to the probe of earlier reads confirm the present ones.
    ReadProbeReused,
    /// An answer to what was asked before a crash serves a read after it.
    ReadAnswerOfEarlierBoot,
    /// The probe that reads wait for leaves with the next heartbeat.
    ReadsAwaitHeartbeat,
    /// A follower is told where to read, and only the next heartbeat tells it that this is committed.
    ReadAheadOfCommit,
    /// A lease lasts an election timeout, whatever the clocks do.
    LeaseIgnoresDrift,
    /// A lease is counted from when the echo of a probe arrives, not from when the probe left.
    LeaseFromArrival,
    /// One echo is enough for a lease.
    LeaseFromOneEcho,
    /// A leader that has called its successor keeps its lease.
    LeaseOutlivesCall,
    /// A node that restarts votes at once, though it may have promised a leader not to.
    PromiseForgottenInCrash,
    /// A node that suspects its leader votes at once, though it has promised it not to.
    SuspicionBreaksPromise,
    /// What a node promised a leader does not hold for votes of a term that it has learnt of since.
    PromiseEndsWithTerm,
    /// A leader rests without those who do not answer, though nobody suspects them.
    RestWithoutTheSilent,
    /// Who rests does not wake when it suspects its leader.
    SuspicionSleptThrough,
    /// A snapshot brings the term down to that of its last entry.
    SnapshotLowersTerm,
    /// A snapshot replaces a log that holds all of it, and more.
    SnapshotCutsMatchingLog,
    /// A snapshot is installed, whatever its digest says.
    SnapshotUnchecked,
    /// All of a snapshot is sent at once.
    SnapshotInOneBurst,
    /// A node that is no member, as far as it knows, takes snapshots of its own.
    StrangersCompact,
    /// A refusal that was under way when its sender acknowledged more counts as a denial.
    DenialProvenAtOnce,
    /// Any term is believed, however far in the future.
    FarTermBelieved,
    /// A successor is called while what was proposed just before is not in the log yet.
    CalledBeforeThePending,
    /// A hand-over of leadership to a node that is gone never ends.
    TransferNeverGivenUp,
    /// A vote goes to whoever the leader called, whatever its log.
    CalledVoteUnchecked,
    /// A change of members begins before an entry of the leader's own term is committed (Ongaro's correction of 2015).
    ChangeBeforeOwnCommit,
    /// In a joint configuration the new voters decide alone.
    JointNeedsNewOnly,
    /// What a member said before it was removed counts when it is a member again.
    EarlierStayCounted,
    /// New members hold only when they are committed.
    MembersWhenCommitted,
    /// Members whose entry is cut off hold on.
    CutMembersKept,
    /// A leader that is being removed counts itself.
    RemovedLeaderCounts,
    /// A learner counts where a voter is missing.
    LearnerCounts,
    /// A snapshot keeps the members of the one before it.
    SnapshotKeepsOldMembers,
    /// A node that joins takes a snapshot before it knows the members.
    SnapshotWithoutMembers,
    /// A witness seeks election, though it holds no payload.
    WitnessLeads,
    /// A witness is told of entries that no other replica holds yet.
    WitnessAhead,
    /// A leader that is being removed counts as one that keeps what a witness is told.
    WitnessTrustsRemoved,
    /// A joint configuration forgets which of those who leave are witnesses.
    JointForgetsWitnesses,
    /// A witness that does not know yet that it is one serves reads.
    WitnessReads,
    /// In a group with witnesses a leader cuts logs before anything of its own term is durable.
    WitnessGroupFedEarly,
}

impl Core {
    /// The members that hold.
    pub(crate) fn effective_members(&self) -> Cow<'_, Members> {
        let newest = &self.configurations.newest().members;
        if self.config.plants(Mutant::JointNeedsNewOnly) && !newest.outgoing().is_empty() {
            let voters = Members::of(newest.voters().iter().copied());
            return Cow::Owned(voters.with_learners(newest.learners().iter().copied()));
        }
        if self.config.plants(Mutant::MembersWhenCommitted) {
            return Cow::Borrowed(&self.configurations.at(self.commit).members);
        }
        Cow::Borrowed(newest)
    }

    /// The members at the end of a snapshot.
    pub(crate) fn members_at(&self, slot: Slot) -> &Members {
        let is_old = self.config.plants(Mutant::SnapshotKeepsOldMembers);
        &self.configurations.at(if is_old { Slot::ZERO } else { slot }).members
    }

    /// `joint`, or with the bug the same without the witnesses that leave.
    pub(crate) fn or_forgetful(&self, joint: Members) -> Members {
        if !self.config.plants(Mutant::JointForgetsWitnesses) || joint.outgoing().is_empty() {
            return joint;
        }
        let stays = |node: &NodeId| joint.voters().contains(node);
        let kept: Vec<NodeId> = joint.witnesses().iter().copied().filter(stays).collect();
        joint.with_witnesses(kept)
    }

    /// `reached`, or with the bugs more: what those hold who should not be counted, or count for others.
    pub(crate) fn or_unfit_voters(&self, reached: u64, matched: impl Fn(NodeId) -> u64) -> u64 {
        let members = &self.members;
        let counts_self = self.config.plants(Mutant::RemovedLeaderCounts) && !members.is_voter(self.id);
        if !counts_self && !self.config.plants(Mutant::LearnerCounts) {
            return reached;
        }
        let extra = if counts_self { core::slice::from_ref(&self.id) } else { members.learners() };
        let mut held: Vec<u64> = members.voters().iter().chain(extra).map(|&node| matched(node)).collect();
        let quorum = quorum::majority(members.voter_count());
        quorum::reached_by(&mut held, quorum).unwrap_or(0).max(reached)
    }

    /// `slot`, or with the bug the end of the log.
    pub(crate) fn or_whole_log(&self, mutant: Mutant, slot: Slot) -> Slot {
        if self.config.plants(mutant) { self.log.last().slot } else { slot }
    }

    /// `slot`, or with the bug no more than the log, which was cut without need. The bug must not be found by its traces in our
    /// own books: other systems keep none.
    pub(crate) fn or_what_is_left(&self, slot: Slot) -> Slot {
        if self.config.plants(Mutant::TruncateWithoutConflict) {
            slot.min(self.log.last().slot)
        } else {
            slot
        }
    }

    /// Whether somebody whose vote `vote` has gets a second one.
    pub(crate) fn votes_again(&self, vote: NodeId) -> bool {
        let mutant = if vote == self.id { Mutant::LeaderVotesForOthers } else { Mutant::VoteTwice };
        self.config.plants(mutant)
    }

    /// For whom a vote of `from` counts: with the bug, a repeated one for somebody who has not voted.
    pub(crate) fn voter(&self, granted: &Tally, from: NodeId) -> NodeId {
        if !self.config.plants(Mutant::DuplicateVoteCounted) || !granted.contains(from) {
            return from;
        }
        self.members.voters().iter().copied().find(|&node| !granted.contains(node)).unwrap_or(from)
    }

    /// With the bug, the commit index falls to `slot`, if nothing that was compacted forbids it.
    pub(crate) fn regress_commit(&mut self, slot: Slot) {
        if self.config.plants(Mutant::CommitRegresses) {
            let compacted = self.snapshot.as_ref().map_or(Slot::ZERO, |snapshot| snapshot.through.slot);
            self.commit = slot.max(compacted);
        }
    }
}
