//! A leader appends, two followers append and acknowledge, the leader says so. No elections, no checks, no journal, no
//! recovery: what a protocol under the same discipline pays at least, if every follower is sent a list of its own.

use super::{Contestant, Payloads, Tally};
use anyhow::Result;
use bytes::Bytes;

#[derive(Default)]
pub(super) struct Bare {
    replicas: [Replica; 3],
}

#[derive(Default)]
struct Replica {
    log: Vec<Bytes>,
    applied: usize,
    tally: Tally,
}

enum Message {
    Append(Vec<Bytes>),
    Appended(usize),
    Commit(usize),
}

impl Replica {
    fn apply_through(&mut self, end: usize) {
        for payload in self.log.get(self.applied..end).unwrap_or_default() {
            self.tally.apply(payload);
        }
        self.applied = end;
    }

    fn on_message(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Append(mut entries) => {
                self.log.append(&mut entries);
                Some(Message::Appended(self.log.len()))
            }
            Message::Appended(length) => {
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
}

impl Contestant for Bare {
    fn burst(&mut self, payloads: &mut Payloads, count: usize) -> Result<()> {
        let [leader, followers @ ..] = &mut self.replicas;
        let batch: Vec<Bytes> = (0..count).map(|_| Bytes::copy_from_slice(payloads.next())).collect();
        let mut outbox: Vec<(usize, Message)> =
            followers.iter().enumerate().map(|(to, _)| (to, Message::Append(batch.clone()))).collect();
        leader.log.extend(batch);
        let mut inbox = Vec::new();
        for (to, message) in outbox.drain(..) {
            inbox.extend(followers.get_mut(to).and_then(|follower| follower.on_message(message)));
        }
        for message in inbox {
            if let Some(Message::Commit(length)) = leader.on_message(message) {
                outbox.extend((0..followers.len()).map(|to| (to, Message::Commit(length))));
            }
        }
        for (to, message) in outbox {
            followers.get_mut(to).and_then(|follower| follower.on_message(message));
        }
        for replica in &mut self.replicas {
            if replica.log.len() > super::KEEP_ENTRIES {
                replica.log.clear();
                replica.applied = 0;
            }
        }
        Ok(())
    }

    fn tallies(&self) -> [Tally; 3] {
        self.replicas.each_ref().map(|replica| replica.tally)
    }
}
