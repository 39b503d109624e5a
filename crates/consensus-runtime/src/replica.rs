//! Starting a replica, and taking it down in order.

use crate::Runnable;
use crate::book::{self, Book, Peers};
use crate::clock::Clock;
use crate::config::{ReplicaConfig, StartError};
use crate::driver::Driver;
use crate::handle::{Ground, Handle};
use crate::journal::{Closing, JournalThread, Wake};
use crate::listen::Reception;
use crate::local::LocalNetwork;
use crate::peers::PeerNetwork;
use crate::request::{Gauge, Inbound};
use crate::roster::Roster;
use crate::shared::{Shared, StopReason, View};
use crate::transport::Transport;
use crate::visit::MAX_VISITORS;
use consensus_core::memory::MemoryStorage;
use consensus_core::{
    ClientId, Epoch, GroupId, Members, Membership, Network, Node, NodeConfig, NodeId, Role, Slot,
    StateMachine, Status, Storage,
};
use consensus_wal::{Disk, FileDisk, Identity, Journal, JournalConfig, RecoveredRaw};
use rand::TryRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

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
        let node =
            open_node(&config, config.birth_members(), clock, links, MemoryStorage::default(), machine)
                .await?;
        let client = ClientId::anonymous(random()?);
        network.join(&config, &inbox)?;
        network.announce(&config, &inbox);
        let driver = Driver::new(&config, node, client, clock, Arc::clone(&shared));
        let gauge = Gauge::new(config.limits.requests, config.limits.request_bytes);
        let handle = Handle::new(inbox, Arc::clone(&shared), gauge, config.request_timeout(), None);
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
        let (journal, mut groups, book) = open_journal(&config, disk).await?;
        let recovered = groups.remove(&config.group).unwrap_or_default();
        refuse_strays(&groups, &config)?;

        let (inbox, arrivals) = mpsc::channel(INBOX);
        let shared = Arc::new(Shared::new(config.node, unknown(book.birth.clone())));
        let thread = JournalThread::start(journal, Arc::clone(&shared))?;
        let roster = roster(&config, &book);
        let outgoing_bytes = config.limits.outgoing_bytes;
        let network = PeerNetwork::new(
            config.node,
            config.group,
            outgoing_bytes,
            Arc::clone(&roster),
            Arc::clone(&shared),
        );
        let storage = thread.attach(config.group, recovered, wake(&inbox));
        let node = match open_node(&config, book.birth.clone(), clock, network, storage, machine).await {
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
        let (visitors, questions) = mpsc::channel(MAX_VISITORS);
        let ground = Ground {
            incarnation: book.incarnation,
            birth: book.birth,
            roster: Arc::clone(&roster),
            keeper: thread.keeper().into(),
            visitors: Some(questions).into(),
        };
        let timeout = config.request_timeout();
        let handle = Handle::new(inbox.clone(), Arc::clone(&shared), gauge, timeout, Some(ground));
        tracing::info!(node = %config.node, group = %config.group, listen = %config.listen, algorithm = A::NAME, "replica started");
        let core = tokio::spawn(driver.run(arrivals));
        let reception = Reception::<A> {
            cluster: config.cluster,
            me: config.node,
            group: config.group,
            algorithm: config.algorithm,
            incoming_bytes: config.limits.incoming_bytes,
            roster,
            visitors,
            inbox,
            shared: Arc::clone(&shared),
        };
        let (end, ended) = oneshot::channel();
        let transport = Transport::new(reception).run(listener, async {
            // A dropped sender is a wish to end as well.
            let _ = ended.await;
        });
        tokio::spawn(supervise(core, (end, tokio::spawn(transport)), thread, shared));
        Ok(handle)
    }
}

/// What the disk holds, and what is remembered beside it. In a directory that is begun, what the configuration says of the group
/// is written down before anything else.
async fn open_journal<A, D>(config: &ReplicaConfig<A>, disk: D) -> Result<Opened<D>, StartError>
where
    A: Runnable,
    D: Disk + Send + 'static,
    D::File: Send,
{
    let identity = Identity { cluster: config.cluster, node: config.node };
    let journal_config = JournalConfig { salt: random()?, ..JournalConfig::default() };
    let incarnation = if config.incarnation == 0 { random()? } else { config.incarnation };
    let addresses = config.members.iter().map(|(&node, address)| (node, vec![address.clone()])).collect();
    let peers = Peers { revision: 0, addresses, unused_from: NodeId::ZERO };
    let fresh = Book { incarnation, birth: config.birth_members(), peers };
    let directory = config.data_dir.clone();
    let opened = blocking(move || {
        let (mut journal, groups) = Journal::open(disk, journal_config, identity)?;
        let book = match journal.note() {
            Some(note) => Book::decode(note, &directory)?,
            None if !groups.is_empty() => return Err(book::missing(&directory).into()),
            None => {
                journal.keep(fresh.encode())?;
                fresh
            }
        };
        Ok((journal, groups, book))
    });
    let opened = opened.await?;
    if opened.2.peers.has_removed(config.node) {
        return Err(StartError::Removed { node: config.node, data_dir: config.data_dir.clone() });
    }
    Ok(opened)
}

type Opened<D> = (Journal<D>, BTreeMap<GroupId, RecoveredRaw>, Book);

fn roster<A: Runnable>(config: &ReplicaConfig<A>, book: &Book) -> Arc<Roster> {
    let is_static = matches!(A::GUARANTEES.membership, Membership::Static);
    let (birth, peers) = (book.birth.clone(), book.peers.clone());
    Roster::new(config.node, is_static, birth, peers, config.members.clone())
}

async fn listen<A: Runnable>(config: &ReplicaConfig<A>) -> Result<TcpListener, StartError> {
    TcpListener::bind(config.listen).await.map_err(|cause| StartError::listen(config.listen, cause))
}

/// Runs what blocks on a thread for it.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, StartError>
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

/// Restores the node; on a thread for it, since a long log takes its time.
async fn open_node<A, N, S, M>(
    config: &ReplicaConfig<A>,
    members: Members,
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
        members,
        algorithm: config.algorithm.clone(),
        seed: random()?,
        compact_after_bytes: config.compact_after_bytes,
        check_invariants: config.check_invariants,
    };
    blocking(move || Ok(Node::open(node_config, clock.now(), network, storage, machine)?)).await
}

/// Waits for the end of the core loop, whatever its cause.
async fn ended(core: JoinHandle<StopReason>) -> StopReason {
    core.await.unwrap_or_else(|error| StopReason::Failed(format!("a defect of the program: {error}")))
}

/// Waits for the end of the core loop, and takes everything else down.
async fn supervise(
    core: JoinHandle<StopReason>,
    (end_transport, transport): (oneshot::Sender<()>, JoinHandle<()>),
    thread: JournalThread,
    shared: Arc<Shared>,
) {
    let reason = ended(core).await;
    let _ = end_transport.send(());
    // If it panicked, its sockets are gone as well.
    drop(transport.await);
    let how = if reason == StopReason::Shutdown { Closing::Finish } else { Closing::Abandon };
    let closed = blocking(move || Ok(thread.close(how)?)).await;
    let reason = match (reason, closed) {
        (StopReason::Shutdown, Err(error)) => StopReason::Failed(error.to_string()),
        (reason, Ok(()) | Err(_)) => reason,
    };
    tracing::info!(node = %shared.node, %reason, "replica stopped");
    shared.note_stopped(reason);
}
