//! A client, as a state machine: it makes requests, asks all replicas until it is answered, and believes what f+1 of them say alike.
//!
//! It knows no transport, clock or source of randomness: whoever drives it carries what it asks to the replicas, and their replies
//! back. Of each replica it keeps one word on each request, so that liars take no more room than others.

use crate::keys::Keyring;
use crate::request::Request;
use crate::statement::Ask;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use consensus_core::{
    ClientId, ConfigError, MAX_REPLIES, Members, NodeId, Outcome, ProposalId, Refusal, Reply, Time, quorum,
};
use core::time::Duration;

/// What a client is configured with.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The replicas.
    pub members: Members,
    /// How its requests are told from others, as the group's [`crate::Vouching`] wants it.
    pub identity: Identity,
    /// The number of its first request, above zero and above all that it ever gave. A client that keeps nothing takes a clock that
    /// never goes back: microseconds since 1970, if it makes fewer than a million requests in a second. With [`Identity::Named`] it
    /// is drawn at random: two clients that ask for one thing under one number ask once.
    pub first_number: u64,
    /// For so long, in milliseconds, it waits to be answered before it asks again; doubled each time.
    pub retry_ms: u64,
    /// The longest that this becomes, in milliseconds.
    pub max_retry_ms: u64,
    /// The most requests that wait for an answer; no more than the group lets one client have
    /// ([`crate::Config::max_open_per_client`]).
    pub max_open: usize,
}

/// How the requests of a client are told from others.
#[derive(Clone, Debug)]
pub enum Identity {
    /// By its signature ([`crate::Vouching::Signed`]).
    Signed {
        /// Who it is ([`ClientId::known`]).
        client: ClientId,
        /// Its secret key.
        keys: Keyring<ClientId>,
        /// What the group's signatures are bound to ([`crate::Config::group`]).
        group: u64,
    },
    /// By a digest of what is asked for ([`crate::Vouching::Named`]).
    Named,
    /// By a name that others may use too ([`crate::Vouching::Quorum`], [`crate::Vouching::Gateway`]).
    Plain(ClientId),
}

impl ClientConfig {
    /// The defaults, for this client of these replicas.
    #[must_use]
    pub const fn new(members: Members, identity: Identity, first_number: u64) -> Self {
        Self { members, identity, first_number, retry_ms: 1_000, max_retry_ms: 60_000, max_open: 256 }
    }

    /// Whether a client can work with this.
    ///
    /// # Errors
    /// Names the offending field and what to do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_fault = |field, problem| Err(ConfigError::new(field, problem));
        if self.members.voters().is_empty() {
            return at_fault("members", "there is nobody to ask".into());
        }
        if self.first_number == 0 {
            return at_fault("first_number", "zero names no request: at least 1".into());
        }
        if self.retry_ms == 0 {
            return at_fault("retry_ms", "zero asks without end: at least 1".into());
        }
        if self.max_open == 0 || self.max_open > MAX_REPLIES {
            return at_fault("max_open", format!("it must lie within 1 and {MAX_REPLIES}"));
        }
        match &self.identity {
            Identity::Signed { client, keys, .. } if !keys.signs_as(*client) => {
                at_fault("identity", format!("there is no secret key of {client:?}"))
            }
            Identity::Signed { .. } | Identity::Named | Identity::Plain(_) => Ok(()),
        }
    }
}

/// Why a client asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// As many requests wait for an answer as may, or so many numbers were given since the oldest of them that its answer would not
    /// be remembered.
    #[error("too many requests wait for an answer: wait for one, or give one up")]
    Busy,
    /// Whatever holds the key made no signature.
    #[error("the request could not be signed")]
    Unsigned,
    /// The largest number was given.
    #[error("no number is left for another request")]
    Exhausted,
}

/// What f+1 replicas say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request.
    pub id: ProposalId,
    /// What came of it, or why it is not taken.
    pub outcome: Result<Outcome, Refusal>,
}

/// A request that waits for an answer.
#[derive(Debug)]
struct Open {
    request: Request,
    /// What each replica says came of it.
    words: BTreeMap<NodeId, Result<Outcome, Refusal>>,
    /// How often it was asked for.
    times: u32,
    again: Time,
}

