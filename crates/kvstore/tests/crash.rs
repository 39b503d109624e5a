//! `kill -9` under load from clients that remember every acknowledgement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod cluster;

use cluster::Cluster;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kvstore::proto::etcdserverpb::{HashKvRequest, PutRequest, RangeRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
const CLIENTS: usize = 12;
/// One test after the other: each wants the machine for itself.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A write that was acknowledged.
struct Acknowledged {
    key: String,
    value: String,
    revision: i64,
    asked: Instant,
    answered: Instant,
}

struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Acknowledged>>>,
}

impl Load {
    fn start(phase: &'static str, urls: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS)
            .map(|number| {
                tokio::spawn(client(format!("{phase}/{number}"), urls.to_vec(), number, Arc::clone(&stop)))
            })
            .collect();
        Self { stop, clients }
    }

    async fn finish(self) -> Vec<Acknowledged> {
        self.stop.store(true, Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            let acknowledged = client.await.unwrap();
            let in_order = acknowledged.windows(2).all(|pair| pair[0].revision < pair[1].revision);
            assert!(in_order, "a later write was acknowledged at an earlier revision");
            all.extend(acknowledged);
        }
        all
    }
}

/// Writes one key after the other; after an error it turns to the next member. What was not acknowledged is not tried again.
/// Now and then another member is asked for what was just acknowledged: if it answers at all, it must know.
async fn client(name: String, urls: Vec<String>, mut at: usize, stop: Arc<AtomicBool>) -> Vec<Acknowledged> {
    let connect = |url: &String| KvClient::new(Channel::from_shared(url.clone()).unwrap().connect_lazy());
    let mut members: Vec<_> = urls.iter().map(connect).collect();
    let count = members.len();
    let mut acknowledged = Vec::new();
    for number in 1.. {
        if stop.load(Relaxed) {
            break;
        }
        let (key, value) = (format!("{name}/{number}"), format!("value {number} of {name}"));
        let request =
            PutRequest { key: key.clone().into(), value: value.clone().into(), ..PutRequest::default() };
        let asked = Instant::now();
        let Ok(reply) = members[at % count].put(request).await else {
            at += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let revision = reply.into_inner().header.unwrap().revision;
        let answered = Instant::now();
        if number % 4 == 0 {
            let request = RangeRequest { key: key.clone().into(), ..RangeRequest::default() };
            if let Ok(reply) = members[(at + 1) % count].range(request).await {
                let found = reply.into_inner().kvs;
                assert!(found.len() == 1 && found[0].value == value, "{key} was acknowledged and not read");
            }
        }
        acknowledged.push(Acknowledged { key, value, revision, asked, answered });
    }
    acknowledged
}

/// Each member must have every acknowledged write, as it was acknowledged.
async fn check(cluster: &Cluster, acknowledged: &[Acknowledged]) {
    let mut digests = Vec::new();
    let mut revision = 0;
    for url in cluster.urls() {
        let channel = Channel::from_shared(url.clone()).unwrap().connect().await.unwrap();
        let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(256 << 20);
        let everything = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
        let found = kv.range(everything).await.unwrap_or_else(|status| {
            let logs: Vec<String> = (0..cluster.urls().len()).map(|index| cluster.log(index)).collect();
            panic!("{url}: {status}\n{}", logs.join("\n----\n"))
        });
        let found = found.into_inner();
        for write in acknowledged {
            let place = found.kvs.binary_search_by(|kv| kv.key.as_ref().cmp(write.key.as_bytes()));
            let Ok(place) = place else {
                panic!("{url} lost {}, acknowledged at {}", write.key, write.revision)
            };
            let kv = &found.kvs[place];
            assert_eq!(
                (&kv.value[..], kv.mod_revision),
                (write.value.as_bytes(), write.revision),
                "{}",
                write.key
            );
        }
        revision = found.header.unwrap().revision.max(revision);
    }
    // What a member had been asked for before it was killed may still come to be: all answer for the same revision.
    for url in cluster.urls() {
        let channel = Channel::from_shared(url.clone()).unwrap().connect().await.unwrap();
        let known = RangeRequest { key: "\0".into(), ..RangeRequest::default() };
        KvClient::new(channel.clone()).range(known).await.unwrap();
        let hash =
            MaintenanceClient::new(channel).hash_kv(HashKvRequest { revision }).await.unwrap().into_inner();
        digests.push(hash.hash);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the members differ");
}

fn gap(writes: &[Acknowledged], killed: Instant) -> Duration {
    let after = writes.iter().filter(|write| write.asked >= killed);
    after.map(|write| write.answered).min().expect("service resumes") - killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_any_algorithm() {
    let _alone = ALONE.lock().await;
    for algorithm in ["raft", "multipaxos", "pbft"] {
        nothing_acknowledged_is_lost(algorithm).await;
    }
}

async fn nothing_acknowledged_is_lost(algorithm: &str) {
    let election_timeout = ELECTION_TIMEOUT.as_millis().to_string();
    // Small enough that each member takes several snapshots, and that the killed leader comes back to one.
    let flags = [
        "--algorithm",
        algorithm,
        "--election-timeout-ms",
        &election_timeout,
        "--heartbeat-interval-ms",
        "50",
        "--snapshot-after-bytes",
        "65536",
    ];
    let mut cluster = if algorithm == "pbft" {
        let mut cluster = Cluster::of_its_own(4, &flags);
        cluster.make_keys();
        cluster
    } else {
        Cluster::new(3, &flags)
    };
    cluster.start_all();
    let leader = cluster.leader().await;

    let load = Load::start("leader", &cluster.urls());
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let killed = Instant::now();
    cluster.kill(leader);
    tokio::time::sleep(4 * ELECTION_TIMEOUT).await;
    let mut acknowledged = load.finish().await;
    let gap = gap(&acknowledged, killed);
    println!("{algorithm}: leader killed after {} writes; service resumed after {gap:?}", acknowledged.len());
    assert!(
        acknowledged.iter().filter(|write| write.answered < killed).count() > 100,
        "no load before the kill"
    );
    assert!(gap <= 2 * ELECTION_TIMEOUT, "service resumed only after {gap:?}");
    cluster.start(leader);
    check(&cluster, &acknowledged).await;

    let load = Load::start("all", &cluster.urls());
    tokio::time::sleep(Duration::from_millis(1000)).await;
    cluster.kill_all();
    let before = acknowledged.len();
    acknowledged.extend(load.finish().await);
    println!("all killed after {} more writes", acknowledged.len() - before);
    assert!(acknowledged.len() > before + 30, "no load before the kill");
    cluster.start_all();
    check(&cluster, &acknowledged).await;
    for index in 0..cluster.urls().len() {
        assert!(!cluster.log(index).contains("panicked"), "{}", cluster.log(index));
    }
}

/// Whichever member is killed, those who ask the others are served as if nothing had happened: nobody has to be elected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_leads_the_end_of_a_member_is_no_gap() {
    let _alone = ALONE.lock().await;
    let election_timeout = ELECTION_TIMEOUT.as_millis().to_string();
    let flags = [
        "--algorithm",
        "benor",
        "--election-timeout-ms",
        &election_timeout,
        "--snapshot-after-bytes",
        "65536",
    ];
    let mut cluster = Cluster::new(3, &flags);
    cluster.start_all();
    let mut acknowledged = Vec::new();
    for victim in 0..3 {
        let load = Load::start(["first", "second", "third"][victim], &cluster.urls());
        tokio::time::sleep(Duration::from_millis(1000)).await;
        let killed = Instant::now();
        cluster.kill(victim);
        tokio::time::sleep(2 * ELECTION_TIMEOUT).await;
        let writes = load.finish().await;
        let gap = gap(&writes, killed);
        println!("member {victim} killed; of {} writes one was answered after {gap:?}", writes.len());
        assert!(
            writes.iter().filter(|write| write.answered < killed).count() > 100,
            "no load before the kill"
        );
        assert!(gap < ELECTION_TIMEOUT / 2, "the next write took {gap:?}");
        acknowledged.extend(writes);
        cluster.start(victim);
        check(&cluster, &acknowledged).await;
    }
    let load = Load::start("all", &cluster.urls());
    tokio::time::sleep(Duration::from_millis(1000)).await;
    cluster.kill_all();
    acknowledged.extend(load.finish().await);
    cluster.start_all();
    check(&cluster, &acknowledged).await;
    for index in 0..3 {
        assert!(!cluster.log(index).contains("panicked"), "{}", cluster.log(index));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_its_own_loses_nothing() {
    let _alone = ALONE.lock().await;
    let mut cluster = Cluster::new(1, &["--snapshot-after-bytes", "65536"]);
    cluster.start_all();
    let mut acknowledged = Vec::new();
    for phase in ["first", "second"] {
        let load = Load::start(phase, &cluster.urls());
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.kill(0);
        let before = acknowledged.len();
        acknowledged.extend(load.finish().await);
        assert!(acknowledged.len() > before + 50, "no load before the kill");
        cluster.start(0);
        check(&cluster, &acknowledged).await;
    }
}
