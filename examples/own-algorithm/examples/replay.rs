//! One run again: `cargo run -p own-algorithm --example replay -- 7`, or with the word that the suite prints for a failing run
//! that it made small, as `'7/crash:0;loss:/nodes=3'`. It prints the trace, and draws the run in `run.html`.

use anyhow::{Context, Result};
use conformance::{Recipe, Tuning, page, record_recipe};
use consensus_sim::{Plan, Stream};
use own_algorithm::{Config, FixedLeader, Flaw};
use std::time::Duration;

fn main() -> Result<()> {
    let recipe: Recipe = std::env::args().nth(1).context("which seed? for example: replay -- 7")?.parse()?;
    // Put the mistake here that is to be looked at.
    let tune = |_: &mut Stream, _: &mut Plan| Tuning {
        config: Config { flaw: Flaw::None },
        patience: Duration::from_secs(2),
    };
    let replay = format!("cargo run -p own-algorithm --example replay -- '{recipe}'");
    let (report, run) = record_recipe::<FixedLeader>(&recipe, &tune, true, &replay)?;
    std::fs::write("run.html", page::render(&run)?).context("cannot write run.html")?;
    println!("{}", report.lines.join("\n"));
    println!(
        "{}",
        report.failure.map_or("every property held".into(), |failure| format!("FAILED: {failure}"))
    );
    Ok(())
}
