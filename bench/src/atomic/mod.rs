//! Atomic commitment: what a transaction costs, in memory and on a disk, and whom a coordinator that dies keeps waiting.
//!
//! All contestants carry out the same transfers between accounts of three nodes, each of which touches two of them: the node that is
//! asked pays, and another one is paid. A figure counts only if the sum of all accounts is what it was.

mod blocked;
mod durable;
mod load;
mod memory;

use self::blocked::Held;
use self::load::Shape;
use crate::kv::disk;
use crate::stats::{Spread, number};
use crate::{Rounds, table};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use consensus_core::ConsensusAlgorithm;
use consensus_runtime::Runnable;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use twophase::{Config, Message, PaxosCommit, Presumption, Record, TwoPhase};

/// After how long a coordinator that was killed comes back.
const BACK: [Duration; 2] = [Duration::from_secs(2), Duration::from_mins(1)];
/// Of the disk by itself.
const PROBE_BYTES: usize = 256;
const CONTESTANTS: &[Contestant] = &[
    Contestant { name: "2PC, presumed abort", protocol: Protocol::TwoPhase(Presumption::Abort) },
    Contestant { name: "2PC, presumed commit", protocol: Protocol::TwoPhase(Presumption::Commit) },
    Contestant { name: "paxos commit, F = 0", protocol: Protocol::PaxosCommit { faults: 0 } },
    Contestant { name: "paxos commit, F = 1", protocol: Protocol::PaxosCommit { faults: 1 } },
];

/// What `atomic` measures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of atomic")]
pub(crate) struct Options {
    /// Only these tables.
    #[arg(
        long,
        global = true,
        value_delimiter = ',',
        default_value = "memory,disk,blocked",
        value_name = "NAME,…"
    )]
    tables: Vec<Measure>,
    /// How many transfers of a hundred are between accounts that all fight for.
    #[arg(long, global = true, value_delimiter = ',', default_value = "0,10,50", value_name = "PERCENT,…",
        value_parser = clap::value_parser!(u8).range(0..=100))]
    conflicts: Vec<u8>,
    /// Clients of the replicas on a disk, each with one transaction in flight.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,64", value_name = "N,…",
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    transacting: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Nodes in one thread, in memory.
    Memory,
    /// Replicas with sockets and journals.
    Disk,
    /// How long locks are held after the death of a coordinator.
    Blocked,
}

/// The two protocols behind one configuration.
trait Commits: Runnable + ConsensusAlgorithm<Config = Config, Message = Message, Record = Record> {}

impl<A: Runnable + ConsensusAlgorithm<Config = Config, Message = Message, Record = Record>> Commits for A {}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    TwoPhase(Presumption),
    PaxosCommit { faults: usize },
}

#[derive(Clone, Copy, Debug)]
struct Contestant {
    name: &'static str,
    protocol: Protocol,
}

impl Contestant {
    fn config(&self) -> Config {
        match self.protocol {
            Protocol::TwoPhase(presumption) => Config { presumption, ..Config::default() },
            Protocol::PaxosCommit { faults } => Config { faults: Some(faults), ..Config::default() },
        }
    }

    fn in_memory(&self, conflict: u8, seconds: f64) -> Result<memory::Sample> {
        match self.protocol {
            Protocol::TwoPhase(_) => memory::measure::<TwoPhase>(&self.config(), conflict, seconds),
            Protocol::PaxosCommit { .. } => memory::measure::<PaxosCommit>(&self.config(), conflict, seconds),
        }
    }

    fn durable(&self, shape: Shape, seconds: f64, root: &Path) -> Result<durable::Sample> {
        match self.protocol {
            Protocol::TwoPhase(_) => durable::measure::<TwoPhase>(&self.config(), shape, seconds, root),
            Protocol::PaxosCommit { .. } => {
                durable::measure::<PaxosCommit>(&self.config(), shape, seconds, root)
            }
        }
    }

