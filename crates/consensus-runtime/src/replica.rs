//! Starting a replica, and taking it down in order.

use crate::Runnable;
use crate::clock::Clock;
use crate::config::{ReplicaConfig, StartError};
use crate::dial::Dialler;
use crate::driver::Driver;
use crate::handle::Handle;
use crate::handshake::Hello;
use crate::journal::{Closing, JournalThread, Wake};
use crate::listen::Reception;
use crate::local::LocalNetwork;
use crate::peers::{Link, PeerNetwork};
use crate::request::{Gauge, Inbound};
use crate::shared::{Shared, StopReason, View};
use consensus_core::memory::MemoryStorage;
use consensus_core::{
    ClientId, Epoch, GroupId, Members, Network, Node, NodeConfig, NodeId, Role, Slot, StateMachine, Status,
    Storage,
};
use consensus_wal::{Disk, FileDisk, Identity, Journal, JournalConfig, RecoveredRaw};
use rand::TryRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument;

/// Room for what has arrived and is not yet handled; the bytes of it are bounded by [`crate::Limits`].
const INBOX: usize = 16 << 10;

/// One member of one group, on real sockets and a real disk.
#[derive(Debug)]
pub struct Replica;

impl Replica {
    /// Opens the journal, listens for peers, and runs `machine` under `A` until it is told to stop or cannot go on. Call it
    /// within a tokio runtime that has its I/O and its timers enabled.
    ///
    /// # Errors
    /// The configuration cannot work, the address is taken, or the data directory is damaged, locked or somebody else's.
    pub async fn start<A, M>(config: ReplicaConfig<A>, machine: M) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        M: StateMachine + Send + 'static,
    {
        config.validate()?;
        let listener = listen(&config).await?;
        let data_dir = config.data_dir.clone();
        let disk = blocking(move || Ok(FileDisk::open_dir(&data_dir)?)).await?;
        Self::assemble(config, disk, listener, machine).await
    }

    /// [`Replica::start`] on a disk of the caller's own, for tests of what a failing disk does.
    ///
    /// # Errors
    /// As [`Replica::start`].
    pub async fn start_on<A, D, M>(
        config: ReplicaConfig<A>,
        disk: D,
        machine: M,
    ) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        D: Disk + Send + 'static,
        D::File: Send,
        M: StateMachine + Send + 'static,
    {
        config.validate()?;
        let listener = listen(&config).await?;
        Self::assemble(config, disk, listener, machine).await
    }

    /// [`Replica::start`] without sockets and without a disk: the replicas that were started on the same `network` hand each
    /// other their messages, and what they write is in their memory. For the tests of a service and for measurements: a
    /// node that has ended cannot be started again there, and the group is gone with the process. `config.listen`,
    /// `config.data_dir` and the addresses of the members are not used ([`ReplicaConfig::local`] leaves them out).
    ///
    /// # Errors
    /// The configuration cannot work, or the node was started on this network before.
    pub async fn start_local<A, M>(
        config: ReplicaConfig<A>,
        network: &LocalNetwork<A>,
        machine: M,
    ) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        M: StateMachine + Send + 'static,
    {
        config.validate()?;
        let clock = Clock::start();
        let (inbox, arrivals) = mpsc::channel(INBOX);
        let shared = Arc::new(Shared::new(config.node, unknown(config.birth_members())));
        let links = network.links(&config, Arc::clone(&shared));
        let node = open_node(&config, clock, links, MemoryStorage::default(), machine).await?;
        let client = ClientId::anonymous(random()?);
        network.join(&config, &inbox)?;
        network.announce(&config, &inbox);
        let driver = Driver::new(&config, node, client, clock, Arc::clone(&shared));
        let gauge = Gauge::new(config.limits.requests, config.limits.request_bytes);
        let handle = Handle::new(inbox, Arc::clone(&shared), gauge, config.request_timeout());
        tracing::info!(node = %config.node, group = %config.group, algorithm = A::NAME, "replica started in memory");
        let core = tokio::spawn(driver.run(arrivals));
        let network = network.clone();
        tokio::spawn(async move {
            let reason = ended(core).await;
            network.leave(&config).await;
            tracing::info!(node = %shared.node, %reason, "replica stopped");
            shared.note_stopped(reason);
        });
        Ok(handle)
    }

    async fn assemble<A, D, M>(
        config: ReplicaConfig<A>,
        disk: D,
        listener: TcpListener,
        machine: M,
    ) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        D: Disk + Send + 'static,
        D::File: Send,
        M: StateMachine + Send + 'static,
    {
        let clock = Clock::start();
        let identity = Identity { cluster: config.cluster, node: config.node };
        let journal_config = JournalConfig { salt: random()?, ..JournalConfig::default() };
        let (journal, mut groups) =
            blocking(move || Ok(Journal::open(disk, journal_config, identity)?)).await?;
        let recovered = groups.remove(&config.group).unwrap_or_default();
        refuse_strays(&groups, &config)?;

        let (inbox, arrivals) = mpsc::channel(INBOX);
        let shared = Arc::new(Shared::new(config.node, unknown(config.birth_members())));
        let thread = JournalThread::start(journal, Arc::clone(&shared))?;
        let links = links(&config);
        let outgoing_bytes = config.limits.outgoing_bytes;
        let network =
            PeerNetwork::new(config.node, config.group, outgoing_bytes, &links, Arc::clone(&shared));
        let storage = thread.attach(config.group, recovered, wake(&inbox));
        let node = match open_node(&config, clock, network, storage, machine).await {
            Ok(node) => node,
            Err(error) => {
                // Nothing was promised yet: let go of the directory and say why.
                drop(blocking(move || Ok(thread.close(Closing::Finish)?)).await);
                return Err(error);
            }
        };
        let client = ClientId::anonymous(random()?);
        let driver = Driver::new(&config, node, client, clock, Arc::clone(&shared));
        let gauge = Gauge::new(config.limits.requests, config.limits.request_bytes);
        let handle = Handle::new(inbox.clone(), Arc::clone(&shared), gauge, config.request_timeout());
        tracing::info!(node = %config.node, group = %config.group, listen = %config.listen, algorithm = A::NAME, "replica started");
        let core = tokio::spawn(driver.run(arrivals));
        let transport = start_transport(config, listener, links, inbox, &shared);
        tokio::spawn(supervise(core, transport, thread, shared));
        Ok(handle)
    }
}

