//! The door: which input goes where, and which are declined.

use super::config::Config;
use super::message::Message;
use super::record::Record;
use super::state::Mmr;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Effects, Faults, Guarantees, Input, Members, Membership, NodeId,
    Offence, Problem, Reads, Refusal, Resilience, RestoreError, Status, Termination, Time, Timing,
};

/// The effect buffer.
pub(crate) type Out = Effects<Message, Record, Timer>;

/// Reasons to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Votes that were waited for may be lost.
    Retry,
}

impl ConsensusAlgorithm for Mmr {
    const NAME: &'static str = "benor-mmr";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::OneShot,
        faults: Faults::Byzantine,
        resilience: Resilience::Third,
        timing: Timing::Asynchronous,
        termination: Termination::WithProbabilityOne,
        reads: Reads::Local,
        membership: Membership::Static,
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

    fn step(&mut self, now: Time, input: Input<Message, Timer>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, &message, out),
            Input::Timer(Timer::Retry) => self.on_retry(now, out),
            Input::Propose { id, payload } => self.on_propose(now, id, &payload, out),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Reconfigure { id, change: _ } => out.refuse(id, Refusal::Unsupported),
            // The gate holds back what waits for the disk. Nobody leads, and a few records are never compacted.
            Input::Durable(_)
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. }
            | Input::Compact { .. } => {}
        }
    }

    fn flush(&mut self, _now: Time, out: &mut Out) {
        self.tell_news(out);
    }

    fn status(&self) -> Status {
        self.observe()
    }

    /// Shares are not proven here: most of them never count.
    fn screen(_config: &Config, _from: NodeId, message: &Message) -> Result<(), Offence> {
        message.standing().check()
    }

    fn assert_invariants(&self) {
        self.check_invariants();
    }
}
