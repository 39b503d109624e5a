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
mod shared;

pub(crate) use self::ours::{Machine, OneCopy};

use crate::Rounds;
use crate::alloc;
use crate::process::thread_cpu_time;
use crate::stats::{Spread, number, ratio};
use crate::table;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Logs are cut about every so many entries, so that no contestant is measured while it swaps.
const KEEP_ENTRIES: usize = 16_384;
/// How often messages may be delivered without any node applying anything before a burst counts as stuck.
const PATIENCE: usize = 10_000;
const CONTESTANTS: &[Named] = &[
    Named {
        name: OURS,
        build: |shape| {
            // The peers cut their whole log, too.
            let config = raft::Config { retained_entries: 0, ..raft::Config::default() };
            Ok(Box::new(ours::Ours::<raft::Raft>::build(shape, &config)?))
        },
    },
    Named {
        name: "ours (multipaxos)",
        build: |shape| {
            let config = multipaxos::Config { retained_values: 0, ..multipaxos::Config::default() };
            Ok(Box::new(ours::Ours::<multipaxos::MultiPaxos>::build(shape, &config)?))
        },
    },
    Named {
        name: "ours (benor-log)",
        build: |shape| {
            let config = benor::log::Config { retained_slots: 0, ..benor::log::Config::default() };
            Ok(Box::new(ours::Ours::<benor::Log>::build(shape, &config)?))
        },
    },
    Named { name: "raft-rs 0.7", build: |_| Ok(Box::new(raft_rs::RaftRs::build()?)) },
    Named { name: "omnipaxos 0.2", build: |_| Ok(Box::new(omni::Omni::build()?)) },
    Named {
        name: "append behind the gate",
        build: |shape| Ok(Box::new(ours::Ours::<gated::Gated>::build(shape, &())?)),
    },
    Named { name: "bare append", build: |_| Ok(Box::new(bare::Bare::default())) },
    Named { name: "shared append", build: |_| Ok(Box::new(shared::Shared::default())) },
];
const OURS: &str = "ours (raft)";

/// What `core` measures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of core")]
pub(crate) struct Options {
    /// Only contestants whose names contain one of these.
    #[arg(long, global = true, value_delimiter = ',', value_name = "TEXT,…")]
    contestants: Vec<String>,
    /// Proposals per burst.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,256", value_name = "N,…")]
    in_flight: Vec<usize>,
    /// Bytes per proposal, at least 8.
    #[arg(long, global = true, value_delimiter = ',', default_value = "16,256", value_name = "BYTES,…")]
    payload: Vec<usize>,
    /// Carry out exactly so many bursts per measurement instead of measuring for a time: the same work each time, for
    /// instruction counters (callgrind, perf stat).
    #[arg(long, global = true, value_name = "N")]
    bursts: Option<u64>,
}

/// How long one measurement goes on.
#[derive(Clone, Copy)]
enum Length {
    /// For a time, after a warm-up of a fifth of it.
    Time(Duration),
    /// For so many bursts.
    Bursts(u64),
}

#[derive(Clone, Copy)]
struct Named {
    name: &'static str,
    build: Build,
}

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
    commits_per_cpu_s: f64,
    allocations_per_commit: f64,
    allocated_bytes_per_commit: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    shape: Shape,
    contestant: &'static str,
    commits_per_cpu_s: Spread,
    /// Ours divided by this one: above 1, we are faster.
    ours_to_this: Option<f64>,
    allocations_per_commit: f64,
    allocated_bytes_per_commit: f64,
    wire_bytes_per_entry_beyond_payload: Option<f64>,
}

/// Runs all rounds and prints the table.
pub(crate) fn run(rounds: &Rounds, options: &Options) -> Result<serde_json::Value> {
    let wanted = |name: &str| {
        options.contestants.is_empty() || options.contestants.iter().any(|part| name.contains(part))
    };
    let mut contestants: Vec<Measured> = Vec::new();
    for &named in CONTESTANTS.iter().filter(|named| wanted(named.name)) {
        contestants.push(Measured { named, samples: Vec::new() });
    }
    ensure!(!contestants.is_empty(), "no contestant has such a name");
    let time = Length::Time(Duration::from_secs_f64(rounds.seconds));
    let length = options.bursts.map_or(time, Length::Bursts);
    let mut lines = Vec::new();
    for &in_flight in &options.in_flight {
        for &payload in &options.payload {
            ensure!(in_flight > 0 && payload >= 8, "at least 1 in flight and 8 bytes are needed");
            let shape = Shape { in_flight, payload };
            all_rounds(&mut contestants, shape, length, rounds.rounds)?;
            lines.extend(summarise(shape, &contestants)?);
        }
    }
    print(&lines, rounds);
    Ok(serde_json::to_value(&lines)?)
}

struct Measured {
    named: Named,
    samples: Vec<Sample>,
}

fn all_rounds(contestants: &mut [Measured], shape: Shape, length: Length, rounds: u32) -> Result<()> {
    for contestant in contestants.iter_mut() {
        contestant.samples.clear();
    }
    for round in 0..rounds {
        for Measured { named, samples } in contestants.iter_mut() {
            let sample = measure(named.build, shape, length);
            samples.push(sample.with_context(|| format!("{}, {shape:?}", named.name))?);
        }
        // Every other round runs backwards: no contestant always follows the same one.
        if round + 1 < rounds {
            contestants.reverse();
        }
    }
    // An even number of turns restores the order of the table.
    if rounds.is_multiple_of(2) {
        contestants.reverse();
    }
    Ok(())
}

