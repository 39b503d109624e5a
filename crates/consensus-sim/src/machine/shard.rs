//! The state machine of atomic commitment: one participant's registers, and what it has reserved for transactions.
//!
//! A transaction names what it writes, and where. A participant accepts it if the workload does not want it to refuse and if
//! none of its registers is reserved for another; it reserves them until the verdict. What a register holds depends on the
//! order of its writes, so that a transaction applied twice, never, or out of its turn shows.

use super::{Applied, Journal, Key, Value};
use crate::trace::hash_bytes;
use bytes::Bytes;
use consensus_core::{Decision, InstallError, NodeId, ProposalId, Slot, StateMachine, Verdict, wire};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The longest transaction that the machine takes: a guard for decoding, above every workload.
const MAX_TRANSACTION_BYTES: usize = 1 << 20;

/// One write of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionWrite {
    /// Whose register.
    pub node: NodeId,
    /// Which.
    pub key: Key,
    /// What is appended to it.
    pub mark: u64,
}

/// A transaction as it is proposed. Its participants are the nodes that it writes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What it writes.
    pub writes: Vec<TransactionWrite>,
    /// Participants that refuse it, for reasons of their own.
    pub refused_by: Vec<NodeId>,
}

impl Transaction {
    /// Reads a payload.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        wire::decode(payload, MAX_TRANSACTION_BYTES).ok()
    }

    /// Who takes part.
    #[must_use]
    pub fn participants(&self) -> BTreeSet<NodeId> {
        self.writes.iter().map(|write| write.node).collect()
    }
}

/// A register, and how often it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What it holds.
    pub value: Value,
    /// How many transactions wrote it.
    pub version: u64,
}

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    cells: BTreeMap<Key, Cell>,
    settled: BTreeMap<ProposalId, bool>,
}

/// One participant's part of the data.
#[derive(Clone, Debug)]
pub struct Shard {
    id: NodeId,
    content: Content,
    reserved: BTreeMap<Key, ProposalId>,
    journal: Journal,
}

impl Shard {
    /// The empty shard of node `id`, that reports to `journal`.
    #[must_use]
    pub fn new(id: NodeId, journal: Journal) -> Self {
        Self { id, content: Content::default(), reserved: BTreeMap::new(), journal }
    }

    /// The transactions for which something is reserved.
    #[must_use]
    pub fn reservations(&self) -> BTreeSet<ProposalId> {
        self.reserved.values().copied().collect()
    }

    fn own(&self, transaction: &Transaction) -> Vec<TransactionWrite> {
        transaction.writes.iter().filter(|write| write.node == self.id).copied().collect()
    }

    /// Carries the writes out; what the registers hold then, and a transaction whose reservation was in the way.
    fn carry_out(&mut self, id: ProposalId, payload: &[u8]) -> (Vec<(Key, Cell)>, Option<ProposalId>) {
        let writes = self.own(&Transaction::decode(payload).unwrap_or_default());
        let held = writes.iter().filter_map(|write| self.reserved.get(&write.key));
        let intruded = held.copied().find(|&holder| holder != id);
        let cells = writes.iter().map(|write| {
            let cell = self.content.cells.entry(write.key).or_default();
            *cell = Cell { value: cell.value.appended(write.mark), version: cell.version + 1 };
            (write.key, *cell)
        });
        (cells.collect(), intruded)
    }
}

impl StateMachine for Shard {
    fn judge(&mut self, id: ProposalId, payload: &Bytes) -> bool {
        let Some(transaction) = Transaction::decode(payload) else { return false };
        let writes = self.own(&transaction);
        if writes.is_empty() {
            // A bystander, if the algorithm asks everybody: it has no vote of its own.
            return true;
        }
        let free =
            |write: &TransactionWrite| self.reserved.get(&write.key).is_none_or(|&holder| holder == id);
        let accept = !transaction.refused_by.contains(&self.id) && writes.iter().all(free);
        if accept {
            self.reserved.extend(writes.iter().map(|write| (write.key, id)));
        }
        self.journal.borrow_mut().push(Applied::Judged { id, accept });
        accept
    }

    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        let Decision { slot: _, id, verdict, payload } = decision;
        let name = id.unwrap_or_default();
        let (cells, intruded) = match verdict {
            Verdict::Commit => self.carry_out(name, payload),
            Verdict::Abort | Verdict::Noop => (Vec::new(), None),
        };
        self.reserved.retain(|_, holder| *holder != name);
        self.content.settled.insert(name, verdict == Verdict::Commit);
        let content = hash_bytes(0, payload);
        self.journal.borrow_mut().push(Applied::Settled { id, verdict, content, cells, intruded });
        wire::encode(&verdict).into()
    }

    fn query(&self, request: &Bytes) -> Bytes {
        let key = wire::decode::<Key>(request, MAX_TRANSACTION_BYTES).ok();
        wire::encode(&key.and_then(|key| self.content.cells.get(&key))).into()
    }

    fn snapshot(&self) -> Bytes {
        wire::encode(&self.content).into()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        self.content =
            wire::decode(&snapshot, snapshot.len()).map_err(|error| InstallError(error.to_string()))?;
        let Content { cells, settled } = self.content.clone();
        self.journal.borrow_mut().push(Applied::Restored { settled, cells });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);

    fn transaction(keys: &[u16], refused_by: &[NodeId]) -> Bytes {
        let write = |&key| TransactionWrite { node: ME, key: Key(key), mark: 7 };
        let transaction =
            Transaction { writes: keys.iter().map(write).collect(), refused_by: refused_by.to_vec() };
        wire::encode(&transaction).into()
    }

    fn settle(shard: &mut Shard, number: u64, verdict: Verdict, payload: &Bytes) {
        shard.apply(Decision { slot: Slot(1), id: Some(name(number)), verdict, payload });
    }

    fn name(number: u64) -> ProposalId {
        ProposalId { sequence: number, ..ProposalId::default() }
    }

    #[test]
    fn a_reservation_keeps_others_out_until_the_verdict() {
        let mut shard = Shard::new(ME, Journal::default());
        let (one, two) = (transaction(&[1, 2], &[]), transaction(&[2, 3], &[]));
        assert!(shard.judge(name(1), &one) && shard.judge(name(1), &one));
        assert!(!shard.judge(name(2), &two));
        settle(&mut shard, 1, Verdict::Abort, &one);
        assert!(shard.judge(name(2), &two), "an abort gives back what was reserved");
        settle(&mut shard, 2, Verdict::Commit, &two);
        assert!(shard.reservations().is_empty());
        assert_eq!(shard.content.cells.len(), 2);
        assert!(!shard.judge(name(3), &transaction(&[1], &[ME])), "it is told to refuse");
    }

    #[test]
    fn a_commit_over_a_reservation_of_another_shows() {
        let mut shard = Shard::new(ME, Journal::default());
        let payload = transaction(&[1], &[]);
        assert!(shard.judge(name(1), &payload));
        settle(&mut shard, 2, Verdict::Commit, &payload);
        let journal = shard.journal.borrow();
        assert!(
            matches!(journal.last(), Some(Applied::Settled { intruded: Some(id), .. }) if *id == name(1))
        );
    }
}
