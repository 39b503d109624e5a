//! openraft with the in-process network that its own benchmark has: a call of the target's function, one request at a time per
//! peer. Its settings are those of that benchmark too (1,024 entries per request, purges of 1,024).

use super::{Counts, PATIENCE, Writer};
use anyhow::Result;
use futures_util::{Stream, StreamExt};
use openraft::alias::{DefaultEntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::{InlineBatch, OneshotResponder, Vote};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine,
};
use openraft::{Config, EntryPayload, OptionalSend, Raft, RaftTypeConfig, SnapshotPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An empty command and its empty reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Empty;

impl std::fmt::Display for Empty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing")
    }
}

/// The types of the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Types;

type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
type Member = Raft<Types, Machine>;
type Entry = DefaultEntryOf<Types>;

impl RaftTypeConfig for Types {
    type D = Empty;
    type R = Empty;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote<LeaderId>;
    type Payload = EntryPayload<Empty, u64, ()>;
    type Entry = Entry;
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::AnyError;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is where.
#[derive(Clone, Default)]
struct Router(Arc<Mutex<BTreeMap<u64, Member>>>);

/// The way to one node.
pub(super) struct Link {
    target: u64,
    router: Router,
    member: Option<Member>,
}

impl Link {
    /// Looked up once: the way costs no more than a call.
    fn member(&mut self) -> Result<&Member, Unreachable<Types>> {
        if self.member.is_none() {
            self.member = lock(&self.router.0).get(&self.target).cloned();
        }
        self.member.as_ref().ok_or_else(|| Unreachable::from_string("it has not started"))
    }
}

impl RaftNetworkFactory<Types> for Router {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &()) -> Link {
        Link { target, router: self.clone(), member: None }
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = u64;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = self.member()?.append_entries(request).await;
        answer.map_err(|error| Unreachable::new(&error).into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.member()?.vote(request).await;
        answer.map_err(|error| Unreachable::new(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, u64>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let answer = self.member()?.install_full_snapshot(vote, snapshot).await;
        answer.map_err(|error| Unreachable::new(&error).into())
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    vote: Option<VoteOf<Types>>,
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogIdOf<Types>>,
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(lock(&self.0).entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(lock(&self.0).vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let log = lock(&self.0);
        let last = log.entries.last_key_value().map(|(_, entry)| entry.log_id());
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: last.or(log.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        lock(&self.0).vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        lock(&self.0).entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let from = last.map_or(Bound::Unbounded, |last| Bound::Excluded(last.index()));
        lock(&self.0).entries.retain(|index, _| !(from, Bound::Unbounded).contains(index));
        Ok(())
    }

    async fn purge(&mut self, through: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut log = lock(&self.0);
        log.entries = log.entries.split_off(&(through.index() + 1));
        log.purged = Some(through);
        Ok(())
    }
}

/// Counts.
#[derive(Clone, Default)]
pub(super) struct Machine {
    count: Arc<AtomicU64>,
    state: Arc<Mutex<MachineState>>,
}

#[derive(Default)]
struct MachineState {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    snapshot: Option<(SnapshotMetaOf<Types>, u64)>,
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = u64;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, u64>, io::Error> {
        let mut state = lock(&self.state);
        let meta =
            SnapshotMetaOf::<Types> { last_log_id: state.applied, last_membership: state.membership.clone() };
        let snapshot = self.count.load(Relaxed);
        state.snapshot = Some((meta.clone(), snapshot));
        Ok(SnapshotOf::<Types, u64> { meta, snapshot })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = u64;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let state = lock(&self.state);
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut applied = None;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Empty) => {
                    self.count.fetch_add(1, Relaxed);
                }
                EntryPayload::Membership(members) => {
                    let members = StoredMembershipOf::<Types>::new(applied, members);
                    lock(&self.state).membership = members;
                }
            }
            if let Some(responder) = responder {
                responder.send(Empty);
            }
        }
        if applied.is_some() {
            lock(&self.state).applied = applied;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: u64,
    ) -> Result<(), io::Error> {
        let mut state = lock(&self.state);
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some((meta.clone(), snapshot));
        self.count.store(snapshot, Relaxed);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, u64>>, io::Error> {
        let snapshot = lock(&self.state).snapshot.clone();
        Ok(snapshot.map(|(meta, snapshot)| SnapshotOf::<Types, u64> { meta, snapshot }))
    }
}

/// Three replicas; the first one leads.
pub(super) struct Group(Vec<Member>);

/// Starts three replicas and waits until the first one leads them.
pub(super) async fn start(snapshot_every: u32) -> Result<(Group, Counts)> {
    let config = Config {
        election_timeout_min: 200,
        election_timeout_max: 2000,
        purge_batch_size: 1024,
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every.into()),
        ..Config::default()
    };
    let config = Arc::new(config.validate()?);
    let router = Router::default();
    let counts: Counts = (0..3).map(|_| Arc::default()).collect();
    let mut members = Vec::new();
    for (id, count) in (1..).zip(&counts) {
        let machine = Machine { count: Arc::clone(count), ..Machine::default() };
        let member = Raft::new(id, Arc::clone(&config), router.clone(), Log::default(), machine).await?;
        lock(&router.0).insert(id, member.clone());
        members.push(member);
    }
    if let Some(first) = members.first() {
        first.initialize(BTreeSet::from([1, 2, 3])).await?;
    }
    for member in &members {
        member.wait(Some(PATIENCE)).current_leader(1, "the election").await?;
        // The members, and the blank entry of the leader.
        member.wait(Some(PATIENCE)).applied_index_at_least(Some(1), "the first entries").await?;
    }
    Ok((Group(members), counts))
}

/// The leader.
#[derive(Clone)]
pub(super) struct Leader(Option<Member>);

impl Group {
    /// The replica that leads.
    pub(super) fn leader(&self) -> Leader {
        Leader(self.0.first().cloned())
    }

    /// Stops all of them.
    pub(super) async fn stop(self) -> Result<()> {
        for member in self.0 {
            member.shutdown().await?;
        }
        Ok(())
    }
}

impl Writer for Leader {
    async fn write(&self) -> Result<()> {
        if let Some(leader) = &self.0 {
            leader.client_write(Empty).await?;
        }
        Ok(())
    }
}