/// A client of a group.
///
/// ```
/// use consensus_core::{Bytes, ClientId, Members, NodeId, Outcome, Reply, Slot, Time};
/// use pbft::{Client, ClientConfig, Ed25519, Identity, Keyring};
///
/// // The group knows the public key that belongs to this secret (`Config::clients`).
/// let (client, secret) = (ClientId::known(7), [7; 32]);
/// let keys = Keyring::new(Ed25519::new(client, &secret, [(client, Ed25519::public_of(&secret))])?);
/// let identity = Identity::Signed { client, keys, group: 1 };
/// let mut client = Client::new(ClientConfig::new(Members::of((1..=4).map(NodeId)), identity, 1))?;
///
/// // To be proposed at all replicas: Event::Propose { id: request.id(), payload: request.payload().clone() }.
/// let request = client.ask(Time::ZERO, b"add 7")?;
/// let says = |what| Reply::Done { id: request.id(), slot: Slot(3), outcome: Outcome::Applied(Bytes::from_static(what)) };
/// assert_eq!(client.hear(NodeId(1), &says(b"12")), None);
/// assert_eq!(client.hear(NodeId(3), &says(b"lie")), None);
/// let answer = client.hear(NodeId(4), &says(b"12")).expect("two of four say the same");
/// assert_eq!(answer.outcome, Ok(Outcome::Applied(Bytes::from_static(b"12"))));
///
/// // What is not answered in time is asked for again, at all replicas.
/// let request = client.ask(Time::ZERO, b"add 1")?;
/// assert_eq!(client.deadline(), Some(Time::from_millis(1_000)));
/// assert_eq!(client.ask_again(Time::from_millis(1_000)), [request]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// [B32]
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    /// The number of the next request; none is left after the largest.
    next: Option<u64>,
    /// By number.
    open: BTreeMap<u64, Open>,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// The configuration cannot work.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { next: Some(config.first_number), config, open: BTreeMap::new() })
    }

    /// Asks for a command to be carried out: the request is to be proposed at all replicas, and their replies heard. One without a
    /// command is a read that goes through the log, where requests are signed or named: [`Outcome::Noop`], once f+1 replicas have
    /// seen everything that was answered before.
    ///
    /// # Errors
    /// Nothing is to be asked: see [`ClientError`].
    pub fn ask(&mut self, now: Time, command: &[u8]) -> Result<Request, ClientError> {
        let number = self.next.ok_or(ClientError::Exhausted)?;
        let oldest = self.open.first_key_value().map_or(number, |(&oldest, _)| oldest);
        if self.open.len() >= self.config.max_open || number - oldest >= MAX_REPLIES as u64 {
            return Err(ClientError::Busy);
        }
        let request = self.request(number, command)?;
        self.next = number.checked_add(1);
        let again = now + patience(&self.config, 0);
        self.open.insert(number, Open { request: request.clone(), words: BTreeMap::new(), times: 1, again });
        Ok(request)
    }

    fn request(&self, number: u64, command: &[u8]) -> Result<Request, ClientError> {
        match &self.config.identity {
            Identity::Signed { client, keys, group } => {
                let id = ProposalId::new(*client, number);
                let signature = keys.sign(*client, &Ask::of(id, command).to_bytes(*group));
                Ok(Request::signed(id, command, &signature.ok_or(ClientError::Unsigned)?))
            }
            Identity::Named => {
                Ok(Request::new(Request::name(number, command), Bytes::copy_from_slice(command)))
            }
            Identity::Plain(client) => {
                Ok(Request::new(ProposalId::new(*client, number), Bytes::copy_from_slice(command)))
            }
        }
    }

    /// A replica replies. The answer, once f+1 have said the same: one of them is correct. What is said of no open request, by nobody
    /// whom it asked, or once more, changes nothing; but whoever refused may think better of it.
    pub fn hear(&mut self, from: NodeId, reply: &Reply) -> Option<Answer> {
        let (id, word) = match reply {
            Reply::Done { id, outcome, .. } => (*id, Ok(outcome.clone())),
            // It says nothing about the request.
            Reply::Refused { reason, .. } if *reason == Refusal::Busy || !reason.is_definite() => {
                return None;
            }
            Reply::Refused { id, reason } => (*id, Err(reason.clone())),
            Reply::ReadReady { .. } | Reply::ReadRefused { .. } => return None,
        };
        let enough = quorum::weak(self.config.members.voters().len());
        let is_asked = self.config.members.is_voter(from);
        let open = self.open.get_mut(&id.sequence).filter(|open| is_asked && open.request.id() == id)?;
        let is_settled = open.words.get(&from).is_some_and(|known| known.is_ok() || word.is_err());
        if is_settled {
            return None;
        }
        let alike = 1 + open.words.iter().filter(|(node, known)| **node != from && **known == word).count();
        if alike < enough {
            open.words.insert(from, word);
            return None;
        }
        self.open.remove(&id.sequence);
        Some(Answer { id, outcome: word })
    }

    /// When [`Client::ask_again`] has something to ask.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.open.values().map(|open| open.again).min()
    }

    /// What was not answered in time: to be proposed at all replicas once more, which carry it out once.
    pub fn ask_again(&mut self, now: Time) -> Vec<Request> {
        let mut late = Vec::new();
        for open in self.open.values_mut().filter(|open| open.again <= now) {
            open.again = now + patience(&self.config, open.times);
            open.times = open.times.saturating_add(1);
            late.push(open.request.clone());
        }
        late
    }

    /// Waits for this one no more; whether it did. It may or may not take effect.
    pub fn give_up(&mut self, id: ProposalId) -> bool {
        let is_open = self.open.get(&id.sequence).is_some_and(|open| open.request.id() == id);
        is_open && self.open.remove(&id.sequence).is_some()
    }

    /// How many requests wait for an answer.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }
}

/// How long a request waits that was asked for so many times before.
fn patience(config: &ClientConfig, times: u32) -> Duration {
    let ClientConfig { retry_ms, max_retry_ms, .. } = *config;
    let doubled = retry_ms.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX));
    Duration::from_millis(doubled.min(max_retry_ms.max(retry_ms)))
}
