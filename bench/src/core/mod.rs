//! The protocol cores alone: three nodes in one thread, messages by value, network and storage in memory.
//!
//! One discipline for all contestants: propose a burst, deliver messages until all three replicas have applied all of it,
//! then the next burst. Every payload is a fresh copy, as it would be from a client. Every replica applies every payload to
//! the same tally, and the tallies are compared at the end of each round: who loses or reorders does not get a figure.

mod bare;
mod gated;
mod omni;
mod ours;
mod raft_rs;

use crate::Rounds;
use crate::alloc;
use crate::stats::{Spread, number, ratio};
use crate::table;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Logs are cut about every so many entries, so that no contestant is measured while it swaps.
const KEEP_ENTRIES: usize = 16_384;
/// How often messages may be delivered without any node applying anything before a burst counts as stuck.
const PATIENCE: usize = 10_000;
const SHAPES: [Shape; 4] = [
    Shape { in_flight: 1, payload: 16 },
    Shape { in_flight: 1, payload: 256 },
    Shape { in_flight: 256, payload: 16 },
    Shape { in_flight: 256, payload: 256 },
];
const CONTESTANTS: [(&str, Build); 4] = [
    // (OURS, |shape| Ok(Box::new(ours::Ours::build(shape)?))),
    ("raft-rs 0.7", |_| Ok(Box::new(raft_rs::RaftRs::build()?))),
    ("omnipaxos 0.2", |_| Ok(Box::new(omni::Omni::build()?))),
    ("append behind the gate", |shape| Ok(Box::new(ours::Ours::<gated::Gated>::build(shape)?))),
    ("bare append", |_| Ok(Box::new(bare::Bare::default()))),
];
const OURS: &str = "ours (raft)";

type Build = fn(Shape) -> Result<Box<dyn Contestant>>;

/// What is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Shape {
    /// Proposals per burst.
    pub(crate) in_flight: usize,
    /// Bytes per proposal, at least 8.
    pub(crate) payload: usize,
}

/// Three replicas of one implementation, with an elected leader.
trait Contestant {
    /// Proposes `count` payloads and delivers messages until all three replicas have applied them.
    fn burst(&mut self, payloads: &mut Payloads, count: usize) -> Result<()>;
    /// What each replica has applied.
    fn tallies(&self) -> [Tally; 3];
    /// Bytes of all messages of all nodes in encoded form while one burst is carried through, if there is an encoding.
    fn wire_bytes(&mut self, _payloads: &mut Payloads, _count: usize) -> Result<Option<usize>> {
        Ok(None)
    }
}

/// The state machine of every replica: how many, and an order-sensitive digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    digest: u64,
}

impl Tally {
    fn apply(&mut self, payload: &[u8]) {
        let head = payload.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
        self.count += 1;
        self.digest = self.digest.rotate_left(5) ^ head ^ (payload.len() as u64);
    }
}

/// Gives out payloads, numbered from 1, and keeps the tally that every replica must arrive at.
struct Payloads {
    template: Vec<u8>,
    expected: Tally,
}

impl Payloads {
    fn new(size: usize) -> Self {
        Self { template: vec![0x5a; size.max(8)], expected: Tally::default() }
    }

    fn next(&mut self) -> &[u8] {
        let number = self.expected.count + 1;
        if let Some(head) = self.template.first_chunk_mut() {
            *head = number.to_le_bytes();
        }
        self.expected.apply(&self.template);
        &self.template
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    commits_per_s: f64,
    allocations_per_commit: f64,
    allocated_bytes_per_commit: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    shape: Shape,
    contestant: &'static str,
    commits_per_s: Spread,
    /// Ours divided by this one: above 1, we are faster.
    ours_to_this: Option<f64>,
    allocations_per_commit: f64,
    allocated_bytes_per_commit: f64,
    wire_bytes_per_entry_beyond_payload: Option<f64>,
}

/// Runs all rounds and prints the table.
pub(crate) fn run(rounds: &Rounds) -> Result<serde_json::Value> {
    let length = Duration::from_secs_f64(rounds.seconds);
    let mut lines = Vec::new();
    for shape in SHAPES {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); CONTESTANTS.len()];
        for round in 0..rounds.rounds {
            // Every other round runs backwards: no contestant always follows the same one.
            let mut order: Vec<usize> = (0..CONTESTANTS.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for place in order {
                let (Some((name, build)), Some(slot)) = (CONTESTANTS.get(place), samples.get_mut(place))
                else {
                    continue;
                };
                slot.push(measure(*build, shape, length).with_context(|| format!("{name}, {shape:?}"))?);
            }
        }
        lines.extend(summarise(shape, &samples)?);
    }
    print(&lines, rounds);
    Ok(serde_json::to_value(&lines)?)
}

