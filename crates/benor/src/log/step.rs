//! The door: which input goes where, and which are declined.

use super::config::Config;
use super::message::Message;
use super::record::Record;
use super::state::Log;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Decision, Effects, Faults, Guarantees, Input, Inspection, Members,
    Membership, NodeId, Offence, Problem, Reads, Refusal, Resilience, RestoreError, Slot, Status,
    Termination, Time, Timing,
};

/// The effect buffer.
pub(crate) type Out = Effects<Message, Record, Timer>;

/// Reasons to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// What is waited for may be lost.
    Retry,
}

impl ConsensusAlgorithm for Log {
    const NAME: &'static str = "benor-log";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::Log,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Half,
        timing: Timing::Asynchronous,
        termination: Termination::WithProbabilityOne,
        reads: Reads::Barrier,
        membership: Membership::Static,
    };
    type Config = Config;
    type Message = Message;
    type Record = Record;
    type Timer = Timer;

    fn validate(config: &Config, members: &Members) -> Result<(), ConfigError> {
        config.validate(members)
    }

    fn restore(boot: Boot<Self>, _out: &mut Out) -> Result<Self, RestoreError> {
        Self::recover(boot)
    }

    fn step(&mut self, now: Time, input: Input<Message, Timer>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Timer(Timer::Retry) => self.on_retry(out),
            Input::Propose { id, payload } => self.on_propose(id, payload, out),
            Input::Read(id) => self.on_read(id, out),
            Input::Compact { through, snapshot } => self.on_compact(now, through, snapshot, out),
            Input::Reconfigure { id, change: _ } => out.refuse(id, Refusal::Unsupported),
            // The gate holds back what waits for the disk. Nobody leads, and nobody is waited for by name.
            Input::Durable(_)
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. } => {}
        }
    }

    fn flush(&mut self, now: Time, out: &mut Out) {
        self.make_batches(out);
        self.advance(out);
        self.serve_reads(out);
        self.tell_news(out);
        self.arm(now, out);
    }

    fn decided(&self, from: Slot, through: Slot) -> impl Iterator<Item = Decision<'_>> {
        self.ledger.decisions(from, through)
    }

    fn status(&self) -> Status {
        self.observe()
    }

    fn inspect(&self) -> Inspection {
        self.show()
    }

    fn screen(_config: &Config, _from: NodeId, message: &Message) -> Result<(), Offence> {
        message.check() // [L15]
    }

    fn assert_invariants(&self) {
        self.check_invariants();
    }
}

impl Log {
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if self.is_stranger(from, out) {
            return;
        }
        match message {
            Message::Parcel(parcel) => self.on_parcel(parcel, out),
            Message::Tell(stand) => self.on_tell(from, &stand, out),
            Message::Ask { stand, want } => self.on_ask(now, from, &stand, want, out),
            Message::Fetch(ids) => self.on_fetch(from, &ids, out),
            Message::Page(page) => self.on_page(from, page, out),
            Message::Piece(piece) => self.on_piece(from, *piece, out),
            Message::Read(token) => self.on_read_question(from, token, out),
            Message::ReadReply { token, highest } => self.on_read_reply(from, token, highest),
        }
    }
}
