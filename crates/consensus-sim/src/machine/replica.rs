//! The state machine of convergence: registers in which concurrent writes stand side by side.
//!
//! A write names the writes that its replica held in that register when it accepted it, and replaces them. What it does not
//! name stays as its sibling. Since writes come in causal order, what is to be replaced is always there already, and replicas
//! that have the same writes hold the same. A read returns the greatest sibling: any rule would do, as long as all share it.

use super::{Answer, Applied, Journal, Key, Value};
use crate::trace::hash_bytes;
use bytes::Bytes;
use consensus_core::{Decision, InstallError, ProposalId, Slot, StateMachine, wire};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The longest write that the machine takes: a guard for decoding, above every workload.
const MAX_WRITE_BYTES: usize = 1 << 20;

/// A write as it is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CausalWrite {
    /// Which register.
    pub key: Key,
    /// What to write.
    pub mark: u64,
    /// The writes that it replaces.
    pub replaces: Vec<ProposalId>,
    /// Ballast: it makes writes as large as the plan wants them.
    pub ballast: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    siblings: BTreeMap<Key, BTreeMap<ProposalId, Value>>,
    /// Every write that was applied, whether or not it is still there.
    included: BTreeSet<ProposalId>,
}

/// A replica's registers.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    content: Content,
    /// A write replaces whatever is there: beyond every claim, to test the tester.
    last_wins: bool,
    journal: Journal,
}

impl Replica {
    /// Empty registers that report to `journal`. If the `last_wins`, replicas that get concurrent writes in different orders
    /// do not converge.
    #[must_use]
    pub fn new(journal: Journal, last_wins: bool) -> Self {
        Self { journal, last_wins, ..Self::default() }
    }

    /// What a read returns.
    #[must_use]
    pub fn get(&self, key: Key) -> Value {
        let siblings = self.content.siblings.get(&key);
        siblings.and_then(|siblings| siblings.values().max()).copied().unwrap_or_default()
    }

    /// What a read of each register returns.
    #[must_use]
    pub fn registers(&self) -> BTreeMap<Key, Value> {
        self.content.siblings.keys().map(|&key| (key, self.get(key))).collect()
    }

    /// The writes that a write to this register replaces.
    #[must_use]
    pub fn siblings(&self, key: Key) -> Vec<ProposalId> {
        self.content.siblings.get(&key).map(|siblings| siblings.keys().copied().collect()).unwrap_or_default()
    }

    fn carry_out(&mut self, id: ProposalId, write: &CausalWrite) {
        let siblings = self.content.siblings.entry(write.key).or_default();
        siblings.retain(|sibling, _| !self.last_wins && !write.replaces.contains(sibling));
        siblings.insert(id, Value::written(write.mark));
        self.content.included.insert(id);
    }

    /// Takes over what `other` has: a sibling goes if one side has replaced it.
    fn merge(&mut self, other: Content) {
        let Content { siblings: theirs, included } = other;
        for (key, own) in &mut self.content.siblings {
            let their = theirs.get(key);
            own.retain(|id, _| !included.contains(id) || their.is_some_and(|their| their.contains_key(id)));
        }
        for (key, their) in theirs {
            let own = self.content.siblings.entry(key).or_default();
            own.extend(their.into_iter().filter(|(id, _)| !self.content.included.contains(id)));
        }
        self.content.included.extend(included);
    }
}

impl StateMachine for Replica {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        let Decision { slot: _, id, verdict, payload } = decision;
        let write = wire::decode::<CausalWrite>(payload, MAX_WRITE_BYTES).ok();
        if let (Some(write), Some(id)) = (&write, id) {
            self.carry_out(id, write);
        }
        let content = hash_bytes(0, payload);
        self.journal.borrow_mut().push(Applied::Delivered { id, verdict, content });
        wire::encode(&write.map(|_| Answer::Done)).into()
    }

    fn query(&self, request: &Bytes) -> Bytes {
        let key = wire::decode::<Key>(request, MAX_WRITE_BYTES).ok();
        wire::encode(&key.map(|key| Answer::Value(self.get(key)))).into()
    }

    fn snapshot(&self) -> Bytes {
        wire::encode(&self.content).into()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        let other: Content =
            wire::decode(&snapshot, snapshot.len()).map_err(|error| InstallError(error.to_string()))?;
        let news = other.included.difference(&self.content.included).copied().collect();
        self.merge(other);
        self.journal.borrow_mut().push(Applied::Merged { writes: news });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::Verdict;

    fn name(number: u64) -> ProposalId {
        ProposalId { sequence: number, ..ProposalId::default() }
    }

    fn write(replica: &mut Replica, number: u64, replaces: &[u64]) {
        let replaces = replaces.iter().copied().map(name).collect();
        let write = CausalWrite { key: Key(1), mark: number, replaces, ballast: Bytes::new() };
        let (payload, id) = (wire::encode(&write).into(), Some(name(number)));
        replica.apply(Decision { slot: Slot(1), id, verdict: Verdict::Commit, payload: &payload });
    }

    #[test]
    fn concurrent_writes_meet_in_any_order_and_a_merge_brings_nothing_back() {
        let (mut left, mut right) = (Replica::default(), Replica::default());
        for number in [1, 2] {
            write(&mut left, number, &[]);
        }
        for number in [2, 1] {
            write(&mut right, number, &[]);
        }
        assert_eq!(left.content, right.content);
        assert_eq!(left.siblings(Key(1)), [name(1), name(2)]);
        write(&mut left, 3, &[1, 2]);
        write(&mut right, 4, &[2]);
        let (ours, theirs) = (left.snapshot(), right.snapshot());
        left.install(Slot(3), theirs).unwrap();
        right.install(Slot(3), ours).unwrap();
        assert_eq!(left.content, right.content);
        assert_eq!(left.siblings(Key(1)), [name(3), name(4)], "1 and 2 were replaced by somebody");
    }

    #[test]
    fn without_a_shared_rule_the_order_shows() {
        let mut replicas = [Replica::new(Journal::default(), true), Replica::new(Journal::default(), true)];
        for (replica, order) in replicas.iter_mut().zip([[1, 2], [2, 1]]) {
            for number in order {
                write(replica, number, &[]);
            }
        }
        assert_ne!(replicas[0].registers(), replicas[1].registers());
    }
}
