//! What a host, a group or a replica is made from, and why it may not start.

use crate::address::PeerAddress;
use consensus_core::{
    ClusterId, ConsensusAlgorithm, GroupId, Members, Membership, NodeError, NodeId, StorageError,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The most lanes of a host.
const MOST_LANES: usize = 1024;
const MOST_LANES_BY_DEFAULT: usize = 4;
/// The coarsest grain of timers, in milliseconds.
const MOST_GRAIN_MS: u64 = 1_000;
/// The quickest suspicion, in milliseconds.
const LEAST_SUSPECT_MS: u64 = 20;

/// What a host is made from. Plain data: start from [`HostConfig::new`] and change fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// The cluster. Nodes of different clusters refuse each other's connections and data directories.
    pub cluster: ClusterId,
    /// Who we are; not zero.
    pub node: NodeId,
    /// The nodes of the cluster, with the addresses at which they listen for each other. A data directory that was used before
    /// remembers what [`crate::Host::set_peers`] has told since; these are tried beside it.
    pub peers: BTreeMap<NodeId, PeerAddress>,
    /// What distinguishes this node from one that has lost its disk: remembered with the first start in a data directory, and
    /// never changed. Zero: drawn at random then.
    pub incarnation: u64,
    /// Where this node listens for its peers.
    pub listen: SocketAddr,
    /// The directory of the journal. It is made if it does not exist.
    pub data_dir: PathBuf,
    /// How many lanes the groups share: tasks that each carry out one group after the other. At most as many as there are
    /// cores is reasonable.
    pub lanes: usize,
    /// The timers of all groups run out at multiples of this, in milliseconds, so that those of many groups share a wake-up and
    /// a write to each peer. They are late by so much at most. Zero lets each run out by itself.
    pub timer_grain_ms: u64,
    /// A peer that is silent, or does not hear us, for this long is suspected, in milliseconds; about one election timeout. Four
    /// times within it each peer is told that we are there.
    pub suspect_after_ms: u64,
    /// The bounds of what waits on the way to and from each peer.
    pub limits: LinkLimits,
}

/// What a group is made from. Plain data: start from [`GroupConfig::new`] and change fields.
pub struct GroupConfig<A: ConsensusAlgorithm> {
    /// Its number; not zero, and never used again for another group, not even after [`crate::Host::remove_group`].
    pub group: GroupId,
    /// The members at its birth; the host must know the addresses of all of them. None at all where the group exists elsewhere
    /// and has let this node in. A data directory that was used before remembers them.
    pub members: Members,
    /// The algorithm's own configuration.
    pub algorithm: A::Config,
    /// How long a request may take before it fails, in milliseconds.
    pub request_timeout_ms: u64,
    /// After how long an unanswered read barrier is asked for again, in milliseconds; about one election timeout.
    pub read_retry_ms: u64,
    /// A snapshot is taken once the payloads applied since the last one exceed this many bytes (and exceed it).
    pub compact_after_bytes: u64,
    /// A snapshot is taken once more than this many decisions were applied since the last one, however small.
    pub compact_after_slots: u64,
    /// Whether to check every invariant of the algorithm after each step (slow; for tests).
    pub check_invariants: bool,
    /// A lane for this group alone, on a thread of its own: for state machines that take long, so that they hold up nobody else.
    pub own_thread: bool,
    /// The bounds of its queues.
    pub limits: Limits,
}

/// What a replica is made from: one group on a host of its own. Plain data: start from [`ReplicaConfig::new`] and change fields.
pub struct ReplicaConfig<A: ConsensusAlgorithm> {
    /// The cluster. Nodes of different clusters refuse each other's connections and data directories.
    pub cluster: ClusterId,
    /// Who we are; not zero, and one of `members` unless we join.
    pub node: NodeId,
    /// The group that this replica belongs to.
    pub group: GroupId,
    /// The members at the group's birth, with the addresses at which they listen for each other. A data directory that was
    /// used before remembers both; then only the addresses matter, which are tried beside those that are remembered.
    pub members: BTreeMap<NodeId, PeerAddress>,
    /// Whether the group was born without us, and has let us in since: `members` are then those whom we dial, and perhaps
    /// ourselves. A data directory that was used before remembers that too.
    pub joins: bool,
    /// What distinguishes this node from one that has lost its disk: see [`HostConfig::incarnation`].
    pub incarnation: u64,
    /// Where this node listens for its peers; usually its own entry of `members`.
    pub listen: SocketAddr,
    /// The directory of the journal. It is made if it does not exist.
    pub data_dir: PathBuf,
    /// The algorithm's own configuration.
    pub algorithm: A::Config,
    /// How long a request may take before it fails, in milliseconds.
    pub request_timeout_ms: u64,
    /// After how long an unanswered read barrier is asked for again, in milliseconds; about one election timeout.
    pub read_retry_ms: u64,
    /// A snapshot is taken once the payloads applied since the last one exceed this many bytes (and exceed it).
    pub compact_after_bytes: u64,
    /// A snapshot is taken once more than this many decisions were applied since the last one, however small.
    pub compact_after_slots: u64,
    /// Whether to check every invariant of the algorithm after each step (slow; for tests).
    pub check_invariants: bool,
    /// A peer that is silent, or does not hear us, for this long is suspected, in milliseconds; about one election timeout.
    pub suspect_after_ms: u64,
    /// The bounds of the group's queues.
    pub limits: Limits,
    /// The bounds of what waits on the way to and from each peer.
    pub link_limits: LinkLimits,
}

