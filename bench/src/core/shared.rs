//! The bare append loop once more, as lean as it can be: a batch is allocated once and shared by the three logs, every other
//! buffer is reused, and each replica notes whom to answer. No elections, no checks, no journal, no recovery: nothing that
//! replicates a log in one process under this discipline can be much faster.

use super::{Contestant, Payloads, Tally};
use anyhow::Result;
use bytes::Bytes;
use consensus_core::{ClientId, ProposalId};
use std::sync::Arc;

/// What a client proposes: whoever answers must know to whom.
struct Entry {
    id: ProposalId,
    payload: Bytes,
}

type Batch = Arc<[Entry]>;

#[derive(Default)]
pub(super) struct Shared {
    replicas: [Replica; 3],
    sequence: u64,
    proposed: Vec<Entry>,
    /// Messages to the followers, by place, and what the leader has received.
    outbox: Vec<(usize, Message)>,
    inbox: Vec<Message>,
}

#[derive(Default)]
struct Replica {
    log: Vec<Batch>,
    /// Batches that are applied.
    applied: usize,
    tally: Tally,
    replies: Vec<(ProposalId, u64)>,
}

enum Message {
    Append(Batch),
    /// So many batches are in the sender's log.
    Appended(usize),
    /// So many batches are committed.
    Commit(usize),
}

impl Replica {
    fn apply_through(&mut self, end: usize) {
        for batch in self.log.get(self.applied..end).unwrap_or_default() {
            for entry in batch.iter() {
                self.tally.apply(&entry.payload);
                self.replies.push((entry.id, self.tally.count));
            }
        }
        self.applied = end;
    }

    fn on_message(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Append(batch) => {
                self.log.push(batch);
                Some(Message::Appended(self.log.len()))
            }
            Message::Appended(length) => {
                // With the leader's own log, one follower is a quorum.
                if length <= self.applied {
                    return None;
                }
                self.apply_through(length);
                Some(Message::Commit(length))
            }
            Message::Commit(length) => {
                self.apply_through(length);
                None
            }
        }
    }

    fn cut(&mut self, keep: usize) {
        if self.log.len() > keep {
            self.log.clear();
            self.applied = 0;
        }
        self.replies.clear();
    }
}

impl Contestant for Shared {
    fn burst(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        let Self { replicas: [leader, followers @ ..], sequence, proposed, outbox, inbox } = self;
        for _ in 0..count {
            *sequence += 1;
            let id = ProposalId::new(ClientId::anonymous(1), *sequence);
            proposed.push(Entry { id, payload: Bytes::copy_from_slice(payloads.next()) });
        }
        let batch: Batch = proposed.drain(..).collect();
        outbox.extend((0..followers.len()).map(|to| (to, Message::Append(Arc::clone(&batch)))));
        leader.log.push(batch);
        for (to, message) in outbox.drain(..) {
            inbox.extend(followers.get_mut(to).and_then(|follower| follower.on_message(message)));
        }
        for message in inbox.drain(..) {
            if let Some(Message::Commit(length)) = leader.on_message(message) {
                outbox.extend((0..followers.len()).map(|to| (to, Message::Commit(length))));
            }
        }
        for (to, message) in outbox.drain(..) {
            followers.get_mut(to).and_then(|follower| follower.on_message(message));
        }
        for replica in &mut self.replicas {
            replica.cut(super::KEEP_ENTRIES / count);
        }
        Ok(())
    }

    fn tallies(&self) -> [Tally; 3] {
        self.replicas.each_ref().map(|replica| replica.tally)
    }
}
