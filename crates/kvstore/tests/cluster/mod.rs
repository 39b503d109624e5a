//! Real `kvstore serve` processes on free loopback ports and a temporary directory.
#![allow(dead_code, reason = "each test binary uses its part")]

use kvstore::proto::etcdserverpb::StatusRequest;
use kvstore::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) const KVSTORE: &str = env!("CARGO_BIN_EXE_kvstore");

/// `count` ports that are free at the moment, and that nobody is given until a member takes them: they lie below those that the
/// system gives to whoever asks for any.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at the same time begin elsewhere.
    let start = std::process::id().wrapping_mul(97);
    let candidates = std::iter::repeat_with(|| {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        u16::try_from(FIRST + offset).unwrap()
    });
    candidates.filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).take(count).collect()
}

/// What is not there is a reason to skip a test, except where `CI` is set.
pub(crate) fn is_installed(program: &str, package: &str) -> bool {
    if Command::new(program).arg("--version").env("ETCDCTL_API", "3").output().is_ok() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have {program}: apt-get install {package}");
    eprintln!("SKIPPED: no `{program}` on the PATH (Debian: apt-get install {package})");
    false
}

/// An unmodified `etcdctl`.
pub(crate) struct Etcdctl {
    pub(crate) endpoint: String,
}

impl Etcdctl {
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint]).args(args);
        command
    }

    /// What it prints on success, trimmed.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.try_run(args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// What it prints, trimmed, or what it complains of.
    pub(crate) fn try_run(&self, args: &[&str]) -> Result<String, String> {
        let output = self.command(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// What it prints on failure.
    pub(crate) fn fail(&self, args: &[&str]) -> String {
        self.try_run(args).expect_err("it must fail")
    }
}

pub(crate) struct Cluster {
    directory: tempfile::TempDir,
    founders: usize,
    peers: Vec<u16>,
    clients: Vec<u16>,
    flags: Vec<String>,
    /// The public keys of all, where members have keys.
    keys: String,
    members: Vec<Option<Child>>,
    /// Their ids; those of founders are one above their index.
    ids: Vec<u64>,
    /// What `etcdctl member add` printed for those who joined.
    printed: Vec<Vec<(String, String)>>,
}

impl Cluster {
    /// Members that are not running yet.
    pub(crate) fn new(count: usize, flags: &[&str]) -> Self {
        let mut ports = free_ports(2 * count);
        Self {
            directory: tempfile::tempdir().unwrap(),
            founders: count,
            clients: ports.split_off(count),
            peers: ports,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            keys: String::new(),
            members: (0..count).map(|_| None).collect(),
            ids: (1..=count as u64).collect(),
            printed: vec![Vec::new(); count],
        }
    }

    /// The same as a cluster of its own: whoever had our ports before does not belong to it.
    pub(crate) fn of_its_own(count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self::new(count, flags);
        let id = u64::from(std::process::id()) << 16 | u64::from(cluster.peers[0]);
        cluster.flags.extend(["--cluster-id".to_owned(), id.to_string()]);
        cluster
    }

    /// The number of the cluster.
    pub(crate) fn number(&self) -> u64 {
        self.flags.last().unwrap().parse().unwrap()
    }

    /// Makes a key for each founder, with which all are started from now on; returns the public ones.
    pub(crate) fn make_keys(&mut self) -> Vec<String> {
        let make = |index| {
            let output = finished(Command::new(KVSTORE).args(["key", "new"]).arg(self.key(index)));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let keys: Vec<String> = (0..self.founders).map(make).collect();
        let given = (1..).zip(&keys).map(|(id, key)| format!("{id}={key}"));
        self.keys = given.collect::<Vec<_>>().join(",");
        keys
    }

    /// The public keys of all, as flags name them.
    pub(crate) fn public_keys(&self) -> &str {
        &self.keys
    }

    /// The file of a member's secret key.
    pub(crate) fn key(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("key-{}", index + 1))
    }

    /// Runs something else in the place of a member.
    pub(crate) fn run_instead(&mut self, index: usize, mut command: Command) {
        let log = std::fs::File::create(self.log_path(index)).unwrap();
        self.members[index] = Some(command.stderr(log).spawn().unwrap());
    }

    /// What every member is started with.
    pub(crate) fn own_flags(&self) -> Vec<String> {
        self.flags.clone()
    }

    pub(crate) fn ctl(&self, index: usize) -> Etcdctl {
        Etcdctl { endpoint: self.endpoint(index) }
    }

    pub(crate) fn id(&self, index: usize) -> u64 {
        self.ids[index]
    }

    /// As `etcdctl` writes it.
    pub(crate) fn hex_id(&self, index: usize) -> String {
        format!("{:x}", self.ids[index])
    }

    /// The running members.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|&index| self.members[index].is_some()).collect()
    }

    /// `etcdctl member add`, through a member; the newcomer's index. It is not started.
    pub(crate) fn add(&mut self, through: usize, args: &[&str]) -> Result<usize, String> {
        let (index, ports) = (self.members.len(), free_ports(2));
        let url = format!("--peer-urls=http://127.0.0.1:{}", ports[0]);
        let name = format!("new{index}");
        let words = [&["member", "add", &name, &url], args].concat();
        let printed = self.ctl(through).try_run(&words)?;
        let id = printed.strip_prefix("Member ").unwrap().split_whitespace().next().unwrap();
        self.ids.push(u64::from_str_radix(id, 16).unwrap());
        let setting = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('"').to_owned()))
        };
        self.printed
            .push(printed.lines().filter(|line| line.starts_with("ETCD_")).filter_map(setting).collect());
        self.peers.push(ports[0]);
        self.clients.push(ports[1]);
        self.members.push(None);
        Ok(index)
    }

    /// `kill -9`, and its data are gone.
    pub(crate) fn destroy(&mut self, index: usize) {
        self.kill(index);
        std::fs::remove_dir_all(self.data(index)).unwrap();
    }

    /// The exit code of a member that ends of itself.
    pub(crate) async fn exit_code(&mut self, index: usize) -> Option<i32> {
        let mut child = self.members[index].take().unwrap();
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            if begin.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
                panic!("member {} does not end\n{}", self.ids[index], self.log(index));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn start_all(&mut self) {
        // All processes first: none waits for the others before it is ready.
        for index in 0..self.members.len() {
            self.spawn(index);
        }
        for index in 0..self.members.len() {
            self.await_ready(index);
        }
    }

    pub(crate) fn start(&mut self, index: usize) {
        self.spawn(index);
        self.await_ready(index);
    }

    pub(crate) fn data(&self, index: usize) -> PathBuf {
        self.directory.path().join((index + 1).to_string())
    }

    /// The command that runs a member.
    pub(crate) fn command(&self, index: usize) -> Command {
        let mut command = self.bare_command(index);
        if index < self.founders {
            let founders = self.peers.iter().take(self.founders).enumerate();
            let peers: Vec<_> = founders.map(|(i, port)| format!("{}=127.0.0.1:{port}", i + 1)).collect();
            command.args(["--id", &(index + 1).to_string(), "--peers", &peers.join(",")]);
        }
        if !self.keys.is_empty() {
            command.arg("--secret-key").arg(self.key(index)).args(["--member-keys", &self.keys]);
        }
        command.envs(self.printed[index].iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same for a data directory that was used before: nothing tells who the others are.
    pub(crate) fn bare_command(&self, index: usize) -> Command {
        let mut command = Command::new(KVSTORE);
        command
            .args(["serve", "--listen-client", &self.endpoint(index), "--data"])
            .arg(self.data(index))
            .args(&self.flags);
        command
    }

    /// Starts a member that must remember its cluster.
    pub(crate) fn start_bare(&mut self, index: usize) {
        let command = self.bare_command(index);
        self.spawn_command(index, command);
    }

    fn spawn(&mut self, index: usize) {
        let command = self.command(index);
        self.spawn_command(index, command);
    }

    fn spawn_command(&mut self, index: usize, mut command: Command) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path(index)).unwrap();
        let child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        self.members[index] = Some(child);
    }

    pub(crate) fn await_ready(&mut self, index: usize) {
        let child = self.members[index].as_mut().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains(" is ready: "), "member {} says {line:?}\n{}", index + 1, self.log(index));
    }

    fn log_path(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("log-{}", index + 1))
    }

    pub(crate) fn log(&self, index: usize) -> String {
        let mut text = String::new();
        std::fs::File::open(self.log_path(index)).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn endpoint(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.clients[index])
    }

    pub(crate) fn peer(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.peers[index])
    }

    pub(crate) fn url(&self, index: usize) -> String {
        format!("http://{}", self.endpoint(index))
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        (0..self.clients.len()).map(|index| self.url(index)).collect()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.members[index].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `kill -9` for all, before any of them is waited for.
    pub(crate) fn kill_all(&mut self) {
        for child in self.members.iter_mut().flatten() {
            child.kill().unwrap();
        }
        for index in 0..self.members.len() {
            self.kill(index);
        }
    }

    /// `kill -TERM`, and how the process ends.
    pub(crate) fn terminate(&mut self, index: usize) -> std::process::ExitStatus {
        let mut child = self.members[index].take().unwrap();
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        child.wait().unwrap()
    }

    /// The member that all running members take for the leader.
    pub(crate) async fn leader(&self) -> usize {
        let begin = Instant::now();
        loop {
            let mut leaders = Vec::new();
            for (index, url) in self.urls().into_iter().enumerate() {
                if self.members[index].is_some()
                    && let Ok(mut client) = MaintenanceClient::connect(url).await
                    && let Ok(status) = client.status(StatusRequest {}).await
                {
                    leaders.push(status.into_inner().leader);
                }
            }
            leaders.dedup();
            if let [leader] = leaders[..]
                && leader > 0
            {
                return self.ids.iter().position(|&id| id == leader).unwrap();
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "no leader: {leaders:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Runs a command that is expected to end by itself.
pub(crate) fn finished(command: &mut Command) -> Output {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}
