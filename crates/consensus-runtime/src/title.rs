//! The first record of a group in the journal: it says which algorithm wrote the others and with which members the group was born,
//! or that it was removed.
//!
//! It stands there from the group's first write on, and every checkpoint begins with it. A group that has written nothing has
//! promised nothing, and is not in the journal.

use crate::StartError;
use consensus_core::{GroupId, Members, StorageError, wire};
use consensus_wal::RecoveredRaw;
use serde::{Deserialize, Serialize, Serializer};

/// Tells a title from the records of a program that wrote none.
const MARK: [u8; 5] = *b"group";
/// The longest name of an algorithm, in bytes.
pub(crate) const MAX_NAME: usize = 64;

/// What a title says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Title {
    mark: [u8; 5],
    pub(crate) state: State,
    pub(crate) algorithm: String,
    /// The members at the group's birth; none if this node joined later. What a later start is told does not change it.
    pub(crate) birth: Members,
}

/// What became of the group. Variants are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// Its records follow.
    Alive,
    /// It was removed for good: what this node promised in it is forgotten, and it must not start again.
    Removed,
}

impl Title {
    pub(crate) fn of_group(algorithm: &str, birth: Members) -> Self {
        Self { mark: MARK, state: State::Alive, algorithm: algorithm.to_owned(), birth }
    }

    /// Of a group that is removed.
    pub(crate) fn of_grave(&self) -> Self {
        Self { state: State::Removed, birth: Members::default(), ..self.clone() }
    }

    /// What stands before the records of a recovered group.
    pub(crate) fn of(group: GroupId, recovered: &RecoveredRaw) -> Result<Self, StartError> {
        let first = recovered.records.first();
        let title = first.and_then(|raw| wire::decode::<Self>(&raw.bytes, raw.bytes.len()).ok());
        title.filter(|title| title.mark == MARK && title.algorithm.len() <= MAX_NAME).ok_or_else(|| {
            let problem = format!(
                "{group} does not say which algorithm wrote it; start the program that wrote it, or choose another directory"
            );
            StorageError::Foreign { place: "the journal".into(), problem }.into()
        })
    }
}

/// What a checkpoint keeps: the title, then records.
pub(crate) enum Line<'a, R> {
    Title(&'a Title),
    Record(&'a R),
}

impl<R: Serialize> Serialize for Line<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Title(title) => title.serialize(serializer),
            Self::Record(record) => record.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_core::NodeId;

    #[test]
    fn a_line_is_what_it_holds_and_nothing_more() {
        let title = Title::of_group("raft", Members::of([NodeId(1)]));
        assert_eq!(wire::encode(&Line::<u64>::Title(&title)), wire::encode(&title));
        assert_eq!(wire::encode(&Line::Record(&7_u64)), wire::encode(&7_u64));
    }
}