    fn blocked(&self, back: Duration) -> Result<Held> {
        match self.protocol {
            Protocol::TwoPhase(_) => blocked::measure::<TwoPhase>(&self.config(), back),
            Protocol::PaxosCommit { .. } => blocked::measure::<PaxosCommit>(&self.config(), back),
        }
    }
}

#[derive(Debug, Serialize)]
struct InMemory {
    conflict: u8,
    contestant: &'static str,
    decided_per_cpu_s: Spread,
    aborted: f64,
    messages: f64,
    writes: f64,
}

#[derive(Debug, Serialize)]
struct Durable {
    clients: u32,
    conflict: u8,
    contestant: &'static str,
    decided_per_s: Spread,
    aborted: f64,
    p50_ms: Spread,
    p99_ms: Spread,
}

#[derive(Debug, Serialize)]
struct Blocked {
    contestant: &'static str,
    held: [Held; 2],
}

/// Runs all rounds and prints the tables; what is durable is kept below `root`.
pub(crate) fn run(rounds: &Rounds, options: &Options, root: &Path) -> Result<serde_json::Value> {
    let mut measured = serde_json::Map::new();
    let has = |table| options.tables.contains(&table);
    if has(Measure::Memory) {
        let mut lines = Vec::new();
        for &conflict in &options.conflicts {
            lines.extend(in_memory(rounds, conflict)?);
        }
        print_in_memory(&lines, rounds);
        measured.insert("memory".into(), serde_json::to_value(&lines)?);
    }
    if has(Measure::Disk) {
        let writes_per_s = disk::durable_writes_per_s(root, PROBE_BYTES)?;
        let mut lines = Vec::new();
        for &clients in &options.transacting {
            for &conflict in &options.conflicts {
                lines.extend(durable(rounds, Shape { clients, conflict }, root)?);
            }
        }
        print_durable(&lines, rounds, root, writes_per_s);
        measured.insert("disk_durable_writes_per_s".into(), writes_per_s.into());
        measured.insert("disk".into(), serde_json::to_value(&lines)?);
    }
    if has(Measure::Blocked) {
        let line = |contestant: &Contestant| {
            let [soon, late] = BACK.map(|back| contestant.blocked(back).context(contestant.name));
            Ok(Blocked { contestant: contestant.name, held: [soon?, late?] })
        };
        let lines = CONTESTANTS.iter().map(line).collect::<Result<Vec<_>>>()?;
        print_blocked(&lines);
        measured.insert("blocked".into(), serde_json::to_value(&lines)?);
    }
    ensure!(!measured.is_empty(), "no table was asked for");
    Ok(measured.into())
}

/// All rounds of all contestants, who alternate; every other round runs backwards, so that nobody always follows the same one.
fn alternate<T>(rounds: u32, measure: impl Fn(&Contestant) -> Result<T>) -> Result<Vec<Vec<T>>> {
    let mut samples: Vec<Vec<T>> = CONTESTANTS.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut turn: Vec<_> = CONTESTANTS.iter().zip(&mut samples).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (contestant, samples) in turn {
            samples.push(measure(contestant).context(contestant.name)?);
        }
    }
    Ok(samples)
}

fn spread<T>(samples: &[T], value: impl Fn(&T) -> f64) -> Spread {
    Spread::of(&samples.iter().map(value).collect::<Vec<f64>>())
}

fn in_memory(rounds: &Rounds, conflict: u8) -> Result<Vec<InMemory>> {
    let samples = alternate(rounds.rounds, |contestant| contestant.in_memory(conflict, rounds.seconds))?;
    let line = |(contestant, samples): (&Contestant, &Vec<memory::Sample>)| InMemory {
        conflict,
        contestant: contestant.name,
        decided_per_cpu_s: spread(samples, |sample| sample.decided_per_cpu_s),
        aborted: spread(samples, |sample| sample.aborted).median,
        messages: spread(samples, |sample| sample.messages).median,
        writes: spread(samples, |sample| sample.writes).median,
    };
    Ok(CONTESTANTS.iter().zip(&samples).map(line).collect())
}

