//! Four members of whom one lies, over real sockets: the others go on serving linearizable reads and writes, and a client that
//! believes no single member is not deceived.

use crate::attacker::{self, FORGED, Orders};
use crate::cluster::{Cluster, KVSTORE, finished};
use crate::http::get;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kvstore::proto::etcdserverpb::{HashKvRequest, PutRequest, RangeRequest};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const TIMEOUT_MS: u64 = 400;
const CLIENTS: usize = 6;
const KEYS: usize = 3;
/// What a client waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lying member: a process that this program starts as itself.
#[tokio::test]
async fn attacker_process() {
    attacker::run_if_told().await;
}

/// Members 1 to 4, of whom 1, the first primary, is the attacker; the others run.
fn besieged() -> Cluster {
    let timeout = TIMEOUT_MS.to_string();
    let flags = ["--algorithm", "pbft", "--election-timeout-ms", &timeout];
    let mut cluster = Cluster::of_its_own(4, &flags);
    let keys = cluster.make_keys();
    let orders = Orders {
        id: 1,
        cluster: cluster.number(),
        timeout_ms: TIMEOUT_MS,
        peers: (0..4).map(|index| cluster.peer(index)).collect(),
        keys,
        secret: cluster.key(0),
        data: cluster.data(0),
        clients: cluster.endpoint(0),
    };
    let mut attacker = Command::new(std::env::current_exe().unwrap());
    attacker.args(["byzantine::attacker_process", "--exact", "--nocapture"]);
    attacker.env(attacker::ORDERS, orders.encode()).stdout(Stdio::null());
    cluster.run_instead(0, attacker);
    for index in 1..4 {
        cluster.start(index);
    }
    cluster
}

#[derive(Clone, Debug)]
struct Call {
    key: usize,
    /// What was written; none for a read.
    written: Option<String>,
    /// What was found, or the revision that was made; none if nobody knows what came of it.
    outcome: Option<(i64, String)>,
    began: Instant,
    ended: Instant,
}

/// Writes and reads a few keys, through one correct member after the other.
async fn client(number: usize, urls: Vec<String>, stop: Arc<AtomicBool>) -> Vec<Call> {
    let connect = |url: &String| KvClient::new(Channel::from_shared(url.clone()).unwrap().connect_lazy());
    let mut members: Vec<_> = urls.iter().map(connect).collect();
    let count = members.len();
    let mut calls = Vec::new();
    for round in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let kv = &mut members[(number + round) % count];
        let key = (number + round) % KEYS;
        let name = format!("key {key}");
        let began = Instant::now();
        let (written, outcome) = if round % 2 == 0 {
            let value = format!("{number}/{round}");
            let put = PutRequest { key: name.into(), value: value.clone().into(), ..PutRequest::default() };
            let made = tokio::time::timeout(PATIENCE, kv.put(put)).await.ok().and_then(Result::ok);
            let made = made.map(|made| (made.into_inner().header.unwrap().revision, value.clone()));
            (Some(value), made)
        } else {
            let range = RangeRequest { key: name.into(), ..RangeRequest::default() };
            let found = tokio::time::timeout(PATIENCE, kv.range(range)).await.ok().and_then(Result::ok);
            let value = |found: &kvstore::proto::mvccpb::KeyValue| {
                (found.mod_revision, String::from_utf8(found.value.to_vec()).unwrap())
            };
            (None, found.map(|found| found.into_inner().kvs.first().map(value).unwrap_or_default()))
        };
        calls.push(Call { key, written, outcome, began, ended: Instant::now() });
    }
    calls
}

/// Revisions are one order of all writes. It is one that explains what every client saw, and keeps to the time of the calls.
fn assert_linearizable(calls: &[Call], key: usize) {
    let calls: Vec<&Call> = calls.iter().filter(|call| call.key == key).collect();
    let known = |call: &&&Call| call.outcome.is_some();
    let revision = |call: &Call| call.outcome.as_ref().map_or(0, |(revision, _)| *revision);
    for read in calls.iter().filter(known).filter(|call| call.written.is_none()) {
        let (found, value) = read.outcome.as_ref().unwrap();
        let writer = calls.iter().find(|call| call.written.as_ref() == Some(value));
        match writer {
            Some(writer) => {
                assert!(writer.began <= read.ended, "{value} was read before anybody wrote it");
                let made = writer.outcome.as_ref().map_or(*found, |(revision, _)| *revision);
                assert_eq!(made, *found, "{value} was read at another revision than it was written");
            }
            None => assert!(*found == 0 && value.is_empty(), "{value:?} was read, and nobody wrote it"),
        }
    }
    for later in calls.iter().filter(known) {
        for earlier in calls.iter().filter(known).filter(|earlier| earlier.ended < later.began) {
            let (before, after) = (revision(earlier), revision(later));
            let is_in_order = if later.written.is_some() { before < after } else { before <= after };
            assert!(is_in_order, "{later:?} does not see {earlier:?}");
        }
    }
}

