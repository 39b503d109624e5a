//! A member that lies: a process of its own, which the test program becomes when it is told so in its environment. It knows its
//! own secret key and nobody else's, and talks to the others over real sockets.
//!
//! Underneath is the real protocol, so that it has something to contradict. What it says is dropped, told late, told again much later,
//! told otherwise to every second member and signed anew, or given a signature that is none. To clients it says whatever they
//! like to hear.

use async_trait::async_trait;
use consensus_core::{
    Boot, Bytes, ClientId, ConfigError, ConsensusAlgorithm, Guarantees, In, Input, Inspection, Members,
    NodeId, Offence, Out, RestoreError, Status, Time,
};
use consensus_runtime::{PeerAddress, Replica, ReplicaConfig};
use kvstore::command::Command;
use kvstore::keys::{Keys, Secret, key};
use kvstore::machine::{KvMachine, SharedStore};
use kvstore::members::SharedMembers;
use kvstore::profile::{Algorithm, ReplicaOptions, pbft_config};
use kvstore::proto::etcdserverpb::kv_server::{Kv, KvServer};
use kvstore::proto::etcdserverpb::*;
use kvstore::proto::mvccpb::KeyValue;
use pbft::{
    Batch, Config, Digest, Keyring, Kind, Message, Pbft, PrePrepare, Record, Request, Statement, Timer, Vote,
};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;
use tonic::{Response, Status as Refusal};

/// Names the variable that makes a process one.
pub(crate) const ORDERS: &str = "KVSTORE_ATTACKER";
/// What it makes clients believe.
pub(crate) const FORGED: &str = "forged";
/// How late it tells things.
const LATE: Duration = Duration::from_millis(300);
/// How much it remembers to tell again.
const PAST: usize = 200;

/// What it is told, one line each.
pub(crate) struct Orders {
    pub(crate) id: u64,
    pub(crate) cluster: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) peers: Vec<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) secret: PathBuf,
    pub(crate) data: PathBuf,
    /// Where it listens for clients.
    pub(crate) clients: String,
}

impl Orders {
    pub(crate) fn encode(&self) -> String {
        let Self { id, cluster, timeout_ms, peers, keys, secret, data, clients } = self;
        let (secret, data) = (secret.display(), data.display());
        format!(
            "{id}\n{cluster}\n{timeout_ms}\n{}\n{}\n{secret}\n{data}\n{clients}",
            peers.join(","),
            keys.join(",")
        )
    }

    fn decode(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let [id, cluster, timeout, peers, keys, secret, data, clients] = lines[..] else { panic!("{text}") };
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        Self {
            id: id.parse().unwrap(),
            cluster: cluster.parse().unwrap(),
            timeout_ms: timeout.parse().unwrap(),
            peers: list(peers),
            keys: list(keys),
            secret: secret.into(),
            data: data.into(),
            clients: clients.into(),
        }
    }
}

/// Runs until it is killed, if this process was told to be one.
pub(crate) async fn run_if_told() {
    let Ok(text) = std::env::var(ORDERS) else { return };
    let orders = Orders::decode(&text);
    let numbered = |from: u64| (from..).map(NodeId);
    let parsed = orders.peers.iter().map(|peer| peer.parse::<PeerAddress>().unwrap());
    let members: BTreeMap<_, _> = numbered(1).zip(parsed).collect();
    let public = numbered(1).zip(orders.keys.iter().map(|text| key(text).unwrap())).collect();
    let node = NodeId(orders.id);
    let listen = orders.peers[orders.id as usize - 1].parse().unwrap();
    let options = ReplicaOptions {
        cluster: consensus_core::ClusterId(orders.cluster),
        node,
        members: members.clone(),
        joins: false,
        incarnation: 0,
        listen_peer: listen,
        data_dir: orders.data.clone(),
        algorithm: Algorithm::Pbft,
        keys: Some(Keys { secret: Secret::read(&orders.secret).unwrap(), public }),
        election_timeout_ms: orders.timeout_ms,
        heartbeat_interval_ms: None,
        snapshot_after_bytes: 64 << 20,
    };
    let mut config = ReplicaConfig::<Attacker>::new(node, members, orders.data);
    config.cluster = options.cluster;
    config.listen = listen;
    config.algorithm = pbft_config(&options).unwrap();
    config.check_invariants = false;
    let machine = KvMachine::new(SharedStore::new(), SharedMembers::fixed(BTreeMap::new()));
    let _replica = Replica::start(config, machine).await.unwrap();
    let flatterer = KvServer::new(Flatterer(orders.cluster));
    let server = tonic::transport::Server::builder().add_service(flatterer);
    println!("the attacker is ready: it lies");
    server.serve(orders.clients.parse().unwrap()).await.unwrap();
}

