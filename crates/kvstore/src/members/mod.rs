//! The members as the group knows them: replicated state, like the keys, and changed at the same places of the log on every
//! replica. So all of them answer `member list` alike, and dial the addresses that it shows.
//!
//! **Intuition.** Two voices write this table. *Commands* say what only the store knows: names, addresses, which id a newcomer
//! gets. The *protocol* says who is a member and who has a vote ([`MemberTable::follow`]). A newcomer is first reserved an id by a
//! command, and becomes a member when the protocol says so.
//!
//! **Invariants.**
//! - An id is given once, for ever: they are counted, and the count never falls. An id below the count that is not in the table
//!   was removed.
//! - No two members, and no two newcomers, share an address for peers.
//! - An id belongs to one data directory: to the first *incarnation* that claims it. One that has lost its disk may have promised
//!   what it no longer knows, and must come back under another id.
//! - Equal commands and equal members in equal order give equal tables.

mod command;

pub use command::{Founder, MemberCommand, MemberRefusal, MemberReply};

use crate::proto::etcdserverpb::Member;
use consensus_core::wire::{self, WireError};
use consensus_core::{MAX_MEMBERS, Members, NodeId};
use consensus_runtime::{MAX_ADDRESSES, PeerAddress, Peers};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The scheme of every URL of ours: there is no encryption.
const SCHEME: &str = "http://";
/// The longest name of a member, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The most newcomers that were given an id and are no members yet; for another one the oldest is forgotten.
const MAX_RESERVED: usize = 8;

/// What is known of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name; empty until it has started.
    pub name: String,
    /// Where peers reach it.
    pub peers: Vec<PeerAddress>,
    /// The URLs at which clients reach it; none until it has started.
    pub client_urls: Vec<String>,
    /// Whether it has no vote.
    pub is_learner: bool,
    /// Whether it is to be given a vote as soon as it has caught up.
    pub wants_vote: bool,
    /// Whose id it is; zero until it has started.
    pub incarnation: u64,
}

/// All members, and those who are about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberTable {
    revision: u64,
    /// The id that the next newcomer gets. Zero: nobody has said yet who the founders are.
    next: NodeId,
    rows: BTreeMap<NodeId, Row>,
    reserved: BTreeMap<NodeId, Row>,
}

impl MemberTable {
    /// Counts the changes.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it is known who the founders are.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.next > NodeId::ZERO
    }

    /// The members.
    pub fn rows(&self) -> impl Iterator<Item = (NodeId, &Row)> {
        self.rows.iter().map(|(&id, row)| (id, row))
    }

    /// One member.
    #[must_use]
    pub fn row(&self, id: NodeId) -> Option<&Row> {
        self.rows.get(&id)
    }

    /// Whether somebody had this id once, and has it no more.
    #[must_use]
    pub fn has_removed(&self, id: NodeId) -> bool {
        id > NodeId::ZERO
            && id < self.next
            && !self.rows.contains_key(&id)
            && !self.reserved.contains_key(&id)
    }

    /// As clients are told.
    #[must_use]
    pub fn list(&self) -> Vec<Member> {
        self.rows.iter().map(|(&id, row)| row.to_member(id)).collect()
    }

    /// Whom replicas dial, and whom they turn away.
    #[must_use]
    pub fn peers(&self) -> Peers {
        let rows = self.rows.iter().chain(&self.reserved);
        let addresses = rows.map(|(&id, row)| (id, row.peers.clone())).collect();
        Peers { revision: self.revision, addresses, unused_from: self.next }
    }

    /// The protocol says who the members are from now on. Those who were not, are members now; those who are no more, never
    /// will be again.
    pub fn follow(&mut self, members: &Members) {
        if !self.is_founded() {
            return;
        }
        let before = (self.next, self.rows.clone());
        self.rows.retain(|&id, _| members.contains(id));
        for id in members.iter() {
            let newcomer = self.reserved.remove(&id);
            // Of somebody whom no command has announced there is nothing to tell: whoever leads removes it again.
            let row = self.rows.entry(id).or_insert_with(|| newcomer.unwrap_or_default());
            row.is_learner = !members.is_voter(id);
            row.wants_vote &= row.is_learner;
            self.next = self.next.max(id.next());
        }
        if before != (self.next, self.rows.clone()) {
            self.revision += 1;
        }
    }

    /// Members whom no command has announced: the newcomer's reservation was forgotten before the protocol let it in.
    pub fn orphans(&self) -> impl Iterator<Item = NodeId> {
        self.rows().filter(|(_, row)| row.peers.is_empty()).map(|(id, _)| id)
    }

    /// Members that are to be given a vote as soon as they have caught up.
    pub fn aspirants(&self) -> impl Iterator<Item = NodeId> {
        self.rows().filter(|(_, row)| row.wants_vote).map(|(id, _)| id)
    }

    /// For a snapshot, and for a digest: equal tables give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// What [`MemberTable::encode`] made.
    ///
    /// # Errors
    /// The bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let table: Self = wire::decode(bytes, bytes.len())?;
        let all = || table.rows.iter().chain(&table.reserved);
        let is_sound = all().all(|(&id, row)| id > NodeId::ZERO && id < table.next && row.is_bounded())
            && table.reserved.keys().all(|id| !table.rows.contains_key(id))
            && table.reserved.len() <= MAX_RESERVED
            && all().count() <= MAX_MEMBERS;
        if is_sound {
            Ok(table)
        } else {
            Err(WireError::Malformed("a table of members that contradicts itself"))
        }
    }

    /// Who has one of these addresses.
    fn owner(&self, peers: &[PeerAddress]) -> Option<NodeId> {
        let shares = |row: &Row| row.peers.iter().any(|address| peers.contains(address));
        self.rows.iter().chain(&self.reserved).find(|(_, row)| shares(row)).map(|(&id, _)| id)
    }
}

