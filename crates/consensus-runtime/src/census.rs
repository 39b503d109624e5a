//! The groups of a host, as an observer counts them: those that run one by one, those that have ended as a sum, so that no counter
//! of the host ever falls.

use crate::metrics::MetricsReading;
use crate::shared::Shared;
use consensus_core::GroupId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Census(Mutex<Rolls>);

#[derive(Debug, Default)]
struct Rolls {
    running: BTreeMap<GroupId, Arc<Shared>>,
    gone: MetricsReading,
}

impl Census {
    /// One group that is alone.
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        let census = Self::default();
        census.enter(shared);
        census
    }

    /// A group runs.
    pub(crate) fn enter(&self, shared: &Arc<Shared>) {
        self.lock().running.insert(shared.group, Arc::clone(shared));
    }

    /// A group has had its last turn.
    pub(crate) fn leave(&self, group: GroupId) {
        let mut rolls = self.lock();
        if let Some(shared) = rolls.running.remove(&group) {
            rolls.gone.absorb(&shared.metrics.read());
        }
    }

    /// Those that run, and what all of them have done, those that have ended included.
    pub(crate) fn take(&self) -> (Vec<Arc<Shared>>, MetricsReading) {
        let rolls = self.lock();
        let mut sum = rolls.gone;
        rolls.running.values().for_each(|shared| sum.absorb(&shared.metrics.read()));
        (rolls.running.values().map(Arc::clone).collect(), sum)
    }

    fn lock(&self) -> MutexGuard<'_, Rolls> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
