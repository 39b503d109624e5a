//! What a replica is made from, and why it may not start.

use crate::address::PeerAddress;
use consensus_core::{
    ClusterId, ConsensusAlgorithm, GroupId, Members, Membership, NodeError, NodeId, StorageError,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a replica is made from. Plain data: start from [`ReplicaConfig::new`] and change fields.
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
    /// What distinguishes this node from one that has lost its disk: remembered with the first start in a data directory, and
    /// never changed. Zero: drawn at random then.
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
    /// Whether to check every invariant of the algorithm after each step (slow; for tests).
    pub check_invariants: bool,
    /// The bounds of all queues.
    pub limits: Limits,
}

/// The bounds of a replica's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most requests of this node's own clients that are under way at once; more are told `Busy`.
    pub requests: usize,
    /// The most bytes of such requests.
    pub request_bytes: usize,
    /// The most proposals of one peer's clients that are under way here at once; more are told `Busy`.
    pub forwarded: usize,
    /// The most bytes that wait to be sent to one peer; messages beyond it are dropped (and counted), for the protocol
    /// sends again what matters. At least one frame ([`consensus_core::wire::MAX_FRAME_BYTES`]).
    pub outgoing_bytes: usize,
    /// The most bytes received from one peer that wait to be handled; beyond it nothing more is read from the socket.
    pub incoming_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 16 << 10,
            request_bytes: 64 << 20,
            forwarded: 16 << 10,
            outgoing_bytes: 32 << 20,
            incoming_bytes: 16 << 20,
        }
    }
}

impl<A: ConsensusAlgorithm> ReplicaConfig<A> {
    /// The defaults for `node` of `members`, listening at its own entry: at all interfaces if that is a name, and at any free
    /// port of the loopback interface if it has none.
    #[must_use]
    pub fn new(node: NodeId, members: BTreeMap<NodeId, PeerAddress>, data_dir: impl Into<PathBuf>) -> Self {
        let listen = members.get(&node).map_or(SocketAddr::from(([127, 0, 0, 1], 0)), PeerAddress::to_listen);
        Self {
            cluster: ClusterId(1),
            node,
            group: GroupId(1),
            members,
            joins: false,
            incarnation: 0,
            listen,
            data_dir: data_dir.into(),
            algorithm: A::Config::default(),
            request_timeout_ms: 7_000,
            read_retry_ms: 1_000,
            compact_after_bytes: 64 << 20,
            check_invariants: cfg!(debug_assertions),
            limits: Limits::default(),
        }
    }

    /// The defaults for `node` of `members` in one process ([`crate::Replica::start_local`]): addresses and directory mean
    /// nothing there, and stand for themselves.
    #[must_use]
    pub fn local(node: NodeId, members: impl IntoIterator<Item = NodeId>) -> Self {
        let members = members.into_iter().zip(1..=u16::MAX);
        let address = |port| PeerAddress::from(SocketAddr::from(([127, 0, 0, 1], port)));
        Self::new(node, members.map(|(id, port)| (id, address(port))).collect(), PathBuf::new())
    }

    /// Checks every field, the algorithm's configuration included.
    ///
    /// # Errors
    /// Names the field, what is wrong with it, and what would be right.
    pub fn validate(&self) -> Result<(), StartError> {
        let invalid = |field, problem: String| Err(StartError::Config { field, problem });
        if self.node == NodeId::ZERO || self.members.contains_key(&NodeId::ZERO) {
            return invalid("node", "0 is not a node: number the members from 1".into());
        }
        if self.joins && matches!(A::GUARANTEES.membership, Membership::Static) {
            return invalid("joins", format!("{} keeps the members that its groups were born with", A::NAME));
        }
        if !self.joins && !self.members.contains_key(&self.node) {
            return invalid(
                "node",
                format!("{} is not among the members; add it with its address", self.node),
            );
        }
        for (node, address) in &self.members {
            if address.port() == 0 {
                return invalid("members", format!("{node} has port 0: peers need the real port to find it"));
            }
            let twin = self.members.iter().find(|(other, at)| *other != node && *at == address);
            if let Some((twin, _)) = twin {
                return invalid("members", format!("{node} and {twin} share {address}: give each its own"));
            }
        }
        if self.request_timeout_ms == 0 {
            return invalid("request_timeout_ms", "it is 0: every request would fail; 7000 is usual".into());
        }
        if self.read_retry_ms == 0 {
            return invalid("read_retry_ms", "it is 0: give about one election timeout".into());
        }
        self.limits.validate()?;
        A::validate(&self.algorithm, &self.birth_members())
            .map_err(|error| StartError::Config { field: error.field, problem: error.problem })
    }

    /// The members at the group's birth, all with a vote; none if we join.
    #[must_use]
    pub fn birth_members(&self) -> Members {
        if self.joins { Members::default() } else { Members::of(self.members.keys().copied()) }
    }

    pub(crate) const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) const fn read_retry(&self) -> Duration {
        Duration::from_millis(self.read_retry_ms)
    }
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

impl<A: ConsensusAlgorithm> std::fmt::Debug for ReplicaConfig<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaConfig")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("group", &self.group)
            .field("members", &self.members)
            .field("joins", &self.joins)
            .field("incarnation", &self.incarnation)
            .field("listen", &self.listen)
            .field("data_dir", &self.data_dir)
            .field("algorithm", &self.algorithm)
            .field("request_timeout_ms", &self.request_timeout_ms)
            .field("read_retry_ms", &self.read_retry_ms)
            .field("compact_after_bytes", &self.compact_after_bytes)
            .field("check_invariants", &self.check_invariants)
            .field("limits", &self.limits)
            .finish()
    }
}

impl Limits {
    fn validate(&self) -> Result<(), StartError> {
        let frame = consensus_core::wire::MAX_FRAME_BYTES;
        let rows = [
            ("limits.requests", self.requests, 1),
            ("limits.request_bytes", self.request_bytes, 1),
            ("limits.forwarded", self.forwarded, 1),
            ("limits.outgoing_bytes", self.outgoing_bytes, frame),
            ("limits.incoming_bytes", self.incoming_bytes, 1),
        ];
        for (field, value, least) in rows {
            if value < least {
                return Err(StartError::Config { field, problem: format!("{value} is below {least}") });
            }
        }
        Ok(())
    }
}

/// Why a replica does not start.
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
    /// This node was removed from its group.
    #[error("{node} was removed from its group; remove {}, and let it join anew as another member", data_dir.display())]
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
