//! What can be set, its bounds and its defaults; and the arithmetic of the group.

use crate::certificate::Prepared;
use crate::digest::Digest;
use crate::keys::{Keyring, Signature};
use crate::message::{MAX_CHUNKS, MAX_WINDOW};
use crate::mutant::Mutant;
use crate::request::{MAX_REQUESTS, Request, SIGNATURE_BYTES};
use crate::shares::Share;
use crate::statement::{Ask, Sequence, Statement, View};
use alloc::format;
use bytes::Bytes;
use consensus_core::wire::MAX_FRAME_BYTES;
use consensus_core::{ClientId, ConfigError, MAX_REPLIES, MAX_SESSIONS, Members, NodeId, quorum};
use core::time::Duration;

/// Room in a frame beside the payloads.
const FRAME_MARGIN_BYTES: usize = 64 << 10;
/// How much a signature takes in a message, with its signer.
const SIGNER_BYTES: usize = 74;

/// The configuration of one replica. What is marked with (G) must be the same at all replicas of a group.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public keys of all members, and our secret one. (G, but for the secret)
    pub keys: Keyring,
    /// What every signature is bound to beside the protocol: two groups with the same keys must differ here. (G)
    pub group: u64,
    /// How long a backup waits for something to be executed before it wants another view, in milliseconds; doubled with each
    /// view in a row that brings nothing.
    pub view_timeout_ms: u64,
    /// The longest that this becomes, in milliseconds: messages must come faster than that in the end.
    pub max_view_timeout_ms: u64,
    /// How often replicas tell each other where they stand, in milliseconds, and say again what may be lost.
    pub resend_interval_ms: u64,
    /// K: a checkpoint is taken after so many sequence numbers. (G)
    pub checkpoint_interval: u64,
    /// L: at most so many sequence numbers are in flight above the stable checkpoint; at least 2 K. (G)
    pub window: u64,
    /// At most so many batches of a primary are on their way at once.
    pub max_in_flight_batches: u64,
    /// The most requests of a batch.
    pub max_batch_requests: usize,
    /// The most bytes of a batch (a single larger request travels alone).
    pub max_batch_bytes: usize,
    /// The longest payload of one request, in bytes, its client's signature included. (G)
    pub max_payload_bytes: usize,
    /// Whose word makes a request one. (G)
    pub vouching: Vouching,
    /// The public keys of all clients ([`ClientId::known`]), where they sign ([`Vouching::Signed`]). (G)
    pub clients: Keyring<ClientId>,
    /// The most requests of one client that wait here for being executed, for each replica that vouches for them, where clients
    /// sign; and the same part of the bytes. If all clients together may have no more than [`Config::max_open_requests`], none
    /// keeps another one from being served.
    pub max_open_per_client: usize,
    /// The most requests that wait here for being executed, of our own clients and of each other replica; more are refused
    /// with `Busy`, or not listened to.
    pub max_open_requests: usize,
    /// The same in bytes.
    pub max_open_bytes: usize,
    /// A snapshot is taken at the first checkpoint by which so many bytes were executed since the last one, and as many as that has; with 0
    /// at each checkpoint. (G) It takes the place of [`consensus_core::NodeConfig::compact_after_bytes`].
    pub snapshot_after_bytes: u64,
    /// The size of a chunk of a snapshot, in bytes. (G)
    pub chunk_bytes: usize,
    /// The bug to plant.
    #[cfg(all(feature = "mutants", debug_assertions))]
    pub mutant: Option<crate::Mutant>,
}

