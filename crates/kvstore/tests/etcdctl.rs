//! An unmodified `etcdctl` against each of three members. Without it the test says so and passes, except in CI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod cluster;

use cluster::Cluster;
use std::io::Write;
use std::process::{Command, Stdio};

struct Etcdctl {
    endpoint: String,
}

impl Etcdctl {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint]).args(args);
        command
    }

    /// What it prints on success, trimmed.
    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What it prints on failure.
    fn fail(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(!output.status.success(), "{args:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn txn(&self, script: &str) -> String {
        let mut child = self.command(&["txn"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn is_installed() -> bool {
    if Command::new("etcdctl").arg("version").env("ETCDCTL_API", "3").output().is_ok() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have etcdctl: apt-get install etcd-client");
    eprintln!("SKIPPED: no `etcdctl` on the PATH (Debian: apt-get install etcd-client)");
    false
}

fn all_members(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn etcdctl_works_with_any_of_three_members() {
    if !is_installed() {
        return;
    }
    let mut cluster = Cluster::new(3, &[]);
    cluster.start_all();
    let leader = cluster.leader().await;
    for index in 0..3 {
        let ctl = Etcdctl { endpoint: cluster.endpoint(index) };
        let other = Etcdctl { endpoint: cluster.endpoint((index + 1) % 3) };
        reads_and_writes(&ctl, &other);
        transactions(&ctl);
        compaction(&ctl);
        errors(&ctl);
    }
    let all = Etcdctl { endpoint: (0..3).map(|i| cluster.endpoint(i)).collect::<Vec<_>>().join(",") };
    let members = all_members(3, |i| {
        let peer =
            all.run(&["member", "list"]).lines().nth(i).unwrap().split(", ").nth(3).unwrap().to_owned();
        // Of the others a member knows the addresses for peers only, unless it is told.
        let client = if i == 0 { format!("http://{}", cluster.endpoint(0)) } else { String::new() };
        format!("{}, started, n{}, {peer}, {client}, false", i + 1, i + 1)
    });
    assert_eq!(Etcdctl { endpoint: cluster.endpoint(0) }.run(&["member", "list"]), members);
    let status = all.run(&["endpoint", "status"]);
    for (index, line) in status.lines().enumerate() {
        let is_leader = index == leader;
        let expected = format!("{}, {}, 3.4.0, ", cluster.endpoint(index), index + 1);
        assert!(line.starts_with(&expected) && line.contains(&format!(", {is_leader}, false, ")), "{line}");
    }
    // Health goes to stderr.
    assert!(all.command(&["endpoint", "health"]).output().unwrap().status.success());
    let hashes = all.run(&["endpoint", "hashkv"]);
    let mut digests: Vec<_> = hashes.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    digests.dedup();
    assert_eq!(digests.len(), 1, "the members differ: {hashes}");
    for index in 0..3 {
        assert!(cluster.terminate(index).success(), "{}", cluster.log(index));
        assert_eq!(cluster.log(index).matches("panicked").count(), 0);
    }
}

fn reads_and_writes(ctl: &Etcdctl, other: &Etcdctl) {
    assert_eq!(ctl.run(&["put", "fruit/apple", "red"]), "OK");
    assert_eq!(ctl.run(&["put", "fruit/pear", "green"]), "OK");
    assert_eq!(ctl.run(&["put", "fruits", "no fruit"]), "OK");
    // What one member acknowledged, the next one reads.
    assert_eq!(other.run(&["get", "fruit/apple"]), "fruit/apple\nred");
    assert_eq!(other.run(&["get", "--prefix", "fruit/"]), "fruit/apple\nred\nfruit/pear\ngreen");
    assert_eq!(
        ctl.run(&["get", "--prefix", "fruit/", "--keys-only", "--order", "DESCEND", "--limit", "1"]),
        "fruit/pear"
    );
    assert_eq!(
        ctl.run(&["get", "fruit/", "fruit~", "--keys-only", "-w", "fields"]).lines().last(),
        Some("\"Count\" : 3")
    );
    assert_eq!(ctl.run(&["get", "fruit/pear", "--consistency", "s"]), "fruit/pear\ngreen");
    assert_eq!(ctl.run(&["put", "--prev-kv", "fruit/pear", "ripe"]), "OK\nfruit/pear\ngreen");
    assert_eq!(ctl.run(&["del", "--prefix", "fruit"]), "3");
    assert_eq!(other.run(&["get", "--prefix", "fruit"]), "");
}

fn transactions(ctl: &Etcdctl) {
    ctl.run(&["put", "account", "10"]);
    let script = "value(\"account\") = \"10\"\n\nput account 9\nget account\n\nget account\n\n";
    assert_eq!(ctl.txn(script), "SUCCESS OK account 9");
    assert_eq!(ctl.txn(script), "FAILURE account 9");
    assert_eq!(ctl.txn("version(\"account\") > \"1\"\n\ndel account\n\n\n"), "SUCCESS 1");
}

fn compaction(ctl: &Etcdctl) {
    ctl.run(&["put", "page", "first"]);
    let written = ctl.run(&["put", "page", "second", "-w", "json"]);
    let revision: i64 = between(&written, "\"revision\":", ",").parse().unwrap();
    let (before, now) = ((revision - 1).to_string(), revision.to_string());
    assert_eq!(ctl.run(&["get", "page", "--rev", &before]), "page\nfirst");
    assert_eq!(ctl.run(&["compaction", &now]), format!("compacted revision {now}"));
    assert!(
        ctl.fail(&["get", "page", "--rev", &before])
            .contains("etcdserver: mvcc: required revision has been compacted")
    );
    assert!(
        ctl.fail(&["compaction", &now]).contains("etcdserver: mvcc: required revision has been compacted")
    );
    assert_eq!(ctl.run(&["get", "page"]), "page\nsecond");
}

fn errors(ctl: &Etcdctl) {
    assert!(
        ctl.fail(&["get", "a", "--rev", "999999"])
            .contains("etcdserver: mvcc: required revision is a future revision")
    );
    assert!(ctl.fail(&["get", ""]).contains("etcdserver: key is not provided"));
    assert!(ctl.fail(&["put", "missing", "--ignore-value"]).contains("etcdserver: key not found"));
    assert!(ctl.fail(&["put", "a", "b", "--lease=123"]).contains("etcdserver: requested lease not found"));
    assert!(ctl.fail(&["lease", "grant", "10"]).contains("LeaseGrant is not built in yet"));
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let rest = &text[text.find(before).unwrap() + before.len()..];
    &rest[..rest.find(after).unwrap()]
}
