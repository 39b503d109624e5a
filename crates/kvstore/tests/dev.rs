//! `kvstore dev`: ready in two seconds, usable with the program's own client, and its data are kept if they are given a place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod cluster;

use cluster::{KVSTORE, finished};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The process, its endpoints, and its directory.
fn start(args: &[&str], within: &Path) -> (Child, String, String) {
    let begin = Instant::now();
    let mut command = Command::new(KVSTORE);
    command.arg("dev").args(["--listen-client", "127.0.0.1:0"]).args(args).current_dir(within);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ready = lines.next().expect("a line that says it is ready");
    assert!(begin.elapsed() < Duration::from_secs(2), "ready only after {:?}", begin.elapsed());
    let endpoints = ready.split_once(" are ready at ").unwrap().1.to_owned();
    let data = lines.next().unwrap();
    (child, endpoints, data.strip_prefix("data: ").unwrap().split(' ').next().unwrap().to_owned())
}

fn stop(mut child: Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

fn client(args: &[&str], endpoints: &str) -> String {
    let output = finished(Command::new(KVSTORE).args(args).args(["--endpoints", endpoints]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_cluster_in_one_process_keeps_its_data_where_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("kept");
    let (child, endpoints, told) = start(&["--data", data.to_str().unwrap()], directory.path());
    assert_eq!(Path::new(&told), data);
    let each: Vec<_> = endpoints.split(',').collect();
    assert_eq!(each.len(), 3);
    assert_eq!(client(&["put", "a/1", "one"], each[0]), "OK\n");
    assert_eq!(client(&["put", "a/2", "two"], each[1]), "OK\n");
    assert_eq!(client(&["get", "a/", "--prefix"], each[2]), "a/1\none\na/2\ntwo\n");
    assert_eq!(client(&["del", "a/1"], each[2]), "1\n");
    stop(child);
    let (child, endpoints, _) = start(&["--data", data.to_str().unwrap()], directory.path());
    assert_eq!(client(&["get", "a/", "--prefix"], &endpoints), "a/2\ntwo\n");
    stop(child);
}

#[test]
fn without_a_place_the_data_go_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (child, endpoints, told) = start(&["--replicas", "1"], directory.path());
    assert_eq!(client(&["put", "a", "one"], &endpoints), "OK\n");
    assert!(directory.path().join(&told).join("1").is_dir());
    stop(child);
    assert!(!directory.path().join(&told).exists());
}
