//! Evidence: two statements of one member that no correct member makes both, with its signatures. A third party can check it.

use crate::config::Config;
use crate::keys::Signature;
use crate::statement::{Kind, Statement};
use consensus_core::NodeId;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Two statements that contradict each other: same kind, view and place, and another digest.
// [B25]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Who signed both.
    pub node: NodeId,
    /// The one.
    pub first: (Statement, Signature),
    /// The other.
    pub second: (Statement, Signature),
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, first: (first, _), second: (second, _) } = self;
        let Statement { kind, view, sequence, .. } = first;
        let (one, other) = (first.digest, second.digest);
        write!(
            f,
            "{node} signed two statements on one choice: {kind:?} in {view} at {sequence} of {one:?} and of {other:?}"
        )
    }
}

impl Evidence {
    /// Whether it proves what it claims, with these keys and this group.
    #[must_use]
    pub fn is_proven(&self, config: &Config) -> bool {
        let ((one, _), (other, _)) = (&self.first, &self.second);
        let is_of_one_choice = match (one.kind, other.kind) {
            (Kind::PrePrepare, Kind::PrePrepare)
            | (Kind::Prepare, Kind::Prepare)
            | (Kind::Commit, Kind::Commit)
            | (Kind::Checkpoint, Kind::Checkpoint) => one.sequence == other.sequence,
            // Of these there is one in a view, whatever the checkpoint.
            (Kind::ViewChange, Kind::ViewChange) => true,
            (
                Kind::PrePrepare
                | Kind::Prepare
                | Kind::Commit
                | Kind::Checkpoint
                | Kind::ViewChange
                | Kind::NewView,
                _,
            ) => false,
        };
        let contradicts = is_of_one_choice && one.view == other.view && one.digest != other.digest;
        let is_signed = |(statement, signature): &(Statement, Signature)| {
            config.keys.verify(self.node, &statement.to_bytes(config.group), signature)
        };
        contradicts && is_signed(&self.first) && is_signed(&self.second)
    }
}
