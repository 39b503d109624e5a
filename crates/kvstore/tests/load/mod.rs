//! Clients that write without pause, remember every acknowledgement, and never say anything twice; and the account of it.
//!
//! Each write is a transaction that nothing guards: if it took effect twice, two revisions would tell.

use futures::{StreamExt, stream};
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::request_op::Request;
use kvstore::proto::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// The longest that a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much the audit asks at once.
const QUESTIONS: usize = 32;

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) value: String,
    pub(crate) revision: i64,
    pub(crate) answered: Instant,
}

/// What one client knows.
#[derive(Debug, Default)]
struct Account {
    acknowledged: Vec<Acknowledged>,
    /// Writes of which nobody said what became of them.
    unknown: BTreeSet<String>,
}

/// The endpoints that clients use now.
pub(crate) type Endpoints = Arc<Mutex<Vec<String>>>;

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Account>>,
}

impl Load {
    pub(crate) fn start(clients: usize, endpoints: &Endpoints) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number| tokio::spawn(client(number, Arc::clone(endpoints), Arc::clone(&stop)));
        Self { clients: (0..clients).map(client).collect(), stop }
    }

    /// Stops it; every acknowledged write, and those that may have taken effect.
    pub(crate) async fn finish(self) -> (Vec<Acknowledged>, BTreeSet<String>) {
        self.stop.store(true, Relaxed);
        let mut all = Account::default();
        for client in self.clients {
            let Account { acknowledged, unknown } = client.await.unwrap();
            let is_ordered = acknowledged.windows(2).all(|pair| pair[0].revision < pair[1].revision);
            assert!(is_ordered, "a later write was acknowledged at an earlier revision");
            all.acknowledged.extend(acknowledged);
            all.unknown.extend(unknown);
        }
        (all.acknowledged, all.unknown)
    }
}

fn put(key: String, value: &str) -> RequestOp {
    let request = PutRequest { key: key.into(), value: value.to_owned().into(), ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(request)) }
}

async fn client(number: usize, endpoints: Endpoints, stop: Arc<AtomicBool>) -> Account {
    let mut account = Account::default();
    let mut clients: BTreeMap<String, KvClient<Channel>> = BTreeMap::new();
    let mut at = number;
    for count in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let url = {
            let endpoints = endpoints.lock().unwrap();
            endpoints[at % endpoints.len()].clone()
        };
        let connect = || KvClient::new(Channel::from_shared(url.clone()).unwrap().connect_lazy());
        let kv = clients.entry(url.clone()).or_insert_with(connect);
        let value = format!("{number}/{count}");
        let success = vec![put("total".into(), &value), put(format!("by/{number}"), &value)];
        let request = TxnRequest { success, ..TxnRequest::default() };
        match tokio::time::timeout(PATIENCE, kv.txn(request)).await {
            Ok(Ok(reply)) => {
                let revision = reply.into_inner().header.unwrap().revision;
                account.acknowledged.push(Acknowledged { value, revision, answered: Instant::now() });
            }
            Ok(Err(_)) | Err(_) => {
                account.unknown.insert(value);
                at += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    account
}

/// Nothing lost, nothing twice: every revision from `first` on was made by one write, which somebody asked for, and each
/// acknowledged one is where it was acknowledged. Returns the last revision.
pub(crate) async fn audit(
    url: &str,
    first: i64,
    acknowledged: &[Acknowledged],
    unknown: &BTreeSet<String>,
) -> i64 {
    let kv = KvClient::connect(url.to_owned()).await.unwrap();
    let total = |revision| {
        let (mut kv, key) = (kv.clone(), "total".into());
        async move {
            let request = RangeRequest { key, revision, ..RangeRequest::default() };
            (revision, kv.range(request).await.unwrap().into_inner())
        }
    };
    let last = total(0).await.1.header.unwrap().revision;
    let mut made: BTreeMap<String, i64> = BTreeMap::new();
    let mut all = stream::iter(first..=last).map(total).buffered(QUESTIONS);
    while let Some((revision, reply)) = all.next().await {
        let entry =
            reply.kvs.first().unwrap_or_else(|| panic!("{url}: nothing was written up to {revision}"));
        assert_eq!(entry.mod_revision, revision, "{url}: revision {revision} was made by somebody else");
        assert_eq!(entry.version, revision - first + 1);
        let value = String::from_utf8(entry.value.to_vec()).unwrap();
        if let Some(before) = made.insert(value.clone(), revision) {
            panic!("{url}: {value} took effect twice, at {before} and {revision}");
        }
    }
    for write in acknowledged {
        let found = made.remove(&write.value);
        assert_eq!(
            found,
            Some(write.revision),
            "{url}: {} was acknowledged at {}",
            write.value,
            write.revision
        );
    }
    for value in made.keys() {
        assert!(unknown.contains(value), "{url}: nobody asked for {value}, or it was refused for certain");
    }
    last
}

/// The longest time without an answer between two moments.
pub(crate) fn longest_gap(acknowledged: &[Acknowledged], from: Instant, to: Instant) -> Duration {
    let within = acknowledged.iter().map(|write| write.answered).filter(|at| (from..to).contains(at));
    let mut moments: Vec<Instant> = within.chain([from, to]).collect();
    moments.sort_unstable();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
