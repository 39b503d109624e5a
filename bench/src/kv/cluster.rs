//! Server processes on free loopback ports, in a directory on a real disk; killed and removed in any case.

use super::grpc::{self, AskStatus, Connection, Put, PutAnswer, Status};
use super::load;
use crate::process;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a cluster may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// What is started.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// The name in the tables.
    pub(super) name: &'static str,
    /// The program.
    pub(super) program: PathBuf,
    /// How many of them.
    pub(super) members: usize,
    /// What they agree by.
    pub(super) algorithm: Algorithm,
    /// Its arguments, for one member.
    pub(super) arguments: fn(&Member<'_>) -> Vec<String>,
}

/// What a cluster agrees by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Raft,
    Multipaxos,
    Benor,
    Pbft,
}

impl Algorithm {
    /// As the command line of `kvstore` has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Multipaxos => "multipaxos",
            Self::Benor => "benor",
            Self::Pbft => "pbft",
        }
    }

    /// Whether one member leads the others.
    const fn has_leader(self) -> bool {
        !matches!(self, Self::Benor)
    }
}

/// One member, as its command line needs to know it.
pub(super) struct Member<'a> {
    /// Counted from 1.
    pub(super) id: usize,
    /// What it agrees by.
    pub(super) algorithm: Algorithm,
    /// Its own directory.
    pub(super) directory: &'a Path,
    /// Where clients connect, for each member in order.
    pub(super) clients: &'a [SocketAddr],
    /// Where peers connect, for each member in order.
    pub(super) peers: &'a [SocketAddr],
    /// The public keys of all, as a flag names them; empty where members have none.
    pub(super) keys: &'a str,
}

impl Member<'_> {
    /// The file of its secret key.
    pub(super) fn secret(&self) -> PathBuf {
        self.directory.with_extension("key")
    }

    /// Where clients of this member connect.
    pub(super) fn client(&self) -> String {
        self.clients.get(self.id - 1).map(ToString::to_string).unwrap_or_default()
    }

    /// Where peers of this member connect.
    pub(super) fn peer(&self) -> String {
        self.peers.get(self.id - 1).map(ToString::to_string).unwrap_or_default()
    }
}

/// A running cluster.
pub(super) struct Cluster {
    algorithm: Algorithm,
    directory: PathBuf,
    members: Vec<Running>,
}

struct Running {
    child: Child,
    client: SocketAddr,
    log: PathBuf,
}

impl Cluster {
    /// Starts the members below `root` and waits until each of them knows a leader and one write is acknowledged.
    pub(super) async fn start(server: &Server, root: &Path) -> Result<Self> {
        let directory = root.join(format!("{}-{}", server.name, std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let (clients, peers) = (free_ports(server.members)?, free_ports(server.members)?);
        fs::create_dir_all(&directory)?;
        let keys =
            if server.algorithm == Algorithm::Pbft { make_keys(server, &directory)? } else { String::new() };
        let algorithm = server.algorithm;
        let mut cluster = Self { algorithm, directory: directory.clone(), members: Vec::new() };
        for id in 1..=server.members {
            let own = directory.join(format!("m{id}"));
            fs::create_dir_all(&own).with_context(|| format!("could not create {}", own.display()))?;
            let member =
                Member { id, algorithm, directory: &own, clients: &clients, peers: &peers, keys: &keys };
            let log = directory.join(format!("m{id}.log"));
            let output = File::create(&log)?;
            let child = Command::new(&server.program)
                .args((server.arguments)(&member))
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output)
                .spawn()
                .with_context(|| format!("could not start {}", server.program.display()))?;
            let client = *clients.get(id - 1).context("too few ports")?;
            cluster.members.push(Running { child, client, log });
        }
        cluster.wait_until_ready().await.with_context(|| format!("{} did not come up", server.name))?;
        Ok(cluster)
    }

    /// Where clients of the members that still run connect.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.members.iter().map(|member| member.client)
    }

    /// CPU seconds of all members so far.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        self.members.iter().map(|member| process::cpu_seconds(member.child.id())).sum()
    }

    /// The peak memory of each member, in bytes.
    pub(super) fn peak_memory(&self) -> Result<Vec<u64>> {
        self.members.iter().map(|member| process::peak_memory(member.child.id())).collect()
    }

    /// The process ids of the members, for a profiler.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }

    /// Kills the leader as `kill -9` does, and forgets it; where nobody leads, the first. Returns the moment of the kill.
    pub(super) async fn kill_leader(&mut self) -> Result<Instant> {
        let mut leader = (!self.algorithm.has_leader()).then_some(0);
        for (place, member) in self.members.iter().enumerate() {
            let status = status(member.client).await?;
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                leader = Some(place);
            }
        }
        let place = leader.context("no member says that it leads")?;
        let mut member = self.members.remove(place);
        let moment = Instant::now();
        member.child.kill()?;
        member.child.wait()?;
        Ok(moment)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let missing = match self.ready().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            for member in &mut self.members {
                if let Some(status) = member.child.try_wait()? {
                    bail!("a server ended early ({status}); its output ends with:\n{}", tail(&member.log));
                }
            }
            if Instant::now() > deadline {
                let log = self.members.first().map(|member| tail(&member.log)).unwrap_or_default();
                bail!(
                    "still not ready after {START_TIMEOUT:?}: {missing:#}; the first one's output ends with:\n{log}"
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ready(&self) -> Result<()> {
        for member in &self.members {
            let status = status(member.client).await?;
            ensure!(
                status.leader != 0 || !self.algorithm.has_leader(),
                "{} knows no leader yet",
                member.client
            );
            let connection = Connection::open(member.client).await?;
            let put = Put { key: "bench/ready".into(), value: load::value(8) };
            let _: PutAnswer = tokio::time::timeout(CALL_TIMEOUT, connection.call(grpc::PUT, &put)).await??;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have ended by itself; either way it must not outlive the measurement.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
        if std::env::var_os("BENCH_KEEP").is_none_or(|value| value.is_empty()) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

async fn status(address: SocketAddr) -> Result<Status> {
    let ask = async {
        let connection = Connection::open(address).await?;
        connection.call(grpc::STATUS, &AskStatus {}).await
    };
    tokio::time::timeout(CALL_TIMEOUT, ask).await?
}

/// A key for each member, beside its directory; the public ones as a flag names them.
fn make_keys(server: &Server, directory: &Path) -> Result<String> {
    let make = |id: usize| -> Result<String> {
        let file = directory.join(format!("m{id}.key"));
        let output = Command::new(&server.program).args(["key", "new"]).arg(&file).output()?;
        ensure!(output.status.success(), "no key was made: {}", String::from_utf8_lossy(&output.stderr));
        Ok(format!("{id}={}", String::from_utf8(output.stdout)?.trim()))
    };
    Ok((1..=server.members).map(make).collect::<Result<Vec<_>>>()?.join(","))
}

/// So many ports that were free a moment ago.
fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<Vec<TcpListener>>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?)
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
}
