//! The state machine of one-shot agreement: it remembers what was chosen.

use super::{Applied, Journal};
use bytes::Bytes;
use consensus_core::{Decision, InstallError, Slot, StateMachine};

/// What this node takes for the choice.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    chosen: Option<Bytes>,
    journal: Journal,
}

impl Choice {
    /// Nothing chosen yet; reports to `journal`.
    #[must_use]
    pub const fn new(journal: Journal) -> Self {
        Self { chosen: None, journal }
    }
}

impl StateMachine for Choice {
    fn apply(&mut self, decision: Decision<'_>) -> Bytes {
        let Decision { slot, id: _, verdict, payload } = decision;
        self.chosen = Some(payload.clone());
        self.journal.borrow_mut().push(Applied::Chosen { slot, verdict, value: payload.clone() });
        payload.clone()
    }

    fn query(&self, _request: &Bytes) -> Bytes {
        self.snapshot()
    }

    fn snapshot(&self) -> Bytes {
        self.chosen.clone().unwrap_or_default()
    }

    fn install(&mut self, through: Slot, snapshot: Bytes) -> Result<(), InstallError> {
        self.chosen = Some(snapshot.clone()).filter(|value| !value.is_empty());
        self.journal.borrow_mut().push(Applied::Chosen {
            slot: through,
            verdict: consensus_core::Verdict::Commit,
            value: snapshot,
        });
        Ok(())
    }
}
