//! An algorithm whose clients read whatever replica they like: as the inner one, and it claims less.

use consensus_core::{
    Boot, ConfigError, ConsensusAlgorithm, Guarantees, In, Members, NodeId, Offence, Out, Reads,
    RestoreError, Status, Time,
};

pub(crate) struct LocalReads<A>(A);

impl<A: ConsensusAlgorithm> ConsensusAlgorithm for LocalReads<A> {
    const NAME: &'static str = "local reads";
    const GUARANTEES: Guarantees = Guarantees { reads: Reads::Local, ..A::GUARANTEES };
    type Config = A::Config;
    type Message = A::Message;
    type Record = A::Record;
    type Timer = A::Timer;

    fn validate(config: &A::Config, members: &Members) -> Result<(), ConfigError> {
        A::validate(config, members)
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot, records } = boot;
        A::restore(Boot { id, members, config, seed, now, snapshot, records }, out).map(Self)
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        self.0.step(now, input, out);
    }

    fn flush(&mut self, now: Time, out: &mut Out<Self>) {
        self.0.flush(now, out);
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn screen(config: &A::Config, from: NodeId, message: &A::Message) -> Result<(), Offence> {
        A::screen(config, from, message)
    }

    fn assert_invariants(&self) {
        self.0.assert_invariants();
    }
}
