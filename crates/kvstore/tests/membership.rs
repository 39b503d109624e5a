//! The members through an unmodified `etcdctl`: what it prints, beside a real etcd; and who is let in, and who is not.

use crate::cluster::{Cluster, Etcdctl, is_installed};
use crate::reference;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Exits with this who must not be started again.
const REMOVED: i32 = 3;

/// One of the two that are compared: a cluster of one.
struct Side {
    ctl: Etcdctl,
    /// What its output says that the other's cannot say alike, and what stands for it.
    names: Vec<(String, &'static str)>,
}

impl Side {
    fn new(endpoint: String) -> Self {
        let mut side = Self { ctl: Etcdctl { endpoint }, names: Vec::new() };
        let listed = side.ctl.run(&["member", "list", "-w", "fields"]);
        let field = |name: &str| {
            let line = listed.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().trim_matches('"').to_owned()
        };
        let hex = |number: String| format!("{:x}", number.parse::<u64>().unwrap());
        let (cluster, member) = (hex(field("\"ClusterID\"")), hex(field("\"MemberID\"")));
        side.names = vec![
            (field("\"ClientURL\""), "CLIENT"),
            (field("\"PeerURL\""), "PEER"),
            (field("\"Name\""), "NAME"),
            (cluster, "CLUSTER"),
            (member, "SELF"),
        ];
        side
    }

    fn id(&self, of: &str) -> String {
        self.names.iter().rfind(|(_, stands)| *stands == of).unwrap().0.clone()
    }

    /// What it prints, or its error, with the names of this side replaced.
    fn says(&mut self, words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words
            .iter()
            .map(
                |word| {
                    if ["SELF", "NEW", "PEER"].contains(word) { self.id(word) } else { (*word).to_owned() }
                },
            )
            .map(|word| word.replace("=PEER", &format!("={}", self.names[1].0)))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = self.ctl.try_run(&words);
        if words[..2] == ["member", "add"]
            && let Ok(text) = &said
        {
            let id = text.strip_prefix("Member ").unwrap().split_whitespace().next().unwrap();
            self.names.push((id.to_owned(), "NEW"));
        }
        let said = said.map_err(|error| error.lines().last().unwrap_or_default().to_owned());
        let spoken = |text: String| {
            let lines = text.lines().map(|line| self.replace(line));
            let mut lines: Vec<String> = lines.collect();
            // The members are in the order of their ids, which are random there.
            if words[..2] == ["member", "list"] {
                lines.sort();
            }
            lines.join("\n")
        };
        said.map(&spoken).map_err(&spoken)
    }

    /// Ids are words of their own; ours are short.
    fn replace(&self, line: &str) -> String {
        if let Some(list) = line.strip_prefix("ETCD_INITIAL_CLUSTER=\"") {
            let mut list: Vec<_> = list.trim_end_matches('"').split(',').map(|one| self.words(one)).collect();
            list.sort();
            return format!("ETCD_INITIAL_CLUSTER={}", list.join(","));
        }
        self.words(line)
    }

