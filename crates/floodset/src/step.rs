//! The door: which input goes where, and which are declined.

use crate::config::Config;
use crate::message::Message;
use crate::rounds::FloodSet;
use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Effects, Faults, Guarantees, Input, Members, Membership, NodeId,
    Offence, Problem, Reads, Refusal, Resilience, RestoreError, Status, Termination, Time, Timing,
};

/// The effect buffer.
pub(crate) type Out = Effects<Message, (), Timer>;

/// Reasons to wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The round is over.
    Round,
}

impl ConsensusAlgorithm for FloodSet {
    const NAME: &'static str = "floodset";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::OneShot,
        faults: Faults::Crash,
        resilience: Resilience::AllButOne,
        timing: Timing::Synchronous,
        termination: Termination::RoundBound,
        reads: Reads::Local,
        membership: Membership::Static,
    };
    type Config = Config;
    type Message = Message;
    type Record = ();
    type Timer = Timer;

    fn validate(config: &Config, members: &Members) -> Result<(), ConfigError> {
        config.validate(members)
    }

    fn restore(boot: Boot<Self>, _out: &mut Out) -> Result<Self, RestoreError> {
        Ok(Self::new(boot.id, boot.config, boot.members))
    }

    fn step(&mut self, now: Time, input: Input<Message, Timer>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Timer(Timer::Round) => self.on_round_over(out),
            Input::Propose { id, payload } => self.on_propose(now, id, payload, out),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Reconfigure { id, change: _ } => out.refuse(id, Refusal::Unsupported),
            // Nothing is written down, and nobody leads. Who is silent has crashed: no detector knows better.
            Input::Durable(_)
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. }
            | Input::Compact { .. } => {}
        }
    }

    fn status(&self) -> Status {
        self.observe()
    }

    fn screen(config: &Config, _from: NodeId, message: &Message) -> Result<(), Offence> {
        let Message::Flood { round, estimate, is_early } = message;
        // [F7] [F9]
        if *round == 0 || (*round == 1 && *is_early) {
            return Err(Offence::Malformed("a round is out of range"));
        }
        if estimate.len() > config.max_payload_bytes {
            return Err(Offence::Malformed("a value is longer than any that may be proposed"));
        }
        Ok(())
    }

    fn assert_invariants(&self) {
        self.check_invariants();
    }
}
