//! Replicas are replaced while clients write: every original one is gone at the end, and the account of all writes is exact.

use crate::cluster::{Cluster, is_installed};
use crate::load::{Acknowledged, Endpoints, Load, audit, longest_gap};
use kvstore::proto::etcdserverpb::cluster_client::ClusterClient;
use kvstore::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kvstore::proto::etcdserverpb::{HashKvRequest, HashRequest, Member, MemberListRequest};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;
const FLAGS: [&str; 6] =
    ["--election-timeout-ms", "500", "--heartbeat-interval-ms", "50", "--snapshot-after-bytes", "65536"];
/// Longer than a busy machine holds anybody up, so that leadership moves only when it is asked to.
const LONG_TIMEOUT: Duration = Duration::from_secs(2);

struct Scene {
    cluster: Cluster,
    endpoints: Endpoints,
}

impl Scene {
    fn new(count: usize, flags: &[&str]) -> Self {
        let mut cluster = Cluster::of_its_own(count, flags);
        cluster.start_all();
        let scene = Self { cluster, endpoints: Arc::new(Mutex::new(Vec::new())) };
        scene.share();
        scene
    }

    /// Clients use those who run.
    fn share(&self) {
        let urls = self.cluster.running().into_iter().map(|index| self.cluster.url(index));
        *self.endpoints.lock().unwrap() = urls.collect();
    }

