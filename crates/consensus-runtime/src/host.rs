//! A host: the data directory, the journal, the listener and the connections of one node, and the groups that share them. Where the
//! other nodes listen is the host's to know; which of them are members of a group is the group's.
//!
//! Groups are started and stopped one by one, each with an algorithm and a state machine of its own. A group that is on the disk
//! and not started stays there untouched.

use crate::book::{self, Book, Peers};
use crate::census::Census;
use crate::clock::Clock;
use crate::config::{GroupConfig, HostConfig, StartError};
use crate::contacts::Contacts;
use crate::enquiry::{Enquiry, MAX_ENQUIRIES};
use crate::handle::Handle;
use crate::journal::{Closing, Desk, JournalThread};
use crate::lane::{Board, Lane, Shore};
use crate::link::Routes;
use crate::metrics::{HostMetrics, HostReading};
use crate::registry::{RecoveredGroup, Registry};
use crate::replicated::RequestError;
use crate::shared::{End, StopReason};
use crate::{Runnable, exposition, group, transport};
use consensus_core::{GroupId, NodeId, Refusal, StateMachine};
use consensus_wal::{Disk, FileDisk, Identity, Journal, JournalConfig, RecoveredRaw};
use rand::TryRng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// A running host. Clones stand for the same one; when the last of them, and the last handle of its groups, is dropped, it shuts
/// down.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
    _lifeline: Arc<Lifeline>,
}

/// What the groups, the lanes and the transport share.
pub(crate) struct Inner {
    pub(crate) config: HostConfig,
    pub(crate) clock: Clock,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) registry: Arc<Registry>,
    /// The groups that peers were told of, with their algorithms.
    pub(crate) roster: Mutex<BTreeMap<GroupId, &'static str>>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) metrics: Arc<HostMetrics>,
    pub(crate) census: Arc<Census>,
    pub(crate) end: Arc<End>,
    pub(crate) enquiries: mpsc::Sender<Enquiry>,
    asked: Mutex<Option<mpsc::Receiver<Enquiry>>>,
    incarnation: u64,
    /// One at a time: the note on the disk is never older than what was told before.
    keeping: tokio::sync::Mutex<()>,
    lanes: Vec<Arc<Board>>,
}

/// Ends the host when nobody uses it any more.
struct Lifeline(Arc<End>);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.ask(StopReason::Shutdown);
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("node", &self.inner.config.node).finish_non_exhaustive()
    }
}

impl Host {
    /// Opens the journal and listens for peers. Call it within a tokio runtime that has its I/O and its timers enabled.
    ///
    /// # Errors
    /// The configuration cannot work, the address is taken, or the data directory is damaged, locked or somebody else's.
    pub async fn open(config: HostConfig) -> Result<Self, StartError> {
        config.validate()?;
        let listener = listen(&config).await?;
        let data_dir = config.data_dir.clone();
        let disk = blocking(move || Ok(FileDisk::open_dir(&data_dir)?)).await?;
        Self::assemble(config, disk, listener).await
    }

    /// [`Host::open`] on a disk of the caller's own, for tests of what a failing disk does.
    ///
    /// # Errors
    /// As [`Host::open`].
    pub async fn open_on<D>(config: HostConfig, disk: D) -> Result<Self, StartError>
    where
        D: Disk + Send + 'static,
        D::File: Send,
    {
        config.validate()?;
        let listener = listen(&config).await?;
        Self::assemble(config, disk, listener).await
    }

    async fn assemble<D>(config: HostConfig, disk: D, listener: TcpListener) -> Result<Self, StartError>
    where
        D: Disk + Send + 'static,
        D::File: Send,
    {
        let Opened { journal, groups, book } = open_journal(&config, disk).await?;
        let registry = Arc::new(Registry::of(groups)?);
        let (metrics, end) = (Arc::<HostMetrics>::default(), Arc::<End>::default());
        let thread = JournalThread::start(journal, Arc::clone(&metrics), Arc::clone(&end))?;
        let (configured, waiting) = (config.peers.clone(), config.limits.outgoing_bytes);
        let contacts = Contacts::new(config.node, configured, book.peers, waiting, Arc::clone(&metrics));
        let (enquiries, asked) = mpsc::channel(MAX_ENQUIRIES);
        let inner = Arc::new(Inner {
            clock: Clock::start(),
            contacts,
            registry,
            roster: Mutex::default(),
            desk: Arc::clone(thread.desk()),
            metrics,
            census: Arc::default(),
            end,
            enquiries,
            asked: Some(asked).into(),
            incarnation: book.incarnation,
            keeping: tokio::sync::Mutex::default(),
            lanes: (0..config.lanes).map(|_| Arc::default()).collect(),
            config,
        });
        for board in &inner.lanes {
            tokio::spawn(inner.lane(board).run());
        }
        let (end_transport, ended) = oneshot::channel();
        let transport = tokio::spawn(transport::run(Arc::clone(&inner), listener, ended));
        tokio::spawn(keep(Arc::clone(&inner), (end_transport, transport), thread));
        tracing::info!(node = %inner.config.node, listen = %inner.config.listen, "host started");
        let _lifeline = Arc::new(Lifeline(Arc::clone(&inner.end)));
        Ok(Self { inner, _lifeline })
    }

