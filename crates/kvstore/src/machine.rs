//! The store as a replicated state machine. The protocol's thread writes; whoever serves a read looks at the same store
//! without going through that thread.

use crate::command::{Command, Reason, Reply};
use crate::proto::etcdserverpb::{RangeRequest, RangeResponse};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use consensus_core::{Decision, InstallError, Slot, StateMachine, Verdict};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A store that is written by one and read by many.
#[derive(Clone, Debug, Default)]
pub struct SharedStore(Arc<RwLock<Store>>);

impl SharedStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store, to read. Writers wait meanwhile: do not hold it across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        // A reader never leaves the store half-written, and a writer's panic ends the process.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a range request finds in it now.
    ///
    /// # Errors
    /// If the revision was compacted or lies in the future.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        self.read().range(request)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies the log to a [`SharedStore`].
#[derive(Clone, Debug, Default)]
pub struct KvMachine {
    store: SharedStore,
}

impl KvMachine {
    /// A machine that writes to `store`.
    #[must_use]
    pub const fn new(store: SharedStore) -> Self {
        Self { store }
    }
}

impl StateMachine for KvMachine {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        let reply = match (decision.verdict, Command::decode(decision.payload)) {
            (Verdict::Commit, Ok(command)) => command.apply(&mut self.store.write()),
            (Verdict::Commit, Err(_)) => Reply::Refused(Reason::Malformed),
            // Nothing is reserved before a verdict, so there is nothing to give back.
            (Verdict::Abort | Verdict::Noop, _) => return Bytes::new(),
        };
        reply.encode()
    }

    fn query(&self, request: &Bytes) -> Bytes {
        let reply = match Command::decode(request) {
            Ok(Command::Range(request)) => match self.store.range(&request) {
                Ok(response) => Reply::Range(response),
                Err(error) => Reply::Refused(error.into()),
            },
            Ok(Command::Txn(request)) => match self.store.read().read_txn(&request) {
                Ok(response) => Reply::Txn(response),
                Err(error) => Reply::Refused(error.into()),
            },
            Ok(Command::Put(_) | Command::DeleteRange(_) | Command::Compact(_)) => {
                Reply::Refused(StoreError::ReadOnly.into())
            }
            Err(_) => Reply::Refused(Reason::Malformed),
        };
        reply.encode()
    }

    fn snapshot(&self) -> Bytes {
        self.store.read().snapshot()
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        let store = Store::from_snapshot(&snapshot).map_err(|error| InstallError(error.to_string()))?;
        *self.store.write() = store;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::PutRequest;

    fn decide(machine: &mut KvMachine, slot: u64, payload: &Bytes) -> Reply {
        let decision = Decision { slot: Slot(slot), id: None, verdict: Verdict::Commit, payload };
        Reply::decode(&machine.apply(decision)).unwrap()
    }

    fn put(key: &str) -> Bytes {
        Command::Put(PutRequest { key: key.to_owned().into(), ..PutRequest::default() }).encode()
    }

    fn get(key: &str) -> Bytes {
        Command::Range(RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }).encode()
    }

    #[test]
    fn what_is_applied_can_be_queried_and_travels_in_a_snapshot() {
        let mut machine = KvMachine::default();
        assert!(matches!(decide(&mut machine, 1, &put("a")), Reply::Put(_)));
        let mut other = KvMachine::default();
        other.install(Slot(1), machine.snapshot()).unwrap();
        for machine in [machine, other] {
            let Reply::Range(found) = Reply::decode(&machine.query(&get("a"))).unwrap() else { panic!() };
            assert_eq!((found.count, found.kvs[0].mod_revision), (1, 2));
        }
    }

    #[test]
    fn what_cannot_be_decoded_changes_nothing() {
        let mut machine = KvMachine::default();
        let before = machine.snapshot();
        assert_eq!(
            decide(&mut machine, 1, &Bytes::from_static(b"rubbish")),
            Reply::Refused(Reason::Malformed)
        );
        assert_eq!(
            Reply::decode(&machine.query(&put("a"))),
            Ok(Reply::Refused(Reason::Store(StoreError::ReadOnly)))
        );
        assert!(machine.install(Slot(1), Bytes::from_static(b"\x01rubbish")).is_err());
        assert_eq!(machine.snapshot(), before);
    }
}
