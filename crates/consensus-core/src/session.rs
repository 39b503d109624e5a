//! Client sessions: a command is applied once per client sequence, however often it is decided (Ongaro 2014, §6.3).
//!
//! The table is part of the replicated state. It changes only by decisions, its bounds are constants, and it travels inside
//! every snapshot, so that all replicas admit and refuse alike. A session's identity is the slot that opened it, which never
//! comes again: a repeated `open` makes a second, unused session and harms nobody.
//!
//! A client counts its commands from 1 and may have as many in flight as replies are kept; they may be decided in any order. A
//! client that the group knows ([`ClientId::known`]) has a session from the beginning: its old commands stay old for good, and where
//! room for replies is short it is those that go, not the session.

use crate::id::{ClientId, ProposalId, Slot};
use crate::recent::Recent;
use alloc::collections::BTreeMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The most sessions that are kept; opening one more ends the one that was idle for longest.
pub const MAX_SESSIONS: usize = 4096;
/// The most replies that are kept for one session: the most commands that one client may have in flight.
pub const MAX_REPLIES: usize = 1024;
/// The most bytes of replies that are kept for one session. The reply of the highest sequence is always kept.
pub const MAX_REPLY_BYTES: usize = 1 << 20;
/// The most bytes of replies that are kept for all sessions together; one more ends the sessions that were idle for longest.
pub const MAX_TABLE_BYTES: usize = 64 << 20;

/// The sessions of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Table")]
pub struct Sessions {
    table: BTreeMap<ClientId, Session>,
    /// What clients without a session had carried out lately, where that is remembered.
    recent: Recent,
    /// Bytes of replies in all sessions.
    #[serde(skip)]
    held: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// The slot of its last command.
    last_used: Slot,
    /// Replies up to this sequence were let go: what is at or below it and not in `replies` cannot be judged any more.
    floor: u64,
    replies: BTreeMap<u64, Bytes>,
    /// Bytes in `replies`.
    #[serde(skip)]
    held: usize,
}

/// What arrives in a snapshot: a table that nobody has checked yet.
#[derive(Deserialize)]
struct Table {
    table: BTreeMap<ClientId, Session>,
    recent: Recent,
}

/// A table that no replica produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session table exceeds its bounds, or names a client without a session")]
struct Impossible;

impl TryFrom<Table> for Sessions {
    type Error = Impossible;

    fn try_from(Table { mut table, recent }: Table) -> Result<Self, Impossible> {
        let (mut held, mut holders) = (0, 0);
        for (client, session) in &mut table {
            session.held = session.replies.values().map(Bytes::len).sum();
            if !client.is_session() || session.is_over_full() {
                return Err(Impossible);
            }
            held += session.held;
            holders += usize::from(session.held > 0);
        }
        if table.len() > MAX_SESSIONS || (held > MAX_TABLE_BYTES && holders > 1) {
            return Err(Impossible);
        }
        Ok(Self { table, recent, held })
    }
}

/// What is to be done with a decided command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Apply it, then [`Sessions::record`] the reply.
    Fresh,
    /// It was applied before, with this reply.
    Repeated(Bytes),
    /// It may have been applied so long ago that the reply is gone. Do not apply it.
    Stale,
    /// The session is not (any more) in the table. Do not apply it.
    Expired,
}

impl Sessions {
    /// No sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Opens the session that the decision at `slot` asks for.
    pub fn open(&mut self, slot: Slot) -> ClientId {
        let client = ClientId::session(slot);
        self.begin(client, slot);
        client
    }

    fn begin(&mut self, client: ClientId, slot: Slot) {
        if self.table.len() >= MAX_SESSIONS {
            self.end_idlest();
        }
        self.table.insert(client, Session { last_used: slot, ..Session::default() });
    }

    /// Judges a decided command. Commands of anonymous clients are always fresh here.
    pub fn admit(&mut self, slot: Slot, id: ProposalId) -> Admission {
        if !id.client.is_session() {
            return Admission::Fresh;
        }
        if id.client.is_known() && !self.table.contains_key(&id.client) {
            self.begin(id.client, slot);
        }
        let Some(session) = self.table.get_mut(&id.client) else { return Admission::Expired };
        session.last_used = slot;
        match session.replies.get(&id.sequence) {
            Some(reply) => Admission::Repeated(reply.clone()),
            None if id.sequence <= session.floor => Admission::Stale,
            None => Admission::Fresh,
        }
    }

    /// Keeps the reply to a fresh command. Does nothing for anonymous clients.
    pub fn record(&mut self, id: ProposalId, reply: &Bytes) {
        let Some(session) = self.table.get_mut(&id.client) else { return };
        self.held -= session.held;
        session.record(id.sequence, reply);
        self.held += session.held;
        while self.held > MAX_TABLE_BYTES && self.make_room(id.client) {}
    }

    /// Judges a decided command of a client without a session, where one may be decided twice.
    pub(crate) fn admit_once(&self, id: ProposalId) -> Admission {
        match self.recent.get(id) {
            None => Admission::Fresh,
            Some((_, Some(reply))) => Admission::Repeated(reply.clone()),
            Some((_, None)) => Admission::Stale,
        }
    }

    /// Keeps the reply to a fresh command of a client without a session.
    pub(crate) fn record_once(&mut self, id: ProposalId, slot: Slot, reply: &Bytes) {
        self.recent.record(id, slot, reply);
    }

    /// Where a command of a client without a session was carried out, and the reply.
    pub(crate) fn recall(&self, id: ProposalId) -> Option<(Slot, Bytes)> {
        let (slot, reply) = self.recent.get(id)?;
        Some((slot, reply?.clone()))
    }

    fn end_idlest(&mut self) {
        let idlest =
            self.table.iter().min_by_key(|(_, session)| session.last_used).map(|(&client, _)| client);
        if let Some(session) = idlest.and_then(|client| self.table.remove(&client)) {
            self.held -= session.held;
        }
    }

    /// Lets go of what the idlest but this one holds; whether there was anything.
    fn make_room(&mut self, but: ClientId) -> bool {
        let others = self.table.iter_mut().filter(|(client, session)| **client != but && session.held > 0);
        let Some((&client, session)) = others.min_by_key(|(_, session)| session.last_used) else {
            return false;
        };
        self.held -= session.held;
        if client.is_known() {
            session.let_go()
        } else {
            drop(self.table.remove(&client))
        }
        true
    }
}

impl Session {
    fn record(&mut self, sequence: u64, reply: &Bytes) {
        self.held += reply.len();
        // A reply that is a slice of something larger would keep all of it alive.
        if let Some(before) = self.replies.insert(sequence, Bytes::copy_from_slice(reply)) {
            self.held -= before.len();
        }
        while self.is_over_full() {
            let Some((sequence, dropped)) = self.replies.pop_first() else { break };
            self.floor = self.floor.max(sequence);
            self.held -= dropped.len();
        }
    }

    /// What was carried out stays so, and is not told again.
    fn let_go(&mut self) {
        let last = self.replies.last_key_value().map_or(0, |(&sequence, _)| sequence);
        self.floor = self.floor.max(last);
        self.replies.clear();
        self.held = 0;
    }

    fn is_over_full(&self) -> bool {
        self.replies.len() > 1 && (self.replies.len() > MAX_REPLIES || self.held > MAX_REPLY_BYTES)
    }
}
