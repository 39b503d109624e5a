//! The simulator: how fast it runs beside a bare loop over a heap of events, and how many seeds the suite gets through.
//!
//! In one thread, by CPU time: the default swarm, and an idle and a busy cluster without faults. Then whole worker processes of
//! the suite, by the clock: one and two at a time, built for release and for development.

mod heap;
mod workers;
mod worlds;

use crate::Rounds;
use crate::process::thread_cpu_time;
use crate::stats::{Spread, number, ratio};
use crate::table;
use anyhow::{Context, Result};
use clap::Args;
use consensus_sim::Report;
use serde::Serialize;
use std::time::Duration;
use workers::Crew;

/// How many events of the bare loop are measured at once.
const HEAP_EVENTS: u64 = 1_000_000;
const CONTESTANTS: &[Named] = &[
    Named { name: HEAP, run: |_| Ok(Counted { events: heap::run(HEAP_EVENTS), ..Counted::default() }) },
    Named { name: "default swarm", run: |seed| worlds::swarm(seed).map(Counted::of) },
    Named { name: "idle cluster, n = 5", run: |seed| worlds::idle(seed).map(Counted::of) },
    Named { name: "busy cluster, n = 5", run: |seed| worlds::busy(seed).map(Counted::of) },
];
const HEAP: &str = "bare heap loop";

/// What `sim` measures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of sim")]
pub(crate) struct Options {
    /// Beside the bare loop, only worlds whose names contain one of these.
    #[arg(long, global = true, value_delimiter = ',', value_name = "TEXT,…")]
    worlds: Vec<String>,
    /// Seeds that each worker process runs; 0 leaves the workers out.
    #[arg(long, global = true, default_value_t = 1_000, value_name = "N")]
    worker_seeds: u64,
}

#[derive(Clone, Copy)]
struct Named {
    name: &'static str,
    run: fn(u64) -> Result<Counted>,
}

/// What happened in one or more runs.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    runs: u64,
    events: u64,
    steps: u64,
    simulated: Duration,
}

impl Counted {
    fn of(report: Report) -> Self {
        Self { runs: 1, events: report.events, steps: report.steps, simulated: report.simulated }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.steps += other.steps;
        self.simulated += other.simulated;
    }
}

/// One measurement, per second of CPU time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    events: f64,
    steps: f64,
    simulated_s: f64,
    seeds_per_minute: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    contestant: &'static str,
    events_per_cpu_s: Spread,
    /// The bare loop's events divided by these.
    heap_to_this: Option<f64>,
    steps_per_cpu_s: Spread,
    simulated_s_per_cpu_s: Spread,
    seeds_per_cpu_minute: Spread,
}

/// Runs all rounds and prints both tables.
pub(crate) fn run(rounds: &Rounds, options: &Options) -> Result<serde_json::Value> {
    let length = Duration::from_secs_f64(rounds.seconds);
    let wanted = |name: &str| {
        name == HEAP || options.worlds.is_empty() || options.worlds.iter().any(|part| name.contains(part))
    };
    let wanted = CONTESTANTS.iter().filter(|named| wanted(named.name));
    let mut measured: Vec<Measured> = wanted.map(|&named| Measured { named, samples: Vec::new() }).collect();
    for _ in 0..rounds.rounds {
        for Measured { named, samples } in &mut measured {
            samples.push(measure(named.run, length).with_context(|| named.name)?);
        }
    }
    let lines = summarise(&measured);
    print(&lines, rounds);
    let crews =
        if options.worker_seeds > 0 { workers::run(rounds, options.worker_seeds)? } else { Vec::new() };
    if !crews.is_empty() {
        print_crews(&crews, options.worker_seeds);
    }
    Ok(serde_json::json!({ "one_thread": lines, "workers": crews }))
}

struct Measured {
    named: Named,
    samples: Vec<Sample>,
}

fn measure(run: fn(u64) -> Result<Counted>, length: Duration) -> Result<Sample> {
    // What the first run allocates, later ones find warm.
    run(0)?;
    let (start, mut total) = (thread_cpu_time(), Counted::default());
    let mut seed = 0;
    let elapsed = loop {
        total.add(run(seed)?);
        seed += 1;
        let elapsed = thread_cpu_time().saturating_sub(start);
        if elapsed >= length {
            break elapsed.as_secs_f64();
        }
    };
    Ok(Sample {
        events: total.events as f64 / elapsed,
        steps: total.steps as f64 / elapsed,
        simulated_s: total.simulated.as_secs_f64() / elapsed,
        seeds_per_minute: total.runs as f64 * 60.0 / elapsed,
    })
}

fn summarise(measured: &[Measured]) -> Vec<Line> {
    let rates = |measured: &Measured, rate: fn(&Sample) -> f64| {
        measured.samples.iter().map(rate).collect::<Vec<f64>>()
    };
    let heap = measured.first().map(|heap| rates(heap, |s| s.events)).unwrap_or_default();
    let line = |this: &Measured| Line {
        contestant: this.named.name,
        events_per_cpu_s: Spread::of(&rates(this, |s| s.events)),
        heap_to_this: (this.named.name != HEAP).then(|| ratio(&heap, &rates(this, |s| s.events))).flatten(),
        steps_per_cpu_s: Spread::of(&rates(this, |s| s.steps)),
        simulated_s_per_cpu_s: Spread::of(&rates(this, |s| s.simulated_s)),
        seeds_per_cpu_minute: Spread::of(&rates(this, |s| s.seeds_per_minute)),
    };
    measured.iter().map(line).collect()
}

fn print(lines: &[Line], rounds: &Rounds) {
    println!(
        "\nSimulator: Raft in one thread, the real journal and every check included, by CPU time ({} build).",
        if cfg!(debug_assertions) { "development" } else { "release" }
    );
    println!(
        "{} rounds of {} s each, alternating; median (min–max). A step is one call of a node. Busy: {} clients, {:?} between two operations.",
        rounds.rounds,
        rounds.seconds,
        worlds::CLIENTS,
        worlds::THINK
    );
    let mut rows = table::Table::new(&[
        "contestant",
        "events / CPU s",
        "bare heap / this",
        "node steps / CPU s",
        "simulated s / CPU s",
        "seeds / CPU min",
    ]);
    for line in lines {
        let is_heap = line.contestant == HEAP;
        let show = |spread: &Spread| if is_heap { "–".to_owned() } else { spread.show(0) };
        rows.row([
            line.contestant.to_owned(),
            line.events_per_cpu_s.show(0),
            table::optional(line.heap_to_this, |ratio| format!("{ratio:.1}×")),
            show(&line.steps_per_cpu_s),
            show(&line.simulated_s_per_cpu_s),
            if line.contestant.contains("swarm") {
                show(&line.seeds_per_cpu_minute)
            } else {
                "–".to_owned()
            },
        ]);
    }
    rows.print();
}

fn print_crews(crews: &[Crew], seeds: u64) {
    println!(
        "\nThe suite: `conformance run` of {seeds} seeds in each worker process, by the clock; median (min–max)."
    );
    println!("The machine decides how much of two cores a process gets: CPU s tell what the work costs.");
    let mut rows =
        table::Table::new(&["build", "processes", "seeds / min", "to one process", "CPU s / 1,000 seeds"]);
    for crew in crews {
        rows.row([
            crew.build.to_owned(),
            crew.processes.to_string(),
            crew.seeds_per_minute.show(0),
            table::optional(crew.to_one_process, |ratio| format!("{ratio:.2}×")),
            number(crew.cpu_s_per_1000_seeds, 2),
        ]);
    }
    rows.print();
}
