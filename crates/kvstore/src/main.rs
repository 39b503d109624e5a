//! The command line.
#![allow(missing_docs, reason = "a program, not a library")]

mod cli;

use clap::Parser;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The replica's core loop and the requests share these; more only add wake-ups on small machines.
const WORKER_THREADS: usize = 2;

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
        Err(error) => complain(&format!("{error:#}")),
    }
}

fn complain(text: &str) -> ExitCode {
    // If nobody reads stderr there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "kvstore: {text}");
    ExitCode::FAILURE
}
