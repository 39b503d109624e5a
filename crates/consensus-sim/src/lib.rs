//! A deterministic world for any [`consensus_core::ConsensusAlgorithm`]: nodes, network, disks, clocks and clients in one
//! queue of events, and the oracles that judge the run.
//!
//! Everything random comes from one seed, in one stream per subsystem, so that the same seed gives the same run, byte for
//! byte ([`Report::hash`]). The nodes are [`consensus_core::Node`]s, the very type that a server runs, on the real journal
//! over a simulated disk; every message is encoded and decoded on its way.
//!
//! This crate knows no protocol, no thread and no clock.

mod byzantine;
mod changes;
mod client;
mod clock;
pub mod consistency;
mod costs;
mod disk;
mod hardship;
mod history;
mod injector;
mod latency;
pub mod linearizability;
mod machine;
mod marks;
mod mask;
mod network;
mod oracle;
mod overrides;
mod paths;
mod plan;
mod random;
mod record;
mod still;
mod storage;
mod suit;
mod timing;
mod topology;
mod trace;
mod watch;
mod world;
mod wrap;

pub use byzantine::{
    Act, Amnesia, ByzantineCounts, ByzantinePlan, EffectFilter, FrameAttacks, Mutate, Mutator, Round,
    Scenario, Scenarios, Scope, Severs, Traitor, Transport,
};
pub use changes::Changes;
pub use clock::Clock;
pub use costs::Costs;
pub use disk::{DiskFault, SECTOR_BYTES, SimDisk, SimFile};
pub use hardship::{Bandwidth, Bursts, ClockPlan, Hardships, Misery};
pub use history::{History, Moment, Operation, OperationNumber};
pub use injector::{FaultCounts, Injector, Tally};
pub use latency::Latency;
pub use machine::{
    Answer, Applied, Call, CausalWrite, Cell, Choice, Command, Journal, Key, Machine, Registers, Replica,
    Shard, Transaction, TransactionWrite, Value, answer_of,
};
pub use marks::{Mark, Marks};
pub use mask::{FaultClass, Mask, MaskError};
pub use network::{Cut, Fate, Links, Loss, Outbox};
pub use oracle::{AtomicMeasures, ConvergenceMeasures, Failure, Measures, OneShotMeasures, Oracle, Property};
pub use overrides::{Overrides, OverridesError, Setting};
pub use paths::{LinkModel, ways};
pub use plan::{Detectors, DiskPlan, Format, MAX_NODES, NetworkPlan, Plan, PlanError, Rhythm, Workload};
pub use random::{MILLION, Stream};
pub use record::{Delivery, DiskTrouble, Event, Happened, MAX_EVENTS, Recording, Tape};
pub use still::Still;
pub use suit::{Inputs, Roaming, Transactions};
pub use timing::TimingPlan;
pub use topology::{Link, Route, Shape, Topology, routes};
pub use trace::{Trace, hash_bytes, mix};
pub use watch::{Decided, Tap, Watched, WatchedConfig};
pub use world::{
    Counts, Election, Halt, Idleness, Observation, PartialCase, Report, Setup, World, beyond, leave_alone,
    observe, run, run_taped, time_election,
};
pub use wrap::{Seal, Wrap, Wrapped};
