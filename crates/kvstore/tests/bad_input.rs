//! Wrong flags, wrong directories, damaged files, taken ports: a clear error, an exit code, never a panic.

use crate::cluster::{Cluster, KVSTORE, finished, free_ports};
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::{PutRequest, RangeRequest};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The command must fail and say all of `texts`.
fn refuses(command: &mut Command, texts: &[&str]) {
    let output = finished(command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{:?}\n{stderr}", output.status);
    assert!(output.stdout.is_empty(), "not ready: {}", String::from_utf8_lossy(&output.stdout));
    // Help is wrapped to the width of the terminal.
    let flat = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in texts {
        assert!(flat.contains(text), "{text:?} is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn serve(args: &[&str]) -> Command {
    let mut command = Command::new(KVSTORE);
    command.arg("serve").args(args);
    command
}

#[test]
fn keys_are_checked_before_anything_is_touched() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mut public = Vec::new();
    for name in ["1", "2"] {
        let made = finished(Command::new(KVSTORE).args(["key", "new", &place(name)]));
        public.push(String::from_utf8(made.stdout).unwrap().trim().to_owned());
    }
    let shown = finished(Command::new(KVSTORE).args(["key", "public", &place("1")]));
    assert_eq!(String::from_utf8(shown.stdout).unwrap().trim(), public[0]);
    refuses(
        Command::new(KVSTORE).args(["key", "new", &place("1")]),
        &["exists already", "a stranger to the others"],
    );
    let peers = "1=127.0.0.1:7001,2=127.0.0.1:7002";
    let (data, keys) = (place("data"), format!("1={},2={}", public[0], public[1]));
    let with = |args: &[&str]| {
        let mut command =
            serve(&["--data", &data, "--listen-client", "127.0.0.1:0", "--id", "1", "--peers", peers]);
        command.args(["--algorithm", "pbft"]).args(args);
        command
    };
    let (one, two) = (place("1"), place("2"));
    refuses(&mut with(&[]), &["give --secret-key and --member-keys", "kvstore key new"]);
    refuses(&mut with(&["--secret-key", &one]), &["--member-keys"]);
    refuses(
        &mut with(&["--secret-key", &two, "--member-keys", &keys]),
        &["does not belong to the public key of n1"],
    );
    let alone = format!("1={}", public[0]);
    refuses(
        &mut with(&["--secret-key", &one, "--member-keys", &alone]),
        &["those of 1, and the members are 1, 2"],
    );
    let shared = format!("1={},2={}", public[0], public[0]);
    refuses(
        &mut with(&["--secret-key", &one, "--member-keys", &shared]),
        &["n1 and n2 have the same public key"],
    );
    let weak = format!("1={},2=01{}", public[0], "00".repeat(31));
    refuses(&mut with(&["--secret-key", &one, "--member-keys", &weak]), &["n2 is not a usable ed25519 key"]);
    refuses(&mut with(&["--secret-key", &one, "--member-keys", "1=xyz"]), &["is no public key"]);
    refuses(
        &mut with(&["--secret-key", &place("3"), "--member-keys", &keys]),
        &["--secret-key cannot be used"],
    );
    std::fs::set_permissions(&one, std::fs::Permissions::from_mode(0o644)).unwrap();
    refuses(
        &mut with(&["--secret-key", &one, "--member-keys", &keys]),
        &["can be read by others", "chmod 600"],
    );
    assert!(!Path::new(&data).exists(), "nothing was touched");
}

#[test]
fn flags_are_checked_before_anything_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let peers = "1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003";
    let with = |args: &[&str]| {
        let mut command = serve(&["--data", data, "--listen-client", "127.0.0.1:0"]);
        command.args(args);
        command
    };
    refuses(&mut serve(&[]), &["--data <DIR>"]);
    refuses(&mut with(&[]), &["has not been used yet", "--id and --peers begin a new one", "--join"]);
    refuses(&mut with(&["--id", "1"]), &["--id and --peers begin a new one"]);
    refuses(&mut with(&["--peers", peers]), &["--id must say which of --peers"]);
    refuses(&mut with(&["--id", "0", "--peers", peers]), &["--id", "0"]);
    refuses(&mut with(&["--id", "4", "--peers", peers]), &["--id 4 is not among --peers: add 4=HOST:PORT"]);
    refuses(&mut with(&["--id", "1", "--peers", "127.0.0.1:7001"]), &["write ID=ADDRESS"]);
    refuses(&mut with(&["--id", "1", "--peers", "x=127.0.0.1:7001"]), &["is not a number"]);
    refuses(&mut with(&["--id", "1", "--peers", "0=127.0.0.1:7001"]), &["numbered from 1"]);
    refuses(&mut with(&["--id", "1", "--peers", "1=7001"]), &["give HOST:PORT"]);
    refuses(
        &mut with(&["--id", "1", "--peers", "1=127.0.0.1:7001,1=127.0.0.1:7002"]),
        &["names member 1 twice"],
    );
    refuses(
        &mut with(&["--id", "1", "--peers", "1=127.0.0.1:7001,2=127.0.0.1:7001"]),
        &["share 127.0.0.1:7001"],
    );
    refuses(&mut with(&["--id", "1", "--peers", "1=127.0.0.1:0"]), &["port 0"]);
    refuses(&mut with(&["--id", "1", "--peers", peers, "--cluster-id", "0"]), &["--cluster-id"]);
    refuses(
        &mut with(&["--id", "1", "--peers", peers, "--quota-bytes", "9999999999999"]),
        &["--quota-bytes"],
    );
    refuses(&mut with(&["--id", "1", "--peers", peers, "--advertise-client", "h:1"]), &["give a URL"]);
    let twice = ["--id", "1", "--peers", peers, "--advertise-client", "http://h:1,http://h:1"];
    refuses(&mut with(&twice), &["--advertise-client names too many URLs, or one of them twice"]);
    refuses(&mut with(&["--id", "1", "--peers", peers, "--name", ""]), &["--name", "give 1 to 255 bytes"]);
    refuses(&mut with(&["--join", "127.0.0.1:7001", "--peers", peers]), &["cannot be used with"]);
    refuses(&mut with(&["--join", "7001"]), &["give HOST:PORT"]);
    refuses(&mut with(&["--join", "127.0.0.1:7001"]), &["where peers reach this member: --advertise-peer"]);
    let printed = "d=http://127.0.0.1:7004,a=http://127.0.0.1:7001";
    refuses(&mut with(&["--initial-cluster", "http://127.0.0.1:7001"]), &["write NAME=URL"]);
    refuses(&mut with(&["--initial-cluster", "a=https://127.0.0.1:7001"]), &["give http://HOST:PORT"]);
    refuses(&mut with(&["--initial-cluster", printed]), &["--advertise-peer"]);
    refuses(
        &mut with(&["--initial-cluster", printed, "--initial-cluster-state", "new"]),
        &["a new cluster begins with --id and --peers"],
    );
    refuses(&mut with(&["--id", "1", "--peers", peers, "--listen-peer", "nowhere"]), &["give HOST:PORT"]);
    refuses(
        &mut with(&[
            "--id",
            "1",
            "--peers",
            peers,
            "--election-timeout-ms",
            "100",
            "--heartbeat-interval-ms",
            "60",
        ]),
        &["election_timeout_ms", "more than twice"],
    );
    refuses(
        &mut with(&["--id", "1", "--peers", peers, "--election-timeout-ms", "1e3"]),
        &["--election-timeout-ms"],
    );
    refuses(
        &mut with(&["--id", "1", "--peers", peers, "--profile", "ap"]),
        &["profile ap is not built in yet", "--profile cp"],
    );
    refuses(
        &mut with(&["--id", "1", "--peers", peers, "--profile", "ca"]),
        &["profile ca is not built in yet"],
    );
    refuses(&mut with(&["--id", "1", "--peers", peers, "--profile", "xy"]), &["choose cp, ca or ap"]);
    refuses(
        &mut with(&["--id", "1", "--peers", peers, "--algorithm", "paxos"]),
        &["choose raft, multipaxos, pbft or benor"],
    );
    let dev = |args: &[&str]| {
        let mut command = Command::new(KVSTORE);
        command.arg("dev").args(args);
        command
    };
    refuses(&mut dev(&["--replicas", "0"]), &["--replicas"]);
    refuses(&mut dev(&["--listen-client", "127.0.0.1:65535", "--data", data]), &["no 2 ports follow"]);
    assert!(!Path::new(data).exists(), "a refused command made the data directory");
}

#[test]
fn a_taken_port_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let free = format!("1=127.0.0.1:{}", free_ports(1)[0]);
    let mut command = serve(&["--id", "1", "--peers", &free, "--data", data, "--listen-client", &taken]);
    refuses(
        &mut command,
        &[
            &format!("cannot listen for clients at {taken}"),
            "another process has the port",
            "--listen-client",
        ],
    );
    let peers = format!("1={taken}");
    let mut command =
        serve(&["--id", "1", "--peers", &peers, "--data", data, "--listen-client", "127.0.0.1:0"]);
    refuses(&mut command, &[&format!("cannot listen for peers at {taken}"), "another process has the port"]);
}