fn measure(build: Build, shape: Shape, length: Length) -> Result<Sample> {
    let mut contestant = build(shape)?;
    let mut payloads = Payloads::new(shape.payload);
    if let Length::Time(time) = length {
        let warm_up = Instant::now();
        while warm_up.elapsed() < time / 5 {
            contestant.burst(&mut payloads, shape.in_flight)?;
        }
    }
    let (before, allocated, start) = (payloads.expected.count, alloc::so_far(), Instant::now());
    let elapsed = match length {
        Length::Time(time) => {
            let cpu = thread_cpu_time();
            while start.elapsed() < time {
                for _ in 0..16 {
                    contestant.burst(&mut payloads, shape.in_flight)?;
                }
            }
            thread_cpu_time().saturating_sub(cpu)
        }
        Length::Bursts(bursts) => {
            for _ in 0..bursts {
                contestant.burst(&mut payloads, shape.in_flight)?;
            }
            // Simulated processors do not know the clock of a thread.
            start.elapsed()
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
        commits_per_cpu_s: commits / elapsed.as_secs_f64(),
        allocations_per_commit: (after.count - allocated.count) as f64 / commits,
        allocated_bytes_per_commit: (after.bytes - allocated.bytes) as f64 / commits,
    })
}

fn summarise(shape: Shape, contestants: &[Measured]) -> Result<Vec<Line>> {
    let rates =
        |measured: &Measured| measured.samples.iter().map(|s| s.commits_per_cpu_s).collect::<Vec<f64>>();
    let ours = contestants.iter().find(|measured| measured.named.name == OURS).map(rates);
    let mut lines = Vec::new();
    for measured in contestants {
        let Named { name, build } = measured.named;
        let mut payloads = Payloads::new(shape.payload);
        let mut fresh = build(shape)?;
        fresh.burst(&mut payloads, shape.in_flight)?;
        let wire = fresh.wire_bytes(&mut payloads, shape.in_flight)?;
        // Each entry travels to two followers.
        let beyond = wire.map(|bytes| bytes as f64 / (2 * shape.in_flight) as f64 - shape.payload as f64);
        let median = |value: fn(&Sample) -> f64| {
            Spread::of(&measured.samples.iter().map(value).collect::<Vec<f64>>()).median
        };
        let peer = ours.as_ref().filter(|_| name != OURS);
        lines.push(Line {
            shape,
            contestant: name,
            commits_per_cpu_s: Spread::of(&rates(measured)),
            ours_to_this: peer.and_then(|ours| ratio(ours, &rates(measured))),
            allocations_per_commit: median(|s| s.allocations_per_commit),
            allocated_bytes_per_commit: median(|s| s.allocated_bytes_per_commit),
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
        "commits / CPU s",
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
            line.commits_per_cpu_s.show(0),
            table::optional(line.ours_to_this, |ratio| format!("{ratio:.2}×")),
            number(line.allocations_per_commit, 2),
            number(line.allocated_bytes_per_commit, 0),
            table::optional(line.wire_bytes_per_entry_beyond_payload, |bytes| number(bytes, 1)),
        ]);
    }
    rows.print();
}

#[cfg(test)]
mod tests {
    use super::{CONTESTANTS, Payloads, Shape, Tally};

    #[test]
    fn every_contestant_applies_everything_everywhere_in_order() {
        for named in CONTESTANTS {
            for in_flight in [1, 7, 256] {
                let mut contestant = (named.build)(Shape { in_flight, payload: 16 }).unwrap();
                let mut payloads = Payloads::new(16);
                // Enough to cut logs at least once.
                while payloads.expected.count < 40_000 {
                    contestant.burst(&mut payloads, in_flight).unwrap();
                }
                assert_eq!(contestant.tallies(), [payloads.expected; 3], "{} × {in_flight}", named.name);
            }
        }
    }

    #[test]
    fn what_is_encoded_holds_at_least_the_payload_twice() {
        for named in CONTESTANTS {
            let shape = Shape { in_flight: 16, payload: 64 };
            let (mut contestant, mut payloads) = ((named.build)(shape).unwrap(), Payloads::new(64));
            contestant.burst(&mut payloads, 16).unwrap();
            if let Some(bytes) = contestant.wire_bytes(&mut payloads, 16).unwrap() {
                assert!((2 * 16 * 64..2 * 16 * 256).contains(&bytes), "{}: {bytes}", named.name);
            }
        }
    }

    #[test]
    fn a_tally_tells_orders_and_gaps_apart() {
        let tally = |numbers: &[u64]| {
            let mut tally = Tally::default();
            numbers.iter().for_each(|number| tally.apply(&number.to_le_bytes()));
            tally
        };
        assert_eq!(tally(&[1, 2, 3]), tally(&[1, 2, 3]));
        assert_ne!(tally(&[1, 2, 3]), tally(&[1, 3, 2]));
        assert_ne!(tally(&[1, 2, 3]), tally(&[1, 2]));
    }
}
