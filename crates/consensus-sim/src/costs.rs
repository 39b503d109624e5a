//! What a run cost: the complexity of an algorithm as it is met in practice, with its heartbeats and retries.

use core::time::Duration;

/// What a run cost, and how fast it came back to life: the measures of the algorithm, faults included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Messages between nodes, those that were lost included.
    pub messages: u64,
    /// Their encoded bytes.
    pub message_bytes: u64,
    /// Records and checkpoints that became durable.
    pub writes: u64,
    /// How long it took, after each end of the faults, until every client was served: with the clients' own pauses.
    pub recoveries: Vec<Duration>,
    /// How long operations took while all clocks stood still and nobody else asked, in hundredths of the longest leg: of a
    /// message's delay, the burst that its receiver collects, and a sync.
    pub alone: Vec<u64>,
    /// The same where all clients asked at once.
    pub together: Vec<u64>,
}

impl Costs {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.message_bytes += other.message_bytes;
        self.writes += other.writes;
        self.recoveries.extend_from_slice(&other.recoveries);
        self.alone.extend_from_slice(&other.alone);
        self.together.extend_from_slice(&other.together);
    }
}
