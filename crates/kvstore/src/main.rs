//! The command line.
#![allow(missing_docs, reason = "a program, not a library")]

mod cli;

use clap::Parser;
use consensus_runtime::StartError;
use kvstore::join::JoinError;
use kvstore::member::{Ended, MemberError};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The replica's core loop and the requests share these; more only add wake-ups on small machines.
const WORKER_THREADS: usize = 2;
/// How a process ends whose member was removed from the cluster.
const REMOVED: u8 = 3;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter = EnvFilter::try_from_env("KVSTORE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,consensus_runtime::dial=error"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("kvstore: cannot start threads: {error}");
                return ExitCode::FAILURE;
            }
        };
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            exit_code(&error)
        }
    }
}

fn complain(text: &str) {
    // If nobody reads stderr there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "kvstore: {text}");
}

/// Whoever starts members again when they end must be able to tell that this one is not to come back.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let has_ended = error.downcast_ref::<Ended>().is_some_and(|ended| *ended == Ended::Removed);
    let must_not_join = matches!(error.downcast_ref::<JoinError>(), Some(JoinError::Removed { .. }));
    let must_not_start = matches!(
        error.downcast_ref::<MemberError>(),
        Some(MemberError::Replica(StartError::Removed { .. }) | MemberError::Join(JoinError::Removed { .. }))
    );
    if has_ended || must_not_join || must_not_start { ExitCode::from(REMOVED) } else { ExitCode::FAILURE }
}
