//! `cargo xtask`: the workspace's own commands.

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{ci, fuzz, run, tidy};

/// The workspace's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run an algorithm through simulated faults and check everything it claims.
    ///
    /// Try: cargo xtask conformance --algorithm raft --seeds 2000
    #[command(disable_help_flag = true)]
    Conformance(Words),
    /// Replay one simulated run.
    ///
    /// Try: cargo xtask sim --algorithm raft --seed 7 --trace run.json --html run.html
    #[command(disable_help_flag = true)]
    Sim(Words),
    /// Plant known bugs one by one and require that the suite finds each of them.
    #[command(disable_help_flag = true)]
    Mutants(Words),
    /// Measure how long a group of Raft is without a leader when the leader ends, with up to 30 % of the messages lost.
    #[command(disable_help_flag = true)]
    Elections(Words),
    /// Measure how long clients are not served while one node alone reaches a quorum, Raft beside Multi-Paxos.
    #[command(disable_help_flag = true)]
    Partial(Words),
    /// Measure how many messages and writes an answer takes in calm weather, with all clocks stopped.
    #[command(disable_help_flag = true)]
    Calm(Words),
    /// Measure ours and the peers in the same run (release build, minutes).
    ///
    /// Try: cargo xtask bench core --quick
    #[command(disable_help_flag = true)]
    Bench(Words),
    /// Search for hostile input that breaks something, by coverage.
    ///
    /// Try: cargo xtask fuzz pbft_step --seconds 600
    Fuzz(fuzz::Options),
    /// Check the rules of the repository: arrows between crates, sizes, clauses, links.
    Tidy,
    /// What continuous integration runs beside `cargo test --workspace`.
    Ci {
        /// Also compare with the runs of a release, which takes minutes to build.
        #[arg(long)]
        full: bool,
    },
}

#[derive(clap::Args)]
struct Words {
    /// Passed on.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Words {
    fn after<'a>(&'a self, first: Option<&'a str>) -> Vec<&'a str> {
        first.into_iter().chain(self.words.iter().map(String::as_str)).collect()
    }
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Task::Conformance(words) => ci::conformance(&words.after(Some("run"))),
        Task::Sim(words) => ci::conformance(&words.after(Some("sim"))),
        Task::Mutants(words) => ci::mutants(&words.after(None)),
        Task::Elections(words) => ci::conformance(&words.after(Some("elections"))),
        Task::Partial(words) => ci::conformance(&words.after(Some("partial"))),
        Task::Calm(words) => ci::conformance(&words.after(Some("calm"))),
        Task::Bench(words) => bench(&words.after(None)),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Tidy => tidy::run(),
        Task::Ci { full } => ci::run(full),
    }
}

fn bench(words: &[&str]) -> Result<()> {
    let build = ["run", "--release", "--quiet", "--manifest-path", "bench/Cargo.toml", "--"];
    run::succeed(run::cargo()?.args(build).args(words))
}