/// The bounds of a group's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most requests of this node's own clients that are under way at once; more are told `Busy`.
    pub requests: usize,
    /// The most bytes of such requests.
    pub request_bytes: usize,
    /// The most proposals of one peer's clients that are under way here at once; more are told `Busy`.
    pub forwarded: usize,
}

/// The bounds of what waits on the way to and from each peer. All groups share them, and one group may hold as much as it leaves
/// free: half of it if nobody else has anything waiting, a third beside another one that is as busy, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// The most bytes that wait to be sent to one peer; messages beyond it are dropped (and counted), for the protocol
    /// sends again what matters. At least two frames ([`consensus_core::wire::MAX_FRAME_BYTES`]).
    pub outgoing_bytes: usize,
    /// The most bytes received from one peer that wait to be handled; beyond it nothing more is read from the socket for a
    /// moment, and then what comes for groups that do not take what they have is dropped (and counted).
    pub incoming_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 16 << 10, request_bytes: 64 << 20, forwarded: 16 << 10 }
    }
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self { outgoing_bytes: 64 << 20, incoming_bytes: 32 << 20 }
    }
}

fn invalid<T>(field: &'static str, problem: impl Into<String>) -> Result<T, StartError> {
    Err(StartError::Config { field, problem: problem.into() })
}

fn any_loopback_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl HostConfig {
    /// The defaults for `node` among `peers`, listening at its own entry: at all interfaces if that is a name, and at any free port
    /// of the loopback interface if it has none.
    #[must_use]
    pub fn new(
        node: NodeId,
        peers: impl IntoIterator<Item = (NodeId, impl Into<PeerAddress>)>,
        data_dir: impl Into<PathBuf>,
    ) -> Self {
        let peers: BTreeMap<_, PeerAddress> =
            peers.into_iter().map(|(node, address)| (node, address.into())).collect();
        let listen = peers.get(&node).map_or_else(any_loopback_port, PeerAddress::to_listen);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cluster: ClusterId(1),
            node,
            peers,
            incarnation: 0,
            listen,
            data_dir: data_dir.into(),
            lanes: cores.min(MOST_LANES_BY_DEFAULT),
            timer_grain_ms: 10,
            suspect_after_ms: 1_000,
            limits: LinkLimits::default(),
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Names the field, what is wrong with it, and what would be right.
    pub fn validate(&self) -> Result<(), StartError> {
        if self.node == NodeId::ZERO || self.peers.contains_key(&NodeId::ZERO) {
            return invalid("node", "0 is not a node: number the members from 1");
        }
        check_addresses("peers", &self.peers)?;
        if self.lanes == 0 || self.lanes > MOST_LANES {
            return invalid("lanes", format!("{} are not within 1..={MOST_LANES}", self.lanes));
        }
        if self.timer_grain_ms > MOST_GRAIN_MS {
            return invalid(
                "timer_grain_ms",
                format!("timers would be late by more than {MOST_GRAIN_MS} ms"),
            );
        }
        if self.suspect_after_ms < LEAST_SUSPECT_MS {
            let problem = format!("below {LEAST_SUSPECT_MS} ms peers would be suspected that are well");
            return invalid("suspect_after_ms", problem);
        }
        self.limits.validate()
    }
}

impl<A: ConsensusAlgorithm> GroupConfig<A> {
    /// The defaults for `group` with these members, all with a vote.
    #[must_use]
    pub fn new(group: GroupId, members: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            group,
            members: Members::of(members),
            algorithm: A::Config::default(),
            request_timeout_ms: 7_000,
            read_retry_ms: 1_000,
            compact_after_bytes: 64 << 20,
            compact_after_slots: 4 << 20,
            check_invariants: cfg!(debug_assertions),
            own_thread: false,
            limits: Limits::default(),
        }
    }

    /// Checks every field, the algorithm's configuration included.
    ///
    /// # Errors
    /// Names the field, what is wrong with it, and what would be right.
    pub fn validate(&self) -> Result<(), StartError> {
        if self.group == GroupId::ZERO {
            return invalid("group", "0 is not a group: number the groups from 1");
        }
        if self.request_timeout_ms == 0 {
            return invalid("request_timeout_ms", "it is 0: every request would fail; 7000 is usual");
        }
        if self.read_retry_ms == 0 {
            return invalid("read_retry_ms", "it is 0: give about one election timeout");
        }
        self.limits.validate()?;
        let is_static = matches!(A::GUARANTEES.membership, Membership::Static);
        if is_static && self.members == Members::default() {
            let problem = format!("{} keeps the members that its groups were born with: name them", A::NAME);
            return invalid("members", problem);
        }
        A::validate(&self.algorithm, &self.members)
            .map_err(|error| StartError::Config { field: error.field, problem: error.problem })
    }

    pub(crate) const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) const fn read_retry(&self) -> Duration {
        Duration::from_millis(self.read_retry_ms)
    }
}

