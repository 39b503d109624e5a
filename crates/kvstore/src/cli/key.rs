//! `kvstore key`: the keys of members, where some may lie.

use anyhow::Context;
use clap::{Args, Subcommand};
use kvstore::keys::{Secret, text};
use kvstore::profile::public_key;
use std::io::Write;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Each member makes its own key, and gives the public one to all others:\n  \
    kvstore key new data/1.key")]
pub(super) struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw a secret key, put it into a new file that only its owner can read, and print the public one
    New {
        /// The file
        file: PathBuf,
    },
    /// Print the public key that belongs to the secret one in a file
    Public {
        /// The file
        file: PathBuf,
    },
}

impl Key {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let secret = match self.command {
            Command::New { file } => Secret::generate(&file).context("no key was made")?,
            Command::Public { file } => Secret::read(&file)?,
        };
        Ok(writeln!(std::io::stdout(), "{}", text(&public_key(&secret)))?)
    }
}
