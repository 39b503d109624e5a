//! The services as a client sees them, over a group of one that decides at once, or refuses as it is told to.

use async_trait::async_trait;
use bytes::Bytes;
use consensus_core::{
    BadChange, Change, ClusterId, Decision, Epoch, Members, NodeId, Refusal, Role, Slot, StateMachine,
    Status, Verdict,
};
use consensus_runtime::{Applied, Replicated, RequestError};
use kvstore::command::Command;
use kvstore::machine::{KvMachine, SharedStore};
use kvstore::members::{Founder, MemberCommand, SharedMembers};
use kvstore::proto::etcdserverpb::cluster_client::ClusterClient;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kvstore::proto::etcdserverpb::request_op::Request as Op;
use kvstore::proto::etcdserverpb::*;
use kvstore::server::{Api, ServerConfig};
use kvstore::validate::MAX_REQUEST_BYTES;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::Code;
use tonic::transport::Channel;

/// Decides alone, and takes whatever members it is given. With `broken` set it can do nothing but say so.
struct Alone {
    machine: Mutex<(Slot, KvMachine)>,
    members: Mutex<Members>,
    /// The next changes of members are refused with these.
    bad_changes: Mutex<Vec<BadChange>>,
    transfers: Mutex<Vec<NodeId>>,
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
        let members = self.members.lock().unwrap().clone();
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

    async fn reconfigure(&self, change: Change) -> Result<Applied, RequestError> {
        self.check()?;
        if let Some(reason) = self.bad_changes.lock().unwrap().pop() {
            return Err(Refusal::BadChange(reason).into());
        }
        let mut members = self.members.lock().unwrap();
        let (mut voters, mut learners) = (members.voters().to_vec(), members.learners().to_vec());
        match change {
            Change::AddLearner(node) => learners.push(node),
            Change::AddVoter(node) => voters.push(node),
            Change::Remove(node) => {
                voters.retain(|&voter| voter != node);
                learners.retain(|&learner| learner != node);
            }
            Change::AddWitness(_) | Change::Replace(_) => return Err(Refusal::Unsupported.into()),
        }
        *members = Members::of(voters).with_learners(learners);
        let mut machine = self.machine.lock().unwrap();
        machine.0 = machine.0.next();
        let slot = machine.0;
        machine.1.follow_members(slot, &members);
        Ok(Applied { slot, reply: Bytes::new() })
    }

    async fn transfer(&self, to: Option<NodeId>) -> Result<(), RequestError> {
        self.check()?;
        self.transfers.lock().unwrap().extend(to);
        if to == Some(NodeId(8)) { std::future::pending().await } else { Ok(()) }
    }
}

struct Service {
    kv: KvClient<Channel>,
    channel: Channel,
    group: Arc<Alone>,
}

