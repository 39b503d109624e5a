//! `conformance hash`: the fingerprints of runs, to compare builds and machines.

use crate::output::print;
use anyhow::Result;
use clap::Args;
use conformance::Recipe;

#[derive(Args)]
pub(crate) struct Hash {
    /// Which algorithm.
    #[arg(long, default_value = "raft")]
    algorithm: String,
    /// How many seeds.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
}

/// One line for each seed: the number of its events, and its hash.
pub(crate) fn hashes(hash: &Hash) -> Result<()> {
    let subject = crate::known(&hash.algorithm)?;
    for seed in hash.start..hash.start.saturating_add(hash.seeds) {
        let report = subject.run(&Recipe::from(seed), false)?;
        print(&format!("{seed} {} {:016x}", report.events, report.hash))?;
    }
    Ok(())
}
