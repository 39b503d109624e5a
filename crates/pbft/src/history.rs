//! What was executed since the last snapshot. A state is a snapshot and what was executed since, in order: that is enough to have it
//! again, and a digest of that is enough to know it. So a checkpoint costs a few hashes, and a snapshot is taken when what came
//! since takes as much room as one.

use crate::config::Config;
use crate::digest::Digest;
use crate::message::{MAX_BATCHES, Manifest};
use crate::request::Batch;
use crate::statement::Sequence;
use alloc::collections::VecDeque;

/// What a batch takes beside its requests.
const BATCH_BYTES: u64 = 64;

/// The batches that were executed, from some place on.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The place before the first one.
    before: Sequence,
    batches: VecDeque<Batch>,
    /// What everything that was executed comes to; none while the snapshot is awaited that this begins with.
    pub(crate) sum: Option<Sum>,
}

/// What a state comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    /// The place of its snapshot.
    pub(crate) base: Sequence,
    /// The snapshot's length, in bytes.
    length: u64,
    /// What names the state.
    pub(crate) digest: Digest,
    /// How much was executed since the snapshot, in bytes.
    bytes: u64,
}

impl Sum {
    fn of(snapshot: &Manifest) -> Self {
        let Manifest { sequence: base, length, .. } = *snapshot;
        Self { base, length, digest: snapshot.digest(), bytes: 0 }
    }

    pub(crate) fn add(&mut self, batch: &Batch) {
        self.digest = self.digest.then(batch.digest());
        self.bytes += batch.size() as u64 + BATCH_BYTES;
    }

    /// Whether a snapshot is taken at this checkpoint: since the last one as much was executed as a snapshot takes, or so many batches
    /// that there may be no more at the next. All that executed the same say the same. [B15]
    pub(crate) fn is_due(&self, sequence: Sequence, config: &Config) -> bool {
        let batches = sequence.0.saturating_sub(self.base.0);
        let least = config.snapshot_after_bytes;
        let is_long = batches.saturating_add(config.checkpoint_interval) > MAX_BATCHES as u64;
        least == 0 || self.bytes >= least.max(self.length) || is_long
    }
}

impl Default for History {
    fn default() -> Self {
        Self::behind(&Manifest::default())
    }
}

impl History {
    /// Nothing was executed since this snapshot.
    pub(crate) fn behind(snapshot: &Manifest) -> Self {
        Self { before: snapshot.sequence, batches: VecDeque::new(), sum: Some(Sum::of(snapshot)) }
    }

    pub(crate) fn push(&mut self, batch: Batch) {
        if let Some(sum) = &mut self.sum {
            sum.add(&batch);
        }
        self.batches.push_back(batch);
    }

    /// A snapshot is there, of this place or one before.
    pub(crate) fn begin_with(&mut self, snapshot: &Manifest) {
        let mut sum = Sum::of(snapshot);
        self.after(snapshot.sequence).for_each(|batch| sum.add(batch));
        self.sum = Some(sum);
    }

    /// What was executed after a place, in order; what is not kept any more is left out.
    pub(crate) fn after(&self, sequence: Sequence) -> impl Iterator<Item = &Batch> {
        let skipped = sequence.0.saturating_sub(self.before.0);
        self.batches.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    /// What was executed after a place, up to another one.
    pub(crate) fn between(&self, after: Sequence, through: Sequence) -> impl Iterator<Item = &Batch> {
        let count = through.0.saturating_sub(after.0.max(self.before.0));
        self.after(after).take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Forgets what was executed up to a place.
    pub(crate) fn forget_through(&mut self, sequence: Sequence) {
        let count = sequence.0.saturating_sub(self.before.0);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.batches.len());
        self.batches.drain(..count);
        self.before = Sequence(self.before.0 + count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    // tests [B15]
    #[test]
    fn there_are_never_more_batches_than_a_state_may_have() {
        let config = Config { checkpoint_interval: 100, snapshot_after_bytes: u64::MAX, ..Config::default() };
        let mut history = History::default();
        (1..MAX_BATCHES).for_each(|_| history.push(Batch::default()));
        let sum = history.sum.unwrap_or_else(|| Sum::of(&Manifest::default()));
        let due: Vec<u64> =
            (1..=MAX_BATCHES as u64).filter(|&at| sum.is_due(Sequence(at), &config)).collect();
        // At the next checkpoint there would be one batch too many.
        assert_eq!(due.first().copied(), Some(MAX_BATCHES as u64 - 99));
    }

    #[test]
    fn what_is_forgotten_is_the_oldest() {
        let mut history = History::default();
        (0..5).for_each(|_| history.push(Batch::default()));
        history.forget_through(Sequence(2));
        let count = |after, through| history.between(Sequence(after), Sequence(through)).count();
        assert_eq!((count(0, 5), count(2, 5), count(3, 4), count(5, 9), count(4, 3)), (3, 3, 1, 0, 0));
        history.forget_through(Sequence(9));
        assert_eq!((history.after(Sequence(5)).count(), history.before), (0, Sequence(5)));
    }
}