    fn words(&self, line: &str) -> String {
        // Short ids are filled up.
        let line = &line.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_inside = |c: char| !(c.is_whitespace() || c == ',' || c == '=' || c == '"');
        let mut said = String::new();
        let mut rest = line.as_str();
        while !rest.is_empty() {
            let end = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let name = self.names.iter().find(|(name, _)| name == word).map(|(_, stands)| *stands);
            said.push_str(name.unwrap_or(word));
            let mut others = after.chars();
            said.extend(others.next());
            rest = others.as_str();
        }
        said
    }
}

#[tokio::test]
async fn raft_says_of_members_what_a_real_etcd_says() {
    compare_members_with_etcd("raft").await;
}

#[tokio::test]
async fn multipaxos_says_of_members_what_a_real_etcd_says() {
    compare_members_with_etcd("multipaxos").await;
}

async fn compare_members_with_etcd(algorithm: &str) {
    if !is_installed("etcdctl", "etcd-client") || !is_installed("etcd", "etcd-server") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let etcd = reference::start(directory.path()).await.unwrap();
    let mut cluster = Cluster::of_its_own(1, &["--algorithm", algorithm]);
    cluster.start_all();
    cluster.leader().await;
    let begin = Instant::now();
    // It tells where its clients reach it soon after it has started.
    while !cluster.ctl(0).run(&["member", "list"]).contains(", started, ") {
        assert!(begin.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut sides =
        [Side::new(etcd.client_url.trim_start_matches("http://").into()), Side::new(cluster.endpoint(0))];
    // What is changed comes last: etcd 3.4 forgets with an update that a member has no vote.
    let scripts: [&[&str]; 22] = [
        &["member", "list"],
        &["member", "add", "four", "--learner", "--peer-urls=http://127.0.0.1:1"],
        &["member", "list"],
        &["member", "add", "five", "--learner", "--peer-urls=http://127.0.0.1:1"],
        &["member", "add", "five", "--peer-urls=http://127.0.0.1:1"],
        &["member", "add", "five", "--peer-urls=PEER"],
        &["member", "add", "five", "--learner", "--peer-urls=http://127.0.0.1:2"],
        &["member", "add", "five", "--learner", "--peer-urls=nonsense"],
        &["member", "promote", "NEW"],
        &["member", "promote", "SELF"],
        &["member", "promote", "777"],
        &["member", "promote", "no-id"],
        &["member", "update", "NEW", "--peer-urls=PEER"],
        &["member", "update", "777", "--peer-urls=http://127.0.0.1:5"],
        &["move-leader", "777"],
        &["member", "remove", "777"],
        &["member", "remove", "no-id"],
        &["member", "remove", "NEW"],
        &["member", "remove", "NEW"],
        &["member", "list"],
        &["member", "add", "six", "--learner", "--peer-urls=http://127.0.0.1:6"],
        &["member", "update", "NEW", "--peer-urls=http://127.0.0.1:3,http://127.0.0.1:4"],
    ];
    let mut differences = Vec::new();
    for words in scripts {
        let [theirs, ours] = sides.each_mut().map(|side| side.says(words));
        if words[..2] == ["member", "add"] && theirs.is_ok() {
            // Its ids are made of addresses and seconds.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        if ours != theirs {
            differences.push(format!("{words:?}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Why a member does not start, or has stopped; and its exit code.
fn complaint(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Somebody who wants to join and was not added.
fn stranger(cluster: &Cluster, number: u16) -> Command {
    let mut command = Command::new(crate::cluster::KVSTORE);
    command.args(["serve", "--listen-client", "127.0.0.1:0", "--data"]);
    command.arg(cluster.data(0).with_extension(format!("stranger{number}")));
    command.args(["--join", &cluster.peer(0), "--advertise-peer", &format!("127.0.0.1:{number}")]);
    command
}

async fn listed(cluster: &Cluster, through: usize, what: &str) {
    let begin = Instant::now();
    while !cluster.ctl(through).run(&["member", "list"]).contains(what) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test]
async fn raft_lets_nobody_in_who_is_no_member_and_says_why() {
    refuse_strangers("raft").await;
}

#[tokio::test]
async fn multipaxos_lets_nobody_in_who_is_no_member_and_says_why() {
    refuse_strangers("multipaxos").await;
}

async fn refuse_strangers(algorithm: &str) {
    if !is_installed("etcdctl", "etcd-client") {
        return;
    }
    let mut cluster = Cluster::of_its_own(3, &["--algorithm", algorithm, "--election-timeout-ms", "500"]);
    cluster.start_all();
    cluster.leader().await;
    let ctl = cluster.ctl(0);
    ctl.run(&["put", "k", "v"]);
    listed(&cluster, 0, "3, started, n3").await;

    let not_added = stranger(&cluster, 1).args(cluster.own_flags()).stderr(Stdio::piped()).spawn().unwrap();

    // A learner serves what needs no vote, and says what it is.
    let learner = cluster.add(0, &["--learner"]).unwrap();
    cluster.start(learner);
    let own = cluster.ctl(learner);
    listed(&cluster, learner, &format!("started, new{learner}")).await;
    assert!(own.run(&["endpoint", "status"]).contains(", false, true, "), "no leader, a learner");
    assert_eq!(own.run(&["get", "k", "--consistency", "s"]), "k\nv");
    let begin = Instant::now();
    while let Err(error) = ctl.try_run(&["member", "promote", &cluster.hex_id(learner)]) {
        assert!(error.contains("which is in sync with leader"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    listed(&cluster, learner, &format!("http://{}, false", cluster.endpoint(learner))).await;

    // A second directory for the same id: the first has it for ever.
    let at = cluster.data(learner);
    cluster.kill(learner);
    std::fs::rename(&at, at.with_extension("kept")).unwrap();
    let (code, text) = complaint(cluster.command(learner));
    assert!(
        code == Some(1) && text.contains("has been started before, with another data directory"),
        "{text}"
    );
    std::fs::remove_dir_all(&at).unwrap();
    std::fs::rename(at.with_extension("kept"), &at).unwrap();
    cluster.start(learner);
    cluster.leader().await;

    // A founder that has lost its directory.
    cluster.destroy(2);
    let (code, text) = complaint(cluster.command(2));
    assert!(code == Some(1) && text.contains("member n3 has been started before"), "{text}");

    // It is removed; it learns of that at its next start, under any of its directories.
    let other = cluster.command(2);
    ctl.run(&["member", "remove", "3"]);
    let (code, text) = complaint(other);
    assert!(code == Some(REMOVED) && text.contains("member n3 was removed from the cluster"), "{text}");
    // The newcomer was away while it was removed.
    cluster.kill(learner);
    ctl.run(&["member", "remove", &cluster.hex_id(learner)]);
    cluster.start_bare(learner);
    assert_eq!(cluster.exit_code(learner).await, Some(REMOVED), "{}", cluster.log(learner));
    assert!(cluster.log(learner).contains("was removed from"), "{}", cluster.log(learner));

    // Who belongs elsewhere, and who was not added: that takes a while to be certain.
    let mut elsewhere = stranger(&cluster, 2);
    elsewhere.args(["--cluster-id", "7"]);
    let (code, text) = complaint(elsewhere);
    assert!(code == Some(1) && text.contains("belongs to another cluster"), "{text}");
    let (code, text) = (not_added.wait_with_output().unwrap(), "the cluster knows no newcomer that listens");
    let told = String::from_utf8_lossy(&code.stderr).into_owned();
    assert!(code.status.code() == Some(1) && told.contains(text), "{told}");
    assert_eq!(ctl.run(&["get", "k"]), "k\nv");
}