/// Whose word makes a request one that may be ordered.
// [B13]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vouching {
    /// That of 2f+1 replicas: clients propose at all of them, and nobody can make up a request that no client asked for.
    #[default]
    Quorum,
    /// That of one replica: clients propose at one and trust it. A replica that lies can make up requests, also under the names of
    /// others' requests, which then come to nothing.
    Gateway,
    /// That of one replica, for a request whose name is a digest of what is asked for ([`consensus_core::ConsensusAlgorithm::name`]). A
    /// replica that lies can make up requests as any client can, and nothing else: nobody's request is another one at some
    /// replicas. A client that trusts no single replica proposes at all, and believes what f+1 answer alike.
    Named,
    /// That of the client, who signs what it asks for ([`crate::Ask`]) with a key that the group knows ([`Config::clients`]): nobody can
    /// make up a request in its name, have one carried out again, or keep others from being served by asking for a lot. A client
    /// that trusts no single replica proposes at all, and believes what f+1 answer alike: [`crate::Client`].
    // [B29]
    Signed,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: Keyring::default(),
            group: 0,
            view_timeout_ms: 2_000,
            max_view_timeout_ms: 60_000,
            resend_interval_ms: 200,
            checkpoint_interval: 128,
            window: 512,
            max_in_flight_batches: 64,
            max_batch_requests: 512,
            max_batch_bytes: 1 << 20,
            max_payload_bytes: 2 << 20,
            vouching: Vouching::default(),
            clients: Keyring::default(),
            max_open_per_client: 256,
            max_open_requests: 1 << 14,
            max_open_bytes: 32 << 20,
            snapshot_after_bytes: 4 << 20,
            chunk_bytes: 256 << 10,
            #[cfg(all(feature = "mutants", debug_assertions))]
            mutant: None,
        }
    }
}

