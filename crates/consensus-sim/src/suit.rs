//! What a plan looks like for problems other than a log. A log works for as long as the storm lasts; one-shot agreement is over
//! after a few messages, so that faults must come as fast as the messages do in order to meet it.

use crate::plan::{Plan, Rhythm, rhythm, text};
use crate::random::{MILLION, Stream};
use crate::wrap::Wrap;
use consensus_core::Problem;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// What the nodes propose in one-shot agreement. Values are single digits, from `0` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inputs {
    /// How many different values there are, up to ten. With one value, all proposals are equal.
    pub values: u8,
    /// A node gets its proposal at any time up to here.
    #[serde(with = "text::span")]
    pub within: Duration,
}

impl Default for Inputs {
    fn default() -> Self {
        Self { values: 2, within: Duration::ZERO }
    }
}

/// Whether clients with local reads go to any replica without care for what they have seen: beyond every claim, to test the
/// tester.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Roaming {
    /// They take care.
    #[default]
    Never,
    /// They read anywhere.
    Reads,
    /// They write anywhere.
    Writes,
}

/// The transactions of atomic commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transactions {
    /// How many registers each node has: with few, transactions get in each other's way.
    pub keys: u16,
    /// How many of a million participants refuse a transaction for reasons of their own.
    #[serde(rename = "refusals", with = "text::rate")]
    pub refuse_ppm: u64,
    /// The most participants of a transaction.
    pub participants: usize,
    /// Whether a client that hears nothing asks the same coordinator again, by the same name; otherwise it never learns.
    pub retries: bool,
    /// The envelope that transactions travel in, of a protocol that asks its participants alone; otherwise all members are asked.
    #[serde(skip)]
    pub wrap: Option<Wrap>,
}

impl Default for Transactions {
    fn default() -> Self {
        Self { keys: 4, refuse_ppm: MILLION / 10, participants: 3, retries: true, wrap: None }
    }
}

impl Plan {
    /// Makes the storm of a log one for this problem.
    pub(crate) fn suit(&mut self, problem: Problem, seed: u64) {
        match problem {
            Problem::Log => return,
            Problem::Convergence => self.suit_convergence(&mut Stream::derive(seed, "convergence")),
            Problem::AtomicCommit => self.suit_atomic_commit(&mut Stream::derive(seed, "transactions")),
            Problem::OneShot => self.suit_one_shot(&mut Stream::derive(seed, "one-shot")),
        }
        // Members are those of a log.
        self.changes = None;
        if self.nodes < 3 {
            // No ring has two nodes.
            self.network.topology = None;
        }
    }

    fn suit_one_shot(&mut self, draw: &mut Stream) {
        self.nodes = *draw.pick(&[1, 2, 3, 3, 4, 4, 5, 5, 6, 7]).unwrap_or(&3);
        self.lost_for_good = draw.index(self.nodes);
        self.hasten(*draw.pick(&[4, 12, 40]).unwrap_or(&12));
        let span = self.faults_for.as_millis().try_into().unwrap_or(u64::MAX);
        self.deaths = rhythm(draw, MILLION / 2, (1, span.max(1)), (1, 1));
        self.workload.inputs = Inputs {
            values: if draw.chance(MILLION / 8) { 1 } else { 2 },
            within: Duration::from_millis(*draw.pick(&[0, 0, 0, 3, 20, span]).unwrap_or(&0)),
        };
        // Who waits for n−f votes sees any n−f of them only if some messages take many times as long as others.
        if draw.chance(3 * MILLION / 4) {
            self.network.spike_ppm = draw.between(MILLION / 10, 2 * MILLION / 3);
            self.network.spike = self.network.delay * u32::try_from(draw.between(2, 30)).unwrap_or(2);
        }
    }

    fn suit_atomic_commit(&mut self, draw: &mut Stream) {
        self.nodes = *draw.pick(&[2, 3, 3, 4, 5]).unwrap_or(&3);
        self.lost_for_good = draw.index(self.nodes);
        self.hasten(*draw.pick(&[1, 3, 10]).unwrap_or(&3));
        let span = self.faults_for.as_millis().try_into().unwrap_or(u64::MAX);
        self.deaths = rhythm(draw, MILLION / 4, (1, span.max(1)), (1, 1));
        self.workload.transactions = Transactions {
            keys: *draw.pick(&[1, 4, 30]).unwrap_or(&4),
            refuse_ppm: *draw.pick(&[0, 50_000, MILLION / 4]).unwrap_or(&0),
            participants: usize::try_from(draw.between(1, 5)).unwrap_or(1),
            retries: draw.chance(2 * MILLION / 3),
            wrap: None,
        };
    }

    fn suit_convergence(&mut self, draw: &mut Stream) {
        self.nodes = *draw.pick(&[1, 2, 3, 3, 4, 5]).unwrap_or(&3);
        // What clients saw is judged as a whole, in the square of its length.
        self.workload.operations = Some(draw.between(50, 600));
        self.lost_for_good = draw.index(self.nodes);
        self.hasten(*draw.pick(&[1, 1, 4]).unwrap_or(&1));
        let span = self.faults_for.as_millis().try_into().unwrap_or(u64::MAX);
        self.deaths = rhythm(draw, MILLION / 4, (1, span.max(1)), (1, 1));
    }

    /// Makes all faults come sooner and end sooner.
    fn hasten(&mut self, times: u32) {
        let hardships = &mut self.hardships;
        let rhythms = [
            &mut self.partitions,
            &mut self.crashes,
            &mut self.power_losses,
            &mut self.transfers,
            &mut self.suspicions,
            &mut hardships.failed_syncs,
            &mut hardships.full_disks,
            &mut hardships.slow_disks,
            &mut hardships.rot,
            &mut hardships.pauses,
            &mut hardships.flaps,
        ];
        for Rhythm { every, lasts } in rhythms.into_iter().flatten() {
            // A fault for each step that a clock can show would be a storm without end.
            *every = (*every / times).max(Duration::from_millis(1));
            *lasts = (*lasts / times).max(Duration::from_micros(100));
        }
        self.faults_for /= times;
        self.workload.timeout = (self.workload.timeout / times).max(Duration::from_millis(5));
    }
}