    /// Does it through any member that runs, until it works: while nobody leads, it cannot.
    fn insist<T>(&mut self, what: &str, act: impl Fn(&mut Cluster, usize) -> Result<T, String>) -> T {
        let begin = Instant::now();
        for number in 0.. {
            let running = self.cluster.running();
            let through = running[number % running.len()];
            match act(&mut self.cluster, through) {
                Ok(done) => return done,
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(30), "{what}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        unreachable!()
    }

    /// Adds a member as a user of etcd would, starts it with what was printed, and waits for its vote.
    async fn add(&mut self) -> usize {
        let new = self.insist("member add", |cluster, through| cluster.add(through, &[]));
        self.cluster.start(new);
        self.share();
        let id = self.cluster.id(new);
        self.listed("the newcomer has a vote", |members| {
            members.iter().any(|member| member.id == id && !member.is_learner && !member.name.is_empty())
        })
        .await;
        new
    }

    fn remove(&mut self, old: usize) {
        self.insist("member remove", |cluster, through| {
            let (id, ctl) = (cluster.hex_id(old), cluster.ctl(through));
            // An attempt of which nobody heard may have done it.
            match ctl.try_run(&["member", "remove", &id]) {
                Ok(_) => Ok(()),
                Err(error) if error.contains("member not found") => Ok(()),
                Err(error) => Err(error),
            }
        });
    }

    /// Waits until every running member lists what it should.
    async fn listed(&self, what: &str, holds: impl Fn(&[Member]) -> bool) {
        let begin = Instant::now();
        for index in self.cluster.running() {
            loop {
                let list = async {
                    let mut client = ClusterClient::connect(self.cluster.url(index)).await.ok()?;
                    Some(
                        client
                            .member_list(MemberListRequest { linearizable: false })
                            .await
                            .ok()?
                            .into_inner()
                            .members,
                    )
                };
                if list.await.is_some_and(|members| holds(&members)) {
                    break;
                }
                assert!(begin.elapsed() < Duration::from_secs(30), "{what}\n{}", self.cluster.log(index));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Everybody has the same keys, the same members, and every acknowledged write.
    async fn check(&self, acknowledged: &[Acknowledged], unknown: &BTreeSet<String>) {
        let mut seen = Vec::new();
        for index in self.cluster.running() {
            let url = self.cluster.url(index);
            let revision = audit(&url, 2, acknowledged, unknown).await;
            let mut maintenance = MaintenanceClient::connect(url.clone()).await.unwrap();
            let keys = maintenance.hash_kv(HashKvRequest { revision }).await.unwrap().into_inner().hash;
            let all = maintenance.hash(HashRequest {}).await.unwrap().into_inner().hash;
            let mut cluster = ClusterClient::connect(url).await.unwrap();
            let list =
                cluster.member_list(MemberListRequest { linearizable: true }).await.unwrap().into_inner();
            seen.push((revision, keys, all, list.members));
            assert!(!self.cluster.log(index).contains("panicked"), "{}", self.cluster.log(index));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "the members differ: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_is_replaced_under_load_and_no_write_is_lost_or_done_twice() {
    // One after the other: each wants the machine for itself.
    for algorithm in ["raft", "multipaxos"] {
        replace_every_replica(algorithm).await;
    }
}

async fn replace_every_replica(algorithm: &str) {
    if !is_installed("etcdctl", "etcd-client") {
        return;
    }
    let mut scene = Scene::new(3, &[&["--algorithm", algorithm], &FLAGS[..]].concat());
    let leader = scene.cluster.leader().await;
    let load = Load::start(CLIENTS, &scene.endpoints);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut spans = Vec::new();
    // First the leader, then a follower, then the last founder; then one of those who came.
    let followers: Vec<usize> = (0..3).filter(|&index| index != leader).collect();
    let rounds = [Some(leader), Some(followers[0]), Some(followers[1]), None];
    for (round, victim) in rounds.into_iter().enumerate() {
        let victim = match victim {
            Some(victim) => victim,
            // Whoever leads now.
            None => scene.cluster.leader().await,
        };
        let began = Instant::now();
        scene.cluster.destroy(victim);
        scene.share();
        // The newcomer first, as long as there are enough others; or the dead one goes first, as etcd wants it.
        let new = if round % 2 == 0 {
            let new = scene.add().await;
            scene.remove(victim);
            new
        } else {
            scene.remove(victim);
            scene.add().await
        };
        spans.push((began, Instant::now()));
        println!(
            "round {round}: member {} for {} in {:?}",
            scene.cluster.id(new),
            scene.cluster.id(victim),
            began.elapsed()
        );
    }
    let alive = scene.cluster.running();
    assert!(alive.len() == 3 && alive.iter().all(|&index| index > 2), "founders are left: {alive:?}");
    let (acknowledged, unknown) = load.finish().await;
    let gaps: Vec<Duration> = spans.iter().map(|&(from, to)| longest_gap(&acknowledged, from, to)).collect();
    println!(
        "{} writes acknowledged, {} of unknown outcome; longest gaps {gaps:?}",
        acknowledged.len(),
        unknown.len()
    );
    assert!(acknowledged.len() > 300, "hardly any load: {}", acknowledged.len());
    let ids: Vec<u64> = alive.iter().map(|&index| scene.cluster.id(index)).collect();
    scene
        .listed("only the newcomers", |members| {
            members.iter().map(|member| member.id).eq(ids.iter().copied())
        })
        .await;
    scene.check(&acknowledged, &unknown).await;

    // None of them was there at the birth: each remembers where the others are.
    scene.cluster.kill_all();
    for &index in &alive {
        scene.cluster.start_bare(index);
    }
    for &index in &alive {
        scene.cluster.await_ready(index);
    }
    scene.cluster.leader().await;
    scene.check(&acknowledged, &unknown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_under_load_and_no_write_is_lost_or_done_twice() {
    // One after the other: each wants the machine for itself.
    for algorithm in ["raft", "multipaxos"] {
        move_leadership(algorithm).await;
    }
}

async fn move_leadership(algorithm: &str) {
    if !is_installed("etcdctl", "etcd-client") {
        return;
    }
    let timeout_ms = LONG_TIMEOUT.as_millis().to_string();
    let mut scene = Scene::new(3, &["--algorithm", algorithm, "--election-timeout-ms", &timeout_ms]);
    let mut leader = scene.cluster.leader().await;
    let load = Load::start(CLIENTS, &scene.endpoints);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
    for _ in 0..6 {
        let target = (leader + 1) % 3;
        let began = Instant::now();
        let id = scene.cluster.hex_id(target);
        let said = scene.cluster.ctl(leader).run(&["move-leader", &id]);
        slowest = slowest.max(began.elapsed());
        let expected = format!("Leadership transferred from {} to {id}", scene.cluster.hex_id(leader));
        assert_eq!(said, expected);
        leader = scene.cluster.leader().await;
        assert_eq!(leader, target, "answered when leadership had moved");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let end = Instant::now();
    let (acknowledged, unknown) = load.finish().await;
    let gap = longest_gap(&acknowledged, begin, end);
    println!(
        "{} writes acknowledged, {} of unknown outcome; slowest answer {slowest:?}, longest gap {gap:?}",
        acknowledged.len(),
        unknown.len()
    );
    assert!(gap < LONG_TIMEOUT, "no write for {gap:?}");
    scene.check(&acknowledged, &unknown).await;
    scene.cluster.kill_all();
}