impl Row {
    fn to_member(&self, id: NodeId) -> Member {
        Member {
            id: id.0,
            name: self.name.clone(),
            peer_ur_ls: self.peers.iter().map(url_of).collect(),
            client_ur_ls: self.client_urls.clone(),
            is_learner: self.is_learner,
        }
    }

    fn is_bounded(&self) -> bool {
        self.name.len() <= MAX_NAME_BYTES
            && self.peers.len() <= MAX_ADDRESSES
            && self.client_urls.len() <= MAX_ADDRESSES
            && self.client_urls.iter().all(|url| address_of(url).is_some())
    }
}

/// The URL of an address.
#[must_use]
pub fn url_of(address: &PeerAddress) -> String {
    format!("{SCHEME}{address}")
}

/// The address of a URL; `None` if it is none of ours: `http`, a host, a port, and nothing else.
#[must_use]
pub fn address_of(url: &str) -> Option<PeerAddress> {
    url.strip_prefix(SCHEME)?.parse().ok()
}

/// The addresses of these URLs; `None` if there is none, there are too many, one is none of ours, or two are the same.
#[must_use]
pub fn addresses_of(urls: &[String]) -> Option<Vec<PeerAddress>> {
    let mut addresses: Vec<PeerAddress> = Vec::new();
    for url in urls {
        let address = address_of(url)?;
        if addresses.contains(&address) {
            return None;
        }
        addresses.push(address);
    }
    (1..=MAX_ADDRESSES).contains(&addresses.len()).then_some(addresses)
}

/// A table that is written by one and read, and watched, by many.
#[derive(Clone, Debug)]
pub struct SharedMembers {
    table: Arc<watch::Sender<Arc<MemberTable>>>,
    is_fixed: bool,
}

impl Default for SharedMembers {
    fn default() -> Self {
        Self { table: Arc::new(watch::Sender::new(Arc::default())), is_fixed: false }
    }
}

impl SharedMembers {
    /// A table that knows nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A table that stays as it is, and is no part of the replicated state: where members may lie, nobody is believed who says that
    /// another one has moved, or is somebody else.
    #[must_use]
    pub fn fixed(rows: BTreeMap<NodeId, Row>) -> Self {
        let next = rows.keys().next_back().map_or(NodeId(1), |last| last.next());
        let table = MemberTable { next, rows, ..MemberTable::default() };
        Self { table: Arc::new(watch::Sender::new(Arc::new(table))), is_fixed: true }
    }

    /// Whether it stays as it is.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// The table as it is now.
    #[must_use]
    pub fn table(&self) -> Arc<MemberTable> {
        Arc::clone(&self.table.borrow())
    }

    /// A receiver that sees each change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<MemberTable>> {
        self.table.subscribe()
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut MemberTable) -> T) -> T {
        let mut table = MemberTable::clone(&self.table.borrow());
        let result = change(&mut table);
        self.table.send_if_modified(|known| {
            let is_news = **known != table;
            if is_news {
                *known = Arc::new(table);
            }
            is_news
        });
        result
    }
}

#[cfg(test)]
mod tests;
