//! One replica of a group whose others are played by the test.

use super::signing::{batch, commit, pre_prepare, prepare};
use super::{Cluster, Disk, request};
use pbft::{Config, Digest, Message, PrePrepare, ViewChange, Vote};

/// Replica `own` is up, alone.
pub struct Lone {
    pub cluster: Cluster,
    pub own: u64,
}

impl Lone {
    pub fn new(own: u64, size: u64, config: Config) -> Self {
        Self::on(own, size, config, Disk::default)
    }

    pub fn on(own: u64, size: u64, config: Config, disk: impl Fn() -> Disk) -> Self {
        let mut cluster = Cluster::on(size, config, disk);
        (1..=size).filter(|&id| id != own).for_each(|id| cluster.crash(id));
        Self { cluster, own }
    }

    /// It hears this; what it says to one other, who is no primary of a low view, is returned.
    pub fn hear(&mut self, from: u64, message: Message) -> Vec<Message> {
        let own = self.own;
        self.cluster.tell(from, own, message);
        self.said()
    }

    /// What it has said to the last other, since we last looked.
    pub fn said(&mut self) -> Vec<Message> {
        let last = self.cluster.members.voters().len() as u64;
        let to = if last == self.own { last - 1 } else { last };
        let said = self.cluster.said(self.own, to);
        self.cluster.wire.clear();
        said
    }

    pub fn wait(&mut self, ms: u64) -> Vec<Message> {
        let end = self.cluster.now + std::time::Duration::from_millis(ms);
        let mut said = Vec::new();
        while let Some((at, id)) = self.cluster.next_deadline().filter(|&(at, _)| at <= end) {
            self.cluster.now = self.cluster.now.max(at);
            self.cluster.handle(id, consensus_core::Event::Tick);
            said.extend(self.said());
        }
        self.cluster.now = end;
        said
    }

    pub fn restart(&mut self) {
        self.cluster.crash(self.own);
        self.cluster.start(self.own);
    }

    /// A client asks it for something.
    pub fn ask(&mut self, number: u64) -> Vec<Message> {
        self.cluster.propose(self.own, number);
        self.said()
    }

    /// Request `number` is put at this place by the primary and prepared by these.
    pub fn come_to_prepare(
        &mut self,
        primary: u64,
        view: u64,
        sequence: u64,
        number: u64,
        backups: &[u64],
    ) -> Digest {
        self.ask(number);
        let batch = batch([request(number)]);
        let digest = batch.digest();
        self.hear(primary, pre_prepare(primary, view, sequence, batch));
        for &backup in backups {
            self.hear(backup, prepare(backup, view, sequence, digest));
        }
        digest
    }

    /// The same, and committed by these, with its own word.
    pub fn come_to_commit(
        &mut self,
        primary: u64,
        view: u64,
        sequence: u64,
        number: u64,
        backups: &[u64],
    ) -> Digest {
        let digest = self.come_to_prepare(primary, view, sequence, number, backups);
        for &other in backups.iter().chain([&primary]) {
            self.hear(other, commit(other, view, sequence, digest));
        }
        digest
    }

    pub fn executed(&self) -> u64 {
        self.cluster.executed(self.own)
    }

    pub fn view(&self) -> u64 {
        self.cluster.view(self.own)
    }

    /// How often somebody was accused of anything.
    pub fn accused(&self, of: u64) -> usize {
        self.cluster.offences(of).len()
    }
}

fn place(vote: &Vote) -> (u64, u64, Digest) {
    (vote.view.0, vote.sequence.0, vote.digest)
}

/// View, place and digest of the PREPAREs among these.
pub fn prepares(said: &[Message]) -> Vec<(u64, u64, Digest)> {
    said.iter()
        .filter_map(|message| if let Message::Prepare(vote) = message { Some(place(vote)) } else { None })
        .collect()
}

/// View, place and digest of the COMMITs among these.
pub fn commits(said: &[Message]) -> Vec<(u64, u64, Digest)> {
    said.iter()
        .filter_map(|message| if let Message::Commit(vote) = message { Some(place(vote)) } else { None })
        .collect()
}

/// The PRE-PREPAREs among these.
pub fn proposals(said: &[Message]) -> Vec<PrePrepare> {
    said.iter()
        .filter_map(
            |message| if let Message::PrePrepare(message) = message { Some(message.clone()) } else { None },
        )
        .collect()
}

/// The VIEW-CHANGEs among these.
pub fn changes(said: &[Message]) -> Vec<ViewChange> {
    said.iter()
        .filter_map(
            |message| if let Message::ViewChange(change) = message { Some((**change).clone()) } else { None },
        )
        .collect()
}

/// The views that are wanted in these.
pub fn wanted(said: &[Message]) -> Vec<u64> {
    changes(said).iter().map(|change| change.view.0).collect()
}

/// Place and digest of the CHECKPOINTs among these.
pub fn checkpoints(said: &[Message]) -> Vec<(u64, Digest)> {
    let of = |message: &Message| {
        if let Message::Checkpoint(vote) = message { Some((vote.sequence.0, vote.digest)) } else { None }
    };
    said.iter().filter_map(of).collect()
}

/// Whether it tells of requests.
pub fn vouches(said: &[Message]) -> bool {
    said.iter().any(|message| matches!(message, Message::Requests(_)))
}