struct Attacker {
    inner: Pbft,
    me: NodeId,
    keys: Keyring,
    group: u64,
    random: u64,
    late: VecDeque<(Time, NodeId, Message)>,
    past: Vec<Message>,
    others: Vec<NodeId>,
    /// What somebody has voted for last.
    heard: Option<Vote>,
}

impl Attacker {
    /// Below `bound`.
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn sign(&self, statement: Statement) -> pbft::Signature {
        self.keys.sign(self.me, &statement.to_bytes(self.group)).unwrap()
    }

    /// Instead of what the protocol says.
    fn corrupt(&mut self, now: Time, out: &mut Out<Self>) {
        let mut said: Vec<(NodeId, Message)> = out.free_sends().drain(..).collect();
        said.extend(out.take_held().map(|outgoing| (outgoing.to, outgoing.message)));
        for (to, message) in said {
            if self.past.len() < PAST {
                self.past.push(message.clone());
            }
            match self.draw(8) {
                0 => {}
                1 => self.late.push_back((now + LATE, to, message)),
                2 => {
                    let place = self.draw(self.past.len() as u64) as usize;
                    out.send_early(to, self.past[place].clone());
                    out.send_early(to, message);
                }
                3 => out.send_early(to, forge(message)),
                _ if to.0 % 2 == 0 => {
                    let lie = self.otherwise(message);
                    out.send_early(to, lie);
                }
                _ => out.send_early(to, message),
            }
        }
        // One lie and then another one on the same choice, which is proof.
        if let Some(vote) = self.heard.take() {
            for to in self.others.clone() {
                for _ in 0..2 {
                    let lie = Message::Commit(self.vote(Kind::Commit, vote));
                    out.send_early(to, lie);
                }
            }
        }
        while self.late.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, to, message)) = self.late.pop_front() else { break };
            out.send_early(to, message);
        }
    }

    /// Something else, with a sound signature of our own.
    fn otherwise(&mut self, message: Message) -> Message {
        match message {
            Message::PrePrepare(PrePrepare { view, sequence, batch, .. }) => {
                let mut requests = batch.requests().to_vec();
                requests.reverse();
                if self.draw(2) == 0 {
                    requests.truncate(1);
                }
                requests.push(self.invention());
                let batch = Batch::new(requests);
                let digest = batch.digest();
                let signature = self.sign(Statement { kind: Kind::PrePrepare, view, sequence, digest });
                Message::PrePrepare(PrePrepare { view, sequence, digest, batch, signature })
            }
            Message::Prepare(vote) => Message::Prepare(self.vote(Kind::Prepare, vote)),
            Message::Commit(vote) => Message::Commit(self.vote(Kind::Commit, vote)),
            Message::Checkpoint(vote) => Message::Checkpoint(self.vote(Kind::Checkpoint, vote)),
            Message::ViewChange(mut change) => {
                change.prepared.clear();
                change.signature = self.sign(change.statement());
                Message::ViewChange(change)
            }
            Message::NewView(mut new_view) => {
                new_view.proposals.pop();
                Message::NewView(new_view)
            }
            Message::Requests(mut requests) => {
                // Under the name of another's request.
                if let Some(request) = requests.first_mut() {
                    *request = Request::new(request.id(), self.invention().payload().clone());
                }
                Message::Requests(requests)
            }
            Message::Status(mut status) => {
                status.executed.0 += 1_000;
                Message::Status(status)
            }
            Message::BatchIs { sequence, .. } => {
                Message::BatchIs { sequence, batch: Batch::new(vec![self.invention()]) }
            }
            Message::Chunk { sequence, index, bytes } => {
                let mut bytes = bytes.to_vec();
                bytes.reverse();
                Message::Chunk { sequence, index, bytes: bytes.into() }
            }
            Message::Batches { sequence, after, mut batches } => {
                batches.reverse();
                batches.push(Batch::new(vec![self.invention()]));
                Message::Batches { sequence, after, batches }
            }
            Message::Committed(_)
            | Message::Stable(_)
            | Message::FetchBatches { .. }
            | Message::FetchBatch { .. }
            | Message::FetchState { .. }
            | Message::State(_)
            | Message::FetchChunk { .. } => message,
        }
    }

    fn vote(&mut self, kind: Kind, vote: Vote) -> Vote {
        let vote = Vote { digest: Digest::of(b"another", &self.draw(u64::MAX).to_le_bytes()), ..vote };
        Vote { signature: self.sign(vote.statement(kind)), ..vote }
    }

    /// A write that no client asked for: what any client could ask for too.
    fn invention(&mut self) -> Request {
        let put = PutRequest { key: FORGED.into(), value: FORGED.into(), ..PutRequest::default() };
        let (number, payload) = (self.draw(u64::MAX).max(1), Command::Put(put).encode());
        Request::new(Pbft::name(ClientId::default(), number, &payload), payload)
    }
}