async fn serve_with_quota(quota_bytes: u64) -> Service {
    let (store, members) = (SharedStore::new(), SharedMembers::new());
    let group = Arc::new(Alone {
        machine: Mutex::new((Slot::ZERO, KvMachine::new(store.clone(), members.clone()))),
        members: Mutex::new(Members::of([NodeId(7), NodeId(8)])),
        bad_changes: Mutex::default(),
        transfers: Mutex::default(),
        broken: Mutex::new(None),
        barriers: Mutex::new(0),
    });
    let config = ServerConfig {
        cluster: ClusterId(9),
        member: NodeId(7),
        quota_bytes,
        transfer_timeout: Duration::from_millis(100),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(Api::new(config, group.clone(), store, members).serve(listener, std::future::pending()));
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    Service { kv: KvClient::new(channel.clone()), channel, group }
}

impl Service {
    /// The group's members are seven and eight, and seven serves.
    async fn found(&self) {
        let founder = |id: u64| Founder {
            id: NodeId(id),
            name: format!("n{id}"),
            peer: format!("h{id}:1").parse().unwrap(),
        };
        let command = Command::Members(MemberCommand::Found(vec![founder(7), founder(8)]));
        self.group.propose(command.encode()).await.unwrap();
    }
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
    // No call about members takes a revision.
    service.found().await;
    let peer_ur_ls = vec!["http://h9:1".to_owned()];
    let add = MemberAddRequest { peer_ur_ls: peer_ur_ls.clone(), is_learner: true };
    assert_eq!(cluster.member_add(add).await.unwrap().into_inner().header, full(2));
    let update = MemberUpdateRequest { id: 9, peer_ur_ls };
    assert_eq!(cluster.member_update(update).await.unwrap().into_inner().header, full(2));
    let promote = MemberPromoteRequest { id: 9 };
    assert_eq!(cluster.member_promote(promote).await.unwrap().into_inner().header, full(2));
    let remove = MemberRemoveRequest { id: 9 };
    assert_eq!(cluster.member_remove(remove).await.unwrap().into_inner().header, full(2));
    for linearizable in [false, true] {
        let list = cluster.member_list(MemberListRequest { linearizable }).await.unwrap().into_inner();
        assert_eq!((list.header, list.members[0].name.as_str()), (full(2), "n7"));
    }
    let target = MoveLeaderRequest { target_id: 7 };
    assert_eq!(maintenance.move_leader(target).await.unwrap().into_inner().header, full(2));
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
}

fn add(url: &str, is_learner: bool) -> MemberAddRequest {
    MemberAddRequest { peer_ur_ls: vec![url.to_owned()], is_learner }
}

fn remove(id: u64) -> MemberRemoveRequest {
    MemberRemoveRequest { id }
}

fn promote(id: u64) -> MemberPromoteRequest {
    MemberPromoteRequest { id }
}

#[tokio::test]
async fn members_are_added_moved_promoted_and_removed() {
    let service = serve().await;
    service.found().await;
    let mut cluster = ClusterClient::new(service.channel.clone());
    let added = cluster.member_add(add("http://h9:1", false)).await.unwrap().into_inner();
    let member = added.member.unwrap();
    assert_eq!((member.id, member.name.as_str(), member.is_learner), (9, "", true), "its vote comes later");
    assert_eq!(added.members.len(), 3);
    let peer_ur_ls = vec!["http://h9:2".to_owned(), "http://[::1]:3".to_owned()];
    let moved = MemberUpdateRequest { id: 9, peer_ur_ls: peer_ur_ls.clone() };
    let members = cluster.member_update(moved).await.unwrap().into_inner().members;
    assert_eq!(members[2].peer_ur_ls, peer_ur_ls);
    let members = cluster.member_promote(promote(9)).await.unwrap().into_inner().members;
    assert!(!members[2].is_learner);
    let members = cluster.member_remove(remove(7)).await.unwrap().into_inner().members;
    assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [8, 9]);
    let again = cluster.member_add(add("http://h7:1", true)).await.unwrap().into_inner();
    assert_eq!(again.member.unwrap().id, 10, "an id is never given again");
}