impl<A: ConsensusAlgorithm> ReplicaConfig<A> {
    /// The defaults for `node` of `members`, listening as in [`HostConfig::new`].
    #[must_use]
    pub fn new(
        node: NodeId,
        members: impl IntoIterator<Item = (NodeId, impl Into<PeerAddress>)>,
        data_dir: impl Into<PathBuf>,
    ) -> Self {
        let host = HostConfig::new(node, members, data_dir);
        let group = GroupConfig::<A>::new(GroupId(1), []);
        Self {
            cluster: host.cluster,
            node,
            group: group.group,
            members: host.peers,
            joins: false,
            incarnation: host.incarnation,
            listen: host.listen,
            data_dir: host.data_dir,
            algorithm: group.algorithm,
            request_timeout_ms: group.request_timeout_ms,
            read_retry_ms: group.read_retry_ms,
            compact_after_bytes: group.compact_after_bytes,
            compact_after_slots: group.compact_after_slots,
            check_invariants: group.check_invariants,
            suspect_after_ms: host.suspect_after_ms,
            limits: group.limits,
            link_limits: host.limits,
        }
    }

    /// The defaults for `node` of `members` in one process ([`crate::Replica::start_local`]): addresses and directory mean
    /// nothing there, and stand for themselves.
    #[must_use]
    pub fn local(node: NodeId, members: impl IntoIterator<Item = NodeId>) -> Self {
        let members = members.into_iter().zip(1..=u16::MAX);
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self::new(node, members.map(|(id, port)| (id, address(port))), PathBuf::new())
    }

    /// Checks every field, the algorithm's configuration included.
    ///
    /// # Errors
    /// Names the field, what is wrong with it, and what would be right.
    pub fn validate(&self) -> Result<(), StartError> {
        if self.node != NodeId::ZERO && !self.joins && !self.members.contains_key(&self.node) {
            let problem = format!("{} is not among the members; add it with its address", self.node);
            return invalid("node", problem);
        }
        check_addresses("members", &self.members)?;
        self.host().validate()?;
        self.group().validate()
    }

    /// The host of this replica: one lane, and timers that run out on time.
    #[must_use]
    pub fn host(&self) -> HostConfig {
        let host = HostConfig::new(self.node, self.members.clone(), self.data_dir.clone());
        HostConfig {
            cluster: self.cluster,
            incarnation: self.incarnation,
            listen: self.listen,
            lanes: 1,
            timer_grain_ms: 0,
            suspect_after_ms: self.suspect_after_ms,
            limits: self.link_limits,
            ..host
        }
    }

    /// The group of this replica.
    #[must_use]
    pub fn group(&self) -> GroupConfig<A> {
        let birth = self.members.keys().copied().filter(|_| !self.joins);
        GroupConfig {
            algorithm: self.algorithm.clone(),
            request_timeout_ms: self.request_timeout_ms,
            read_retry_ms: self.read_retry_ms,
            compact_after_bytes: self.compact_after_bytes,
            compact_after_slots: self.compact_after_slots,
            check_invariants: self.check_invariants,
            limits: self.limits,
            ..GroupConfig::new(self.group, birth)
        }
    }
}

