//! An unmodified `etcdctl` against each of three members. Without it the test says so and passes, except in CI.

use crate::cluster::{Cluster, Etcdctl, is_installed};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

fn txn(ctl: &Etcdctl, script: &str) -> String {
    let mut child = ctl.command(&["txn"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn all_members(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn etcdctl_works_with_any_of_three_members() {
    etcdctl_works("raft").await;
}

#[tokio::test]
async fn etcdctl_works_with_multipaxos() {
    etcdctl_works("multipaxos").await;
}

async fn etcdctl_works(algorithm: &str) {
    if !is_installed("etcdctl", "etcd-client") {
        return;
    }
    let mut cluster = Cluster::new(3, &["--algorithm", algorithm]);
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
        let (peer, client) = (cluster.peer(i), cluster.endpoint(i));
        format!("{}, started, n{}, http://{peer}, http://{client}, false", i + 1, i + 1)
    });
    for index in 0..3 {
        let ctl = Etcdctl { endpoint: cluster.endpoint(index) };
        // Each tells the others where its clients reach it, soon after it has started.
        for _ in 0..100 {
            if ctl.run(&["member", "list"]) == members {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(ctl.run(&["member", "list"]), members);
    }
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
    assert_eq!(txn(ctl, script), "SUCCESS OK account 9");
    assert_eq!(txn(ctl, script), "FAILURE account 9");
    assert_eq!(txn(ctl, "version(\"account\") > \"1\"\n\ndel account\n\n\n"), "SUCCESS 1");
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
