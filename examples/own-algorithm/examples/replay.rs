//! One seed again: `cargo run -p own-algorithm --example replay -- 7`. It prints the trace, and draws the run in `run.html`.

use anyhow::{Context, Result};
use conformance::{Tuning, page, record_seed};
use consensus_sim::{Plan, Stream};
use own_algorithm::{Config, FixedLeader, Flaw};
use std::time::Duration;

fn main() -> Result<()> {
    let seed = std::env::args().nth(1).context("which seed? for example: replay -- 7")?;
    let seed: u64 = seed.parse().with_context(|| format!("{seed:?} is no seed: give a number"))?;
    // Put the mistake here that is to be looked at.
    let tune = |_: &mut Stream, _: &mut Plan| Tuning {
        config: Config { flaw: Flaw::None },
        patience: Duration::from_secs(2),
    };
    let replay = format!("cargo run -p own-algorithm --example replay -- {seed}");
    let (report, run) = record_seed::<FixedLeader>(seed, &tune, true, &replay)?;
    std::fs::write("run.html", page::render(&run)?).context("cannot write run.html")?;
    println!("{}", report.lines.join("\n"));
    println!(
        "{}",
        report.failure.map_or("every property held".into(), |failure| format!("FAILED: {failure}"))
    );
    Ok(())
}
