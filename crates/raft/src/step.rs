//! The door: every input goes to its handler, and those that are declined are named.

use crate::config::Config;
use crate::message::Message;
use crate::mutant::Mutant;
use crate::record::Record;
use crate::state::{Raft, Role};
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Decision, Effects, Faults, Guarantees, Input, Inspection, Members,
    Membership, NodeId, Offence, Problem, Reads, Resilience, RestoreError, Slot, Status, Termination, Time,
    Timing, WriteSeq,
};

/// A term that no group comes to.
pub(crate) const FAR_TERM: Offence = Offence::Impossible("its term is far in the future");

/// The effect buffer.
pub(crate) type Out = Effects<Message, Record, Timer>;

/// Reasons to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A follower seeks election, a candidate tries again, a leader checks that it still has a quorum.
    Election,
    /// What may have been lost is said again: heartbeats, requests for votes, forwarded reads.
    Heartbeat,
}

impl ConsensusAlgorithm for Raft {
    const NAME: &'static str = "raft";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Half,
        timing: Timing::PartialSynchrony,
        termination: Termination::AfterStabilisation,
        reads: Reads::Barrier,
        membership: Membership::Joint,
    };
    type Config = Config;
    type Message = Message;
    type Record = Record;
    type Timer = Timer;

    fn validate(config: &Config, members: &Members) -> Result<(), ConfigError> {
        config.validate(members)
    }

    fn restore(boot: Boot<Self>, out: &mut Out) -> Result<Self, RestoreError> {
        Self::recover(boot, out)
    }

    // Where the kind of input is known, only its handler remains of this.
    #[inline(always)]
    fn step(&mut self, now: Time, input: Input<Message, Timer>, out: &mut Out) {
        let is_own_write = matches!(input, Input::Durable(_));
        if self.rests() && self.is_woken_by(&input) {
            self.wake(now, out); // [R52]
        }
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Timer(Timer::Election) => self.on_election_timeout(now, out),
            Input::Timer(Timer::Heartbeat) => self.on_heartbeat_timeout(now, out),
            Input::Durable(seq) => self.on_durable(now, seq, out),
            Input::Propose { id, payload } => self.on_propose(id, payload, out),
            Input::Read(id) => self.on_read(id, out),
            Input::Compact { through, snapshot } => self.on_compact(through, snapshot, out),
            Input::Reconfigure { id, change } => self.on_reconfigure(id, &change, out),
            Input::Suspect { peer, suspected } => self.on_suspicion(now, peer, suspected, out),
            Input::Transfer { to } => self.on_transfer(now, to, out),
            Input::Priority(priority) => self.on_priority(now, priority, out),
            // Nothing was ever given to be judged.
            Input::Judged { .. } => {}
        }
        if !is_own_write && let Role::Leader(leader) = &mut self.role {
            leader.on_news();
        }
    }

    #[inline]
    fn flush(&mut self, now: Time, out: &mut Out) {
        match &mut self.role {
            Role::Follower(follower) => follower.flush(now, &mut self.core, out),
            Role::PreCandidate(_) | Role::Candidate(_) => {}
            Role::Leader(leader) => {
                leader.flush(now, &mut self.core, out);
                if leader.is_dismissed {
                    self.retire(now, out);
                }
            }
        }
        self.core.hand_over(out);
    }

    #[inline]
    fn decided(&self, from: Slot, through: Slot) -> impl Iterator<Item = Decision<'_>> {
        self.core.log.iter(from, through).map(|(slot, entry)| entry.decision(slot))
    }

    fn status(&self) -> Status {
        self.observe()
    }

    fn inspect(&self) -> Inspection {
        self.show()
    }

    #[inline]
    fn screen(_config: &Config, _from: NodeId, message: &Message) -> Result<(), Offence> {
        message.check() // [R26]
    }

    fn assert_invariants(&self) {
        self.check_invariants();
    }
}

impl Raft {
    #[inline(always)]
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if from == self.core.id || from == NodeId::ZERO {
            return out.accuse(from, Offence::Stranger); // [R26]
        }
        if message.is_answer() {
            // [R40] By an entry that we lack, the sender of anything else may be a member.
            if !self.core.members.contains(from) {
                return;
            }
        } else if !message.is_credible(self.core.term) && !self.core.config.plants(Mutant::FarTermBelieved) {
            return out.accuse(from, FAR_TERM); // [R54]
        }
        match message {
            Message::PreVote(ballot) => self.on_pre_vote(now, from, ballot, out),
            Message::PreVoteReply(reply) => self.on_pre_vote_reply(now, from, reply, out),
            Message::Vote(ballot) => self.on_vote(now, from, ballot, false, out),
            Message::CalledVote(ballot) => self.on_vote(now, from, ballot, true, out),
            Message::VoteReply(reply) => self.on_vote_reply(now, from, reply, out),
            Message::Append(append) => self.on_append(now, from, append, out),
            Message::Rest(offer) => self.on_rest(now, from, offer, out),
            Message::AppendReply(reply) => self.on_append_reply(now, from, reply, out),
            Message::Snapshot(chunk) => self.on_chunk(now, from, *chunk, out),
            Message::SnapshotReply(reply) => self.on_chunk_reply(now, from, reply, out),
            Message::ReadIndex(token) => self.on_read_index(from, token, out),
            Message::ReadIndexReply { token, answer } => self.on_read_index_reply(from, token, answer, out),
            Message::TimeoutNow { term } => self.on_timeout_now(now, from, term, out),
            Message::TransferDeclined { term } => self.on_transfer_declined(now, from, term, out),
        }
    }

    #[inline]
    fn on_durable(&mut self, now: Time, seq: WriteSeq, out: &mut Out) {
        self.core.durable = self.core.durable.max(seq);
        self.core.log.on_durable(seq);
        match &mut self.role {
            // The acknowledgement leaves in `flush`.
            Role::Follower(_) | Role::PreCandidate(_) => {}
            Role::Candidate(_) => self.count_own_vote(now, out),
            Role::Leader(leader) => leader.on_own_progress(&self.core),
        }
    }
}
