//! The door: which input goes where, and which are declined.

use crate::config::Config;
use crate::message::Message;
use crate::protocol::{Protocol, guarantees};
use crate::record::Record;
use crate::state::Commitment;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Effects, Guarantees, Input, Inspection, Members, NodeId, Offence,
    ProposalId, Refusal, RestoreError, Status, Time,
};

/// The effect buffer.
pub(crate) type Out = Effects<Message, Record, Timer>;

/// Reasons to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Votes have been awaited for long enough.
    Voting(ProposalId),
    /// What a coordinator said may be lost.
    Repeat(ProposalId),
    /// A participant has promised, and hears nothing.
    Inquire(ProposalId),
    /// An acceptor keeps what nobody asks for any more, or a ballot has come to nothing.
    Recover(ProposalId),
}

impl<P: Protocol> ConsensusAlgorithm for Commitment<P> {
    const NAME: &'static str = P::NAME;
    const GUARANTEES: Guarantees = guarantees::<P>();
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

    fn step(&mut self, now: Time, input: Input<Message, Timer>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Timer(Timer::Voting(id)) => self.on_voting_timer(now, id, out),
            Input::Timer(Timer::Repeat(id)) => self.on_repeat(now, id, out),
            Input::Timer(Timer::Inquire(id)) => self.on_inquire_timer(now, id, out),
            Input::Timer(Timer::Recover(id)) => self.on_recover_timer(now, id, out),
            Input::Durable(durable) => self.on_durable(now, durable, out),
            Input::Propose { id, payload } => self.on_propose(now, id, &payload, out),
            Input::Judged { id, accept } => self.on_judged(now, id, accept, out),
            Input::Compact { through, snapshot } => self.on_compact(through, snapshot, out),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Reconfigure { id, change: _ } => out.refuse(id, Refusal::Unsupported),
            // Nobody leads, and nobody is believed to be dead.
            Input::Transfer { .. } | Input::Priority(_) | Input::Suspect { .. } => {}
        }
    }

    fn status(&self) -> Status {
        self.observe()
    }

    fn inspect(&self) -> Inspection {
        self.look_inside()
    }

    fn screen(_config: &Config, from: NodeId, message: &Message) -> Result<(), Offence> {
        message.check(from)
    }

    fn assert_invariants(&self) {
        self.check_invariants();
    }
}

impl<P: Protocol> Commitment<P> {
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if from == self.id || !self.members.contains(from) {
            return out.accuse(from, Offence::Stranger); // [T16]
        }
        match message {
            Message::Prepare(transaction) => self.on_prepare(now, from, transaction, out),
            Message::Vote { id, vote } => self.on_vote(now, from, id, vote, out),
            Message::Outcome { id, commit } => self.on_outcome(from, id, commit, out),
            Message::Acknowledge { id } => self.on_acknowledge(from, id, out),
            Message::Inquire(header) => self.on_inquire(from, &header, out),
            Message::InDoubt { id } => self.on_in_doubt(from, id, out),
            Message::Register(header) => self.on_register(now, from, header, out),
            Message::Query { header, ballot } => self.on_query(now, from, header, ballot, out),
            Message::Promised { id, ballot, votes } => self.on_promised(now, from, id, ballot, &votes, out),
            Message::Propose { header, ballot, prepared } => {
                self.on_propose_votes(now, from, header, ballot, &prepared, out)
            }
            Message::Accepted { id, ballot } => self.on_accepted(now, from, id, ballot, out),
            Message::Refused { id, ballot } => self.on_refused(from, id, ballot),
            Message::Forget { id, commit } => self.on_forget(from, id, commit, out),
        }
    }
}
