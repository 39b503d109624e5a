//! The services as a client sees them, over a group of one that decides at once, or refuses as it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use async_trait::async_trait;
use bytes::Bytes;
use consensus_core::{
    Change, ClusterId, Decision, Epoch, Members, NodeId, Refusal, Role, Slot, StateMachine, Status, Verdict,
};
use consensus_runtime::{Applied, Replicated, RequestError};
use kvstore::machine::{KvMachine, SharedStore};
use kvstore::proto::etcdserverpb::cluster_client::ClusterClient;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kvstore::proto::etcdserverpb::request_op::Request as Op;
use kvstore::proto::etcdserverpb::*;
use kvstore::server::{Api, ServerConfig};
use kvstore::validate::MAX_REQUEST_BYTES;
use std::sync::{Arc, Mutex};
use tonic::Code;
use tonic::transport::Channel;

/// Decides alone. With `broken` set it can do nothing but say so.
struct Alone {
    machine: Mutex<(Slot, KvMachine)>,
    broken: Mutex<Option<RequestError>>,
    barriers: Mutex<usize>,
}

impl Alone {
    fn check(&self) -> Result<(), RequestError> {
        self.broken.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Replicated for Alone {
    async fn propose(&self, payload: Bytes) -> Result<Applied, RequestError> {
        self.check()?;
        let mut machine = self.machine.lock().unwrap();
        machine.0 = machine.0.next();
        let slot = machine.0;
        let reply = machine.1.apply(Decision { slot, id: None, verdict: Verdict::Commit, payload: &payload });
        Ok(Applied { slot, reply })
    }

    async fn barrier(&self) -> Result<Slot, RequestError> {
        self.check()?;
        *self.barriers.lock().unwrap() += 1;
        Ok(self.applied())
    }

    async fn read(&self, request: Bytes) -> Result<Bytes, RequestError> {
        self.check()?;
        Ok(self.machine.lock().unwrap().1.query(&request))
    }

    fn status(&self) -> Status {
        let leader = self.check().is_ok().then_some(NodeId(7));
        let members = Members::of([NodeId(7)]);
        Status {
            role: Role::Leader,
            leader,
            epoch: Epoch(3),
            decided: self.applied(),
            members,
            blocked: vec![],
        }
    }

    fn applied(&self) -> Slot {
        self.machine.lock().unwrap().0
    }

    async fn reconfigure(&self, _change: Change) -> Result<Applied, RequestError> {
        Err(RequestError::Refused(Refusal::Unsupported))
    }

    async fn transfer(&self, _to: Option<NodeId>) -> Result<(), RequestError> {
        Err(RequestError::Refused(Refusal::Unsupported))
    }
}

struct Service {
    kv: KvClient<Channel>,
    channel: Channel,
    group: Arc<Alone>,
}

async fn serve_with_quota(quota_bytes: u64) -> Service {
    let store = SharedStore::new();
    let group = Arc::new(Alone {
        machine: Mutex::new((Slot::ZERO, KvMachine::new(store.clone()))),
        broken: Mutex::new(None),
        barriers: Mutex::new(0),
    });
    let member = Member { id: 7, name: "n7".into(), ..Member::default() };
    let config =
        ServerConfig { cluster: ClusterId(9), member: NodeId(7), members: vec![member], quota_bytes };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Api::new(config, group.clone(), store).serve(listener, std::future::pending()));
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    Service { kv: KvClient::new(channel.clone()), channel, group }
}

async fn serve() -> Service {
    serve_with_quota(u64::MAX).await
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }
}

