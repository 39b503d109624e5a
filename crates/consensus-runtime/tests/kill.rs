//! `kill -9` of processes with fifty groups each, under load: nothing that was acknowledged is lost in any group.
//!
//! The processes are this very program, started again: each runs a host and writers, and prints what was acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test measures time, and its processes print"
)]

use crate::support::{Notebook, free_addresses, number, within};
use bytes::Bytes;
use consensus_core::{GroupId, NodeId};
use consensus_runtime::{GroupConfig, Handle, Host, HostConfig, Replicated};
use raft::{Config, Raft};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const GROUPS: u64 = 50;
const WRITERS: u64 = 16;
/// Tells a process which host it is: node, directory, addresses.
const ROLE: &str = "KILL_TEST_HOST";

type Peers = BTreeMap<NodeId, SocketAddr>;

async fn open(node: u64, directory: &Path, peers: &Peers) -> (Host, Vec<Handle<Raft>>) {
    let host = Host::open(HostConfig::new(NodeId(node), peers.clone(), directory)).await.unwrap();
    let mut handles = Vec::new();
    for group in 1..=GROUPS {
        let mut config = GroupConfig::new(GroupId(group), peers.keys().copied());
        config.algorithm =
            Config { election_timeout_ms: 500, heartbeat_interval_ms: Some(50), ..Config::default() };
        // Small enough that each group takes snapshots.
        config.compact_after_bytes = 4_000;
        handles.push(host.start_group(config, Notebook::default()).await.unwrap());
    }
    (host, handles)
}

/// What a process does until it is killed; without the role it is no test.
#[test]
fn process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut words = role.split(' ');
    let node: u64 = words.next().unwrap().parse().unwrap();
    let boot = words.next().unwrap().to_owned();
    let directory = PathBuf::from(words.next().unwrap());
    let peers: Peers = (1..).map(NodeId).zip(words.map(|word| word.parse().unwrap())).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (host, handles) = open(node, &directory, &peers).await;
        println!("ready");
        for writer in 0..WRITERS {
            let (handles, boot) = (handles.clone(), boot.clone());
            tokio::spawn(async move {
                for count in 0.. {
                    let group = (writer * 7 + count) % GROUPS;
                    let payload = format!("{node}/{boot}/{writer}/{count}");
                    // What was not acknowledged is not tried again.
                    if handles[group as usize].propose(Bytes::from(payload.clone())).await.is_ok() {
                        println!("ok {} {payload}", group + 1);
                    }
                }
            });
        }
        host.stopped().await
    });
}

struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(node: u64, boot: u64, directory: &Path, peers: &Peers) -> Self {
        let addresses: Vec<_> = peers.values().map(ToString::to_string).collect();
        let role = format!("{node} {boot} {} {}", directory.display(), addresses.join(" "));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::process", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            // A line that was cut by the kill has no end, and is none.
            let mut stdout = stdout;
            loop {
                let mut line = String::new();
                match stdout.read_line(&mut line) {
                    Ok(1..) if line.ends_with('\n') => drop(sender.send(line)),
                    Ok(_) | Err(_) => return,
                }
            }
        });
        Self { child, lines }
    }

    fn await_ready(&self) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if self.lines.recv_timeout(Duration::from_secs(20)).unwrap().contains("ready") {
                return;
            }
        }
        panic!("a process does not become ready");
    }

    /// `kill -9`; what was acknowledged until then.
    fn kill(mut self) -> Vec<(u64, String)> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let acknowledged = |line: String| {
            let mut words = line.trim().strip_prefix("ok ")?.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        };
        self.lines.iter().filter_map(acknowledged).collect()
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_any_group() {
    let peers: Peers = (1..).map(NodeId).zip(free_addresses(3)).collect();
    let dirs: Vec<_> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let start = |node: u64, boot| Process::start(node, boot, dirs[node as usize - 1].path(), &peers);
    let mut acknowledged: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut note = |lines: Vec<(u64, String)>| {
        let count = lines.len();
        for (group, payload) in lines {
            acknowledged.entry(group).or_default().push(payload);
        }
        count
    };
    for round in 0..2 {
        let mut processes: Vec<_> = (1..=3).map(|node| start(node, 2 * round)).collect();
        processes.iter().for_each(Process::await_ready);
        std::thread::sleep(Duration::from_millis(1_500));
        // One of them, which leads a third of the groups or so, and comes back.
        let first = processes.remove(0);
        let count = note(first.kill());
        assert!(count > 50, "only {count} were acknowledged before the kill");
        std::thread::sleep(Duration::from_millis(1_000));
        processes.push(start(1, 2 * round + 1));
        processes.last().unwrap().await_ready();
        std::thread::sleep(Duration::from_millis(1_500));
        // All of them at once.
        let counts: Vec<usize> = processes.into_iter().map(|process| note(process.kill())).collect();
        assert!(counts.iter().all(|&count| count > 50), "{counts:?} were acknowledged");
    }
    assert_eq!(acknowledged.len() as u64, GROUPS, "every group had its share");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut hosts = Vec::new();
        for node in 1..=3 {
            hosts.push(open(node, dirs[node as usize - 1].path(), &peers).await);
        }
        for (&group, payloads) in &acknowledged {
            let unique: BTreeSet<_> = payloads.iter().collect();
            assert_eq!(unique.len(), payloads.len());
            for (host, handles) in &hosts {
                let handle = &handles[group as usize - 1];
                within(Duration::from_secs(20), handle.barrier()).await.unwrap();
                for payload in payloads {
                    let found = handle.query(Bytes::from(payload.clone())).await.unwrap();
                    assert_eq!(number(&found), 1, "{payload} in group {group} on {}", host.node());
                }
            }
        }
    });
    let total: usize = acknowledged.values().map(Vec::len).sum();
    println!("{total} acknowledged writes in {GROUPS} groups are all there");
    std::io::stdout().flush().unwrap();
}