async fn listen<A: Runnable>(config: &ReplicaConfig<A>) -> Result<TcpListener, StartError> {
    TcpListener::bind(config.listen).await.map_err(|cause| StartError::listen(config.listen, cause))
}

/// Runs what blocks on a thread for it.
async fn blocking<T, F>(work: F) -> Result<T, StartError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StartError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(StartError::System { operation: "finish the start", cause: error.to_string() })
    })
}

fn random() -> Result<u64, StartError> {
    rand::rngs::SysRng
        .try_next_u64()
        .map_err(|cause| StartError::System { operation: "draw randomness", cause: cause.to_string() })
}

/// A journal with groups that this program does not run: starting without them would be to forget them.
fn refuse_strays<A: Runnable>(
    groups: &BTreeMap<GroupId, RecoveredRaw>,
    config: &ReplicaConfig<A>,
) -> Result<(), StartError> {
    match groups.keys().next() {
        None => Ok(()),
        Some(stray) => Err(StartError::Config {
            field: "group",
            problem: format!(
                "{} holds group {stray}, and this replica is of group {}: start it with that group, or give this one its own directory",
                config.data_dir.display(),
                config.group
            ),
        }),
    }
}

/// What can be said before the node is open.
fn unknown(members: Members) -> View {
    let (role, leader, epoch, decided) = (Role::Follower, None, Epoch::ZERO, Slot::ZERO);
    let status = Status { role, leader, epoch, decided, members, blocked: Vec::new() };
    View { status, applied: Slot::ZERO }
}

/// If the inbox is full, the core loop is about to look at the storage anyway.
fn wake<M: Send + 'static>(inbox: &mpsc::Sender<Inbound<M>>) -> Wake {
    let inbox = inbox.downgrade();
    Box::new(move || {
        if let Some(inbox) = inbox.upgrade() {
            drop(inbox.try_send(Inbound::Written));
        }
    })
}

fn links<A: Runnable>(config: &ReplicaConfig<A>) -> BTreeMap<NodeId, Arc<Link>> {
    let peers = config.members.iter().filter(|(node, _)| **node != config.node);
    peers.map(|(&node, &address)| (node, Arc::new(Link::new(node, address)))).collect()
}

/// Restores the node; on a thread for it, since a long log takes its time.
async fn open_node<A, N, S, M>(
    config: &ReplicaConfig<A>,
    clock: Clock,
    network: N,
    storage: S,
    machine: M,
) -> Result<Node<A, N, S, M>, StartError>
where
    A: Runnable,
    N: Network<A::Message> + Send + 'static,
    S: Storage<A::Record> + Send + 'static,
    M: StateMachine + Send + 'static,
{
    let node_config = NodeConfig {
        id: config.node,
        members: config.birth_members(),
        algorithm: config.algorithm.clone(),
        seed: random()?,
        compact_after_bytes: config.compact_after_bytes,
        compact_after_slots: config.compact_after_slots,
        check_invariants: config.check_invariants,
    };
    blocking(move || Ok(Node::open(node_config, clock.now(), network, storage, machine)?)).await
}

fn start_transport<A: Runnable>(
    config: ReplicaConfig<A>,
    listener: TcpListener,
    links: BTreeMap<NodeId, Arc<Link>>,
    inbox: mpsc::Sender<Inbound<A::Message>>,
    shared: &Arc<Shared>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    // Several replicas may share a process: each line of the transport says whose it is.
    let span = tracing::info_span!("transport", node = %config.node);
    for link in links.values() {
        let hello = Hello { cluster: config.cluster, from: config.node, to: link.peer };
        let (link, inbox, shared) = (Arc::clone(link), inbox.clone(), Arc::clone(shared));
        tasks.spawn(Dialler { link, hello, inbox, shared }.run().instrument(span.clone()));
    }
    let reception = Reception::<A> {
        cluster: config.cluster,
        me: config.node,
        group: config.group,
        algorithm: config.algorithm,
        incoming_bytes: config.limits.incoming_bytes,
        links,
        inbox,
        shared: Arc::clone(shared),
    };
    tasks.spawn(reception.run(listener).instrument(span));
    tasks
}

/// Waits for the end of the core loop, whatever its cause.
async fn ended(core: JoinHandle<StopReason>) -> StopReason {
    core.await.unwrap_or_else(|error| StopReason::Failed(format!("a defect of the program: {error}")))
}

/// Waits for the end of the core loop, and takes everything else down.
async fn supervise(
    core: JoinHandle<StopReason>,
    mut transport: JoinSet<()>,
    thread: JournalThread,
    shared: Arc<Shared>,
) {
    let reason = ended(core).await;
    transport.shutdown().await;
    let how = if reason == StopReason::Shutdown { Closing::Finish } else { Closing::Abandon };
    let closed = blocking(move || Ok(thread.close(how)?)).await;
    let reason = match (reason, closed) {
        (StopReason::Shutdown, Err(error)) => StopReason::Failed(error.to_string()),
        (reason, Ok(()) | Err(_)) => reason,
    };
    tracing::info!(node = %shared.node, %reason, "replica stopped");
    shared.note_stopped(reason);
}