fn error<T: std::fmt::Debug>(result: Result<tonic::Response<T>, tonic::Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn every_reply_has_a_whole_header() {
    let mut service = serve().await;
    let full = |revision| Some(ResponseHeader { cluster_id: 9, member_id: 7, revision, raft_term: 3 });
    assert_eq!(service.kv.range(get("a")).await.unwrap().into_inner().header, full(1));
    assert_eq!(service.kv.put(put("a", "1")).await.unwrap().into_inner().header, full(2));
    let delete = DeleteRangeRequest { key: "zz".into(), ..DeleteRangeRequest::default() };
    assert_eq!(service.kv.delete_range(delete).await.unwrap().into_inner().header, full(2));
    assert_eq!(service.kv.txn(TxnRequest::default()).await.unwrap().into_inner().header, full(2));
    let compact = CompactionRequest { revision: 2, physical: true };
    assert_eq!(service.kv.compact(compact).await.unwrap().into_inner().header, full(2));
    let mut maintenance = MaintenanceClient::new(service.channel.clone());
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.header, full(2));
    assert_eq!((status.leader, status.raft_term, status.raft_applied_index), (7, 3, 3));
    assert!(status.db_size > 0 && status.errors.is_empty());
    assert_eq!(maintenance.hash(HashRequest {}).await.unwrap().into_inner().header, full(2));
    let hash = maintenance.hash_kv(HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!((hash.header, hash.compact_revision), (full(2), 2));
    let alarms = maintenance.alarm(AlarmRequest::default()).await.unwrap().into_inner();
    assert_eq!((alarms.header, alarms.alarms), (full(2), vec![]));
    let mut cluster = ClusterClient::new(service.channel.clone());
    let list = cluster.member_list(MemberListRequest {}).await.unwrap().into_inner();
    assert_eq!((list.header, list.members[0].name.as_str()), (full(2), "n7"));
}

#[tokio::test]
async fn a_serializable_read_needs_nobody() {
    let mut service = serve().await;
    service.kv.put(put("a", "1")).await.unwrap();
    *service.group.broken.lock().unwrap() = Some(RequestError::NoLeader);
    let local = RangeRequest { serializable: true, ..get("a") };
    assert_eq!(service.kv.range(local.clone()).await.unwrap().into_inner().count, 1);
    assert_eq!(error(service.kv.range(get("a")).await), (Code::Unavailable, "etcdserver: no leader".into()));
    let read = |range| TxnRequest {
        success: vec![RequestOp { request: Some(Op::RequestRange(range)) }],
        ..TxnRequest::default()
    };
    assert_eq!(service.kv.txn(read(local)).await.unwrap().into_inner().responses.len(), 1);
    assert_eq!(error(service.kv.txn(read(get("a"))).await).0, Code::Unavailable);
    assert_eq!(*service.group.barriers.lock().unwrap(), 0);
    let status = MaintenanceClient::new(service.channel).status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, status.errors), (0, vec!["etcdserver: no leader".to_owned()]));
}

#[tokio::test]
async fn reads_wait_for_a_barrier_and_writes_do_not() {
    let mut service = serve().await;
    service.kv.put(put("a", "1")).await.unwrap();
    assert_eq!(*service.group.barriers.lock().unwrap(), 0);
    service.kv.range(get("a")).await.unwrap();
    assert_eq!(*service.group.barriers.lock().unwrap(), 1);
    let txn = TxnRequest {
        success: vec![RequestOp { request: Some(Op::RequestRange(get("a"))) }],
        ..TxnRequest::default()
    };
    service.kv.txn(txn).await.unwrap();
    assert_eq!(*service.group.barriers.lock().unwrap(), 2);
}

#[tokio::test]
async fn failures_of_the_group_have_their_established_texts() {
    let mut service = serve().await;
    for (failure, code, text) in [
        (RequestError::NoLeader, Code::Unavailable, "etcdserver: no leader"),
        (RequestError::LeaderLost, Code::Unavailable, "etcdserver: leader changed"),
        (RequestError::TimedOut, Code::Unavailable, "etcdserver: request timed out"),
        (RequestError::Stopped("x".into()), Code::Unavailable, "etcdserver: server stopped"),
        (Refusal::Busy.into(), Code::ResourceExhausted, "etcdserver: too many requests"),
        (Refusal::TooLarge.into(), Code::InvalidArgument, "etcdserver: request is too large"),
        (Refusal::Interrupted.into(), Code::Unavailable, "etcdserver: leader changed"),
    ] {
        *service.group.broken.lock().unwrap() = Some(failure);
        assert_eq!(error(service.kv.put(put("a", "1")).await), (code, text.into()));
    }
}