#[test]
#[should_panic(expected = "does not see")]
fn a_read_of_the_past_would_be_noticed() {
    let begin = Instant::now();
    let call = |from: u64, written: Option<&str>, revision, value: &str| Call {
        key: 0,
        written: written.map(str::to_owned),
        outcome: Some((revision, value.into())),
        began: begin + Duration::from_secs(from),
        ended: begin + Duration::from_secs(from + 1),
    };
    let honest = [call(0, Some("a"), 2, "a"), call(2, Some("b"), 3, "b"), call(4, None, 3, "b")];
    assert_linearizable(&honest, 0);
    assert_linearizable(&[&honest[..2], &[call(4, None, 2, "a")]].concat(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_liar_of_four_reads_and_writes_stay_linearizable() {
    let mut cluster = besieged();
    let urls = cluster.urls().split_off(1);
    let stop = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS).map(|number| tokio::spawn(client(number, urls.clone(), Arc::clone(&stop))));
    let clients: Vec<_> = clients.collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Without it three are no quorum, and the liar may be the primary again; then it comes back with what it had signed.
    cluster.kill(2);
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.start(2);
    let returned = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    stop.store(true, Relaxed);
    let mut calls = Vec::new();
    for client in clients {
        calls.extend(client.await.unwrap());
    }
    let answered =
        |from: Instant| calls.iter().filter(|call| call.began >= from && call.outcome.is_some()).count();
    let all = calls.iter().filter(|call| call.outcome.is_some()).count();
    assert!(
        all >= 50 && answered(returned) >= 10,
        "{all} calls were answered, {} at last",
        answered(returned)
    );
    (0..KEYS).for_each(|key| assert_linearizable(&calls, key));
    // The correct ones hold the same, and know who lies.
    let mut digests = Vec::new();
    for url in &urls {
        let channel = Channel::from_shared(url.clone()).unwrap().connect().await.unwrap();
        let everything = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
        KvClient::new(channel.clone()).range(everything).await.unwrap();
        let hash = HashKvRequest {
            revision: calls.iter().filter_map(|call| Some(call.outcome.as_ref()?.0)).max().unwrap(),
        };
        digests.push(MaintenanceClient::new(channel).hash_kv(hash).await.unwrap().into_inner().hash);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the correct members differ");
    // The door says so of what is malformed, and the protocol of what it finds.
    let accused = (1..4).filter(|&index| cluster.log(index).contains(" the protocol peer=n1"));
    assert!(accused.count() >= 2, "nobody noticed: {}", cluster.log(1));
    assert_proven(&cluster);
}

/// Whoever has the keys can check that the liar lied, and slander is found.
fn assert_proven(cluster: &Cluster) {
    let shown = (1..4).map(|index| get(&cluster.endpoint(index), "/evidence").2);
    let shown = shown.filter(|lines| !lines.is_empty()).collect::<Vec<_>>().concat();
    assert!(!shown.is_empty(), "nobody has proof");
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("evidence");
    let check = |text: &str, number: u64| {
        std::fs::write(&place, text).unwrap();
        let mut command = Command::new(KVSTORE);
        command.arg("evidence").arg(&place).args(["--member-keys", cluster.public_keys()]);
        let output = finished(command.args(["--cluster-id", &number.to_string()]));
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (is_proven, said) = check(&shown, cluster.number());
    assert!(is_proven && said.lines().all(|line| line.starts_with("proven: n1 signed two")), "{said}");
    let (is_proven, said) = check(&shown, cluster.number() + 1);
    assert!(!is_proven && said.contains("line 1: it proves nothing"), "{said}");
    // The first byte names the member.
    let slander = format!("02{}", &shown[2..]);
    assert!(!check(&slander, cluster.number()).0);
    for nonsense in ["", "xyz", "00", "ffff"] {
        assert!(!check(nonsense, cluster.number()).0, "{nonsense:?}");
    }
}

fn kvstore(args: &[&str], endpoints: &str) -> Result<String, String> {
    let output = finished(Command::new(KVSTORE).args(args).args(["--endpoints", endpoints]));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn a_client_that_asks_all_is_not_deceived_and_one_that_asks_one_is() {
    let cluster = besieged();
    let all = (0..4).map(|index| cluster.endpoint(index)).collect::<Vec<_>>().join(",");
    // Who asks the liar alone believes it.
    assert_eq!(kvstore(&["put", "a", "lost"], &cluster.endpoint(0)), Ok("OK".into()));
    assert_eq!(kvstore(&["get", "a"], &cluster.endpoint(0)), Ok(format!("a\n{FORGED}")));
    // Of f+1 who say the same one is correct.
    let agree = ["--agree", "2"];
    assert_eq!(kvstore(&[&["put", "a", "kept"][..], &agree].concat(), &all), Ok("OK".into()));
    assert_eq!(kvstore(&[&["get", "a"][..], &agree].concat(), &all), Ok("a\nkept".into()));
    assert_eq!(
        kvstore(&["get", "a"], &cluster.endpoint(3)),
        Ok("a\nkept".into()),
        "it was written once, for all"
    );
    assert_eq!(kvstore(&[&["del", "a"][..], &agree].concat(), &all), Ok("1".into()));
    // Nobody can be outvoted by one who is asked twice as loud: two answers of two members are needed.
    let liar = cluster.endpoint(0);
    let error = kvstore(&[&["get", "a"][..], &agree].concat(), &liar).unwrap_err();
    assert!(error.contains("name more --endpoints"), "{error}");
}

#[test]
fn where_each_member_would_carry_it_out_a_request_to_all_is_refused() {
    let mut cluster = Cluster::of_its_own(3, &[]);
    cluster.start_all();
    let all = (0..3).map(|index| cluster.endpoint(index)).collect::<Vec<_>>().join(",");
    let error = kvstore(&["put", "a", "thrice", "--agree", "2"], &all).unwrap_err();
    assert!(error.contains("does not support this request"), "{error}");
    assert_eq!(kvstore(&["get", "a"], &all), Ok(String::new()), "nothing was written");
}