#[tokio::test]
async fn errors_about_members_have_their_established_texts() {
    let service = serve().await;
    let mut cluster = ClusterClient::new(service.channel.clone());
    let failed = |code, text: &str| (code, format!("etcdserver: {text}"));
    let unhealthy = failed(Code::Unavailable, "unhealthy cluster");
    assert_eq!(error(cluster.member_add(add("http://h9:1", false)).await), unhealthy, "nobody is known yet");
    service.found().await;
    let not_found = failed(Code::NotFound, "member not found");
    for id in [0, 9, u64::MAX] {
        assert_eq!(error(cluster.member_remove(remove(id)).await), not_found);
        assert_eq!(error(cluster.member_promote(promote(id)).await), not_found);
        let update = MemberUpdateRequest { id, peer_ur_ls: vec!["http://h9:1".into()] };
        assert_eq!(error(cluster.member_update(update).await), not_found);
    }
    let invalid = failed(Code::InvalidArgument, "given member URLs are invalid");
    let many: Vec<String> = (1..10).map(|port| format!("http://h:{port}")).collect();
    let bad = ["", "h:1", "http://h", "http://h:0", "http://h:1/p", "ftp://h:1", "http://a b:1"];
    let bad = bad.map(|url| vec![url.to_owned()]).into_iter();
    for peer_ur_ls in bad.chain([vec![], many, vec!["http://h:1".into(), "http://h:1".into()]]) {
        let request = MemberAddRequest { peer_ur_ls: peer_ur_ls.clone(), is_learner: false };
        assert_eq!(error(cluster.member_add(request).await), invalid, "{peer_ur_ls:?}");
        let request = MemberUpdateRequest { id: 7, peer_ur_ls };
        assert_eq!(error(cluster.member_update(request).await), invalid);
    }
    let encrypted = error(cluster.member_add(add("https://h:1", false)).await);
    assert_eq!(encrypted.0, Code::InvalidArgument);
    assert!(encrypted.1.contains("give http://HOST:PORT"), "{}", encrypted.1);
    let exists = failed(Code::FailedPrecondition, "Peer URLs already exists");
    assert_eq!(error(cluster.member_add(add("http://h8:1", false)).await), exists);
    let update = MemberUpdateRequest { id: 7, peer_ur_ls: vec!["http://h8:1".into()] };
    assert_eq!(error(cluster.member_update(update).await), exists);
    let not_learner = failed(Code::FailedPrecondition, "can only promote a learner member");
    assert_eq!(error(cluster.member_promote(promote(7)).await), not_learner);
    let refuse = |reasons: &[BadChange]| service.group.bad_changes.lock().unwrap().extend_from_slice(reasons);
    refuse(&[BadChange::NoQuorum]);
    assert_eq!(error(cluster.member_remove(remove(8)).await), unhealthy);
    refuse(&[BadChange::NobodyLeft]);
    let too_few =
        failed(Code::FailedPrecondition, "re-configuration failed due to not enough started members");
    assert_eq!(error(cluster.member_remove(remove(8)).await), too_few);
    // What passes is waited for.
    refuse(&[BadChange::UnderWay, BadChange::TooSoon]);
    let learner = cluster.member_add(add("http://h9:1", true)).await.unwrap().into_inner().member.unwrap().id;
    let too_many = failed(Code::FailedPrecondition, "too many learner members in cluster");
    assert_eq!(error(cluster.member_add(add("http://h10:1", true)).await), too_many);
    refuse(&[BadChange::LagsBehind(NodeId(learner))]);
    let lags =
        failed(Code::FailedPrecondition, "can only promote a learner member which is in sync with leader");
    assert_eq!(error(cluster.member_promote(promote(learner)).await), lags);
    // A newcomer that is to have a vote settles before the next one comes.
    cluster.member_add(add("http://h10:1", false)).await.unwrap();
    assert_eq!(error(cluster.member_add(add("http://h11:1", false)).await), unhealthy);
    // A refusal by the protocol gives the id up, and says why.
    cluster.member_remove(remove(10)).await.unwrap();
    refuse(&[BadChange::NoQuorum]);
    assert_eq!(error(cluster.member_add(add("http://h12:1", false)).await), unhealthy);
    let added = cluster.member_add(add("http://h12:1", false)).await.unwrap().into_inner();
    assert_eq!(added.member.unwrap().id, 12);
    *service.group.broken.lock().unwrap() = Some(RequestError::NoLeader);
    let no_leader = failed(Code::Unavailable, "no leader");
    assert_eq!(error(cluster.member_add(add("http://h13:1", false)).await), no_leader);
    assert_eq!(error(cluster.member_list(MemberListRequest { linearizable: true }).await), no_leader);
    let list = cluster.member_list(MemberListRequest { linearizable: false }).await.unwrap().into_inner();
    assert_eq!(list.members.len(), 4, "what is known here needs nobody");
}

#[tokio::test]
async fn leadership_is_moved_by_the_leader_to_a_voter() {
    let service = serve().await;
    service.found().await;
    let mut maintenance = MaintenanceClient::new(service.channel.clone());
    let to = |target_id| MoveLeaderRequest { target_id };
    let failed = |code, text: &str| (code, format!("etcdserver: {text}"));
    let bad = failed(Code::FailedPrecondition, "bad leader transferee");
    let mut cluster = ClusterClient::new(service.channel.clone());
    cluster.member_add(add("http://h9:1", true)).await.unwrap();
    for target in [0, 9, 10] {
        assert_eq!(error(maintenance.move_leader(to(target)).await), bad, "no member, or a learner");
    }
    maintenance.move_leader(to(7)).await.unwrap();
    let late = failed(Code::Unavailable, "request timed out, leader transfer took too long");
    assert_eq!(error(maintenance.move_leader(to(8)).await), late);
    assert_eq!(*service.group.transfers.lock().unwrap(), [NodeId(7), NodeId(8)]);
    *service.group.broken.lock().unwrap() = Some(RequestError::NoLeader);
    let not_leader = failed(Code::FailedPrecondition, "not leader");
    assert_eq!(error(maintenance.move_leader(to(8)).await), not_leader);
}