impl Config {
    pub(crate) fn validate(&self, members: &Members) -> Result<(), ConfigError> {
        let at_fault = |field, problem| Err(ConfigError::new(field, problem));
        let voters = members.voters();
        if voters.is_empty() || members.iter().count() != voters.len() {
            return at_fault(
                "members",
                format!("{} replicas, all of them voters, are needed", voters.len().max(1)),
            );
        }
        if self.keys.members() != voters {
            let problem = format!(
                "public keys are known of {:?}, and the members are {voters:?}: each needs one",
                self.keys.members()
            );
            return at_fault("keys", problem);
        }
        if !voters.iter().any(|&node| self.keys.signs_as(node)) {
            return at_fault("keys", "there is no secret key of a member: generate one".into());
        }
        let positive: [(&'static str, u64); 8] = [
            ("view_timeout_ms", self.view_timeout_ms),
            ("resend_interval_ms", self.resend_interval_ms),
            ("checkpoint_interval", self.checkpoint_interval),
            ("max_in_flight_batches", self.max_in_flight_batches),
            ("max_batch_requests", self.max_batch_requests as u64),
            ("max_open_requests", self.max_open_requests as u64),
            ("max_open_bytes", self.max_open_bytes as u64),
            ("chunk_bytes", self.chunk_bytes as u64),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return at_fault(field, "zero stops everything: at least 1".into());
        }
        if self.view_timeout_ms <= self.resend_interval_ms {
            let problem =
                "it must be longer than resend_interval_ms, or what is lost once changes the view".into();
            return at_fault("view_timeout_ms", problem);
        }
        if self.window < self.checkpoint_interval.saturating_mul(2) || self.window > MAX_WINDOW as u64 {
            let least = self.checkpoint_interval.saturating_mul(2);
            return at_fault(
                "window",
                format!("it must lie within {least} (two checkpoint intervals) and {MAX_WINDOW}"),
            );
        }
        if self.max_batch_requests > MAX_REQUESTS {
            return at_fault("max_batch_requests", format!("at most {MAX_REQUESTS}"));
        }
        self.check_clients()?;
        self.check_frames()
    }

    /// Clients sign and are known, or neither.
    fn check_clients(&self) -> Result<(), ConfigError> {
        let at_fault = |field, problem| Err(ConfigError::new(field, problem));
        let clients = self.clients.members();
        if self.vouching != Vouching::Signed {
            let problem = "there are public keys of clients, and no client signs: set vouching to Signed";
            return if clients.is_empty() { Ok(()) } else { at_fault("clients", problem.into()) };
        }
        if clients.is_empty() {
            return at_fault("clients", "no client's public key is known, so that nobody could ask".into());
        }
        if clients.len() > MAX_SESSIONS {
            return at_fault("clients", format!("{} are too many: at most {MAX_SESSIONS}", clients.len()));
        }
        // Others have no session that stays. [B30]
        if let Some(stranger) = clients.iter().find(|client| !client.is_known()) {
            let problem = format!("{stranger:?} cannot be told from others: name it by ClientId::known");
            return at_fault("clients", problem);
        }
        if self.max_payload_bytes < SIGNATURE_BYTES {
            let problem = format!("a signature does not fit: at least {SIGNATURE_BYTES}");
            return at_fault("max_payload_bytes", problem);
        }
        let most = self.max_open_requests.min(MAX_REPLIES);
        if self.max_open_per_client == 0 || self.max_open_per_client > most {
            let problem = format!("it must lie within 1 and {most} (max_open_requests, and {MAX_REPLIES})");
            return at_fault("max_open_per_client", problem);
        }
        Ok(())
    }

    /// Everything that is said fits into a frame.
    fn check_frames(&self) -> Result<(), ConfigError> {
        let limit = MAX_FRAME_BYTES - FRAME_MARGIN_BYTES;
        for (field, bytes) in [
            ("max_payload_bytes", self.max_payload_bytes),
            ("max_batch_bytes", self.max_batch_bytes),
            ("chunk_bytes", self.chunk_bytes),
        ] {
            if bytes > limit {
                return Err(ConfigError::new(
                    field,
                    format!("{bytes} bytes do not fit into a frame: at most {limit}"),
                ));
            }
        }
        let window = usize::try_from(self.window).unwrap_or(usize::MAX);
        let certificate = (self.quorum() * SIGNER_BYTES).saturating_add(128);
        let new_view = window.saturating_mul(certificate).saturating_mul(self.quorum());
        if new_view > limit {
            let problem = format!(
                "a NEW-VIEW of {} replicas could take {new_view} bytes: at most {limit} fit",
                self.n()
            );
            return Err(ConfigError::new("window", problem));
        }
        Ok(())
    }

    /// How many replicas there are.
    pub(crate) fn n(&self) -> usize {
        self.keys.members().len()
    }

    /// Any two such sets share a correct replica: ⌈(n+f+1)/2⌉. [B1]
    pub(crate) fn quorum(&self) -> usize {
        if self.plants(Mutant::QuorumTwoF) {
            return 2 * quorum::byzantine_faults(self.n());
        }
        if self.plants(Mutant::QuorumTwoFPlusOne) {
            return 2 * quorum::byzantine_faults(self.n()) + 1;
        }
        quorum::byzantine(self.n())
    }

    /// Any such set has a correct replica: f+1.
    pub(crate) fn weak(&self) -> usize {
        quorum::weak(self.n())
    }

    /// With how many vouchers a request is genuine, and with how many the primary is to order it.
    pub(crate) fn vouchers(&self) -> (usize, usize) {
        match self.vouching {
            Vouching::Quorum => (self.weak(), 2 * self.weak() - 1),
            Vouching::Gateway | Vouching::Named | Vouching::Signed => (1, 1),
        }
    }

    /// How much of one client may wait for each voucher, where clients can be told apart: the same part of the requests as of the
    /// bytes. [B31]
    pub(crate) fn share(&self) -> Option<Share> {
        let can_tell = self.vouching == Vouching::Signed;
        let count = if self.plants(Mutant::ShareIgnored) { usize::MAX } else { self.max_open_per_client };
        let bytes = (self.max_open_bytes / self.max_open_requests.max(1)).saturating_mul(count);
        can_tell.then_some(Share { count, bytes })
    }

    /// Whether the client that a request is named after has signed it, where clients sign. This is asked where a request would count, and
    /// not at the door, which cannot know what waits already, whoever told of it. [B29]
    pub(crate) fn is_asked(&self, request: &Request) -> bool {
        if self.vouching != Vouching::Signed {
            return true;
        }
        let Some((signature, command)) = request.signature() else { return false };
        let mut ask = Ask::of(request.id(), &command);
        if self.plants(Mutant::NumberNotAsked) {
            ask.id.sequence = 0;
        }
        self.plants(Mutant::AskUnchecked)
            || self.clients.verify(ask.id.client, &ask.to_bytes(self.group), &signature)
    }

    /// What is carried out of a request: where clients sign, what stands behind the signature.
    pub(crate) fn command(&self, request: &Request) -> Bytes {
        match self.vouching {
            Vouching::Signed => request.signature().map(|(_, command)| command).unwrap_or_default(),
            Vouching::Quorum | Vouching::Gateway | Vouching::Named => request.payload().clone(),
        }
    }

    /// How many PREPAREs of backups a prepared certificate has: with the primary they are a quorum.
    pub(crate) fn prepares(&self) -> usize {
        let primary = 1 + usize::from(self.plants(Mutant::PrimaryCounted));
        self.quorum().saturating_sub(primary)
    }

    /// How many alike make a checkpoint stable.
    pub(crate) fn stable_quorum(&self) -> usize {
        if self.plants(Mutant::StableAtWeak) { self.weak() } else { self.quorum() }
    }

    /// The primary of a view: they take turns.
    pub(crate) fn primary(&self, view: View) -> Option<NodeId> {
        let members = self.keys.members();
        let place = usize::try_from(view.0.checked_rem(members.len() as u64)?).ok()?;
        members.get(place).copied()
    }

    /// H, the high watermark above this stable checkpoint.
    pub(crate) const fn high(&self, stable: Sequence) -> Sequence {
        Sequence(stable.0.saturating_add(self.window))
    }

    /// Whether a checkpoint is taken there.
    pub(crate) const fn is_checkpoint(&self, sequence: Sequence) -> bool {
        sequence.0 != 0 && sequence.0.is_multiple_of(self.checkpoint_interval)
    }

    /// How many chunks a snapshot has.
    pub(crate) const fn chunks(&self, length: u64) -> u64 {
        length.div_ceil(self.chunk_bytes as u64)
    }

    /// The longest snapshot that can be passed on, in bytes.
    pub(crate) const fn max_snapshot_bytes(&self) -> u64 {
        (MAX_CHUNKS as u64).saturating_mul(self.chunk_bytes as u64)
    }

    /// What names a chunk of a snapshot. The replies that clients were given are at its head.
    pub(crate) fn chunk_digest(&self, place: usize, chunk: &[u8]) -> Digest {
        let is_left_out = place == 0 && self.plants(Mutant::RepliesNotDigested);
        if is_left_out { Digest::default() } else { Digest::of(b"chunk", chunk) }
    }

    pub(crate) const fn view_timeout(&self) -> Duration {
        Duration::from_millis(self.view_timeout_ms)
    }

    pub(crate) fn max_view_timeout(&self) -> Duration {
        Duration::from_millis(self.max_view_timeout_ms).max(self.view_timeout())
    }

    pub(crate) const fn resend_interval(&self) -> Duration {
        Duration::from_millis(self.resend_interval_ms)
    }

    /// Whether a member signed that.
    pub(crate) fn is_signed(&self, node: NodeId, statement: Statement, signature: &Signature) -> bool {
        let statement = self.as_signed(statement);
        self.plants(Mutant::SignaturesUnchecked)
            || self.keys.verify(node, &statement.to_bytes(self.group), signature)
    }

    /// What is signed: with a bug, without the view.
    pub(crate) fn as_signed(&self, statement: Statement) -> Statement {
        if self.plants(Mutant::ViewNotSigned) {
            Statement { view: View::ZERO, ..statement }
        } else {
            statement
        }
    }

    /// Whether a certificate takes the place of another one in a new view. [B21]
    pub(crate) fn outranks(&self, one: &Prepared, other: &Prepared) -> bool {
        if self.plants(Mutant::LowestViewWins) { one.view < other.view } else { one.view > other.view }
    }
}
