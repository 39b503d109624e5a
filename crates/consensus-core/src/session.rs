//! Client sessions: a command is applied once per client sequence, however often it is decided (Ongaro 2014, §6.3).
//!
//! The table is part of the replicated state. It changes only by decisions, its bounds are constants, and it travels inside
//! every snapshot, so that all replicas admit and refuse alike. A session's identity is the slot that opened it, which never
//! comes again: a repeated `open` makes a second, unused session and harms nobody.

use crate::id::{ClientId, ProposalId, Slot};
use alloc::collections::BTreeMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The most sessions that are kept; opening one more ends the one that was idle for longest.
pub const MAX_SESSIONS: usize = 4096;
/// The most replies that are kept for one session: the most commands that one client may have in flight.
pub const MAX_REPLIES: usize = 1024;
/// The most bytes of replies that are kept for one session. The newest reply is always kept.
pub const MAX_REPLY_BYTES: usize = 1 << 20;

/// The sessions of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    table: BTreeMap<ClientId, Session>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// The slot of its last command.
    last_used: Slot,
    /// Replies up to this sequence were let go: what is at or below it and not in `replies` cannot be judged any more.
    floor: u64,
    replies: BTreeMap<u64, Bytes>,
    /// Bytes in `replies`.
    held: usize,
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
        if self.table.len() >= MAX_SESSIONS {
            let idlest =
                self.table.iter().min_by_key(|(_, session)| session.last_used).map(|(&client, _)| client);
            if let Some(client) = idlest {
                self.table.remove(&client);
            }
        }
        let client = ClientId::session(slot);
        self.table.insert(client, Session { last_used: slot, ..Session::default() });
        client
    }

    /// Judges a decided command. Commands of anonymous clients are always fresh.
    pub fn admit(&mut self, slot: Slot, id: ProposalId) -> Admission {
        if !id.client.is_session() {
            return Admission::Fresh;
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
        // A reply that is a slice of something larger would keep all of it alive.
        session.held += reply.len();
        session.replies.insert(id.sequence, Bytes::copy_from_slice(reply));
        while session.replies.len() > 1
            && (session.replies.len() > MAX_REPLIES || session.held > MAX_REPLY_BYTES)
        {
            let Some((sequence, dropped)) = session.replies.pop_first() else { break };
            session.floor = session.floor.max(sequence);
            session.held -= dropped.len();
        }
    }
}
