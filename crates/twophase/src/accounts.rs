//! A state machine to commit transactions on: accounts that money is moved between, each at one node.
//!
//! Its locks are those of strict two-phase locking: judging a transfer locks each of its accounts here, and the verdict frees them. Who
//! finds a lock taken does not wait: it votes NO (*no-wait*), and the client tries again under another name. Waiting could deadlock across
//! nodes, and the rules that prevent it by age (wound-wait, wait-die) must abort who holds a lock, which nobody may after its YES; besides,
//! a vote is asked for and given in one step.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use consensus_core::{Bytes, Decision, InstallError, NodeId, ProposalId, Slot, StateMachine, Verdict, wire};
use serde::{Deserialize, Serialize};

/// An account: whose it is, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account {
    /// The node that keeps it.
    pub node: NodeId,
    /// Its number there.
    pub number: u32,
}

/// What is done to some accounts, all of it or nothing. The sum of the changes is what comes from or goes to outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// What is added to each account; none may fall below zero. An account may be named with zero: it is locked, and only looked at.
    pub changes: Vec<(Account, i64)>,
}

impl Transfer {
    /// Moves `amount` from one account to another.
    #[must_use]
    pub fn between(from: Account, to: Account, amount: i64) -> Self {
        Self { changes: Vec::from([(from, -amount), (to, amount)]) }
    }

    /// Who takes part.
    pub fn participants(&self) -> impl Iterator<Item = NodeId> {
        self.changes.iter().map(|(account, _)| account.node)
    }

    /// The payload of its envelope.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        wire::encode(self).into()
    }

    fn decode(payload: &Bytes) -> Option<Self> {
        wire::decode(payload, payload.len()).ok()
    }
}

/// The accounts of one node.
#[derive(Clone, Debug)]
pub struct Accounts {
    id: NodeId,
    balances: BTreeMap<u32, i64>,
    locks: BTreeMap<u32, ProposalId>,
}

impl Accounts {
    /// So many accounts of node `id`, numbered from zero, with the same balance.
    #[must_use]
    pub fn new(id: NodeId, count: u32, balance: i64) -> Self {
        Self { id, balances: (0..count).map(|number| (number, balance)).collect(), locks: BTreeMap::new() }
    }

    /// What is on an account.
    #[must_use]
    pub fn balance(&self, number: u32) -> Option<i64> {
        self.balances.get(&number).copied()
    }

    /// What is on all accounts together.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.balances.values().sum()
    }

    /// Who holds the lock of an account.
    #[must_use]
    pub fn holder(&self, number: u32) -> Option<ProposalId> {
        self.locks.get(&number).copied()
    }

    fn own(&self, transfer: &Transfer) -> Vec<(u32, i64)> {
        let own = transfer.changes.iter().filter(|(account, _)| account.node == self.id);
        own.map(|&(account, change)| (account.number, change)).collect()
    }

    /// What the accounts hold after these changes, if all exist and none falls below zero.
    fn changed(&self, changes: &[(u32, i64)]) -> Option<BTreeMap<u32, i64>> {
        let mut after = BTreeMap::new();
        for &(number, change) in changes {
            let before = after.get(&number).copied().or_else(|| self.balance(number))?;
            after.insert(number, before.checked_add(change).filter(|&balance| balance >= 0)?);
        }
        Some(after)
    }
}

impl StateMachine for Accounts {
    fn judge(&mut self, id: ProposalId, payload: &Bytes) -> bool {
        let Some(changes) = Transfer::decode(payload).map(|transfer| self.own(&transfer)) else {
            return false;
        };
        let is_free = |number: &u32| self.locks.get(number).is_none_or(|&holder| holder == id);
        let accept = changes.iter().all(|(number, _)| is_free(number)) && self.changed(&changes).is_some();
        if accept {
            self.locks.extend(changes.iter().map(|&(number, _)| (number, id)));
        }
        accept
    }

    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        let changes =
            Transfer::decode(decision.payload).map(|transfer| self.own(&transfer)).unwrap_or_default();
        let after = self.changed(&changes).filter(|_| decision.verdict == Verdict::Commit);
        self.balances.extend(after.unwrap_or_default());
        self.locks.retain(|_, holder| Some(*holder) != decision.id);
        Bytes::new()
    }

    fn query(&self, request: &Bytes) -> Bytes {
        let number = wire::decode::<u32>(request, request.len()).ok();
        wire::encode(&number.and_then(|number| self.balance(number))).into()
    }

    fn snapshot(&self) -> Bytes {
        // Locks belong to promises, and are taken again for those.
        wire::encode(&self.balances).into()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        self.balances =
            wire::decode(&snapshot, snapshot.len()).map_err(|error| InstallError(error.to_string()))?;
        Ok(())
    }
}