fn measure(build: Build, shape: Shape, length: Duration) -> Result<Sample> {
    let mut contestant = build(shape)?;
    let mut payloads = Payloads::new(shape.payload);
    let warm_up = Instant::now();
    while warm_up.elapsed() < length / 5 {
        contestant.burst(&mut payloads, shape.in_flight)?;
    }
    let (before, allocated, start) = (payloads.expected.count, alloc::so_far(), Instant::now());
    let elapsed = loop {
        for _ in 0..16 {
            contestant.burst(&mut payloads, shape.in_flight)?;
        }
        let elapsed = start.elapsed();
        if elapsed >= length {
            break elapsed;
        }
    };
    let after = alloc::so_far();
    for tally in contestant.tallies() {
        ensure!(
            tally == payloads.expected,
            "a replica has applied {tally:?}, but {:?} was proposed",
            payloads.expected
        );
    }
    let commits = (payloads.expected.count - before) as f64;
    Ok(Sample {
        commits_per_s: commits / elapsed.as_secs_f64(),
        allocations_per_commit: (after.count - allocated.count) as f64 / commits,
        allocated_bytes_per_commit: (after.bytes - allocated.bytes) as f64 / commits,
    })
}

fn summarise(shape: Shape, samples: &[Vec<Sample>]) -> Result<Vec<Line>> {
    let rates: Vec<Vec<f64>> =
        samples.iter().map(|rounds| rounds.iter().map(|s| s.commits_per_s).collect()).collect();
    let ours = rates.first().cloned().unwrap_or_default();
    let median = |rounds: &[Sample], value: fn(&Sample) -> f64| {
        Spread::of(&rounds.iter().map(value).collect::<Vec<f64>>()).median
    };
    let mut lines = Vec::new();
    for (((contestant, build), rates), rounds) in CONTESTANTS.iter().zip(&rates).zip(samples) {
        let mut payloads = Payloads::new(shape.payload);
        let mut fresh = build(shape)?;
        fresh.burst(&mut payloads, shape.in_flight)?;
        let wire = fresh.wire_bytes(&mut payloads, shape.in_flight)?;
        // Each entry travels to two followers.
        let beyond = wire.map(|bytes| bytes as f64 / (2 * shape.in_flight) as f64 - shape.payload as f64);
        lines.push(Line {
            shape,
            contestant,
            commits_per_s: Spread::of(rates),
            ours_to_this: (*contestant != OURS).then(|| ratio(&ours, rates)).flatten(),
            allocations_per_commit: median(rounds, |s| s.allocations_per_commit),
            allocated_bytes_per_commit: median(rounds, |s| s.allocated_bytes_per_commit),
            wire_bytes_per_entry_beyond_payload: beyond,
        });
    }
    Ok(lines)
}

fn print(lines: &[Line], rounds: &Rounds) {
    println!(
        "\nProtocol cores: n = 3 in one thread, network and storage in memory (nothing is durable), all three apply."
    );
    println!(
        "{} rounds of {} s each, contestants alternating; median (min–max). Wire: all messages of a burst, encoded, per entry and follower.",
        rounds.rounds, rounds.seconds
    );
    let mut rows = table::Table::new(&[
        "in flight",
        "payload B",
        "contestant",
        "commits/s",
        "ours / this",
        "allocations / commit",
        "B allocated / commit",
        "wire B / entry beyond payload",
    ]);
    for line in lines {
        rows.row([
            line.shape.in_flight.to_string(),
            line.shape.payload.to_string(),
            line.contestant.to_owned(),
            line.commits_per_s.show(0),
            table::optional(line.ours_to_this, |ratio| format!("{ratio:.2}×")),
            number(line.allocations_per_commit, 2),
            number(line.allocated_bytes_per_commit, 0),
            table::optional(line.wire_bytes_per_entry_beyond_payload, |bytes| number(bytes, 1)),
        ]);
    }
    rows.print();
}