#[tokio::test]
async fn errors_of_the_store_have_their_established_texts() {
    let mut service = serve().await;
    for number in 0..5 {
        service.kv.put(put("a", &number.to_string())).await.unwrap();
    }
    service.kv.compact(CompactionRequest { revision: 4, physical: true }).await.unwrap();
    let out_of_range = |text: &str| (Code::OutOfRange, format!("etcdserver: mvcc: required revision {text}"));
    let at = |revision| RangeRequest { revision, ..get("a") };
    let compact = |revision| CompactionRequest { revision, physical: false };
    assert_eq!(error(service.kv.range(at(3)).await), out_of_range("has been compacted"));
    assert_eq!(error(service.kv.range(at(99)).await), out_of_range("is a future revision"));
    assert_eq!(error(service.kv.compact(compact(4)).await), out_of_range("has been compacted"));
    assert_eq!(error(service.kv.compact(compact(99)).await), out_of_range("is a future revision"));
    let invalid = |text: &str| (Code::InvalidArgument, format!("etcdserver: {text}"));
    assert_eq!(error(service.kv.range(get("")).await), invalid("key is not provided"));
    let keep = PutRequest { ignore_value: true, ..put("missing", "") };
    assert_eq!(error(service.kv.put(keep).await), invalid("key not found"));
    let lease = PutRequest { lease: 5, ..put("a", "") };
    assert_eq!(
        error(service.kv.put(lease).await),
        (Code::NotFound, "etcdserver: requested lease not found".into())
    );
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_what_just_fits_is_not() {
    let mut service = serve().await;
    let large = |bytes: usize| PutRequest {
        key: "k".into(),
        value: vec![b'v'; bytes].into(),
        ..PutRequest::default()
    };
    service.kv.put(large(MAX_REQUEST_BYTES - 100)).await.unwrap();
    let too_large = (Code::InvalidArgument, "etcdserver: request is too large".to_owned());
    assert_eq!(error(service.kv.put(large(MAX_REQUEST_BYTES)).await), too_large);
    let key = PutRequest { key: vec![b'k'; MAX_REQUEST_BYTES].into(), ..PutRequest::default() };
    assert_eq!(error(service.kv.put(key).await), too_large);
    // Far too large is not even read to its end; the client is told so, and the connection stays usable.
    assert!(service.kv.put(large(4 << 20)).await.is_err());
    assert_eq!(service.kv.range(get("k")).await.unwrap().into_inner().count, 1);
}

#[tokio::test]
async fn over_its_quota_a_store_shrinks_but_does_not_grow() {
    let mut service = serve_with_quota(1000).await;
    service.kv.put(put("a", &"v".repeat(2000))).await.unwrap();
    let no_space = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded".to_owned());
    assert_eq!(error(service.kv.put(put("a", "")).await), no_space);
    let txn = TxnRequest {
        failure: vec![RequestOp { request: Some(Op::RequestPut(put("a", ""))) }],
        ..TxnRequest::default()
    };
    assert_eq!(error(service.kv.txn(txn).await), no_space);
    let mut maintenance = MaintenanceClient::new(service.channel.clone());
    let alarms = maintenance.alarm(AlarmRequest::default()).await.unwrap().into_inner().alarms;
    assert_eq!(alarms, [AlarmMember { member_id: 7, alarm: AlarmType::Nospace.into() }]);
    let delete = DeleteRangeRequest { key: "a".into(), ..DeleteRangeRequest::default() };
    service.kv.delete_range(delete).await.unwrap();
    service.kv.compact(CompactionRequest { revision: 3, physical: true }).await.unwrap();
    service.kv.put(put("a", "1")).await.unwrap();
}

#[tokio::test]
async fn what_is_not_built_in_says_so_by_name() {
    let service = serve().await;
    for path in ["etcdserverpb.Watch/Watch", "etcdserverpb.Lease/LeaseGrant", "v3lockpb.Lock/Lock"] {
        let mut client = tonic::client::Grpc::new(service.channel.clone());
        client.ready().await.unwrap();
        let path_and_query = format!("/{path}").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<StatusRequest, StatusResponse>::default();
        let result = client.unary(tonic::Request::new(StatusRequest {}), path_and_query, codec).await;
        assert_eq!(error(result), (Code::Unimplemented, format!("kvstore: {path} is not built in yet")));
    }
    let mut maintenance = MaintenanceClient::new(service.channel.clone());
    assert_eq!(error(maintenance.defragment(DefragmentRequest {}).await).0, Code::Unimplemented);
    let mut cluster = ClusterClient::new(service.channel);
    assert_eq!(error(cluster.member_remove(MemberRemoveRequest { id: 7 }).await).0, Code::Unimplemented);
}