#[test]
fn a_client_without_a_server_is_told_so() {
    let endpoint = format!("127.0.0.1:{}", free_ports(1)[0]);
    let mut command = Command::new(KVSTORE);
    command.args(["get", "k", "--endpoints", &endpoint]);
    refuses(&mut command, &[&format!("no member can be reached at {endpoint}")]);
}

/// A member of its own with some writes, stopped by `kill -9`.
async fn used() -> Cluster {
    let mut cluster = Cluster::new(1, &[]);
    cluster.start_all();
    let mut kv = KvClient::connect(cluster.urls()[0].clone()).await.unwrap();
    for number in 0..40 {
        let value = format!("needle {number} {}", "x".repeat(400));
        let request = PutRequest { key: "k".into(), value: value.into(), ..PutRequest::default() };
        kv.put(request).await.unwrap();
    }
    cluster.kill(0);
    cluster
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_member_of_one_cluster() {
    let mut cluster = used().await;
    refuses(cluster.command(0).args(["--cluster-id", "5"]), &["of cluster 1, not to node 1 of cluster 5"]);
    refuses(cluster.command(0).args(["--algorithm", "multipaxos"]), &["raft wrote it", "start it with raft"]);
    let data = cluster.data(0);
    let peers = format!("2=127.0.0.1:{}", free_ports(1)[0]);
    let mut other = serve(&["--id", "2", "--peers", &peers, "--listen-client", "127.0.0.1:0", "--data"]);
    refuses(other.arg(&data), &[data.to_str().unwrap(), "belongs to node 1 of cluster 1, not to node 2"]);
    // Two processes in one directory would write over each other.
    cluster.start(0);
    let peers = format!("1=127.0.0.1:{}", free_ports(1)[0]);
    let mut twin = serve(&["--id", "1", "--peers", &peers, "--listen-client", "127.0.0.1:0", "--data"]);
    refuses(twin.arg(&data), &[data.to_str().unwrap()]);
    let mut kv = KvClient::connect(cluster.urls()[0].clone()).await.unwrap();
    let found =
        kv.range(RangeRequest { key: "k".into(), ..RangeRequest::default() }).await.unwrap().into_inner();
    assert!(found.kvs[0].value.starts_with(b"needle 39 "), "refused starts left the data alone");
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_refused() {
    let cluster = Cluster::new(1, &[]);
    std::fs::write(cluster.data(0), "a file").unwrap();
    refuses(&mut cluster.command(0), &[cluster.data(0).to_str().unwrap()]);
}

#[tokio::test]
async fn a_damaged_segment_is_refused_by_name() {
    let cluster = used().await;
    let (path, mut bytes, place) = find(&cluster.data(0), b"needle 3 ");
    bytes[place] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    refuses(&mut cluster.command(0), &[path.file_name().unwrap().to_str().unwrap()]);
    // Nothing was repaired behind the operator's back.
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    bytes[place] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut cluster = cluster;
    cluster.start(0);
}

#[tokio::test]
async fn rubbish_on_the_wire_harms_nobody() {
    let mut cluster = used().await;
    cluster.start(0);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let endless_frame = [&preface[..], &[0xff; 200]].concat();
    let requests: [&[u8]; 5] =
        [b"", b"\0\0\0\0", b"GET /health HTTP/1.1\r\n\r\n", &endless_frame, &[0xff; 70_000]];
    for address in [cluster.endpoint(0), cluster.peer(0)] {
        for request in requests {
            let mut socket = std::net::TcpStream::connect(&address).unwrap();
            // The other side may hang up in the middle, as it should.
            let _ = socket.write_all(request);
        }
    }
    let mut kv = KvClient::connect(cluster.urls()[0].clone()).await.unwrap();
    let found = kv.range(RangeRequest { key: "k".into(), ..RangeRequest::default() }).await.unwrap();
    assert_eq!(found.into_inner().count, 1);
    assert!(cluster.terminate(0).success());
    assert!(!cluster.log(0).contains("panicked"), "{}", cluster.log(0));
}

/// The file that holds `needle`, its bytes, and where in it.
fn find(directory: &Path, needle: &[u8]) -> (PathBuf, Vec<u8>, usize) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if let Ok(bytes) = std::fs::read(&path)
            && let Some(place) = bytes.windows(needle.len()).position(|window| window == needle)
        {
            return (path, bytes, place);
        }
    }
    panic!("no file in {} holds {:?}", directory.display(), String::from_utf8_lossy(needle));
}
