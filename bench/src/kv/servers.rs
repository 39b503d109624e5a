//! Which servers there are, and their command lines.

use super::cluster::{Algorithm, Member, Server};
use crate::programs;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const OURS: &str = "kvstore";
/// Both sides run with the same timers.
const HEARTBEAT_MS: &str = "100";
const ELECTION_MS: &str = "1000";

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    /// The server of this workspace.
    Kvstore,
    /// The same with Multi-Paxos.
    Multipaxos,
    /// The same with the log that nobody leads.
    Benor,
    /// The same with PBFT: four members, of whom one may lie.
    Pbft,
    /// Debian's etcd.
    Etcd,
}

/// Ours: the name in the tables, how many members, and what its command line says of the algorithm.
const PROFILES: [(Name, &str, usize, Algorithm); 4] = [
    (Name::Kvstore, OURS, 3, Algorithm::Raft),
    (Name::Multipaxos, "kvstore multipaxos", 3, Algorithm::Multipaxos),
    (Name::Benor, "kvstore benor", 3, Algorithm::Benor),
    (Name::Pbft, "kvstore pbft", 4, Algorithm::Pbft),
];

/// The servers to measure, ours first. A missing peer is said and left out, unless it was asked for by name.
pub(super) fn find(only: &[Name], kvstore: Option<&Path>) -> Result<Vec<Server>> {
    let wanted = |name| only.is_empty() || only.contains(&name);
    let mut servers = Vec::new();
    if PROFILES.iter().any(|(name, ..)| wanted(*name)) {
        let program = match kvstore {
            Some(program) => program.to_owned(),
            None => programs::build(OURS, programs::RELEASE)
                .context("give a built server with --kvstore, or leave it out with --only etcd")?,
        };
        ensure!(program.is_file(), "{} is not a program; build it or leave --kvstore out", program.display());
        for (_, name, members, algorithm) in PROFILES.into_iter().filter(|(name, ..)| wanted(*name)) {
            let (program, arguments) = (program.clone(), kvstore_arguments as fn(&Member<'_>) -> _);
            servers.push(Server { name, program, members, algorithm, arguments });
        }
    }
    if wanted(Name::Etcd) {
        if Command::new("etcd").arg("--version").output().is_ok_and(|output| output.status.success()) {
            let (program, arguments) = ("etcd".into(), etcd_arguments as fn(&Member<'_>) -> _);
            servers.push(Server { name: "etcd", program, members: 3, algorithm: Algorithm::Raft, arguments });
        } else {
            let how = "etcd is not installed: there is no peer to compare with (Debian: apt-get install etcd-server)";
            ensure!(!only.contains(&Name::Etcd), "{how}");
            eprintln!("{how}");
        }
    }
    Ok(servers)
}

/// The target directory that this program was built into.
pub(super) fn target_directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).context("this program has no target directory")?.to_owned())
}

fn etcd_arguments(member: &Member<'_>) -> Vec<String> {
    let cluster: Vec<String> = member
        .peers
        .iter()
        .enumerate()
        .map(|(place, peer)| format!("m{}=http://{peer}", place + 1))
        .collect();
    [
        ("--name", format!("m{}", member.id)),
        ("--data-dir", member.directory.display().to_string()),
        ("--listen-client-urls", format!("http://{}", member.client())),
        ("--advertise-client-urls", format!("http://{}", member.client())),
        ("--listen-peer-urls", format!("http://{}", member.peer())),
        ("--initial-advertise-peer-urls", format!("http://{}", member.peer())),
        ("--initial-cluster", cluster.join(",")),
        ("--initial-cluster-state", "new".to_owned()),
        ("--heartbeat-interval", HEARTBEAT_MS.to_owned()),
        ("--election-timeout", ELECTION_MS.to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

fn kvstore_arguments(member: &Member<'_>) -> Vec<String> {
    let peers: Vec<String> =
        member.peers.iter().enumerate().map(|(place, peer)| format!("{}={peer}", place + 1)).collect();
    let flags = [
        ("--id", member.id.to_string()),
        ("--peers", peers.join(",")),
        ("--listen-client", member.client()),
        ("--data", member.directory.display().to_string()),
        ("--heartbeat-interval-ms", HEARTBEAT_MS.to_owned()),
        ("--election-timeout-ms", ELECTION_MS.to_owned()),
    ];
    let algorithm = ("--algorithm", member.algorithm.name().to_owned());
    let signs =
        [("--secret-key", member.secret().display().to_string()), ("--member-keys", member.keys.to_owned())];
    let signs = signs.into_iter().filter(|_| !member.keys.is_empty());
    let flags =
        flags.into_iter().chain([algorithm]).chain(signs).flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once("serve".to_owned()).chain(flags).collect()
}

#[cfg(test)]
mod tests {
    use super::{ELECTION_MS, etcd_arguments, kvstore_arguments};
    use crate::kv::cluster::{Algorithm, Member};
    use std::net::SocketAddr;
    use std::path::Path;

    #[test]
    fn both_sides_get_the_same_timers_and_their_own_directory() {
        let addresses = |from: u16| {
            (from..from + 3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect::<Vec<_>>()
        };
        let (clients, peers) = (addresses(1001), addresses(2001));
        let member = Member {
            id: 2,
            algorithm: Algorithm::Raft,
            directory: Path::new("/data/m2"),
            clients: &clients,
            peers: &peers,
            keys: "",
        };
        for arguments in [etcd_arguments(&member), kvstore_arguments(&member)] {
            for wanted in ["/data/m2", ELECTION_MS] {
                assert!(arguments.iter().any(|argument| argument == wanted), "{wanted} in {arguments:?}");
            }
            let line = arguments.join(" ");
            assert!(line.contains("127.0.0.1:1002"), "{line}");
            assert!(peers.iter().all(|peer| line.contains(&peer.to_string())), "{line}");
        }
    }
}
