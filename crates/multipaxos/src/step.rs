//! The door: every input goes to its handler, and those that are declined are named.

use crate::config::Config;
use crate::message::Message;
use crate::record::Record;
use crate::state::{MultiPaxos, Role};
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Decision, Effects, Faults, Guarantees, Input, Inspection, Members,
    Membership, NodeId, Offence, Problem, Reads, Resilience, RestoreError, Slot, Status, Termination, Time,
    Timing, WriteSeq,
};

/// A ballot that no group comes to.
pub(crate) const FAR_BALLOT: Offence = Offence::Impossible("its ballot is far in the future");

/// The effect buffer.
pub(crate) type Out = Effects<Message, Record, Timer>;

/// Reasons to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Nobody was heard for long, a question was not answered by all, or a ballot came to nothing.
    Election,
    /// What may have been lost is said again: heartbeats, requests for promises, forwarded reads.
    Heartbeat,
    /// A question for what is chosen stayed unanswered.
    Learn,
}

impl ConsensusAlgorithm for MultiPaxos {
    const NAME: &'static str = "multipaxos";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Half,
        timing: Timing::PartialSynchrony,
        termination: Termination::AfterStabilisation,
        reads: Reads::Barrier,
        membership: Membership::StopSign,
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
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Timer(Timer::Election) => self.on_election_timeout(now, out),
            Input::Timer(Timer::Heartbeat) => self.on_heartbeat_timeout(now, out),
            Input::Timer(Timer::Learn) => self.on_learn_timeout(now, out),
            Input::Durable(seq) => self.on_durable(now, seq, out),
            Input::Propose { id, payload } => self.on_propose(id, payload, out),
            Input::Read(id) => self.on_read(id, out),
            Input::Compact { through, snapshot } => self.on_compact(now, through, snapshot, out),
            Input::Reconfigure { id, change } => self.on_reconfigure(now, id, &change, out),
            Input::Suspect { peer, suspected } => self.on_suspicion(now, peer, suspected, out),
            Input::Transfer { to } => self.on_transfer(now, to, out),
            Input::Priority(priority) => self.on_priority(now, priority, out),
            // Nothing was ever given to be judged.
            Input::Judged { .. } => {}
        }
        self.begin_if_entered(now, out);
        if !is_own_write && let Role::Leader(leader) = &mut self.role {
            leader.on_news();
        }
    }

    #[inline]
    fn flush(&mut self, now: Time, out: &mut Out) {
        match &mut self.role {
            Role::Follower(follower) => follower.flush(now, &mut self.core, out),
            Role::Candidate(_) => {}
            Role::Leader(leader) => leader.flush(now, &mut self.core, out),
        }
        self.begin_if_entered(now, out);
        self.core.ask_for_missing(now, out);
        self.core.hand_over(out);
    }

    #[inline]
    fn decided(&self, from: Slot, through: Slot) -> impl Iterator<Item = Decision<'_>> {
        self.core.log.run(from, through).map(|(slot, value)| value.decision(slot))
    }

    fn status(&self) -> Status {
        self.observe()
    }

    fn inspect(&self) -> Inspection {
        self.show()
    }

    #[inline]
    fn screen(_config: &Config, from: NodeId, message: &Message) -> Result<(), Offence> {
        message.check(from) // [P31]
    }

    fn assert_invariants(&self) {
        self.check_invariants();
    }
}

impl MultiPaxos {
    #[inline(always)]
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if from == self.core.id || from == NodeId::ZERO {
            return out.accuse(from, Offence::Stranger); // [P31]
        }
        match message {
            Message::Accept(accept) => self.on_accept(now, from, accept, out),
            Message::Accepted(accepted) => self.on_accepted(now, from, accepted, out),
            Message::Heartbeat(heartbeat) => self.on_heartbeat(now, from, heartbeat, out),
            Message::Prepare(prepare) => self.on_prepare(now, from, prepare, out),
            Message::Promise(promise) => self.on_promise(now, from, *promise, out),
            Message::Preempted(preempted) => self.on_preempted(now, from, preempted, out),
            Message::Ask(ask) => self.on_ask(now, from, ask, out),
            Message::Tell(tell) => self.on_tell(now, from, tell, out),
            Message::Resigned { ballot } => self.on_resigned(now, from, ballot, out),
            Message::Learn(learn) => self.on_learn(now, from, learn, out),
            Message::Learnt(learnt) => self.on_learnt(now, from, learnt, out),
            Message::Piece(piece) => self.on_piece(now, from, *piece, out),
            Message::ReadIndex(token) => self.on_read_index(from, token, out),
            Message::ReadIndexReply { token, answer } => self.on_read_index_reply(from, token, answer, out),
            Message::Call { ballot } => self.on_call(now, from, ballot, out),
            Message::Declined { ballot } => self.on_declined(now, from, ballot, out),
        }
    }

    #[inline]
    fn on_durable(&mut self, now: Time, seq: WriteSeq, out: &mut Out) {
        self.core.durable = self.core.durable.max(seq);
        self.core.log.on_durable(seq);
        match &mut self.role {
            // The acknowledgement leaves in `flush`.
            Role::Follower(_) => {}
            Role::Candidate(_) => self.count_own_promise(now, out),
            Role::Leader(leader) => leader.on_own_progress(&self.core),
        }
    }
}
