//! What was settled: so that a retry, a message that comes late or twice, and a transaction of another coordinator under a name that is
//! taken are known for what they are.
//!
//! It is bounded. Of each client the newest verdicts are kept, and a floor: what is below it may have been settled, and the verdict is
//! gone. If all verdicts together are too many, the client that was idle for longest is forgotten. From then on a
//! name that is not known is no proof that nobody voted under it.

use crate::config::Config;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use consensus_core::{ClientId, ProposalId};
use serde::{Deserialize, Serialize};

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Nothing was settled under it.
    Fresh,
    /// It was committed, or not.
    Known(bool),
    /// It may have been settled, and the verdict is gone.
    Forgotten,
}

/// Sequences, and whether they were committed.
type Verdicts = Vec<(u64, bool)>;

/// The settled transactions, as they stand in a snapshot's wake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Of each client its floor and its verdicts, the client that was idle for longest first.
    clients: Vec<(ClientId, u64, Verdicts)>,
    /// Whether a client was forgotten.
    has_forgotten: bool,
}

#[derive(Debug, Default)]
struct Client {
    floor: u64,
    verdicts: BTreeMap<u64, bool>,
    last_used: u64,
}

/// The settled transactions.
// [T14]
#[derive(Debug, Default)]
pub(crate) struct Past {
    clients: BTreeMap<ClientId, Client>,
    by_use: BTreeMap<u64, ClientId>,
    uses: u64,
    len: usize,
    has_forgotten: bool,
}

impl Past {
    /// What is known of `id`.
    pub(crate) fn recall(&self, id: ProposalId) -> Memory {
        let Some(client) = self.clients.get(&id.client) else { return Memory::Fresh };
        match client.verdicts.get(&id.sequence) {
            Some(&commit) => Memory::Known(commit),
            None if id.sequence < client.floor => Memory::Forgotten,
            None => Memory::Fresh,
        }
    }

    /// Whether a name that is not known was surely never voted for here.
    pub(crate) const fn is_complete(&self) -> bool {
        !self.has_forgotten
    }

    /// How many verdicts are remembered.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Notes a verdict.
    pub(crate) fn settle(&mut self, id: ProposalId, commit: bool, config: &Config) {
        self.uses += 1;
        let client = self.clients.entry(id.client).or_default();
        self.by_use.remove(&client.last_used);
        client.last_used = self.uses;
        self.by_use.insert(self.uses, id.client);
        if id.sequence >= client.floor {
            self.len += usize::from(client.verdicts.insert(id.sequence, commit).is_none());
        }
        if client.verdicts.len() > config.remembered_per_client
            && let Some((sequence, _)) = client.verdicts.pop_first()
        {
            client.floor = client.floor.max(sequence.saturating_add(1));
            self.len -= 1;
        }
        while self.len > config.remembered {
            let Some((_, idlest)) = self.by_use.pop_first() else { return };
            self.len -= self.clients.remove(&idlest).map_or(0, |client| client.verdicts.len());
            self.has_forgotten = true;
        }
    }

    /// Takes a verdict back: for planted bugs alone.
    pub(crate) fn forget(&mut self, id: ProposalId) {
        let client = self.clients.get_mut(&id.client);
        self.len -= usize::from(client.is_some_and(|client| client.verdicts.remove(&id.sequence).is_some()));
    }

    /// All of it, to be written down.
    pub(crate) fn remembered(&self) -> Remembered {
        let of = |name: &ClientId| {
            let client = self.clients.get(name)?;
            Some((
                *name,
                client.floor,
                client.verdicts.iter().map(|(&sequence, &commit)| (sequence, commit)).collect(),
            ))
        };
        Remembered {
            clients: self.by_use.values().filter_map(of).collect(),
            has_forgotten: self.has_forgotten,
        }
    }

    /// What was written down.
    pub(crate) fn restored(remembered: Remembered, config: &Config) -> Self {
        let mut past = Self { has_forgotten: remembered.has_forgotten, ..Self::default() };
        for (name, floor, verdicts) in remembered.clients {
            for (sequence, commit) in verdicts {
                past.settle(ProposalId::new(name, sequence), commit, config);
            }
            if let Some(client) = past.clients.get_mut(&name) {
                client.floor = client.floor.max(floor);
            }
        }
        past
    }

    pub(crate) fn assert_invariants(&self, config: &Config) {
        let sum: usize = self.clients.values().map(|client| client.verdicts.len()).sum();
        assert_eq!(self.len, sum, "the counter of verdicts leaks");
        assert!(self.len <= config.remembered, "more verdicts than may be kept");
        assert_eq!(self.by_use.len(), self.clients.len(), "the two views of clients differ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(client: u64, sequence: u64) -> ProposalId {
        ProposalId::new(ClientId::anonymous(client), sequence)
    }

    // tests [T14]
    #[test]
    fn the_newest_verdicts_are_kept_and_what_is_below_the_floor_is_forgotten() {
        let config = Config { remembered_per_client: 2, remembered: 3, ..Config::default() };
        let mut past = Past::default();
        (1..=3).for_each(|sequence| past.settle(id(1, sequence), sequence != 2, &config));
        let seen = [1, 2, 3, 4].map(|sequence| past.recall(id(1, sequence)));
        assert_eq!(seen, [Memory::Forgotten, Memory::Known(false), Memory::Known(true), Memory::Fresh]);
        let again = Past::restored(past.remembered(), &config);
        assert_eq!([1, 2, 3, 4].map(|sequence| again.recall(id(1, sequence))), seen);
        assert!(past.is_complete());
        // One verdict too many: who was idle for longest is forgotten.
        past.settle(id(2, 1), true, &config);
        past.settle(id(3, 1), true, &config);
        assert_eq!((past.recall(id(1, 3)), past.recall(id(3, 1))), (Memory::Fresh, Memory::Known(true)));
        assert!(!past.is_complete() && !Past::restored(past.remembered(), &config).is_complete());
        past.assert_invariants(&config);
    }

    #[test]
    fn what_settles_below_the_floor_is_not_remembered() {
        let config = Config { remembered_per_client: 1, ..Config::default() };
        let mut past = Past::default();
        for sequence in [5, 7, 6] {
            past.settle(id(1, sequence), true, &config);
        }
        assert_eq!(past.recall(id(1, 6)), Memory::Forgotten);
        assert_eq!(past.recall(id(1, 7)), Memory::Known(true));
        past.assert_invariants(&config);
    }
}