    /// Starts a group, new or from the disk, and runs `machine` under `A` until it is told to stop or cannot go on.
    ///
    /// # Errors
    /// The configuration cannot work, the group runs here already, was removed, or was written by another algorithm, or what is
    /// on the disk does not fit together.
    pub async fn start_group<A, M>(&self, config: GroupConfig<A>, machine: M) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        M: StateMachine + Send + 'static,
    {
        self.start(config, machine, false).await
    }

    /// If `is_all`, the host ends with the group.
    pub(crate) async fn start<A, M>(
        &self,
        config: GroupConfig<A>,
        machine: M,
        is_all: bool,
    ) -> Result<Handle<A>, StartError>
    where
        A: Runnable,
        M: StateMachine + Send + 'static,
    {
        // On a task of its own, so that whoever stops waiting leaves no group half-started.
        let starting = tokio::spawn(group::start(self.clone(), config, machine, is_all));
        starting.await.unwrap_or_else(|error| Err(unfinished(&error)))
    }

    /// The groups that are on the disk and do not run: nothing is forgotten by not starting them.
    #[must_use]
    pub fn recovered_groups(&self) -> Vec<RecoveredGroup> {
        self.inner.registry.resting()
    }

    /// Removes a group that does not run from the disk, for good: what this node promised in it is forgotten, so the group's id
    /// is refused here from now on.
    ///
    /// # Errors
    /// The group runs or is not on the disk, or the disk fails.
    pub async fn remove_group(&self, group: GroupId) -> Result<(), StartError> {
        let inner = Arc::clone(&self.inner);
        let removing = tokio::spawn(async move {
            let mut claim = inner.registry.claim(group)?;
            claim.records = None;
            let Some(title) = &claim.on_disk else {
                return Err(StartError::Group {
                    group,
                    problem: "it is not on the disk of this host".into(),
                });
            };
            inner.desk.bury(group, title);
            inner.desk.barrier().await?;
            claim.bury();
            tracing::info!(node = %inner.config.node, %group, "group removed");
            Ok(())
        });
        removing.await.unwrap_or_else(|error| Err(unfinished(&error)))
    }

    /// Says where the nodes of the cluster listen, and which were removed for good: links are made, moved and closed accordingly.
    /// It is remembered when this returns. What is older than what was said before is ignored, so one application of the host keeps
    /// that table. A host that is told that it was removed itself stops ([`StopReason::Removed`]) and does not start again.
    ///
    /// # Errors
    /// There are more addresses than the bounds of [`Peers`] allow, or the host has stopped.
    pub async fn set_peers(&self, peers: Peers) -> Result<(), RequestError> {
        if !peers.is_bounded() {
            return Err(RequestError::Refused(Refusal::TooLarge));
        }
        let inner = &self.inner;
        let keeping = inner.keeping.lock().await;
        if !inner.contacts.update(peers.clone()) {
            return Ok(());
        }
        let kept = inner.desk.keep(Book { incarnation: inner.incarnation, peers }.encode()).await;
        drop(keeping);
        if inner.contacts.has_removed_us() {
            inner.end.ask(StopReason::Removed);
        }
        kept.map_err(|_| RequestError::Stopped(inner.end.reason_so_far().to_string()))
    }

    /// What distinguishes this node from one that has lost its disk ([`HostConfig::incarnation`]).
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.inner.incarnation
    }

    /// What is asked from outside ([`crate::enquire`]). The first call gets it; nobody else does.
    #[must_use]
    pub fn take_enquiries(&self) -> Option<mpsc::Receiver<Enquiry>> {
        self.inner.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Who we are.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.config.node
    }

    /// Every counter.
    #[must_use]
    pub fn metrics(&self) -> HostReading {
        self.inner.metrics.read()
    }

    /// Enters the host and its groups into a registry of metrics that is for this host alone: names would come twice. Nothing is
    /// counted for its sake; the values are read when it is encoded.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        exposition::register(registry, Arc::clone(&self.inner.census), Some(Arc::clone(&self.inner)));
    }

    /// Stops all groups and the host gracefully: requests under way are told, everything written is made durable, the threads
    /// and sockets are gone when it returns. Returns the reason for which the host really stopped.
    pub async fn shutdown(&self) -> StopReason {
        self.inner.end.ask(StopReason::Shutdown);
        self.stopped().await
    }

    /// Stops as a crash would: at once, without a last flush. What was not yet durable may be lost, and nothing else.
    pub async fn kill(&self) -> StopReason {
        self.inner.end.ask(StopReason::Killed);
        self.stopped().await
    }

    /// Waits until the host has stopped, and says why.
    pub async fn stopped(&self) -> StopReason {
        self.inner.end.completed().await
    }
}