fn durable(rounds: &Rounds, shape: Shape, root: &Path) -> Result<Vec<Durable>> {
    let samples = alternate(rounds.rounds, |contestant| contestant.durable(shape, rounds.seconds, root))?;
    let line = |(contestant, samples): (&Contestant, &Vec<durable::Sample>)| Durable {
        clients: shape.clients,
        conflict: shape.conflict,
        contestant: contestant.name,
        decided_per_s: spread(samples, |sample| sample.decided_per_s),
        aborted: spread(samples, |sample| sample.aborted).median,
        p50_ms: spread(samples, |sample| sample.p50_ms),
        p99_ms: spread(samples, |sample| sample.p99_ms),
    };
    Ok(CONTESTANTS.iter().zip(&samples).map(line).collect())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn print_in_memory(lines: &[InMemory], rounds: &Rounds) {
    println!(
        "\nAtomic commitment: n = 3 in one thread, network and storage in memory (nothing is durable), {} transfers in flight from each",
        memory::IN_FLIGHT
    );
    println!(
        "node, which pays another one. {} rounds of {} s, contestants alternating; median (min–max).",
        rounds.rounds, rounds.seconds
    );
    let mut rows = table::Table::new(&[
        "conflict",
        "contestant",
        "decided / CPU s",
        "aborted",
        "messages / transaction",
        "durable writes / transaction",
    ]);
    for line in lines {
        rows.row([
            format!("{} %", line.conflict),
            line.contestant.to_owned(),
            line.decided_per_cpu_s.show(0),
            percent(line.aborted),
            number(line.messages, 2),
            number(line.writes, 2),
        ]);
    }
    rows.print();
}

fn print_durable(lines: &[Durable], rounds: &Rounds, root: &Path, writes_per_s: f64) {
    println!(
        "\nAtomic commitment on a disk: n = 3 replicas in one process, loopback sockets, a journal each below {}, a sync before each",
        root.display()
    );
    println!(
        "promise and each verdict. {} rounds of {} s, contestants alternating; median (min–max), latencies of commits.",
        rounds.rounds, rounds.seconds
    );
    println!(
        "The disk alone: {} durable writes of {PROBE_BYTES} B per s, one after the other, in a file of zeros.",
        number(writes_per_s, 0)
    );
    if let Some(doubt) = disk::doubt(writes_per_s) {
        println!("{doubt}");
    }
    let mut rows = table::Table::new(&[
        "clients",
        "conflict",
        "contestant",
        "decided / s",
        "aborted",
        "p50 ms",
        "p99 ms",
    ]);
    for line in lines {
        rows.row([
            line.clients.to_string(),
            format!("{} %", line.conflict),
            line.contestant.to_owned(),
            line.decided_per_s.show(0),
            percent(line.aborted),
            line.p50_ms.show(2),
            line.p99_ms.show(2),
        ]);
    }
    rows.print();
}

fn print_blocked(lines: &[Blocked]) {
    println!(
        "\nThe coordinator of one transfer between two other nodes is killed after each step of it, a message or a write in turn, and"
    );
    println!(
        "comes back: how long a lock is held after its death, by the protocol's own time (the same in every run)."
    );
    let seconds = |time: Duration| format!("{} s", number(time.as_secs_f64(), 2));
    let [soon, late] = BACK.map(|back| format!("longest, back after {} s", back.as_secs()));
    let mut rows = table::Table::new(&["contestant", "steps", "that block", &soon, &late]);
    for line in lines {
        let [soon, late] = line.held;
        rows.row([
            line.contestant.to_owned(),
            soon.steps.to_string(),
            late.that_block.to_string(),
            seconds(soon.longest),
            seconds(late.longest),
        ]);
    }
    rows.print();
}