/// Every node can be found, and no two at the same place.
fn check_addresses(field: &'static str, addresses: &BTreeMap<NodeId, PeerAddress>) -> Result<(), StartError> {
    for (node, address) in addresses {
        if address.port() == 0 {
            return invalid(field, format!("{node} has port 0: peers need the real port to find it"));
        }
        let twin = addresses.iter().find(|&(other, at)| other != node && at == address);
        if let Some((twin, _)) = twin {
            return invalid(field, format!("{node} and {twin} share {address}: give each its own"));
        }
    }
    Ok(())
}

// By hand, since a derive would ask for them of the algorithm too.
impl<A: ConsensusAlgorithm> Clone for ReplicaConfig<A> {
    fn clone(&self) -> Self {
        Self {
            members: self.members.clone(),
            data_dir: self.data_dir.clone(),
            algorithm: self.algorithm.clone(),
            ..*self
        }
    }
}

impl<A: ConsensusAlgorithm> Clone for GroupConfig<A> {
    fn clone(&self) -> Self {
        Self { members: self.members.clone(), algorithm: self.algorithm.clone(), ..*self }
    }
}

impl<A: ConsensusAlgorithm> std::fmt::Debug for ReplicaConfig<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaConfig").field("host", &self.host()).field("group", &self.group()).finish()
    }
}

impl<A: ConsensusAlgorithm> std::fmt::Debug for GroupConfig<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupConfig")
            .field("group", &self.group)
            .field("members", &self.members)
            .field("algorithm", &self.algorithm)
            .field("request_timeout_ms", &self.request_timeout_ms)
            .field("read_retry_ms", &self.read_retry_ms)
            .field("compact_after_bytes", &self.compact_after_bytes)
            .field("compact_after_slots", &self.compact_after_slots)
            .field("check_invariants", &self.check_invariants)
            .field("own_thread", &self.own_thread)
            .field("limits", &self.limits)
            .finish()
    }
}

fn check_least(rows: &[(&'static str, usize, usize)]) -> Result<(), StartError> {
    let below = rows.iter().find(|(_, value, least)| value < least);
    below.map_or(Ok(()), |&(field, value, least)| invalid(field, format!("{value} is below {least}")))
}

impl Limits {
    fn validate(&self) -> Result<(), StartError> {
        check_least(&[
            ("limits.requests", self.requests, 1),
            ("limits.request_bytes", self.request_bytes, 1),
            ("limits.forwarded", self.forwarded, 1),
        ])
    }
}

impl LinkLimits {
    fn validate(&self) -> Result<(), StartError> {
        let two_frames = 2 * consensus_core::wire::MAX_FRAME_BYTES;
        check_least(&[
            ("limits.outgoing_bytes", self.outgoing_bytes, two_frames),
            ("limits.incoming_bytes", self.incoming_bytes, 1),
        ])
    }
}

/// Why a host, a group or a replica does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A field of the configuration cannot work.
    #[error("invalid configuration: {field}: {problem}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The address for peers cannot be listened at.
    #[error("cannot listen for peers at {address}: {cause}; {advice}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        cause: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The journal cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The node cannot be restored from its journal.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The group cannot be started, or removed, on this host.
    #[error("{group}: {problem}")]
    Group {
        /// The group.
        group: GroupId,
        /// Why, and what to do.
        problem: String,
    },
    /// This node was removed from its cluster.
    #[error("{node} was removed from its cluster; remove {}, and let it join anew as another member", data_dir.display())]
    Removed {
        /// The node.
        node: NodeId,
        /// Its data directory.
        data_dir: PathBuf,
    },
    /// The operating system gave no thread or no randomness.
    #[error("cannot {operation}: {cause}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What the operating system said.
        cause: String,
    },
}

impl StartError {
    pub(crate) fn listen(address: SocketAddr, cause: std::io::Error) -> Self {
        let advice = if cause.kind() == std::io::ErrorKind::AddrInUse {
            "another process has the port: stop it, or choose another port"
        } else if cause.kind() == std::io::ErrorKind::AddrNotAvailable {
            "no interface of this machine has the address: listen at one that it has, or at 0.0.0.0"
        } else if cause.kind() == std::io::ErrorKind::PermissionDenied {
            "the port is reserved: choose one above 1023"
        } else {
            "check the address"
        };
        Self::Listen { address, cause, advice }
    }
}
