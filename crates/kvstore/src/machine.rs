//! The store as a replicated state machine. The protocol's thread writes; whoever serves a read looks at the same store
//! without going through that thread.

use crate::command::{Command, Reason, Reply};
use crate::members::{MemberTable, SharedMembers};
pub use crate::shared_store::SharedStore;
use crate::store::{Store, StoreError};
use bytes::{Buf, BufMut, Bytes};
use consensus_core::{Decision, Frozen, InstallError, Members, Slot, StateMachine, Verdict};

/// Applies the log to a [`SharedStore`] and to the members.
///
/// Its snapshot:
/// ```text
/// 1 byte    format version
/// 4 bytes   length of the table of members, little-endian
///           the table of members (postcard)
///           the store's own snapshot, up to the end
/// ```
#[derive(Clone, Debug, Default)]
pub struct KvMachine {
    store: SharedStore,
    members: SharedMembers,
}

const FORMAT_VERSION: u8 = 1;

impl KvMachine {
    /// A machine that writes to `store` and `members`.
    #[must_use]
    pub const fn new(store: SharedStore, members: SharedMembers) -> Self {
        Self { store, members }
    }
}

/// The two parts of a snapshot.
fn open(mut snapshot: Bytes) -> Result<(MemberTable, Bytes), String> {
    match snapshot.try_get_u8() {
        Ok(FORMAT_VERSION) => {}
        Ok(other) => {
            return Err(format!("it has format version {other}, and this program knows {FORMAT_VERSION}"));
        }
        Err(_) => return Err("it is empty".into()),
    }
    let length = snapshot.try_get_u32_le().ok().and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|&length| length <= snapshot.len()).ok_or("it ends too early")?;
    let table = snapshot.split_to(length);
    Ok((MemberTable::decode(&table).map_err(|error| error.to_string())?, snapshot))
}

impl StateMachine for KvMachine {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        let reply = match (decision.verdict, Command::decode(decision.payload)) {
            (Verdict::Commit, Ok(Command::Members(_))) if self.members.is_fixed() => {
                Reply::Refused(Reason::Malformed)
            }
            (Verdict::Commit, Ok(command @ Command::Members(_))) => {
                self.members.change(|members| command.apply(&mut self.store.write(), members))
            }
            (Verdict::Commit, Ok(command @ Command::Compact(_))) => {
                self.store.copy_held();
                command.apply(&mut self.store.write(), &mut MemberTable::default())
            }
            // Nothing of the members is touched by it.
            (Verdict::Commit, Ok(command)) => {
                command.apply(&mut self.store.write(), &mut MemberTable::default())
            }
            (Verdict::Commit, Err(_)) => Reply::Refused(Reason::Malformed),
            // Nothing is reserved before a verdict, so there is nothing to give back.
            (Verdict::Abort | Verdict::Noop, _) => return Bytes::new(),
        };
        reply.encode()
    }

    fn follow_members(&mut self, _slot: Slot, members: &Members) {
        if !self.members.is_fixed() {
            self.members.change(|table| table.follow(members));
        }
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
            Ok(Command::Put(_) | Command::DeleteRange(_) | Command::Compact(_) | Command::Members(_)) => {
                Reply::Refused(StoreError::ReadOnly.into())
            }
            Err(_) => Reply::Refused(Reason::Malformed),
        };
        reply.encode()
    }

    fn snapshot(&self) -> Bytes {
        self.store.read().snapshot_behind(self.head())
    }

    fn freeze(&self) -> Option<Frozen> {
        let (head, held) = (self.head(), self.store.hold());
        Some(Box::new(move |mut bytes| {
            bytes.extend_from_slice(&head);
            held.copy_behind(bytes)
        }))
    }

    fn install(&mut self, _through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        let (members, store) = open(snapshot).map_err(InstallError)?;
        let store = Store::from_snapshot(&store).map_err(|error| InstallError(error.to_string()))?;
        self.store.replace(store);
        if !self.members.is_fixed() {
            self.members.change(|known| *known = members);
        }
        Ok(())
    }
}

impl KvMachine {
    /// What stands in front of the store's snapshot.
    fn head(&self) -> Vec<u8> {
        let table =
            if self.members.is_fixed() { MemberTable::default() } else { (*self.members.table()).clone() };
        let table = table.encode();
        let mut head = Vec::with_capacity(table.len() + 8);
        head.put_u8(FORMAT_VERSION);
        // A table has at most a thousand rows of a few kilobytes.
        head.put_u32_le(u32::try_from(table.len()).unwrap_or(u32::MAX));
        head.put_slice(&table);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::{MemberCommand, Row};
    use crate::proto::etcdserverpb::{PutRequest, RangeRequest};
    use consensus_core::NodeId;

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
    fn members_that_are_fixed_are_no_part_of_the_state() {
        let fixed = |name: &str| {
            let row = Row { name: name.into(), ..Row::default() };
            KvMachine::new(SharedStore::new(), SharedMembers::fixed([(NodeId(1), row)].into()))
        };
        let (mut one, mut other) = (fixed("one"), fixed("other"));
        let moves = MemberCommand::Move { id: NodeId(1), peers: Vec::new() };
        let refused = decide(&mut one, 1, &Command::Members(moves).encode());
        assert_eq!(refused, Reply::Refused(Reason::Malformed));
        assert_eq!(one.snapshot(), other.snapshot(), "however each was told of them");
        one.follow_members(Slot(2), &Members::of([NodeId(7)]));
        other.install(Slot(2), one.snapshot()).unwrap();
        let names = |machine: &KvMachine| machine.members.table().list().pop().unwrap().name;
        assert_eq!([names(&one), names(&other)], ["one", "other"]);
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