impl Inner {
    /// The lane with the fewest groups.
    pub(crate) fn quietest_lane(&self) -> Arc<Board> {
        self.lanes.iter().min_by_key(|board| board.taken()).map(Arc::clone).unwrap_or_default()
    }

    fn lane(self: &Arc<Self>, board: &Arc<Board>) -> Lane {
        let grain = Duration::from_millis(self.config.timer_grain_ms);
        let pier = Pier { host: Arc::clone(self), routes: Routes::default() };
        let board = Arc::clone(board);
        Lane::new(board, self.clock, grain, pier, Arc::clone(&self.metrics))
    }

    /// A lane on a thread of its own. A task that blocks would hold up whatever it had woken just before.
    pub(crate) fn open_lane_of_its_own(self: &Arc<Self>, group: GroupId) -> Result<Arc<Board>, StartError> {
        let (board, runtime) = (Arc::default(), tokio::runtime::Handle::current());
        let lane = self.lane(&board).run();
        let thread = std::thread::Builder::new().name(format!("group {}", group.0));
        match thread.spawn(move || runtime.block_on(lane)) {
            Ok(_) => Ok(board),
            Err(cause) => {
                Err(StartError::System { operation: "start a group's thread", cause: cause.to_string() })
            }
        }
    }
}

/// Where the groups of a host write and send.
struct Pier {
    host: Arc<Inner>,
    routes: Routes,
}

impl Shore for Pier {
    fn hand_over(&mut self) {
        // The disk first: it takes longer.
        self.host.desk.hand_over();
        self.routes.transmit(self.host.contacts.links());
    }

    fn is_full(&self) -> bool {
        self.host.desk.is_full()
    }
}

async fn listen(config: &HostConfig) -> Result<TcpListener, StartError> {
    TcpListener::bind(config.listen).await.map_err(|cause| StartError::listen(config.listen, cause))
}

/// What the disk holds, and what is remembered beside it.
struct Opened<D: Disk> {
    journal: Journal<D>,
    groups: BTreeMap<GroupId, RecoveredRaw>,
    book: Book,
}

/// Opens the journal. In a directory that is begun, who we are and whom we know is written down before anything else.
async fn open_journal<D>(config: &HostConfig, disk: D) -> Result<Opened<D>, StartError>
where
    D: Disk + Send + 'static,
    D::File: Send,
{
    let identity = Identity { cluster: config.cluster, node: config.node };
    let journal_config = JournalConfig { salt: random()?, ..JournalConfig::default() };
    let fresh = Book {
        incarnation: if config.incarnation == 0 { random()? } else { config.incarnation },
        peers: Peers::at_first(&config.peers),
    };
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
        Ok(Opened { journal, groups, book })
    });
    let opened = opened.await?;
    if opened.book.peers.has_removed(config.node) {
        return Err(StartError::Removed { node: config.node, data_dir: config.data_dir.clone() });
    }
    Ok(opened)
}

/// Waits for the end of the host, and takes everything down in order.
async fn keep(
    inner: Arc<Inner>,
    (end_transport, transport): (oneshot::Sender<()>, JoinHandle<()>),
    thread: JournalThread,
) {
    let reason = inner.end.wish().await;
    inner.registry.close(&reason);
    inner.registry.empty().await;
    for board in &inner.lanes {
        board.close();
    }
    let _ = end_transport.send(());
    // If it panicked, its sockets are gone as well.
    drop(transport.await);
    let how = if reason == StopReason::Shutdown { Closing::Finish } else { Closing::Abandon };
    let closed = blocking(move || Ok(thread.close(how)?)).await;
    let reason = match (reason, closed) {
        (StopReason::Shutdown, Err(error)) => StopReason::Failed(error.to_string()),
        (reason, Ok(()) | Err(_)) => reason,
    };
    tracing::info!(node = %inner.config.node, %reason, "host stopped");
    inner.end.complete(reason);
}

/// Runs what blocks on a thread for it.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, StartError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StartError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(unfinished(&error)))
}

fn unfinished(error: &tokio::task::JoinError) -> StartError {
    StartError::System { operation: "finish the start", cause: error.to_string() }
}

pub(crate) fn random() -> Result<u64, StartError> {
    rand::rngs::SysRng
        .try_next_u64()
        .map_err(|cause| StartError::System { operation: "draw randomness", cause: cause.to_string() })
}