/// A signature that is none.
fn forge(mut message: Message) -> Message {
    match &mut message {
        Message::PrePrepare(message) => message.signature.s[0] ^= 1,
        Message::Prepare(vote) | Message::Commit(vote) | Message::Checkpoint(vote) => {
            vote.signature.r[0] ^= 1;
        }
        Message::ViewChange(change) => change.signature.r[0] ^= 1,
        _ => {}
    }
    message
}

impl ConsensusAlgorithm for Attacker {
    const NAME: &'static str = Pbft::NAME;
    const GUARANTEES: Guarantees = Pbft::GUARANTEES;
    const ASKS_FOR_SNAPSHOTS: bool = Pbft::ASKS_FOR_SNAPSHOTS;
    type Config = Config;
    type Message = Message;
    type Record = Record;
    type Timer = Timer;

    fn validate(config: &Config, members: &Members) -> Result<(), ConfigError> {
        Pbft::validate(config, members)
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        let Boot { id, members, config, seed, now, snapshot, records } = boot;
        let (keys, group) = (config.keys.clone(), config.group);
        let others = members.others(id).collect();
        let inner = Pbft::restore(Boot { id, members, config, seed, now, snapshot, records }, out)?;
        let (late, past) = (VecDeque::new(), Vec::new());
        Ok(Self { inner, me: id, keys, group, random: seed | 1, late, past, others, heard: None })
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        if let Input::Message { message: Message::Commit(vote), .. } = &input {
            self.heard = Some(*vote);
        }
        self.inner.step(now, input, out);
    }

    fn flush(&mut self, now: Time, out: &mut Out<Self>) {
        self.inner.flush(now, out);
        self.corrupt(now, out);
    }

    fn status(&self) -> Status {
        self.inner.status()
    }

    fn inspect(&self) -> Inspection {
        self.inner.inspect()
    }

    /// It believes anybody.
    fn screen(_config: &Config, _from: NodeId, _message: &Message) -> Result<(), Offence> {
        Ok(())
    }
}

/// Agrees to everything, and does nothing.
struct Flatterer(u64);

impl Flatterer {
    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { cluster_id: self.0, member_id: 1, revision: 1_000, raft_term: 1 })
    }
}

#[async_trait]
impl Kv for Flatterer {
    async fn range(&self, request: tonic::Request<RangeRequest>) -> Result<Response<RangeResponse>, Refusal> {
        let key = request.into_inner().key;
        let found = KeyValue { key, value: Bytes::from_static(FORGED.as_bytes()), ..KeyValue::default() };
        let kvs = vec![found];
        Ok(Response::new(RangeResponse { header: self.header(), kvs, count: 1, more: false }))
    }

    async fn put(&self, _: tonic::Request<PutRequest>) -> Result<Response<PutResponse>, Refusal> {
        Ok(Response::new(PutResponse { header: self.header(), prev_kv: None }))
    }

    async fn delete_range(
        &self,
        _: tonic::Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Refusal> {
        Ok(Response::new(DeleteRangeResponse { header: self.header(), ..DeleteRangeResponse::default() }))
    }

    async fn txn(&self, _: tonic::Request<TxnRequest>) -> Result<Response<TxnResponse>, Refusal> {
        Ok(Response::new(TxnResponse { header: self.header(), succeeded: true, responses: Vec::new() }))
    }

    async fn compact(
        &self,
        _: tonic::Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Refusal> {
        Ok(Response::new(CompactionResponse { header: self.header() }))
    }
}
