//! The commands and their flags.

mod agree;
mod client;
mod dev;
mod evidence;
mod key;
mod serve;

use clap::{Args, Parser, Subcommand};
use kvstore::profile::MAX_QUOTA_BYTES;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use tokio::signal::unix::{SignalKind, signal};

const DEFAULT_CLIENT: &str = "127.0.0.1:2379";

/// A replicated key-value store that speaks the etcd v3 API.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Log lines go to stderr; KVSTORE_LOG=info (or debug, or a filter) shows more of them."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole cluster in this process, on loopback sockets and a data directory
    Dev(dev::Dev),
    /// Run one member of a cluster
    Serve(Box<serve::Serve>),
    /// Read a key, or all keys with a prefix
    Get(client::Get),
    /// Write a key
    Put(client::Put),
    /// Delete a key, or all keys with a prefix
    Del(client::Del),
    /// Make the keys that members sign with, where some may lie
    Key(key::Key),
    /// Check what proves that members lie
    Evidence(evidence::Evidence),
}

impl Cli {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Dev(command) => command.run().await,
            Command::Serve(command) => command.run().await,
            Command::Get(command) => command.run().await,
            Command::Put(command) => command.run().await,
            Command::Del(command) => command.run().await,
            Command::Key(command) => command.run(),
            Command::Evidence(command) => command.run(),
        }
    }
}

/// Flags of every member.
#[derive(Args, Clone)]
struct MemberFlags {
    /// What gives way when the network is cut: cp keeps linearizable and refuses without a majority; ca, ap are to come
    #[arg(long, value_name = "PROFILE", default_value = "cp", value_parser = profile)]
    profile: kvstore::profile::Profile,
    /// The protocol of the profile cp: raft, multipaxos, pbft, where some members may lie, or benor, where nobody leads; the same at all
    /// members, and for good
    #[arg(long, value_name = "NAME", default_value = "raft", value_parser = algorithm)]
    algorithm: kvstore::profile::Algorithm,
    /// After how long without a leader an election begins, or without progress a view change; more than twice the heartbeat interval
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    election_timeout_ms: u64,
    /// How often the leader shows that it lives; a tenth of the election timeout unless given
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    heartbeat_interval_ms: Option<u64>,
    /// A snapshot replaces the log once it has grown by so much, and by as much as the last snapshot had; with pbft the same at
    /// all members, who compare their states
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    snapshot_after_bytes: u64,
    /// The number of the cluster; members and data directories of other clusters are refused
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    cluster_id: u64,
    /// The size of the store beyond which writes are refused until something is deleted and compacted
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30, value_parser = clap::value_parser!(u64).range(1 << 20..=MAX_QUOTA_BYTES))]
    quota_bytes: u64,
}

fn profile(text: &str) -> Result<kvstore::profile::Profile, String> {
    use kvstore::profile::Profile;
    match text.to_ascii_lowercase().as_str() {
        "cp" => Ok(Profile::Cp),
        "ca" => Ok(Profile::Ca),
        "ap" => Ok(Profile::Ap),
        _ => Err("choose cp, ca or ap".into()),
    }
}

fn algorithm(text: &str) -> Result<kvstore::profile::Algorithm, String> {
    use kvstore::profile::Algorithm;
    let named =
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.to_string() == text.to_ascii_lowercase());
    named.ok_or_else(|| "choose raft, multipaxos, pbft or benor".into())
}

/// `HOST:PORT`; a name is looked up once, at the start.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let mut found =
        text.to_socket_addrs().map_err(|error| format!("{error}; give HOST:PORT, as in 127.0.0.1:2379"))?;
    found.next().ok_or_else(|| "the name has no address".to_owned())
}

/// `ID=REST`.
fn numbered(text: &str) -> Result<(u64, &str), String> {
    let (id, rest) = text.split_once('=').ok_or("write ID=ADDRESS, as in 1=127.0.0.1:7001")?;
    match id.trim().parse() {
        Ok(0) => Err("members are numbered from 1".into()),
        Ok(id) => Ok((id, rest.trim())),
        Err(_) => Err(format!("{id:?} is not a number; write ID=ADDRESS, as in 1=127.0.0.1:7001")),
    }
}

/// Collects what a repeated flag gave; each number once.
fn by_number<T: Clone>(flag: &str, entries: &[(u64, T)]) -> anyhow::Result<BTreeMap<u64, T>> {
    let mut map = BTreeMap::new();
    for (id, entry) in entries {
        if map.insert(*id, entry.clone()).is_some() {
            anyhow::bail!("{flag} names member {id} twice: give each member once");
        }
    }
    Ok(map)
}

/// Tells whoever listens. That nobody does must not end a server, as `println!` would.
fn announce(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "nobody reads stdout");
    }
}

/// Completes when somebody wants the process to end in order.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
    }
}
