//! Worker processes of the suite: how many seeds a minute one makes, and two at a time.

use crate::Rounds;
use crate::process::children_cpu_seconds;
use crate::programs;
use crate::stats::{Spread, ratio};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// So many at a time.
const CREWS: [u64; 2] = [1, 2];

/// What one build makes with so many processes at a time.
#[derive(Debug, Serialize)]
pub(super) struct Crew {
    pub(super) build: &'static str,
    pub(super) processes: u64,
    pub(super) seeds_per_minute: Spread,
    /// Above 1: so many times as fast as one process.
    pub(super) to_one_process: Option<f64>,
    pub(super) cpu_s_per_1000_seeds: f64,
}

#[derive(Clone, Copy)]
struct Sample {
    seeds_per_minute: f64,
    cpu_s_per_1000_seeds: f64,
}

/// Builds the suite twice, and lets its processes work.
pub(super) fn run(rounds: &Rounds, seeds: u64) -> Result<Vec<Crew>> {
    let mut crews = Vec::new();
    for build in [programs::RELEASE, programs::DEVELOPMENT] {
        let program = programs::build("conformance", build)?;
        let mut samples: [Vec<Sample>; CREWS.len()] = Default::default();
        for _ in 0..rounds.rounds {
            for (&processes, samples) in CREWS.iter().zip(&mut samples) {
                samples.push(measure(&program, processes, seeds)?);
            }
        }
        let rates = |samples: &[Sample]| samples.iter().map(|s| s.seeds_per_minute).collect::<Vec<f64>>();
        let alone = samples.first().map(|samples| rates(samples)).unwrap_or_default();
        for (processes, samples) in CREWS.into_iter().zip(&samples) {
            let cpu: Vec<f64> = samples.iter().map(|s| s.cpu_s_per_1000_seeds).collect();
            crews.push(Crew {
                build: build.name,
                processes,
                seeds_per_minute: Spread::of(&rates(samples)),
                to_one_process: (processes > 1).then(|| ratio(&rates(samples), &alone)).flatten(),
                cpu_s_per_1000_seeds: Spread::of(&cpu).median,
            });
        }
    }
    Ok(crews)
}

fn measure(program: &Path, processes: u64, seeds: u64) -> Result<Sample> {
    let (began, cpu) = (Instant::now(), children_cpu_seconds()?);
    let workers: Vec<Child> =
        (0..processes).map(|worker| start(program, worker * seeds, seeds)).collect::<Result<_>>()?;
    for worker in workers {
        let output = worker.wait_with_output()?;
        let verdict = String::from_utf8_lossy(&output.stdout);
        let expected = format!("{seeds} passed, 0 failed");
        ensure!(verdict.contains(&expected), "a worker did not say {expected:?}: {verdict}");
    }
    let (wall, all) = (began.elapsed().as_secs_f64(), (processes * seeds) as f64);
    Ok(Sample {
        seeds_per_minute: all * 60.0 / wall,
        cpu_s_per_1000_seeds: (children_cpu_seconds()? - cpu) * 1000.0 / all,
    })
}

fn start(program: &Path, first: u64, seeds: u64) -> Result<Child> {
    let (first, seeds) = (first.to_string(), seeds.to_string());
    Command::new(program)
        .args(["run", "--algorithm", "raft", "--jobs", "1", "--start", &first, "--seeds", &seeds])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}
